// Command images makes Hayloft's images, or others of one program each, from built
// programs: an OCI layout, a tar of it for `ctr images import`, and beside them what
// is in each image.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hayloft.dev/deploy/tools/image"
	"hayloft.dev/deploy/tools/sbom"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("images", flag.ContinueOnError)
	programs := fs.String("programs", "", "folder with the programs, built without cgo and with -trimpath")
	out := fs.String("out", "", "folder to write to; what is in it is replaced")
	registry := fs.String("registry", "hayloft.dev", "where the images are to be pulled from")
	version := fs.String("version", "dev", "version and tag")
	authorities := fs.String("authorities", "", "file to write the authorities to that programs in images trust, and make no image")
	others := fs.String("others", "", "programs, with commas between them: an image of that name each, in place of Hayloft's")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *authorities != "" {
		if err := os.WriteFile(*authorities, image.Authorities(), 0o644); err != nil {
			return fmt.Errorf("writing the authorities: %w", err)
		}
		return nil
	}
	if *programs == "" || *out == "" {
		return fmt.Errorf("--programs and --out must be given")
	}
	// As reproducible builds have it; without, the beginning of time.
	var seconds int64
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		var err error
		if seconds, err = strconv.ParseInt(epoch, 10, 64); err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
	}
	at := time.Unix(seconds, 0).UTC()
	if err := os.RemoveAll(*out); err != nil {
		return fmt.Errorf("replacing the images: %w", err)
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return fmt.Errorf("replacing the images: %w", err)
	}
	images := map[string]v1.Image{}
	wanted := image.Images()
	if *others != "" {
		wanted = nil
		for name := range strings.SplitSeq(*others, ",") {
			wanted = append(wanted, image.Image{Name: name, Programs: []string{name}})
		}
	}
	for _, i := range wanted {
		built, err := image.Build(i, image.Options{Folder: *programs, Version: *version, Created: at, Authorities: image.Authorities()})
		if err != nil {
			return err
		}
		digest, err := built.Digest()
		if err != nil {
			return fmt.Errorf("reading the digest of image %s: %w", i.Name, err)
		}
		reference := *registry + "/" + i.Name + ":" + *version
		images[reference] = built
		fmt.Println(reference + "@" + digest.String())
		var paths []string
		for _, name := range i.Programs {
			paths = append(paths, filepath.Join(*programs, name))
		}
		made, err := sbom.Of(i.Name, *version, paths...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(*out, i.Name+".cdx.json"), made, 0o644); err != nil {
			return fmt.Errorf("writing what image %s is made of: %w", i.Name, err)
		}
	}
	layout := filepath.Join(*out, "oci")
	if err := image.WriteLayout(layout, images); err != nil {
		return err
	}
	return image.PackLayout(layout, filepath.Join(*out, "hayloft-images.tar"), at)
}
