package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/seal"
	"hayloft.dev/test/harness"
)

// argumentsEvery is how often all processes' arguments are looked at: a target
// worker lives for some tens of milliseconds.
const argumentsEvery = 10 * time.Millisecond

// TestSecretsStaySecret: through a backup, two backups that fail over their
// keys, a restore and the deletion of it all, at log level debug, no key and
// no Secret of a VM shows up in a log, an object, a process's arguments or a
// metric. On the target the VM's Secrets are readable, and point and target say
// so, until the target has recipients.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	ofVM := map[string]string{"user data": rand.Text(), "password": rand.Text()}
	identity, recipient, err := seal.Generate()
	require.NoError(t, err)
	canaries := map[string]string{"identity": identity, "S3 key": w.S3.SecretKey, "wrong key": rand.Text(), "key that became wrong": rand.Text()}
	maps.Copy(canaries, ofVM)
	search := newSearch(canaries)
	arguments := watchArguments(t, search)

	w.vmWithSecrets("shop", ofVM)
	w.backup("point", "shop")
	point := w.awaitBackup("point", v1alpha1.BackupReady)
	ready := meta.FindStatusCondition(point.Status.Conditions, v1alpha1.ConditionReady)
	require.Contains(t, ready.Message, "2 Secrets, which are not encrypted")
	w.secretsInDocument(point, search, ofVM)

	refused := w.ownTarget("wrong", w.S3.AccessKey, canaries["wrong key"], nil)
	w.backupToTarget("refused", "shop", refused.Name)
	w.refusedBackup("refused", soon, "InvalidCredentials")
	turned := w.failInEngine("shop", canaries["key that became wrong"])

	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name, r.Spec.Backup, r.Spec.NewVM = w.ns, "r", "point", "copy"
	w.mustMake(r)
	w.awaitRestore("r", v1alpha1.RestoreReady)
	w.awaitRunning("copy")

	w.sealed("shop", recipient, identity, search)

	mine := []string{
		"Secret " + harness.HayloftNamespace + "/identity",
		"Secret " + w.ns + "/unsealed-shop-init", "Secret " + w.ns + "/unsealed-shop-login",
		"Secret " + harness.HayloftNamespace + "/s3-credentials",
		"Secret " + harness.HayloftNamespace + "/" + refused.Spec.CredentialSecret,
		"Secret " + harness.HayloftNamespace + "/" + turned.Spec.CredentialSecret,
		"Secret " + w.ns + "/shop-init", "Secret " + w.ns + "/shop-login",
		"Secret " + w.ns + "/copy-shop-init", "Secret " + w.ns + "/copy-shop-login",
	}
	require.ElementsMatch(t, mine, w.objectsWith(search), "objects that hold a canary")
	w.notInMetrics(search)

	for _, name := range []string{"shop", "copy", "unsealed"} {
		vm := &kubevirt.VirtualMachine{}
		vm.Namespace, vm.Name = w.ns, name
		w.mustRemove(vm)
	}
	for _, name := range []string{"point", "refused", "turned", "sealed"} {
		b := &v1alpha1.VMBackup{}
		b.Namespace, b.Name = w.ns, name
		w.mustRemove(b)
	}
	w.nothingLeft()
	require.ElementsMatch(t, mine, w.objectsWith(search), "objects that hold a canary, after all was deleted")
	w.notInMetrics(search)
	arguments.end(t)
	w.notInLogs(search)
}

// vmWithSecrets makes and starts a VM whose cloud-init data and password are in
// Secrets.
func (w *world) vmWithSecrets(name string, values map[string]string) {
	w.t.Helper()
	for secret, data := range map[string]map[string]string{
		"init":  {"userdata": "#cloud-config\nwrite_files:\n- content: " + values["user data"] + "\n"},
		"login": {"root": values["password"]},
	} {
		s := &corev1.Secret{StringData: data}
		s.Namespace, s.Name = w.ns, name+"-"+secret
		w.mustMake(s)
	}
	w.filled(name+"-root", 32*mib, 3)
	w.mustMake(w.vmSpec(name, []string{name + "-root"}, func(vm *kubevirt.VirtualMachine) {
		addVolume(vm, "init", kubevirt.VolumeSource{CloudInitNoCloud: &kubevirt.CloudInitNoCloudSource{
			UserDataSecretRef: &corev1.LocalObjectReference{Name: name + "-init"},
		}})
		vm.Spec.Template.Spec.AccessCredentials = []kubevirt.AccessCredential{{UserPassword: &kubevirt.UserPasswordAccessCredential{
			Source:            kubevirt.UserPasswordAccessCredentialSource{Secret: &kubevirt.AccessCredentialSecretSource{SecretName: name + "-login"}},
			PropagationMethod: kubevirt.UserPasswordAccessCredentialPropagationMethod{QemuGuestAgent: &kubevirt.QemuGuestAgentUserPasswordAccessCredentialPropagation{}},
		}}}
	}))
	w.awaitRunning(name)
}

