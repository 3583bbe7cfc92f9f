package stack

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/s3"
)

const (
	targetName       = "s3"             // of the BackupTarget
	targetSecretName = "s3-credentials" // in Hayloft's namespace

	namespaceTimeout = 30 * time.Second
	namespacePoll    = 50 * time.Millisecond
)

// longhornObjects are Longhorn's namespace and storage class.
func longhornObjects() []*unstructured.Unstructured {
	objects := []*unstructured.Unstructured{
		object("v1", "Namespace", "", LonghornNamespace, nil),
		object("storage.k8s.io/v1", "StorageClass", "", "longhorn", map[string]any{
			"provisioner":          "driver.longhorn.io",
			"allowVolumeExpansion": true,
			"reclaimPolicy":        "Delete",
			"volumeBindingMode":    "Immediate",
			// Two copies, which is what the bench compares with. Migratable as Harvester's classes are: without it
			// Longhorn serves a ReadWriteMany volume over NFS.
			"parameters": map[string]any{"numberOfReplicas": "2", "migratable": "true", "dataEngine": "v1"},
		}),
	}
	objects[1].SetAnnotations(map[string]string{"storageclass.kubernetes.io/is-default-class": "true"})
	return objects
}

// clusterObjects are what a cluster with Longhorn has before anybody installs Hayloft, and Hayloft's namespace.
func clusterObjects(nodes []Node) []*unstructured.Unstructured {
	objects := append(longhornObjects(), object("v1", "Namespace", "", HayloftNamespace, nil))
	for _, node := range nodes {
		o := object("v1", "Node", "", node.Name, map[string]any{
			"status": map[string]any{
				"addresses": []any{
					map[string]any{"type": "InternalIP", "address": node.IP},
					map[string]any{"type": "Hostname", "address": node.Name},
				},
				"conditions": []any{
					map[string]any{"type": "Ready", "status": "True", "reason": "LocalStack", "message": "there is no kubelet that could be unready"},
				},
			},
		})
		o.SetLabels(map[string]string{"kubernetes.io/hostname": node.Name, "kubernetes.io/os": "linux"})
		objects = append(objects, o)
	}
	return objects
}

// targetObjects are the BackupTarget of the stack's S3 server and its Secret.
func targetObjects(server *s3.Server) []*unstructured.Unstructured {
	return []*unstructured.Unstructured{
		object("v1", "Secret", HayloftNamespace, targetSecretName, map[string]any{
			"stringData": map[string]any{
				"AWS_ACCESS_KEY_ID":     server.AccessKey,
				"AWS_SECRET_ACCESS_KEY": server.SecretKey,
			},
		}),
		object("hayloft.dev/v1alpha1", "BackupTarget", "", targetName, map[string]any{
			"spec": map[string]any{
				"s3": map[string]any{
					"endpoint": server.Endpoint,
					"insecure": true, // on loopback
					"bucket":   server.Bucket,
					"region":   server.Region,
				},
				"credentialSecret": targetSecretName,
			},
		}),
	}
}

// waitDefaultAccount returns when the controller manager has made a namespace's default service account, which shows
// that it is at work.
func waitDefaultAccount(ctx context.Context, c client.Client, namespace string) error {
	err := wait.PollUntilContextTimeout(ctx, namespacePoll, namespaceTimeout, true, func(ctx context.Context) (bool, error) {
		account := object("v1", "ServiceAccount", namespace, "default", nil)
		err := c.Get(ctx, client.ObjectKeyFromObject(account), account)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("waiting for the default service account of %s: %w", namespace, err)
	}
	return nil
}
