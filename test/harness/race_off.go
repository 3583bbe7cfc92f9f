//go:build !race

package harness

import "os"

// raceDetector says that the programs that this test starts should have the race detector, though it has none itself:
// it is no part of what is tested, and polls a lot.
var raceDetector = os.Getenv("HAYLOFT_RACE") != ""
