package command

// ExitCodes are all that the program gives.
func ExitCodes() []int {
	return []int{exitDone, exitFailed, exitUsage, exitTimeout, exitUnchecked, exitInterrupted}
}
