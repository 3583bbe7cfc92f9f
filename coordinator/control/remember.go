package control

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/forgotten"
	"hayloft.dev/pkg/words"
)

// remember takes back that points are forgotten, as the annotation on their target
// asks for: the next refresh finds those that are still there.
func (g *graves) remember(ctx context.Context, t *v1alpha1.BackupTarget) error {
	which, word, two := strings.Cut(t.Annotations[v1alpha1.AnnotationRemember], " ")
	if !two {
		word = which
	}
	word = cutTo(word, 64)
	if word == "" || t.Status.Remembered != nil && t.Status.Remembered.Requested == word {
		return nil
	}
	parts, err := g.c.shelved(ctx, t.UID, shelfGraves)
	if err != nil {
		return err
	}
	remembered := 0
	for _, m := range parts {
		for uid, text := range m.Data {
			if !asks(which, forgotten.Parse(types.UID(uid), text)) {
				continue
			}
			if err := g.unbury(ctx, t, types.UID(uid)); err != nil {
				return err
			}
			remembered++
		}
	}
	told := false // already: the cache did not show it yet
	err = g.c.tellTarget(ctx, t, func(s *v1alpha1.BackupTargetStatus) {
		if told = s.Remembered != nil && s.Remembered.Requested == word; !told {
			s.Remembered = &v1alpha1.TargetRemembered{Requested: word, Points: int64(remembered)}
		}
	})
	if err != nil || told {
		return err
	}
	g.c.events.Event(t, corev1.EventTypeNormal, "PointsRemembered", words.Count(remembered, "forgotten point")+" may be found again: the next refresh looks for "+words.Verb(remembered, "it", "them"))
	return nil
}

// asks tells whether a forgotten point is asked for.
func asks(which string, p forgotten.Point) bool {
	return slices.ContainsFunc(strings.Split(which, ","), func(s string) bool {
		return s == v1alpha1.RememberAll || s == string(p.UID) || s == p.Namespace+"/"+p.Name
	})
}
