package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"hayloft.dev/pkg/api/v1alpha1"
)

// PointRequest is what backups and snapshots have in common. Its fields are those
// of a VMBackup's spec.
type PointRequest struct {
	Name         string   `json:"name,omitempty" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" doc:"Name of the point; made from the VM's name and the time when left out"`
	VM           string   `json:"vm" minLength:"1" maxLength:"63" doc:"Name of the VM"`
	IncludeDisks []string `json:"includeDisks,omitempty" minItems:"1" maxItems:"256" doc:"The only disks to take"`
	ExcludeDisks []string `json:"excludeDisks,omitempty" minItems:"1" maxItems:"256" doc:"Disks not to take"`
	Quiesce      *Quiesce `json:"quiesce,omitempty" doc:"How the guest is brought to rest"`
	Note         string   `json:"note,omitempty" maxLength:"1024" doc:"For people"`
	Pinned       bool     `json:"pinned,omitempty" doc:"Keeps retention from removing the point"`
}

// Quiesce says how a running guest is brought to rest.
type Quiesce struct {
	Policy          string `json:"policy,omitempty" enum:"BestEffort,Required,Never" doc:"BestEffort when left out"`
	Method          string `json:"method,omitempty" enum:"Auto,Freeze,Pause" doc:"Auto when left out: freeze a guest that has an agent, pause others where that is enabled"`
	DeadlineSeconds int32  `json:"deadlineSeconds,omitempty" minimum:"1" maximum:"60" doc:"How long the guest may stay frozen or paused; 10 when left out"`
}

// BackupRequest asks for a point on a target.
type BackupRequest struct {
	PointRequest
	Target         string `json:"target,omitempty" minLength:"1" maxLength:"253" doc:"Name of the BackupTarget; left out: the default one"`
	DeletionPolicy string `json:"deletionPolicy,omitempty" enum:"Delete,Retain" doc:"What deleting the point does to its data; Delete when left out"`
}

// SnapshotRequest asks for a point in the VM's own volumes.
type SnapshotRequest struct{ PointRequest }

// RestoreRequest asks for what a point holds. Its fields are those of a
// VMRestore's spec.
type RestoreRequest struct {
	Name             string            `json:"name,omitempty" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" doc:"Name of the restore"`
	Backup           string            `json:"backup" minLength:"1" maxLength:"63" doc:"Name of the point"`
	BackupNamespace  string            `json:"backupNamespace,omitempty" maxLength:"63" doc:"The point's namespace, when it is another"`
	NewVM            string            `json:"newVM,omitempty" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" doc:"Name of the VM to make"`
	Replace          *Replace          `json:"replace,omitempty" doc:"The VM to replace"`
	DiskClaim        *DiskClaim        `json:"diskClaim,omitempty" doc:"One disk to make a claim of"`
	KeepMACAddresses bool              `json:"keepMACAddresses,omitempty" doc:"Give the new VM the source's MAC addresses"`
	HaltAfterRestore bool              `json:"haltAfterRestore,omitempty" doc:"Leave the VM stopped"`
	WithoutSecrets   bool              `json:"withoutSecrets,omitempty" doc:"Restore without the Secrets, when those of the point are encrypted and their identity is lost"`
	Allow            []string          `json:"allow,omitempty" maxItems:"3" uniqueItems:"true" enum:"HostDevices,ServiceAccounts,PodSettings" doc:"What the VM of a point that was found on a target keeps, though its document may be anybody's"`
	Images           string            `json:"images,omitempty" enum:"Recreate,Fetch,Require" doc:"Where an image that a disk was made from is missing: have Harvester's made again, also from a URL that only a point found on a target names (Fetch), or refuse. Recreate if you may, where nothing is said"`
	StorageClasses   map[string]string `json:"storageClasses,omitempty" maxProperties:"64" doc:"StorageClass of the point -> the one to use here"`
	Networks         map[string]string `json:"networks,omitempty" maxProperties:"64" doc:"Network of the point, NAMESPACE/NAME -> the one to use here"`
}

// Replace names a VM whose disks and definition are replaced.
type Replace struct {
	VM              string   `json:"vm" minLength:"1" maxLength:"63" doc:"The VM that the point was taken of, switched off"`
	Volumes         string   `json:"volumes,omitempty" enum:"Retain,Delete" doc:"What becomes of its volumes; Retain when left out"`
	DeleteSnapshots []string `json:"deleteSnapshots,omitempty" maxItems:"1024" doc:"Snapshots that may go with volumes that are deleted"`
}

