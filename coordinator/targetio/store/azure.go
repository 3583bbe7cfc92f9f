package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// azure is a target on Azure Blob Storage. It uses the SDK that the engine's own
// driver uses.
type azure struct {
	client  *container.Client
	service *service.Client
	sent    *transport
	name    string
	prefix  string
	where   string
}

// newAzure finds the service as backupstore does: the account is a part of the
// host's name in Azure, and of the path elsewhere.
func newAzure(spec v1alpha1.AzureBlobTarget, credential map[string]string, requests *atomic.Int64) (*azure, error) {
	sent, err := newTransport(credential, target.AzureCert, "spec.azureBlob.caBundle", requests)
	if err != nil {
		return nil, err
	}
	account := credential[target.AzureAccountName]
	suffix := spec.EndpointSuffix
	if suffix == "" {
		suffix = "core.windows.net"
	}
	endpoint := fmt.Sprintf("https://%s.blob.%s/", account, suffix)
	if e := credential[target.AzureEndpoint]; e != "" {
		endpoint = e + "/" + account
	}
	key, err := service.NewSharedKeyCredential(account, credential[target.AzureAccountKey])
	if err != nil {
		return nil, &protocol.Error{Reason: protocol.InvalidCredentials, Message: target.AzureAccountKey + " of the target's Secret is no key of Azure: correct it"}
	}
	client, err := service.NewClientWithSharedKeyCredential(endpoint, key, &service.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: sent},
		Retry:     policy.RetryOptions{MaxRetries: retries, RetryDelay: retryDelay, MaxRetryDelay: maxRetryDelay},
	}})
	if err != nil {
		return nil, &protocol.Error{Reason: protocol.Invalid, Message: fmt.Sprintf("preparing a client for %s: %v", endpoint, err)}
	}
	a := &azure{client: client.NewContainerClient(spec.Container), service: client, sent: sent, name: spec.Container, where: fmt.Sprintf("container %s at %s", spec.Container, endpoint)}
	if spec.Prefix != "" {
		a.prefix = spec.Prefix + "/"
	}
	return a, nil
}

func (a *azure) list(ctx context.Context, dir string) ([]string, error) {
	prefix := a.prefix
	if dir = strings.TrimSuffix(dir, "/"); dir != "" {
		prefix += dir + "/"
	}
	var names []string
	add := func(s *string) {
		if s == nil {
			return
		}
		if s := strings.Trim(strings.TrimPrefix(*s, prefix), "/"); s != "" {
			names = append(names, s)
		}
	}
	pager := a.client.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{Prefix: &prefix})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, a.fail(ctx, "listing /"+prefix, err)
		}
		for _, b := range page.Segment.BlobItems {
			add(b.Name)
		}
		for _, p := range page.Segment.BlobPrefixes {
			add(p.Name)
		}
	}
	return names, nil
}

func (a *azure) walk(ctx context.Context, dir string, see func(File) error) error {
	prefix := a.prefix + dir + "/"
	pager := a.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return a.fail(ctx, "listing /"+prefix, err)
		}
		for _, b := range page.Segment.BlobItems {
			if b.Name == nil || b.Properties == nil || b.Properties.ContentLength == nil || b.Properties.ETag == nil {
				return &protocol.Error{Reason: protocol.Invalid, Transient: true, Message: fmt.Sprintf("listing /%s in %s: the service left out a name, a size or an ETag", prefix, a.where)}
			}
			f := File{Path: strings.TrimPrefix(*b.Name, a.prefix), Size: *b.Properties.ContentLength, Version: strings.Trim(string(*b.Properties.ETag), `"`)}
			if err := see(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *azure) stat(ctx context.Context, path string) (info, error) {
	p, err := a.client.NewBlockBlobClient(a.prefix+path).GetProperties(ctx, nil)
	if blobMissing(err) {
		return info{}, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return info{}, a.fail(ctx, "looking at "+path, err)
	}
	var i info
	if p.ContentLength != nil {
		i.size = *p.ContentLength
	}
	if p.LastModified != nil {
		i.modified = p.LastModified.UTC()
	}
	return i, nil
}

func (a *azure) read(ctx context.Context, path string) (io.ReadCloser, error) {
	out, err := a.client.NewBlockBlobClient(a.prefix+path).DownloadStream(ctx, nil)
	if blobMissing(err) {
		return nil, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return nil, a.fail(ctx, "reading "+path, err)
	}
	return out.Body, nil
}

func (a *azure) write(ctx context.Context, path string, r io.ReadSeeker) error {
	if _, err := a.client.NewBlockBlobClient(a.prefix+path).Upload(ctx, streaming.NopCloser(r), nil); err != nil {
		return a.fail(ctx, "writing "+path, err)
	}
	return nil
}

func (a *azure) remove(ctx context.Context, path string) error {
	_, err := a.client.NewBlockBlobClient(a.prefix+path).Delete(ctx, nil)
	if err != nil && !blobMissing(err) {
		return a.fail(ctx, "removing "+path, err)
	}
	return nil
}

// keeps asks the account whether it holds on to deleted blobs. Who may not ask
// is not told.
func (a *azure) keeps(ctx context.Context, _ string) (protocol.Keeps, error) {
	p, err := a.service.GetProperties(ctx, nil)
	if err == nil && p.DeleteRetentionPolicy != nil && p.DeleteRetentionPolicy.Enabled != nil && *p.DeleteRetentionPolicy.Enabled {
		return protocol.KeepsDeleted, nil
	}
	return "", nil
}

// blobMissing tells the answer that one blob is not there. A HEAD has no body, so
// a missing container looks the same; every operation lists or reads too.
func blobMissing(err error) bool {
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return true
	}
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound && answer.ErrorCode == ""
}
