package status

import "hayloft.dev/pkg/api/v1alpha1"

// Destination says in a few words what a restore makes: "VM web2", "VM web
// (replaced)" or "claim rescued".
func Destination(r *v1alpha1.VMRestore) string {
	switch {
	case r.Spec.Replace != nil:
		return "VM " + r.Spec.Replace.VM + " (replaced)"
	case r.Spec.DiskClaim != nil:
		return "claim " + r.Spec.DiskClaim.Claim
	}
	return "VM " + r.Spec.NewVM
}
