package doctor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"hayloft.dev/deploy"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Right is that somebody may do something with one kind of object.
type Right struct {
	// Account is one of Hayloft's; "" for the caller.
	Account string
	// Verbs of one kind that belong together.
	Verbs []string
	// Group and Resource, as roles name them ("nodejobs/status"), Name of the only
	// object, Namespace that it is in; "" for all, or for none.
	Group, Resource, Name, Namespace string
}

// what is the right in words.
func (r Right) what() string {
	resource := r.Resource
	if r.Group != "" {
		plain, sub, is := strings.Cut(r.Resource, "/")
		if resource = plain + "." + r.Group; is {
			resource += "/" + sub
		}
	}
	if r.Name != "" {
		resource += " " + r.Name
	}
	out := strings.Join(r.Verbs, ", ") + " " + resource
	if r.Namespace != "" {
		out += " in " + r.Namespace
	}
	return out
}

// required tells files of deploy/rbac from those with rights of users, and from
// those that only a feature needs which somebody has to switch on.
func required(file string) bool {
	return slices.Contains([]string{"agent.yaml", "coordinator.yaml", "targetio.yaml"}, path.Base(file))
}

// namespaces that the manifests name, for which an installation may have others.
const (
	manifestSystem   = "hayloft-system"
	manifestLonghorn = "longhorn-system"
)

