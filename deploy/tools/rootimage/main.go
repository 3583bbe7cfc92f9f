// Command rootimage makes an image from a root folder, of one layer and under as many names as are wanted: a tar for
// `ctr images import`. It is for what tests run; Hayloft's own images are made by package image.
package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hayloft.dev/deploy/tools/image"
)

func main() {
	root := flag.String("root", "", "folder that is the image's root")
	names := flag.String("names", "", "names of the image, with commas between them")
	out := flag.String("out", "", "file to write")
	flag.Parse()
	if err := run(*root, *names, *out); err != nil {
		fmt.Fprintln(os.Stderr, "rootimage:", err)
		os.Exit(1)
	}
}

func run(root, names, out string) (err error) {
	if root == "" || names == "" || out == "" {
		return errors.New("-root, -names and -out must be given")
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return archive(root), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return fmt.Errorf("packing %s: %w", root, err)
	}
	made := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if made, err = mutate.AppendLayers(made, layer); err != nil {
		return fmt.Errorf("adding the layer: %w", err)
	}
	config, err := made.ConfigFile()
	if err != nil {
		return fmt.Errorf("configuring the image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}}
	if made, err = mutate.ConfigFile(made, config); err != nil {
		return fmt.Errorf("configuring the image: %w", err)
	}
	images := map[string]v1.Image{}
	for name := range strings.SplitSeq(names, ",") {
		images[name] = made
	}
	layout, err := os.MkdirTemp(filepath.Dir(out), "layout-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(layout)) }()
	folder := filepath.Join(layout, "oci")
	if err := image.WriteLayout(folder, images); err != nil {
		return err
	}
	return image.PackLayout(folder, out, time.Unix(0, 0))
}

// archive is the folder as a tar.
func archive(root string) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() {
		w := tar.NewWriter(writer)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || path == root {
				return err
			}
			return add(w, root, path, entry)
		})
		writer.CloseWithError(errors.Join(err, w.Close()))
	}()
	return reader
}

func add(w *tar.Writer, root, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	if header.Name, err = filepath.Rel(root, path); err != nil {
		return err
	}
	header.Uid, header.Gid, header.Uname, header.Gname, header.ModTime = 0, 0, "", "", time.Unix(0, 0)
	if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}
