package targetwork_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
	"hayloft.dev/test/enginetest"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s3 := enginetest.StartS3(t)
	t.Run("S3", func(t *testing.T) {
		require.NoError(t, outcome(w.Probe(within(t, limit), w.s3(t, s3.Target))))
		requireNoFiles(t, s3.Dir)
	})
	t.Run("directory", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "target %41?x#y") // as URL it would be another place
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, outcome(w.Probe(within(t, limit), directory(dir))))
		requireNoFiles(t, dir)
		require.DirExists(t, dir, "removing the last file removed the target itself")
	})
}

// requireNoFiles asserts that there is no file below dir.
func requireNoFiles(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			t.Errorf("%s is left", path)
		}
		return err
	}))
}

// promptly is what a coordinator gives to a probe (control.probeDeadline).
const promptly = 10 * time.Second

// Every cause is a real one: what a user would have done wrong or what would
// be broken.
func TestProbeTellsTheCause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s3 := enginetest.StartS3(t)
	change := func(f func(*v1alpha1.BackupTargetSpec)) func(*testing.T) targetwork.Target {
		return func(t *testing.T) targetwork.Target {
			bt := w.s3(t, s3.Target)
			f(&bt.Spec)
			return bt
		}
	}
	endpoint := func(url string) func(*testing.T) targetwork.Target {
		return change(func(s *v1alpha1.BackupTargetSpec) { s.S3.Endpoint = url })
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	broken := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(broken.Close)

	cut := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(rw, "<ListBucketResult><Name>b")
	}))
	cut.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(cut.Close)

	past, future := time.Now().AddDate(0, 0, -1), time.Now().AddDate(0, 0, 1)
	expired, expiredCA := secured(t, "127.0.0.1", past)
	other, otherCA := secured(t, "s3.example.org", future)
	trusting := func(url, ca string) func(*testing.T) targetwork.Target {
		return change(func(s *v1alpha1.BackupTargetSpec) { s.S3.Endpoint, s.S3.CABundle = url, ca })
	}

	empty := w.credential(t, "", "")
	for _, c := range []struct {
		name   string
		target func(*testing.T) targetwork.Target
		reason targetwork.Reason
		says   string
		passes bool
	}{
		{"wrong key", change(func(s *v1alpha1.BackupTargetSpec) { s.CredentialSecret = w.credential(t, "enginetest", "wrong") }), protocol.InvalidCredentials, "SignatureDoesNotMatch", false},
		{"unknown key ID", change(func(s *v1alpha1.BackupTargetSpec) { s.CredentialSecret = w.credential(t, "nobody", canary) }), protocol.InvalidCredentials, "does not know AWS_ACCESS_KEY_ID", false},
		{"missing Secret", change(func(s *v1alpha1.BackupTargetSpec) { s.CredentialSecret = "absent" }), protocol.InvalidCredentials, "names Secret absent, which does not exist", false},
		{"empty Secret", change(func(s *v1alpha1.BackupTargetSpec) { s.CredentialSecret = empty }), protocol.InvalidCredentials, "AWS_ACCESS_KEY_ID", false},
		{"missing bucket", change(func(s *v1alpha1.BackupTargetSpec) { s.S3.Bucket = "absent" }), protocol.BucketNotFound, "create the bucket", false},
		{"bad CA bundle", change(func(s *v1alpha1.BackupTargetSpec) { s.S3.CABundle = "rubbish" }), protocol.Invalid, "spec.s3.caBundle", false},
		{"nothing listens", endpoint(closed.URL), protocol.Unreachable, "nothing listens there", true},
		{"unknown host", endpoint("http://no-such-host.invalid:9000"), protocol.Unreachable, "correct the host of spec.s3.endpoint", true},
		{"unknown certificate", endpoint(secure.URL), protocol.Unreachable, "for example.com, *.example.com, 127.0.0.1, ::1, issued by \"O=Acme Co\", valid from 1970-01-01", false},
		{"expired certificate", trusting(expired, expiredCA), protocol.Unreachable, "to " + past.UTC().Format(time.DateOnly) + "): renew", false},
		{"certificate of another host", trusting(other, otherCA), protocol.Unreachable, "is for s3.example.org", false},
		{"no TLS", endpoint("https://" + s3.Endpoint[len("http://"):]), protocol.Unreachable, "does not speak TLS", false},
		{"TLS wanted", endpoint("http://" + secure.URL[len("https://"):]), protocol.Invalid, "by the right scheme", false},
		{"not S3", endpoint(web.URL), protocol.Invalid, "does spec.s3.endpoint name such a service", false},
		{"server trouble", endpoint(broken.URL), protocol.Unreachable, "HTTP status 503", true},
		{"an answer that is cut off", endpoint(cut.URL), protocol.Unreachable, "unexpected EOF", true},
		{"may not write", func(t *testing.T) targetwork.Target {
			return w.s3(t, s3.Behind(func(r *http.Request) bool { return r.Method == http.MethodPut }))
		}, protocol.AccessDenied, "give the key the right", false},
		{"may not delete", func(t *testing.T) targetwork.Target {
			return w.s3(t, s3.Behind(func(r *http.Request) bool { return r.Method == http.MethodDelete }))
		}, protocol.AccessDenied, "removing", false},
		{"missing directory", func(*testing.T) targetwork.Target { return directory("/nonexistent/target") }, protocol.NotFound, "does not exist here", false},
		{"clock skew", endpoint(answering(t, http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large.")), protocol.Invalid, "set the clocks", true},
		{"expired key", endpoint(answering(t, http.StatusBadRequest, "ExpiredToken", "The provided token has expired.")), protocol.InvalidCredentials, "ExpiredToken", false},
		{"full service", endpoint(answering(t, http.StatusInsufficientStorage, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")), protocol.NoSpace, "free space", false},
		{"much and strange words", endpoint(answering(t, http.StatusBadRequest, "Strange", strings.Repeat("many words \u009b2J\n", 20_000))), protocol.Invalid, "Strange, many words  2J many words", false},
		{"another region", endpoint(answering(t, http.StatusBadRequest, "AuthorizationHeaderMalformed", "The region 'us-east-1' is wrong; expecting 'eu-1'")), protocol.Invalid, "expecting 'eu-1': correct spec.s3.region", false},
		{"share that is not mounted", func(*testing.T) targetwork.Target {
			return onShare(v1alpha1.BackupTargetSpec{NFS: &v1alpha1.NFSTarget{Server: "nas", Path: "/b"}})
		}, protocol.Invalid, "start it with --target-mounts", false},
		{"file as directory", func(*testing.T) targetwork.Target { return directory("/proc/version") }, protocol.NotFound, "not a directory", false},
		{"read-only directory", func(t *testing.T) targetwork.Target { return directory(tmpfs(t, "ro")) }, protocol.AccessDenied, "mount the target so that it can be written", false},
		{"full directory", func(t *testing.T) targetwork.Target { return directory(full(t)) }, protocol.NoSpace, "free space", false},
		{"full S3 server", func(t *testing.T) targetwork.Target { return w.s3(t, fullS3(t)) }, protocol.NoSpace, "free space", false},
		{"no target at all", func(*testing.T) targetwork.Target { return targetwork.Target{} }, protocol.Invalid, "set exactly one", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at, err := c.target(t), error(nil)
			// The cause comes within what a coordinator gives to a probe. A machine that
			// is busy with all of these at once may need another try.
			for range 5 {
				if _, err = w.Probe(within(t, promptly), at); targetwork.ReasonOf(err) != protocol.Timeout {
					break
				}
			}
			failed(t, err, c.reason, c.says)
			require.Equal(t, words.Clean(err.Error(), 4096), err.Error(), "it is fit for a status and a terminal")
			require.Equal(t, c.passes, transient(err))
			t.Log(err)
		})
	}
}

// An endpoint that accepts and never answers, or never to the end, costs one worker
// its deadline.
func TestProbeOfSilentEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, endpoint := range map[string]string{"silent": silent(t), "trickling": trickling(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bt := w.s3(t, &enginetest.Target{Credential: map[string]string{
				"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": canary, "AWS_ENDPOINTS": endpoint,
			}})
			for allowed := 6 * time.Second; ; allowed *= 2 {
				_, err := w.Probe(within(t, allowed), bt)
				failed(t, err, protocol.Timeout, "")
				require.True(t, transient(err))
				if strings.Contains(err.Error(), "no answer in the time allowed (waiting for an answer to GET)") {
					return
				}
				require.Less(t, allowed, limit, "%v", err) // a busy machine may not come so far in less time
			}
		})
	}
}

// trickling begins to answer, and sends a blank now and then for ever.
func trickling(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>`)
		for {
			_, _ = io.WriteString(rw, " ")
			rw.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// The CA bundle of a target is trusted, and only then.
func TestProbeOverTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s3 := enginetest.StartS3(t)
	behind, err := url.Parse(s3.Endpoint)
	require.NoError(t, err)
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Host = r.In.Host
	}})
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	t.Cleanup(front.Close)
	bt := w.s3(t, s3.Target)
	bt.Spec.S3.Endpoint = front.URL
	failed(t, outcome(w.Probe(within(t, limit), bt)), protocol.Unreachable, "caBundle")
	bt.Spec.S3.CABundle = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}))
	require.NoError(t, outcome(w.Probe(within(t, limit), bt)))
}

// secured is an HTTPS server whose certificate is for one host until a moment,
// with the bundle that trusts it.
func secured(t *testing.T, host string, until time.Time) (url, bundle string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.AddDate(-1, 0, 0), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	if ip := net.ParseIP(host); ip != nil {
		cert.IPAddresses = []net.IP{ip}
	} else {
		cert.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// tmpfs is a small file system of its own.
func tmpfs(t *testing.T, option string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	if option == "ro" {
		require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	}
	return dir
}

// full is a directory on a file system without a free byte.
func full(t *testing.T) string {
	t.Helper()
	dir := tmpfs(t, "rw")
	fill(t, dir)
	return dir
}

func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for chunk := make([]byte, 4096); ; {
		if _, err := f.Write(chunk); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			return
		}
	}
}

// fullS3 is an S3 server whose disk is full.
func fullS3(t *testing.T) *enginetest.Target {
	t.Helper()
	dir := tmpfs(t, "rw")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "backups"), 0o755))
	addr := enginetest.FreeAddr(t, 1, 1)
	cmd := exec.Command(enginetest.Program(t, "versitygw"), "--port", addr, "posix", dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=k", "ROOT_SECRET_KEY="+canary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	enginetest.Eventually(t, limit, "the S3 server answers", func() bool {
		resp, err := http.Get("http://" + addr)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	})
	fill(t, dir)
	return &enginetest.Target{Credential: map[string]string{
		"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": canary, "AWS_ENDPOINTS": "http://" + addr,
	}}
}

// answering is a service that says the same to everybody, as S3 documents it, for
// what cannot be provoked in a real one.
func answering(t *testing.T, status int, code, message string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/xml")
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>`+message+`</Message><RequestId>1</RequestId></Error>`)
	}))
	t.Cleanup(s.Close)
	return s.URL
}
