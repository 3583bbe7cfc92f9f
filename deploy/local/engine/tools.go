//go:build tools

// Package engine pins the version of longhorn-engine whose program the local stack runs. It is a module of its own
// because that program needs older versions of libraries than everything else here, and cgo.
package engine

import _ "github.com/longhorn/longhorn-engine"
