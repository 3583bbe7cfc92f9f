package targetwork_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/test/enginetest"
)

// recorded makes the world's worker write what it was given and what it said
// into the returned directory.
func recorded(t *testing.T, w *world) string {
	t.Helper()
	dir := t.TempDir()
	w.Path = script(t, `n=`+dir+`/$$
printf '%s\n' "$@" > $n.args; env > $n.env; cat > $n.in
`+w.Path+` "$@" < $n.in > $n.out 2> $n.err
code=$?
cat $n.out
exit $code`)
	return dir
}

// The life of a point, on real engines and a real S3 server.
func TestPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := recorded(t, w)
	s3 := enginetest.StartS3(t)
	target := w.s3(t, s3.Target)
	first, second := enginetest.Start(t, enginetest.Options{}), enginetest.Start(t, enginetest.Options{})
	first.Device().WriteBlocks(1, 0, 5)
	second.Device().WriteBlocks(2, 3, 4)
	v := w.makeVM(t, "web", first, second)

	require.NoError(t, w.Capture(within(t, limit), target, v.capture()))
	draft := filepath.Join(s3.Dir, "hayloft", "drafts", string(v.point.UID)+".json")
	read, err := os.ReadFile(draft)
	require.NoError(t, err)
	given := v.capture()
	given.Source = w.given(t, v)
	require.NoError(t, w.Capture(within(t, limit), target, given), "a capture can be repeated")
	handed, err := os.ReadFile(draft)
	require.NoError(t, err)
	require.JSONEq(t, string(read), string(handed), "it does not matter who read the VM")
	_, err = w.Finalize(within(t, limit), target, v.finalize())
	failed(t, err, protocol.NotFound, "disk disk-0: the target has no backups of volume")
	v.backUp(t, s3.Target, first)
	_, err = w.Finalize(within(t, limit), target, v.finalize())
	failed(t, err, protocol.NotFound, "disk disk-1")
	require.NoDirExists(t, filepath.Join(s3.Dir, "hayloft", "points"), "a document of half a point")
	snapshot(t, second, v.disks[1].Snapshot)
	backUp(t, second, s3.Target, v.disks[1].Snapshot, v.disks[1].Backup)

	result, err := w.Finalize(within(t, limit), target, v.finalize())
	require.NoError(t, err)
	require.NoFileExists(t, draft)
	require.Equal(t, 1, result.Secrets)
	require.Len(t, result.Notes, 1)
	require.Contains(t, result.Notes[0], "Secret web-gone")
	require.Equal(t, []int64{5 << 21, 4 << 21}, []int64{result.Disks[0].SizeBytes, result.Disks[1].SizeBytes})
	require.Equal(t, first.SizeBytes, result.Disks[0].VolumeSizeBytes)
	require.Greater(t, result.Disks[0].UploadedBytes, int64(5<<21), "random data does not compress")
	require.False(t, result.Disks[0].Incremental)
	file := filepath.Join(s3.Dir, result.Path)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(content), base64Of(guestSecret))

	t.Run("finalize again", func(t *testing.T) {
		again, err := w.Finalize(within(t, limit), target, v.finalize())
		require.NoError(t, err)
		require.Equal(t, result, again)
		same, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, content, same)
		other := v.finalize()
		other.Disks = other.Disks[:1]
		_, err = w.Finalize(within(t, limit), target, other)
		failed(t, err, protocol.Mismatch, "it is not replaced")
	})
	t.Run("read", func(t *testing.T) {
		d, err := w.ReadDocument(within(t, limit), target, readPoint(result.Path, result.Digest))
		require.NoError(t, err)
		require.Equal(t, v.disks, d.Disks)
		require.Equal(t, v.uid, d.Origin.VMUID)
		require.NotEmpty(t, d.Origin.ClusterUID)
		require.Contains(t, d.Secrets[0].Data, "userdata")
		require.Empty(t, d.Secrets[0].Data["userdata"], "a secret value came to the coordinator")
		require.NotContains(t, string(d.VM), "managedFields")
		_, err = w.ReadDocument(within(t, limit), target, readPoint(result.Path, "sha256:00"))
		failed(t, err, protocol.Mismatch, "it was exchanged")
		_, err = w.ReadDocument(within(t, limit), target, readPoint("hayloft/points/x/y-"+string(v.point.UID)+".json", ""))
		failed(t, err, protocol.NotFound, "is not on the target")
		_, err = w.ReadDocument(within(t, limit), target, readPoint("backupstore/volumes/x", ""))
		failed(t, err, protocol.Invalid, "not the path of a point's document")
	})
	t.Run("damaged document", func(t *testing.T) {
		defer replaceFile(t, file, bytes.Replace(content, []byte(`"web-init"`), []byte(`"web-exit"`), 1))()
		_, err := w.ReadDocument(within(t, limit), target, readPoint(result.Path, ""))
		failed(t, err, protocol.Damaged, "damaged or changed")
		failed(t, w.MakeSecrets(within(t, limit), target, v.secrets(result.Path, w.vms)), protocol.Damaged, "damaged or changed")
	})
	t.Run("document of another point", func(t *testing.T) {
		path := filepath.Join(filepath.Dir(file), "other-"+string(v.point.UID)+".json")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		defer func() { require.NoError(t, os.Remove(path)) }()
		rel, err := filepath.Rel(s3.Dir, path)
		require.NoError(t, err)
		_, err = w.ReadDocument(within(t, limit), target, readPoint(rel, ""))
		failed(t, err, protocol.Mismatch, "another point")
	})
	t.Run("inspect", func(t *testing.T) {
		found, err := w.InspectBackups(within(t, limit), target, v.point.Namespace, v.disks)
		require.NoError(t, err)
		require.Equal(t, result.Disks, found)
		_, err = w.InspectBlocks(within(t, limit), target, v.point.Namespace, v.disks)
		require.NoError(t, err)
		block := s3.BlockFiles(second.Name)[0]
		data, err := os.ReadFile(block)
		require.NoError(t, err)
		require.NoError(t, os.Remove(block))
		_, err = w.InspectBlocks(within(t, limit), target, v.point.Namespace, v.disks)
		failed(t, err, protocol.Damaged, "disk disk-1: 1 of 4 blocks")
		require.NoError(t, os.WriteFile(block, data, 0o600))
	})
	t.Run("secrets", func(t *testing.T) { w.secretsOf(t, target, v, result) })

	deletion := v.deletion()
	deletion.DocumentPath = result.Path
	w.interrupted(t, s3, target, deletion, content)
	require.NoError(t, w.DeletePoint(within(t, limit), target, targetwork.DeleteRequest{DocumentPath: result.Path}), "the path alone finishes a deletion that was begun")
	require.NoFileExists(t, file)
	for _, volume := range []*enginetest.Volume{first, second} {
		require.Empty(t, s3.BlockFiles(volume.Name))
		require.Empty(t, onTarget(t, s3.Target, volume.Name, "backups", "*.cfg"))
		require.Empty(t, locks(t, s3.Target, volume.Name))
		require.Len(t, onTarget(t, s3.Target, volume.Name, "volume.cfg"), 1)
	}
	require.NoError(t, w.DeletePoint(within(t, limit), target, deletion), "a deletion can be repeated")

	noCanary(t, seen)
}

