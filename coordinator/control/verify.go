package control

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/pkg/document"
)

// verifyDeadline bounds the look at one disk: every block of a large one is half a
// million requests.
const verifyDeadline = time.Hour

// verifying is the point that is being verified: one at a time, since looks for every
// block could keep a target's workers from what backups and restores need of them.
type verifying struct {
	mu sync.Mutex
	by types.UID // empty: nobody
}

// busy tells whether another point is being verified.
func (v *verifying) busy(uid types.UID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.by != "" && v.by != uid
}

// take makes it this point's turn, if it is nobody else's.
func (v *verifying) take(uid types.UID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by == "" {
		v.by = uid
	}
	return v.by == uid
}

func (v *verifying) give(uid types.UID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by == uid {
		v.by = ""
	}
}

// verify takes the verification that was asked for one step further. wrote: the status
// was written, so the point is looked at again anyway.
func (r *backups) verify(ctx context.Context, whole points.Whole) (after time.Duration, wrote bool, err error) {
	b := whole.Point()
	asked := ask.Verification(b)
	if !asked.Open || asked.Word == "" || !b.DeletionTimestamp.IsZero() {
		r.verifying.give(b.UID)
		return 0, false, nil
	}
	t, err := r.target(ctx, b.Spec.Target)
	if err != nil {
		return 0, false, err
	}
	v := plan.VerifyView{Now: time.Now(), Backup: b, Busy: r.verifying.busy(b.UID), Work: r.pool.states(b.UID), Config: r.Plan}
	if t != nil {
		v.Probe = r.probes.known(t)
	}
	if d, ok := value[*document.Document](r.pool, b.UID, plan.OpVerifyDocument); ok {
		v.Disks = diskNames(d)
	}
	in := plan.Verify(v)
	if in.Begun && !in.Ended && !r.verifying.take(b.UID) {
		return verifyTurn, false, nil // somebody else was faster
	}
	wrote, later, err := r.write(ctx, whole, plan.BackupIntent{Actions: in.Actions, Status: in.Status})
	if err != nil {
		return 0, false, err
	}
	if in.Ended {
		r.verifying.give(b.UID)
		r.pool.drop(b.UID, plan.OpVerifyDocument, plan.OpVerifyDisk)
		if wrote {
			r.tell(b, in.Events)
		}
		return later, wrote, nil
	}
	for _, o := range in.Start {
		r.startVerify(b.DeepCopy(), t, o, asked.AllBlocks)
	}
	if in.Probe && t != nil {
		key := client.ObjectKeyFromObject(b)
		r.probes.request(t, func() { r.wake.backups.wake(key) })
	}
	return sooner(in.After, later), wrote, nil
}

// verifyTurn is the time between two looks whether it is a point's turn.
const verifyTurn = 2 * time.Second

func diskNames(d *document.Document) []string {
	out := []string{}
	for _, disk := range d.Disks {
		out = append(out, disk.Name)
	}
	return out
}

func (r *backups) startVerify(b *v1alpha1.VMBackup, t *v1alpha1.BackupTarget, o plan.Order, allBlocks bool) {
	key := client.ObjectKeyFromObject(b)
	wake := func() { r.wake.backups.wake(key) }
	at, ok := placeOf(b, t)
	if !ok {
		r.work(b.UID, o.Work, nil, shortDeadline, func(context.Context) (any, error) { return nil, targetGone(b) }, wake)
		return
	}
	if o.Op == plan.OpVerifyDocument {
		request := protocol.ReadDocumentRequest{Path: b.Status.Document, Digest: b.Status.DocumentDigest}
		r.work(b.UID, o.Work, t, shortDeadline, func(ctx context.Context) (any, error) { return r.Targets.ReadDocument(ctx, at, request) }, wake)
		return
	}
	d, _ := value[*document.Document](r.pool, b.UID, plan.OpVerifyDocument)
	look := r.Targets.InspectBackups
	if allBlocks {
		look = r.Targets.InspectBlocks
	}
	r.work(b.UID, o.Work, t, verifyDeadline, func(ctx context.Context) (any, error) {
		for _, disk := range d.Disks {
			if o.Arg == ask.Verification(b).Word+" "+disk.Name {
				return look(ctx, at, d.Point.Namespace, []document.Disk{disk})
			}
		}
		return nil, targetGone(b)
	}, wake)
}
