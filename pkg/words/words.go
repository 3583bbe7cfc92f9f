// Package words puts small things into the words that people read, the same in
// every program. Whole sentences are made where they are said.
package words

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean is a sentence of which parts were written by others, made fit for a status,
// a log and a terminal: what cannot be printed becomes a space, and what is longer
// than limit bytes is cut.
func Clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	const more = "..."
	cut := max(0, limit-len(more))
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}

// Count is a number and what it counts: "1 disk", "2 disks", "0 replicas". noun
// is the singular of one that takes an s.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Verb is one of a verb's two forms, by the number of its subject.
func Verb(n int, singular, plural string) string {
	if n == 1 {
		return singular
	}
	return plural
}
