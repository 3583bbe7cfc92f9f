package image

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// WriteLayout writes images, reference -> image, as an OCI layout into a folder that
// must not exist, under names that containerd and podman take.
func WriteLayout(folder string, images map[string]v1.Image) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var references []string
	for reference := range images {
		references = append(references, reference)
	}
	slices.Sort(references)
	for _, reference := range references {
		config, err := images[reference].ConfigFile()
		if err != nil {
			return fmt.Errorf("reading the configuration of %s: %w", reference, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[reference], Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: config.OS, Architecture: config.Architecture},
			Annotations: map[string]string{"org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference},
		}})
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		return fmt.Errorf("writing images: %w", err)
	}
	if _, err := layout.Write(folder, index); err != nil {
		return fmt.Errorf("writing images: %w", err)
	}
	return nil
}

// PackLayout writes a layout as the tar that `ctr images import` takes.
func PackLayout(folder, into string, at time.Time) (err error) {
	out, err := os.Create(into)
	if err != nil {
		return fmt.Errorf("packing images: %w", err)
	}
	defer func() {
		if cerr := out.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("packing images: %w", cerr)
		}
	}()
	w := tar.NewWriter(out)
	// WalkDir goes in the order of names.
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Mode: 0o644, Size: info.Size(), ModTime: at, Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err = io.Copy(w, in)
		return err
	})
	if err != nil {
		return fmt.Errorf("packing images: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("packing images: %w", err)
	}
	return nil
}
