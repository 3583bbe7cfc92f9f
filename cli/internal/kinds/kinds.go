// Package kinds lists the kinds of object that the command line shows, and the
// words by which people name them.
package kinds

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Scope is where objects of a kind are.
type Scope int

// The scopes.
const (
	Cluster   Scope = iota
	Namespace       // the user's
	System          // Hayloft's own namespace
)

// Kind of object.
type Kind struct {
	// Word is the singular that people use, such as "backup".
	Word string
	// Kind and Resource are the API's, such as "VMBackup" and "vmbackups".
	Kind, Resource string
	Short          string
	Scope          Scope
	New            func() client.Object
	NewList        func() client.ObjectList
}

// All kinds, in the order of help texts.
func All() []Kind {
	return []Kind{
		{
			Word: "backup", Kind: "VMBackup", Resource: "vmbackups", Short: "hb", Scope: Namespace,
			New:     func() client.Object { return &v1alpha1.VMBackup{} },
			NewList: func() client.ObjectList { return &v1alpha1.VMBackupList{} },
		},
		{
			Word: "restore", Kind: "VMRestore", Resource: "vmrestores", Short: "hr", Scope: Namespace,
			New:     func() client.Object { return &v1alpha1.VMRestore{} },
			NewList: func() client.ObjectList { return &v1alpha1.VMRestoreList{} },
		},
		{
			Word: "schedule", Kind: "VMSchedule", Resource: "vmschedules", Short: "hs", Scope: Namespace,
			New:     func() client.Object { return &v1alpha1.VMSchedule{} },
			NewList: func() client.ObjectList { return &v1alpha1.VMScheduleList{} },
		},
		{
			Word: "target", Kind: "BackupTarget", Resource: "backuptargets", Short: "hbt", Scope: Cluster,
			New:     func() client.Object { return &v1alpha1.BackupTarget{} },
			NewList: func() client.ObjectList { return &v1alpha1.BackupTargetList{} },
		},
		{
			Word: "quota", Kind: "SnapshotQuota", Resource: "snapshotquotas", Short: "hq", Scope: Namespace,
			New:     func() client.Object { return &v1alpha1.SnapshotQuota{} },
			NewList: func() client.ObjectList { return &v1alpha1.SnapshotQuotaList{} },
		},
		{
			Word: "job", Kind: "NodeJob", Resource: "nodejobs", Short: "hj", Scope: System,
			New:     func() client.Object { return &v1alpha1.NodeJob{} },
			NewList: func() client.ObjectList { return &v1alpha1.NodeJobList{} },
		},
	}
}

// Find the kind that a word means: "backup", "backups", "vmbackup", "hb".
func Find(word string) (Kind, bool) {
	word = strings.ToLower(word)
	for _, k := range All() {
		if slices.Contains([]string{k.Word, k.Word + "s", k.Resource, strings.ToLower(k.Kind), k.Short}, word) {
			return k, true
		}
	}
	return Kind{}, false
}

// Words are the plurals, for help texts and completion.
func Words() []string {
	var out []string
	for _, k := range All() {
		out = append(out, k.Word+"s")
	}
	return out
}

// GVK of the kind.
func (k Kind) GVK() schema.GroupVersionKind { return v1alpha1.GroupVersion.WithKind(k.Kind) }

// Named is how scripts name an object: "vmbackup.hayloft.dev/x".
func (k Kind) Named(name string) string {
	return strings.ToLower(k.Kind) + "." + v1alpha1.GroupVersion.Group + "/" + name
}

// DefinitionKind is that of the objects that define these kinds.
var DefinitionKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// SettingKind is that of Harvester's settings.
var SettingKind = schema.GroupVersionKind{Group: "harvesterhci.io", Version: "v1beta1", Kind: "Setting"}

// VMKind is KubeVirt's of virtual machines.
var VMKind = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachine"}

// others are kinds that are not Hayloft's, by what the doctor and the commands
// that look around read of them.
func others(m *meta.DefaultRESTMapper) {
	for scope, all := range map[meta.RESTScope][]schema.GroupVersionKind{
		meta.RESTScopeNamespace: {
			{Version: "v1", Kind: "ConfigMap"},
			{Version: "v1", Kind: "Event"},
			{Version: "v1", Kind: "Secret"},
			VMKind,
			{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"},
			{Group: "longhorn.io", Version: "v1beta2", Kind: "Volume"},
			{Group: "longhorn.io", Version: "v1beta2", Kind: "VolumeAttachment"},
			{Group: "longhorn.io", Version: "v1beta2", Kind: "Snapshot"},
			{Group: "longhorn.io", Version: "v1beta2", Kind: "BackupTarget"},
		},
		meta.RESTScopeRoot: {
			DefinitionKind, SettingKind,
			{Version: "v1", Kind: "Namespace"},
			{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"},
			{Group: "authorization.k8s.io", Version: "v1", Kind: "SubjectAccessReview"},
			{Group: "authorization.k8s.io", Version: "v1", Kind: "SelfSubjectAccessReview"},
		},
	} {
		for _, gvk := range all {
			m.Add(gvk, scope)
		}
	}
	policy := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	m.AddSpecific(policy.WithKind("ValidatingAdmissionPolicy"), policy.WithResource("validatingadmissionpolicies"),
		policy.WithResource("validatingadmissionpolicy"), meta.RESTScopeRoot)
}

// Mapper knows these kinds and those that are looked at beside them, so that no
// command asks the API server what it serves.
func Mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion, {Version: "v1"}})
	for _, k := range All() {
		scope := meta.RESTScopeNamespace
		if k.Scope == Cluster {
			scope = meta.RESTScopeRoot
		}
		plural := v1alpha1.GroupVersion.WithResource(k.Resource)
		singular := v1alpha1.GroupVersion.WithResource(strings.ToLower(k.Kind))
		m.AddSpecific(k.GVK(), plural, singular, scope)
	}
	others(m)
	return m
}
