// Package record has what is the same for all short records that caches keep in place
// of objects of which there are many.
//
// A record is an object for informers and their handlers, so that what they ask of any
// object they can ask of it.
package record

import (
	"strconv"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// UID is that of an object in the short form that it nearly always has; false: it has
// not.
func UID(text types.UID) (uuid.UUID, bool) {
	id, err := uuid.Parse(string(text))
	return id, err == nil && id.String() == string(text)
}

// Version is an object's resource version as the number that it is; false: it is none.
func Version(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == text
}

// Plain has the part of an object that no record has anything of, and that by which
// objects are changed. Nobody changes what is in a cache.
type Plain struct{}

func (Plain) GetObjectKind() schema.ObjectKind              { return schema.EmptyObjectKind }
func (Plain) GetGenerateName() string                       { return "" }
func (Plain) GetSelfLink() string                           { return "" }
func (Plain) GetDeletionGracePeriodSeconds() *int64         { return nil }
func (Plain) GetOwnerReferences() []metav1.OwnerReference   { return nil }
func (Plain) GetManagedFields() []metav1.ManagedFieldsEntry { return nil }
func (Plain) SetNamespace(string)                           {}
func (Plain) SetName(string)                                {}
func (Plain) SetGenerateName(string)                        {}
func (Plain) SetUID(types.UID)                              {}
func (Plain) SetResourceVersion(string)                     {}
func (Plain) SetGeneration(int64)                           {}
func (Plain) SetSelfLink(string)                            {}
func (Plain) SetCreationTimestamp(metav1.Time)              {}
func (Plain) SetDeletionTimestamp(*metav1.Time)             {}
func (Plain) SetDeletionGracePeriodSeconds(*int64)          {}
func (Plain) SetLabels(map[string]string)                   {}
func (Plain) SetAnnotations(map[string]string)              {}
func (Plain) SetFinalizers([]string)                        {}
func (Plain) SetOwnerReferences([]metav1.OwnerReference)    {}
func (Plain) SetManagedFields([]metav1.ManagedFieldsEntry)  {}
