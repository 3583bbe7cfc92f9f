package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/cli/internal/sentence"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// targetOptions are what a user can say about a target besides its name and URL.
type targetOptions struct {
	endpoint, caFile        string
	insecure, virtualHosted bool
	secret, credentials     string
	isDefault, readOnly     bool
	namespaces, recipients  []string
	identity, output        string
	dryRun                  bool
}

func (a *app) targetCreate() *cobra.Command {
	var o targetOptions
	c := &cobra.Command{
		Use:   "create NAME URL (--secret NAME | --credentials-file FILE)",
		Short: "Make a target: tell of a bucket, a share or a directory that backups go to",
		Long: `Make a target. Its URL is in Longhorn's form:

  s3://BUCKET@REGION/PREFIX             with --endpoint for other services than AWS
  azblob://CONTAINER@core.windows.net/PREFIX
  nfs://SERVER:/PATH?nfsOptions=soft,timeo=150
  cifs://SERVER/SHARE?cifsOptions=vers=3.0
  vfs:///PATH                           a directory

Prefix and options may be left out. Keys and passwords are never given as
arguments, which others can see: name a Secret in Hayloft's namespace that holds
them (--secret), or have one made of a file (--credentials-file) with lines such as
AWS_ACCESS_KEY_ID=..., AWS_SECRET_ACCESS_KEY=...; CIFS_USERNAME, CIFS_PASSWORD;
AZBLOB_ACCOUNT_NAME, AZBLOB_ACCOUNT_KEY; HTTP_PROXY, HTTPS_PROXY, NO_PROXY. NFS and
directories have none. The target is tried out before it is made, where Hayloft's
webhook runs; with --dry-run only what is said of it is looked at.`,
		Args:              exactly("the target's name", "its URL"),
		ValidArgsFunction: cobra.NoFileCompletions,
		Example: `  hayloft target create s3 s3://backups@eu-central-1/ --endpoint https://s3.example.org:9000 --credentials-file keys.env
  hayloft target create aws s3://backups@eu-central-1/team --secret s3-keys --default
  pass show backups | hayloft target create nas cifs://files.example.org/backups --credentials-file -
  hayloft target create nfs nfs://nfs.example.org:/export/backups --dry-run -o yaml`,
	}
	o.bind(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		t, err := o.target(c, args[0], args[1])
		if err != nil {
			return err
		}
		secret, err := a.credentialsOf(c, &o, t)
		if err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		return a.makeTarget(c.Context(), cluster, &o, t, secret)
	}
	return c
}

func (o *targetOptions) bind(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.endpoint, "endpoint", "", "URL of the service that has an S3 bucket or Azure container, such as https://s3.example.org:9000 (default AWS or Azure)")
	f.BoolVar(&o.insecure, "insecure", false, "allow an http:// endpoint")
	f.StringVar(&o.caFile, "ca-file", "", "PEM file with authorities to trust for the endpoint's certificate")
	f.BoolVar(&o.virtualHosted, "virtual-hosted-style", false, "put the bucket into the host name of requests")
	f.StringVar(&o.secret, "secret", "", "Secret in Hayloft's namespace with the keys; with --credentials-file the one to make (default the target's name)")
	f.StringVar(&o.credentials, "credentials-file", "", "file with lines KEY=VALUE to make the Secret of, - for standard input")
	f.BoolVar(&o.isDefault, "default", false, "have backups that name no target go here")
	f.BoolVar(&o.readOnly, "read-only", false, "only restore from it: nothing is written there")
	f.StringSliceVar(&o.namespaces, "allow-namespace", nil, "take only this namespace's backups; may be repeated (default all namespaces)")
	f.StringSliceVar(&o.recipients, "recipient", nil, "encrypt the Secrets in backups to this public key, see hayloft key generate; may be repeated")
	f.StringVar(&o.identity, "identity-secret", "", "Secret in Hayloft's namespace that opens what is encrypted")
	f.BoolVar(&o.dryRun, "dry-run", false, "make nothing; tell whether it would be accepted")
	f.StringVarP(&o.output, "output", "o", "", "print the target: json, yaml or name")
	_ = c.MarkFlagFilename("ca-file")
	_ = c.MarkFlagFilename("credentials-file")
}

// target is the object that was described.
func (o *targetOptions) target(c *cobra.Command, name, url string) (*v1alpha1.BackupTarget, error) {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return nil, usage(c, "%q cannot be the name of a target: it must be lower-case letters, digits, - and ., and start and end with a letter or digit", name)
	}
	if err := checkOutput(c, o.output, "json", "yaml", "name"); err != nil {
		return nil, err
	}
	spec, err := target.Parse(url)
	if err != nil {
		return nil, usage(c, "%v", err)
	}
	if spec.S3 == nil && spec.AzureBlob == nil && (o.endpoint != "" || o.insecure || o.caFile != "") {
		return nil, usage(c, "--endpoint, --insecure and --ca-file go with s3:// and azblob:// only")
	}
	if spec.S3 == nil && o.virtualHosted {
		return nil, usage(c, "--virtual-hosted-style goes with s3:// only")
	}
	bundle := ""
	if o.caFile != "" {
		data, err := readBounded(o.caFile, nil)
		if err != nil {
			return nil, fmt.Errorf("reading --ca-file: %w", err)
		}
		bundle = string(data)
	}
	if s := spec.S3; s != nil {
		s.Endpoint, s.Insecure, s.CABundle, s.VirtualHostedStyle = o.endpoint, o.insecure, bundle, o.virtualHosted
	}
	if s := spec.AzureBlob; s != nil {
		s.Endpoint, s.Insecure, s.CABundle = o.endpoint, o.insecure, bundle
	}
	spec.Default, spec.ReadOnly = o.isDefault, o.readOnly
	if len(o.namespaces) > 0 {
		spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Names: o.namespaces}
	}
	if len(o.recipients) > 0 || o.identity != "" {
		spec.Encryption = &v1alpha1.TargetEncryption{Recipients: o.recipients, IdentitySecret: o.identity}
	}
	return &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, nil
}

