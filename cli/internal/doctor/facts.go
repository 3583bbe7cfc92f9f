package doctor

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/sentence"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
)

// Facts are what a cluster says of an installation.
type Facts struct {
	Options
	// At is when they were gathered.
	At time.Time

	// Definitions maps a CustomResourceDefinition's name -> itself.
	Definitions map[string]*unstructured.Unstructured
	// Lacks are the rights that the accounts do not have, Mine those that the
	// caller does not.
	Lacks, Mine []Right
	// Leader is the coordinators' Lease, Sessions those of agents.
	Leader       *Beat
	Sessions     []Beat
	VolumeLeases []coordinationv1.Lease
	// Webhook is the configuration of the admission webhook, Answer what came of
	// asking it: its refusal, nil when nobody refused.
	Webhook  *admissionv1.ValidatingWebhookConfiguration
	Answer   error
	Policies map[string]bool

	Backups  []v1alpha1.VMBackup
	Restores []v1alpha1.VMRestore
	Targets  []v1alpha1.BackupTarget
	Jobs     []v1alpha1.NodeJob

	Volumes         []longhorn.Volume
	Attachments     []longhorn.VolumeAttachment
	Snapshots       []longhorn.Snapshot
	LonghornTargets []longhorn.BackupTarget
	// Setting is Harvester's of its backup target; nil: there is none.
	Setting *unstructured.Unstructured

	// Moved are volumes ("volume/NAME", its lease's holder), tickets
	// ("ticket/VOLUME/ID") and jobs ("job/NAME", its session) that changed, came or
	// went while the facts were gathered.
	Moved map[string]bool
	// Before are the UIDs of the points and restores that were there when gathering
	// began: what one of them owned may have been read before it went, and it after.
	Before map[types.UID]bool

	mu     sync.Mutex
	failed map[string]error // what could not be read -> why
}

// settingName is Harvester's setting of its one backup target.
const settingName = "backup-target"

// Gather reads all facts. An error means that the cluster cannot be asked at all.
func Gather(ctx context.Context, o Options) (*Facts, error) {
	f := &Facts{Options: o, failed: map[string]error{}}
	crds := &unstructured.UnstructuredList{}
	crds.SetGroupVersionKind(kinds.DefinitionKind)
	if err := o.Client.List(ctx, crds); err != nil {
		if !apierrors.IsForbidden(err) {
			return nil, err
		}
		f.cannot("definitions", err)
	}
	f.Definitions = map[string]*unstructured.Unstructured{}
	for i := range crds.Items {
		f.Definitions[crds.Items[i].GetName()] = &crds.Items[i]
	}
	// What is left over stays as it is while sessions are watched; whatever moves
	// meanwhile is somebody's.
	f.moving(ctx)
	before := f.standing()
	f.Before = f.owners()
	var group sync.WaitGroup
	for _, read := range []func(context.Context){f.still, f.harvester, f.admission, f.rights, f.beats} {
		group.Go(func() { read(ctx) })
	}
	group.Wait()
	f.moving(ctx)
	f.Moved = differ(before, f.standing())
	f.At = o.Now()
	return f, ctx.Err()
}

// cannot notes what could not be read.
func (f *Facts) cannot(what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed[what] = err
}

// known is whether all of these could be read; if not, unread says so.
func (f *Facts) known(what ...string) bool {
	for _, w := range what {
		if f.failed[w] != nil {
			return false
		}
	}
	return true
}

func (f *Facts) unread(what ...string) (all []Finding) {
	for _, w := range what {
		if err := f.failed[w]; err != nil {
			all = append(all, Finding{
				Level: Unchecked, What: w + " could not be read", Why: sentence.Of(err),
				Do: "run this as somebody who may, such as an administrator of the cluster",
			})
		}
	}
	return all
}

