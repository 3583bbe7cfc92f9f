package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/follow"
	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/cli/internal/sentence"
	"hayloft.dev/cli/internal/show"
	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
	"hayloft.dev/pkg/words"
)

// event is something to show: a state of the object, or a remark.
type event struct {
	status status.Status
	remark string
}

// await shows the progress of a backup or restore until it ends. It returns
// the last state seen and, when it did not become ready, errFailed (the cause
// was printed), errTimeout or what stood in the way.
func (a *app) await(ctx context.Context, cluster *kube.Cluster, k kinds.Kind, obj client.Object, timeout time.Duration, result bool) (client.Object, error) {
	began := a.Now()
	last, err := a.pursue(ctx, cluster, k, obj, timeout)
	if err != nil {
		return last, err
	}
	if s := statusOf(last); s.Failed {
		a.complain(fmt.Sprintf("%s %s failed: %s", k.Word, last.GetName(), s.Cause))
		return last, errFailed
	}
	if result {
		_, err = fmt.Fprintln(a.Out, ready(last, a.Now().Sub(began)))
	}
	return last, err
}

// pursue shows the progress of a backup or restore until it ends, however that is.
func (a *app) pursue(ctx context.Context, cluster *kube.Cluster, k kinds.Kind, obj client.Object, timeout time.Duration) (client.Object, error) {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	last, trouble := obj, ""
	f := follow.Follower{
		Client: cluster.Client, Kind: k, Key: client.ObjectKeyFromObject(obj), UID: obj.GetUID(),
	}
	err := a.display(ctx, func(ctx context.Context, events chan<- event) error {
		f.Seen = func(o client.Object) bool {
			last, trouble = o, ""
			s := statusOf(o)
			send(ctx, events, event{status: s})
			return s.Ended
		}
		f.Trouble = remark(ctx, events, &trouble)
		return f.Run(ctx)
	})
	switch {
	case errors.Is(err, errTimeout):
		return last, fmt.Errorf("%s %s is not ready after %s; it goes on (%s), see: hayloft describe %s %s: %w",
			k.Word, last.GetName(), timeout, phaseAndWhy(statusOf(last)), k.Word, last.GetName(), err)
	case errors.Is(err, follow.ErrGone):
		return last, fmt.Errorf("%s %s was deleted while it was waited for", k.Word, last.GetName())
	}
	return last, err
}

// display runs work and shows the events that it sends.
func (a *app) display(ctx context.Context, work func(context.Context, chan<- event) error) error {
	view := show.For(a.Err)
	events := make(chan event)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(events)
		return work(ctx, events)
	})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for open := true; open; {
		var e event
		select {
		case e, open = <-events:
			switch {
			case !open:
			case e.remark != "":
				view.Say(a.Now(), e.remark)
			default:
				view.Update(a.Now(), e.status)
			}
		case <-tick.C:
			view.Tick(a.Now())
		}
	}
	view.Close(a.Now())
	return g.Wait()
}

// remark shows that the API server could not be asked: once, not in every
// round. last is the remark that stands, "" when all is well again.
func remark(ctx context.Context, events chan<- event, last *string) func(error) {
	return func(err error) {
		if said := "trying again: " + sentence.Of(err); said != *last {
			*last = said
			send(ctx, events, event{remark: said})
		}
	}
}

// send gives an event to the display, which may already be gone.
func send(ctx context.Context, events chan<- event, e event) {
	select {
	case events <- e:
	case <-ctx.Done():
	}
}

// waitFlags adds those of commands that can wait for until.
func waitFlags(c *cobra.Command, until string, wait *bool, timeout *time.Duration) {
	c.Flags().BoolVar(wait, "wait", false, "wait until "+until+", showing what is waited for")
	c.Flags().DurationVar(timeout, "timeout", 0, "longest time to wait with --wait, such as 5m (default no limit)")
}

// checkWait refuses flags of waiting that do not go together.
func checkWait(c *cobra.Command, wait bool, timeout time.Duration) error {
	switch {
	case timeout < 0:
		return usage(c, "--timeout %s is negative", timeout)
	case timeout > 0 && !wait:
		return usage(c, "--timeout needs --wait")
	}
	return nil
}

// withTimeout is ctx with errTimeout as its cause once timeout passed; 0 is no
// limit.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, timeout, errTimeout)
}

func statusOf(o client.Object) status.Status {
	switch x := o.(type) {
	case *v1alpha1.VMBackup:
		return status.OfBackup(x)
	case *v1alpha1.VMRestore:
		return status.OfRestore(x)
	}
	return status.Status{}
}

func phaseAndWhy(s status.Status) string {
	switch {
	case s.Phase == "":
		return "no coordinator has looked at it yet"
	case s.Why == "":
		return s.Phase
	}
	return s.Phase + ": " + s.Why
}

// ready is the last line of a wait that ended well.
func ready(o client.Object, took time.Duration) string {
	switch x := o.(type) {
	case *v1alpha1.VMBackup:
		var size, uploaded int64
		for _, d := range x.Status.Disks {
			size += d.SizeBytes
			if d.UploadedBytes != nil {
				uploaded += *d.UploadedBytes
			}
		}
		if x.Spec.Type == v1alpha1.TypeSnapshot {
			return fmt.Sprintf("snapshot %s is ready: %s, %s, in %s", x.Name, words.Count(len(x.Status.Disks), "disk"), units.Bytes(size), units.Duration(took))
		}
		return fmt.Sprintf("backup %s is ready: %s, %s, %s uploaded, in %s",
			x.Name, words.Count(len(x.Status.Disks), "disk"), units.Bytes(size), units.Bytes(uploaded), units.Duration(took))
	case *v1alpha1.VMRestore:
		var size int64
		for _, d := range x.Status.Disks {
			size += d.SizeBytes
		}
		return fmt.Sprintf("restore %s is ready: %s with %s, %s, in %s",
			x.Name, status.Destination(x), words.Count(len(x.Status.Disks), "disk"), units.Bytes(size), units.Duration(took))
	}
	return o.GetName() + " is ready"
}
