// Package v1alpha1 is the Kubernetes API of Hayloft, group hayloft.dev: what a
// user says (BackupTarget, VMBackup, VMRestore, VMSchedule ...) and the one internal kind by
// which the coordinator hands work to agents (NodeJob).
//
// It holds types, their validation markers and nothing else: no clients, no
// decisions. deepcopy functions and the CRDs under deploy/crds are generated
// from it by `make generate`.
//
// +kubebuilder:object:generate=true
// +groupName=hayloft.dev
package v1alpha1
