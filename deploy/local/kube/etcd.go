package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdStartTimeout bounds the start of etcd. It takes about 0.1 s without fsync; a minute means that it will not come.
const etcdStartTimeout = time.Minute

// startEtcd starts a one-member etcd in this process and returns its client address.
// It does not sync to disk: the data is worth no more than the stack that made it.
func startEtcd(ctx context.Context, dir string) (*embed.Etcd, string, error) {
	anyPort := url.URL{Scheme: "http", Host: "127.0.0.1:0"}

	cfg := embed.NewConfig()
	cfg.Name = "local"
	cfg.Dir = filepath.Join(dir, "etcd")
	cfg.UnsafeNoFsync = true
	cfg.LogLevel = "warn"
	cfg.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // zero would log every request
	cfg.ListenPeerUrls = []url.URL{anyPort}
	cfg.AdvertisePeerUrls = []url.URL{anyPort}
	cfg.ListenClientUrls = []url.URL{anyPort}
	cfg.AdvertiseClientUrls = []url.URL{anyPort}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)

	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, "", fmt.Errorf("starting etcd: %w", err)
	}
	timeout := time.NewTimer(etcdStartTimeout)
	defer timeout.Stop()
	select {
	case <-e.Server.ReadyNotify():
		return e, "http://" + e.Clients[0].Addr().String(), nil
	case err = <-e.Err():
	case <-timeout.C:
		err = errors.New("not ready in time")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	e.Close()
	return nil, "", fmt.Errorf("starting etcd: %w", err)
}
