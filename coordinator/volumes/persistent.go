package volumes

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/shares"
)

// Persistent is the record of a PersistentVolume over a Longhorn volume, of which it
// tells which. It is never changed.
type Persistent struct {
	named
	handle string
}

// KeepPersistent returns what the cache of PersistentVolumes keeps of one: of other
// storage, and of the shares that Hayloft mounts, nearly all.
func KeepPersistent(o any) (any, error) {
	v, ok := o.(*corev1.PersistentVolume)
	if !ok {
		return o, nil
	}
	n, ok := nameOf(v)
	if csi := v.Spec.CSI; ok && csi != nil && csi.Driver == rules.Driver && v.Labels[shares.LabelMount] == "" {
		out := &Persistent{named: n, handle: n.name} // so they are called, but for some made by hand
		if csi.VolumeHandle != n.name {
			out.handle = strings.Clone(csi.VolumeHandle)
		}
		return out, nil
	}
	v.ManagedFields, v.Annotations, v.Spec.NodeAffinity = nil, nil, nil
	return v, nil
}

// DeepCopyObject returns the record itself: it is never changed.
func (p *Persistent) DeepCopyObject() runtime.Object { return p }

func (*Persistent) GetCreationTimestamp() metav1.Time { return metav1.Time{} }
func (*Persistent) GetLabels() map[string]string      { return nil }

func (p *Persistent) tell(to *corev1.PersistentVolume) {
	*to = corev1.PersistentVolume{ObjectMeta: p.meta()}
	to.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: rules.Driver, VolumeHandle: p.handle}
}

func tellPersistent(o any, to *corev1.PersistentVolume) bool {
	switch o := o.(type) {
	case *Persistent:
		o.tell(to)
	case *corev1.PersistentVolume:
		o.DeepCopyInto(to)
	default:
		return false
	}
	return true
}
