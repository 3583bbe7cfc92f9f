package api

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// operations of the document, each as "METHOD path".
func described(d *huma.OpenAPI) map[string]*huma.Operation {
	out := map[string]*huma.Operation{}
	for path, item := range d.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Delete} {
			if op != nil {
				out[op.Method+" "+strings.TrimPrefix(path, Prefix)] = op
			}
		}
	}
	return out
}

// operation that answers a request; nil: none does.
func (w *world) operation(method, path string) *huma.Operation {
	path, _, _ = strings.Cut(path, "?")
	for name, op := range described(w.said) {
		pattern := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(name), `[^/]+`)
		if regexp.MustCompile("^" + pattern + "$").MatchString(method + " " + path) {
			return op
		}
	}
	return nil
}

// described: the OpenAPI document tells of an answer's status, of its headers that
// callers go by, and of all that is in it.
func (w *world) described(method, path string, answer *httptest.ResponseRecorder) {
	w.t.Helper()
	op := w.operation(method, path)
	require.NotNil(w.t, op, "%s %s", method, path)
	what := fmt.Sprintf("%s: %d %s", op.OperationID, answer.Code, answer.Body)
	says := op.Responses[fmt.Sprint(answer.Code)]
	require.NotNil(w.t, says, what)
	for _, name := range []string{"Location", "Idempotency-Replayed", "Retry-After", "WWW-Authenticate"} {
		if answer.Header().Get(name) != "" {
			require.Contains(w.t, says.Headers, name, what)
		}
	}
	if answer.Code == http.StatusTooManyRequests || answer.Code >= 500 {
		require.NotEmpty(w.t, answer.Header().Get("Retry-After"), what)
	}
	if answer.Body.Len() == 0 {
		return
	}
	kind, _, err := mime.ParseMediaType(answer.Header().Get("Content-Type"))
	require.NoError(w.t, err, what)
	require.Contains(w.t, says.Content, kind, what)
	var body any
	require.NoError(w.t, json.Unmarshal(answer.Body.Bytes(), &body), what)
	result := &huma.ValidateResult{}
	huma.Validate(w.said.Components.Schemas, says.Content[kind].Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, body, result)
	require.Empty(w.t, result.Errors, what)
}

