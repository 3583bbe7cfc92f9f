// Package guest stands in for the operating system inside a running virtual machine. It opens the VM's disks through
// the Longhorn engine's data path, as a hypervisor would, and keeps writing records to them; over a control socket it
// is told to hash, read, write, freeze, pause and end.
//
// Each round writes the next sequence number to the first disk, then to the second and so on, each when the one before is
// on all replicas. So in whatever is cut of all disks at one moment no disk is ahead of one before it, and none is more
// than one behind. Records are at known places (package ring): they are read back from any copy of a disk.
//
// It holds no real guest: nothing boots, no filesystem is mounted, and nothing but the end of each disk (package
// ring) is written without being told.
package guest
