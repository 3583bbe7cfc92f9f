//go:build !race

package main

// raceDetector says that this program has the race detector.
const raceDetector = false
