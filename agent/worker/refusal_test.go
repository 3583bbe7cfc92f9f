package worker

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestRefusalsOfTheTargetAreFinal(t *testing.T) {
	const canary = "AKIACANARY"
	for name, c := range map[string]struct {
		said  string
		retry bool
		want  string
	}{
		"wrong secret key": {
			said: "failed to initiate backup: failed to list objects with param: {\n  Bucket: \"backups\",\n  Delimiter: \"/\"\n} error: AWS Error:  SignatureDoesNotMatch The request signature we calculated does not match the signature you provided. <nil>\n403 " + canary + "\n",
			want: "backup b: target s3 refuses it (SignatureDoesNotMatch): AWS_SECRET_ACCESS_KEY in the target's Secret does not fit its key ID: correct it",
		},
		"unknown key ID": {
			said: "InvalidAccessKeyId: The AWS Access Key Id you provided does not exist in our records.\n\tstatus code: 403, request id: , host id: ",
			want: "backup b: target s3 refuses it (InvalidAccessKeyId): the service does not know AWS_ACCESS_KEY_ID of the target's Secret: correct it",
		},
		"no right": {
			said: "AWS Error:  AccessDenied Access Denied. <nil>\n403",
			want: "backup b: target s3 refuses it (AccessDenied): give the key the right to list, read, write and delete in the bucket",
		},
		"no bucket": {
			said: "NoSuchBucket: The specified bucket does not exist\n\tstatus code: 404",
			want: "backup b: target s3 refuses it (NoSuchBucket): create the bucket, or correct spec.s3.bucket of the target",
		},
		"a block is missing":            {said: "NoSuchKey: The specified key does not exist.", retry: true, want: "backup b: NoSuchKey: The specified key does not exist."},
		"refused connection":            {said: "dial tcp 127.0.0.1:7070: connect: connection refused", retry: true, want: "backup b: dial tcp 127.0.0.1:7070: connect: connection refused"},
		"a code within another word":    {said: "open /data/NoSuchBucketX: no such file", retry: true, want: "backup b: open /data/NoSuchBucketX: no such file"},
		"nothing but the engine's word": {said: orState("", "error"), retry: true, want: "backup b: the engine reports state error without a cause"},
	} {
		t.Run(name, func(t *testing.T) {
			var f *failure
			require.ErrorAs(t, targetFailed("backup b", "s3", c.said), &f)
			require.Equal(t, v1alpha1.ReasonTargetError, f.reason)
			require.Equal(t, c.retry, f.retryable)
			require.Equal(t, c.want, f.Error())
			require.NotContains(t, f.Error(), canary)
			require.Equal(t, c.retry, refused("backup b", "s3", c.said) == nil)

			require.ErrorAs(t, failedMidway("backup b", "s3", c.said), &f)
			require.Equal(t, v1alpha1.ReasonTargetError, f.reason)
			require.True(t, f.retryable, "in the middle of a transfer")
			require.Contains(t, f.Error(), c.want)
			require.Equal(t, !c.retry, strings.Contains(f.Error(), "that Longhorn itself makes"))
		})
	}
}

func TestOneLine(t *testing.T) {
	require.Equal(t, "a b c", oneLine(" a\n\tb  c\n"))
}
