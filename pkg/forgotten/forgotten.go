// Package forgotten tells which points of a target are forgotten: they were deleted
// in this cluster with their data kept, so that they are not found again by
// themselves. Coordinators write that down; here it is only read.
package forgotten

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Point is one that is forgotten.
type Point struct {
	Namespace, Name string
	// UID that it had where it was taken.
	UID types.UID
	// Reason is why it went, and At when.
	Reason string
	At     time.Time
}

var name = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// IsName tells whether something can name a forgotten point: as NAMESPACE/NAME, or
// by its UID.
func IsName(s string) bool { return len(s) <= 128 && name.MatchString(s) }

// Text is what is written down of a point that goes.
func Text(namespace, name, reason string, at time.Time) string {
	return fmt.Sprintf("%s/%s %s %s", namespace, name, reason, at.UTC().Format(time.RFC3339))
}

// Parse reads what Text has written, as far as it can be understood.
func Parse(uid types.UID, text string) Point {
	p := Point{UID: uid}
	name, rest, _ := strings.Cut(text, " ")
	p.Namespace, p.Name, _ = strings.Cut(name, "/")
	reason, at, _ := strings.Cut(rest, " ")
	p.Reason = reason
	p.At, _ = time.Parse(time.RFC3339, at) // zero: nobody knows
	return p
}

// List reads the forgotten points of a target, by namespace and name. system is
// Hayloft's namespace, in which the reader may list ConfigMaps.
func List(ctx context.Context, c client.Reader, system, target string) ([]Point, error) {
	var t v1alpha1.BackupTarget
	if err := c.Get(ctx, client.ObjectKey{Name: target}, &t); err != nil {
		return nil, err
	}
	var parts corev1.ConfigMapList
	err := c.List(ctx, &parts, client.InNamespace(system), client.MatchingLabels{v1alpha1.LabelTarget: string(t.UID), v1alpha1.LabelKept: v1alpha1.KeptGraves})
	if err != nil {
		return nil, err
	}
	var out []Point
	for _, m := range parts.Items {
		for uid, text := range m.Data {
			out = append(out, Parse(types.UID(uid), text))
		}
	}
	slices.SortFunc(out, func(a, b Point) int {
		return strings.Compare(a.Namespace+"/"+a.Name+string(a.UID), b.Namespace+"/"+b.Name+string(b.UID))
	})
	return out, nil
}
