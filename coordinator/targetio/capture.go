package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/targetio/cluster"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/document"
)

// capture reads the VM and what it refers to, each object by its name, and
// writes the draft. It can be repeated; the last one counts.
func (w *worker) capture(ctx context.Context, r protocol.CaptureRequest) error {
	path, err := document.DraftPath(r.Point.UID)
	if err != nil {
		return refuse("%v", err)
	}
	src, err := w.source(ctx, r)
	if err != nil {
		return err
	}
	if src.vm.GetUID() != r.VMUID {
		return &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
			"VM %s/%s has UID %s, the point is of %s: the VM was deleted and made again", r.Point.Namespace, r.VM, src.vm.GetUID(), r.VMUID)}
	}
	claims, raw, err := documentClaims(src.claims)
	if err != nil {
		return err
	}
	contents, refusals := vmspec.Inspect(src.vm, src.vmi, claims)
	contents, refusals = vmspec.Select(contents, refusals, r.IncludeDisks, r.ExcludeDisks)
	if err := checkContents(r, contents, refusals); err != nil {
		return err
	}
	d := &document.Document{
		FormatVersion: document.FormatVersion,
		Point:         r.Point,
		Origin:        document.Origin{ClusterUID: src.clusterUID, Namespace: r.Point.Namespace, VM: r.VM, VMUID: src.vm.GetUID()},
		Claims:        raw,
		Notes:         contents.Warnings,
	}
	if d.VM, err = bare(src.vm); err != nil {
		return err
	}
	if err := w.collect(ctx, d, contents); err != nil {
		return err
	}
	if err := w.seal(d); err != nil {
		return err
	}
	data, _, err := document.EncodeDraft(d)
	if err != nil {
		return refuse("%v", err)
	}
	return w.documents.Write(ctx, path, data)
}

// source is a VM with what is no secret of it.
type source struct {
	vm, vmi    *unstructured.Unstructured // vmi nil: it does not run
	claims     []*unstructured.Unstructured
	clusterUID types.UID
}

// source takes what the coordinator has read, or reads it.
func (w *worker) source(ctx context.Context, r protocol.CaptureRequest) (s source, err error) {
	names := slices.Sorted(slices.Values(r.Claims))
	if given := r.Source; given != nil {
		return givenSource(given, names)
	}
	namespace := r.Point.Namespace
	if s.vm, err = w.cluster.Get(ctx, cluster.VirtualMachines, namespace, r.VM); err != nil {
		return s, err
	}
	if s.vmi, err = w.cluster.Get(ctx, cluster.VirtualMachineInstances, namespace, r.VM); err != nil && !cluster.IsNotFound(err) {
		return s, err
	}
	for _, name := range names {
		u, err := w.cluster.Get(ctx, cluster.Claims, namespace, name)
		if err != nil {
			return s, err
		}
		s.claims = append(s.claims, u)
	}
	s.clusterUID, err = w.cluster.UID(ctx)
	return s, err
}

func givenSource(given *protocol.CaptureSource, claims []string) (s source, err error) {
	s.clusterUID = given.ClusterUID
	if s.vm, err = object(given.VM); err != nil {
		return s, err
	}
	if len(given.VMI) > 0 {
		if s.vmi, err = object(given.VMI); err != nil {
			return s, err
		}
	}
	for _, name := range claims {
		u, err := object(given.Claims[name])
		if err != nil {
			return s, err
		}
		s.claims = append(s.claims, u)
	}
	return s, nil
}

func object(raw json.RawMessage) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, refuse("an object of the request cannot be read: %v", err)
	}
	return u, nil
}

// checkContents refuses a VM that is not, or not any more, what the point was
// cut of.
func checkContents(r protocol.CaptureRequest, contents vmspec.Contents, refusals []vmspec.Refusal) error {
	var sentences []string
	for _, refusal := range refusals {
		sentences = append(sentences, refusal.Sentence)
	}
	if len(sentences) > 0 {
		return &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf("VM %s/%s: %s", r.Point.Namespace, r.VM, strings.Join(sentences, "; "))}
	}
	var now []string
	for _, disk := range contents.Disks {
		now = append(now, disk.Claim)
	}
	wanted := slices.Clone(r.Claims)
	slices.Sort(now)
	slices.Sort(wanted)
	if !slices.Equal(now, wanted) {
		return &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
			"VM %s/%s has its disks on claims [%s] now, the point was cut of [%s]: its disks were changed meanwhile",
			r.Point.Namespace, r.VM, strings.Join(now, ", "), strings.Join(wanted, ", "))}
	}
	return nil
}

func documentClaims(claims []*unstructured.Unstructured) ([]corev1.PersistentVolumeClaim, []document.Claim, error) {
	var typed []corev1.PersistentVolumeClaim
	var raw []document.Claim
	for _, u := range claims {
		claim := corev1.PersistentVolumeClaim{}
		if err := cluster.Decode(u, &claim); err != nil {
			return nil, nil, err
		}
		typed = append(typed, claim)
		object, err := bare(u)
		if err != nil {
			return nil, nil, err
		}
		raw = append(raw, document.Claim{Name: u.GetName(), Object: object})
	}
	return typed, raw, nil
}

// collect reads Secrets and ConfigMaps. One that does not exist leaves a note,
// unless the VM says that it may be missing: the copy will lack it as the
// source does.
func (w *worker) collect(ctx context.Context, d *document.Document, contents vmspec.Contents) error {
	for _, name := range slices.Concat(contents.Secrets, contents.OptionalSecrets) {
		s, err := w.cluster.Secret(ctx, d.Origin.Namespace, name)
		if cluster.IsNotFound(err) {
			noteMissing(d, "Secret", name, contents.Secrets)
			continue
		}
		if err != nil {
			return err
		}
		d.Secrets = append(d.Secrets, document.Secret{Name: name, Type: s.Type, Data: s.Data})
	}
	for _, name := range slices.Concat(contents.ConfigMaps, contents.OptionalConfigMaps) {
		u, err := w.cluster.Get(ctx, cluster.ConfigMaps, d.Origin.Namespace, name)
		if cluster.IsNotFound(err) {
			noteMissing(d, "ConfigMap", name, contents.ConfigMaps)
			continue
		}
		if err != nil {
			return err
		}
		c := &corev1.ConfigMap{}
		if err := cluster.Decode(u, c); err != nil {
			return err
		}
		d.ConfigMaps = append(d.ConfigMaps, document.ConfigMap{Name: name, Data: c.Data, BinaryData: c.BinaryData})
	}
	return nil
}

func noteMissing(d *document.Document, kind, name string, required []string) {
	if slices.Contains(required, name) {
		d.Notes = append(d.Notes, fmt.Sprintf("%s %s, to which the VM refers, did not exist when the point was taken", kind, name))
	}
}

// bare is an object as JSON without what only its own cluster can use.
func bare(u *unstructured.Unstructured) (json.RawMessage, error) {
	c := u.DeepCopy()
	unstructured.RemoveNestedField(c.Object, "status")
	unstructured.RemoveNestedField(c.Object, "metadata", "managedFields")
	data, err := json.Marshal(c.Object)
	if err != nil {
		return nil, fmt.Errorf("writing %s %s as JSON: %w", u.GetKind(), u.GetName(), err)
	}
	return data, nil
}
