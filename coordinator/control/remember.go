package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// remember takes back that points are forgotten, as the annotation on their target
// asks for: the next refresh finds those that are still there.
func (g *graves) remember(ctx context.Context, t *v1alpha1.BackupTarget) error {
	asked := t.Annotations[v1alpha1.AnnotationRemember]
	if asked == "" {
		return nil
	}
	parts, err := g.c.shelved(ctx, t.UID, shelfGraves)
	if err != nil {
		return err
	}
	remembered := 0
	for _, m := range parts {
		for uid, why := range m.Data {
			if !asks(asked, uid, why) {
				continue
			}
			if err := g.unbury(ctx, t, types.UID(uid)); err != nil {
				return err
			}
			remembered++
		}
	}
	// By its value: what was asked for meanwhile is done next.
	patch := fmt.Appendf(nil, `[{"op":"test","path":"/metadata/annotations/%[1]s","value":%[2]q},{"op":"remove","path":"/metadata/annotations/%[1]s"}]`,
		strings.ReplaceAll(v1alpha1.AnnotationRemember, "/", "~1"), asked)
	if err := g.c.client.Patch(ctx, t, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return fmt.Errorf("noting that points of BackupTarget %s are remembered: %w", t.Name, client.IgnoreNotFound(err))
	}
	g.c.events.Event(t, corev1.EventTypeNormal, "PointsRemembered", words.Count(remembered, "forgotten point")+" may be found again: the next refresh looks for "+words.Verb(remembered, "it", "them"))
	return nil
}

// asks tells whether a forgotten point is asked for; why begins with its namespace
// and name.
func asks(asked, uid, why string) bool {
	name, _, _ := strings.Cut(why, " ")
	return slices.ContainsFunc(strings.Split(asked, ","), func(s string) bool {
		s = strings.TrimSpace(s)
		return s == v1alpha1.RememberAll || s == uid || s == name
	})
}
