package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// Restore is a VMRestore.
type Restore struct {
	Identity
	State
	Backup          string     `json:"backup"`
	BackupNamespace string     `json:"backupNamespace,omitempty"`
	NewVM           string     `json:"newVM,omitempty"`
	Replace         *Replace   `json:"replace,omitempty"`
	DiskClaim       *DiskClaim `json:"diskClaim,omitempty"`
	Cancelled       bool       `json:"cancelled,omitempty"`
	StartedAt       *time.Time `json:"startedAt,omitempty"`
	ReplacedAt      *time.Time `json:"replacedAt,omitempty" doc:"When the replaced VM was given its restored disks; too late to cancel from then on"`
	CompletedAt     *time.Time `json:"completedAt,omitempty"`
	Notes           []string   `json:"notes,omitempty" doc:"How the restored VM differs from its source"`
}

func restoreOf(r *v1alpha1.VMRestore) Restore {
	out := Restore{
		Identity: identityOf(r), State: stateOf(status.OfRestore(r), r.Status.Conditions),
		Backup: r.Spec.Backup, BackupNamespace: r.Spec.BackupNamespace, NewVM: r.Spec.NewVM, Cancelled: r.Spec.Cancel,
		StartedAt: timeOf(r.Status.StartedAt), ReplacedAt: timeOf(r.Status.ReplacedAt), CompletedAt: timeOf(r.Status.CompletedAt),
		Notes: r.Status.Notes,
	}
	if x := r.Spec.Replace; x != nil {
		out.Replace = &Replace{VM: x.VM, Volumes: string(x.Volumes), DeleteSnapshots: x.DeleteSnapshots}
	}
	if x := r.Spec.DiskClaim; x != nil {
		out.DiskClaim = &DiskClaim{Disk: x.Disk, Claim: x.Claim}
	}
	return out
}

func (s *service) addRestores(api huma.API) {
	list := func(ctx context.Context, namespace string, in Page) (*listed[Restore], error) {
		var l v1alpha1.VMRestoreList
		if err := s.Client.List(ctx, &l, in.options(namespace, nil)...); err != nil {
			return nil, problem.FromCluster(err)
		}
		return of(l.Items, l.Continue, restoreOf), nil
	}
	const one, all = "/namespaces/{namespace}/restores/{name}", "/namespaces/{namespace}/restores"
	huma.Register(api, operation("list-all-restores", http.MethodGet, "/restores", "List the restores of all namespaces", "restores"), func(ctx context.Context, in *Page) (*listed[Restore], error) {
		return list(ctx, "", *in)
	})
	huma.Register(api, operation("list-restores", http.MethodGet, all, "List the restores of a namespace", "restores"), func(ctx context.Context, in *struct {
		Namespaced
		Page
	},
	) (*listed[Restore], error) {
		return list(ctx, in.Namespace, in.Page)
	})
	restore := func() *v1alpha1.VMRestore { return &v1alpha1.VMRestore{} }
	get(s, api, operation("get-restore", http.MethodGet, one, "Look at a restore", "restores"), restore, restoreOf)
	remove(s, api, operation("delete-restore", http.MethodDelete, one, "Delete a restore; what it made stays, what it made half is removed", "restores"), restore)
	change(s, api, operation("cancel-restore", http.MethodPost, one+"/cancel", "Cancel a restore on its way", "restores"), restore, restoreOf, `{"spec":{"cancel":true}}`)
}
