package control_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/control"
	"hayloft.dev/coordinator/shares"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// shared has the coordinators of a world make Pods for shares. The test plays the
// kubelet, and Kubernetes' controllers that let go what is to be deleted.
func (w *world) shared() {
	w.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.own}}
	require.True(w.t, w.refresh(ns))
	ns.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	require.NoError(w.t, w.client.Update(w.ctx, ns))
	for _, name := range []string{"default", shares.Account} {
		w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.own, Name: name}})
	}
	w.opts.SharePods = &control.SharePods{Pod: "coordinator-0", Container: "coordinator", Program: "/usr/local/bin/targetio", User: 65534}
	w.create(w.restricted("coordinator-0", "hayloft.test/coordinator:1"))
	w.t.Cleanup(w.unshare)
}

// unshare takes away what stands for shares, when no coordinator runs any more: volumes
// have no namespace, so the API server's next test would see them.
func (w *world) unshare() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(w.t, w.client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(w.own), client.HasLabels{shares.LabelMount}, client.GracePeriodSeconds(0)))
	require.NoError(w.t, w.client.DeleteAllOf(ctx, &corev1.PersistentVolumeClaim{}, client.InNamespace(w.own), client.HasLabels{shares.LabelMount}))
	require.NoError(w.t, w.client.DeleteAllOf(ctx, &corev1.PersistentVolume{}, client.HasLabels{shares.LabelMount}))
	w.letGo() // the claims
	w.letGo() // and what they used
	var volumes corev1.PersistentVolumeList
	require.NoError(w.t, w.client.List(ctx, &volumes, client.HasLabels{shares.LabelMount}))
	require.Empty(w.t, volumes.Items)
}

// restricted is a Pod as the chart's coordinators are.
func (w *world) restricted(name, image string) *corev1.Pod {
	no, yes := false, true
	user := int64(65532)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.own, Name: name},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			NodeSelector:    map[string]string{"kubernetes.io/os": "linux"},
			Containers: []corev1.Container{{Name: "coordinator", Image: image, SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}}},
		},
	}
}

// letGo takes away the finalizers of claims that are being deleted and of which no Pod
// is left, and then of volumes, as Kubernetes' controllers do.
func (w *world) letGo() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var volumes corev1.PersistentVolumeList
	var claims corev1.PersistentVolumeClaimList
	var pods corev1.PodList
	for _, l := range []client.ObjectList{&volumes, &claims, &pods} {
		require.NoError(w.t, w.client.List(ctx, l, client.HasLabels{shares.LabelMount}))
	}
	used := map[string]bool{} // mounts
	for i := range pods.Items {
		used[pods.Items[i].Labels[shares.LabelMount]] = true
	}
	for i := range claims.Items {
		if c := &claims.Items[i]; !used[c.Name] {
			w.release(ctx, c)
		}
		used[claims.Items[i].Name] = true
	}
	for i := range volumes.Items {
		if v := &volumes.Items[i]; !used[v.Name] {
			w.release(ctx, v)
		}
	}
}

func (w *world) release(ctx context.Context, o client.Object) {
	if o.GetDeletionTimestamp() == nil || len(o.GetFinalizers()) == 0 {
		return
	}
	o.SetFinalizers(nil)
	if err := w.client.Update(ctx, o); client.IgnoreNotFound(err) != nil {
		w.t.Log("letting go:", err) // it changed meanwhile
	}
}

// sharePods are those of the world.
func (w *world) sharePods() (pods []corev1.Pod) {
	w.t.Helper()
	var list corev1.PodList
	require.NoError(w.t, w.client.List(w.ctx, &list, client.InNamespace(w.own), client.HasLabels{shares.LabelMount}))
	return list.Items
}

func (w *world) awaitPod(what string, ok func(corev1.Pod) bool) *corev1.Pod {
	w.t.Helper()
	var found corev1.Pod
	w.eventually(what, func() bool {
		w.letGo()
		for _, p := range w.sharePods() {
			if ok(p) {
				found = p
				return true
			}
		}
		return false
	})
	return &found
}

func (w *world) runs(p *corev1.Pod) {
	w.t.Helper()
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "192.0.2.1", PodIPs: []corev1.PodIP{{IP: "192.0.2.1"}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}},
	}
	require.NoError(w.t, w.client.Status().Update(w.ctx, p))
}

func (w *world) nfs(name string) *v1alpha1.BackupTarget {
	w.t.Helper()
	t := &v1alpha1.BackupTarget{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-" + w.ns},
		Spec:       v1alpha1.BackupTargetSpec{NFS: &v1alpha1.NFSTarget{Server: "nas.example.org", Path: "/export"}},
	}
	w.create(t)
	return t
}

