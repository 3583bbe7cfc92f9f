// Package guest stands in for the operating system inside a running virtual machine. It opens the VM's disks through
// the Longhorn engine's data path, as a hypervisor would, and keeps writing records to them; over a control socket it
// is told to hash, read, write, pause and end.
//
// It holds no real guest: nothing boots, no filesystem is mounted, and nothing but the end of each disk (package
// ring) is written without being told.
package guest