// TestEachAnswerIsDescribed asks every operation for something that is there, and
// compares what comes back with what the OpenAPI document says of it.
func TestEachAnswerIsDescribed(t *testing.T) {
	w := newWorld(t)
	w.all("root")
	target := w.filled()
	asked := map[*huma.Operation]bool{}
	const point, copying, nightly = "/namespaces/A/points/point", "/namespaces/A/restores/copy", "/namespaces/A/schedules/nightly"
	for _, c := range []struct {
		method, path, body string
		status             int
		headers            []string
	}{
		{"POST", "/namespaces/A/backups", `{"vm":"web","target":"s3","quiesce":{"policy":"Never"}}`, 201, []string{"Idempotency-Key: k"}},
		{"POST", "/namespaces/A/backups", `{"vm":"web","target":"s3","quiesce":{"policy":"Never"}}`, 200, []string{"Idempotency-Key: k"}},
		{"POST", "/namespaces/A/backups", `{"vm":"web","target":"s3"}`, 409, []string{"Idempotency-Key: k"}},
		{"POST", "/namespaces/A/backups", `{"vm":"web","target":"s3"}`, 422, []string{"Idempotency-Key: " + strings.Repeat("k", 256)}},
		{"POST", "/namespaces/A/backups", `{"vm":"web","target":"s3"}`, 422, []string{"Idempotency-Key: two words"}},
		{"POST", "/namespaces/A/backups", `{"vm":`, 400, nil},
		{"POST", "/namespaces/A/backups", `{"vm":"` + strings.Repeat("x", maxBody) + `"}`, 413, nil},
		{"POST", "/namespaces/A/backups", `vm=web`, 415, []string{"Content-Type: application/x-www-form-urlencoded"}},
		{"POST", "/namespaces/A/snapshots", `{"vm":"web"}`, 201, nil},
		{"POST", "/namespaces/A/restores", `{"backup":"point","newVM":"web3"}`, 201, nil},
		{"GET", "/points?limit=1", "", 200, nil},
		{"GET", "/namespaces/A/points", "", 200, nil},
		{"GET", "/namespaces/A/points?continue=x", "", 400, nil},
		{"GET", "/namespaces/A/points/failed", "", 200, nil},
		{"GET", "/namespaces/A/points/none", "", 404, nil},
		{"GET", point + "/progress", "", 200, nil},
		{"POST", point + "/pin", "", 200, nil},
		{"POST", point + "/unpin", "", 200, nil},
		{"POST", point + "/cancel", "", 200, nil},
		{"POST", "/namespaces/A/points/found/claim", "", 200, nil},
		{"POST", "/namespaces/A/points/found/verify", `{"allBlocks":true}`, 202, nil},
		{"DELETE", point, "", 202, nil},
		{"GET", "/restores", "", 200, nil},
		{"GET", "/namespaces/A/restores", "", 200, nil},
		{"GET", copying, "", 200, nil},
		{"GET", copying + "/progress", "", 200, nil},
		{"POST", copying + "/cancel", "", 200, nil},
		{"DELETE", copying, "", 202, nil},
		{"GET", "/schedules", "", 200, nil},
		{"GET", "/namespaces/A/schedules", "", 200, nil},
		{"GET", nightly, "", 200, nil},
		{"POST", nightly + "/suspend", "", 200, nil},
		{"POST", nightly + "/resume", "", 200, nil},
		{"GET", "/targets", "", 200, nil},
		{"GET", "/targets/T", "", 200, nil},
		{"POST", "/targets/T/test", "", 200, nil},
		{"POST", "/targets/T/refresh", "", 202, nil},
		{"POST", "/targets/T/leftovers", `{"remove":true}`, 202, []string{"Idempotency-Key: k"}},
		{"POST", "/targets/T/leftovers", `{"remove":true}`, 200, []string{"Idempotency-Key: k"}},
		{"GET", "/targets/T/leftovers", "", 200, nil},
		{"GET", "/targets/T/forgotten", "", 200, nil},
		{"POST", "/targets/T/remember", `{"all":true}`, 202, nil},
		{"GET", "/jobs", "", 200, nil},
		{"GET", "/jobs/job", "", 200, nil},
		{"GET", "/upgrade", "", 200, nil},
		{"GET", "/upgrade?x=1", "", 422, nil},
		{"POST", "/upgrade/prepare", `{"reason":"a test"}`, 200, nil},
		{"POST", "/upgrade/finish", "", 200, nil},
	} {
		path := strings.NewReplacer("/A/", "/"+w.a+"/", "/T", "/"+target).Replace(c.path)
		var got any
		var out any = &got
		if strings.HasSuffix(path, "/progress") || c.method == "DELETE" {
			out = nil
		}
		require.Equal(t, c.status, w.ask("root", c.method, path, c.body, out, c.headers...), "%s %s: %v", c.method, path, got)
		asked[w.operation(c.method, path)] = true
	}
	for name, op := range described(w.said) {
		require.True(t, asked[op], "nobody asked %s", name)
	}
}

