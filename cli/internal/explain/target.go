package explain

import (
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// Target explains a BackupTarget.
func Target(out io.Writer, t *v1alpha1.BackupTarget, a Around) error {
	p := &page{out: out, now: a.Now}
	p.line("Target", t.Name)
	p.place(t.Spec)
	if t.Spec.CredentialSecret != "" {
		p.line("Credentials", "Secret "+t.Spec.CredentialSecret+" in Hayloft's namespace")
	}
	if t.Spec.Default {
		p.line("Default", "yes, for what names no target")
	}
	if a := t.Spec.AllowedNamespaces; a != nil {
		p.line("Allowed", allowed(a))
	}
	p.line("Transfers", fmt.Sprintf("at most %d at once, %s in flight each, compression %s",
		t.Spec.MaxConcurrentJobs, words.Count(int(t.Spec.Threads), "block"), or(t.Spec.Compression, "lz4")))
	p.line("State", targetState(t))
	if c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionFreesSpace); c != nil && c.Status == metav1.ConditionFalse {
		p.line("Deleting", c.Message)
	}
	if t.Status.LastProbeTime != nil {
		p.line("Last probe", p.moment(t.Status.LastProbeTime.Time))
	}
	p.line("URL", t.Status.URL)
	p.line("Created", p.moment(t.CreationTimestamp.Time))
	p.refresh(t)
	p.conditions(t.Status.Conditions)
	p.events(a.Events)
	return p.err
}

// place says where a target is.
func (p *page) place(spec v1alpha1.BackupTargetSpec) {
	switch {
	case spec.S3 != nil:
		s := spec.S3
		p.line("S3 bucket", s.Bucket+" in region "+s.Region)
		p.line("Prefix", s.Prefix)
		p.line("Endpoint", or(s.Endpoint, "AWS")+choose(s.Insecure, ", unencrypted", ""))
		p.line("Addressing", choose(s.VirtualHostedStyle, "bucket in the host name", "bucket in the path"))
		p.line("Trusts", choose(s.CABundle != "", "its own CA bundle", "the usual CAs"))
	case spec.NFS != nil:
		p.line("NFS", spec.NFS.Server+":"+spec.NFS.Path)
		p.line("Options", strings.Join(spec.NFS.Options, ","))
	case spec.CIFS != nil:
		p.line("CIFS", "//"+spec.CIFS.Server+"/"+spec.CIFS.Share)
		p.line("Options", strings.Join(spec.CIFS.Options, ","))
	case spec.AzureBlob != nil:
		a := spec.AzureBlob
		p.line("Container", a.Container)
		p.line("Prefix", a.Prefix)
		p.line("Endpoint", or(a.Endpoint, "Azure, "+or(a.EndpointSuffix, "core.windows.net"))+choose(a.Insecure, ", unencrypted", ""))
		p.line("Trusts", choose(a.CABundle != "", "its own CA bundle", "the usual CAs"))
	case spec.Directory != nil:
		p.line("Directory", spec.Directory.Path)
	}
}

func allowed(a *v1alpha1.AllowedNamespaces) string {
	var parts []string
	if len(a.Names) > 0 {
		parts = append(parts, "namespaces "+strings.Join(a.Names, ", "))
	}
	if a.Selector != nil {
		parts = append(parts, "those with "+metav1.FormatLabelSelector(a.Selector))
	}
	return strings.Join(parts, ", and ")
}

func targetState(t *v1alpha1.BackupTarget) string {
	c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case c == nil:
		return "not probed yet"
	case c.Status == metav1.ConditionTrue:
		return choose(t.Spec.ReadOnly, "usable for restores only (spec.readOnly)", "usable: written to and read back")
	}
	return fmt.Sprintf("not usable: %s (%s)", or(c.Message, "no cause was given"), c.Reason)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