// interrupted begins a deletion and has the target fail when the first data goes:
// what stays is no point any more, holds no Secret and names what is to be
// removed.
func (w *world) interrupted(t *testing.T, s3 *enginetest.S3, target targetwork.Target, deletion targetwork.DeleteRequest, content []byte) {
	t.Helper()
	behind := s3.Behind(func(r *http.Request) bool {
		return r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/backups/backup_")
	})
	failed(t, w.DeletePoint(within(t, limit), w.s3(t, behind), deletion), protocol.AccessDenied, "")
	file := filepath.Join(s3.Dir, deletion.DocumentPath)
	mark, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(mark), base64Of(guestSecret))
	removal, err := document.ParseRemoval(mark)
	require.NoError(t, err)
	require.Len(t, removal.Backups, len(deletion.Backups))
	_, err = w.ReadDocument(within(t, limit), target, readPoint(deletion.DocumentPath, ""))
	failed(t, err, protocol.Removing, "is being removed")

	// One that cannot be read must not stay for that.
	defer replaceFile(t, file, content[:len(content)/2])()
	failed(t, w.DeletePoint(within(t, limit), w.s3(t, behind), deletion), protocol.AccessDenied, "")
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, mark, again)
}

func (v *vm) secrets(path, namespace string) targetwork.MakeSecretsRequest {
	return targetwork.MakeSecretsRequest{
		Path: path, Namespace: namespace,
		Secrets: map[string]string{"web-init": "new-init"}, ConfigMaps: map[string]string{"web-conf": "new-conf"},
		Labels: map[string]string{v1alpha1.LabelRestore: "restore-1"},
	}
}

