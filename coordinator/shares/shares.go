// Package shares decides on the Pods in which shares are worked on: one for each
// BackupTarget of kind NFS, and of any share that it is given a claim for. The
// kubelet mounts the share into the Pod, so that a dead server hangs that Pod and
// nothing else, and the target worker, a child of the coordinator, works on its
// files through the Pod (coordinator/targetio/files).
//
// It is pure: what is there goes in, what is to be made and removed comes out. It
// moves no file and knows no client.
package shares

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/pkg/target"
)

const (
	// Component is the label app.kubernetes.io/component of the Pods.
	Component = "share"
	// Account is the service account that they run under. It has no rights, and its
	// token is not mounted. It is a part of the release, and they go with it.
	Account = "hayloft-share"
	// LabelShare leads the target worker to the Pod of a share: Key. LabelMount tells
	// which objects belong to one mount, and LabelTemplate what a Pod was made of.
	LabelShare    = "hayloft.dev/share"
	LabelMount    = "hayloft.dev/share-mount"
	LabelTemplate = "hayloft.dev/share-template"

	// prefix of the names of all objects, which a policy knows too
	// (deploy/policies/shares.yaml).
	prefix = "hayloft-share-"
)

// Port on which a Pod serves its share.
const Port = 9481

// defaultOptions of a mount are those with which Longhorn's replicas mount it. A
// node that caches attributes for longer would show old listings.
var defaultOptions = []string{"nfsvers=4", "actimeo=1", "soft", "timeo=300", "retry=2"}

// Options are the same for the Pods of all shares.
type Options struct {
	// Namespace of Hayloft, where the Pods run.
	Namespace string
	// Account is the UID of the service account, which owns what is made here.
	Account types.UID
	// Image, PullPolicy, PullSecrets, NodeSelector, Tolerations and PriorityClass are
	// those of the coordinator's own Pod.
	Image         string
	PullPolicy    corev1.PullPolicy
	PullSecrets   []corev1.LocalObjectReference
	NodeSelector  map[string]string
	Tolerations   []corev1.Toleration
	PriorityClass string
	// Program is the path of the target worker in the image.
	Program string
	// User as whom files are read and written. A server that squashes root, as NFS
	// servers do by default, gives what replicas write to its user 65534.
	User int64
	// Claims that hold the share of a target, target -> claim: what no kubelet mounts
	// by itself.
	Claims map[string]string
}

// OptionsOf takes what a Pod of a share needs from the coordinator's own.
func OptionsOf(own *corev1.Pod, container string) (Options, error) {
	for _, c := range own.Spec.Containers {
		if c.Name == container {
			return Options{
				Namespace: own.Namespace, Image: c.Image, PullPolicy: c.ImagePullPolicy, PullSecrets: own.Spec.ImagePullSecrets,
				NodeSelector: own.Spec.NodeSelector, Tolerations: own.Spec.Tolerations, PriorityClass: own.Spec.PriorityClassName,
			}, nil
		}
	}
	return Options{}, fmt.Errorf("no container %s in Pod %s/%s, of whose image the Pods of shares are made", container, own.Namespace, own.Name)
}

// Key of a share as a target's name and spec say it. It changes with the share, so
// that nobody is led to the Pod of another one.
func Key(name string, spec v1alpha1.BackupTargetSpec) string {
	url, _ := target.URL(spec)
	return names.Short(fmt.Sprintf("%s|%s|%t", name, url, spec.ReadOnly))
}

// Source is a share as the kernel shows it where it is mounted.
func Source(spec v1alpha1.BackupTargetSpec) string {
	switch {
	case spec.NFS != nil:
		return spec.NFS.Server + ":" + spec.NFS.Path
	case spec.CIFS != nil:
		return "//" + spec.CIFS.Server + "/" + spec.CIFS.Share
	}
	return ""
}

// Field of a target's spec that names its share.
func Field(spec v1alpha1.BackupTargetSpec) string {
	return "spec." + strings.ToLower(target.Kind(spec))
}

// share is one that is to have a Pod.
type share struct {
	key, mount string
	// claim that was given for it; empty: one is made, for an export of NFS.
	claim string
	spec  v1alpha1.BackupTargetSpec
}

// wanted are the shares of targets that stay.
func wanted(o Options, targets []v1alpha1.BackupTarget) []share {
	var out []share
	for i := range targets {
		t := &targets[i]
		claim := o.Claims[t.Name]
		if !t.DeletionTimestamp.IsZero() || !target.Mounted(t.Spec) || claim == "" && t.Spec.NFS == nil {
			continue
		}
		key := Key(t.Name, t.Spec)
		out = append(out, share{
			key: key, claim: claim, spec: t.Spec,
			mount: prefix + names.Short(fmt.Sprintf("%s|%s|%s", t.UID, key, claim)),
		})
	}
	return out
}
