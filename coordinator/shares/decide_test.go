package shares

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// world is what there is at a time; it does what an intent says as an API server
// without finalizers would.
type world struct {
	t    *testing.T
	now  time.Time
	o    Options
	seen Seen
	made int
}

func newWorld(t *testing.T, targets ...v1alpha1.BackupTarget) *world {
	return &world{
		t: t, now: time.Date(2026, 11, 23, 4, 5, 6, 0, time.UTC),
		o:    Options{Namespace: "hayloft-system", Account: "account", Image: "i:1", Program: "/bin/targetio", User: 65534, Claims: map[string]string{}},
		seen: Seen{Targets: targets},
	}
}

func nfs(name string) v1alpha1.BackupTarget {
	return v1alpha1.BackupTarget{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name + "-uid")},
		Spec:       v1alpha1.BackupTargetSpec{NFS: &v1alpha1.NFSTarget{Server: "nas", Path: "/export"}},
	}
}

func word(o client.Object) string { return fmt.Sprintf("%T %s", o, o.GetName())[len("*v1."):] }

// step decides and does it, and tells what was done.
func (w *world) step() (did []string) {
	w.t.Helper()
	i := Decide(w.now, w.o, w.seen)
	for _, d := range i.Delete {
		did = append(did, "-"+word(d))
		w.remove(d.GetUID())
	}
	for _, c := range i.Create {
		did = append(did, "+"+word(c))
		w.made++
		c.SetUID(types.UID(fmt.Sprint(w.made)))
		c.SetCreationTimestamp(metav1.NewTime(w.now))
		switch o := c.(type) {
		case *corev1.Pod:
			w.seen.Pods = append(w.seen.Pods, *o)
		case *corev1.PersistentVolumeClaim:
			w.seen.Claims = append(w.seen.Claims, *o)
		case *corev1.PersistentVolume:
			w.seen.Volumes = append(w.seen.Volumes, *o)
		}
	}
	return did
}

func (w *world) remove(uid types.UID) {
	w.seen.Pods = without(w.seen.Pods, uid)
	w.seen.Claims = without(w.seen.Claims, uid)
	w.seen.Volumes = without(w.seen.Volumes, uid)
}

func without[T any, P interface {
	*T
	client.Object
}](all []T, uid types.UID) (out []T) {
	for i := range all {
		if P(&all[i]).GetUID() != uid {
			out = append(out, all[i])
		}
	}
	return out
}

// ready sets a Pod's condition.
func (w *world) ready(pod int, status corev1.ConditionStatus) {
	p := &w.seen.Pods[pod]
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(w.now)},
	}}
}

func (w *world) mount() string { return wanted(w.o, w.seen.Targets)[0].mount }

func TestOneShare(t *testing.T) {
	w := newWorld(t, nfs("nas"), v1alpha1.BackupTarget{Spec: v1alpha1.BackupTargetSpec{S3: &v1alpha1.S3Target{}}})
	m := w.mount()
	require.Equal(t, []string{"+PersistentVolume " + m, "+PersistentVolumeClaim " + m, "+Pod " + m + "-1"}, w.step())
	require.Empty(t, w.step(), "it is starting")
	w.now = w.now.Add(time.Hour)
	require.Empty(t, w.step(), "a mount that does not come about is the kubelet's to try again")

	// A Pod that does not answer for a minute is followed by another one, and goes when
	// that is ready.
	w.ready(0, corev1.ConditionTrue)
	w.now = w.now.Add(time.Hour)
	w.ready(0, corev1.ConditionUnknown)
	w.now = w.now.Add(lost - time.Second)
	require.Equal(t, time.Second, Decide(w.now, w.o, w.seen).Again)
	require.Empty(t, w.step())
	w.now = w.now.Add(time.Second)
	require.Equal(t, []string{"+Pod " + m + "-2"}, w.step())
	require.Empty(t, w.step(), "both stay: neither may come to anything")
	w.ready(1, corev1.ConditionTrue)
	require.Equal(t, []string{"-Pod " + m + "-1"}, w.step())

	// One that was evicted goes at once; the next one is not made in a hurry.
	w.seen.Pods[0].Status.Phase = corev1.PodFailed
	w.seen.Pods[0].CreationTimestamp = metav1.NewTime(w.now.Add(-time.Second))
	require.Equal(t, pause-time.Second, Decide(w.now, w.o, w.seen).Again)
	require.Equal(t, []string{"-Pod " + m + "-2"}, w.step())
	require.Equal(t, []string{"+Pod " + m + "-1"}, w.step())
}

// Pods that cannot go, as the kubelet that has to say so is away, are not piled up.
func TestPodsOfDeadNodes(t *testing.T) {
	w := newWorld(t, nfs("nas"))
	for range 20 {
		w.step()
		for i := range w.seen.Pods {
			w.seen.Pods[i].DeletionTimestamp = ptr.To(metav1.NewTime(w.now))
		}
		w.now = w.now.Add(time.Hour)
	}
	require.Len(t, w.seen.Pods, most)
	require.NotZero(t, Decide(w.now, w.o, w.seen).Again)
}