func (w *world) secretsOf(t *testing.T, target targetwork.Target, v *vm, result targetwork.FinalizeResult) {
	r := v.secrets(result.Path, w.vms)
	r.Digest = result.Digest
	for range 2 { // the second finds what the first made
		require.NoError(t, w.MakeSecrets(within(t, limit), target, r))
		s, err := w.client.CoreV1().Secrets(w.vms).Get(t.Context(), "new-init", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, map[string][]byte{"userdata": []byte(guestSecret), "binary": {0, 255}, "empty": {}}, s.Data)
		require.Equal(t, r.Labels, s.Labels)
		require.Equal(t, corev1.SecretTypeOpaque, s.Type)
		c, err := w.client.CoreV1().ConfigMaps(w.vms).Get(t.Context(), "new-conf", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"a": "b"}, c.Data)
		require.Equal(t, map[string][]byte{"c": {0, 255}}, c.BinaryData)
	}
	foreign, err := w.client.CoreV1().Secrets(w.vms).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "foreign"}, StringData: map[string]string{"own": "value"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	r.Secrets = map[string]string{"web-init": "foreign"}
	failed(t, w.MakeSecrets(within(t, limit), target, r), protocol.Mismatch, "is not of this restore")
	r.Secrets = map[string]string{"web-init": "new-init"}
	r.Labels = map[string]string{v1alpha1.LabelRestore: "restore-2"}
	failed(t, w.MakeSecrets(within(t, limit), target, r), protocol.Mismatch, "is not of this restore")
	now, err := w.client.CoreV1().Secrets(w.vms).Get(t.Context(), "foreign", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, foreign.ResourceVersion, now.ResourceVersion, "a foreign Secret was written")

	r = v.secrets(result.Path, w.vms)
	changed, err := w.client.CoreV1().Secrets(w.vms).Get(t.Context(), "new-init", metav1.GetOptions{})
	require.NoError(t, err)
	changed.Data["userdata"] = []byte("changed")
	_, err = w.client.CoreV1().Secrets(w.vms).Update(t.Context(), changed, metav1.UpdateOptions{})
	require.NoError(t, err)
	failed(t, w.MakeSecrets(within(t, limit), target, r), protocol.Mismatch, "its content was changed")
	r.Digest = "sha256:00"
	failed(t, w.MakeSecrets(within(t, limit), target, r), protocol.Mismatch, "it was exchanged")
	r.Labels = nil
	failed(t, w.MakeSecrets(within(t, limit), target, r), protocol.Invalid, "labels")
}

// replaceFile changes a file; the returned function puts it back.
func replaceFile(t *testing.T, path string, content []byte) func() {
	t.Helper()
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotEqual(t, old, content)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return func() { require.NoError(t, os.WriteFile(path, old, 0o600)) }
}

// noCanary looks for secrets in all that workers were given and said.
func noCanary(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		for _, secret := range []string{canary, guestSecret, base64Of(canary), base64Of(guestSecret)} {
			require.NotContains(t, string(data), secret, f.Name())
		}
	}
}