// list reads objects; that their kind is not there is no failure: the check of
// definitions says so.
func (f *Facts) list(ctx context.Context, what string, into client.ObjectList, options ...client.ListOption) {
	if err := f.Client.List(ctx, into, options...); client.IgnoreNotFound(err) != nil {
		f.cannot(what, err)
	}
}

// moving reads what work changes all the time. A ticket that stands before and
// after this was held in between if the lease that is read in between says so.
func (f *Facts) moving(ctx context.Context) {
	var jobs v1alpha1.NodeJobList
	var leases coordinationv1.LeaseList
	var volumes longhorn.VolumeList
	var attachments longhorn.VolumeAttachmentList
	f.list(ctx, "jobs", &jobs, client.InNamespace(f.System))
	f.list(ctx, "volume leases", &leases, client.InNamespace(f.System), client.MatchingLabels{v1alpha1.LabelLease: lease.KindVolume})
	f.list(ctx, "Longhorn's volumes", &volumes, client.InNamespace(f.Longhorn))
	f.list(ctx, "Longhorn's attachments", &attachments, client.InNamespace(f.Longhorn))
	f.Jobs, f.VolumeLeases, f.Volumes, f.Attachments = jobs.Items, leases.Items, volumes.Items, attachments.Items
	var snapshots longhorn.SnapshotList
	var backups v1alpha1.VMBackupList
	var restores v1alpha1.VMRestoreList
	// Owners are read after what they own, so that none is missed that was made
	// meanwhile.
	f.list(ctx, "Longhorn's snapshots", &snapshots, client.InNamespace(f.Longhorn))
	f.list(ctx, "backups", &backups)
	f.list(ctx, "restores", &restores)
	f.Snapshots, f.Backups, f.Restores = snapshots.Items, backups.Items, restores.Items
}

// standing is what could be left over, and in whose hands it is.
func (f *Facts) standing() map[string]string {
	out := map[string]string{}
	for i := range f.VolumeLeases {
		out["volume/"+volumeOf(&f.VolumeLeases[i])] = holder(&f.VolumeLeases[i])
	}
	for i := range f.Attachments {
		for id := range f.Attachments[i].Spec.AttachmentTickets {
			out["ticket/"+f.Attachments[i].Name+"/"+id] = id
		}
	}
	for i := range f.Jobs {
		out["job/"+f.Jobs[i].Name] = f.Jobs[i].Status.Session
	}
	return out
}

// owners are the UIDs of points and restores that are there, or were before.
func (f *Facts) owners() map[types.UID]bool {
	out := maps.Clone(f.Before)
	if out == nil {
		out = map[types.UID]bool{}
	}
	for i := range f.Backups {
		out[f.Backups[i].UID] = true
	}
	for i := range f.Restores {
		out[f.Restores[i].UID] = true
	}
	return out
}

// differ are the keys whose values are not the same, or are in one only.
func differ(a, b map[string]string) map[string]bool {
	out := map[string]bool{}
	for k, v := range a {
		if w, there := b[k]; !there || w != v {
			out[k] = true
		}
	}
	for k := range b {
		if _, there := a[k]; !there {
			out[k] = true
		}
	}
	return out
}

// still reads what changes seldom.
func (f *Facts) still(ctx context.Context) {
	var targets v1alpha1.BackupTargetList
	var others longhorn.BackupTargetList
	f.list(ctx, "targets", &targets)
	f.list(ctx, "Longhorn's backup targets", &others, client.InNamespace(f.Longhorn))
	f.Targets, f.LonghornTargets = targets.Items, others.Items
}

func (f *Facts) harvester(ctx context.Context) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kinds.SettingKind)
	switch err := f.Client.Get(ctx, client.ObjectKey{Name: settingName}, u); {
	case apierrors.IsNotFound(err): // no Harvester, or none of its targets
	case err != nil:
		f.cannot("Harvester's setting "+settingName, err)
	default:
		f.Setting = u
	}
}

// more is how many are not named.
func more(n int) string { return fmt.Sprintf(" and %d more", n) }
