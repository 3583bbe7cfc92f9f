package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
)

// maxName is the longest name of a VM, backup or restore.
const maxName = 63

// generated is a name for a backup or restore of vm, made at a time: sortable,
// and short enough for long VM names.
func generated(vm string, at time.Time) string {
	stamp := at.UTC().Format("-20060102-150405")
	if room := maxName - len(stamp); len(vm) > room {
		vm = strings.TrimRight(vm[:room], "-.")
	}
	return vm + stamp
}

// checkLabel refuses what is not a DNS label, before the API server does, and
// says the rule.
func checkLabel(c *cobra.Command, what, name string) error {
	if len(validation.IsDNS1123Label(name)) == 0 {
		return nil
	}
	return usage(c, "%q cannot be %s: it must be lower-case letters, digits and -, start and end with a letter or digit, and have at most %d characters", name, what, maxName)
}

// checkName refuses what cannot be the name of an existing VM or object.
func checkName(c *cobra.Command, what, name string) error {
	if len(name) <= maxName && len(validation.IsDNS1123Subdomain(name)) == 0 {
		return nil
	}
	return usage(c, "%q cannot be %s: it must be lower-case letters, digits, - and ., start and end with a letter or digit, and have at most %d characters", name, what, maxName)
}

// creator makes an object and, if asked, waits for it.
type creator struct {
	name    string
	wait    bool
	timeout time.Duration
	output  string
}

func (o *creator) bind(c *cobra.Command, word string) {
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "name of the "+word+" (default made from the VM's name and the time)")
	f.BoolVar(&o.wait, "wait", false, "wait until the "+word+" is ready or failed, and show its progress")
	f.DurationVar(&o.timeout, "timeout", 0, "longest time to wait with --wait, such as 30m (default no limit)")
	f.StringVarP(&o.output, "output", "o", "", "print the object: json, yaml or name")
}

func (o *creator) check(c *cobra.Command, word string) error {
	if o.name != "" {
		if err := checkName(c, "the name of a "+word, o.name); err != nil {
			return err
		}
	}
	if err := checkWait(c, o.wait, o.timeout); err != nil {
		return err
	}
	return checkOutput(c, o.output, "json", "yaml", "name")
}

// tries is how many names are tried when generated ones are taken, which
// happens when one VM is backed up twice in a second.
const tries = 5

// create makes the object, under a generated name unless one was given.
func (a *app) create(ctx context.Context, cluster *kube.Cluster, o *creator, base string, obj client.Object) error {
	if o.name != "" {
		obj.SetName(o.name)
		return cluster.Client.Create(ctx, obj)
	}
	name := generated(base, a.Now())
	for try := 1; ; try++ {
		obj.SetName(name)
		err := cluster.Client.Create(ctx, obj)
		if err == nil || try == tries || !apierrors.IsAlreadyExists(err) {
			return err
		}
		name = generated(base, a.Now().Add(time.Duration(try)*time.Second))
	}
}

// created says so, or waits, and prints the object if that was asked for.
func (a *app) created(ctx context.Context, cluster *kube.Cluster, k kinds.Kind, o *creator, obj client.Object) error {
	obj.GetObjectKind().SetGroupVersionKind(k.GVK())
	var failed error
	if o.wait {
		if o.output == "" {
			fmt.Fprintf(a.Err, "%s created\n", k.Named(obj.GetName()))
		}
		last, err := a.await(ctx, cluster, k, obj, o.timeout, o.output == "")
		if last == nil {
			return err
		}
		obj, failed = last, err
		obj.GetObjectKind().SetGroupVersionKind(k.GVK())
	} else if o.output == "" {
		_, err := fmt.Fprintf(a.Out, "%s created\n", k.Named(obj.GetName()))
		return err
	}
	if o.output != "" {
		if err := encode(a.Out, o.output, obj, k, obj.GetName()); err != nil {
			return err
		}
	}
	return failed
}
