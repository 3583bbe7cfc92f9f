package rules

import (
	"crypto/x509"
	"net"
	"net/url"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/refresh"
	"hayloft.dev/pkg/api/v1alpha1"
	location "hayloft.dev/pkg/target"
)

// Target are the reasons against a BackupTarget's spec, beside those that its
// schema holds by itself. all are the targets that exist, itself among them or
// not.
func Target(t *v1alpha1.BackupTarget, all []v1alpha1.BackupTarget) []Refusal {
	out := append(encryption(t), targetFields(t)...)
	if r := sharedMount(t, all); r != nil {
		out = append(out, *r)
	}
	return out
}

func targetFields(t *v1alpha1.BackupTarget) []Refusal {
	var out []Refusal
	if r := t.Spec.Refresh; r != nil {
		if _, _, err := refresh.ParseInterval(r.Interval); err != nil {
			out = append(out, refusal(Refused, "spec.refresh.interval: %v: correct it, or remove it for the default of %s", err, refresh.DefaultBounds().Default))
		}
	}
	if s := t.Spec.S3; s != nil {
		if !isBundle(s.CABundle) {
			out = append(out, refusal(Refused, "spec.s3.caBundle holds no certificate in PEM form: correct or remove it"))
		}
		if host := hostOf(s.Endpoint); s.VirtualHostedStyle && net.ParseIP(host) != nil {
			out = append(out, refusal(Refused, "spec.s3.virtualHostedStyle is true and the host of spec.s3.endpoint is the address %s, before which no bucket's name can stand: use a name, or set it to false", host))
		}
		if s.VirtualHostedStyle && strings.Contains(s.Bucket, ".") && !strings.HasPrefix(s.Endpoint, "http://") {
			out = append(out, refusal(Refused, "spec.s3.virtualHostedStyle is true and spec.s3.bucket %q has a dot, for which no wildcard certificate holds: set it to false, or use another bucket", s.Bucket))
		}
	}
	if a := t.Spec.AzureBlob; a != nil && !isBundle(a.CABundle) {
		out = append(out, refusal(Refused, "spec.azureBlob.caBundle holds no certificate in PEM form: correct or remove it"))
	}
	if a := t.Spec.AllowedNamespaces; a != nil && a.Selector != nil {
		if _, err := metav1.LabelSelectorAsSelector(a.Selector); err != nil {
			out = append(out, refusal(Refused, "spec.allowedNamespaces.selector: %v: write it as for kubectl get -l", err))
		}
	}
	return out
}

func isBundle(pem string) bool {
	return pem == "" || x509.NewCertPool().AppendCertsFromPEM([]byte(pem))
}

func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// sharedMount refuses a second target on a share that replicas mount at the same
// place: backupstore mounts a server's path once, at a place that is named after
// both, and whoever comes later works on that mount, with the options and the
// user of who came first.
func sharedMount(t *v1alpha1.BackupTarget, all []v1alpha1.BackupTarget) *Refusal {
	if !location.Mounted(t.Spec) {
		return nil
	}
	for i := range all {
		o := &all[i]
		if o.Name == t.Name || !location.Mounted(o.Spec) || mountPlace(o.Spec) != mountPlace(t.Spec) || later(o, t) || !o.DeletionTimestamp.IsZero() {
			continue
		}
		mine, _ := location.URL(t.Spec)
		theirs, _ := location.URL(o.Spec)
		if mine != theirs || t.Spec.CredentialSecret != o.Spec.CredentialSecret {
			r := refusal(Refused, "%s is also the share of BackupTarget %q, with other options or another Secret, and nodes mount a share once: give both the same, or use another folder of the share", location.Place(t.Spec), o.Name)
			return &r
		}
	}
	return nil
}

// mountPlace is where backupstore mounts a share (nfs.go and cifs.go there).
func mountPlace(spec v1alpha1.BackupTargetSpec) string {
	host, path := "", ""
	if spec.NFS != nil {
		host, path = spec.NFS.Server, spec.NFS.Path
	} else {
		host, path = spec.CIFS.Server, "/"+spec.CIFS.Share
	}
	return strings.ReplaceAll(host, ".", "_") + strings.TrimRight(path, "/")
}

// later tells which of two targets came second; one that is yet to be created is
// the last. At admission that has a UID and a time already, but no version.
func later(a, b *v1alpha1.BackupTarget) bool {
	switch {
	case b.UID == "":
		return false
	case (a.ResourceVersion == "") != (b.ResourceVersion == ""):
		return a.ResourceVersion == ""
	case !a.CreationTimestamp.Equal(&b.CreationTimestamp):
		return a.CreationTimestamp.After(b.CreationTimestamp.Time)
	}
	return a.Name > b.Name
}

// DefaultTarget is the target of points that name none; nil when there is no
// default, with a refusal when there are several.
func DefaultTarget(all []v1alpha1.BackupTarget) (*v1alpha1.BackupTarget, []Refusal) {
	var names []string
	var found *v1alpha1.BackupTarget
	for i := range all {
		if all[i].Spec.Default && all[i].DeletionTimestamp.IsZero() {
			found = &all[i]
			names = append(names, all[i].Name)
		}
	}
	if len(names) > 1 {
		slices.Sort(names)
		return nil, []Refusal{refusal(SeveralDefaults, "spec.default is true on the BackupTargets %s, so none of them is taken: leave it on one", few(names))}
	}
	return found, nil
}

// SecondDefault are the reasons against making a target the default beside
// another.
func SecondDefault(t *v1alpha1.BackupTarget, all []v1alpha1.BackupTarget) []Refusal {
	if !t.Spec.Default {
		return nil
	}
	for i := range all {
		if o := &all[i]; o.Name != t.Name && o.Spec.Default && o.DeletionTimestamp.IsZero() {
			return []Refusal{refusal(SeveralDefaults, "spec.default is true, and BackupTarget %q is the default already: set it to false there first", o.Name)}
		}
	}
	return nil
}
