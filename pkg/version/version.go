// Package version holds the version that the build stamped in.
package version

// Version is set by the linker; "dev" in an unstamped build.
var Version = "dev"
