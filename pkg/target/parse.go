package target

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"hayloft.dev/pkg/api/v1alpha1"
)

// errForm tells the forms of URL. It repeats nothing of what was given, which may hold
// a password.
var errForm = errors.New("this is no URL of a target: write s3://BUCKET@REGION/PREFIX, nfs://SERVER:/PATH, cifs://SERVER/SHARE, azblob://CONTAINER@core.windows.net/PREFIX, or vfs:///PATH for a directory")

// Parse is the spec that a URL in Longhorn's form stands for: what URL makes of a spec.
// What is in the parts, the API server judges.
func Parse(text string) (spec v1alpha1.BackupTargetSpec, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return spec, errForm
	}
	if _, password := u.User.Password(); password || u.User != nil && u.Scheme != "s3" && u.Scheme != "azblob" {
		return spec, errors.New("there is a user or a password in the URL, which others can see: put them into the Secret")
	}
	var options []string
	if u.RawQuery != "" {
		if options, err = optionsOf(u); err != nil {
			return spec, err
		}
	}
	server, port := strings.CutSuffix(u.Host, ":")
	prefix := strings.Trim(u.Path, "/")
	switch {
	case u.Scheme == "s3" && u.User != nil && u.Host != "":
		spec.S3 = &v1alpha1.S3Target{Bucket: u.User.Username(), Region: u.Host, Prefix: prefix}
	case u.Scheme == "azblob" && u.User != nil && u.Host != "":
		spec.AzureBlob = &v1alpha1.AzureBlobTarget{Container: u.User.Username(), EndpointSuffix: u.Host, Prefix: prefix}
		if u.Host == azurePublic {
			spec.AzureBlob.EndpointSuffix = ""
		}
	case u.Scheme == "nfs" && server != "" && u.Path != "":
		spec.NFS = &v1alpha1.NFSTarget{Server: server, Path: u.Path, Options: options}
	case u.Scheme == "cifs" && server != "" && !port && prefix != "":
		spec.CIFS = &v1alpha1.CIFSTarget{Server: server, Share: prefix, Options: options}
	case u.Scheme == "vfs" && u.Host == "" && u.Path != "":
		spec.Directory = &v1alpha1.DirectoryTarget{Path: u.Path}
	default:
		return spec, errForm
	}
	return spec, nil
}

// optionsOf are those of a mount, which alone may follow a URL.
func optionsOf(u *url.URL) ([]string, error) {
	name := u.Scheme + "Options"
	if !slices.Contains([]string{"nfs", "cifs"}, u.Scheme) {
		return nil, errors.New("nothing may follow the URL of this kind of target")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(q) != 1 || len(q[name]) != 1 {
		return nil, fmt.Errorf("only the options of the mount may follow the URL, as ?%s=soft,timeo=150", name)
	}
	return strings.Split(q.Get(name), ","), nil
}
