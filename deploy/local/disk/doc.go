// Package disk reads and writes Longhorn volumes from this machine: the bytes themselves through the engine's data
// path, and the attaching and detaching of a claim that nobody uses.
//
// It is for the local stack's tools, its guests and its tests. It is not part of the product, which never touches a
// volume's data itself.
package disk
