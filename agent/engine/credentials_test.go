package engine_test

import (
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
	"hayloft.dev/test/enginetest"
)

// asAgent is what an agent gives an engine for an S3 target.
func asAgent(t *testing.T, s3 *enginetest.Target, change func(*v1alpha1.S3Target)) *enginetest.Target {
	t.Helper()
	spec := v1alpha1.BackupTargetSpec{S3: &v1alpha1.S3Target{Endpoint: s3.Credential[target.Endpoints], Bucket: "backups", Region: "us-east-1"}}
	if change != nil {
		change(spec.S3)
	}
	credential, err := target.Credential(spec, map[string][]byte{
		target.AccessKeyID: []byte(s3.Credential[target.AccessKeyID]), target.SecretAccessKey: []byte(s3.Credential[target.SecretAccessKey]),
	})
	must(t, err)
	credential, err = target.ForEngine(credential)
	must(t, err)
	out := *s3
	out.Credential = credential
	out.URL, err = target.URL(spec)
	must(t, err)
	return &out
}

// behindTLS is an S3 target behind a certificate that only its own bundle trusts.
func behindTLS(t *testing.T, s3 *enginetest.S3) (front *enginetest.Target, bundle string) {
	t.Helper()
	server, err := url.Parse(s3.Endpoint)
	must(t, err)
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(server)
		r.Out.Host = r.In.Host
	}})
	proxy.Config.ErrorLog = log.New(io.Discard, "", 0)
	proxy.StartTLS()
	t.Cleanup(proxy.Close)
	out := *s3.Target
	out.Credential = maps.Clone(out.Credential)
	out.Credential[target.Endpoints] = proxy.URL
	return &out, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw}))
}

// otherS3 is a server with other keys, and a bucket of the same name.
func otherS3(t *testing.T) *enginetest.S3 {
	t.Helper()
	s3 := enginetest.StartS3(t, "ROOT_ACCESS_KEY=other", "ROOT_SECRET_KEY=other-secret")
	s3.Credential[target.AccessKeyID], s3.Credential[target.SecretAccessKey] = "other", "other-secret"
	return s3
}

// ended waits until the engine has given the target's lock back: until then it has
// a write left, which would go to the next target.
func ended(t *testing.T, v *enginetest.Volume, at *enginetest.Target, backup string) string {
	t.Helper()
	enginetest.Eventually(t, limit, "the lock of "+backup+" is gone", func() bool {
		locks, err := filepath.Glob(filepath.Join(at.Dir, "backupstore", "volumes", "*", "*", v.Name, "locks", "*.lck"))
		must(t, err)
		return len(locks) == 0
	})
	return backup
}

// TestTheEngineKeepsCredentials: what an engine was given once it goes on using
// for whoever gives it less. This is why an agent gives it every variable.
func TestTheEngineKeepsCredentials(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 1})
	s3 := enginetest.StartS3(t)
	front, bundle := behindTLS(t, s3)
	front.Credential[target.Cert] = bundle
	v.Device().WriteBlocks(1, 0, 2)
	snapshot := cut(t, v)
	ended(t, v, front, backUp(t, v, front, snapshot))

	less := *front
	less.Credential = maps.Clone(front.Credential)
	less.Credential[target.AccessKeyID], less.Credential[target.SecretAccessKey], less.Credential[target.Cert] = "", "", ""
	ended(t, v, &less, backUp(t, v, &less, snapshot)) // with the former's keys, trusting the former's authority

	none := asAgent(t, front, nil)
	_, err := open(v).StartBackup(within(t, limit), engine.BackupRequest{
		Snapshot: snapshot, Backup: fresh("backup"), TargetURL: none.URL, Credential: none.Credential,
	})
	require.ErrorContains(t, err, "certificate signed by unknown authority", "an agent's target trusts nobody else's authority")
	backUp(t, v, asAgent(t, front, func(s *v1alpha1.S3Target) { s.CABundle = bundle }), snapshot)
}

// TestCredentialsAreNeverMixed alternates between two services that have a bucket
// of the same name and know each other's keys not, one of them behind TLS, and a
// directory: each gets what was meant for it, and nothing else.
func TestCredentialsAreNeverMixed(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 1})
	one, other := enginetest.StartS3(t), otherS3(t)
	front, bundle := behindTLS(t, other)
	dir := enginetest.Directory(t)
	var err error
	dir.Credential, err = target.Credential(v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: dir.Dir}}, nil)
	must(t, err)
	dir.Credential, err = target.ForEngine(dir.Credential)
	must(t, err)
	targets := []*enginetest.Target{
		asAgent(t, one.Target, nil),
		asAgent(t, front, func(s *v1alpha1.S3Target) { s.CABundle = bundle }),
		dir,
	}
	made := map[string]int{} // backup -> its target
	d := v.Device()
	for round := range 6 {
		d.WriteBlocks(uint64(round), round, 2)
		at := round % len(targets)
		if round >= len(targets) {
			at = len(targets) - 1 - at
		}
		made[ended(t, v, targets[at], backUp(t, v, targets[at], cut(t, v)))] = at
	}
	for backup, at := range made {
		for i, target := range targets {
			_, found := target.Backup(v.Name, backup)
			require.Equal(t, i == at, found, "backup %s of target %d on target %d", backup, at, i)
		}
	}
	wrong := asAgent(t, one.Target, nil)
	wrong.Credential[target.SecretAccessKey] = "wrong"
	_, err = open(v).StartBackup(within(t, limit), engine.BackupRequest{
		Snapshot: cut(t, v), Backup: fresh("backup"), TargetURL: wrong.URL, Credential: wrong.Credential,
	})
	require.ErrorContains(t, err, "SignatureDoesNotMatch", "a wrong key is not made good by a former one")
}
