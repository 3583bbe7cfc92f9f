package worker

import (
	"strings"

	"hayloft.dev/pkg/api/v1alpha1"
)

// refusals are S3 error codes that trying again does not help against, and what
// a person has to know of each. The engine hands on the SDK's text, which holds
// the code as a word; the codes are S3's own.
var refusals = []struct{ code, sentence string }{
	{"SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY in the target's Secret does not fit its key ID: correct it"},
	{"InvalidAccessKeyId", "the service does not know AWS_ACCESS_KEY_ID of the target's Secret: correct it"},
	{"AccessDenied", "give the key the right to list, read, write and delete in the bucket"},
	{"NoSuchBucket", "create the bucket, or correct spec.s3.bucket of the target"},
}

// refused is the final failure of a transfer whose target knows us and says no,
// by what the engine says of it; nil: it says something else.
func refused(what, target, said string) error {
	for _, r := range refusals {
		if hasWord(said, r.code) {
			return failed(v1alpha1.ReasonTargetError, false, "%s: target %s refuses it (%s): %s", what, target, r.code, r.sentence)
		}
	}
	return nil
}

// targetFailed is the failure of a transfer by what the engine says of it; other
// than a refusal it is worth another attempt.
func targetFailed(what, target, said string) error {
	if err := refused(what, target, said); err != nil {
		return err
	}
	return failed(v1alpha1.ReasonTargetError, true, "%s: %s", what, said)
}

// failedMidway is the failure of a transfer that the target had let begin. Even a
// refusal is worth another attempt: where Longhorn began a backup of the volume by
// itself meanwhile, the replica has taken up that one's endpoint and key for both.
// A key that is wrong now is refused when the next attempt begins.
func failedMidway(what, target, said string) error {
	if err := refused(what, target, said); err != nil {
		return failed(v1alpha1.ReasonTargetError, true, "%w. It was let begin, so the key may be that of a backup that Longhorn itself makes of this volume", err)
	}
	return targetFailed(what, target, said)
}

// hasWord tells whether a word of letters stands in a text by itself.
func hasWord(text, word string) bool {
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) {
		if w == word {
			return true
		}
	}
	return false
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
