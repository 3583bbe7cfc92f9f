package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"hayloft.dev/coordinator/targetio/share"
	"hayloft.dev/coordinator/targetio/store"
)

// atOnce bounds the connections that the Pod of a share serves: as many workers as a
// coordinator runs (control.Options.TargetWorkers), and those of the others.
const atOnce = 12

// inPod is this program in the Pod of a share: "share" accepts connections, "files"
// is the process that each of them gets.
func inPod(mode string, args []string) error {
	flags := flag.NewFlagSet("targetio "+mode, flag.ExitOnError)
	listen := flags.String("listen", "", "address on which the share is served")
	keys := flags.String("keys", "", "folder with the server's key and certificate and the client's certificate")
	root := flags.String("root", "", "where the share is mounted")
	source := flags.String("source", "", "the share as the kernel shows it, such as server:/export")
	field := flags.String("field", "", "the field of a target's spec that names the share")
	_ = flags.Parse(args)
	if *root == "" || flags.NArg() > 0 {
		return errors.New("--root is required, and there are no arguments besides flags")
	}
	if mode == "files" {
		return share.Files(store.Serve(*root, *source, *field))
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	return share.Serve(ctx, l, share.Options{
		Keys: *keys, Command: []string{self, "files", "--root", *root, "--source", *source, "--field", *field},
		AtOnce: atOnce, Log: slog.Default(),
	})
}
