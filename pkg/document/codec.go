package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// MaxBytes bounds a document. A VM with 256 disks and as many full Secrets
// would be larger; such a VM is refused when it is captured.
const MaxBytes = 8 << 20

// ErrVersion is wrapped when a document is of a format that is not known.
var ErrVersion = errors.New("unknown format version")

// Encode writes a whole point's document and tells its digest. The same
// document always gives the same bytes. d is not changed; its Digest is not
// looked at.
func Encode(d *Document) (data []byte, sum string, err error) { return encode(d, false) }

// EncodeDraft writes a document that has no disks yet.
func EncodeDraft(d *Document) (data []byte, sum string, err error) { return encode(d, true) }

// Parse reads a whole point's document. What it returns is as Encode took it.
func Parse(data []byte) (*Document, error) { return parse(data, false) }

// ParseDraft reads a document that has no disks yet.
func ParseDraft(data []byte) (*Document, error) { return parse(data, true) }

func encode(d *Document, draft bool) ([]byte, string, error) {
	if err := d.validate(draft); err != nil {
		return nil, "", fmt.Errorf("document: %w", err)
	}
	m, err := d.tree()
	if err != nil {
		return nil, "", fmt.Errorf("document: %w", err)
	}
	sum, err := digest(m)
	if err != nil {
		return nil, "", fmt.Errorf("document: %w", err)
	}
	m[digestField] = sum
	data, err := canonical(m)
	if err != nil {
		return nil, "", fmt.Errorf("document: %w", err)
	}
	if len(data) > MaxBytes {
		return nil, "", fmt.Errorf("document: it would be %d bytes, more than the %d that are allowed", len(data), MaxBytes)
	}
	return data, sum, nil
}

func parse(data []byte, draft bool) (*Document, error) {
	m, given, err := checked(data)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	if _, removing := m[removingField]; removing {
		return nil, fmt.Errorf("document: %w", ErrRemoving)
	}
	d := &Document{}
	dec := json.NewDecoder(bytes.NewReader(given))
	dec.DisallowUnknownFields()
	if err := dec.Decode(d); err != nil {
		return nil, fmt.Errorf("document: it does not follow its format: %w", err)
	}
	// encoding/json takes keys in any case and null for anything; writing
	// the document again shows whether that was needed.
	again, err := d.tree()
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	if written, err := canonical(again); err != nil || !bytes.Equal(written, given) {
		return nil, errors.New("document: it does not follow its format: it is not written as Hayloft writes it")
	}
	if err := d.validate(draft); err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return d, nil
}

// checked reads one JSON object within its bounds, of the format and with the
// digest that it should have, and writes it in the canonical way.
func checked(data []byte) (m map[string]any, given []byte, err error) {
	if len(data) > MaxBytes {
		return nil, nil, fmt.Errorf("it is larger than the %d bytes that are allowed", MaxBytes)
	}
	if m, err = tree(data); err != nil {
		return nil, nil, err
	}
	if v, ok := m["formatVersion"].(json.Number); !ok || v.String() != fmt.Sprint(FormatVersion) && v.String() != fmt.Sprint(FormatSealed) {
		return nil, nil, fmt.Errorf("%w %s: this Hayloft reads versions %d and %d; use one that knows it",
			ErrVersion, shown(m["formatVersion"]), FormatVersion, FormatSealed)
	}
	want, err := digest(m)
	if err != nil {
		return nil, nil, err
	}
	if m[digestField] != want {
		return nil, nil, fmt.Errorf("its digest is %s, but its content's is %s: it was damaged or changed", shown(m[digestField]), want)
	}
	given, err = canonical(m)
	return m, given, err
}

// tree is the document as generic JSON, its times in UTC.
func (d *Document) tree() (map[string]any, error) {
	c := *d
	c.Point.CutAt = c.Point.CutAt.UTC()
	c.Point.CreatedAt = c.Point.CreatedAt.UTC()
	data, err := json.Marshal(&c)
	if err != nil {
		return nil, err
	}
	return tree(data)
}

// shown is a value from a document for an error: bounded and quoted.
func shown(v any) string {
	s := fmt.Sprint(v)
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return fmt.Sprintf("%q", s)
}
