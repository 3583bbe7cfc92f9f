package document

import "testing"

// DigestForTest is the digest of a document's generic JSON.
func DigestForTest(t *testing.T, m map[string]any) string {
	t.Helper()
	sum, err := digest(m)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// Resign makes the digest of any JSON object right.
func Resign(data []byte) []byte {
	m, err := tree(data)
	if err != nil {
		return data
	}
	sum, err := digest(m)
	if err != nil {
		return data
	}
	m[digestField] = sum
	out, err := canonical(m)
	if err != nil {
		return data
	}
	return out
}
