// Package harness gives tests the real things to run against: an API server with the definitions of Hayloft, Longhorn
// and KubeVirt, or the whole local stack with agents and coordinators that can be killed at any write.
// Everything it starts ends with the test, and with the test process when that is killed.
// It has no assertions and knows nothing of what a backup is.
package harness
