package control

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// amounts share among claims what many of them have the same of. A map
// with one size in it takes more than all the rest of a claim. There are no more of
// them than sizes.
type amounts struct {
	mu   sync.Mutex
	seen map[string]corev1.ResourceList
}

func newAmounts() *amounts { return &amounts{seen: map[string]corev1.ResourceList{}} }

// claim keeps of a claim all but who wrote what of it.
func (a *amounts) claim(o any) (any, error) {
	if c, ok := o.(*corev1.PersistentVolumeClaim); ok {
		c.ManagedFields = nil
		c.Namespace = one(c.Namespace)
		c.Spec.Resources.Requests = a.shared(c.Spec.Resources.Requests)
		c.Status.Capacity = a.shared(c.Status.Capacity)
	}
	return o, nil
}

// shared is a list equal to l that all share who have the same.
func (a *amounts) shared(l corev1.ResourceList) corev1.ResourceList {
	if len(l) == 0 {
		return l
	}
	texts := make([]string, 0, len(l))
	for name, q := range l {
		texts = append(texts, fmt.Sprintf("%s %s", name, q.String()))
	}
	slices.Sort(texts)
	key := strings.Join(texts, " ")
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.seen[key]; ok {
		return known
	}
	a.seen[key] = l
	return l
}
