package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/attach"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// kitLostLimit is how long the agents of a kitWorld ask an engine that does not
// answer: longer than any test waits, so that a killed one is given up because
// Longhorn was asked and has another by now.
const kitLostLimit = 30 * time.Minute

// kitWorld is a world with one coordinator and short pauses before further
// attempts, for tests of engines that fail.
func kitWorld(t testing.TB, s *harness.Stack) *world {
	t.Helper()
	w := bare(t, s)
	for _, n := range s.Nodes {
		w.startAgent(n.Name, harness.ProgramOptions{Args: []string{"--lost-limit", kitLostLimit.String()}})
	}
	w.startCoordinator("coordinator-1", harness.ProgramOptions{Args: []string{"--retry-after", "1s", "--target-patience", "4s"}})
	return w
}

// backupTo makes a VMBackup on a target.
func (w *world) backupTo(target, name, vm string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, name
	b.Spec.VM, b.Spec.Target = vm, target
	require.NoError(w.t, w.c.Create(w.ctx, b))
	return b
}

// deletePoint deletes a VMBackup and waits until it is gone.
func (w *world) deletePoint(name string) {
	w.t.Helper()
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, name
	require.NoError(w.t, w.c.Delete(w.ctx, b))
	w.eventually("VMBackup "+name+" to be gone", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(b), b)
		return client.IgnoreNotFound(err) == nil && err != nil, words(b.Status)
	})
}

// sightings are what was seen of restores at any time, however short it lived.
type sightings struct {
	mu      sync.Mutex
	handles map[string]bool        // Longhorn volumes that a PersistentVolume stood for
	volumes map[types.UID][]string // restore -> Longhorn volumes made for it
}

// watchRestores notes from now on every PersistentVolume, and every Longhorn
// volume of a restore.
func (w *world) watchRestores() *sightings {
	w.t.Helper()
	s := &sightings{handles: map[string]bool{}, volumes: map[types.UID][]string{}}
	var watchers sync.WaitGroup
	ctx, cancel := context.WithCancel(w.ctx)
	w.t.Cleanup(func() {
		cancel()
		watchers.Wait()
	})
	for _, list := range []client.ObjectList{&corev1.PersistentVolumeList{}, &longhorn.VolumeList{}} {
		events, err := w.c.Watch(ctx, list)
		require.NoError(w.t, err)
		watchers.Go(func() {
			defer events.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case e, ok := <-events.ResultChan():
					if !ok {
						if ctx.Err() == nil {
							w.t.Errorf("the watch of %T ended before the test", list)
						}
						return
					}
					s.see(e.Object)
				}
			}
		})
	}
	return s
}

func (s *sightings) see(o any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o := o.(type) {
	case *corev1.PersistentVolume:
		if o.Spec.CSI != nil {
			s.handles[o.Spec.CSI.VolumeHandle] = true
		}
	case *longhorn.Volume:
		if restore := types.UID(o.Labels[v1alpha1.LabelRestore]); restore != "" {
			s.volumes[restore] = append(s.volumes[restore], o.Name)
		}
	}
}

func (s *sightings) handle(volume string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handles[volume]
}

func (s *sightings) volumesOf(restore types.UID) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.volumes[restore]
}

// locate is where a volume's engine and replicas are.
func (w *world) locate(volume string) (attach.Location, error) {
	a := &attach.Attacher{Client: w.c, Namespace: harness.LonghornNamespace}
	return a.Locate(w.ctx, volume)
}

// replicaPID is the process of one replica of a volume, given its address.
func (w *world) replicaPID(volume, address string) int {
	w.t.Helper()
	loc, err := w.locate(volume)
	require.NoError(w.t, err)
	for _, p := range w.ProcessesOf(w.t, "replica", "volume="+volume) {
		if loc.Replicas[p.Name] == address {
			return p.PID
		}
	}
	require.Failf(w.t, "no such replica", "volume %s has no replica at %s: %v", volume, address, loc.Replicas)
	return 0
}

// childPID is the only child of a process: a replica's is its sync agent.
func (w *world) childPID(pid int) int {
	w.t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	require.NoError(w.t, err)
	var children []string
	for _, task := range tasks {
		raw, err := os.ReadFile(task)
		if err == nil { // else the thread has ended since
			children = append(children, strings.Fields(string(raw))...)
		}
	}
	require.Len(w.t, children, 1, "children of process %d", pid)
	child, err := strconv.Atoi(children[0])
	require.NoError(w.t, err)
	return child
}

// volumeFiles lists the files of a volume on the target, with full paths.
func (w *world) volumeFiles(volume, suffix string) (files []string) {
	for _, f := range w.onTarget() {
		if strings.Contains(f, "/"+volume+"/") && strings.HasSuffix(f, suffix) {
			files = append(files, filepath.Join(w.bucket(), f))
		}
	}
	return files
}

// backupConfig is the file of a backup on the target, relative to the bucket;
// "" when it is not there.
func (w *world) backupConfig(volume, backup string) string {
	for _, f := range w.onTarget() {
		if strings.Contains(f, "/"+volume+"/") && strings.HasSuffix(f, "/backup_"+backup+".cfg") {
			return f
		}
	}
	return ""
}

// awaitWhole waits until a backup is whole on the target.
func (w *world) awaitWhole(volume, backup string) {
	w.t.Helper()
	w.eventually("backup "+backup+" to be whole on the target", func() (bool, string) {
		f := w.backupConfig(volume, backup)
		return f != "" && !w.inProgress(f), f
	})
}

// pointNow reads a VMBackup.
func (w *world) pointNow(name string) *v1alpha1.VMBackup {
	w.t.Helper()
	var b v1alpha1.VMBackup
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &b))
	return &b
}

// readyWords are the reason and message of the condition Ready.
func readyWords(t testing.TB, object client.Object) (reason, message string) {
	t.Helper()
	var c []string
	switch o := object.(type) {
	case *v1alpha1.VMRestore:
		if found := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady); found != nil {
			c = []string{found.Reason, found.Message}
		}
	case *v1alpha1.VMBackup:
		if found := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady); found != nil {
			c = []string{found.Reason, found.Message}
		}
	}
	require.Len(t, c, 2, "%T %s has no condition Ready", object, object.GetName())
	return c[0], c[1]
}

// conditionText is the message of a condition, "" when there is none.
func conditionText(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

// documents lists the documents of a point on the target.
func (w *world) documents(point string) (files []string) {
	for _, f := range w.onTarget() {
		if strings.HasPrefix(f, "hayloft/points/"+w.ns+"/"+point+"-") {
			files = append(files, f)
		}
	}
	return files
}
