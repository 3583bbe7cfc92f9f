package points

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// A record is an object for informers and their handlers, so that what they ask
// of any object they can ask of it.

// finalizers are those of every point at rest.
var finalizers = []string{v1alpha1.FinalizerData}

func (r *Resting) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the record itself: it is never changed.
func (r *Resting) DeepCopyObject() runtime.Object { return r }

func (r *Resting) GetNamespace() string                        { return r.like.namespace }
func (r *Resting) GetName() string                             { return r.name }
func (r *Resting) GetUID() types.UID                           { return types.UID(r.uid.String()) }
func (r *Resting) GetResourceVersion() string                  { return r.version }
func (r *Resting) GetGeneration() int64                        { return r.like.generation }
func (r *Resting) GetCreationTimestamp() metav1.Time           { return metav1.Unix(r.created, 0) }
func (r *Resting) GetLabels() map[string]string                { return r.like.labels }
func (r *Resting) GetFinalizers() []string                     { return finalizers }
func (*Resting) GetGenerateName() string                       { return "" }
func (*Resting) GetSelfLink() string                           { return "" }
func (*Resting) GetDeletionTimestamp() *metav1.Time            { return nil }
func (*Resting) GetDeletionGracePeriodSeconds() *int64         { return nil }
func (*Resting) GetOwnerReferences() []metav1.OwnerReference   { return nil }
func (*Resting) GetManagedFields() []metav1.ManagedFieldsEntry { return nil }

// GetAnnotations returns those of Hayloft.
func (r *Resting) GetAnnotations() map[string]string {
	out := make(map[string]string, len(r.like.notes)+1)
	for _, n := range r.like.notes {
		out[n.key] = n.value
	}
	if r.nominal != none {
		out[v1alpha1.AnnotationNominalTime] = nominalText(r.nominal)
	}
	return out
}

// immutable has the part of metav1.Object by which objects are changed. Nobody
// changes what is in a cache.
type immutable struct{}

func (immutable) SetNamespace(string)                          {}
func (immutable) SetName(string)                               {}
func (immutable) SetGenerateName(string)                       {}
func (immutable) SetUID(types.UID)                             {}
func (immutable) SetResourceVersion(string)                    {}
func (immutable) SetGeneration(int64)                          {}
func (immutable) SetSelfLink(string)                           {}
func (immutable) SetCreationTimestamp(metav1.Time)             {}
func (immutable) SetDeletionTimestamp(*metav1.Time)            {}
func (immutable) SetDeletionGracePeriodSeconds(*int64)         {}
func (immutable) SetLabels(map[string]string)                  {}
func (immutable) SetAnnotations(map[string]string)             {}
func (immutable) SetFinalizers([]string)                       {}
func (immutable) SetOwnerReferences([]metav1.OwnerReference)   {}
func (immutable) SetManagedFields([]metav1.ManagedFieldsEntry) {}
