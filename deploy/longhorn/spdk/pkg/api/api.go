// Package api has what the instance manager reads of volumes of the v2 data engine. There are none here.
package api

import "github.com/longhorn/longhorn-spdk-engine/pkg/types"

// Replica is one of a v2 volume.
type Replica struct {
	Name, State, ErrorMsg string
	LvsName, LvsUUID      string
	SpecSize, ActualSize  uint64
	PortStart, PortEnd    int32
}

// Engine is that of a v2 volume.
type Engine struct {
	Name, State, ErrorMsg               string
	Endpoint, Frontend                  string
	SpecSize                            uint64
	Port, TargetPort, StandbyTargetPort int32
	ReplicaAddressMap                   map[string]string
	ReplicaModeMap                      map[string]types.Mode
	Snapshots                           map[string]*Disk
	Head                                *Disk
}

// Disk is a snapshot or the head of a v2 volume.
type Disk struct {
	Name, Parent                    string
	Children                        map[string]bool
	UserCreated                     bool
	CreationTime, SnapshotTimestamp string
	ActualSize                      uint64
}

// BackingImage is one on a v2 disk.
type BackingImage struct {
	Name, BackingImageUUID, LvsUUID   string
	Size                              uint64
	ExpectedChecksum, CurrentChecksum string
	Progress                          int32
	State, ErrorMsg                   string
}
