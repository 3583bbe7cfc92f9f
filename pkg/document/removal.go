package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"hayloft.dev/pkg/names"
)

// ErrRemoving is wrapped by Parse when a point is being removed from where it
// lies: what is there is a Removal, not a document.
var ErrRemoving = errors.New("the point is being removed")

// removingField tells a Removal from a document. No format of a document has it.
const removingField = "removing"

// MaxRemoved bounds the backups of a Removal: the attempts of all disks.
const MaxRemoved = 32768

// Removal takes a point's document's place before any of its data is removed,
// and stays until all of it is. From then on nobody takes the point for one
// that can be restored, its Secrets are gone, and whoever finds the Removal,
// here or in another cluster that shares the target, can finish the deletion
// with nothing but it.
type Removal struct {
	FormatVersion int `json:"formatVersion"`
	// Digest as in a Document.
	Digest string `json:"digest,omitempty"`
	// Removing is true.
	Removing bool  `json:"removing"`
	Point    Point `json:"point"`
	// Backups are what is to be removed, those of failed attempts among them.
	Backups []RemovedBackup `json:"backups,omitempty"`
}

// RemovedBackup names one Longhorn backup.
type RemovedBackup struct {
	Volume string `json:"volume"`
	Backup string `json:"backup"`
}

// EncodeRemoval writes a Removal; FormatVersion, Digest and Removing are set
// by it.
func EncodeRemoval(r Removal) ([]byte, error) {
	r.FormatVersion, r.Removing, r.Digest = FormatVersion, true, ""
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("removal: %w", err)
	}
	m, err := r.tree()
	if err != nil {
		return nil, fmt.Errorf("removal: %w", err)
	}
	if m[digestField], err = digest(m); err != nil {
		return nil, fmt.Errorf("removal: %w", err)
	}
	data, err := canonical(m)
	if err != nil {
		return nil, fmt.Errorf("removal: %w", err)
	}
	return data, nil
}

// ParseRemoval reads what EncodeRemoval wrote.
func ParseRemoval(data []byte) (*Removal, error) {
	_, given, err := checked(data)
	if err != nil {
		return nil, fmt.Errorf("removal: %w", err)
	}
	r := &Removal{}
	dec := json.NewDecoder(bytes.NewReader(given))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("removal: it does not follow format %d: %w", FormatVersion, err)
	}
	if r.FormatVersion != FormatVersion {
		return nil, fmt.Errorf("removal: %w %d", ErrVersion, r.FormatVersion)
	}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("removal: %w", err)
	}
	return r, nil
}

func (r *Removal) tree() (map[string]any, error) {
	c := *r
	c.Point.CutAt = c.Point.CutAt.UTC()
	c.Point.CreatedAt = c.Point.CreatedAt.UTC()
	data, err := json.Marshal(&c)
	if err != nil {
		return nil, err
	}
	return tree(data)
}

func (r *Removal) validate() error {
	if !r.Removing {
		return errors.New("it does not say that the point is being removed")
	}
	if err := checkPoint(r.Point.Namespace, r.Point.Name, r.Point.UID); err != nil {
		return err
	}
	if len(r.Backups) > MaxRemoved {
		return fmt.Errorf("it names %d backups, more than the %d that are allowed", len(r.Backups), MaxRemoved)
	}
	for _, b := range r.Backups {
		if err := CheckEngineName("volume", b.Volume); err != nil {
			return err
		}
		if err := CheckEngineName("backup", b.Backup); err != nil {
			return err
		}
		// What it names is deleted: see checkOwn.
		if of, ok := names.BackupPoint(b.Backup); !ok || of != r.Point.UID {
			return fmt.Errorf("backup %s was not made for this point", shown(b.Backup))
		}
	}
	return nil
}