// What is not a whole point on the target never gets a document.
func TestFinalizeRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := enginetest.Directory(t)
	target := directory(dir.Dir)
	volume := enginetest.Start(t, enginetest.Options{})
	volume.Device().WriteBlocks(1, 0, 3)
	v := w.makeVM(t, "db", volume)
	require.NoError(t, w.Capture(within(t, limit), target, v.capture()))
	v.backUp(t, dir, volume)
	cfg := onTarget(t, dir, volume.Name, "backups", "*.cfg")[0]
	content, err := os.ReadFile(cfg)
	require.NoError(t, err)
	volumeCfg := onTarget(t, dir, volume.Name, "volume.cfg")[0]

	disk := func(f func(*document.Disk)) targetwork.FinalizeRequest {
		r := v.finalize()
		r.Disks = []document.Disk{r.Disks[0]}
		f(&r.Disks[0])
		return r
	}
	edit := func(old, with string) func(*testing.T) func() {
		return func(t *testing.T) func() {
			return replaceFile(t, cfg, bytes.Replace(content, []byte(old), []byte(with), 1))
		}
	}
	created := content[bytes.Index(content, []byte(`"CreatedTime":"`)):]
	created = created[:bytes.Index(created, []byte(","))]
	for _, c := range []struct {
		name   string
		damage func(*testing.T) func()
		ask    targetwork.FinalizeRequest
		reason targetwork.Reason
		says   string
	}{
		{"in progress", edit(string(created), `"CreatedTime":""`), v.finalize(), protocol.InProgress, "is not complete"},
		{"another backup's content", edit(`"Name":"hl-`, `"Name":"xx-`), v.finalize(), protocol.Damaged, "names backup"},
		{"truncated", func(t *testing.T) func() { return replaceFile(t, cfg, content[:len(content)/2]) }, v.finalize(), protocol.Damaged, "cannot be read as JSON"},
		{"block list cut", edit(`"Size":"6291456"`, `"Size":"8388608"`), v.finalize(), protocol.Damaged, "but lists"},
		{"block beyond the disk", edit(`"Offset":4194304`, `"Offset":67108864`), v.finalize(), protocol.Damaged, "that cannot be"},
		{"block list out of order", edit(`"Offset":2097152`, `"Offset":4194304`), v.finalize(), protocol.Damaged, "that cannot be"},
		{"wrong snapshot", nil, disk(func(d *document.Disk) { d.Snapshot += "x" }), protocol.Mismatch, "is of snapshot"},
		{"missing backup", nil, disk(func(d *document.Disk) { d.Backup += "x" }), protocol.NotFound, "is not on the target"},
		{"wrong size", nil, disk(func(d *document.Disk) { d.SizeBytes *= 2 }), protocol.Mismatch, "bytes on the target"},
		{"wrong image", nil, disk(func(d *document.Disk) { d.BackingImage = &v1alpha1.BackingImage{Name: "i", Checksum: "ab"} }), protocol.Mismatch, "backing image"},
		{"missing volume", func(t *testing.T) func() {
			require.NoError(t, os.Rename(volumeCfg, volumeCfg+".away"))
			return func() { require.NoError(t, os.Rename(volumeCfg+".away", volumeCfg)) }
		}, v.finalize(), protocol.NotFound, "has no backups of volume"},
		{"path as name", nil, disk(func(d *document.Disk) { d.Backup = "../x" }), protocol.Invalid, "not a name of a backup"},
		{"no consistency", nil, func() targetwork.FinalizeRequest { r := v.finalize(); r.Consistency = ""; return r }(), protocol.Invalid, "consistency"},
		{"no disks", nil, func() targetwork.FinalizeRequest { r := v.finalize(); r.Disks = nil; return r }(), protocol.Invalid, "0 disks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.damage != nil {
				defer c.damage(t)()
			}
			_, err := w.Finalize(within(t, limit), target, c.ask)
			failed(t, err, c.reason, c.says)
			require.Equal(t, c.reason == protocol.InProgress, transient(err))
			require.NoDirExists(t, filepath.Join(dir.Dir, "hayloft", "points"))
		})
	}
	result, err := w.Finalize(within(t, limit), target, v.finalize())
	require.NoError(t, err, "the point itself was whole")
	require.FileExists(t, filepath.Join(dir.Dir, result.Path))
}

func TestCaptureRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := directory(t.TempDir())
	v := w.makeVM(t, "app", &enginetest.Volume{Name: "vol-1", SizeBytes: 64 << 20})
	for _, c := range []struct {
		name   string
		change func(*targetwork.CaptureRequest)
		reason targetwork.Reason
		says   string
	}{
		{"no such VM", func(r *targetwork.CaptureRequest) { r.VM = "absent" }, protocol.NotFound, "absent"},
		{"another VM of that name", func(r *targetwork.CaptureRequest) { r.VMUID = r.Point.UID }, protocol.Mismatch, "was deleted and made again"},
		{"no such claim", func(r *targetwork.CaptureRequest) { r.Claims = []string{"absent"} }, protocol.NotFound, "persistentvolumeclaims"},
		{"disks changed", func(r *targetwork.CaptureRequest) { r.Claims = nil }, protocol.Mismatch, "its disks were changed"},
		{"another VM was handed over", func(r *targetwork.CaptureRequest) {
			r.Source = w.given(t, v)
			r.VMUID = r.Point.UID
		}, protocol.Mismatch, "was deleted and made again"},
		{"other disks were handed over", func(r *targetwork.CaptureRequest) {
			r.Source = w.given(t, v)
			r.Claims = nil
		}, protocol.Mismatch, "its disks were changed"},
		{"a claim was not handed over", func(r *targetwork.CaptureRequest) {
			r.Source = w.given(t, v)
			r.Source.Claims = nil
		}, protocol.Invalid, "cannot be read"},
		{"no point", func(r *targetwork.CaptureRequest) { r.Point.UID = "../x" }, protocol.Invalid, "not the UID of a point"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := v.capture()
			c.change(&r)
			failed(t, w.Capture(within(t, limit), target, r), c.reason, c.says)
			requireNoFiles(t, target.Spec.Directory.Path)
		})
	}
}
