package subresource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// handlerTimeout is how long virt-api waits for virt-handler. What it has asked for may still happen afterwards.
	handlerTimeout = 10 * time.Second
	maxBody        = 64 << 10 // bytes; the bodies here have a field or two
)

var (
	instanceResource = schema.GroupResource{Group: virt.GroupVersion.Group, Resource: "virtualmachineinstance"}
	machineResource  = schema.GroupResource{Group: virt.GroupVersion.Group, Resource: "virtualmachine"}

	errTimeout = errors.New("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
)

func (s *Server) ofInstances() map[string]action { // subresource -> what it does
	return map[string]action{
		"freeze":   s.freeze,
		"unfreeze": s.toRunning("Unfreeze", nil, s.guests.Unfreeze),
		"pause":    s.toRunning("Pause", mayPause, s.guests.Pause),
		"unpause":  s.toRunning("Unpause", mayUnpause, s.guests.Unpause),
	}
}

// freeze takes KubeVirt's FreezeUnfreezeTimeout; virt-launcher gets it in whole seconds, so that less than one is never.
func (s *Server) freeze(r *http.Request, namespace, name string) (int, error) {
	var body virt.FreezeUnfreezeTimeout
	if err := decode(r, &body); err != nil {
		return 0, err
	}
	return s.toRunning("Freeze", nil, func(ctx context.Context, vmi *virt.VirtualMachineInstance) error {
		if body.UnfreezeTimeout == nil {
			//lint:ignore ST1005 KubeVirt's words
			return errors.New("Unfreeze timeout in freeze request is not set")
		}
		return s.guests.Freeze(ctx, vmi, body.UnfreezeTimeout.Truncate(time.Second))
	})(r, namespace, name)
}

// toRunning does something to the guest of an instance that runs, if may has nothing against it.
func (s *Server) toRunning(verb string, may func(*virt.VirtualMachineInstance) error, do func(context.Context, *virt.VirtualMachineInstance) error) action {
	return func(r *http.Request, namespace, name string) (int, error) {
		var vmi virt.VirtualMachineInstance
		if err := s.client.Get(r.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &vmi); err != nil {
			return 0, err
		}
		if vmi.Status.Phase != virt.Running {
			return 0, apierrors.NewConflict(instanceResource, name, errors.New("VM is not running"))
		}
		if may != nil {
			if err := may(&vmi); err != nil {
				return 0, err
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), handlerTimeout)
		defer cancel()
		err := do(ctx, &vmi)
		switch {
		case err == nil:
			return http.StatusOK, nil
		case ctx.Err() != nil:
			return 0, apierrors.NewInternalError(errTimeout)
		}
		return 0, apierrors.NewInternalError(fmt.Errorf("unexpected return code 400 (400 Bad Request), message: server error. command %s failed: %q", verb, err))
	}
}

func mayPause(vmi *virt.VirtualMachineInstance) error {
	switch {
	case vmi.Spec.LivenessProbe != nil:
		//lint:ignore ST1005 KubeVirt's words
		return apierrors.NewForbidden(instanceResource, vmi.Name, errors.New("Pausing VMIs with LivenessProbe is currently not supported"))
	case isPaused(vmi):
		return apierrors.NewConflict(instanceResource, vmi.Name, errors.New("VMI is already paused"))
	case vmi.Status.MigrationState != nil && !vmi.Status.MigrationState.Completed:
		//lint:ignore ST1005 KubeVirt's words
		return apierrors.NewConflict(instanceResource, vmi.Name, fmt.Errorf("Cannot pause VM '%s' because it is currently being migrated", vmi.Name))
	}
	return nil
}

func mayUnpause(vmi *virt.VirtualMachineInstance) error {
	if !isPaused(vmi) {
		return apierrors.NewConflict(instanceResource, vmi.Name, errors.New("VMI is not paused"))
	}
	return nil
}

func isPaused(vmi *virt.VirtualMachineInstance) bool {
	for _, c := range vmi.Status.Conditions {
		if c.Type == virt.VirtualMachineInstancePaused {
			return true
		}
	}
	return false
}

// decode reads a body; none is an empty one.
func decode(r *http.Request, into any) error {
	err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(into)
	if err != nil && !errors.Is(err, io.EOF) {
		return apierrors.NewBadRequest(fmt.Sprintf("Can not unmarshal Request body to struct, error: %s", err))
	}
	return nil
}
