// Package spdk is the server of the v2 data engine.
package spdk

import (
	"context"
	"errors"

	"github.com/longhorn/types/pkg/generated/spdkrpc"
)

// Server is one. There is none.
type Server struct {
	spdkrpc.UnimplementedSPDKServiceServer
}

// NewServer refuses.
func NewServer(context.Context, int32, int32) (*Server, error) {
	return nil, errors.New("this instance manager has no v2 data engine")
}