// failInEngine has a backup fail in the engine: its key becomes wrong when the
// target was found good and the VM was captured, but no data has moved.
func (w *world) failInEngine(vm, wrong string) *v1alpha1.BackupTarget {
	w.t.Helper()
	target := w.ownTarget("turned", w.S3.AccessKey, w.S3.SecretKey, nil)
	engine := w.enginePID(vm + "-root")
	require.NoError(w.t, syscall.Kill(engine, syscall.SIGSTOP))
	b := w.backupToTarget("turned", vm, target.Name)
	draft, err := document.DraftPath(b.UID)
	require.NoError(w.t, err)
	w.eventually("the VM to be captured", func() (bool, string) { return slices.Contains(w.onTarget(), draft), "no draft yet" })
	w.setKey(target, wrong)
	require.NoError(w.t, syscall.Kill(engine, syscall.SIGCONT))
	w.eventually("the cause to be told", func() (bool, string) {
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKeyFromObject(b), b))
		return meta.IsStatusConditionFalse(b.Status.Conditions, v1alpha1.ConditionReady), words(b.Status)
	})
	w.setKey(target, w.S3.SecretKey)
	require.EqualValues(w.t, 1, b.Status.Disks[0].Attempt, "what cannot pass is not tried again")
	w.refusedBackup("turned", patience, "disk root", "target "+target.Name, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY in the target's Secret does not fit its key ID: correct it")
	w.nothingLeft()
	return target
}

func (w *world) setKey(t *v1alpha1.BackupTarget, key string) {
	w.t.Helper()
	s := &corev1.Secret{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.HayloftNamespace, Name: t.Spec.CredentialSecret}, s))
	s.Data["AWS_SECRET_ACCESS_KEY"] = []byte(key)
	require.NoError(w.t, w.c.Update(w.ctx, s))
}

// sealed backs the VM up once more when its target has a recipient, and restores it
// as "unsealed".
func (w *world) sealed(vm, recipient, identity string, s *search) {
	w.t.Helper()
	key := client.ObjectKey{Name: w.Target}
	encrypted := func(status metav1.ConditionStatus, reason string) {
		w.t.Helper()
		w.eventually("the target to say whether Secrets are encrypted", func() (bool, string) {
			var t v1alpha1.BackupTarget
			require.NoError(w.t, w.c.Get(w.ctx, key, &t))
			c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionSecretsEncrypted)
			return c != nil && c.Status == status && c.Reason == reason, words(t.Status.Conditions)
		})
	}
	encrypted(metav1.ConditionFalse, v1alpha1.SecretsNotEncrypted)
	w.mustMake(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: "identity"},
		StringData: map[string]string{v1alpha1.SecretKeyIdentity: identity + "\n"},
	})
	patch := fmt.Sprintf(`{"spec":{"encryption":{"recipients":[%q],"identitySecret":"identity"}}}`, recipient)
	t := &v1alpha1.BackupTarget{}
	t.Name = w.Target
	require.NoError(w.t, w.c.Patch(w.ctx, t, client.RawPatch(types.MergePatchType, []byte(patch))))
	encrypted(metav1.ConditionTrue, v1alpha1.SecretsEncrypted)

	w.backup("sealed", vm)
	b := w.awaitBackup("sealed", v1alpha1.BackupReady)
	require.Contains(w.t, meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady).Message, "2 Secrets, encrypted")
	w.secretsInDocument(b, s, nil)
	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name, r.Spec.Backup, r.Spec.NewVM = w.ns, "r-sealed", "sealed", "unsealed"
	w.mustMake(r)
	w.awaitRestore("r-sealed", v1alpha1.RestoreReady)
	w.awaitRunning("unsealed")
	for _, name := range []string{"init", "login"} {
		var was, is corev1.Secret
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: vm + "-" + name}, &was))
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "unsealed-" + vm + "-" + name}, &is))
		require.Equal(w.t, was.Data, is.Data)
	}
}

func (w *world) secretsInDocument(b *v1alpha1.VMBackup, s *search, values map[string]string) {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.bucket(), b.Status.Document))
	require.NoError(w.t, err)
	require.Contains(w.t, strings.ReplaceAll(string(raw), " ", ""), fmt.Sprintf(`"secretsEncrypted":%t`, len(values) == 0))
	require.ElementsMatch(w.t, slices.Collect(maps.Keys(values)), s.in(raw), "what the document holds")
}

// search looks for canaries as they are and in base64, wherever in a longer
// text they stand.
type search struct{ needles map[string][][]byte }

