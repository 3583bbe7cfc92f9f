package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDepth of nested objects and arrays; a VirtualMachine's own schema nests
// less than 20 deep.
const maxDepth = 64

// maxValues of a document, keys among them. A VM with 256 disks has some ten thousand;
// each takes several hundred bytes of memory once it is read, however short it is.
const maxValues = 1 << 17

// digestField is the field that a digest cannot cover.
const digestField = "digest"

// tree reads data as one JSON object without doubled keys, trailing data or
// too deep nesting. Numbers stay as they are written.
func tree(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("it is not valid UTF-8")
	}
	if err := walk(data); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("it is not a JSON object: %w", err)
	}
	if m == nil {
		return nil, errors.New("it is not a JSON object")
	}
	return m, nil
}

// level is one open object or array of a walk.
type level struct {
	// keys seen so far; nil in an array.
	keys map[string]bool
	// inValue is true between an object's key and its value.
	inValue bool
}

// walk checks what encoding/json does not: depth, how many values there are, doubled
// keys (of which it would silently take the last) and trailing data. It takes no memory
// to speak of, so that what is too much is refused before it does.
func walk(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var stack []level
	for values := 1; ; values++ {
		if values > maxValues {
			return fmt.Errorf("it has more than %d values", maxValues)
		}
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && len(stack) == 0 {
			return errors.New("it is empty")
		}
		if err != nil {
			return fmt.Errorf("it is not JSON: %w", err)
		}
		top := len(stack) - 1
		if key, ok := token.(string); ok && top >= 0 && stack[top].keys != nil && !stack[top].inValue {
			if stack[top].keys[key] {
				return fmt.Errorf("key %q is there twice in one object", key)
			}
			stack[top].keys[key] = true
			stack[top].inValue = true
			continue
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
		}
		if len(stack) > maxDepth {
			return fmt.Errorf("it is nested deeper than %d", maxDepth)
		}
		if n := len(stack); n > 0 && (token != json.Delim('{') && token != json.Delim('[')) {
			stack[n-1].inValue = false
		}
		if len(stack) == 0 {
			break
		}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// canonical writes a tree with sorted keys, no white space and no escapes that
// JSON does not ask for.
func canonical(m map[string]any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// digest of a tree, leaving out its digest field. The tree is as before when
// it returns.
func digest(m map[string]any) (string, error) {
	old, had := m[digestField]
	delete(m, digestField)
	data, err := canonical(m)
	if had {
		m[digestField] = old
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
