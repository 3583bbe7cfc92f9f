package enginetest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Target is where volumes are backed up to.
type Target struct {
	// URL in Longhorn's form.
	URL string
	// Credential is complete: every variable that any target may set.
	Credential map[string]string
	// Dir holds the target's objects as files, for S3 too.
	Dir string

	tb testing.TB
}

// Directory is an empty directory as a target.
func Directory(tb testing.TB) *Target {
	tb.Helper()
	dir := tb.TempDir()
	return &Target{URL: "vfs://" + dir, Credential: credential("", "", ""), Dir: dir, tb: tb}
}

// S3 is a target on a real S3 server.
type S3 struct {
	*Target
	// Endpoint is its address, "http://ip:port".
	Endpoint string
	Process  *Process
}

// StartS3 starts an S3 server with one empty bucket. settings are variables of
// versitygw, such as VGW_VIRTUAL_DOMAIN=s3.test.
func StartS3(tb testing.TB, settings ...string) *S3 {
	tb.Helper()
	const bucket, key, secret = "backups", "enginetest", "enginetest-secret"
	dir := tb.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, bucket), 0o755); err != nil {
		tb.Fatal(err)
	}
	addr := FreeAddr(tb, 1, 1)
	cmd := exec.Command(Program(tb, "versitygw"), "--port", addr, "posix", data)
	cmd.Env = append(append(os.Environ(), "ROOT_ACCESS_KEY="+key, "ROOT_SECRET_KEY="+secret), settings...)
	s := &S3{Endpoint: "http://" + addr, Process: launch(tb, dir, "s3", cmd)}
	s.Target = &Target{
		URL:        "s3://" + bucket + "@us-east-1/",
		Credential: credential(s.Endpoint, key, secret),
		Dir:        filepath.Join(data, bucket),
		tb:         tb,
	}
	Eventually(tb, readyLimit, "the S3 server answers", func() bool {
		alive(tb, s.Process)
		resp, err := http.Get(s.Endpoint + "/")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return true
	})
	return s
}

func credential(endpoint, key, secret string) map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINTS": endpoint,
		"AWS_CERT": "", "VIRTUAL_HOSTED_STYLE": "false",
	}
}

// BackupURL names a backup on the target.
func (t *Target) BackupURL(volume, backup string) string {
	return fmt.Sprintf("%s?backup=%s&volume=%s", t.URL, backup, volume)
}

// Backup is what the target holds of a backup.
type Backup struct {
	Name, SnapshotName string
	// CreatedTime is empty as long as the backup is not whole.
	CreatedTime string
	Blocks      []struct {
		Offset        int64
		BlockChecksum string
	}
}

// Backup reads a backup's object on the target; false when there is none.
func (t *Target) Backup(volume, backup string) (Backup, bool) {
	t.tb.Helper()
	var b Backup
	files := t.files(volume, "backups", "backup_"+backup+".cfg")
	if len(files) == 0 {
		return b, false
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.tb.Fatal(err)
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		t.tb.Fatalf("%s: %v", files[0], err)
	}
	return b, true
}

// BlockFiles lists the files of a volume's data blocks.
func (t *Target) BlockFiles(volume string) []string {
	t.tb.Helper()
	var out []string
	for _, dir := range t.files(volume, "blocks") {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".blk") {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			t.tb.Fatal(err)
		}
	}
	return out
}

// files finds a path below a volume's folder on the target.
func (t *Target) files(volume string, path ...string) []string {
	t.tb.Helper()
	pattern := append([]string{t.Dir, "backupstore", "volumes", "*", "*", volume}, path...)
	found, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil {
		t.tb.Fatal(err)
	}
	return found
}
