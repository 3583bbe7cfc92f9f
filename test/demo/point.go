package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// point is one backup: what was on the disks, what was seen of the restored.
type point struct {
	name          string
	uploaded      map[string]int64  // disk -> bytes newly written to the target
	incremental   map[string]bool   // disk -> whether there was a base
	before, after map[string]string // disk -> sha256
	tree          string            // digest of the file tree
	treeAfter     string
	files         int
	clean         error // what e2fsck says of the restored file system
	backupTook    time.Duration
	restoreTook   time.Duration
}

var disks = []string{"root", "data"}

// backup takes one point. The guest keeps still for as long as its disks are
// hashed and cut, so that the hash of a whole disk is the point's.
func (d *demo) backup(ctx context.Context, name string) (point, error) {
	p := point{name: name, before: map[string]string{}, after: map[string]string{}, uploaded: map[string]int64{}, incremental: map[string]bool{}}
	if _, err := d.vm(ctx, "quiet", source); err != nil {
		return p, err
	}
	for _, disk := range disks {
		sum, err := d.vm(ctx, "hash", source, "--disk", disk)
		if err != nil {
			return p, err
		}
		p.before[disk] = sum
	}
	var err error
	if p.tree, p.files, err = manifest(ctx, d.dir, d.tree); err != nil {
		return p, err
	}
	say("Backup %q", name)
	start := time.Now()
	if err := d.hayloft(ctx, "backup", "create", source, "--name", name, "--target", target, "-n", namespace, "--wait"); err != nil {
		return p, err
	}
	p.backupTook = time.Since(start)
	if _, err := d.vm(ctx, "resume", source); err != nil {
		return p, err
	}
	var b v1alpha1.VMBackup
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &b); err != nil {
		return p, fmt.Errorf("reading backup %s: %w", name, err)
	}
	for _, disk := range b.Status.Disks {
		p.incremental[disk.Name] = disk.Incremental
		if disk.UploadedBytes != nil {
			p.uploaded[disk.Name] = *disk.UploadedBytes
		}
	}
	return p, nil
}

// restore makes a new VM of a point and looks at its disks.
func (d *demo) restore(ctx context.Context, p *point) error {
	vm := source + "-" + p.name
	say("Restore of %q to the new VM %s", p.name, vm)
	start := time.Now()
	if err := d.hayloft(ctx, "restore", "create", p.name, "--new-vm", vm, "--halt", "-n", namespace, "--wait"); err != nil {
		return err
	}
	p.restoreTook = time.Since(start)
	var list v1alpha1.VMRestoreList
	if err := d.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("listing restores: %w", err)
	}
	for _, r := range list.Items {
		if r.Spec.NewVM != vm {
			continue
		}
		for _, disk := range r.Status.Disks {
			sum, err := d.disk(ctx, "sha256", disk.Claim)
			if err != nil {
				return err
			}
			p.after[disk.Name] = sum
			if disk.Name != "root" {
				continue
			}
			if err := d.lookInside(ctx, p, disk.Claim); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *demo) lookInside(ctx context.Context, p *point, claim string) error {
	image := filepath.Join(d.dir, "restored-"+p.name+".img")
	if _, err := d.disk(ctx, "export", claim, "--file", image); err != nil {
		return err
	}
	defer func() { _ = os.Remove(image) }()
	if err := os.Truncate(image, treeSize); err != nil {
		return fmt.Errorf("cutting the file system out of the disk: %w", err)
	}
	p.clean = checkTree(ctx, image)
	var err error
	p.treeAfter, _, err = manifest(ctx, d.dir, image)
	return err
}

// report prints the table and tells whether all is equal.
func report(points []point) error {
	say("What was proven")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "point\tdisk\tkind\tuploaded\tsha256 before\tsha256 after\tequal\tfile system\tbackup\trestore")
	var wrong []string
	for _, p := range points {
		for _, disk := range disks {
			equal := p.before[disk] != "" && p.before[disk] == p.after[disk]
			inside := "-"
			if disk == "root" {
				inside = p.inside()
			}
			if !equal || strings.Contains(inside, "NOT") {
				wrong = append(wrong, p.name+"/"+disk)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.name, disk, kind(p.incremental[disk]), megabytes(p.uploaded[disk]),
				head(p.before[disk]), head(p.after[disk]), yes(equal), inside, seconds(p.backupTook), seconds(p.restoreTook))
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	if len(points) == 2 && points[0].before["root"] == points[1].before["root"] {
		wrong = append(wrong, "the change between the points changed nothing")
	}
	if len(wrong) > 0 {
		return errors.New("different: " + strings.Join(wrong, ", "))
	}
	fmt.Println("\nEvery disk of every point came back bit by bit.")
	return nil
}

func (p point) inside() string {
	switch {
	case p.clean != nil:
		return "NOT clean"
	case p.tree == "" || p.tree != p.treeAfter:
		return "clean, tree NOT equal"
	}
	return "clean, " + strconv.Itoa(p.files) + " files equal"
}

func kind(incremental bool) string {
	if incremental {
		return "incremental"
	}
	return "full"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

func head(sum string) string { return sum[:min(len(sum), 12)] }

func megabytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/mib) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