// A new release, and keys that will expire, take the place of a Pod without a gap.
func TestReplacement(t *testing.T) {
	for name, change := range map[string]func(*world){
		"release": func(w *world) { w.o.Image = "i:2" },
		"user":    func(w *world) { w.o.User = 0 },
		"keys":    func(w *world) { w.now = w.now.Add(keysLast * 2 / 3) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nfs("nas"))
			w.step()
			w.now = w.now.Add(pause)
			w.ready(0, corev1.ConditionTrue)
			require.Empty(t, w.step())
			change(w)
			require.Equal(t, []string{"+Pod " + w.mount() + "-2"}, w.step())
			i := Decide(w.now, w.o, w.seen)
			require.Empty(t, append(i.Delete, i.Create...))
			require.Len(t, i.Keys, 2)
			w.ready(1, corev1.ConditionTrue)
			require.Equal(t, []string{"-Pod " + w.mount() + "-1"}, w.step())
		})
	}
}

// What belongs to a share goes with the target, or when that means another share, and
// none is led to the Pod of another one.
func TestShareGoes(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.BackupTarget){
		"deleted":       func(t *v1alpha1.BackupTarget) { t.DeletionTimestamp = ptr.To(metav1.Now()) },
		"made anew":     func(t *v1alpha1.BackupTarget) { t.UID = "other" },
		"moved":         func(t *v1alpha1.BackupTarget) { t.Spec.NFS.Server = "nas2" },
		"other options": func(t *v1alpha1.BackupTarget) { t.Spec.NFS.Options = []string{"softerr"} },
		"read-only":     func(t *v1alpha1.BackupTarget) { t.Spec.ReadOnly = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nfs("nas"), nfs("stays"))
			w.step()
			m, key := w.mount(), Key("nas", w.seen.Targets[0].Spec)
			change(&w.seen.Targets[0])
			did := w.step()
			require.Subset(t, did, []string{"-Pod " + m + "-1", "-PersistentVolumeClaim " + m, "-PersistentVolume " + m})
			require.Len(t, did, map[bool]int{true: 3, false: 6}[name == "deleted"])
			if name != "deleted" && name != "made anew" {
				require.NotEqual(t, key, Key("nas", w.seen.Targets[0].Spec))
			}
			w.seen.Targets = nil
			w.step()
			require.Empty(t, w.seen.Pods)
			require.Empty(t, w.seen.Volumes)
		})
	}
}

// A claim or volume that was taken away is made again, and not under a running Pod.
func TestMountIsHealed(t *testing.T) {
	for name, hurt := range map[string]func(*world){
		"released volume": func(w *world) { w.seen.Volumes[0].Status.Phase = corev1.VolumeReleased },
		"lost claim":      func(w *world) { w.seen.Claims[0].Status.Phase = corev1.ClaimLost },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nfs("nas"))
			all := w.step()
			hurt(w)
			require.Len(t, w.step(), 3, "all of it goes")
			require.Empty(t, w.seen.Pods)
			require.Equal(t, all, w.step())
		})
	}
	w := newWorld(t, nfs("nas"))
	w.step()
	w.seen.Claims[0].DeletionTimestamp = ptr.To(metav1.NewTime(w.now)) // a Pod still uses it
	require.Equal(t, []string{"-Pod " + w.mount() + "-1", "-PersistentVolume " + w.mount()}, w.step())
	require.Empty(t, w.step())
}

// A share that is given a claim needs no other, and CIFS is worked on with one alone.
func TestGivenClaims(t *testing.T) {
	cifs := v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "files"}, Spec: v1alpha1.BackupTargetSpec{CIFS: &v1alpha1.CIFSTarget{Server: "s", Share: "a/b"}}}
	w := newWorld(t, cifs)
	require.Empty(t, w.step())
	w.o.Claims["files"] = "held"
	require.Equal(t, []string{"+Pod " + w.mount() + "-1"}, w.step())
	p := w.seen.Pods[0]
	require.Equal(t, "held", p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName)
	require.Contains(t, p.Spec.Containers[0].Args, "--source=//s/a/b")
	require.Contains(t, p.Spec.Containers[0].Args, "--field=spec.cifs")
}

func TestVolume(t *testing.T) {
	w := newWorld(t, nfs("nas"))
	w.seen.Targets[0].Spec.ReadOnly = true
	w.step()
	pv := w.seen.Volumes[0]
	require.Equal(t, defaultOptions, pv.Spec.MountOptions)
	require.Equal(t, &corev1.NFSVolumeSource{Server: "nas", Path: "/export", ReadOnly: true}, pv.Spec.NFS)
	require.True(t, w.seen.Pods[0].Spec.Containers[0].VolumeMounts[0].ReadOnly)
	w.seen.Targets[0].Spec.NFS.Options = []string{"soft", "nfsvers=4.1"}
	w.step()
	require.Equal(t, []string{"soft", "nfsvers=4.1"}, w.seen.Volumes[0].Spec.MountOptions)
}

// Keys are for one Pod, and each side has its own alone.
func TestKeys(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "1"}}
	s, err := NewKeys(time.Now(), p)
	require.NoError(t, err)
	require.True(t, Of(s, p))
	p.UID = "2"
	require.False(t, Of(s, p))
	server, err := ServerTLS(s.Data)
	require.NoError(t, err)
	mounted := map[string][]byte{}
	for _, i := range newWorld(t).o.pod(share{mount: "m"}, "c", 1).Spec.Volumes[1].Secret.Items {
		mounted[i.Key] = s.Data[i.Key]
	}
	_, err = ServerTLS(mounted)
	require.NoError(t, err)
	_, err = ClientTLS(mounted)
	require.Error(t, err, "a Pod that was broken into must not be able to call another")
	require.NotNil(t, server.ClientCAs)
}
