// Command demo shows the main job on one machine: a virtual machine with two
// disks is backed up twice, deleted with its volumes, and restored from each
// backup to a new virtual machine whose disks are then proven equal.
//
// The API server, the Longhorn engines and the S3 server are real; what stands
// in for Longhorn's manager and KubeVirt is said in deploy/local. It is a show
// and a check: it ends with 1 on any difference.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// limit bounds the whole show; a warm one takes under two minutes.
const limit = 20 * time.Minute

func main() {
	bin := flag.String("bin", "bin", "directory of the built programs")
	keep := flag.Bool("keep", false, "keep the work directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := run(ctx, *bin, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, keep bool) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return fmt.Errorf("finding %s: %w", bin, err)
	}
	dir, err := os.MkdirTemp("", "hayloft-demo-")
	if err != nil {
		return fmt.Errorf("making a work directory: %w", err)
	}
	defer func() {
		if keep || err != nil {
			fmt.Println("logs and files are kept in", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()

	say("Starting the local stack: API server, Longhorn engines, S3, 3 agents, 2 coordinators")
	s, err := startStack(ctx, bin, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	d := &demo{stack: s, dir: dir}
	points, err := d.backups(ctx)
	if err != nil {
		return err
	}
	say("Losing it: the VM and both its volumes are deleted")
	if err := d.lose(ctx); err != nil {
		return err
	}
	for i := range points {
		if err := d.restore(ctx, &points[i]); err != nil {
			return err
		}
	}
	return report(points)
}

// backups makes the VM and takes two points of it, changing its data between.
func (d *demo) backups(ctx context.Context) ([]point, error) {
	say("Making a VM with two disks: an ext4 file system with Go's standard library, and random data")
	if err := d.makeVM(ctx); err != nil {
		return nil, err
	}
	first, err := d.backup(ctx, "first")
	if err != nil {
		return nil, err
	}
	say("Changing the data: files added, changed and removed on disk root, 6 MiB rewritten on disk data")
	if err := d.change(ctx); err != nil {
		return nil, err
	}
	second, err := d.backup(ctx, "second")
	if err != nil {
		return nil, err
	}
	return []point{first, second}, nil
}

var began = time.Now()

func say(format string, args ...any) {
	fmt.Printf("\n[%5.1fs] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}
