package image

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

// program is a small one, built without cgo as the real ones are, in a folder under
// all names that images need.
func program(t *testing.T) (folder string) {
	t.Helper()
	source := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module small\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() {}\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(source, name), []byte(text), 0o644))
	}
	cmd := exec.Command("go", "build", "-o", "small", ".")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return spread(t, filepath.Join(source, "small"))
}

// spread puts a program into a folder under all names that images need.
func spread(t *testing.T, program string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	data, err := os.ReadFile(program)
	require.NoError(t, err)
	for _, i := range Images() {
		for _, name := range i.Programs {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), data, 0o700))
		}
	}
	return folder
}

func build(t *testing.T, folder string) map[string]v1.Image {
	t.Helper()
	images := map[string]v1.Image{}
	for _, i := range Images() {
		image, err := Build(i, Options{Folder: folder, Version: "1.2.3", Created: time.Unix(1000, 0).UTC(), Authorities: Authorities()})
		require.NoError(t, err)
		images["hayloft.dev/"+i.Name+":1.2.3"] = image
	}
	return images
}

// TestReproducible: the same programs give the same images and the same tar, in
// whatever folder they lie and whenever they were written there.
func TestReproducible(t *testing.T) {
	var tars [][]byte
	first := program(t)
	for i := range 2 {
		folder := spread(t, filepath.Join(first, "agent"))
		old := time.Unix(int64(5000*(i+1)), 0)
		for _, image := range Images() {
			require.NoError(t, os.Chtimes(filepath.Join(folder, image.Programs[0]), old, old))
		}
		into := filepath.Join(t.TempDir(), "oci")
		require.NoError(t, WriteLayout(into, build(t, folder)))
		require.NoError(t, PackLayout(into, into+".tar", time.Unix(1000, 0)))
		data, err := os.ReadFile(into + ".tar")
		require.NoError(t, err)
		tars = append(tars, data)
	}
	require.True(t, bytes.Equal(tars[0], tars[1]))
}

// TestContents: an image has its programs, the authorities and nothing else, and is
// run by nobody in particular.
func TestContents(t *testing.T) {
	into := filepath.Join(t.TempDir(), "oci")
	require.NoError(t, WriteLayout(into, build(t, program(t))))
	index, err := layout.ImageIndexFromPath(into)
	require.NoError(t, err)
	require.NoError(t, validate.Index(index))
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, len(Images()))
	for n, i := range Images() { // both in the order of names
		d := manifest.Manifests[n]
		require.Equal(t, "hayloft.dev/"+i.Name+":1.2.3", d.Annotations["io.containerd.image.name"])
		require.Equal(t, "amd64", d.Platform.Architecture)
		image, err := index.Image(d.Digest)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		require.Equal(t, "65532:65532", config.Config.User)
		require.Equal(t, []string{"/usr/local/bin/" + i.Programs[0]}, config.Config.Entrypoint)
		want := []string{"etc/ssl/certs/ca-certificates.crt 644"}
		for _, name := range i.Programs {
			want = append(want, "usr/local/bin/"+name+" 755")
		}
		require.ElementsMatch(t, want, files(t, image))
	}
}

func files(t *testing.T, image v1.Image) (all []string) {
	t.Helper()
	content := mutate.Extract(image)
	defer content.Close()
	r := tar.NewReader(content)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		require.Zero(t, h.Uid+h.Gid, "nobody who runs it may change it")
		require.Zero(t, h.Mode&0o022, h.Name)
		if h.Typeflag == tar.TypeReg {
			all = append(all, fmt.Sprintf("%s %o", h.Name, h.Mode))
		}
	}
}

// TestRefused: a program that would not run in its image is no part of one.
func TestRefused(t *testing.T) {
	folder := program(t)
	_, err := Build(Image{Name: "x", Programs: []string{"nothing"}}, Options{Folder: folder})
	require.ErrorContains(t, err, "nothing")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "targetio"), []byte("#!/bin/sh\n"), 0o755))
	_, err = Build(Images()[1], Options{Folder: folder})
	require.ErrorContains(t, err, "targetio")
}

func TestAuthorities(t *testing.T) {
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(Authorities()))
	require.Greater(t, bytes.Count(Authorities(), []byte("BEGIN CERTIFICATE")), 80)
}

// TestDockerfile: it makes what this package makes.
func TestDockerfile(t *testing.T) {
	data, err := os.ReadFile("../../images/Dockerfile")
	require.NoError(t, err)
	stages := map[string]string{} // name -> its lines
	for _, stage := range strings.Split(string(data), "\nFROM ")[1:] {
		head, body, _ := strings.Cut(stage, "\n")
		_, name, _ := strings.Cut(head, " AS ")
		stages[name] = head + "\n" + body
	}
	require.Contains(t, stages["base"], "scratch AS base\n")
	require.Contains(t, stages["base"], "USER "+user+"\n")
	require.Contains(t, stages["build"], "go run ./images -authorities /out/ca-certificates.crt\n", "not those of the image that builds")
	require.Contains(t, stages["base"], "COPY --from=build /out/ca-certificates.crt "+certificates+"\n")
	require.Contains(t, stages["base"], "ENV PATH="+programs+"\n")
	for _, i := range Images() {
		copied := "COPY --from=build"
		for _, name := range i.Programs {
			copied += " /out/" + name
			require.Contains(t, stages["build"], "build "+name+" ./")
		}
		require.Contains(t, stages[i.Name], copied+" "+programs+"/\n")
		require.Contains(t, stages[i.Name], fmt.Sprintf("ENTRYPOINT [%q]", programs+"/"+i.Programs[0]))
	}
	require.Len(t, stages, len(Images())+2)
}
