package runs

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// Point is the VMBackup that a schedule makes of a VM for a nominal time. It has
// no owner: deleting the schedule keeps it. The finalizer and the label that every
// point gets when it begins it has from the start, which spares a write before its
// cut.
func Point(s *v1alpha1.VMSchedule, vm string, nominal time.Time) *v1alpha1.VMBackup {
	return &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: names.Scheduled(s.UID, vm, nominal),
			Labels:     map[string]string{v1alpha1.LabelSchedule: string(s.UID), v1alpha1.LabelVM: vm},
			Finalizers: []string{v1alpha1.FinalizerData},
			Annotations: map[string]string{
				v1alpha1.AnnotationSchedule:    s.Name,
				v1alpha1.AnnotationNominalTime: nominal.UTC().Format(v1alpha1.NominalTimeLayout),
			},
		},
		Spec: v1alpha1.VMBackupSpec{
			VM: vm, Type: s.Spec.Type, Target: s.Spec.Target,
			IncludeDisks: s.Spec.IncludeDisks, ExcludeDisks: s.Spec.ExcludeDisks,
			Quiesce: s.Spec.Quiesce, DeletionPolicy: s.Spec.DeletionPolicy,
		},
	}
}

// Nominal is the time for which a schedule made a point; false when the point
// does not say.
func Nominal(b *v1alpha1.VMBackup) (time.Time, bool) {
	at, err := time.Parse(v1alpha1.NominalTimeLayout, b.Annotations[v1alpha1.AnnotationNominalTime])
	return at, err == nil
}

// Ended tells whether a point does nothing any more that a later one would have
// to wait for.
func Ended(b *v1alpha1.VMBackup) bool {
	switch b.Status.Phase {
	case "", v1alpha1.BackupPending, v1alpha1.BackupCutting, v1alpha1.BackupUploading, v1alpha1.BackupVerifying:
		return !b.DeletionTimestamp.IsZero()
	}
	return true
}

func (p *planner) index() {
	p.byVM, p.byRun = map[string][]*v1alpha1.VMBackup{}, map[int64][]*v1alpha1.VMBackup{}
	for i := range p.Points {
		b := &p.Points[i]
		p.byVM[b.Spec.VM] = append(p.byVM[b.Spec.VM], b)
		if at, ok := Nominal(b); ok {
			p.byRun[at.Unix()] = append(p.byRun[at.Unix()], b)
		}
	}
}

// pointsOf are the points of a run.
func (p *planner) pointsOf(r *v1alpha1.ScheduleRun) []*v1alpha1.VMBackup {
	return p.byRun[r.NominalTime.Unix()]
}

// said is a moment for people.
func said(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func stamp(t time.Time) *metav1.Time { return ptr.To(metav1.NewTime(t)) }

// cut keeps a message within the API's limit.
func cut(s string) string {
	const limit = 1024
	if len(s) <= limit {
		return s
	}
	return s[:limit-4] + " ..."
}
