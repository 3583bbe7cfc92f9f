package command_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/doctor"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/test/harness"
)

// clinic is a cluster with Hayloft's manifests, in which the test plays a
// coordinator and agents.
type clinic struct {
	*world
	t     *testing.T
	admin client.Client
	beats sync.WaitGroup
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	require.NoError(t, longhorn.AddToScheme(scheme))
	config := harness.APIServer(t)
	c := &clinic{t: t, world: newWorld(t)}
	var err error
	c.admin, err = client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	for _, name := range []string{harness.HayloftNamespace, harness.LonghornNamespace} {
		require.NoError(t, client.IgnoreAlreadyExists(c.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})))
	}
	harness.Apply(t, config, "rbac", "policies")
	return c
}

func (c *clinic) make(o client.Object) {
	c.t.Helper()
	require.NoError(c.t, c.admin.Create(c.t.Context(), o))
	c.t.Cleanup(func() {
		o.SetFinalizers(nil)
		require.NoError(c.t, client.IgnoreNotFound(c.admin.Delete(context.WithoutCancel(c.t.Context()), o)))
	})
}

// lease makes a Lease, and has it renewed until the test ends if it is to beat, by
// a clock that is so far ahead.
func (c *clinic) lease(name, holder, node string, beats bool, ahead time.Duration) {
	c.t.Helper()
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: name}}
	if node != "" {
		l.Labels = map[string]string{v1alpha1.LabelLease: lease.KindSession, v1alpha1.LabelNode: node}
		l.Annotations = map[string]string{lease.AnnotationNode: node}
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &holder, ptr.To(int32(3))
	c.make(l)
	if !beats {
		return
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	c.t.Cleanup(func() { cancel(); c.beats.Wait() })
	c.beats.Go(func() {
		for ctx.Err() == nil {
			l.Spec.RenewTime = ptr.To(metav1.NewMicroTime(time.Now().Add(ahead)))
			if err := c.admin.Update(ctx, l); err != nil && ctx.Err() == nil {
				c.t.Errorf("renewing %s: %v", name, err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
}

// examine runs the doctor, and returns what it found by its line.
func (c *clinic) examine() (result, map[string]doctor.Finding) {
	c.t.Helper()
	r := c.run(c.t, "doctor", "-o", "json")
	var report doctor.Report
	require.NoError(c.t, json.Unmarshal([]byte(r.out), &report), "%s%s", r.out, r.err)
	found := map[string]doctor.Finding{}
	for _, f := range report.Findings {
		found[f.What] = f
	}
	return r, found
}

// TestDoctor: an installation that is broken in many ways, on a real API server,
// is told so; mended, it is well again.
func TestDoctor(t *testing.T) {
	c := newClinic(t)
	// A definition of KubeVirt's and Longhorn's own are there already; nobody serves
	// a webhook here, and nobody has configured one.
	const noWebhook = "there is no ValidatingWebhookConfiguration hayloft"
	r, found := c.examine()
	require.Equal(t, 1, r.code, r.err)
	require.Contains(t, found, "no agent lives")
	require.Contains(t, found, "no coordinator has ever led: there is no lease coordinator in "+harness.HayloftNamespace)
	require.Contains(t, found, noWebhook)
	for what, f := range found {
		if f.Check == "targets" || f.Check == "leftovers" {
			delete(found, what) // of other tests, whose objects may still be there
		}
	}
	require.Len(t, found, 3, "%v: the accounts have all rights, and so on", found)

	c.lease("coordinator", "c1", "", true, 0)
	c.lease("session-node-1-a", "node-1-a", "node-1", true, time.Hour)
	c.lease("session-node-2-a", "node-2-a", "node-2", false, 0)
	// As an object without a type, whose fields that are not set are not sent: the
	// schema refuses most of them when they are empty.
	volume := &unstructured.Unstructured{}
	volume.SetGroupVersionKind(longhorn.SchemeGroupVersion.WithKind("Volume"))
	volume.SetNamespace(harness.LonghornNamespace)
	volume.SetName("v1")
	c.make(volume)
	require.NoError(t, unstructured.SetNestedField(volume.Object, "node-2", "status", "currentNodeID"))
	require.NoError(t, c.admin.Status().Update(t.Context(), volume))
	c.make(&longhorn.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: "v1"},
		Spec: longhorn.VolumeAttachmentSpec{Volume: "v1", AttachmentTickets: map[string]*longhorn.AttachmentTicket{
			"hayloft-node-2-a-4": {ID: "hayloft-node-2-a-4", NodeID: "node-2"}, "csi-1": {ID: "csi-1", NodeID: "node-2"},
		}},
	})
	held := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: harness.HayloftNamespace, Name: "volume-v1", Labels: map[string]string{v1alpha1.LabelLease: lease.KindVolume},
	}}
	held.Spec.HolderIdentity, held.Spec.LeaseTransitions = ptr.To("node-2-a"), ptr.To(int32(4))
	c.make(held)
	job := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: "backup-1"}}
	job.Spec.Owner = v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: c.namespace, Name: "gone", UID: "gone"}
	job.Spec.DeadlineSeconds, job.Spec.RemoveSnapshots = 60, &v1alpha1.RemoveSnapshotsJob{Volume: "v9", Snapshots: []string{"s"}}
	c.make(job)
	c.make(&longhorn.BackupTarget{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: "default"},
		Spec:       longhorn.BackupTargetSpec{BackupTargetURL: "s3://b@r/"},
	})
	target := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "doctors"}}
	target.Spec.Directory = &v1alpha1.DirectoryTarget{Path: "/nowhere"}
	c.make(target)
	target.Status.Conditions = condition(v1alpha1.ConditionReady, "False", "NotFound", "there is no /nowhere")
	require.NoError(t, c.admin.Status().Update(t.Context(), target))
	c.take(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: "hayloft-agent"}})
	c.take(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "status.hayloft.dev"}})

	r, found = c.examine()
	require.Equal(t, 1, r.code)
	for what, check := range map[string]string{
		"the clock of the agent on node-1 is 1h0m0s ahead of the API server's": "agents",
		"no agent lives on node-2":                                                                                "agents",
		"volume v1 is still leased to session node-2-a, which has ended":                                          "leftovers",
		"volume v1 has the attachment ticket hayloft-node-2-a-4, which nobody holds on to":                        "leftovers",
		"job backup-1 has no owner: VMBackup " + c.namespace + "/gone is gone":                                    "leftovers",
		"spec.pollInterval of Longhorn's BackupTarget default: it is 0":                                           "intervals",
		"target doctors is not ready (NotFound): there is no /nowhere":                                            "targets",
		"the account hayloft-system/hayloft-agent may not patch volumeattachments.longhorn.io in longhorn-system": "rights",
		"there is no ValidatingAdmissionPolicy status.hayloft.dev":                                                "coordinator",
		noWebhook: "coordinator",
	} {
		found, there := nearly(found, what)
		require.True(t, there, "%s\n%s", what, r.out)
		require.Equal(t, check, found.Check)
	}
	text := c.run(t, "doctor")
	require.Equal(t, 1, text.code)
	require.Regexp(t, `(?m)^Problem \(agents\): no agent lives on node-2\. Why it matters: 1 volume is attached there; .+\. What to do: .+\.$`, text.out)
	require.Equal(t, len(found)+1, strings.Count(text.out, "\n"), "a line for each, and one that sums up")
}

