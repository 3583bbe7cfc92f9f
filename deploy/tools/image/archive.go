package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// file of a layer: data, or what is in the file from.
type file struct {
	path string // absolute
	mode int64
	data []byte
	from string
}

// archive returns a function that writes the files and the folders above them as a
// tar in which nothing depends on who wrote it or when.
func archive(files []file, at time.Time) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, folder := range folders(files) {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, ModTime: at, Format: tar.FormatPAX}); err != nil {
				return nil, fmt.Errorf("packing %s: %w", folder, err)
			}
		}
		for _, f := range files {
			if f.from != "" {
				var err error
				if f.data, err = os.ReadFile(f.from); err != nil {
					return nil, err
				}
			}
			name := strings.TrimPrefix(f.path, "/")
			err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: f.mode, Size: int64(len(f.data)), ModTime: at, Format: tar.FormatPAX})
			if err == nil {
				_, err = w.Write(f.data)
			}
			if err != nil {
				return nil, fmt.Errorf("packing %s: %w", f.path, err)
			}
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("packing: %w", err)
		}
		return io.NopCloser(&out), nil
	}
}

// folders above the files, without a leading slash, the upper ones first.
func folders(files []file) []string {
	var all []string
	for _, f := range files {
		for dir := path.Dir(f.path); dir != "/"; dir = path.Dir(dir) {
			all = append(all, strings.TrimPrefix(dir, "/"))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