func newSearch(canaries map[string]string) *search {
	s := &search{needles: map[string][][]byte{}}
	for name, value := range canaries {
		list := [][]byte{[]byte(value)}
		for before := range 3 {
			coded := base64.StdEncoding.EncodeToString(append(make([]byte, before), value...))
			// Without the characters that neighbours have a part in.
			list = append(list, []byte(coded[(8*before+5)/6:(before+len(value))*8/6]))
		}
		s.needles[name] = list
	}
	return s
}

// in names the canaries that a text holds.
func (s *search) in(text []byte) (found []string) {
	for name, list := range s.needles {
		if slices.ContainsFunc(list, func(n []byte) bool { return bytes.Contains(text, n) }) {
			found = append(found, name)
		}
	}
	return found
}

// objectsWith are the objects of every kind that the API server lists which
// hold a canary.
func (w *world) objectsWith(s *search) (found []string) {
	w.t.Helper()
	d, err := discovery.NewDiscoveryClientForConfig(w.quietConfig())
	require.NoError(w.t, err)
	c, err := dynamic.NewForConfig(w.quietConfig())
	require.NoError(w.t, err)
	lists, err := d.ServerPreferredResources()
	require.NoError(w.t, err)
	kinds := 0
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		require.NoError(w.t, err)
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") {
				continue
			}
			objects, err := c.Resource(gv.WithResource(r.Name)).List(w.ctx, metav1.ListOptions{})
			if apierrors.IsMethodNotSupported(err) || apierrors.IsNotFound(err) {
				continue
			}
			require.NoError(w.t, err, "listing %s", r.Name)
			kinds++
			for _, o := range objects.Items {
				raw, err := o.MarshalJSON()
				require.NoError(w.t, err)
				if len(s.in(raw)) > 0 {
					found = append(found, fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName()))
				}
			}
		}
	}
	require.Greater(w.t, kinds, 60, "the API server's kinds, Longhorn's, KubeVirt's and ours")
	return found
}

func (w *world) notInMetrics(s *search) {
	w.t.Helper()
	programs := slices.Collect(maps.Values(w.agents))
	for _, p := range append(programs, w.coordinators...) {
		response, err := http.Get(p.URL + "/metrics")
		require.NoError(w.t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(w.t, response.Body.Close())
		require.NoError(w.t, err)
		require.Contains(w.t, string(body), "go_goroutines", "%s %s", p.Kind, p.Name)
		require.Empty(w.t, s.in(body), "metrics of %s %s", p.Kind, p.Name)
	}
}

// notInLogs looks through the log of every process that the stack has run.
func (w *world) notInLogs(s *search) {
	w.t.Helper()
	var kinds []string
	err := filepath.WalkDir(w.Logs, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		kind, _, _ := strings.Cut(e.Name(), "-")
		kinds = append(kinds, kind)
		require.Empty(w.t, s.in(raw), "log %s", e.Name())
		return nil
	})
	require.NoError(w.t, err)
	for _, kind := range []string{"agent", "coordinator", "engine", "replica", "kube", "s3"} {
		require.Contains(w.t, kinds, kind, "logs of this kind were looked through")
	}
	require.Contains(w.t, w.coordinators[0].Log(w.t)+w.coordinators[1].Log(w.t), "DEBUG", "the logs are those of level debug")
}

// argumentWatch looks at the arguments of all processes again and again.
type argumentWatch struct {
	stop context.CancelFunc
	done sync.WaitGroup

	found    map[string]bool // canary and program
	programs map[string]bool
}

func watchArguments(t *testing.T, s *search) *argumentWatch {
	ctx, cancel := context.WithCancel(t.Context())
	a := &argumentWatch{stop: cancel, found: map[string]bool{}, programs: map[string]bool{}}
	a.done.Go(func() {
		tick := time.NewTicker(argumentsEvery)
		defer tick.Stop()
		for {
			a.look(s)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() { cancel(); a.done.Wait() })
	return a
}

func (a *argumentWatch) look(s *search) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		raw, err := os.ReadFile(path)
		if err != nil || len(raw) == 0 {
			continue // it has ended, or is the kernel's
		}
		program, _, _ := strings.Cut(string(raw), "\x00")
		program = filepath.Base(program)
		a.programs[program] = true
		for _, name := range s.in(raw) {
			a.found[name+" in the arguments of "+program] = true
		}
	}
}

func (a *argumentWatch) end(t *testing.T) {
	a.stop()
	a.done.Wait()
	for _, program := range []string{"agent", "coordinator", "targetio", "longhorn", "versitygw", "kube"} {
		require.True(t, a.programs[program], "arguments of %s were looked at", program)
	}
	require.Empty(t, a.found)
}
