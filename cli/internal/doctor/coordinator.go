package doctor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"hayloft.dev/cli/internal/sentence"
	"hayloft.dev/deploy"
	"hayloft.dev/pkg/api/v1alpha1"
)

// webhookName is that of the webhook's configuration.
const webhookName = "hayloft"

// admission reads what decides about objects before they are made, and has the
// webhook decide about one that is not made: a dry run, of a VM that cannot be.
func (f *Facts) admission(ctx context.Context) {
	var c admissionv1.ValidatingWebhookConfiguration
	switch err := f.Client.Get(ctx, client.ObjectKey{Name: webhookName}, &c); {
	case apierrors.IsNotFound(err):
	case err != nil:
		f.cannot("the webhook's configuration", err)
	default:
		f.Webhook = &c
	}
	f.Policies = map[string]bool{}
	var policies admissionv1.ValidatingAdmissionPolicyList
	f.list(ctx, "policies", &policies)
	for i := range policies.Items {
		f.Policies[policies.Items[i].Name] = true
	}
	probe := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace, GenerateName: "hayloft-doctor-"}}
	probe.Spec.VM, probe.Spec.Type = "hayloft-doctor-no-such-vm", v1alpha1.TypeSnapshot
	for range askedFor {
		if f.Answer = f.Client.Create(ctx, probe.DeepCopy(), client.DryRunAll); f.Answer != nil && !unanswered(f.Answer) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(beatPoll):
		}
	}
}

// askedFor is how often a webhook that gives no answer is asked: one that is late once
// (deploy/webhook gives it 5 s), or is just being replaced, is not away.
const askedFor = 3

// unanswered is the API server's word for a webhook that it could not ask.
func unanswered(err error) bool { return strings.Contains(err.Error(), "failed calling webhook") }

// coordinator looks for a leader, and whether the webhook and the policies stand.
func coordinator(f *Facts) []Finding {
	out := f.unread("leases", "the webhook's configuration", "policies")
	if f.known("leases") {
		out = append(out, leads(f)...)
	}
	if f.known("the webhook's configuration") {
		out = append(out, webhook(f)...)
	}
	if f.known("policies") {
		for _, name := range policyNames() {
			if !f.Policies[name] {
				out = append(out, Finding{
					Level: Problem, What: "there is no ValidatingAdmissionPolicy " + name, Why: "who may edit Hayloft's objects can then do more with them than is meant",
					Do: "apply deploy/policies of this version",
				})
			}
		}
	}
	return out
}

func leads(f *Facts) []Finding {
	switch {
	case f.Leader == nil:
		return []Finding{{
			Level: Problem, What: fmt.Sprintf("no coordinator has ever led: there is no lease %s in %s", leaderLease, f.System),
			Why: "nothing is planned, no schedule runs", Do: "look at the coordinators' pods and logs, or name the namespace with --system-namespace",
		}}
	case f.Leader.Holder() == "" || !f.Leader.Beats:
		return []Finding{{
			Level: Problem, What: fmt.Sprintf("no coordinator leads: the lease %s was not renewed for %s", leaderLease, duration(&f.Leader.Lease)),
			Why: "nothing is planned, no schedule runs", Do: "look at the coordinators' pods and logs; two of them should run",
		}}
	}
	return f.clock("the coordinator that leads ("+f.Leader.Holder()+")", f.Leader.Ahead)
}

const (
	// skewTold is a difference of clocks that is told; less may be ours.
	skewTold = 5 * time.Second
	// skewRefused is the one from which S3 refuses requests (RequestTimeTooSkewed).
	skewRefused = 15 * time.Minute
)

// clock judges a difference of clocks, if ours is known.
func (f *Facts) clock(whose string, ahead time.Duration) []Finding {
	own, known := f.Skew()
	if !known {
		return nil
	}
	off, side := ahead+own, "ahead of"
	if off < 0 {
		off, side = -off, "behind"
	}
	if off < skewTold {
		return nil
	}
	found := Finding{
		Level: Warning, What: fmt.Sprintf("the clock of %s is %s %s the API server's", whose, off.Round(time.Second), side),
		Why: "times in objects, and those of schedules if it leads, are off by that", Do: "synchronise the clocks of the nodes (chrony, systemd-timesyncd)",
	}
	if off >= skewRefused {
		found.Level, found.Why = Problem, "S3 services refuse requests whose time is off by more than 15 minutes"
	}
	return []Finding{found}
}

func webhook(f *Facts) (out []Finding) {
	const later = "what the rules refuse is then found out after it was made"
	if f.Webhook == nil {
		return []Finding{{Level: Warning, What: "there is no ValidatingWebhookConfiguration " + webhookName, Why: later, Do: "apply deploy/webhook, and start coordinators with --webhook-listen"}}
	}
	for i := range f.Webhook.Webhooks {
		w := &f.Webhook.Webhooks[i]
		if why := distrusted(w.ClientConfig.CABundle, f.At); why != "" {
			out = append(out, Finding{
				Level: Problem, What: fmt.Sprintf("webhook %s trusts nobody: %s", w.Name, why), Why: "the API server cannot ask it, and refuses what it should be asked about",
				Do: "let a coordinator run with --webhook-listen: it writes whom to trust; whoever manages this object must leave caBundle alone",
			})
		}
	}
	switch err := f.Answer; {
	case err == nil:
		out = append(out, Finding{Level: Warning, What: "the admission webhook took a point of a VM that does not exist", Why: later, Do: "look at the rules of ValidatingWebhookConfiguration " + webhookName + ", and at the coordinators' logs"})
	case unanswered(err):
		out = append(out, Finding{Level: Problem, What: "the admission webhook gives no answer", Why: sentence.Of(err), Do: "look at the coordinators, and at what lies between the API server and them (Service hayloft-webhook, network policies)"})
	case !strings.Contains(err.Error(), "admission webhook"):
		// Somebody else refused before it was asked: a role, a policy, a quota.
		out = append(out, Finding{Level: Unchecked, What: "whether the admission webhook answers", Why: sentence.Of(err), Do: "run this as somebody who may make a VMBackup in namespace " + f.Namespace})
	}
	return out
}

// distrusted says why no certificate of a bundle can be trusted now.
func distrusted(bundle []byte, at time.Time) string {
	why := "its caBundle is empty"
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			why = "its caBundle cannot be read"
		case at.After(c.NotAfter):
			why = "the certificate in its caBundle has expired at " + c.NotAfter.UTC().Format(time.RFC3339)
		default:
			return ""
		}
	}
	return why
}

// policyNames are those of the shipped policies.
func policyNames() (out []string) {
	files, _ := fs.Glob(deploy.Manifests, "policies/*.yaml")
	for _, file := range files {
		data, err := deploy.Manifests.ReadFile(file)
		if err != nil {
			continue // it was found a moment ago, within this program
		}
		documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) || err != nil {
				break
			}
			var o metav1.PartialObjectMetadata
			if yaml.Unmarshal(document, &o) == nil && o.Kind == "ValidatingAdmissionPolicy" {
				out = append(out, o.Name)
			}
		}
	}
	return out
}
