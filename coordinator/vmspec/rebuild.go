package vmspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// ErrRefused is wrapped by every error of Rebuild: the new VM cannot be made
// from this source in this way, and trying again changes nothing.
var ErrRefused = errors.New("the VM cannot be restored")

// Rebuild makes the new VM. It changes nothing of its input, and the same
// input gives the same output, byte for byte.
func Rebuild(in Source, o Options) (Result, error) {
	disks, unfit, err := admit(in, o)
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	r := rebuilder{
		o: o, oldName: in.VM.GetName(), same: o.Replace != nil && in.VM.GetUID() == o.Replace.GetUID(),
		claims: map[string]string{}, kept: map[string]bool{}, network: map[string]bool{},
		out: Result{Claims: map[string]string{}, Secrets: map[string]string{}, ConfigMaps: map[string]string{}},
	}
	for _, d := range disks {
		r.disk(d, in.PVCs[d.Claim])
	}
	source, err := duplicate(in.VM.Object)
	if err != nil {
		return Result{}, fmt.Errorf("%w: copying the captured VM: %w", ErrRefused, err)
	}
	spec := child(source, "spec", "template", "spec")
	r.leaveOut(spec, unfit)
	r.distrust(child(source, "spec", "template"), spec)
	r.references(spec, in)
	r.runStrategy(child(source, "spec"))
	r.template(child(source, "spec", "template"))
	r.volumes(child(source, "spec"), spec)
	r.addresses(spec)
	r.identity(spec)
	r.matchers(child(source, "spec"))
	r.networks(spec, in.VM.GetNamespace())
	r.surroundings(spec)
	if err := r.mapped(in); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	r.metadata(source)
	r.finish()
	return r.out, nil
}

// admit checks what Rebuild was given and returns the disks to restore, and the
// names of volumes that cannot be. A document on a target can have been written
// by anybody, so what Inspect refuses to back up is refused here too.
func admit(in Source, o Options) (disks []Disk, unfit map[string]bool, err error) {
	if broken := validation.IsDNS1123Label(o.NewName); len(broken) > 0 {
		return nil, nil, fmt.Errorf("%q cannot be a VM's name: it must be lower-case letters, digits and -, start and end with a letter or digit, and have at most 63 characters", o.NewName)
	}
	if broken := validation.IsDNS1123Label(o.Namespace); len(broken) > 0 {
		return nil, nil, fmt.Errorf("%q is not a namespace", o.Namespace)
	}
	if o.Replace != nil && o.Replace.GetName() != o.NewName {
		return nil, nil, fmt.Errorf("VM %s cannot take the place of %s", o.NewName, o.Replace.GetName())
	}
	claims := make([]corev1.PersistentVolumeClaim, 0, len(in.PVCs))
	for _, name := range sortedKeys(in.PVCs) {
		if c := in.PVCs[name]; c != nil {
			c = c.DeepCopy()
			c.Name = name
			claims = append(claims, *c)
		}
	}
	contents, refusals := Inspect(in.VM, nil, claims)
	unfit, refused := leftOut(in.Disks, refusals)
	if refused != "" {
		return nil, nil, errors.New(refused)
	}
	disks, err = captured(contents.Disks, in.Disks)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range disks {
		if in.PVCs[d.Claim] == nil {
			return nil, nil, fmt.Errorf("the backup does not hold claim %s of disk %s", d.Claim, d.Name)
		}
		if o.Volumes != nil && o.Volumes[d.Name] == "" {
			return nil, nil, fmt.Errorf("there is no restored volume for disk %s", d.Name)
		}
	}
	return disks, unfit, nil
}

// duplicate copies a JSON object; a value that is not JSON is an error, where
// DeepCopy would panic.
func duplicate(o object) (object, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var out object
	return out, utiljson.Unmarshal(data, &out)
}

// rebuilder applies the rules to a copy of the captured VM.
type rebuilder struct {
	o       Options
	oldName string
	// same: the VM to replace is the very one that was captured.
	same bool
	// state is true when the VM has persistent TPM or EFI state.
	state bool
	// claims maps a captured claim -> the new one.
	claims map[string]string
	// kept are the volumes that stay as the replaced VM has them.
	kept map[string]bool
	// network holds the networks of the source, "namespace/name".
	network map[string]bool
	out     Result
}

func (r *rebuilder) note(format string, args ...any) {
	r.out.Notes = append(r.out.Notes, sentence(format, args...))
}

// disk makes the claim of one disk.
func (r *rebuilder) disk(d Disk, old *corev1.PersistentVolumeClaim) {
	name := r.o.claimName(d)
	r.out.Claims[d.Name] = name
	r.claims[d.Claim] = name
	r.state = r.state || d.Kind == KindPersistentState
	r.claim(rebuildClaim(old, d, name, r.o), old)
}

