package doctor

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/guard"
	"hayloft.dev/pkg/words"
)

// targets looks whether they can be reached, and at what looking through them
// costs.
func targets(f *Facts) []Finding {
	out := f.unread("targets")
	if f.known("targets") && len(f.Targets) == 0 {
		out = append(out, Finding{Level: Note, What: "there is no BackupTarget", Why: "only snapshots can be made", Do: "create one: see the README"})
	}
	for i := range f.Targets {
		out = append(out, target(&f.Targets[i])...)
	}
	return out
}

func target(t *v1alpha1.BackupTarget) (out []Finding) {
	who := "target " + t.Name
	describe := "see hayloft describe target " + t.Name
	switch ready := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady); {
	case ready == nil:
		out = append(out, Finding{Level: Problem, What: who + " was never tried out", Why: "no backup goes there before that", Do: "look whether a coordinator leads"})
	case ready.Status != metav1.ConditionTrue:
		out = append(out, Finding{
			Level: Problem, What: fmt.Sprintf("%s is not ready (%s): %s", who, ready.Reason, ready.Message), Why: "backups to it fail, deletions wait",
			Do: "mend what it says; it is tried again by itself",
		})
	}
	if c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionSecretsEncrypted); c != nil {
		switch c.Reason {
		case v1alpha1.SecretsNotEncrypted:
			out = append(out, Finding{
				Level: Note, What: "Secrets of VMs are not encrypted on " + who, Why: "who may read the target may read them",
				Do: "name recipients in spec.encryption: see hayloft key generate --help",
			})
		case v1alpha1.SecretsNotReadable:
			out = append(out, Finding{
				Level: Warning, What: "this cluster could not restore the Secrets that it encrypts on " + who, Why: c.Message,
				Do: "name the Secret with an identity in spec.encryption.identitySecret",
			})
		}
	}
	out = append(out, looked(t, who, describe)...)
	return append(out, leftOn(t, who)...)
}

// looked judges the looks through a target.
func looked(t *v1alpha1.BackupTarget, who, describe string) (out []Finding) {
	r := t.Status.Refresh
	if r == nil {
		return nil
	}
	effective := "unknown"
	if r.EffectiveInterval != nil {
		effective = r.EffectiveInterval.Duration.String()
	}
	switch r.IntervalFrom {
	case "Floor":
		out = append(out, Finding{
			Level: Warning, What: fmt.Sprintf("%s asks for a refresh every %s and gets one every %s", who, t.Spec.Refresh.Interval, effective),
			Why: "a shorter interval than the coordinators' floor would keep a processor busy", Do: "set spec.refresh.interval to " + effective + " or more",
		})
	case "Cost":
		out = append(out, Finding{
			Level: Warning, What: fmt.Sprintf("%s is refreshed every %s only, since that takes %s of CPU time", who, effective, spent(r)),
			Why: "its budget (spec.refresh.maxCPU) allows no more", Do: "raise spec.refresh.maxCPU, or let points of other clusters show later",
		})
	}
	if r.Circuit == "Open" || r.Failures > 0 {
		out = append(out, Finding{
			Level: Warning, What: fmt.Sprintf("the last %s through %s failed: %s", words.Count(int(r.Failures), "look"), who, r.Message),
			Why: "points of other clusters do not show, and ones that vanished are not noticed", Do: describe,
		})
	}
	if d := r.Documents; d != nil && d.Faulty > 0 {
		first := ""
		if len(r.Faults) > 0 {
			first = fmt.Sprintf(", first %s: %s", r.Faults[0].Path, r.Faults[0].Message)
		}
		out = append(out, Finding{
			Level: Warning, What: fmt.Sprintf("%s on %s %s not taken for points%s", words.Count(int(d.Faulty), "document"), who, words.Verb(int(d.Faulty), "is", "are"), first),
			Why: "what they stand for cannot be restored from here", Do: describe,
		})
	}
	if d := r.Documents; d != nil && d.Waiting > 0 {
		where := make([]string, 0, len(r.Waiting))
		for _, w := range r.Waiting {
			where = append(where, w.Namespace)
		}
		out = append(out, Finding{
			Level: Note, What: fmt.Sprintf("%s on %s %s for namespaces: %s", words.Count(int(d.Waiting), "point"), who, words.Verb(int(d.Waiting), "waits", "wait"), listed(where)),
			Why: "points show in the namespace of their VM", Do: "create the namespaces if you want to restore from there",
		})
	}
	return out
}

// leftOn tells of leftovers on a target that may be removed.
func leftOn(t *v1alpha1.BackupTarget, who string) []Finding {
	l := t.Status.Leftovers
	if l == nil || l.Removable == 0 {
		return nil
	}
	var names []string
	for _, i := range l.Items {
		if i.Keep == "" && !i.Removed {
			names = append(names, i.Path+i.Backup)
		}
	}
	n := int(l.Removable)
	return []Finding{{
		Level: Warning, What: fmt.Sprintf("%s on %s %s nobody's any more: %s", words.Count(n, "leftover"), who, words.Verb(n, "is", "are"), listed(names)),
		Why: "they take space, and while a transfer that never ended is there, no space of its volume is freed", Do: "remove them: hayloft target leftovers " + t.Name + " --remove",
	}}
}

func spent(r *v1alpha1.TargetRefreshStatus) string {
	if r.Cost == nil {
		return "much"
	}
	return (time.Duration(r.Cost.CPUMilliseconds) * time.Millisecond).String()
}

// intervals looks at those of Harvester and Longhorn.
func intervals(f *Facts) []Finding {
	out := f.unread("Harvester's setting "+settingName, "Longhorn's backup targets")
	seconds := int(guard.Floor / time.Second)
	const why = "its controller then runs almost without a pause and keeps a processor busy (harvester#7885)"
	if f.Setting != nil {
		value, _, _ := unstructured.NestedString(f.Setting.Object, "value")
		found, used, err := guard.Setting(value)
		switch {
		case err != nil:
			out = append(out, Finding{Level: Unchecked, What: "Harvester's setting " + settingName, Why: err.Error(), Do: "look at it in Harvester"})
		case used && found.Bad != "":
			out = append(out, Finding{
				Level: Problem, What: fmt.Sprintf("refreshIntervalInSeconds of Harvester's setting %s: %s", settingName, found.Bad), Why: why,
				Do: fmt.Sprintf("set it to %d or more, or let the coordinators: --heal-refresh-intervals", seconds),
			})
		}
	}
	for i := range f.LonghornTargets {
		t := &f.LonghornTargets[i]
		if t.Spec.BackupTargetURL == "" {
			continue
		}
		if found := guard.Judge(t.Spec.PollInterval.Duration, true); found.Bad != "" {
			out = append(out, Finding{
				Level: Problem, What: fmt.Sprintf("spec.pollInterval of Longhorn's BackupTarget %s: %s", t.Name, found.Bad), Why: why,
				Do: fmt.Sprintf("set it to %ds or more, or let the coordinators: --heal-refresh-intervals", seconds),
			})
		}
	}
	return out
}
