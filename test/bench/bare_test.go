package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/attach"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
	"hayloft.dev/test/harness"
)

// lookEvery is how often the command line asks for a transfer's status: seldom
// enough to cost nothing, often enough not to be late.
const lookEvery = 200 * time.Millisecond

// bare is one engine, steered by its own command line.
type bare struct {
	w   *world
	loc attach.Location
	env []string // credentials, as the command line reads them
}

// bareEngine is the engine of a volume that is attached.
func (w *world) bareEngine(volume string) *bare {
	w.b.Helper()
	loc, err := w.attacher().Locate(w.ctx, volume)
	check(w.b, err)
	return &bare{w: w, loc: loc, env: w.bareEnv(w.S3.Endpoint)}
}

// bareEnv are the credentials of the S3 server as the command line reads them.
func (w *world) bareEnv(endpoint string) []string {
	return []string{
		target.AccessKeyID + "=" + w.S3.AccessKey, target.SecretAccessKey + "=" + w.S3.SecretKey,
		target.Endpoints + "=" + endpoint, target.VirtualHostedStyle + "=false",
	}
}

func (w *world) attacher() *attach.Attacher {
	return &attach.Attacher{Client: w.c, Namespace: harness.LonghornNamespace, Node: w.Nodes[0].Name}
}

// cli runs the engine's command line. It may be called from any goroutine.
func (e *bare) cli(args ...string) (string, error) {
	program := filepath.Join(harness.Root(e.w.b), "bin", "local", "longhorn")
	return output(e.w.ctx, e.env, program, append([]string{"--url", e.loc.Address, "--volume-name", e.loc.Volume}, args...)...)
}

// backup backs a snapshot up and waits until the engine calls that complete.
func (e *bare) backup(name, snapshot, url string, spec v1alpha1.BackupTargetSpec) error {
	_, err := e.cli("backup", "create", snapshot, "--dest", url, "--backup-name", name,
		"--compression-method", spec.Compression, "--concurrent-limit", fmt.Sprint(spec.Threads))
	if err != nil {
		return err
	}
	return e.poll(func() (bool, error) {
		var s struct{ State, BackupURL, Error string }
		raw, err := e.cli("backup", "status", name)
		if err == nil {
			err = json.Unmarshal([]byte(raw), &s)
		}
		if err == nil && s.Error != "" {
			err = fmt.Errorf("backup %s: %s", name, s.Error)
		}
		return s.State == "complete" && s.BackupURL != "", err
	})
}

// restore restores a backup and waits until every replica has it.
func (e *bare) restore(backup, url string, threads int32) error {
	if _, err := e.cli("backup", "restore", url, "--concurrent-limit", fmt.Sprint(threads)); err != nil {
		return err
	}
	return e.poll(func() (bool, error) {
		replicas := map[string]struct{ State, LastRestored, Error string }{}
		raw, err := e.cli("backup", "restore-status")
		if err == nil {
			err = json.Unmarshal([]byte(raw), &replicas)
		}
		done := len(replicas) > 0
		for _, r := range replicas {
			if err == nil && r.Error != "" {
				err = fmt.Errorf("restore of %s: %s", backup, r.Error)
			}
			done = done && r.State == "complete" && r.LastRestored == backup
		}
		return done, err
	})
}

func (e *bare) poll(look func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the engine of volume %s was not done within %s", e.loc.Volume, patience)
		}
		select {
		case <-e.w.ctx.Done():
			return e.w.ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// atOnce runs one piece of work per disk and returns how long all took.
func atOnce[T any](w *world, disks []T, work func(T) error) time.Duration {
	w.b.Helper()
	began := time.Now()
	errs := make([]error, len(disks))
	var all sync.WaitGroup
	for i, d := range disks {
		all.Go(func() { errs[i] = work(d) })
	}
	all.Wait()
	took := time.Since(began)
	for _, err := range errs {
		check(w.b, err)
	}
	return took
}

// fresh makes an empty volume with two replicas, attached without a front end,
// as the engine wants it for a restore.
func (w *world) fresh(name string, size int64) *bare {
	w.b.Helper()
	// Not the Go type: it would write empty strings that the schema refuses.
	v := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"size": strconv.FormatInt(size, 10), "numberOfReplicas": int64(2), "staleReplicaTimeout": int64(30),
		"frontend":   string(longhorn.VolumeFrontendBlockDev),
		"dataEngine": string(longhorn.DataEngineTypeV1),
		"accessMode": string(longhorn.AccessModeReadWriteMany),
	}}}
	v.SetGroupVersionKind(longhorn.SchemeGroupVersion.WithKind("Volume"))
	v.SetNamespace(harness.LonghornNamespace)
	v.SetName(name)
	check(w.b, w.c.Create(w.ctx, v))
	_, _, err := w.attacher().Running(w.ctx, attach.Request{
		Volume: name, TicketID: "bench", Type: longhorn.AttacherTypeBackupController, Frontend: attach.FrontendOff,
	})
	check(w.b, err)
	return w.bareEngine(name)
}

// volumeOf is the Longhorn volume of a claim.
func (w *world) volumeOf(claim string) string {
	w.b.Helper()
	var c corev1.PersistentVolumeClaim
	check(w.b, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: claim}, &c))
	var pv corev1.PersistentVolume
	check(w.b, w.c.Get(w.ctx, client.ObjectKey{Name: c.Spec.VolumeName}, &pv))
	return pv.Spec.CSI.VolumeHandle
}

// onTarget is a folder of the S3 server: a bucket, or a place in one.
func (w *world) onTarget(path ...string) string {
	return filepath.Join(append([]string{w.Dir, "s3", "data"}, path...)...)
}

// forget removes what was put on the target, to make room for the next round.
func (w *world) forget(path ...string) {
	w.b.Helper()
	check(w.b, os.RemoveAll(w.onTarget(path...)))
}
