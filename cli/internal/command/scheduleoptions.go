package command

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// scheduleOptions are what create and set have in common: all that may be changed
// of a schedule. What is not given is the API's default, or stays.
type scheduleOptions struct {
	cron, zone, target            string
	include, exclude              []string
	quiesce, method               string
	policy, points                string
	override                      string
	keep                          [6]int32 // as in keeps
	minGood, failures, freeze     int32
	deadline, jitter, resumeAfter time.Duration
}

// keeps are the flags of a retention and its fields.
var keeps = [6]struct{ flag, field, help string }{
	{"keep-last", "keepLast", "keep the newest points of each VM, 2 to 250 (default 8)"},
	{"keep-hourly", "keepHourly", "keep the newest point of each of so many hours"},
	{"keep-daily", "keepDaily", "keep the newest point of each of so many days"},
	{"keep-weekly", "keepWeekly", "keep the newest point of each of so many weeks"},
	{"keep-monthly", "keepMonthly", "keep the newest point of each of so many months"},
	{"keep-yearly", "keepYearly", "keep the newest point of each of so many years"},
}

func (o *scheduleOptions) bind(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.cron, "cron", "", `when: minute, hour, day of month, month, day of week; or @hourly, @daily, "@every 6h" ...`)
	f.StringVar(&o.zone, "time-zone", "", "zone in which --cron is read, such as Europe/Berlin (default UTC)")
	f.StringVarP(&o.target, "target", "t", "", "BackupTarget to write to, see hayloft get targets (default the one with spec.default)")
	for i, k := range keeps {
		f.Int32Var(&o.keep[i], k.flag, 0, k.help)
	}
	f.Int32Var(&o.minGood, "min-good", 0, "never leave fewer good points of a VM than these (default 1)")
	f.Int32Var(&o.failures, "max-failures", 0, "suspend it after so many failed runs in a row (default 4)")
	f.DurationVar(&o.deadline, "starting-deadline", 0, "how late a run may begin, such as 6h; 0: there is no limit")
	f.DurationVar(&o.jitter, "jitter", 0, "spread the points of a run over this time, up to 1h")
	f.StringVar(&o.override, "override-spacing", "", "break the rules on how close runs may be, for this reason; empty: keep them")
	f.DurationVar(&o.resumeAfter, "resume-after-target-ready", 0, "resume it by itself when its target, whose failures had it suspended, has been well for so long; 0: do not")
	f.StringVar(&o.points, "points-on-delete", "", "what deleting the schedule does to its points: Retain or Delete (default Retain)")
	f.StringVar(&o.policy, "deletion-policy", "", "what deleting a point does to its data: Delete or Retain (default Delete)")
	f.StringSliceVar(&o.include, "include", nil, "take only these disks, by their names in the VM's spec")
	f.StringSliceVar(&o.exclude, "exclude", nil, "leave these disks out")
	f.StringVar(&o.quiesce, "quiesce", "", "bring the guest to rest while its disks are cut: besteffort, required or never (default besteffort)")
	f.StringVar(&o.method, "quiesce-method", "", "how: auto, freeze or pause, as for a backup (default auto)")
	f.Int32Var(&o.freeze, "freeze-deadline", 0, "seconds after which a guest at rest goes on by itself, 1 to 60 (default 10)")
}

// schedule is a new one of what was given.
func (o *scheduleOptions) schedule(c *cobra.Command, now time.Time) (*v1alpha1.VMSchedule, error) {
	spec, err := o.changes(c, now)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("writing the schedule: %w", err)
	}
	s := &v1alpha1.VMSchedule{}
	if err := json.Unmarshal(body, &s.Spec); err != nil {
		return nil, fmt.Errorf("writing the schedule: %w", err)
	}
	return s, nil
}

