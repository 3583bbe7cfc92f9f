package store

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/service/s3"

	"hayloft.dev/coordinator/targetio/protocol"
)

// version remembers what a service called one version of a small file of a probe;
// one without versioning calls it nothing, or null.
func (b *bucket) version(path string, id *string) {
	if v := aws.StringValue(id); v != "" && v != "null" && strings.Contains(path, probes) {
		b.versions = append(b.versions, v)
	}
}

// probes is in the paths of files that are written only to try a target out.
const probes = "/probes/"

// keeps tells by the versions that a service named whether it keeps them, which
// takes no right and no request. Those of the probe are removed again; that a key
// may not do this says nothing against it.
func (b *bucket) keeps(ctx context.Context, path string) (protocol.Keeps, error) {
	left := b.versions
	b.versions = nil
	if len(left) == 0 {
		return "", nil
	}
	keeps := protocol.KeepsVersions
	for _, v := range left {
		_, err := b.client.DeleteObjectWithContext(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(path), VersionId: &v})
		if err != nil && b.locks(ctx) {
			keeps = protocol.KeepsLocked
		}
		if ctx.Err() != nil {
			return "", b.fail(ctx, "removing a version of "+path, err)
		}
	}
	return keeps, nil
}

// locks tells whether the bucket gives what is written a retention of its own.
func (b *bucket) locks(ctx context.Context) bool {
	out, err := b.client.GetObjectLockConfigurationWithContext(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &b.name})
	if err != nil || out.ObjectLockConfiguration == nil {
		return false
	}
	rule := out.ObjectLockConfiguration.Rule
	return rule != nil && rule.DefaultRetention != nil
}
