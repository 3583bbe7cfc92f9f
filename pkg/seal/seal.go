// Package seal encrypts and decrypts with age (X25519), so that whoever can read
// a backup target cannot read the Secrets on it: to several recipients, of which
// each identity alone opens what was sealed.
//
// It knows nothing of what it encrypts, and keeps neither keys nor plain text. No
// error of it shows an identity or any of the plain text.
package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// MaxRecipients bounds those of one sealing; each adds about 200 bytes.
const MaxRecipients = 16

// maxIdentities bounds those of one file: each is tried on each recipient.
const maxIdentities = 64

// ErrNoMatch says that none of the identities is one of the recipients'.
var ErrNoMatch = errors.New("none of the identities is that of a recipient")

// CheckRecipient refuses what is not an age public key of kind X25519.
func CheckRecipient(recipient string) error {
	_, err := parseRecipient(recipient)
	return err
}

// parseRecipient shows nothing of a secret key that somebody took for a public
// one.
func parseRecipient(s string) (age.Recipient, error) {
	r, err := age.ParseX25519Recipient(s)
	switch {
	case err == nil:
		return r, nil
	case strings.HasPrefix(strings.ToUpper(strings.TrimSpace(s)), "AGE-SECRET-KEY-"):
		return nil, errors.New("it is an age secret key, which belongs into a Secret: give its public key (age1...), and make a new pair, since this one was shown")
	}
	return nil, fmt.Errorf("%.80q is not an age public key (age1...)", s)
}

// Seal encrypts plain to each of the recipients.
func Seal(plain []byte, recipients []string) ([]byte, error) {
	if len(recipients) == 0 || len(recipients) > MaxRecipients {
		return nil, fmt.Errorf("there are %d recipients; 1 to %d are allowed", len(recipients), MaxRecipients)
	}
	to := make([]age.Recipient, 0, len(recipients))
	for _, s := range recipients {
		r, err := parseRecipient(s)
		if err != nil {
			return nil, err
		}
		to = append(to, r)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, fmt.Errorf("beginning to encrypt: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return out.Bytes(), nil
}

// Open decrypts what Seal has made, up to limit bytes. It wraps ErrNoMatch when
// it was sealed to others.
func Open(sealed []byte, keys *Identities, limit int64) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), keys.list...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, ErrNoMatch
	case err != nil:
		return nil, fmt.Errorf("it is not encrypted as age does it: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("decrypting: it was damaged or changed: %w", err)
	}
	if int64(len(plain)) > limit {
		return nil, fmt.Errorf("decrypted it is larger than the %d bytes that are allowed", limit)
	}
	return plain, nil
}

// Identities open what was sealed to any of their recipients.
type Identities struct {
	list       []age.Identity
	recipients []string
}

// ParseIdentities reads an identity file: an age secret key a line, and lines
// that are empty or begin with #.
func ParseIdentities(data []byte) (*Identities, error) {
	out := &Identities{}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			// age's own error may quote what it was given.
			return nil, fmt.Errorf("line %d is not an age secret key (AGE-SECRET-KEY-1...)", i+1)
		}
		if len(out.list) == maxIdentities {
			return nil, fmt.Errorf("there are more than %d identities", maxIdentities)
		}
		out.list = append(out.list, id)
		out.recipients = append(out.recipients, id.Recipient().String())
	}
	if len(out.list) == 0 {
		return nil, errors.New("there is no age secret key (AGE-SECRET-KEY-1...) in it")
	}
	return out, nil
}

// Recipients are the public keys of the identities, in their order.
func (k *Identities) Recipients() []string { return k.recipients }

// Generate makes a new identity, which is a secret, and its recipient.
func Generate() (identity, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("making an age key: %w", err)
	}
	return id.String(), id.Recipient().String(), nil
}
