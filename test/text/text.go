// Package text has what a program under test writes, such as its log, for a test that
// reads it meanwhile.
package text

import (
	"strings"
	"sync"
)

// Buffer is a text that may be read while it is written; the zero value is empty.
type Buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
