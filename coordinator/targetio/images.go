package main

import (
	"context"
	"errors"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// maxImages bounds Harvester's files of images that are read for one restore.
const maxImages = 1000

// errEnough ends a listing that has been long enough.
var errEnough = errors.New("enough files were listed")

// sources says of disks over images that can be fetched from nowhere, as far as the
// document knows, whether Longhorn has backed them up to this target: Harvester keeps
// a file of each such image beside its backups. They are told by their content.
func (w *worker) sources(ctx context.Context, d *document.Document) error {
	unknown := map[string][]*v1alpha1.BackingImage{} // checksum -> images
	for i := range d.Disks {
		if b := d.Disks[i].BackingImage; b != nil && (b.Source == nil || b.Source.URL == "") {
			unknown[b.Checksum] = append(unknown[b.Checksum], b)
		}
	}
	if len(unknown) == 0 || w.store == nil {
		return nil
	}
	var files []string
	err := w.store.Walk(ctx, document.HarvesterImageDir, func(f store.File) error {
		if len(files) == maxImages {
			return errEnough
		}
		if f.Size <= document.MaxImageBytes {
			files = append(files, f.Path)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	for _, path := range files {
		if len(unknown) == 0 {
			break
		}
		data, err := w.read(ctx, path)
		if err != nil && asError(err).Reason == protocol.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		image, err := document.ParseHarvesterImage(path, data)
		if err != nil {
			continue // it is of no use, and harms nothing
		}
		for _, b := range unknown[image.Checksum] {
			if b.Source == nil {
				b.Source = image.Source
			}
			b.Source.URL, b.Source.Backup = image.Source.URL, true
		}
		delete(unknown, image.Checksum)
	}
	return nil
}
