package longhorn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/uuid"
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"hayloft.dev/deploy/local/longhorn/condition"
)

const (
	version                 = "v1.8.1" // of the manager that is stood in for
	engineImage             = "longhornio/longhorn-engine:v1.8.1"
	instanceManagerImage    = "longhornio/longhorn-instance-manager:v1.8.1"
	defaultReplicas         = 2 // the real default is 3; the stack has three nodes and one machine
	defaultSnapshotMaxCount = 250
	diskName                = "default-disk"
)

// makeFixedObjects makes what does not change while the stack runs: the namespace, settings, nodes and their instance
// managers.
func makeFixedObjects(ctx context.Context, c client.Client, o Options) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.Namespace}}
	if err := c.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making namespace %s: %w", o.Namespace, err)
	}
	for name, value := range settings() {
		setting := &lh.Setting{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: name}}
		if err := upsert(ctx, c, setting, func() { setting.Value = value }, func() { setting.Status.Applied = true }); err != nil {
			return fmt.Errorf("making setting %s: %w", name, err)
		}
	}
	for _, node := range o.Nodes {
		if err := makeNode(ctx, c, o, node); err != nil {
			return fmt.Errorf("making node %s: %w", node.Name, err)
		}
		if err := makeInstanceManager(ctx, c, o, node); err != nil {
			return fmt.Errorf("making the instance manager of %s: %w", node.Name, err)
		}
	}
	return nil
}

// settings are those that somebody who works with volumes looks at, with the values that this stand-in acts by.
func settings() map[string]string {
	return map[string]string{
		"allow-volume-creation-with-degraded-availability": "true",
		"auto-cleanup-snapshot-when-delete-backup":         "false",
		"auto-salvage":                         "true",
		"backup-compression-method":            "lz4",
		"backup-concurrent-limit":              "2",
		"current-longhorn-version":             version,
		"default-engine-image":                 engineImage,
		"default-replica-count":                strconv.Itoa(defaultReplicas),
		"disable-snapshot-purge":               "false",
		"replica-soft-anti-affinity":           "false",
		replenishInterval:                      "600",
		"restore-concurrent-limit":             "2",
		"snapshot-max-count":                   strconv.Itoa(defaultSnapshotMaxCount),
		"storage-over-provisioning-percentage": "100",
		"v1-data-engine":                       "true",
		"v2-data-engine":                       "false",
	}
}

func makeNode(ctx context.Context, c client.Client, o Options, n Node) error {
	path := nodeDir(o.Dir, n.Name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	node := &lh.Node{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: n.Name}}
	return upsert(ctx, c, node, func() {
		node.Spec = lh.NodeSpec{
			Name:            n.Name,
			AllowScheduling: true,
			Tags:            []string{},
			Disks: map[string]lh.DiskSpec{diskName: {
				Type: lh.DiskTypeFilesystem, Path: path, AllowScheduling: true, Tags: []string{},
			}},
		}
	}, func() {
		s := &node.Status
		s.Conditions = condition.Set(s.Conditions, lh.NodeConditionTypeReady, lh.ConditionStatusTrue, "", "Node "+n.Name+" is ready")
		s.Conditions = condition.Set(s.Conditions, lh.NodeConditionTypeSchedulable, lh.ConditionStatusTrue, "", "")
		disk := s.DiskStatus[diskName]
		if disk == nil {
			disk = &lh.DiskStatus{}
		}
		disk.Conditions = condition.Set(disk.Conditions, lh.DiskConditionTypeReady, lh.ConditionStatusTrue, "", "Disk "+diskName+" is ready")
		disk.Conditions = condition.Set(disk.Conditions, lh.DiskConditionTypeSchedulable, lh.ConditionStatusTrue, "", "Disk "+diskName+" is schedulable")
		disk.Type, disk.DiskName, disk.DiskPath, disk.DiskUUID = lh.DiskTypeFilesystem, diskName, path, diskUUID(n.Name)
		disk.StorageMaximum, disk.StorageAvailable = o.DiskBytes, o.DiskBytes
		disk.InstanceManagerName = instanceManagerName(n.Name)
		s.DiskStatus = map[string]*lh.DiskStatus{diskName: disk}
	})
}

func makeInstanceManager(ctx context.Context, c client.Client, o Options, n Node) error {
	im := &lh.InstanceManager{ObjectMeta: metav1.ObjectMeta{
		Namespace: o.Namespace,
		Name:      instanceManagerName(n.Name),
		Labels: map[string]string{
			"longhorn.io/component":             "instance-manager",
			"longhorn.io/managed-by":            "longhorn-manager",
			"longhorn.io/node":                  n.Name,
			"longhorn.io/instance-manager-type": string(lh.InstanceManagerTypeAllInOne),
			"longhorn.io/data-engine":           string(lh.DataEngineTypeV1),
		},
	}}
	return upsert(ctx, c, im, func() {
		im.Spec = lh.InstanceManagerSpec{
			Image: instanceManagerImage, NodeID: n.Name, Type: lh.InstanceManagerTypeAllInOne, DataEngine: lh.DataEngineTypeV1,
		}
	}, func() {
		im.Status.OwnerID, im.Status.IP, im.Status.CurrentState = n.Name, n.IP, lh.InstanceManagerStateRunning
	})
}

// upsert makes an object or brings it to what spec says, and then its status to what status says.
func upsert(ctx context.Context, c client.Client, object client.Object, spec, status func()) error {
	if _, err := controllerutil.CreateOrUpdate(ctx, c, object, func() error { spec(); return nil }); err != nil {
		return err
	}
	status()
	return c.Status().Update(ctx, object)
}

func instanceManagerName(node string) string {
	sum := sha256.Sum256([]byte(node + instanceManagerImage))
	return "instance-manager-" + hex.EncodeToString(sum[:16])
}

// diskUUID is the same at every start, so that the replicas of a stack that is started again are still on its disks.
func diskUUID(node string) string {
	return uuid.NewSHA1(uuid.NameSpaceDNS, []byte("disk."+node+".longhorn.io")).String()
}

func nodeDir(dir, node string) string { return filepath.Join(dir, node) }
