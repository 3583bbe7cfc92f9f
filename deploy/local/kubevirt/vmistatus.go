package kubevirt

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	virt "kubevirt.io/api/core/v1"
)

// attachedAnnotation is the stand-in's note of what it attaches for an instance, written before the first ticket: with
// it the tickets are found again whatever happens to claims and program meanwhile.
const attachedAnnotation = "local.hayloft.dev/attached"

// attachment is the note.
type attachment struct {
	Node  string         `json:"node"`
	Disks []attachedDisk `json:"disks"`
	// Other is a second node with tickets: where a migration goes to, or whatever one has left. Migration is the UID of
	// the migration that needs them; without one they go.
	Other     string    `json:"other,omitempty"`
	Migration types.UID `json:"migration,omitempty"`
}

type attachedDisk struct {
	Name   string `json:"name"`
	Volume string `json:"volume"` // Longhorn's
}

func setAttached(vmi *virt.VirtualMachineInstance, node string, disks []resolvedDisk) error {
	note := attachment{Node: node}
	for _, d := range disks {
		note.Disks = append(note.Disks, attachedDisk{Name: d.name, Volume: d.volume})
	}
	return note.write(vmi)
}

func (note attachment) write(vmi *virt.VirtualMachineInstance) error {
	text, err := json.Marshal(note)
	if err != nil {
		return err
	}
	if vmi.Annotations == nil {
		vmi.Annotations = map[string]string{}
	}
	vmi.Annotations[attachedAnnotation] = string(text)
	return nil
}

func attachedOf(vmi *virt.VirtualMachineInstance) (attachment, error) {
	var note attachment
	text, ok := vmi.Annotations[attachedAnnotation]
	if !ok {
		return note, nil
	}
	if err := json.Unmarshal([]byte(text), &note); err != nil {
		return note, fmt.Errorf("annotation %s of instance %s: %w", attachedAnnotation, vmi.Name, err)
	}
	return note, nil
}

func clearAttached(vmi *virt.VirtualMachineInstance) { delete(vmi.Annotations, attachedAnnotation) }

func setPhase(vmi *virt.VirtualMachineInstance, phase virt.VirtualMachineInstancePhase) {
	if vmi.Status.Phase == phase {
		return
	}
	vmi.Status.Phase = phase
	vmi.Status.PhaseTransitionTimestamps = append(vmi.Status.PhaseTransitionTimestamps,
		virt.VirtualMachineInstancePhaseTransitionTimestamp{Phase: phase, PhaseTransitionTimestamp: metav1.Now()})
}

// sincePhase is how long an instance has been in its phase, to the second; 0 where nothing says since when.
func sincePhase(vmi *virt.VirtualMachineInstance) time.Duration {
	for _, at := range slices.Backward(vmi.Status.PhaseTransitionTimestamps) {
		if at.Phase == vmi.Status.Phase {
			return time.Since(at.PhaseTransitionTimestamp.Time)
		}
	}
	return 0
}

func setCondition(vmi *virt.VirtualMachineInstance, kind virt.VirtualMachineInstanceConditionType, status corev1.ConditionStatus, reason, message string) {
	wanted := virt.VirtualMachineInstanceCondition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now(),
	}
	for i, had := range vmi.Status.Conditions {
		if had.Type != kind {
			continue
		}
		if had.Status == status {
			wanted.LastTransitionTime = had.LastTransitionTime
		}
		vmi.Status.Conditions[i] = wanted
		return
	}
	vmi.Status.Conditions = append(vmi.Status.Conditions, wanted)
}

func removeCondition(vmi *virt.VirtualMachineInstance, kind virt.VirtualMachineInstanceConditionType) {
	vmi.Status.Conditions = slices.DeleteFunc(vmi.Status.Conditions, func(c virt.VirtualMachineInstanceCondition) bool { return c.Type == kind })
}

// setSynchronized says what keeps an instance from its next phase; nil: nothing does.
func setSynchronized(vmi *virt.VirtualMachineInstance, failure *syncError) {
	if failure == nil {
		setCondition(vmi, virt.VirtualMachineInstanceSynchronized, corev1.ConditionTrue, "", "")
		return
	}
	setCondition(vmi, virt.VirtualMachineInstanceSynchronized, corev1.ConditionFalse, failure.reason, failure.Error())
}

// setVolumeStatus tells the volumes of an instance and their claims.
func setVolumeStatus(vmi *virt.VirtualMachineInstance, disks []resolvedDisk) {
	claims := map[string]*corev1.PersistentVolumeClaim{} // name of the volume -> its claim
	names := []string{}
	for _, volume := range vmi.Spec.Volumes {
		names = append(names, volume.Name)
	}
	for _, d := range disks {
		claims[d.name] = d.claim
		if d.isState {
			names = append(names, d.name)
		}
	}
	vmi.Status.VolumeStatus = nil
	for i, name := range names {
		status := virt.VolumeStatus{Name: name, Target: target(i)}
		if claim := claims[name]; claim != nil {
			status.PersistentVolumeClaimInfo = &virt.PersistentVolumeClaimInfo{
				ClaimName: claim.Name, AccessModes: claim.Spec.AccessModes, VolumeMode: claim.Spec.VolumeMode,
				Capacity: claim.Status.Capacity, Requests: claim.Spec.Resources.Requests,
			}
		}
		vmi.Status.VolumeStatus = append(vmi.Status.VolumeStatus, status)
	}
}

// target is the name of the n-th virtio disk: vda, vdb ... vdz, vdaa.
func target(n int) string {
	name := ""
	for n++; n > 0; n = (n - 1) / 26 {
		name = string(rune('a'+(n-1)%26)) + name
	}
	return "vd" + name
}
