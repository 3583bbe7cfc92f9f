package catalog

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"

	"hayloft.dev/pkg/document"
)

// Shards is how many parts an index is stored in, so that each fits a ConfigMap
// and a change writes only a part.
const Shards = 16

// maxShard bounds what a shard may unpack to.
const maxShard = 64 << 20

// shardOf is the shard of a document. It must not change.
func shardOf(path string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(path))
	return int(h.Sum32() % Shards)
}

// Dirty are the shards that differ from what was stored, in order.
func (x *Index) Dirty() []int { return slices.Sorted(maps.Keys(x.dirty)) }

// Stored notes that a shard was stored as it is.
func (x *Index) Stored(shard int) { delete(x.dirty, shard) }

// Pack writes a shard: compressed, about 40 bytes a document.
func (x *Index) Pack(shard int) ([]byte, error) {
	part := map[string]Entry{}
	for path, e := range x.entries {
		if shardOf(path) == shard {
			part[path] = e
		}
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if err := json.NewEncoder(w).Encode(part); err != nil {
		return nil, fmt.Errorf("writing a part of the index: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compressing a part of the index: %w", err)
	}
	return out.Bytes(), nil
}

// Unpack adds a shard that Pack has written. What it holds is only a memory of
// what need not be read again, so a shard that cannot be read is as good as none.
func (x *Index) Unpack(shard int, data []byte) error {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("unpacking a part of the index: %w", err)
	}
	part := map[string]Entry{}
	if err := json.NewDecoder(io.LimitReader(r, maxShard)).Decode(&part); err != nil {
		return fmt.Errorf("reading a part of the index: %w", err)
	}
	for path, e := range part {
		if shardOf(path) == shard && document.CheckPath(path) == nil {
			x.entries[path] = e
		}
	}
	return nil
}