// nearly finds a clock's difference, too, which is known to about a second.
func nearly(found map[string]doctor.Finding, what string) (doctor.Finding, bool) {
	f, there := found[what]
	before, _, clock := strings.Cut(what, " is 1h0m0s ahead")
	for w, one := range found {
		if clock && strings.HasPrefix(w, before+" is ") && strings.Contains(w, " ahead of the API server's") {
			return one, true
		}
	}
	return f, there
}

// take deletes an object of the manifests until the test ends.
func (c *clinic) take(o client.Object) {
	c.t.Helper()
	require.NoError(c.t, c.admin.Get(c.t.Context(), client.ObjectKeyFromObject(o), o))
	require.NoError(c.t, c.admin.Delete(c.t.Context(), o))
	c.t.Cleanup(func() {
		o.SetResourceVersion("")
		o.SetUID("")
		require.NoError(c.t, c.admin.Create(context.WithoutCancel(c.t.Context()), o))
	})
}

// TestDoctorLetsNothingPass: who may see nothing is not told that all is well.
func TestDoctorLetsNothingPass(t *testing.T) {
	c := newClinic(t)
	c.make(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "nobody"}})
	config := harness.APIServer(t)
	c.kubeconfig = harness.TokenKubeconfig(t, config, harness.Token(t, config, c.namespace, "nobody"))
	r, found := c.examine()
	require.Equal(t, 4, r.code, r.out)
	for _, what := range []string{"definitions", "leases", "volume leases", "jobs", "backups", "restores", "targets", "policies", "rights of the accounts", "Longhorn's volumes"} {
		require.Equal(t, doctor.Unchecked, found[what+" could not be read"].Level, "%s\n%s", what, r.out)
	}
	require.Equal(t, doctor.Note, found["you may not get virtualmachines.kubevirt.io in "+c.namespace].Level, r.out)
}
