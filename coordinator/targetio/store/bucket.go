package store

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

const (
	// retries after a failure that may pass; with the SDK's back-off they
	// take about a second when a connection is refused.
	retries = 3
	// retryDelay and maxRetryDelay are those of the S3 SDK, for others.
	retryDelay    = 100 * time.Millisecond
	maxRetryDelay = time.Second
)

// bucket is a target on S3. It uses the SDK and the settings that the engine's
// own driver uses, so that both see the same service alike.
type bucket struct {
	client   *s3.S3
	sent     *transport
	name     string
	prefix   string // before each key, with its slash
	endpoint string
	// versions that trial writes left, which keeps clears away.
	versions []string
}

// newBucket prepares a client from a complete set of credential variables.
func newBucket(spec v1alpha1.S3Target, credential map[string]string, requests *atomic.Int64) (*bucket, error) {
	sent, err := newTransport(credential, target.Cert, "spec.s3.caBundle", requests)
	if err != nil {
		return nil, err
	}
	config := &aws.Config{
		Region:           aws.String(spec.Region),
		Credentials:      credentials.NewStaticCredentials(credential[target.AccessKeyID], credential[target.SecretAccessKey], ""),
		S3ForcePathStyle: aws.Bool(credential[target.VirtualHostedStyle] != "true"),
		MaxRetries:       aws.Int(retries),
		HTTPClient:       &http.Client{Transport: sent},
	}
	endpoint := "AWS region " + spec.Region
	if e := credential[target.Endpoints]; e != "" {
		config.Endpoint = aws.String(e)
		endpoint = e
	}
	ses, err := session.NewSession(config)
	if err != nil {
		return nil, &protocol.Error{Reason: protocol.Invalid, Message: fmt.Sprintf("preparing a client for %s: %v", endpoint, err)}
	}
	b := &bucket{client: s3.New(ses), sent: sent, name: spec.Bucket, endpoint: endpoint}
	if spec.Prefix != "" {
		b.prefix = spec.Prefix + "/"
	}
	return b, nil
}

func (b *bucket) list(ctx context.Context, dir string) ([]string, error) {
	prefix := b.prefix
	if dir = strings.TrimSuffix(dir, "/"); dir != "" {
		prefix += dir + "/"
	}
	var names []string
	add := func(s string) {
		if s = strings.Trim(strings.TrimPrefix(s, prefix), "/"); s != "" {
			names = append(names, s)
		}
	}
	err := b.client.ListObjectsPagesWithContext(ctx, &s3.ListObjectsInput{
		Bucket: &b.name, Prefix: &prefix, Delimiter: aws.String("/"),
	}, func(page *s3.ListObjectsOutput, _ bool) bool {
		for _, o := range page.Contents {
			add(aws.StringValue(o.Key))
		}
		for _, p := range page.CommonPrefixes {
			add(aws.StringValue(p.Prefix))
		}
		return true
	})
	if err != nil {
		return nil, b.fail(ctx, "listing /"+prefix, err)
	}
	return names, nil
}

func (b *bucket) stat(ctx context.Context, path string) (info, error) {
	head, err := b.client.HeadObjectWithContext(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: b.key(path)})
	if isMissing(err) {
		return info{}, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return info{}, b.fail(ctx, "looking at "+path, err)
	}
	return info{size: aws.Int64Value(head.ContentLength), modified: aws.TimeValue(head.LastModified).UTC()}, nil
}

func (b *bucket) read(ctx context.Context, path string) (io.ReadCloser, error) {
	out, err := b.client.GetObjectWithContext(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.key(path)})
	if isMissing(err) {
		return nil, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return nil, b.fail(ctx, "reading "+path, err)
	}
	return out.Body, nil
}

func (b *bucket) write(ctx context.Context, path string, r io.ReadSeeker) error {
	out, err := b.client.PutObjectWithContext(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: b.key(path), Body: r})
	if err != nil {
		return b.fail(ctx, "writing "+path, err)
	}
	b.version(path, out.VersionId)
	return nil
}

func (b *bucket) remove(ctx context.Context, path string) error {
	out, err := b.client.DeleteObjectWithContext(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(path)})
	if err != nil && !isMissing(err) {
		return b.fail(ctx, "removing "+path, err)
	}
	if err == nil {
		b.version(path, out.VersionId)
	}
	return nil
}

func (b *bucket) key(path string) *string { return aws.String(b.prefix + path) }
