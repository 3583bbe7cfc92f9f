package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

func merge(patch string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(patch)) }

// heard tells whether there is an event with a reason about a point.
func (w *world) heard(b *v1alpha1.VMBackup, reason string) bool {
	w.t.Helper()
	var list corev1.EventList
	require.NoError(w.t, w.client.List(w.ctx, &list, client.InNamespace(b.Namespace)))
	for _, e := range list.Items {
		if e.InvolvedObject.UID == b.UID && e.Reason == reason {
			return true
		}
	}
	return false
}

func (w *world) awaitWords(b *v1alpha1.VMBackup, says string) {
	w.t.Helper()
	last := ""
	w.eventually("VMBackup "+b.Name+" says: "+says, func() bool {
		w.refresh(b)
		if _, m := progressing(b); m != last {
			last = m
			w.t.Log(m)
		}
		return strings.Contains(last, says)
	})
}

// longhornBackup is a backup that Longhorn itself makes of a volume.
func (w *world) longhornBackup(name, volume, state string) *unstructured.Unstructured {
	w.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"snapshotName": "s"}}}
	u.SetAPIVersion("longhorn.io/v1beta2")
	u.SetKind("Backup")
	u.SetNamespace(w.lh)
	u.SetName(name)
	u.SetLabels(map[string]string{"backup-volume": volume})
	w.create(u)
	w.sayLonghorn(u, state)
	return u
}

func (w *world) sayLonghorn(u *unstructured.Unstructured, state string) {
	w.t.Helper()
	require.NoError(w.t, w.client.Get(w.ctx, client.ObjectKeyFromObject(u), u))
	require.NoError(w.t, unstructured.SetNestedField(u.Object, state, "status", "state"))
	require.NoError(w.t, w.client.Status().Update(w.ctx, u))
}

// A point says what it waits for, and goes on when that is over: for agents,
// for Longhorn's own backup of a volume, for another job, for its target's slots.
func TestPointSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	w.vm("web")
	target := w.target("s3")
	require.NoError(t, w.client.Patch(w.ctx, target, merge(`{"spec":{"maxConcurrentJobs":1}}`)))
	b := w.backup("p1", "web", target.Name)
	w.awaitWords(b, "no agent lives on any node")
	session, _ := w.session("n1")
	theirs := w.longhornBackup("theirs", "vol-"+w.ns+"-web-root", "InProgress")
	w.cut(b, session)
	w.awaitWords(b, "Longhorn's own backup theirs of volume vol-"+w.ns+"-web-root is being made")
	data := w.awaitJob("backup", b.UID, "data", 1)
	require.Equal(t, "n1", data.Spec.NodeName, "the other disk does not wait")

	w.sayLonghorn(theirs, "Completed")
	w.awaitWords(b, "target "+target.Name+" has as many transfers as it may at once")

	second := w.snapshotOf("p2", "web")
	w.awaitWords(second, "comes first")
	w.upload(b, "data", 1, session)
	w.upload(b, "root", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	w.cut(second, session)
	w.awaitBackup(second, v1alpha1.BackupReady)
}

// A job that an agent has, and cannot begin since another session has a lease,
// says so.
func TestPointSaysWhoHasTheLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	w.session("n1")
	w.lease("vol-"+w.ns+"-web-root", "n2-00000001", 1)
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.awaitWords(b, "agent session n2-00000001 has the lease of volume vol-"+w.ns+"-web-root and is silent")
	since, version := time.Now(), ""
	w.eventually("no word is written without need for a second", func() bool {
		if w.refresh(b); b.ResourceVersion != version {
			since, version = time.Now(), b.ResourceVersion
		}
		return time.Since(since) > time.Second
	})
}
