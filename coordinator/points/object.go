package points

import (
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// finalizers are those of every point at rest.
var finalizers = []string{v1alpha1.FinalizerData}

// DeepCopyObject returns the record itself: it is never changed.
func (r *Resting) DeepCopyObject() runtime.Object { return r }

func (r *Resting) GetNamespace() string               { return r.like.namespace }
func (r *Resting) GetUID() types.UID                  { return types.UID(r.own.uid().String()) }
func (r *Resting) GetGeneration() int64               { return r.like.generation }
func (r *Resting) GetLabels() map[string]string       { return r.like.labels }
func (r *Resting) GetFinalizers() []string            { return finalizers }
func (r *Resting) GetDeletionTimestamp() *metav1.Time { return nil }

// GetResourceVersion returns the version.
func (r *Resting) GetResourceVersion() string {
	return strconv.FormatUint(r.own.read().version, 10)
}

// GetCreationTimestamp returns when the point was made.
func (r *Resting) GetCreationTimestamp() metav1.Time {
	return metav1.Unix(r.own.read().created, 0)
}

// GetName returns the name, which is reckoned where its schedule gave it.
func (r *Resting) GetName() string {
	own := r.own.read()
	return r.nameOf(&own)
}

func (r *Resting) nameOf(own *own) string {
	if own.name != "" {
		return own.name
	}
	return scheduledName(r.like.schedule(), r.like.spec.VM, own.nominal)
}

func scheduledName(schedule, vm string, nominal int64) string {
	return names.Scheduled(types.UID(schedule), vm, time.Unix(nominal, 0))
}

// GetAnnotations returns those of Hayloft.
func (r *Resting) GetAnnotations() map[string]string {
	own := r.own.read()
	return r.annotations(&own)
}

func (r *Resting) annotations(own *own) map[string]string {
	out := make(map[string]string, len(r.like.notes)+1)
	for _, t := range r.like.notes {
		out[t.key] = t.value
	}
	if own.nominal != none {
		out[v1alpha1.AnnotationNominalTime] = nominalText(own.nominal)
	}
	return out
}
