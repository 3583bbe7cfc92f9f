//go:build tools

// Package backingimagemanager pins the version of Longhorn's backing image manager that `make e2e` runs, in a module of its
// own: it needs older versions of libraries than everything else here.
package backingimagemanager

import _ "github.com/longhorn/backing-image-manager"
