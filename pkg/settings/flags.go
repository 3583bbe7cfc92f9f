package settings

import (
	"errors"
	"flag"
	"fmt"
	"time"
)

// Flags refuses what was given to a program and cannot be meant: arguments that are no
// flags, and durations and numbers below zero.
func Flags(fs *flag.FlagSet) error {
	var out []error
	if fs.NArg() > 0 {
		out = append(out, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	fs.Visit(func(f *flag.Flag) {
		getter, ok := f.Value.(flag.Getter)
		if !ok {
			return
		}
		switch v := getter.Get().(type) {
		case time.Duration:
			if v < 0 {
				out = append(out, fmt.Errorf("--%s: %s is negative: give a time such as 30s", f.Name, v))
			}
		case int:
			if v < 0 {
				out = append(out, fmt.Errorf("--%s: %d is negative: give a number", f.Name, v))
			}
		}
	})
	return errors.Join(out...)
}
