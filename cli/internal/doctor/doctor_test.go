package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
)

var now = time.Date(2026, 11, 26, 20, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

func session(node, id string, beats bool) Beat {
	b := Beat{Beats: beats}
	b.Lease.Name, b.Lease.Annotations = "session-"+id, map[string]string{lease.AnnotationNode: node}
	b.Lease.Spec.HolderIdentity = &id
	return b
}

func leased(volume, by string, epoch int32) coordinationv1.Lease {
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "volume-" + volume, Annotations: map[string]string{lease.AnnotationVolume: volume}}}
	l.Spec.HolderIdentity, l.Spec.LeaseTransitions = &by, &epoch
	return l
}

// healthy is an installation at work, with which nothing is wrong.
func healthy(t *testing.T) *Facts {
	t.Helper()
	f := &Facts{
		At: now, failed: map[string]error{}, Policies: map[string]bool{},
		Options: Options{System: "hayloft-system", Longhorn: "longhorn-system", Namespace: "shop", Skew: func() (time.Duration, bool) { return 0, true }},
	}
	shipped, err := shippedDefinitions()
	require.NoError(t, err)
	f.Definitions = map[string]*unstructured.Unstructured{}
	for name, d := range shipped {
		f.Definitions[name] = establish(t, d.DeepCopy())
	}
	for name, version := range neighbours {
		d := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}, "spec": map[string]any{"versions": []any{
			map[string]any{"name": version, "served": true},
		}}}}
		f.Definitions[name] = establish(t, d)
	}
	leader := session("", "c1", true)
	leader.Lease.Name = leaderLease
	f.Leader = &leader
	f.Sessions = []Beat{session("node-1", "node-1-a", true), session("node-2", "node-2-a", true)}
	f.VolumeLeases = []coordinationv1.Lease{leased("v1", "node-1-a", 3), leased("v2", "", 7)}
	for _, name := range policyNames() {
		f.Policies[name] = true
	}
	f.Webhook = &admissionv1.ValidatingWebhookConfiguration{Webhooks: []admissionv1.ValidatingWebhook{{Name: "vmbackups.hayloft.dev"}}}
	f.Webhook.Webhooks[0].ClientConfig.CABundle = authority(t, now.Add(time.Hour))
	f.Answer = errors.New(`admission webhook "vmbackups.hayloft.dev" denied the request: there is no VirtualMachine`)
	for _, name := range []string{"v1", "v2"} {
		v := longhorn.Volume{ObjectMeta: metav1.ObjectMeta{Name: name}}
		v.Status.CurrentNodeID = "node-1"
		f.Volumes = append(f.Volumes, v)
	}
	f.Attachments = []longhorn.VolumeAttachment{{
		ObjectMeta: metav1.ObjectMeta{Name: "v1"},
		Spec:       longhorn.VolumeAttachmentSpec{AttachmentTickets: map[string]*longhorn.AttachmentTicket{"hayloft-node-1-a-3": {}, "csi-1": {}}},
	}}
	f.Backups = []v1alpha1.VMBackup{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b1", UID: pointUID}}}
	f.Restores = []v1alpha1.VMRestore{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r1", UID: "restore"}}}
	f.Jobs = []v1alpha1.NodeJob{job(func(*v1alpha1.NodeJob) {})}
	f.Snapshots = []longhorn.Snapshot{snapshot(pointUID, func(*longhorn.Snapshot) {})}
	f.Targets = []v1alpha1.BackupTarget{ready("s3")}
	f.LonghornTargets = []longhorn.BackupTarget{{ObjectMeta: metav1.ObjectMeta{Name: "default"}}}
	return f
}

const pointUID = types.UID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")

func establish(t *testing.T, d *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	require.NoError(t, unstructured.SetNestedSlice(d.Object, []any{map[string]any{"type": "Established", "status": "True"}}, "status", "conditions"))
	return d
}

// job is one of the point b1 that runs in a session that lives.
func job(change func(*v1alpha1.NodeJob)) v1alpha1.NodeJob {
	j := v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Name: "backup-1", CreationTimestamp: ago(2 * time.Minute)}}
	j.Spec.Owner = v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: "shop", Name: "b1", UID: pointUID}
	j.Spec.NodeName, j.Spec.DeadlineSeconds, j.Spec.Backup = "node-1", 3600, &v1alpha1.BackupJob{Volume: "v1"}
	j.Status.State, j.Status.Session, j.Status.ClaimedAt = v1alpha1.JobRunning, "node-1-a", ptr.To(ago(time.Minute))
	change(&j)
	return j
}

