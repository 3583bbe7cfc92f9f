//go:build tools

// Package manager pins the version of longhorn-manager that `make e2e` runs, in a module of its own: it needs the
// libraries of an older Kubernetes than everything else here.
package manager

import _ "github.com/longhorn/longhorn-manager"
