package store

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// A key that may list and not read is found out without an object to read.
func TestReadable(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "") // of whoever runs the tests; a worker is not given it
	for status, want := range map[int]protocol.Reason{http.StatusForbidden: protocol.AccessDenied, http.StatusNotFound: ""} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", status) }))
		t.Cleanup(server.Close)
		s, err := Open(v1alpha1.BackupTargetSpec{S3: &v1alpha1.S3Target{Endpoint: server.URL, Bucket: "bucket", Region: "r"}},
			map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("k"), "AWS_SECRET_ACCESS_KEY": []byte("s")}, Place{})
		require.NoError(t, err)
		err = s.Readable(t.Context(), "absent")
		t.Log(err)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		var e *protocol.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, want, e.Reason)
	}
}
