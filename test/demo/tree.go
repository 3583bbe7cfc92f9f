package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

const mib = 1 << 20

// Sizes of the two disks. The file system leaves the last 4 MiB of its disk
// to the guest, which keeps writing there while it runs.
const (
	rootSize = 320 * mib
	treeSize = 312 * mib
	dataSize = 96 * mib
)

// makeTree makes an ext4 image that holds Go's standard library.
func makeTree(ctx context.Context, image string) error {
	goroot, err := output(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	if err := truncate(image, treeSize); err != nil {
		return err
	}
	_, err = output(ctx, tool("mke2fs"), "-q", "-F", "-t", "ext4", "-b", "4096", "-E", "root_owner=0:0", "-d", filepath.Join(goroot, "src"), image)
	return err
}

// changeTree adds, changes and removes files in an ext4 image without a mount.
func changeTree(ctx context.Context, dir, image string) error {
	added := filepath.Join(dir, "added.txt")
	if err := os.WriteFile(added, []byte(strings.Repeat("a day's work\n", 20_000)), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", added, err)
	}
	commands := filepath.Join(dir, "debugfs.commands")
	script := strings.Join([]string{
		"write " + added + " ADDED.txt",
		"rm fmt/doc.go",
		"rm net/http/doc.go",
		"write " + added + " net/http/doc.go",
		"mkdir new",
		"write " + added + " new/file.txt",
	}, "\n") + "\n"
	if err := os.WriteFile(commands, []byte(script), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", commands, err)
	}
	_, err := output(ctx, tool("debugfs"), "-w", "-f", commands, image)
	return err
}

// checkTree proves that an image is a clean file system.
func checkTree(ctx context.Context, image string) error {
	_, err := output(ctx, tool("e2fsck"), "-f", "-n", image)
	return err
}

// manifest is a digest over path, mode, size and content of every file in an
// ext4 image, and their number.
func manifest(ctx context.Context, dir, image string) (digest string, files int, err error) {
	tree, err := os.MkdirTemp(dir, "tree-")
	if err != nil {
		return "", 0, fmt.Errorf("making a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(tree) }()
	if _, err := output(ctx, tool("debugfs"), "-R", "rdump / "+tree, image); err != nil {
		return "", 0, err
	}
	var lines []string
	err = filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x %s %d %s", sha256.Sum256(content), info.Mode(), len(content), rel))
		return nil
	})
	if err != nil {
		return "", 0, fmt.Errorf("reading the tree of %s: %w", image, err)
	}
	sort.Strings(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:]), len(lines), nil
}

// tool finds a program of e2fsprogs, which may not be in a user's path.
func tool(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return filepath.Join("/sbin", name)
}

func truncate(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("making %s: %w", path, err)
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("sizing %s: %w", path, err)
	}
	return f.Close()
}