// The Pod of a share, in a namespace of Pod Security "restricted": it is made with the
// target, with what it mounts and its keys, made again when it goes, and gone with the
// target.
func TestThePodOfAShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shared()
	w.asItself()
	_, stop := w.start("one")
	nas := w.nfs("nas")
	p := w.awaitPod("the share has a Pod", func(corev1.Pod) bool { return true })
	mount := p.Labels[shares.LabelMount]
	require.Equal(t, shares.Key(nas.Name, nas.Spec), p.Labels[shares.LabelShare])
	require.Equal(t, "hayloft.test/coordinator:1", p.Spec.Containers[0].Image)
	require.Equal(t, shares.Account, p.Spec.ServiceAccountName)
	for _, v := range p.Spec.Volumes {
		require.Nil(t, v.Projected, "a token is mounted")
	}
	pv, pvc := &corev1.PersistentVolume{}, &corev1.PersistentVolumeClaim{}
	pv.Name, pvc.Name, pvc.Namespace = mount, mount, w.own
	require.True(t, w.refresh(pv))
	require.True(t, w.refresh(pvc))
	require.Equal(t, "nas.example.org", pv.Spec.NFS.Server)
	require.Equal(t, mount, pvc.Spec.VolumeName)
	keys := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.own, Name: p.Name}}
	w.eventually("it has keys", func() bool { return w.refresh(keys) })
	require.True(t, shares.Of(keys, p))

	// When it can be asked, the target is tried out at once.
	w.eventually("the target is probed", func() bool { return w.refresh(nas) && nas.Status.LastProbeTime != nil })
	before := len(w.fake.called("probe"))
	w.runs(p)
	w.eventually("the target is probed again", func() bool { return len(w.fake.called("probe")) > before })
	require.Equal(t, []string{nas.Name}, w.fake.called("tidy"), "once a day is enough")

	// Gone, and made again, with other keys though it has the same name. The next leader
	// goes on with what is there.
	stop()
	_, stop = w.start("two")
	require.NoError(t, w.client.Delete(w.ctx, p, client.GracePeriodSeconds(0)))
	again := w.awaitPod("there is another Pod", func(q corev1.Pod) bool { return q.UID != p.UID })
	require.True(t, strings.HasPrefix(again.Name, mount))
	fresh := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.own, Name: again.Name}}
	w.eventually("it has keys of its own", func() bool { return w.refresh(fresh) && shares.Of(fresh, again) })
	require.NotEqual(t, keys.Data, fresh.Data)

	// A claim that somebody deletes takes all with it, and all is made again.
	require.NoError(t, w.client.Delete(w.ctx, pvc))
	was := pvc.UID
	healed := w.awaitPod("there is a Pod on a new claim", func(q corev1.Pod) bool { return q.UID != again.UID })
	w.eventually("there is a new claim", func() bool { return w.refresh(pvc) && pvc.UID != was })

	// Another server is another share.
	require.True(t, w.refresh(nas))
	nas.Spec.NFS.Server = "nas2.example.org"
	require.NoError(t, w.client.Update(w.ctx, nas))
	w.awaitPod("the Pod of the new share", func(q corev1.Pod) bool { return q.Labels[shares.LabelShare] == shares.Key(nas.Name, nas.Spec) })
	w.eventually("that of the former one is gone", func() bool { w.letGo(); return !w.refresh(healed) && !w.refresh(pvc) && !w.refresh(pv) })

	require.NoError(t, w.client.Delete(w.ctx, nas))
	w.eventually("nothing is left", func() bool {
		w.letGo()
		var volumes corev1.PersistentVolumeList
		require.NoError(t, w.client.List(w.ctx, &volumes, client.HasLabels{shares.LabelMount}))
		return len(w.sharePods()) == 0 && len(volumes.Items) == 0
	})
	stop()
}

// What the API server does not take is told by the target.
func TestPodOfAShareThatIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shared()
	w.opts.SharePods.User = 0 // for which "restricted" has no room
	w.fake.fail("probe", &protocol.Error{Reason: protocol.NotFound, Transient: true, Message: "it has no Pod yet"})
	w.start("one")
	nas := w.nfs("nas")
	w.eventually("the target says why it has no Pod", func() bool {
		_, message := ready(nas.Status.Conditions)
		return w.refresh(nas) && strings.Contains(message, "violates PodSecurity") && strings.Contains(message, "runAsUser=0")
	})
	require.Empty(t, w.sharePods())
}