// credentialsOf names the target's Secret, and is that Secret if it is to be made.
func (a *app) credentialsOf(c *cobra.Command, o *targetOptions, t *v1alpha1.BackupTarget) (*corev1.Secret, error) {
	keyless := t.Spec.NFS != nil || t.Spec.Directory != nil
	switch {
	case keyless && (o.secret != "" || o.credentials != ""):
		return nil, usage(c, "--secret and --credentials-file do not go with %s, which knows no keys", target.Kind(t.Spec))
	case keyless:
		return nil, nil
	case o.secret == "" && o.credentials == "":
		return nil, usage(c, "the keys are missing: name their Secret with --secret, or a file with --credentials-file")
	}
	if t.Spec.CredentialSecret = o.secret; o.secret == "" {
		t.Spec.CredentialSecret = t.Name
	}
	if len(validation.IsDNS1123Subdomain(t.Spec.CredentialSecret)) > 0 {
		return nil, usage(c, "--secret %q cannot be the name of a Secret", t.Spec.CredentialSecret)
	}
	if o.credentials == "" {
		return nil, nil
	}
	content, err := readBounded(o.credentials, a.In)
	if err != nil {
		return nil, fmt.Errorf("reading --credentials-file: %w", err)
	}
	data, err := parseCredentials(string(content))
	if err != nil {
		return nil, usage(c, "--credentials-file: %v", err)
	}
	if _, err := target.Credential(t.Spec, data); err != nil {
		return nil, usage(c, "--credentials-file: %v", err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: t.Spec.CredentialSecret}, Data: data}, nil
}

// maxFile bounds the files that are read; a Secret can hold no more.
const maxFile = 1 << 20

// readBounded reads a file, or in for "-".
func readBounded(path string, in io.Reader) ([]byte, error) {
	if path != "-" || in == nil {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("it is larger than 1 MiB")
	}
	return data, err
}

// credentialLine is one key and its value.
var credentialLine = regexp.MustCompile(`^([A-Z][A-Z0-9_]*)=(.+)$`)

// parseCredentials reads lines KEY=VALUE, with empty ones and comments between them.
// What it says of a line that it cannot read repeats nothing of it.
func parseCredentials(content string) (map[string][]byte, error) {
	out := map[string][]byte{}
	n := 0
	for line := range strings.Lines(content) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := credentialLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %d is not KEY=VALUE, as in AWS_ACCESS_KEY_ID=AKIA", n)
		}
		if out[m[1]] != nil {
			return nil, fmt.Errorf("line %d gives %s again", n, m[1])
		}
		out[m[1]] = []byte(m[2])
	}
	return out, nil
}

// makeTarget makes the Secret first: the target is tried out with it before it is
// accepted. Of a target that is refused no Secret is left.
func (a *app) makeTarget(ctx context.Context, cluster *kube.Cluster, o *targetOptions, t *v1alpha1.BackupTarget, secret *corev1.Secret) error {
	var how []client.CreateOption
	made := "created"
	if o.dryRun {
		how, made = []client.CreateOption{client.DryRunAll}, "would be created"
	}
	if secret != nil {
		secret.Namespace = cluster.System
		if err := cluster.Client.Create(ctx, secret, how...); err != nil {
			if apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("there is a Secret %s/%s already, which is left as it is: name another with --secret, or use that one and leave --credentials-file out", secret.Namespace, secret.Name)
			}
			return err
		}
		fmt.Fprintf(a.Err, "secret/%s %s in namespace %s\n", secret.Name, made, secret.Namespace)
	}
	if err := cluster.Client.Create(ctx, t, how...); err != nil {
		if secret != nil && !o.dryRun {
			a.takeBack(ctx, cluster, secret, err)
		}
		return err
	}
	k, _ := kinds.Find("target")
	if o.dryRun && o.output == "" {
		_, err := fmt.Fprintf(a.Out, "%s %s\n", k.Named(t.Name), made)
		return err
	}
	return a.created(ctx, cluster, k, &creator{output: o.output}, t)
}

// takeBack removes the Secret of a target that was surely not made, and says what
// became of it.
func (a *app) takeBack(ctx context.Context, cluster *kube.Cluster, secret *corev1.Secret, why error) {
	var refused apierrors.APIStatus
	if !errors.As(why, &refused) || apierrors.IsTimeout(why) || apierrors.IsServerTimeout(why) || apierrors.IsInternalError(why) {
		fmt.Fprintf(a.Err, "secret/%s stays: nobody knows whether the target was made\n", secret.Name)
		return
	}
	err := cluster.Client.Delete(context.WithoutCancel(ctx), secret, client.Preconditions{UID: &secret.UID})
	if client.IgnoreNotFound(err) != nil {
		fmt.Fprintf(a.Err, "secret/%s stays, since it could not be removed: %s\n", secret.Name, sentence.Of(err))
		return
	}
	fmt.Fprintf(a.Err, "secret/%s removed again\n", secret.Name)
}
