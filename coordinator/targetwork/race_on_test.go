//go:build race

package targetwork_test

const raceDetector = true
