// Package client takes the place of longhorn-spdk-engine's client, with which the instance manager serves volumes of the
// v2 data engine. That engine needs SPDK, huge pages and NVMe over TCP, and Hayloft refuses its volumes, so it is not
// built: every call fails, whatever it is given.
package client

import (
	"errors"

	"github.com/longhorn/types/pkg/generated/spdkrpc"

	"github.com/longhorn/longhorn-spdk-engine/pkg/api"
)

var errNone = errors.New("this instance manager has no v2 data engine")

// SPDKClient is a client of nothing.
type SPDKClient struct{}

// BackupCreateRequest asks for a backup.
type BackupCreateRequest struct {
	BackupName, SnapshotName, VolumeName, EngineName, BackupTarget, StorageClassName string
	BackingImageName, BackingImageChecksum, CompressionMethod                        string
	ConcurrentLimit                                                                  int32
	Labels                                                                           []string
	Credential                                                                       map[string]string
}

// BackupRestoreRequest asks for a restore.
type BackupRestoreRequest struct {
	BackupUrl, EngineName string //nolint:revive // the caller's spelling
	Credential            map[string]string
	ConcurrentLimit       int32
}

// NewSPDKClient connects to nothing: the instance manager's proxy wants a client at its start, v2 data engine or not.
func NewSPDKClient(string) (*SPDKClient, error) { return &SPDKClient{}, nil }

// Close has nothing to close.
func (*SPDKClient) Close() error { return nil }

// Stream tells of changes.
type Stream struct{}

// Recv has none to tell of.
func (*Stream) Recv() (any, error) { return nil, errNone }

func (*SPDKClient) EngineWatch(...any) (*Stream, error)       { return nil, errNone }
func (*SPDKClient) ReplicaWatch(...any) (*Stream, error)      { return nil, errNone }
func (*SPDKClient) BackingImageWatch(...any) (*Stream, error) { return nil, errNone }

func (*SPDKClient) EngineCreate(...any) (*api.Engine, error)             { return nil, errNone }
func (*SPDKClient) EngineGet(...any) (*api.Engine, error)                { return nil, errNone }
func (*SPDKClient) EngineList() (map[string]*api.Engine, error)          { return nil, errNone }
func (*SPDKClient) EngineDelete(...any) error                            { return errNone }
func (*SPDKClient) EngineSuspend(...any) error                           { return errNone }
func (*SPDKClient) EngineResume(...any) error                            { return errNone }
func (*SPDKClient) EngineSwitchOverTarget(...any) error                  { return errNone }
func (*SPDKClient) EngineDeleteTarget(...any) error                      { return errNone }
func (*SPDKClient) EngineReplicaAdd(...any) error                        { return errNone }
func (*SPDKClient) EngineReplicaDelete(...any) error                     { return errNone }
func (*SPDKClient) EngineSnapshotCreate(...any) (string, error)          { return "", errNone }
func (*SPDKClient) EngineSnapshotRevert(...any) error                    { return errNone }
func (*SPDKClient) EngineSnapshotPurge(...any) error                     { return errNone }
func (*SPDKClient) EngineSnapshotDelete(...any) error                    { return errNone }
func (*SPDKClient) EngineBackupRestore(*BackupRestoreRequest) error      { return errNone }
func (*SPDKClient) ReplicaCreate(...any) (*api.Replica, error)           { return nil, errNone }
func (*SPDKClient) ReplicaGet(...any) (*api.Replica, error)              { return nil, errNone }
func (*SPDKClient) ReplicaList() (map[string]*api.Replica, error)        { return nil, errNone }
func (*SPDKClient) ReplicaDelete(...any) error                           { return errNone }
func (*SPDKClient) DiskCreate(...any) (*spdkrpc.Disk, error)             { return nil, errNone }
func (*SPDKClient) DiskGet(...any) (*spdkrpc.Disk, error)                { return nil, errNone }
func (*SPDKClient) DiskDelete(...any) error                              { return errNone }
func (*SPDKClient) BackingImageCreate(...any) (*api.BackingImage, error) { return nil, errNone }
func (*SPDKClient) BackingImageGet(...any) (*api.BackingImage, error)    { return nil, errNone }
func (*SPDKClient) BackingImageDelete(...any) error                      { return errNone }
func (*SPDKClient) LogSetLevel(...any) error                             { return errNone }
func (*SPDKClient) LogSetFlags(...any) error                             { return errNone }
func (*SPDKClient) LogGetFlags() (string, error)                         { return "", errNone }

func (*SPDKClient) BackingImageList() (map[string]*api.BackingImage, error) { return nil, errNone }

func (*SPDKClient) EngineBackupCreate(*BackupCreateRequest) (*spdkrpc.BackupCreateResponse, error) {
	return nil, errNone
}

func (*SPDKClient) EngineBackupStatus(...any) (*spdkrpc.BackupStatusResponse, error) {
	return nil, errNone
}

func (*SPDKClient) EngineRestoreStatus(...any) (*spdkrpc.RestoreStatusResponse, error) {
	return nil, errNone
}

func (*SPDKClient) ReplicaRebuildingDstShallowCopyCheck(...any) (*spdkrpc.ReplicaRebuildingDstShallowCopyCheckResponse, error) {
	return nil, errNone
}
