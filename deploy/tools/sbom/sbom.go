// Package sbom says what a program is made of, as a CycloneDX document, from what
// the Go linker wrote into the program itself.
package sbom

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// Of is the document of an image: its programs, and every module that was linked
// into them, in JSON. The same programs give the same document.
func Of(image, version string, programs ...string) ([]byte, error) {
	bom := cyclonedx.NewBOM()
	subject := "pkg:oci/" + image + "@" + version
	bom.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		BOMRef: subject, Type: cyclonedx.ComponentTypeContainer, Name: image, Version: version,
	}}
	modules := map[string]cyclonedx.Component{} // purl -> component
	var components []cyclonedx.Component
	var dependencies []cyclonedx.Dependency
	var names []string
	for _, path := range programs {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", path, err)
		}
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", path, err)
		}
		sum := sha256.Sum256(data)
		name := filepath.Base(path)
		components = append(components, cyclonedx.Component{
			BOMRef: name, Type: cyclonedx.ComponentTypeApplication, Name: name, Version: version,
			Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		})
		names = append(names, name)
		linked := []string{}
		for _, m := range append(modulesOf(info), standardLibrary(info)) {
			modules[m.BOMRef] = m
			linked = append(linked, m.BOMRef)
		}
		slices.Sort(linked)
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: name, Dependencies: &linked})
	}
	var all []string
	for purl := range modules {
		all = append(all, purl)
	}
	slices.Sort(all)
	for _, purl := range all {
		components = append(components, modules[purl])
	}
	dependencies = append([]cyclonedx.Dependency{{Ref: subject, Dependencies: &names}}, dependencies...)
	bom.Components, bom.Dependencies = &components, &dependencies

	var out bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON)
	if err := encoder.SetPretty(true).Encode(bom); err != nil {
		return nil, fmt.Errorf("writing what %s is made of: %w", image, err)
	}
	return out.Bytes(), nil
}

func modulesOf(info *debug.BuildInfo) []cyclonedx.Component {
	var all []cyclonedx.Component
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := library(m.Path, m.Version)
		if m.Sum != "" {
			c.Properties = &[]cyclonedx.Property{{Name: "go:sum", Value: m.Sum}}
		}
		all = append(all, c)
	}
	return all
}

func standardLibrary(info *debug.BuildInfo) cyclonedx.Component {
	return library("stdlib", strings.TrimPrefix(info.GoVersion, "go"))
}

func library(path, version string) cyclonedx.Component {
	purl := "pkg:golang/" + path + "@" + version
	return cyclonedx.Component{BOMRef: purl, PackageURL: purl, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version}
}
