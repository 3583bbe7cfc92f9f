package explain

import (
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// Target explains a BackupTarget.
func Target(out io.Writer, t *v1alpha1.BackupTarget, a Around) error {
	p := &page{out: out, now: a.Now}
	p.line("Target", t.Name)
	switch {
	case t.Spec.S3 != nil:
		s := t.Spec.S3
		p.line("S3 bucket", s.Bucket+" in region "+s.Region)
		p.line("Endpoint", or(s.Endpoint, "AWS"))
		p.line("Addressing", choose(s.VirtualHostedStyle, "bucket in the host name", "bucket in the path"))
		p.line("Trusts", choose(s.CABundle != "", "its own CA bundle", "the usual CAs"))
		p.line("Credentials", "Secret "+t.Spec.CredentialSecret+" in Hayloft's namespace")
	case t.Spec.Directory != nil:
		p.line("Directory", t.Spec.Directory.Path)
	}
	p.line("Transfers", fmt.Sprintf("at most %d at once, %s in flight each, compression %s",
		t.Spec.MaxConcurrentJobs, words.Count(int(t.Spec.Threads), "block"), or(t.Spec.Compression, "lz4")))
	p.line("State", targetState(t))
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

func targetState(t *v1alpha1.BackupTarget) string {
	c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case c == nil:
		return "not probed yet"
	case c.Status == metav1.ConditionTrue:
		return "usable: written to and read back"
	}
	return fmt.Sprintf("not usable: %s (%s)", or(c.Message, "no cause was given"), c.Reason)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
