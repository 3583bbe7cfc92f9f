package control

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestChangedAt(t *testing.T) {
	made := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	noted, now := made.Add(time.Hour), made.Add(2*time.Hour)
	target := func(generation, observed int64, noted *time.Time) *v1alpha1.BackupTarget {
		o := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Generation: generation, CreationTimestamp: metav1.NewTime(made)}}
		o.Status.ObservedGeneration = observed
		if noted != nil {
			at := metav1.NewTime(*noted)
			o.Status.ChangedTime = &at
		}
		return o
	}
	for name, c := range map[string]struct {
		target     *v1alpha1.BackupTarget
		want, then time.Time // then: once it was taken note of
	}{
		"just made":                           {target(1, 0, nil), made, made},
		"changed before anybody looked":       {target(2, 0, nil), now, now},
		"never changed, by an older release":  {target(1, 1, nil), made, made},
		"as it was":                           {target(2, 2, &noted), noted, noted},
		"changed, and nobody has taken note":  {target(3, 2, &noted), now, now},
		"changed first, by an older release":  {target(2, 1, nil), now, now},
		"changed back, which is a change too": {target(4, 3, &noted), now, now},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, changedAt(c.target, now))
			noteChange(c.target, &c.target.Status, now)
			require.Equal(t, c.then, changedAt(c.target, now.Add(time.Minute)))
		})
	}
}