// changes are the fields of the spec that were given; nil takes one away.
func (o *scheduleOptions) changes(c *cobra.Command, now time.Time) (map[string]any, error) {
	spec := map[string]any{}
	given := c.Flags().Changed
	if given("cron") {
		if _, err := schedule.Parse(o.cron, o.zone, now); err != nil {
			return nil, usage(c, "%v", err)
		}
	}
	if len(o.include) > 0 && len(o.exclude) > 0 {
		return nil, usage(c, "--include and --exclude exclude each other")
	}
	for _, plain := range []struct {
		flag, field string
		value       any
	}{
		{"cron", "cron", o.cron},
		{"time-zone", "timeZone", o.zone},
		{"target", "target", o.target},
		{"max-failures", "maxFailures", o.failures},
		{"include", "includeDisks", list(o.include)},
		{"exclude", "excludeDisks", list(o.exclude)},
	} {
		if given(plain.flag) {
			spec[plain.field] = plain.value
		}
	}
	for _, seconds := range []struct {
		flag, field string
		value       time.Duration
		none        bool // 0 takes the field away
	}{
		{"starting-deadline", "startingDeadlineSeconds", o.deadline, true},
		{"jitter", "jitterSeconds", o.jitter, false},
		{"resume-after-target-ready", "resumeAfterTargetReadySeconds", o.resumeAfter, true},
	} {
		switch {
		case !given(seconds.flag):
		case seconds.value < 0 || seconds.value%time.Second != 0:
			return nil, usage(c, "--%s %s is not a number of whole seconds", seconds.flag, seconds.value)
		case seconds.value == 0 && seconds.none:
			spec[seconds.field] = nil
		default:
			spec[seconds.field] = int64(seconds.value / time.Second)
		}
	}
	if given("override-spacing") {
		spec["spacingOverride"] = nil
		if o.override != "" {
			spec["spacingOverride"] = map[string]any{"reason": o.override}
		}
	}
	o.nested(given, spec)
	return spec, o.choices(c, spec)
}

// nested are the fields of fields.
func (o *scheduleOptions) nested(given func(string) bool, spec map[string]any) {
	retention := map[string]any{}
	for i, k := range keeps {
		if given(k.flag) {
			retention[k.field] = o.keep[i]
		}
	}
	if given("min-good") {
		retention["minGood"] = o.minGood
	}
	if len(retention) > 0 {
		spec["retention"] = retention
	}
	if given("freeze-deadline") {
		spec["quiesce"] = map[string]any{"deadlineSeconds": o.freeze}
	}
}

// choices accept any case.
func (o *scheduleOptions) choices(c *cobra.Command, spec map[string]any) error {
	quiesce := func(field string) func(string) {
		return func(s string) {
			q, ok := spec["quiesce"].(map[string]any)
			if !ok {
				q = map[string]any{}
			}
			q[field] = s
			spec["quiesce"] = q
		}
	}
	for _, choice := range []struct {
		flag, value string
		among       []string
		put         func(string)
	}{
		{"points-on-delete", o.points, []string{"Retain", "Delete"}, func(s string) { spec["pointsOnDelete"] = s }},
		{"deletion-policy", o.policy, []string{"Delete", "Retain"}, func(s string) { spec["deletionPolicy"] = s }},
		{"quiesce", o.quiesce, []string{"BestEffort", "Required", "Never"}, quiesce("policy")},
		{"quiesce-method", o.method, []string{"Auto", "Freeze", "Pause"}, quiesce("method")},
	} {
		if !c.Flags().Changed(choice.flag) {
			continue
		}
		i := slices.IndexFunc(choice.among, func(s string) bool { return strings.EqualFold(s, choice.value) })
		if i < 0 {
			return usage(c, "--%s %q is not one of %s", choice.flag, choice.value, strings.Join(choice.among, ", "))
		}
		choice.put(choice.among[i])
	}
	return nil
}

// list is nil for none, which takes a field away.
func list(items []string) any {
	if len(items) == 0 {
		return nil
	}
	return items
}
