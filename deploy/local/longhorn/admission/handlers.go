package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	volumes     = "volumes"
	attachments = "volumeattachments"
	snapshots   = "snapshots"
)

// snapshotMaxCount is the setting that is the limit of a new volume that names none.
const snapshotMaxCount = "snapshot-max-count"

type handlers struct {
	reader   client.Reader
	defaults Defaults
}

func (h handlers) mutate(ctx context.Context, req admission.Request) admission.Response {
	switch req.Resource.Resource {
	case volumes:
		vol := &lh.Volume{}
		if err := json.Unmarshal(req.Object.Raw, vol); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		defaults, err := h.current(ctx, req.Namespace)
		if err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		mutateVolume(vol, defaults)
		return patched(req, vol)
	case attachments:
		va, old := &lh.VolumeAttachment{}, &lh.VolumeAttachment{}
		if err := decode(req, va, old); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		if req.Operation == admissionv1.Create {
			old = nil
		}
		vol, err := h.volume(ctx, req.Namespace, va.Spec.Volume)
		if err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		if vol == nil && old == nil {
			return admission.Errored(http.StatusUnprocessableEntity, fmt.Errorf("failed to get volume %v", va.Spec.Volume))
		}
		mutateAttachment(old, va, vol)
		return patched(req, va)
	case snapshots:
		snapshot := &lh.Snapshot{}
		if err := json.Unmarshal(req.Object.Raw, snapshot); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		vol, err := h.volume(ctx, req.Namespace, snapshot.Spec.Volume)
		switch {
		case err != nil:
			return admission.Errored(http.StatusInternalServerError, err)
		case vol == nil && req.Operation == admissionv1.Create:
			return admission.Errored(http.StatusUnprocessableEntity, fmt.Errorf("failed to get volume %v", snapshot.Spec.Volume))
		}
		mutateSnapshot(snapshot, vol, req.Operation == admissionv1.Create)
		return patched(req, snapshot)
	}
	return admission.Allowed("")
}

func (h handlers) validate(ctx context.Context, req admission.Request) admission.Response {
	var refusal error
	switch req.Resource.Resource {
	case volumes:
		vol, old := &lh.Volume{}, &lh.Volume{}
		if err := decode(req, vol, old); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		if vol.DeletionTimestamp != nil {
			return admission.Allowed("") // only its finalizers are still of interest
		}
		if req.Operation == admissionv1.Create {
			old = nil
		}
		image, err := h.backingImage(ctx, req.Namespace, vol.Spec.BackingImage)
		if err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		refusal = validateVolume(old, vol, image)
	case attachments:
		va, old := &lh.VolumeAttachment{}, &lh.VolumeAttachment{}
		if err := decode(req, va, old); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		if va.DeletionTimestamp != nil {
			return admission.Allowed("")
		}
		if req.Operation == admissionv1.Create {
			old = nil
		}
		vol, err := h.volume(ctx, req.Namespace, va.Spec.Volume)
		if err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		refusal = validateAttachment(old, va, vol)
	case snapshots:
		snapshot, old := &lh.Snapshot{}, &lh.Snapshot{}
		if err := decode(req, snapshot, old); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		if req.Operation == admissionv1.Create {
			old = nil
		}
		refusal = validateSnapshot(old, snapshot)
	}
	if refusal != nil {
		return admission.Errored(http.StatusUnprocessableEntity, refusal)
	}
	return admission.Allowed("")
}

// decode reads the object and, when there is one, what it was before.
func decode(req admission.Request, object, old any) error {
	if err := json.Unmarshal(req.Object.Raw, object); err != nil {
		return fmt.Errorf("reading the object: %w", err)
	}
	if len(req.OldObject.Raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(req.OldObject.Raw, old); err != nil {
		return fmt.Errorf("reading the former object: %w", err)
	}
	return nil
}

func patched(req admission.Request, object any) admission.Response {
	raw, err := json.Marshal(object)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, raw)
}

// current are the defaults as the settings have them now.
func (h handlers) current(ctx context.Context, namespace string) (Defaults, error) {
	defaults := h.defaults
	setting := &lh.Setting{}
	err := h.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: snapshotMaxCount}, setting)
	if err != nil {
		return defaults, fmt.Errorf("reading setting %s: %w", snapshotMaxCount, err)
	}
	if defaults.SnapshotMaxCount, err = strconv.Atoi(setting.Value); err != nil {
		return defaults, fmt.Errorf("reading setting %s: %w", snapshotMaxCount, err)
	}
	return defaults, nil
}

// volume is the named volume, nil when there is none.
func (h handlers) volume(ctx context.Context, namespace, name string) (*lh.Volume, error) {
	vol := &lh.Volume{}
	err := h.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, vol)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return vol, err
}

// backingImage is the named image, nil when there is none or none is named.
func (h handlers) backingImage(ctx context.Context, namespace, name string) (*lh.BackingImage, error) {
	if name == "" {
		return nil, nil
	}
	image := &lh.BackingImage{}
	err := h.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, image)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return image, err
}
