package targetwork_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/service/s3"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/enginetest"
)

// A bucket that keeps what is deleted is told of, and a probe leaves nothing
// behind in it that it may take away.
func TestProbeTellsOfABucketThatKeepsWhatIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := enginetest.StartS3(t, "VGW_VERSIONING_DIR="+t.TempDir())
	client := clientOf(server.Endpoint, "enginetest", canary)
	versioned := func(bucket string, lock bool) {
		_, err := client.CreateBucket(&s3.CreateBucketInput{Bucket: &bucket, ObjectLockEnabledForBucket: &lock})
		require.NoError(t, err)
		_, err = client.PutBucketVersioning(&s3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: &s3.VersioningConfiguration{Status: aws.String("Enabled")}})
		require.NoError(t, err)
	}
	versioned("versioned", false)
	versioned("locked", true)
	_, err := client.PutObjectLockConfiguration(&s3.PutObjectLockConfigurationInput{
		Bucket: aws.String("locked"),
		ObjectLockConfiguration: &s3.ObjectLockConfiguration{ObjectLockEnabled: aws.String("Enabled"), Rule: &s3.ObjectLockRule{
			DefaultRetention: &s3.DefaultRetention{Mode: aws.String("COMPLIANCE"), Days: aws.Int64(1)},
		}},
	})
	require.NoError(t, err)

	for bucket, want := range map[string]protocol.Keeps{"backups": "", "versioned": protocol.KeepsVersions, "locked": protocol.KeepsLocked} {
		at := w.s3(t, server.Target)
		at.Spec.S3.Bucket = bucket
		found, err := w.ProbeAndTidy(within(t, limit), at)
		require.NoError(t, err, bucket)
		require.Empty(t, found.Untidied, bucket)
		require.Equal(t, want, found.Keeps, bucket)
		require.Equal(t, want == "", found.Keeps.Message() == "")
		left, err := client.ListObjectVersions(&s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
		require.NoError(t, err)
		if bucket != "locked" {
			require.Empty(t, left.Versions, bucket)
			require.Empty(t, left.DeleteMarkers, bucket)
		}
	}
}

// A target that is only read is not written to, not even to try it out.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := enginetest.StartS3(t)
	reads := server.Behind(func(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead })
	at := w.s3(t, reads)
	at.Spec.ReadOnly = true
	require.NoError(t, outcome(w.Probe(within(t, limit), at)))
	blind := w.s3(t, server.Behind(func(r *http.Request) bool { return r.URL.Path != "/backups" && r.URL.Path != "/backups/" }))
	blind.Spec.ReadOnly = true
	failed(t, outcome(w.Probe(within(t, limit), blind)), protocol.AccessDenied, "reading")

	dir := t.TempDir()
	at = directory(dir)
	at.Spec.ReadOnly = true
	require.NoError(t, outcome(w.Probe(within(t, limit), at)))
	failed(t, w.DeletePoint(within(t, limit), at, targetwork.DeleteRequest{DocumentPath: "hayloft/points/n/p-00000000-0000-0000-0000-000000000000.json"}), protocol.ReadOnly, "spec.readOnly")
	requireNoFiles(t, dir)
}

// With a prefix all is below it, and the rest of the bucket is nobody's business.
func TestPrefix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := enginetest.StartS3(t)
	var mu sync.Mutex
	asked := map[string]bool{}
	at := w.s3(t, server.Behind(func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		asked[filepath.Dir(r.URL.Path)] = true
		return false
	}))
	at.Spec.S3.Prefix = "team/backups"
	require.NoError(t, outcome(w.Probe(within(t, limit), at)))
	require.True(t, asked["/backups/team/backups/hayloft/probes"], "%v", asked)
	point := "hayloft/points/n/p-00000000-0000-0000-0000-000000000000.json"
	for prefix, content := range map[string]string{"": "not below the prefix", "team/backups/": "no document"} {
		file := filepath.Join(server.Dir, prefix, point)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	found, _, err := w.Refresh(within(t, limit), at, targetwork.RefreshRequest{MaxDocuments: 10, MaxRead: 10, CPUMilliseconds: 10_000})
	require.NoError(t, err)
	require.Len(t, found.Faults, 1)
	require.Equal(t, point, found.Faults[0].Path)
}

// The proxies of a target's Secret are used, and hosts that carry the bucket's
// name: the name of the service exists for the proxy alone.
func TestProxyAndVirtualHostedStyle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := enginetest.StartS3(t, "VGW_VIRTUAL_DOMAIN=s3.test")
	behind, err := url.Parse(server.Endpoint)
	require.NoError(t, err)
	var mu sync.Mutex
	hosts := map[string]bool{}
	forward := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		mu.Lock()
		hosts[r.In.Host] = true
		mu.Unlock()
		r.SetURL(behind)
		r.Out.Host = r.In.Host
	}})
	t.Cleanup(forward.Close)
	at := w.s3(t, server.Target)
	at.Spec.S3.Endpoint, at.Spec.S3.VirtualHostedStyle = "http://s3.test", true
	failed(t, outcome(w.Probe(within(t, limit), at)), protocol.Unreachable, "s3.test")
	at.Spec.CredentialSecret = w.secret(t, map[string]string{"AWS_ACCESS_KEY_ID": "enginetest", "AWS_SECRET_ACCESS_KEY": canary, "HTTP_PROXY": forward.URL})
	require.NoError(t, outcome(w.Probe(within(t, limit), at)))
	require.Equal(t, map[string]bool{"backups.s3.test": true}, hosts)
}

// A share is worked on where it is mounted, and nowhere else.
func TestShares(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Mounts = t.TempDir()
	nfs := onShare(v1alpha1.BackupTargetSpec{NFS: &v1alpha1.NFSTarget{Server: "nas", Path: "/export"}})
	cifs := onShare(v1alpha1.BackupTargetSpec{CIFS: &v1alpha1.CIFSTarget{Server: "nas", Share: "s"}, CredentialSecret: w.secret(t, map[string]string{"CIFS_USERNAME": "u", "CIFS_PASSWORD": canary})})
	dir := filepath.Join(w.Mounts, "share")
	require.NoError(t, os.Mkdir(dir, 0o755))
	for _, at := range []targetwork.Target{nfs, cifs} {
		failed(t, outcome(w.Probe(within(t, limit), at)), protocol.NotFound, "is not mounted at "+dir)
	}
	requireNoFiles(t, dir)
	if os.Getuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
	// No client of NFS or CIFS is at hand: any mount does for what comes after it.
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	for _, at := range []targetwork.Target{nfs, cifs} {
		require.NoError(t, outcome(w.Probe(within(t, limit), at)))
	}
	requireNoFiles(t, dir)
}

func onShare(spec v1alpha1.BackupTargetSpec) targetwork.Target {
	return targetwork.Target{Name: "share", Spec: spec}
}

// secret makes a target's Secret of any kind and returns its name.
func (w *world) secret(t *testing.T, data map[string]string) string {
	t.Helper()
	s, err := w.client.CoreV1().Secrets(w.Namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "target-"}, StringData: data,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return s.Name
}
