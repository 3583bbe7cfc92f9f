// Package image makes Hayloft's OCI images without a daemon: the same as those of
// deploy/images/Dockerfile, byte for byte the same for the same programs, whoever
// makes them, where and when. It builds no program and pushes nothing.
package image

import (
	"debug/buildinfo"
	"fmt"
	"path"
	"runtime/debug"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// user and group of every image are a number: there is no /etc/passwd, and a
	// kubelet can see that it is not root.
	user = "65532:65532"
	// programs is where an image has its programs, certificates where Go looks for
	// the authorities that it trusts.
	programs     = "/usr/local/bin"
	certificates = "/etc/ssl/certs/ca-certificates.crt"
)

// Image is what goes into one.
type Image struct {
	Name     string
	Programs []string // the first one is what it runs
}

// Images are Hayloft's.
func Images() []Image {
	return []Image{
		{Name: "agent", Programs: []string{"agent", "pauser"}},
		{Name: "coordinator", Programs: []string{"coordinator", "targetio"}},
		{Name: "hayloft", Programs: []string{"hayloft"}},
	}
}

// Options of Build.
type Options struct {
	Folder  string    // has the programs
	Version string    // of Hayloft
	Created time.Time // what the image says of when it was made, and its files of when they were
	// Authorities are those that programs trust, as PEM.
	Authorities []byte
}

// Build makes an image. Its platform is that of its programs.
func Build(i Image, o Options) (v1.Image, error) {
	var platform v1.Platform
	var executables []file
	for _, name := range i.Programs {
		from := path.Join(o.Folder, name)
		info, err := buildinfo.ReadFile(from)
		if err != nil {
			return nil, fmt.Errorf("reading how %s was built: %w", from, err)
		}
		is := v1.Platform{OS: setting(info, "GOOS"), Architecture: setting(info, "GOARCH")}
		if setting(info, "CGO_ENABLED") != "0" {
			return nil, fmt.Errorf("%s was built with cgo: there are no libraries in the image", from)
		}
		if platform.OS != "" && !platform.Equals(is) {
			return nil, fmt.Errorf("%s is for %s, the other programs of its image for %s", from, is, platform)
		}
		platform = is
		executables = append(executables, file{path: path.Join(programs, name), mode: 0o755, from: from})
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range [][]file{{{path: certificates, mode: 0o644, data: o.Authorities}}, executables} {
		layer, err := tarball.LayerFromOpener(archive(files, o.Created), tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
		if err != nil {
			return nil, fmt.Errorf("packing image %s: %w", i.Name, err)
		}
		image, err = mutate.Append(image, mutate.Addendum{
			Layer: layer, History: v1.History{Created: v1.Time{Time: o.Created}, CreatedBy: "hayloft.dev/deploy/tools/image"},
		})
		if err != nil {
			return nil, fmt.Errorf("adding a layer to image %s: %w", i.Name, err)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of image %s: %w", i.Name, err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = platform.OS, platform.Architecture, v1.Time{Time: o.Created}
	config.Config = v1.Config{
		User: user, Entrypoint: []string{path.Join(programs, i.Programs[0])}, Env: []string{"PATH=" + programs},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "Hayloft " + i.Name,
			"org.opencontainers.image.version":  o.Version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("configuring image %s: %w", i.Name, err)
	}
	return image, nil
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
