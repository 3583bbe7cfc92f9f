// Package vmspec knows what a KubeVirt VirtualMachine is made of: which claims,
// Secrets and ConfigMaps belong to it (Inspect), how its spec becomes that of a
// VM on restored disks, a new one or one that takes an existing one's place
// (Rebuild), and how one disk becomes a claim of its own (RebuildDisk).
//
// It works on unstructured VMs, so that a field which kubevirt.io/api v1.7.0
// does not know survives a restore. It is pure: it reads no cluster, knows no
// Longhorn and creates nothing. Each rule of Rebuild has a line in
// docs/restore-rules.md.
package vmspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// The kinds of disk.
const (
	// KindDisk is a volume of the VM's spec on a PersistentVolumeClaim.
	KindDisk = "Disk"
	// KindPersistentState is the claim in which KubeVirt keeps the state of a
	// persistent TPM and of persistent EFI variables; no volume of the spec
	// names it.
	KindPersistentState = "PersistentState"
)

// Disk is one claim whose data belongs to the VM.
type Disk struct {
	// Name is unique within the VM: the volume's name in the spec, or
	// "persistent-state".
	Name string `json:"name"`
	// Claim is the PersistentVolumeClaim in the VM's namespace.
	Claim string `json:"claim"`
	Kind  string `json:"kind"`
}

// Contents is what a VM consists of besides its own object.
type Contents struct {
	// Disks in the order of the spec, the persistent state last.
	Disks []Disk
	// Secrets and ConfigMaps that the VM needs, sorted.
	Secrets    []string
	ConfigMaps []string
	// OptionalSecrets and OptionalConfigMaps are named by volumes that say
	// optional: they are taken along when they exist. Sorted; none is in the
	// lists above.
	OptionalSecrets    []string
	OptionalConfigMaps []string
	// Warnings are sentences about what a backup will not hold.
	Warnings []string
}

// Refusal is a reason not to back up or restore a VM.
type Refusal struct {
	// Disk is the volume that it is about, "" for the VM as a whole.
	Disk string
	// Sentence says what is the matter and what to do.
	Sentence string
}

// Source is a VM as it was captured.
type Source struct {
	VM *unstructured.Unstructured
	// PVCs maps a claim's name -> the claim, for every disk.
	PVCs map[string]*corev1.PersistentVolumeClaim
	// Disks are those whose data was captured; they must be VM's, but need not
	// be all of them.
	Disks []Disk
	// Secrets and ConfigMaps that were captured.
	Secrets    []string
	ConfigMaps []string
}

// Options say what the new VM is to be.
type Options struct {
	// NewName must be a DNS label.
	NewName   string
	Namespace string
	// Replace is the VM, named NewName, that the result takes the place of, as
	// it is now; nil: the result is a new VM.
	Replace *unstructured.Unstructured
	// Found: the point was found on a target, so whoever may write there can have
	// made up its document. What reaches beyond the VM is left out then, but for
	// what Allow names.
	Found bool
	Allow []v1alpha1.Allowance
	// KeepMACs keeps MAC and fixed IP addresses. A VM that is replaced keeps
	// those that it has in any case.
	KeepMACs bool
	// StorageClasses maps a class of the source -> the one to use, Networks a
	// NetworkAttachmentDefinition, "namespace/name". An entry that the source
	// does not have is refused.
	StorageClasses map[string]string
	Networks       map[string]string
	// Halt leaves the new VM stopped.
	Halt bool
	// RestoreUID goes into the label hayloft.dev/restore of everything made
	// and into the name of the persistent state's claim.
	RestoreUID types.UID
	// Volumes maps a disk's name -> the PersistentVolume that its claim is to
	// be bound to. When nil, Rebuild is a rehearsal: it tells names, notes and
	// needs, and makes no claims, since a claim that names no volume would be
	// given a fresh, empty one.
	Volumes map[string]string
	// Sizes maps a disk's name -> its volume's size in bytes. A claim asks for
	// exactly that: one that asks for more than its volume has never binds.
	// A disk without a size keeps the request of its captured claim.
	Sizes map[string]int64
}

// Result is the new VM and what must exist before it.
type Result struct {
	// VM is halted when it replaces another; its run strategy then stands in
	// the annotation AnnotationRunStrategy. RebuildDisk makes none.
	VM   *unstructured.Unstructured
	PVCs []*corev1.PersistentVolumeClaim
	// Claims maps a disk's name -> the name of its new claim.
	Claims map[string]string
	// Secrets and ConfigMaps map a captured name -> the name that the new VM
	// refers to.
	Secrets    map[string]string
	ConfigMaps map[string]string
	// Absent are the Secrets and ConfigMaps, by their new names, that the new VM
	// refers to and that were not captured.
	Absent []Absent
	// Notes say how the new VM differs from its source, one sentence each, at
	// most MaxNotes.
	Notes []string
	Needs Needs
}

// Absent is an object that nothing makes.
type Absent struct{ Kind, Name string }

// MaxNotes bounds Result.Notes; VMRestore's status holds 64 notes, and others
// add to them.
const MaxNotes = 48

// Needs are the things outside the backup that the new VM refers to; each list
// is sorted and without doubles.
type Needs struct {
	StorageClasses []string
	// Networks are NetworkAttachmentDefinitions, "namespace/name".
	Networks []string
	// Instancetypes and Preferences are "Kind/name", such as
	// "VirtualMachineClusterInstancetype/u1.medium".
	Instancetypes   []string
	Preferences     []string
	ServiceAccounts []string
}
