package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

func named(name string, change func(*v1alpha1.BackupTargetSpec)) v1alpha1.BackupTarget {
	t := v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: name}}
	t.Spec.S3 = &v1alpha1.S3Target{Endpoint: "https://s3.example.org", Bucket: "b", Region: "r"}
	if change != nil {
		change(&t.Spec)
	}
	return t
}

func TestTargetFields(t *testing.T) {
	for says, change := range map[string]func(*v1alpha1.BackupTargetSpec){
		"":                      nil,
		"spec.refresh.interval": func(s *v1alpha1.BackupTargetSpec) { s.Refresh = &v1alpha1.TargetRefresh{Interval: "-1s"} },
		"spec.s3.caBundle holds no certificate in PEM form: correct or remove it": func(s *v1alpha1.BackupTargetSpec) { s.S3.CABundle = "rubbish" },
		"the host of spec.s3.endpoint is the address 10.0.0.1": func(s *v1alpha1.BackupTargetSpec) {
			s.S3.Endpoint, s.S3.VirtualHostedStyle = "https://10.0.0.1:9000", true
		},
		`spec.s3.bucket "a.b" has a dot`: func(s *v1alpha1.BackupTargetSpec) { s.S3.Bucket, s.S3.VirtualHostedStyle = "a.b", true },
		"spec.azureBlob.caBundle holds no certificate": func(s *v1alpha1.BackupTargetSpec) {
			s.S3, s.AzureBlob = nil, &v1alpha1.AzureBlobTarget{CABundle: "rubbish"}
		},
		"spec.allowedNamespaces.selector": func(s *v1alpha1.BackupTargetSpec) {
			s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a b": "c"}}}
		},
	} {
		target := named("t", change)
		got := Target(&target, nil)
		if says == "" {
			require.Empty(t, got)
			continue
		}
		require.Len(t, got, 1)
		require.Contains(t, got[0].Sentence, says)
	}
}

// Nodes mount a share once, so two targets on one must not differ.
func TestSharedMounts(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	cifs := func(name, server, share, secret string, options ...string) v1alpha1.BackupTarget {
		out := named(name, func(s *v1alpha1.BackupTargetSpec) {
			s.S3, s.CIFS, s.CredentialSecret = nil, &v1alpha1.CIFSTarget{Server: server, Share: share, Options: options}, secret
		})
		out.UID, out.CreationTimestamp = "u", metav1.NewTime(at)
		return out
	}
	first := cifs("first", "files.example.org", "s", "a")
	for name, c := range map[string]struct {
		other   v1alpha1.BackupTarget
		refused bool
	}{
		"another user":                 {cifs("t", "files.example.org", "s", "b"), true},
		"other options":                {cifs("t", "files.example.org", "s", "a", "soft", "vers=3.0"), true},
		"a server that mounts like it": {cifs("t", "files_example.org", "s", "a"), true},
		"the same in all":              {cifs("t", "files.example.org", "s", "a"), false},
		"another share":                {cifs("t", "files.example.org", "s2", "b"), false},
		"itself":                       {cifs("first", "files.example.org", "s", "b"), false},
		"NFS there": {named("t", func(s *v1alpha1.BackupTargetSpec) {
			s.S3, s.NFS = nil, &v1alpha1.NFSTarget{Server: "files.example.org", Path: "/s"}
		}), true},
	} {
		now := c.other
		now.UID, now.CreationTimestamp = "v", metav1.NewTime(at)
		require.Equal(t, c.refused, len(Target(&now, []v1alpha1.BackupTarget{first, now})) > 0, name)
		require.Empty(t, Target(&first, []v1alpha1.BackupTarget{first, now}), "who came first stays: %s", name)
		now.UID = ""
		require.Equal(t, c.refused, len(Target(&now, []v1alpha1.BackupTarget{first})) > 0, "%s, yet to be created", name)
	}
}

