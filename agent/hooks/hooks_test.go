package hooks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	usual := func(h Hook) *Hook {
		if h.Container == "" {
			h.Container = "compute"
		}
		if h.Timeout == 0 {
			h.Timeout = 30 * time.Second
		}
		return &h
	}
	for name, c := range map[string]struct {
		annotations map[string]string
		want        Hooks
		says        string
	}{
		"none":        {nil, Hooks{}, ""},
		"other tools": {map[string]string{"pre.hook.backup.velero.io/command": "[", "hayloft.dev/force-deletion": "true"}, Hooks{}, ""},
		"a program": {
			map[string]string{"pre.hook.hayloft.dev/command": "/usr/bin/flush"},
			Hooks{Before: usual(Hook{Command: []string{"/usr/bin/flush"}, Must: true})},
			"",
		},
		"both, with all": {
			map[string]string{
				"pre.hook.hayloft.dev/command": `["/bin/sh", "-c", "fsync all; true"]`, "pre.hook.hayloft.dev/container": "hook-sidecar-0",
				"pre.hook.hayloft.dev/timeout": "1m30s", "pre.hook.hayloft.dev/on-error": "Continue",
				"post.hook.hayloft.dev/command": `["/bin/go-on"]`, "post.hook.hayloft.dev/on-error": "Fail", "post.hook.hayloft.dev/timeout": "5m",
			},
			Hooks{
				Before: &Hook{Command: []string{"/bin/sh", "-c", "fsync all; true"}, Container: "hook-sidecar-0", Timeout: 90 * time.Second},
				After:  usual(Hook{Command: []string{"/bin/go-on"}, Timeout: 5 * time.Minute, Must: true}),
			},
			"",
		},
		"only afterwards":      {map[string]string{"post.hook.hayloft.dev/command": "/bin/go-on"}, Hooks{After: usual(Hook{Command: []string{"/bin/go-on"}})}, ""},
		"no command":           {map[string]string{"pre.hook.hayloft.dev/timeout": "1s"}, Hooks{}, "annotation pre.hook.hayloft.dev/timeout is without pre.hook.hayloft.dev/command"},
		"empty command":        {map[string]string{"post.hook.hayloft.dev/command": ""}, Hooks{}, `annotation post.hook.hayloft.dev/command: "": give a program's path`},
		"empty array":          {map[string]string{"pre.hook.hayloft.dev/command": "[]"}, Hooks{}, "give a program's path"},
		"empty program":        {map[string]string{"pre.hook.hayloft.dev/command": `[""]`}, Hooks{}, "give a program's path"},
		"not an array of text": {map[string]string{"pre.hook.hayloft.dev/command": `["a", 1]`}, Hooks{}, "give a program's path"},
		"no container":         {map[string]string{"pre.hook.hayloft.dev/command": "a", "pre.hook.hayloft.dev/container": ""}, Hooks{}, "leave it out for compute"},
		"no duration":          {map[string]string{"pre.hook.hayloft.dev/command": "a", "pre.hook.hayloft.dev/timeout": "30"}, Hooks{}, `annotation pre.hook.hayloft.dev/timeout: "30": give a duration of up to 5m0s`},
		"too long":             {map[string]string{"pre.hook.hayloft.dev/command": "a", "pre.hook.hayloft.dev/timeout": "5m1s"}, Hooks{}, "up to 5m0s"},
		"never":                {map[string]string{"pre.hook.hayloft.dev/command": "a", "pre.hook.hayloft.dev/timeout": "0s"}, Hooks{}, "up to 5m0s"},
		"on error":             {map[string]string{"pre.hook.hayloft.dev/command": "a", "pre.hook.hayloft.dev/on-error": "fail"}, Hooks{}, `annotation pre.hook.hayloft.dev/on-error: "fail": give Fail or Continue`},
		"misspelt":             {map[string]string{"pre.hook.hayloft.dev/comand": "a"}, Hooks{}, "there is no such annotation: give command, container, timeout or on-error"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(c.annotations)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