func snapshot(point types.UID, change func(*longhorn.Snapshot)) longhorn.Snapshot {
	s := longhorn.Snapshot{ObjectMeta: metav1.ObjectMeta{Name: "hl-" + string(point) + "-c1-root", CreationTimestamp: ago(2 * time.Hour)}}
	s.Spec.Volume = "v1"
	change(&s)
	return s
}

func ready(name string) v1alpha1.BackupTarget {
	t := v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: name}}
	t.Spec.Refresh = &v1alpha1.TargetRefresh{Interval: "1s"}
	t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Probed"}}
	t.Status.Refresh = &v1alpha1.TargetRefreshStatus{EffectiveInterval: &metav1.Duration{Duration: time.Minute}, IntervalFrom: "Configured"}
	return t
}

func authority(t *testing.T, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestHealthy: work under way is no finding.
func TestHealthy(t *testing.T) {
	r := Judge(healthy(t))
	require.Empty(t, r.Findings)
	require.Equal(t, []string{"definitions", "rights", "coordinator", "agents", "targets", "intervals", "leftovers"}, r.Checks)
}

// TestFindings: each broken state is told, once, and nothing else is.
func TestFindings(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(f *Facts)
		level Level
		check string
		says  string
	}{
		"no definition":    {func(f *Facts) { delete(f.Definitions, "vmbackups.hayloft.dev") }, Problem, "definitions", "there is no definition vmbackups.hayloft.dev"},
		"no Longhorn":      {func(f *Facts) { delete(f.Definitions, "engines.longhorn.io") }, Problem, "definitions", "there is no definition engines.longhorn.io"},
		"older definition": {func(f *Facts) { properties(f, "backuptargets.hayloft.dev", "delete", "refresh") }, Problem, "definitions", "definition backuptargets.hayloft.dev lacks spec.refresh"},
		"newer definition": {func(f *Facts) { properties(f, "backuptargets.hayloft.dev", "add", "colour") }, Warning, "definitions", "has spec.colour, which this program does not know"},
		"not established": {func(f *Facts) {
			unstructured.RemoveNestedField(f.Definitions["nodejobs.hayloft.dev"].Object, "status")
		}, Problem, "definitions", "definition nodejobs.hayloft.dev is not established"},
		"other version": {func(f *Facts) {
			_ = unstructured.SetNestedSlice(f.Definitions["virtualmachines.kubevirt.io"].Object, []any{map[string]any{"name": "v2", "served": true}}, "spec", "versions")
		}, Problem, "definitions", "virtualmachines.kubevirt.io does not serve v1"},
		"definitions hidden": {func(f *Facts) { f.failed["definitions"] = errors.New("no") }, Unchecked, "definitions", "definitions could not be read"},
		"a right is missing": {func(f *Facts) {
			f.Lacks = []Right{{Account: "hayloft-agent", Verbs: []string{"get", "list"}, Group: "hayloft.dev", Resource: "nodejobs/status", Namespace: "hayloft-system"}}
		}, Problem, "rights", "the account hayloft-system/hayloft-agent may not get, list nodejobs.hayloft.dev/status in hayloft-system"},
		"a right of mine is missing": {func(f *Facts) {
			f.Mine = []Right{{Verbs: []string{"use"}, Group: "hayloft.dev", Resource: "backuptargets", Namespace: "shop"}}
		}, Note, "rights", "you may not use backuptargets.hayloft.dev in shop"},
		"never a leader":              {func(f *Facts) { f.Leader = nil }, Problem, "coordinator", "no coordinator has ever led"},
		"leader silent":               {func(f *Facts) { f.Leader.Beats = false }, Problem, "coordinator", "no coordinator leads: the lease coordinator was not renewed for 15s"},
		"leader's clock":              {func(f *Facts) { f.Leader.Ahead = -time.Minute }, Warning, "coordinator", "the clock of the coordinator that leads (c1) is 1m0s behind the API server's"},
		"no webhook":                  {func(f *Facts) { f.Webhook = nil }, Warning, "coordinator", "there is no ValidatingWebhookConfiguration hayloft"},
		"webhook trusts nobody":       {func(f *Facts) { f.Webhook.Webhooks[0].ClientConfig.CABundle = nil }, Problem, "coordinator", "trusts nobody: its caBundle is empty"},
		"webhook's authority expired": {func(f *Facts) { f.Webhook.Webhooks[0].ClientConfig.CABundle = authority(t, now.Add(-time.Hour)) }, Problem, "coordinator", "has expired at 2026-11-26T19:00:00Z"},
		"webhook takes all":           {func(f *Facts) { f.Answer = nil }, Warning, "coordinator", "the admission webhook took a point of a VM that does not exist"},
		"webhook away": {func(f *Facts) {
			f.Answer = errors.New(`Internal error: failed calling webhook "vmbackups.hayloft.dev": refused`)
		}, Problem, "coordinator", "the admission webhook gives no answer"},
		"webhook not asked":  {func(f *Facts) { f.Answer = errors.New(`ValidatingAdmissionPolicy denied request`) }, Unchecked, "coordinator", "whether the admission webhook answers"},
		"policy gone":        {func(f *Facts) { delete(f.Policies, policyNames()[0]) }, Problem, "coordinator", "there is no ValidatingAdmissionPolicy " + policyNames()[0]},
		"agent missing":      {func(f *Facts) { f.Volumes[1].Status.CurrentNodeID = "node-3" }, Problem, "agents", "no agent lives on node-3. 1 volume is attached there"},
		"agent silent":       {func(f *Facts) { f.Sessions[1].Beats = false }, Warning, "agents", "the agent on node-2 does not renew its session any more"},
		"two agents":         {func(f *Facts) { f.Sessions = append(f.Sessions, session("node-1", "node-1-b", true)) }, Warning, "agents", "2 sessions of agents on node-1: node-1-a, node-1-b"},
		"agent's clock":      {func(f *Facts) { f.Sessions[0].Ahead = 20 * time.Minute }, Problem, "agents", "the clock of the agent on node-1 is 20m0s ahead of the API server's. S3 services refuse"},
		"our clock":          {func(f *Facts) { f.Skew = func() (time.Duration, bool) { return time.Hour, true }; ahead(f, -time.Hour) }, "", "", ""},
		"target never tried": {func(f *Facts) { f.Targets[0].Status.Conditions = nil }, Problem, "targets", "target s3 was never tried out"},
		"target away": {func(f *Facts) {
			f.Targets[0].Status.Conditions[0] = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "Unreachable", Message: "connection refused"}
		}, Problem, "targets", "target s3 is not ready (Unreachable): connection refused"},
		"readable Secrets":        {func(f *Facts) { encrypted(&f.Targets[0], v1alpha1.SecretsNotEncrypted) }, Note, "targets", "Secrets of VMs are not encrypted on target s3"},
		"Secrets for others only": {func(f *Facts) { encrypted(&f.Targets[0], v1alpha1.SecretsNotReadable) }, Warning, "targets", "this cluster could not restore the Secrets that it encrypts on target s3"},
		"encrypted Secrets":       {func(f *Facts) { encrypted(&f.Targets[0], v1alpha1.SecretsEncrypted) }, "", "", ""},
		"no target":               {func(f *Facts) { f.Targets = nil }, Note, "targets", "there is no BackupTarget"},
		"interval too low":        {func(f *Facts) { f.Targets[0].Status.Refresh.IntervalFrom = "Floor" }, Warning, "targets", "target s3 asks for a refresh every 1s and gets one every 1m0s"},
		"over its budget": {func(f *Facts) {
			f.Targets[0].Status.Refresh.IntervalFrom, f.Targets[0].Status.Refresh.Cost = "Cost", &v1alpha1.RefreshCost{CPUMilliseconds: 90000}
		}, Warning, "targets", "target s3 is refreshed every 1m0s only, since that takes 1m30s of CPU time"},
		"refresh fails": {func(f *Facts) {
			f.Targets[0].Status.Refresh.Failures, f.Targets[0].Status.Refresh.Message = 3, "timeout"
		}, Warning, "targets", "the last 3 looks through target s3 failed: timeout"},
		"faulty documents": {func(f *Facts) {
			f.Targets[0].Status.Refresh.Documents = &v1alpha1.RefreshedDocuments{Faulty: 2}
			f.Targets[0].Status.Refresh.Faults = []v1alpha1.DocumentFault{{Path: "a", Message: "cut off"}}
		}, Warning, "targets", "2 documents on target s3 are not taken for points, first a: cut off"},
		"leftovers on a target": {func(f *Facts) {
			f.Targets[0].Status.Leftovers = &v1alpha1.TargetLeftovers{InProgress: 2, Drafts: 1, Removable: 2, Items: []v1alpha1.TargetLeftover{
				{Kind: "InProgress", Backup: "hl-1"}, {Kind: "InProgress", Backup: "hl-2", Keep: "it is another's"}, {Kind: "Draft", Path: "hayloft/drafts/3.json"},
			}}
		}, Warning, "targets", "2 leftovers on target s3 are nobody's any more: hl-1, hayloft/drafts/3.json"},
		"leftovers of others": {func(f *Facts) {
			f.Targets[0].Status.Leftovers = &v1alpha1.TargetLeftovers{InProgress: 2, Items: []v1alpha1.TargetLeftover{{Kind: "InProgress", Backup: "hl-2", Keep: "it is another's"}}}
		}, "", "", ""},
		"waiting documents": {func(f *Facts) {
			f.Targets[0].Status.Refresh.Documents = &v1alpha1.RefreshedDocuments{Waiting: 1}
			f.Targets[0].Status.Refresh.Waiting = []v1alpha1.WaitingNamespace{{Namespace: "lab"}}
		}, Note, "targets", "1 point on target s3 waits for namespaces: lab"},
		"Longhorn's interval": {func(f *Facts) { f.LonghornTargets[0].Spec.BackupTargetURL = "s3://b@r/" }, Problem, "intervals", "spec.pollInterval of Longhorn's BackupTarget default: it is 0"},
		"Harvester's interval": {func(f *Facts) {
			f.Setting = &unstructured.Unstructured{Object: map[string]any{"value": `{"type":"s3","endpoint":"e","secretAccessKey":"hush"}`}}
		}, Problem, "intervals", "refreshIntervalInSeconds of Harvester's setting backup-target: it is not set"},
		"lease of an ended session": {func(f *Facts) { f.VolumeLeases[1] = leased("v2", "node-1-old", 7) }, Warning, "leftovers", "volume v2 is still leased to session node-1-old, which has ended"},
		"lease that moved": {func(f *Facts) {
			f.VolumeLeases[1], f.Moved = leased("v2", "node-1-new", 7), map[string]bool{"volume/v2": true}
		}, "", "", ""},
		"lease of a gone volume": {func(f *Facts) { f.VolumeLeases = append(f.VolumeLeases, leased("v9", "", 1)) }, Warning, "leftovers", "there is a lease of volume v9, which is gone"},
		"ticket of nobody": {func(f *Facts) {
			f.Attachments[0].Name = "v2"
		}, Warning, "leftovers", "volume v2 has the attachment ticket hayloft-node-1-a-3, which nobody holds on to"},
		"job without owner": {func(f *Facts) { f.Jobs[0].Spec.Owner.UID = "other" }, Warning, "leftovers", "job backup-1 has no owner: VMBackup shop/b1 is gone"},
		"job whose owner went": {func(f *Facts) {
			f.Jobs[0].Spec.Owner.UID, f.Before = "other", map[types.UID]bool{"other": true}
		}, "", "", ""},
		"job that came and whose owner went": {func(f *Facts) {
			f.Jobs[0].Spec.Owner.UID, f.Moved = "other", map[string]bool{"job/backup-1": true}
		}, "", "", ""},
		"job of the dead":    {func(f *Facts) { f.Jobs[0].Status.Session = "node-1-old" }, Warning, "leftovers", "job backup-1 is said to run in session node-1-old, which has ended"},
		"job too long":       {func(f *Facts) { f.Jobs[0].Status.ClaimedAt = ptr.To(ago(2 * time.Hour)) }, Warning, "leftovers", "job backup-1 runs beyond its deadline of 1h0m0s"},
		"job without a node": {func(f *Facts) { unbegun(&f.Jobs[0], "") }, Warning, "leftovers", "job backup-1 has waited 2h0m0s for a node"},
		"job not begun":      {func(f *Facts) { unbegun(&f.Jobs[0], "node-1") }, Warning, "leftovers", "job backup-1 has waited 2h0m0s to be begun on node-1"},
		"snapshot of a gone point": {func(f *Facts) {
			f.Snapshots = append(f.Snapshots, snapshot("00000000-8b86-4d01-b42d-00cf4fc964ff", func(*longhorn.Snapshot) {}))
		}, Warning, "leftovers", "volume v1 has snapshots of points that are gone: hl-00000000-8b86-4d01-b42d-00cf4fc964ff-c1-root"},
		"snapshot whose point went": {func(f *Facts) {
			f.Snapshots = append(f.Snapshots, snapshot("00000000-8b86-4d01-b42d-00cf4fc964ff", func(*longhorn.Snapshot) {}))
			f.Before = map[types.UID]bool{"00000000-8b86-4d01-b42d-00cf4fc964ff": true}
		}, "", "", ""},
		"snapshot that is going": {func(f *Facts) {
			f.Snapshots = append(f.Snapshots, snapshot("00000000-8b86-4d01-b42d-00cf4fc964ff", func(s *longhorn.Snapshot) { s.Status.MarkRemoved = true }))
		}, "", "", ""},
		"deletion that waits": {func(f *Facts) {
			f.Backups[0].DeletionTimestamp = ptr.To(ago(time.Hour))
			f.Backups[0].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgressing, Message: "target s3 is away"}}
		}, Warning, "leftovers", "backup shop/b1 has been going for 1h0m0s. target s3 is away"},
		"volume of nobody": {func(f *Facts) {
			f.Volumes[1].Labels, f.Volumes[1].CreationTimestamp = map[string]string{v1alpha1.LabelRestore: "gone"}, ago(2*time.Hour)
		}, Warning, "leftovers", "Longhorn volume v2 was made by a restore that is gone"},
		"volume whose restore went": {func(f *Facts) {
			f.Volumes[1].Labels, f.Volumes[1].CreationTimestamp = map[string]string{v1alpha1.LabelRestore: "gone"}, ago(2*time.Hour)
			f.Before = map[types.UID]bool{"gone": true}
		}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy(t)
			tt.spoil(f)
			r := Judge(f)
			if tt.level == "" {
				require.Empty(t, r.Findings)
				return
			}
			require.Len(t, r.Findings, 1, "%v", r.Findings)
			got := r.Findings[0]
			require.Equal(t, tt.level, got.Level)
			require.Equal(t, tt.check, got.Check)
			require.Contains(t, got.What+". "+got.Why, tt.says)
			require.NotEmpty(t, got.Why)
			require.NotEmpty(t, got.Do)
			require.NotContains(t, got.What+got.Why+got.Do, "hush")
		})
	}
}

