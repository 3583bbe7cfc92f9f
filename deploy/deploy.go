// Package deploy holds the manifests beside it as data, for programs that compare
// a cluster with them. It applies nothing.
package deploy

import "embed"

// Manifests are the folders crds, rbac, policies and webhook.
//
//go:embed crds/*.yaml rbac/*.yaml policies/*.yaml webhook/*.yaml
var Manifests embed.FS
