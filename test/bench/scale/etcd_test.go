package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// etcd is what the API server stores its objects in. A hundred thousand objects
// are written to it directly, as copies of some that the API server itself has
// stored, since through the API server they would take ten times as long. It and
// the coordinator see no difference: they meet what is there.
type etcd struct {
	b      *testing.B
	server *grpc.ClientConn
	data   string // its database file

	group *errgroup.Group
	ctx   context.Context
	batch []byte // a TxnRequest
	puts  int    // in it
}

// Bounds of one request to etcd, whose own limit is 128 operations.
const (
	putsAtOnce    = 100
	loadersAtOnce = 8
)

func openEtcd(b *testing.B, kubeconfig string) *etcd {
	b.Helper()
	dir := filepath.Dir(kubeconfig)
	address, err := os.ReadFile(filepath.Join(dir, "etcd.address"))
	check(b, err)
	server, err := grpc.NewClient(strings.TrimPrefix(string(address), "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	check(b, err)
	b.Cleanup(func() { _ = server.Close() })
	e := &etcd{b: b, server: server, data: filepath.Join(dir, "etcd", "member", "snap", "db")}
	e.group, e.ctx = errgroup.WithContext(b.Context())
	e.group.SetLimit(loadersAtOnce)
	return e
}

// bytes is the size of the database file.
func (e *etcd) bytes() int64 {
	e.b.Helper()
	info, err := os.Stat(e.data)
	check(e.b, err)
	return info.Size()
}

// Messages of etcd's gRPC interface (etcdserverpb), of which so few fields are
// needed that they are written by hand: its client would be a dependency of the
// whole module.
const (
	fieldKey       = 1 // of a RangeRequest and a PutRequest
	fieldPutValue  = 2 // of a PutRequest
	fieldPut       = 2 // of a RequestOp
	fieldSuccess   = 2 // of a TxnRequest: its RequestOps
	fieldKVs       = 2 // of a RangeResponse: its KeyValues
	fieldKeptValue = 5 // of a KeyValue
)

// object is what is stored under a key.
func (e *etcd) object(key string) map[string]any {
	e.b.Helper()
	var answer []byte
	check(e.b, e.server.Invoke(e.b.Context(), "/etcdserverpb.KV/Range", field(nil, fieldKey, []byte(key)), &answer))
	value := part(part(answer, fieldKVs), fieldKeptValue)
	if value == nil {
		e.b.Fatalf("etcd has nothing under key %s", key)
	}
	out := map[string]any{}
	check(e.b, json.Unmarshal(value, &out))
	return out
}

// put stores an object with the next batch.
func (e *etcd) put(key string, object map[string]any) {
	e.b.Helper()
	value, err := json.Marshal(object)
	check(e.b, err)
	put := field(field(nil, fieldKey, []byte(key)), fieldPutValue, append(value, '\n'))
	e.batch = field(e.batch, fieldSuccess, field(nil, fieldPut, put))
	if e.puts++; e.puts == putsAtOnce {
		e.send()
	}
}

func (e *etcd) send() {
	batch := e.batch
	e.batch, e.puts = nil, 0
	e.group.Go(func() error {
		var answer []byte
		if err := e.server.Invoke(e.ctx, "/etcdserverpb.KV/Txn", batch, &answer); err != nil {
			return fmt.Errorf("storing %d bytes in etcd: %w", len(batch), err)
		}
		return nil
	})
}

// flush waits until all that was put is stored.
func (e *etcd) flush() {
	e.b.Helper()
	if e.puts > 0 {
		e.send()
	}
	check(e.b, e.group.Wait())
}

func field(message []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, number, protowire.BytesType), value)
}

// part is the first field of a number in a message, nil when there is none.
func part(message []byte, number protowire.Number) []byte {
	for len(message) > 0 {
		found, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		if found == number && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			return value
		}
		if n = protowire.ConsumeFieldValue(found, kind, message); n < 0 {
			return nil
		}
		message = message[n:]
	}
	return nil
}

// raw sends and receives messages that are encoded already.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = slices.Clone(data)
	return nil
}
