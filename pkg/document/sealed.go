package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of what is sealed.
const (
	maxRecipients = 16
	maxRecipient  = 128
)

// plain is what is encrypted. It names the point that it is of: whoever may write
// to a target could otherwise put it into the document of a point of his own, and
// have the Secrets restored where he may read them.
type plain struct {
	Origin  Origin   `json:"origin"`
	Point   string   `json:"point"` // namespace/name/UID
	Secrets []Secret `json:"secrets"`
}

func (d *Document) pointName() string {
	return strings.Join([]string{d.Point.Namespace, d.Point.Name, string(d.Point.UID)}, "/")
}

// Plain is the document's Secrets as they are to be encrypted; nil if it has none.
func (d *Document) Plain() ([]byte, error) {
	if len(d.Secrets) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(plain{Origin: d.Origin, Point: d.pointName(), Secrets: d.Secrets})
	if err != nil {
		return nil, errors.New("document: its Secrets cannot be written") // the cause could quote them
	}
	return data, nil
}

// Seal puts in what Plain was encrypted to, in place of the Secrets' values.
func (d *Document) Seal(sealed []byte, recipients []string) {
	d.FormatVersion, d.SecretsEncrypted = FormatSealed, true
	d.Sealed, d.Recipients = sealed, recipients
	secrets := make([]Secret, 0, len(d.Secrets))
	for _, s := range d.Secrets {
		secrets = append(secrets, Secret{Name: s.Name, Type: s.Type})
	}
	d.Secrets = secrets
}

// Opened returns the Secrets of a sealed document out of what was decrypted. It
// refuses those of another point.
func (d *Document) Opened(decrypted []byte) ([]Secret, error) {
	var p plain
	dec := json.NewDecoder(bytes.NewReader(decrypted))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, errors.New("document: what is encrypted in it is not what Hayloft writes")
	}
	if p.Origin != d.Origin || p.Point != d.pointName() {
		return nil, fmt.Errorf("document: the Secrets that are encrypted in it are of point %s: they were put into another point's document", shown(p.Point))
	}
	same := slices.EqualFunc(p.Secrets, d.Secrets, func(a, b Secret) bool { return a.Name == b.Name && a.Type == b.Type })
	if !same {
		return nil, errors.New("document: the Secrets that are encrypted in it are not those that it names")
	}
	c := *d
	c.Secrets = p.Secrets
	if err := c.checkConfig(); err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return p.Secrets, nil
}

func (d *Document) checkSealed() error {
	if d.FormatVersion == FormatVersion {
		if d.SecretsEncrypted || len(d.Sealed) > 0 || len(d.Recipients) > 0 {
			return fmt.Errorf("format %d has no encrypted secrets", FormatVersion)
		}
		return nil
	}
	if !d.SecretsEncrypted || len(d.Sealed) == 0 || len(d.Secrets) == 0 {
		return fmt.Errorf("format %d has encrypted secrets", FormatSealed)
	}
	for _, s := range d.Secrets {
		if len(s.Data) > 0 {
			return fmt.Errorf("its Secret %s has values that are not encrypted", s.Name)
		}
	}
	if len(d.Recipients) == 0 || len(d.Recipients) > maxRecipients {
		return fmt.Errorf("it names %d recipients; 1 to %d are allowed", len(d.Recipients), maxRecipients)
	}
	for _, r := range d.Recipients {
		if len(r) > maxRecipient || !strings.HasPrefix(r, "age1") {
			return fmt.Errorf("%s is not an age public key", shown(r))
		}
	}
	return nil
}

// Readable is how many Secrets anybody can read who can read the document.
func (d *Document) Readable() int {
	if d.SecretsEncrypted {
		return 0
	}
	return len(d.Secrets)
}
