//go:build tools

// Package instancemanager pins the version of Longhorn's instance manager that `make e2e` runs, in a module of its own:
// it needs older versions of libraries than everything else here, and cgo.
package instancemanager

import _ "github.com/longhorn/longhorn-instance-manager"
