package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// longhorn reads Longhorn's one file. Where the file is the input of a Helm chart it has a template expression behind
// `labels:`, which is not YAML; the labels below it stay.
func longhorn(dir string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(dir, "k8s", "crds.yaml"))
	if err != nil {
		return nil, err
	}
	return regexp.MustCompile(`(?m)^  labels: \{\{-.*$`).ReplaceAll(data, []byte("  labels:")), nil
}

// snapshots reads the three VolumeSnapshot kinds, without the group snapshots.
func snapshots(dir string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "config", "crd", "snapshot.storage.k8s.io_*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no files in config/crd")
	}
	var all [][]byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, bytes.TrimPrefix(data, []byte("---\n")))
	}
	return bytes.Join(all, []byte("\n---\n")), nil
}
