package settings

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"none":          {nil, nil},
		"as they go":    {[]string{"--every", "0", "--jobs", "0", "--name", "-1"}, nil},
		"negative":      {[]string{"--every", "-1s", "--jobs", "-2"}, []string{"--every: -1s is negative", "--jobs: -2 is negative"}},
		"stray":         {[]string{"--every", "1s", "jobs=3"}, []string{`unexpected argument "jobs=3"`}},
		"after a stray": {[]string{"every=1s", "--jobs", "-2"}, []string{`unexpected argument "every=1s"`}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := flag.NewFlagSet("program", flag.ContinueOnError)
			fs.Duration("every", time.Minute, "")
			fs.Int("jobs", 8, "")
			fs.String("name", "", "")
			require.NoError(t, fs.Parse(c.args))
			err := Flags(fs)
			if c.says == nil {
				require.NoError(t, err)
			}
			for _, s := range c.says {
				require.ErrorContains(t, err, s)
			}
		})
	}
}
