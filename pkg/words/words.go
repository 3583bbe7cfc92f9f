// Package words puts small things into the words that people read, the same in
// every program. Whole sentences are made where they are said.
package words

import "fmt"

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