// filled has one of everything, with most of what it can say of itself, and returns
// the name of the target.
func (w *world) filled() (target string) {
	w.t.Helper()
	now := ptr.To(metav1.Now())
	ended := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "TargetError", Message: "the target said no", LastTransitionTime: *now}}
	failed := w.backup("failed", v1alpha1.BackupFailed)
	failed.Status = v1alpha1.VMBackupStatus{
		Phase: v1alpha1.BackupFailed, Consistency: v1alpha1.ConsistencyFrozen, ConsistencyMessage: "the guest was frozen",
		Hooks:     []v1alpha1.HookStatus{{Hook: "pre", Message: "ended well"}, {Hook: "post", Failed: true, Message: "did not"}},
		StartedAt: now, CutAt: ptr.To(metav1.NowMicro()), CompletedAt: now, Conditions: ended, Progress: &v1alpha1.Progress{BytesDone: 1, BytesTotal: 2},
		Disks: []v1alpha1.BackupDisk{{Name: "root", Claim: "c", Volume: "v", SizeBytes: 2, State: v1alpha1.DiskFailed, Attempt: 2, Message: "it ended"}},
		Verification: &v1alpha1.Verification{
			Requested: "blocks 1", AllBlocks: true, StartedAt: *now, EndedAt: now, DisksDone: 1, Disks: 1, Result: v1alpha1.VerificationDamaged, Reason: "Damaged", Message: "a block is missing",
		},
	}
	w.status(failed)
	w.backup("point", v1alpha1.BackupReady)
	w.make(&v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.a, Name: "found"}, Spec: v1alpha1.VMBackupSpec{
		VM: "web", Target: "s3", DeletionPolicy: v1alpha1.DeletionRetain, Found: &v1alpha1.FoundPoint{ClusterUID: "c", UID: "u"},
	}})
	copying := &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: w.a, Name: "copy"}, Spec: v1alpha1.VMRestoreSpec{
		Backup: "point", Replace: &v1alpha1.Replace{VM: "web", Volumes: v1alpha1.VolumesDelete, DeleteSnapshots: []string{"s"}},
	}}
	w.make(copying)
	copying.Status = v1alpha1.VMRestoreStatus{Phase: v1alpha1.RestoreFailed, StartedAt: now, ReplacedAt: now, CompletedAt: now, Conditions: ended, Notes: []string{"it has other addresses"}}
	w.status(copying)
	w.schedule(w.a, "nightly", "")
	nightly := &v1alpha1.VMSchedule{}
	w.read(nightly, w.a, "nightly")
	nightly.Status.NextTime, nightly.Status.LastNominalTime, nightly.Status.LastSuccessTime, nightly.Status.ConsecutiveFailures = now, now, now, 1
	w.status(nightly)
	t := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: w.a}, Spec: v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "/nowhere"}}}
	w.make(t)
	w.t.Cleanup(func() { require.NoError(w.t, w.client.Delete(context.Background(), t)) })
	t.Status.Conditions, t.Status.URL, t.Status.LastProbeTime = ended, "vfs:///nowhere", now
	t.Status.Refresh = &v1alpha1.TargetRefreshStatus{LastTime: now, Message: "it cannot be listed"}
	t.Status.Leftovers = &v1alpha1.TargetLeftovers{Time: now, InProgress: 1, Removable: 1, Items: []v1alpha1.TargetLeftover{{Kind: "InProgress", Volume: "v", Backup: "b", Keep: "it is young"}}}
	w.status(t)
	job := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Namespace: w.a, Name: "job"}, Spec: v1alpha1.NodeJobSpec{
		Owner: v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: w.a, Name: "point", UID: "u"}, DeadlineSeconds: 60,
		RemoveSnapshots: &v1alpha1.RemoveSnapshotsJob{Volume: "v", Snapshots: []string{"s"}},
	}}
	w.make(job)
	w.t.Cleanup(func() { _ = w.client.Delete(context.Background(), job) })
	return t.Name
}

func (w *world) status(o client.Object) {
	w.t.Helper()
	require.NoError(w.t, w.client.Status().Update(w.t.Context(), o), "the status of %s", o.GetName())
}

// all gives a user every right, and waits until the API server knows of it.
func (w *world) all(user string) {
	w.t.Helper()
	w.make(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + w.a}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	})
	require.Eventually(w.t, func() bool { return w.ask(user, "GET", "/points", "", nil) == http.StatusOK }, patience, 20*time.Millisecond)
}
