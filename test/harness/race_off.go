//go:build !race

package harness

// raceDetector says that this test has the race detector, and so should the programs that it starts.
const raceDetector = false
