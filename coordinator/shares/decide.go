package shares

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

const (
	// lost is how long a Pod that ran may be not ready: its node has gone, or its
	// program hangs.
	lost = time.Minute
	// pause is the shortest time between two Pods of one share.
	pause = 15 * time.Second
	// most Pods of one share, those among them that cannot go since their node is away.
	most = 4
)

// Seen is what there is: all BackupTargets, and the objects with LabelMount.
type Seen struct {
	Targets []v1alpha1.BackupTarget
	Volumes []corev1.PersistentVolume
	Claims  []corev1.PersistentVolumeClaim
	Pods    []corev1.Pod
}

// Intent is what is to be done, in this order.
type Intent struct {
	Delete []client.Object
	Create []client.Object
	// Keys are Pods that need their keys; see NewKeys.
	Keys []*corev1.Pod
	// Again is when to look again though nothing has changed; 0: never.
	Again time.Duration
}

// Decide makes and removes what the targets ask for. It is to be asked again after
// each change: what is removed is made again only when it has gone.
func Decide(now time.Time, o Options, seen Seen) Intent {
	d := decision{now: now, o: o, seen: seen, kept: map[types.UID]bool{}}
	for _, s := range wanted(o, seen.Targets) {
		d.share(s)
	}
	// Whatever belongs to no share that is wanted.
	for i := range seen.Pods {
		d.drop(&seen.Pods[i])
	}
	for i := range seen.Claims {
		d.drop(&seen.Claims[i])
	}
	for i := range seen.Volumes {
		d.drop(&seen.Volumes[i])
	}
	return d.Intent
}

type decision struct {
	Intent
	now  time.Time
	o    Options
	seen Seen
	kept map[types.UID]bool
}

// drop deletes what was not kept and is not going already.
func (d *decision) drop(o client.Object) {
	if !d.kept[o.GetUID()] && o.GetDeletionTimestamp().IsZero() {
		d.Delete = append(d.Delete, o)
	}
}

func (d *decision) again(in time.Duration) {
	if in = max(in, time.Second); d.Again == 0 || in < d.Again {
		d.Again = in
	}
}

func (d *decision) share(s share) {
	claim := s.claim
	if claim == "" {
		if claim = s.mount; !d.mounted(s) {
			return
		}
	}
	d.pods(s, claim)
}

// mounted makes volume and claim of an export. False: they are on their way out, and
// no Pod is to be made on them; what Pods they have must go.
func (d *decision) mounted(s share) bool {
	pv, pvc := find(d.seen.Volumes, s.mount), find(d.seen.Claims, s.mount)
	switch {
	case pvc != nil && (!pvc.DeletionTimestamp.IsZero() || pvc.Status.Phase == corev1.ClaimLost):
		return false
	case pv != nil && (!pv.DeletionTimestamp.IsZero() || pv.Status.Phase == corev1.VolumeReleased || pv.Status.Phase == corev1.VolumeFailed):
		return false // it stood for a claim that has gone
	}
	if pv == nil {
		d.Create = append(d.Create, d.o.volume(s))
	} else {
		d.kept[pv.UID] = true
	}
	if pvc == nil {
		d.Create = append(d.Create, d.o.claim(s))
	} else {
		d.kept[pvc.UID] = true
	}
	return true
}

func find[T any, P interface {
	*T
	client.Object
}](all []T, name string) P {
	for i := range all {
		if p := P(&all[i]); p.GetName() == name {
			return p
		}
	}
	return nil
}

// pods keeps one Pod of a share: the newest that can be used, and until that is
// ready also the one before.
func (d *decision) pods(s share, claim string) {
	var all []*corev1.Pod
	for i := range d.seen.Pods {
		if p := &d.seen.Pods[i]; p.Labels[LabelMount] == s.mount {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *corev1.Pod) int { return cmp.Compare(attempt(b), attempt(a)) }) // newest first
	next := 1
	if len(all) > 0 {
		next = attempt(all[0]) + 1
	}
	made := d.o.pod(s, claim, next)
	var use *corev1.Pod
	for _, p := range all {
		if !p.DeletionTimestamp.IsZero() || ended(p) {
			continue
		}
		d.kept[p.UID] = true
		d.Keys = append(d.Keys, p)
		if use == nil && p.Labels[LabelTemplate] == made.Labels[LabelTemplate] && !d.worn(p) {
			use = p
		}
	}
	if use == nil {
		d.make(all, made)
		return
	}
	d.again(use.CreationTimestamp.Add(keysLast * 2 / 3).Sub(d.now))
	if !Ready(use) {
		return // those before it go on
	}
	for _, p := range all {
		if p != use {
			delete(d.kept, p.UID)
		}
	}
	d.Keys = slices.DeleteFunc(d.Keys, func(p *corev1.Pod) bool { return p.Labels[LabelMount] == s.mount && p != use })
}

// make makes a share's next Pod, if the last one was not made just now.
func (d *decision) make(all []*corev1.Pod, made *corev1.Pod) {
	if len(all) >= most {
		d.again(lost)
		return
	}
	if len(all) > 0 {
		if wait := all[0].CreationTimestamp.Add(pause).Sub(d.now); wait > 0 {
			d.again(wait)
			return
		}
	}
	d.Create = append(d.Create, made)
}

// worn tells whether a Pod is to be followed by another one: its keys will expire, or
// it ran and does not answer any more.
func (d *decision) worn(p *corev1.Pod) bool {
	if d.now.Sub(p.CreationTimestamp.Time) >= keysLast*2/3 {
		return true
	}
	ready := condition(p, corev1.PodReady)
	if p.Status.Phase != corev1.PodRunning || ready == nil || ready.Status == corev1.ConditionTrue {
		return false
	}
	if left := lost - d.now.Sub(ready.LastTransitionTime.Time); left > 0 {
		d.again(left)
		return false
	}
	return true
}

// Ready tells whether a Pod can be asked.
func Ready(p *corev1.Pod) bool {
	c := condition(p, corev1.PodReady)
	return p.DeletionTimestamp.IsZero() && c != nil && c.Status == corev1.ConditionTrue && p.Status.PodIP != ""
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == kind {
			return c
		}
	}
	return nil
}

// attempt of a Pod is the end of its name.
func attempt(p *corev1.Pod) int {
	n, _ := strconv.Atoi(p.Name[strings.LastIndexByte(p.Name, '-')+1:])
	return n
}