// needed are the rights that deploy/rbac gives to Hayloft's accounts.
func needed(system, longhorn string) ([]Right, error) {
	where := map[string]string{manifestSystem: system, manifestLonghorn: longhorn, "": ""}
	files, err := fs.Glob(deploy.Manifests, "rbac/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []Right
	for _, file := range files {
		if !required(file) {
			continue
		}
		m, err := readRoles(file)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		for _, b := range m.bindings {
			for _, s := range b.Subjects {
				if s.Kind != rbacv1.ServiceAccountKind {
					continue
				}
				for _, rule := range m.rules[b.RoleRef.Kind+"/"+b.Namespace+"/"+b.RoleRef.Name] {
					out = append(out, expand(rule, s.Name, where[b.Namespace])...)
				}
			}
		}
	}
	return out, nil
}

// expand makes one right for each resource of a rule.
func expand(r rbacv1.PolicyRule, account, namespace string) (out []Right) {
	resourceNames := r.ResourceNames
	if len(resourceNames) == 0 {
		resourceNames = []string{""}
	}
	for _, group := range r.APIGroups {
		for _, resource := range r.Resources {
			for _, name := range resourceNames {
				out = append(out, Right{Account: account, Verbs: r.Verbs, Group: group, Resource: resource, Name: name, Namespace: namespace})
			}
		}
	}
	return out
}

// roles of one file.
type roles struct {
	// rules maps the role's kind, the namespace of its bindings, its name -> rules.
	rules    map[string][]rbacv1.PolicyRule
	bindings []rbacv1.RoleBinding
}

func readRoles(file string) (roles, error) {
	m := roles{rules: map[string][]rbacv1.PolicyRule{}}
	data, err := deploy.Manifests.ReadFile(file)
	if err != nil {
		return m, err
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		var kind metav1.TypeMeta
		if err := errors.Join(err, yaml.Unmarshal(document, &kind)); err != nil {
			return m, err
		}
		switch kind.Kind {
		case "Role", "ClusterRole":
			var r rbacv1.Role
			err = yaml.Unmarshal(document, &r)
			key := kind.Kind + "/" + r.Namespace + "/" + r.Name
			m.rules[key] = append(m.rules[key], r.Rules...)
		case "RoleBinding", "ClusterRoleBinding":
			var b rbacv1.RoleBinding
			err = yaml.Unmarshal(document, &b)
			m.bindings = append(m.bindings, b)
		}
		if err != nil {
			return m, err
		}
	}
}

// credentials are the rights to read those of targets: to any Secret of Hayloft's
// namespace, or to just these, as the chart can have it.
func credentials(system string, targets []v1alpha1.BackupTarget) (out []Right) {
	read := func(account, secret string) {
		if secret != "" {
			out = append(out, Right{Account: account, Verbs: []string{"get"}, Resource: "secrets", Name: secret, Namespace: system})
		}
	}
	for i := range targets {
		s := &targets[i].Spec
		read("hayloft-agent", s.CredentialSecret)
		read("hayloft-coordinator", s.CredentialSecret)
		if s.Encryption != nil {
			read("hayloft-coordinator", s.Encryption.IdentitySecret)
		}
	}
	return out
}

// mine are the rights that a user of a namespace has use for.
func mine(namespace string) []Right {
	group := v1alpha1.GroupVersion.Group
	return []Right{
		{Verbs: []string{"get"}, Group: "kubevirt.io", Resource: "virtualmachines", Namespace: namespace},
		{Verbs: []string{"create", "patch", "delete", "restore"}, Group: group, Resource: "vmbackups", Namespace: namespace},
		{Verbs: []string{"create", "patch", "delete"}, Group: group, Resource: "vmrestores", Namespace: namespace},
		{Verbs: []string{"create", "patch", "delete"}, Group: group, Resource: "vmschedules", Namespace: namespace},
		{Verbs: []string{"use"}, Group: group, Resource: "backuptargets", Namespace: namespace},
	}
}

// reviewsAtOnce bounds questions to the API server.
const reviewsAtOnce = 8

// rights asks for those of the accounts and for the caller's.
func (f *Facts) rights(ctx context.Context) {
	want, err := needed(f.System, f.Longhorn)
	if err != nil {
		f.cannot("rights of the accounts", err)
		return
	}
	var targets v1alpha1.BackupTargetList
	if err := f.Client.List(ctx, &targets); err == nil { // else it is said elsewhere
		want = append(want, credentials(f.System, targets.Items)...)
	}
	if f.Lacks, err = lacking(ctx, want, f.allowed); err != nil {
		f.cannot("rights of the accounts", err)
	}
	if f.Mine, err = lacking(ctx, mine(f.Namespace), f.allowed); err != nil {
		f.cannot("your own rights", err)
	}
}

// lacking are those of the rights that are not given, each with just these verbs.
func lacking(ctx context.Context, want []Right, allowed func(context.Context, Right, string) (bool, error)) ([]Right, error) {
	missing := make([][]string, len(want))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(reviewsAtOnce)
	for i, r := range want {
		g.Go(func() error {
			for _, verb := range r.Verbs {
				ok, err := allowed(ctx, r, verb)
				if err != nil {
					return err
				}
				if !ok {
					missing[i] = append(missing[i], verb)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []Right
	for i, r := range want {
		if r.Verbs = missing[i]; len(r.Verbs) > 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

// allowed asks the API server.
func (f *Facts) allowed(ctx context.Context, r Right, verb string) (bool, error) {
	resource, sub, _ := strings.Cut(r.Resource, "/")
	asked := &authorizationv1.ResourceAttributes{
		Namespace: r.Namespace, Verb: verb, Group: r.Group, Resource: resource, Subresource: sub, Name: r.Name,
	}
	if r.Account == "" {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: asked}}
		err := f.Client.Create(ctx, review)
		return review.Status.Allowed, err
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		ResourceAttributes: asked, User: "system:serviceaccount:" + f.System + ":" + r.Account,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + f.System, "system:authenticated"},
	}}
	err := f.Client.Create(ctx, review)
	return review.Status.Allowed, err
}

// rights tells which are missing.
func rights(f *Facts) []Finding {
	out := f.unread("rights of the accounts", "your own rights")
	for _, r := range f.Lacks {
		out = append(out, Finding{
			Level: Problem, What: fmt.Sprintf("the account %s/%s may not %s", f.System, r.Account, r.what()),
			Why: "what needs that fails", Do: "apply deploy/rbac of this version again, or look who took the right away",
		})
	}
	for _, r := range f.Mine {
		out = append(out, Finding{
			Level: Note, What: "you may not " + r.what(), Why: "the commands that need it are refused to you",
			Do: "if you need them, ask an administrator for the roles hayloft-edit, or hayloft-use-targets for targets",
		})
	}
	return out
}
