// Package version holds the version that the build stamped in, and the flag by which
// programs tell it.
package version

import (
	"flag"
	"fmt"
	"io"
	"os"
)

// Version is set by the linker; "dev" in an unstamped build.
var Version = "dev"

// Flag adds --version to a program's flags. When they have been read, asked prints the
// version if it was asked for, and returns flag.ErrHelp then: nothing else is wanted, as
// with --help.
func Flag(flags *flag.FlagSet) (asked func() error) {
	wanted := flags.Bool("version", false, "print the version and end")
	return func() error {
		if !*wanted {
			return nil
		}
		return tell(os.Stdout, flags.Name())
	}
}

func tell(out io.Writer, program string) error {
	if _, err := fmt.Fprintln(out, program, Version); err != nil {
		return fmt.Errorf("printing the version: %w", err)
	}
	return flag.ErrHelp
}