func ahead(f *Facts, by time.Duration) {
	f.Leader.Ahead = by
	for i := range f.Sessions {
		f.Sessions[i].Ahead = by
	}
}

func encrypted(t *v1alpha1.BackupTarget, reason string) {
	t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionSecretsEncrypted, Reason: reason, Message: "none of the recipients is an identity's"})
}

func unbegun(j *v1alpha1.NodeJob, node string) {
	j.Spec.NodeName, j.Status, j.CreationTimestamp = node, v1alpha1.NodeJobStatus{}, ago(2*time.Hour)
}

// properties takes a field of spec from a definition's schema, or adds one.
func properties(f *Facts, definition, how, field string) {
	versions, _, _ := unstructured.NestedSlice(f.Definitions[definition].Object, "spec", "versions")
	at := []string{"schema", "openAPIV3Schema", "properties", "spec", "properties", field}
	version := versions[0].(map[string]any)
	if how == "delete" {
		unstructured.RemoveNestedField(version, at...)
	} else {
		_ = unstructured.SetNestedMap(version, map[string]any{"type": "string"}, at...)
	}
	_ = unstructured.SetNestedSlice(f.Definitions[definition].Object, versions, "spec", "versions")
}

// TestNeeded: what the manifests give is what is asked for, where it is given.
func TestNeeded(t *testing.T) {
	all, err := needed("hs", "lh")
	require.NoError(t, err)
	told := map[string]bool{}
	for _, r := range all {
		told[r.Account+" "+r.what()] = true
		require.NotContains(t, r.Account, "system:")
		require.False(t, strings.Contains(r.Namespace, "-"), "%v: namespaces of the installation", r)
	}
	require.True(t, told["hayloft-agent get, list, watch nodejobs.hayloft.dev in hs"], "%v", told)
	require.True(t, told["hayloft-agent patch volumeattachments.longhorn.io in lh"])
	require.True(t, told["hayloft-agent get backuptargets.hayloft.dev"])
	require.True(t, told["hayloft-coordinator get settings.harvesterhci.io backup-target"])
	require.False(t, told["hayloft-coordinator patch settings.harvesterhci.io backup-target"], "it is for whoever has intervals healed")
}

// TestCredentials: each account is to read what targets name, and no more is asked.
func TestCredentials(t *testing.T) {
	s3 := ready("s3")
	s3.Spec.CredentialSecret, s3.Spec.Encryption = "keys", &v1alpha1.TargetEncryption{IdentitySecret: "identity"}
	var told []string
	for _, r := range credentials("hs", []v1alpha1.BackupTarget{s3, ready("directory")}) {
		told = append(told, r.Account+" may "+r.what())
	}
	require.Equal(t, []string{
		"hayloft-agent may get secrets keys in hs", "hayloft-coordinator may get secrets keys in hs", "hayloft-coordinator may get secrets identity in hs",
	}, told)
}

// TestDiffer: what came, went or changed hands has moved.
func TestDiffer(t *testing.T) {
	require.Equal(t, map[string]bool{"a": true, "b": true, "c": true},
		differ(map[string]string{"a": "1", "b": "1", "d": "1"}, map[string]string{"a": "2", "c": "1", "d": "1"}))
}