func TestDefaultTarget(t *testing.T) {
	plain, a, b := named("plain", nil), named("a", nil), named("b", nil)
	a.Spec.Default, b.Spec.Default = true, true
	got, refusals := DefaultTarget([]v1alpha1.BackupTarget{plain})
	require.Nil(t, got)
	require.Empty(t, refusals)
	got, refusals = DefaultTarget([]v1alpha1.BackupTarget{plain, a})
	require.Equal(t, "a", got.Name)
	require.Empty(t, refusals)
	got, refusals = DefaultTarget([]v1alpha1.BackupTarget{b, plain, a})
	require.Nil(t, got)
	require.Equal(t, []Refusal{{SeveralDefaults, "spec.default is true on the BackupTargets a, b, so none of them is taken: leave it on one"}}, refusals)
	require.Equal(t, []Refusal{{SeveralDefaults, `spec.default is true, and BackupTarget "a" is the default already: set it to false there first`}}, SecondDefault(&b, []v1alpha1.BackupTarget{a, plain}))
	require.Empty(t, SecondDefault(&a, []v1alpha1.BackupTarget{a, plain}))
	require.Empty(t, SecondDefault(&plain, []v1alpha1.BackupTarget{a}))
}

func TestTargetUse(t *testing.T) {
	allow := func(names []string, labels map[string]string) v1alpha1.BackupTarget {
		a := &v1alpha1.AllowedNamespaces{Names: names}
		if labels != nil {
			a.Selector = &metav1.LabelSelector{MatchLabels: labels}
		}
		return named("t", func(s *v1alpha1.BackupTargetSpec) { s.AllowedNamespaces = a })
	}
	gold := map[string]string{"tier": "gold"}
	for name, c := range map[string]struct {
		target v1alpha1.BackupTarget
		labels map[string]string
		reason string
	}{
		"everybody":    {named("t", nil), nil, ""},
		"named":        {allow([]string{"shop"}, nil), nil, ""},
		"not named":    {allow([]string{"lab"}, nil), gold, TargetNotAllowed},
		"picked":       {allow(nil, gold), gold, ""},
		"not picked":   {allow(nil, gold), map[string]string{"tier": "tin"}, TargetNotAllowed},
		"one of two":   {allow([]string{"shop"}, gold), nil, ""},
		"bad selector": {allow(nil, map[string]string{"a b": "c"}), map[string]string{"a b": "c"}, TargetNotAllowed},
		"only read":    {named("t", func(s *v1alpha1.BackupTargetSpec) { s.ReadOnly = true }), nil, TargetReadOnly},
	} {
		got := TargetUse(&c.target, "shop", c.labels)
		if c.reason == "" {
			require.Empty(t, got, name)
			continue
		}
		require.Len(t, got, 1, name)
		require.Equal(t, c.reason, got[0].Reason, name)
		require.Contains(t, got[0].Sentence, `BackupTarget "t" (spec.target)`)
	}
}

// Nothing is removed from a target that is only read, so nobody is let to wait for
// it.
func TestDeletionOnATargetThatIsOnlyRead(t *testing.T) {
	target := named("t", func(s *v1alpha1.BackupTargetSpec) { s.ReadOnly = true })
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	b.Spec.DeletionPolicy, b.Status.Document = v1alpha1.DeletionDelete, "hayloft/points/x"
	got := BackupDeletion(b, &target, nil)
	require.Len(t, got, 1)
	require.Contains(t, got[0].Sentence, "hayloft delete backup p --keep-data")
	for _, change := range []func(*v1alpha1.VMBackup){
		func(b *v1alpha1.VMBackup) { b.Spec.DeletionPolicy = v1alpha1.DeletionRetain },
		func(b *v1alpha1.VMBackup) { b.Spec.Type = v1alpha1.TypeSnapshot },
		func(b *v1alpha1.VMBackup) { b.Status.Document = "" },
		func(b *v1alpha1.VMBackup) {
			b.Annotations = map[string]string{v1alpha1.AnnotationForceDeletion: "true"}
		},
	} {
		c := b.DeepCopy()
		change(c)
		require.Empty(t, BackupDeletion(c, &target, nil))
	}
	target.Spec.ReadOnly = false
	require.Empty(t, BackupDeletion(b, &target, nil))
}