// claim adds a claim to what is made.
func (r *rebuilder) claim(claim, old *corev1.PersistentVolumeClaim) {
	if class := *claim.Spec.StorageClassName; class != "" {
		r.out.Needs.StorageClasses = append(r.out.Needs.StorageClasses, class)
	}
	if old.Spec.VolumeAttributesClassName != nil && *old.Spec.VolumeAttributesClassName != "" {
		r.note("volume attributes class %s of claim %s was dropped: a restored volume has none; set it on claim %s", *old.Spec.VolumeAttributesClassName, old.Name, claim.Name)
	}
	if r.o.Volumes != nil {
		r.out.PVCs = append(r.out.PVCs, claim)
	}
}

// references gives the new VM its own copies of Secrets and ConfigMaps. One
// that was not there to be captured does not keep the disks from being
// restored: the reference gets its new name, and the note says what to make.
func (r *rebuilder) references(spec object, in Source) {
	missing := map[string]bool{}
	now := map[string]bool{} // what the VM to replace refers to itself
	if r.o.Replace != nil {
		for _, ref := range references(child(r.o.Replace.Object, "spec", "template", "spec")) {
			now[ref.kind+ref.name()] = true
		}
	}
	for _, ref := range references(spec) {
		captured, renames := in.Secrets, r.out.Secrets
		if ref.kind == kindConfigMap {
			captured, renames = in.ConfigMaps, r.out.ConfigMaps
		}
		old := ref.name()
		renamed := r.o.copyName(old)
		switch {
		case slices.Contains(captured, old):
			renames[old] = renamed
		case r.o.Replace != nil && (!r.o.Found || now[ref.kind+old]):
			// It is the VM's own by this name, whether it is there or not.
			renamed = old
		case !ref.optional && !missing[ref.kind+old]:
			missing[ref.kind+old] = true
			r.note("the backup does not hold %s %s, which the VM needs: make it as %s before the VM starts", ref.kind, old, renamed)
		}
		if a := (Absent{Kind: ref.kind, Name: renamed}); renamed != old && renames[old] == "" && !slices.Contains(r.out.Absent, a) {
			r.out.Absent = append(r.out.Absent, a)
		}
		ref.set(renamed)
	}
	switch n := len(r.out.Secrets) + len(r.out.ConfigMaps); {
	case n > 0 && r.o.Replace != nil:
		r.note("%d Secrets and ConfigMaps were restored, named <original name>%s; those that the VM had before stay, unless a restore made them", n, suffix(r.o.RestoreUID))
	case n > 0:
		r.note("the VM has its own copies of %d Secrets and ConfigMaps, named %s-<original name>", n, r.o.NewName)
	}
}

// metadata builds the object anew from what is to be kept.
func (r *rebuilder) metadata(source object) {
	old := &unstructured.Unstructured{Object: source}
	labels := relabel(old.GetLabels(), r.o.NewName)
	if r.o.RestoreUID != "" {
		labels[v1alpha1.LabelRestore] = string(r.o.RestoreUID)
	}
	annotations := old.GetAnnotations()
	if annotations[annotationClaimTemplates] != "" {
		r.note("annotation %s was removed: Harvester would make the claims in it again", annotationClaimTemplates)
	}
	if r.o.Replace != nil {
		r.takePlace(source, labels, annotations)
		return
	}
	vm := &unstructured.Unstructured{Object: object{}}
	vm.SetAPIVersion(old.GetAPIVersion())
	vm.SetKind(old.GetKind())
	vm.SetName(r.o.NewName)
	vm.SetNamespace(r.o.Namespace)
	if len(labels) > 0 {
		vm.SetLabels(labels)
	}
	if kept := carry(annotations, r.dropped()...); len(kept) > 0 {
		vm.SetAnnotations(kept)
	}
	vm.Object["spec"] = source["spec"]
	r.out.VM = vm
}

// dropped are the rules by which annotations of the VM and its template go.
func (r *rebuilder) dropped() []func(string) bool {
	rules := []func(string) bool{foreign, bound}
	if !r.o.KeepMACs || r.o.Replace != nil {
		rules = append(rules, address)
	}
	return rules
}

// maxRest bounds the note that holds all that are too many.
const maxRest = 128 << 10

// finish sorts what is a set and bounds the notes.
func (r *rebuilder) finish() {
	for _, l := range []*[]string{
		&r.out.Needs.StorageClasses, &r.out.Needs.Networks, &r.out.Needs.Instancetypes,
		&r.out.Needs.Preferences, &r.out.Needs.ServiceAccounts,
	} {
		slices.Sort(*l)
		*l = slices.Compact(*l)
	}
	if over := len(r.out.Notes) - MaxNotes; over > 0 {
		rest := r.out.Notes[MaxNotes-1:]
		r.out.Notes = append(r.out.Notes[:MaxNotes-1:MaxNotes-1], words.Clean("and more: "+strings.Join(rest, "; "), maxRest))
	}
}
