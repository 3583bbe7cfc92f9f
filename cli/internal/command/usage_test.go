package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hayloft.dev/cli/internal/command"
	"hayloft.dev/test/harness"
)

// offline runs the program with a kubeconfig that leads nowhere.
func offline(t *testing.T, program string, args ...string) result {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
`), 0o600))
	var out, errs strings.Builder
	code := command.Run(t.Context(), command.Env{
		Program: program, Args: append(args, "--kubeconfig", path), Out: &out, Err: &errs, Now: time.Now,
	})
	return result{code, out.String(), errs.String()}
}

// Wrong input is told before any request is sent: there is no server to send
// one to.
func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		args string
		want string
	}{
		{"backup create", "the VM's name is missing"},
		{"backup create a b --target s3", `one argument too many: "b"`},
		{"backup create Web -t s3", `"Web" cannot be the name of a VM`},
		{"backup create web -t s3 --name Point_1", `"Point_1" cannot be the name of a backup`},
		{"backup create web -t s3 --name " + strings.Repeat("n", 64), "at most 63 characters"},
		{"backup create web -t s3 --deletion-policy keep", `--deletion-policy "keep" is not one of Delete, Retain`},
		{"backup create web -t s3 --include a --exclude b", "--include and --exclude exclude each other"},
		{"backup create web -t s3 --quiesce maybe", `--quiesce "maybe" is not one of besteffort, required, never`},
		{"backup create web -t s3 --freeze-deadline 0", "--freeze-deadline 0 is not between 1 and 60"},
		{"wait backup", "its name is missing"},
		{"wait schedule nightly", `"schedule" is not one of backup, restore`},
		{"wait backup b --timeout -5m", "is negative"},
		{"wait backup b -o table", `-o "table" is not one of json, yaml, name`},
		{"cancel target s3", `"target" is not one of backup, restore`},
		{"pin backup", "its name is missing"},
		{"backup create web -t s3 --timeout 5m", "--timeout needs --wait"},
		{"backup create web -t s3 --wait --timeout -5m", "is negative"},
		{"backup create web -t s3 --wait --timeout soon", `invalid argument "soon"`},
		{"backup create web -t s3 -o table", `-o "table" is not one of json, yaml, name`},
		{"backup create web -t s3 --frobnicate", "unknown flag: --frobnicate"},
		{"backup make web", `there is no command "make"`},
		{"snapshot create", "the VM's name is missing"},
		{"snapshot create web --target s3", "unknown flag: --target"},
		{"snapshot create Web", `"Web" cannot be the name of a VM`},
		{"restore create", "the backup's name is missing"},
		{"restore create point", "say what to make: --new-vm NAME, --replace VM, or --disk DISK --claim NAME"},
		{"restore create point --new-vm a --replace b", "--new-vm and --replace do not go together"},
		{"restore create point --replace web --volumes keep", `--volumes "keep" is not one of retain, delete`},
		{"restore create point --replace web --keep-mac", "--keep-mac goes with --new-vm only"},
		{"restore create point --replace web --delete-snapshot s", "--delete-snapshot goes with --volumes delete only"},
		{"restore create point --replace Web", `"Web" cannot be the name of a VM`},
		{"restore create point --new-vm web --volumes delete", "--volumes goes with --replace only"},
		{"restore create point --new-vm web --claim c", "--claim goes with --disk only"},
		{"restore create point --disk root", "--claim is missing"},
		{"restore create point --disk root --claim C", `"C" cannot be the name of a claim`},
		{"restore create point --new-vm v --images some", `--images is recreate, fetch or require, not "some"`},
		{"restore create point --disk root --claim c --halt", "--halt, --network, --without-secrets and --allow do not go with --disk"},
		{"restore create point --new-vm web --from-namespace Shop", `"Shop" cannot be a namespace`},
		{"restore create point --new-vm web --storage-class fast", "fast must be formatted as key=value"},
		{"restore create point --new-vm web.2", `"web.2" cannot be the name of a VM: it must be lower-case letters, digits and -`},
		{"restore create point --new-vm -web", `cannot be the name of a VM`},
		{"restore create point --new-vm " + strings.Repeat("n", 64), "at most 63 characters"},
		{"restore create Point --new-vm web", `"Point" cannot be the name of a backup`},
		{"get", "what to get is missing: one of backups, restores, schedules, targets, quotas, jobs"},
		{"get pods", `"pods" is not one of backups, restores, schedules, targets, quotas, jobs`},
		{"get backups x -A", "do not go together"},
		{"get backups x --vm web", "a name does not go with --selector and --vm"},
		{"get backups x -l a=b", "a name does not go with --selector and --vm"},
		{"get backups -l a==b==c", `--selector "a==b==c"`},
		{"get backups --vm Web", `"Web" cannot be the name of a VM`},
		{"get targets --vm web", "--vm is for backups, restores and schedules only"},
		{"get backups -o xml", `-o "xml" is not one of table, wide, json, yaml, name`},
		{"describe backup", "its name is missing"},
		{"delete target s3", `"target" is not one of backup, restore, schedule`},
		{"delete restore r --force", "--force is for backups only"},
		{"target create", "the target's name and its URL is missing"},
		{"target create S3 s3://b@r/ --secret s", `"S3" cannot be the name of a target`},
		{"target create s3 s3://bucket/ --secret s", "this is no URL of a target: write s3://BUCKET@REGION/PREFIX"},
		{"target create s3 s3://key:secret@r/ --secret s", "there is a user or a password in the URL"},
		{"target create s3 s3://b@r/", "the keys are missing: name their Secret with --secret, or a file with --credentials-file"},
		{"target create s3 s3://b@r/ --secret S3", `--secret "S3" cannot be the name of a Secret`},
		{"target create n nfs://nas:/export --secret s", "--secret and --credentials-file do not go with NFS, which knows no keys"},
		{"target create n nfs://nas:/export --endpoint https://s3", "--endpoint, --insecure and --ca-file go with s3:// and azblob:// only"},
		{"target create n cifs://nas/share --virtual-hosted-style", "--virtual-hosted-style goes with s3:// only"},
		{"target create s3 s3://b@r/ --secret s -o table", `-o "table" is not one of json, yaml, name`},
		{"uninstall --wait -1m", "is negative"},
		{"uninstall all", `one argument too many: "all"`},
		{"delete restore r --keep-data", "--keep-data is for backups only"},
		{"delete backup b --timeout 5m", "--timeout needs --wait"},
		{"delete backup b --points delete", "--points is for schedules only"},
		{"delete schedule s --points some", `--points "some" is not one of retain, delete`},
		{"schedule create", "the schedule's name is missing"},
		{"schedule create Nightly", `"Nightly" cannot be the name of a schedule`},
		{"schedule create n --vm web -t s3", "--cron is missing"},
		{"schedule create n --cron @daily -t s3", "give one of --vm and --selector"},
		{"schedule create n --cron @daily -t s3 --vm web -l a=b", "give one of --vm and --selector"},
		{"schedule create n --cron @daily -t s3 -l a==b==c", `--selector "a==b==c"`},
		{"schedule create n --cron @daily --vm web -t s3 --snapshot", "--target and --snapshot do not go together"},
		{"schedule create n --cron daily --vm web -t s3", `spec.cron "daily" is not a schedule`},
		{"schedule create n --cron @daily --time-zone Mars --vm web -t s3", `spec.timeZone "Mars" is not a time zone`},
		{"schedule create n --cron @daily --vm web -t s3 --jitter 1500ms", "--jitter 1.5s is not a number of whole seconds"},
		{"schedule create n --cron @daily --vm web -t s3 --starting-deadline -1s", "--starting-deadline -1s is not a number of whole seconds"},
		{"schedule create n --cron @daily --vm web -t s3 --points-on-delete keep", `--points-on-delete "keep" is not one of Retain, Delete`},
		{"schedule create n --cron @daily --vm web -t s3 --include a --exclude b", "exclude each other"},
		{"schedule set n", "say what to change"},
		{"schedule set n --cron daily", `spec.cron "daily" is not a schedule`},
		{"schedule resume", "the schedule's name is missing"},
		{"schedule stop n", `there is no command "stop"`},
		{"retention preview", "the schedule's name is missing"},
		{"retention show", `there is no command "show"`},
		{"retention preview n -o yaml", `-o "yaml" is not one of table, json`},
		{"bakcup", `there is no command "bakcup"; did you mean backup?`},
	} {
		t.Run(tc.args, func(t *testing.T) {
			r := offline(t, "hayloft", strings.Fields(tc.args)...)
			assert.Equal(t, 2, r.code)
			assert.Contains(t, r.err, tc.want)
			assert.Equal(t, 1, strings.Count(r.err, "\n"), "one sentence: %s", r.err)
			assert.Empty(t, r.out)
		})
	}
}

func TestUnreachableServer(t *testing.T) {
	r := offline(t, "hayloft", "get", "backups")
	assert.Equal(t, 1, r.code)
	assert.Equal(t, "Error: the API server at http://127.0.0.1:1 cannot be reached: connect: connection refused\n", r.err)
}

func TestNoKubeconfig(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	var out, errs strings.Builder
	code := command.Run(t.Context(), command.Env{Program: "hayloft", Args: []string{"get", "backups"}, Out: &out, Err: &errs, Now: time.Now})
	assert.Equal(t, 1, code)
	assert.Contains(t, errs.String(), "there is no kubeconfig: name one with --kubeconfig or KUBECONFIG")
}

func TestHelp(t *testing.T) {
	r := offline(t, "hayloft")
	assert.Equal(t, 0, r.code)
	assert.Contains(t, r.out, "Exit codes: 0 done")
	for _, group := range []string{"backup", "restore"} {
		r = offline(t, "hayloft", group)
		assert.Equal(t, 0, r.code)
		assert.Contains(t, r.out, "create")
	}
	r = offline(t, "hayloft", "version")
	assert.Equal(t, "hayloft dev\n", r.out)
	r = offline(t, "hayloft", "completion", "bash")
	assert.Equal(t, 0, r.code)
	assert.Contains(t, r.out, "bash completion")
}

// As a kubectl plugin the program calls itself what the user typed.
func TestKubectlPlugin(t *testing.T) {
	r := offline(t, "kubectl-hayloft", "restore", "create", "--help")
	assert.Contains(t, r.out, "kubectl hayloft restore create BACKUP (--new-vm NAME")
	r = offline(t, "kubectl-hayloft", "restore", "create")
	assert.Contains(t, r.err, "see kubectl hayloft restore create --help")
	r = offline(t, "kubectl-hayloft", "doctor", "--help")
	assert.Contains(t, r.out, "kubectl hayloft doctor [flags]")
}

// TestExitCodesAreDocumented: those of the help text and of docs/cli.md are those
// that the program gives.
func TestExitCodesAreDocumented(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "cli.md"))
	require.NoError(t, err)
	help := offline(t, "hayloft", "--help").out
	for _, code := range command.ExitCodes() {
		assert.Contains(t, string(document), fmt.Sprintf("\n| %d | ", code))
		assert.Regexp(t, fmt.Sprintf(`[ \n]%d [a-z-]`, code), help)
	}
}

// TestKubectlCompletes: kubectl asks a program of another name for completions,
// with the words that were typed.
func TestKubectlCompletes(t *testing.T) {
	var out, errs strings.Builder
	code := command.Run(t.Context(), command.Env{Program: "kubectl_complete-hayloft", Args: []string{"describe", "b"}, Out: &out, Err: &errs, Now: time.Now})
	assert.Equal(t, 0, code, errs.String())
	assert.Equal(t, "backup\nrestore\nschedule\ntarget\nquota\njob\n:4\n", out.String())
}
