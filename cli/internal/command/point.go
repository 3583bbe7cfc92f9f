package command

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hayloft.dev/pkg/api/v1alpha1"
)

// pointOptions are what the types of point have in common.
type pointOptions struct {
	include, exclude []string
	quiesce, method  string
	note             string
	deadline         int32
	pin              bool
}

func (o *pointOptions) bind(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&o.include, "include", nil, "take only these disks, by their names in the VM's spec")
	f.StringSliceVar(&o.exclude, "exclude", nil, "leave these disks out")
	f.StringVar(&o.quiesce, "quiesce", string(v1alpha1.QuiesceBestEffort), "bring the guest to rest while its disks are cut: besteffort, required or never")
	f.StringVar(&o.method, "quiesce-method", string(v1alpha1.QuiesceAuto), "how: freeze asks the guest's agent, pause stops the VM's container where that is enabled, auto does what there is")
	f.Int32Var(&o.deadline, "freeze-deadline", 10, "seconds after which a guest at rest goes on by itself, 1 to 60")
	f.StringVar(&o.note, "note", "", "a note for people")
	f.BoolVar(&o.pin, "pin", false, "keep retention from removing it")
}

// apply puts the options into a spec.
func (o *pointOptions) apply(c *cobra.Command, s *v1alpha1.VMBackupSpec) error {
	policies := []v1alpha1.QuiescePolicy{v1alpha1.QuiesceBestEffort, v1alpha1.QuiesceRequired, v1alpha1.QuiesceNever}
	i := slices.IndexFunc(policies, func(p v1alpha1.QuiescePolicy) bool { return strings.EqualFold(string(p), o.quiesce) })
	methods := []v1alpha1.QuiesceMethod{v1alpha1.QuiesceAuto, v1alpha1.QuiesceFreeze, v1alpha1.QuiescePause}
	m := slices.IndexFunc(methods, func(p v1alpha1.QuiesceMethod) bool { return strings.EqualFold(string(p), o.method) })
	switch {
	case len(o.include) > 0 && len(o.exclude) > 0:
		return usage(c, "--include and --exclude exclude each other")
	case i < 0:
		return usage(c, "--quiesce %q is not one of besteffort, required, never", o.quiesce)
	case m < 0:
		return usage(c, "--quiesce-method %q is not one of auto, freeze, pause", o.method)
	case o.deadline < 1 || o.deadline > 60:
		return usage(c, "--freeze-deadline %d is not between 1 and 60 seconds", o.deadline)
	}
	s.IncludeDisks, s.ExcludeDisks, s.Note, s.Pinned = o.include, o.exclude, o.note, o.pin
	s.Quiesce = v1alpha1.Quiesce{Policy: policies[i], DeadlineSeconds: o.deadline}
	if methods[m] != v1alpha1.QuiesceAuto {
		s.Quiesce.Method = methods[m]
	}
	return nil
}