// DiskClaim asks for one disk of a point.
type DiskClaim struct {
	Disk  string `json:"disk" minLength:"1" maxLength:"63" doc:"Its name in the point"`
	Claim string `json:"claim" minLength:"1" maxLength:"253" doc:"Name of the claim to make"`
}

type backupInput struct {
	Trigger
	Body BackupRequest
}

type snapshotInput struct {
	Trigger
	Body SnapshotRequest
}

type restoreInput struct {
	Trigger
	Body RestoreRequest
}

func (s *service) addTriggers(api huma.API) {
	post := func(id, path, summary, tag string) huma.Operation {
		o := operation(id, http.MethodPost, "/namespaces/{namespace}/"+path, summary, tag)
		o.DefaultStatus = http.StatusCreated
		return o
	}
	huma.Register(api, post("create-backup", "backups", "Back a VM up to a target", "points"), func(ctx context.Context, in *backupInput) (*made[Point], error) {
		spec := pointSpec(in.Body.PointRequest)
		spec.Type, spec.Target, spec.DeletionPolicy = v1alpha1.TypeBackup, in.Body.Target, v1alpha1.DeletionPolicy(in.Body.DeletionPolicy)
		return s.createPoint(ctx, in.Trigger, in.Body.PointRequest, in.Body, spec)
	})
	huma.Register(api, post("create-snapshot", "snapshots", "Take a snapshot of a VM", "points"), func(ctx context.Context, in *snapshotInput) (*made[Point], error) {
		spec := pointSpec(in.Body.PointRequest)
		spec.Type = v1alpha1.TypeSnapshot
		return s.createPoint(ctx, in.Trigger, in.Body.PointRequest, in.Body, spec)
	})
	huma.Register(api, post("create-restore", "restores", "Restore a point", "restores"), func(ctx context.Context, in *restoreInput) (*made[Restore], error) {
		o, replayed, err := create(ctx, s, in.Trigger, in.Body.Name, restoreBase(in.Body), in.Body, &v1alpha1.VMRestore{Spec: restoreSpec(in.Body)})
		if err != nil {
			return nil, err
		}
		return answer(replayed, location(o, "restores"), restoreOf(o)), nil
	})
}

func (s *service) createPoint(ctx context.Context, t Trigger, r PointRequest, body any, spec v1alpha1.VMBackupSpec) (*made[Point], error) {
	o, replayed, err := create(ctx, s, t, r.Name, r.VM, body, &v1alpha1.VMBackup{Spec: spec})
	if err != nil {
		return nil, err
	}
	return answer(replayed, location(o, "points"), pointOf(o)), nil
}

func pointSpec(r PointRequest) v1alpha1.VMBackupSpec {
	spec := v1alpha1.VMBackupSpec{VM: r.VM, IncludeDisks: r.IncludeDisks, ExcludeDisks: r.ExcludeDisks, Note: r.Note, Pinned: r.Pinned}
	if r.Quiesce != nil {
		spec.Quiesce = v1alpha1.Quiesce{Policy: v1alpha1.QuiescePolicy(r.Quiesce.Policy), Method: v1alpha1.QuiesceMethod(r.Quiesce.Method), DeadlineSeconds: r.Quiesce.DeadlineSeconds}
	}
	return spec
}

func restoreSpec(r RestoreRequest) v1alpha1.VMRestoreSpec {
	spec := v1alpha1.VMRestoreSpec{
		Backup: r.Backup, BackupNamespace: r.BackupNamespace, NewVM: r.NewVM, KeepMACAddresses: r.KeepMACAddresses,
		HaltAfterRestore: r.HaltAfterRestore, StorageClasses: r.StorageClasses, Networks: r.Networks,
		WithoutSecrets: r.WithoutSecrets, Images: v1alpha1.ImagePolicy(r.Images),
	}
	for _, word := range r.Allow {
		spec.Allow = append(spec.Allow, v1alpha1.Allowance(word))
	}
	if r.Replace != nil {
		spec.Replace = &v1alpha1.Replace{VM: r.Replace.VM, Volumes: v1alpha1.VolumePolicy(r.Replace.Volumes), DeleteSnapshots: r.Replace.DeleteSnapshots}
	}
	if r.DiskClaim != nil {
		spec.DiskClaim = &v1alpha1.DiskClaim{Disk: r.DiskClaim.Disk, Claim: r.DiskClaim.Claim}
	}
	return spec
}

// restoreBase is what a restore is named after: what it makes.
func restoreBase(r RestoreRequest) string {
	switch {
	case r.Replace != nil:
		return r.Replace.VM
	case r.DiskClaim != nil:
		return r.DiskClaim.Claim
	case r.NewVM != "":
		return r.NewVM
	}
	return r.Backup // it is refused for what it lacks
}
