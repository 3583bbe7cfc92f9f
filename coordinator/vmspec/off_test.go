package vmspec_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/coordinator/vmspec"
)

func TestOff(t *testing.T) {
	stopped := `status: {printableStatus: Stopped}`
	for _, tc := range []struct {
		name, vm, status string
		instance         string // phase; "-": an instance without one, "": none
		want             string // part of the sentence; "": it is off
	}{
		{name: "halted", vm: `spec: {runStrategy: Halted}`},
		{name: "never seen by KubeVirt", vm: `spec: {runStrategy: Halted}`, status: `status: {}`},
		{name: "running false", vm: `spec: {runStrategy: null, running: false}`},
		{name: "runs", vm: `spec: {runStrategy: Halted}`, instance: "Running", want: "is running (Running): shut it down"},
		{name: "instance without a phase", vm: `spec: {runStrategy: Manual}`, instance: "-", want: "is running (Starting)"},
		{name: "always", vm: `spec: {runStrategy: Always}`, want: "starts by itself (run strategy Always): stop it (virtctl stop old)"},
		{name: "running true", vm: `spec: {runStrategy: null, running: true}`, want: "run strategy Always"},
		{name: "always, its instance just ended", vm: `spec: {runStrategy: Always}`, instance: "Succeeded", want: "starts by itself"},
		{name: "guest shut down, instance kept", vm: `spec: {runStrategy: Manual}`, instance: "Succeeded"},
		{name: "guest shut down, instance gone", vm: `spec: {runStrategy: RerunOnFailure}`, status: `status: {printableStatus: Stopped, runStrategy: RerunOnFailure}`},
		{name: "new strategy, not seen yet", vm: `spec: {runStrategy: RerunOnFailure}`, status: `status: {printableStatus: Stopped, runStrategy: Halted}`, want: "starts by itself"},
		{name: "guest failed, to be rerun", vm: `spec: {runStrategy: RerunOnFailure}`, status: `status: {printableStatus: Stopped, runStrategy: RerunOnFailure}`, instance: "Failed", want: "starts by itself"},
		{name: "once, not yet", vm: `spec: {runStrategy: Once}`, want: "starts by itself"},
		{name: "once, over", vm: `spec: {runStrategy: Once}`, instance: "Succeeded"},
		{name: "start asked for", vm: `spec: {runStrategy: Manual}`, status: `status: {printableStatus: Stopped, stateChangeRequests: [{action: Start}]}`, want: "was asked to start"},
		{name: "stop asked for", vm: `spec: {runStrategy: Manual}`, status: `status: {printableStatus: Stopped, stateChangeRequests: [{action: Stop}]}`},
		{name: "being populated", vm: `spec: {runStrategy: Halted}`, status: `status: {printableStatus: Provisioning}`, want: "are being filled (Provisioning)"},
		{name: "its instance has just gone", vm: `spec: {runStrategy: Halted}`, status: `status: {printableStatus: Stopping}`},
		{name: "its claims are lost", vm: `spec: {runStrategy: Halted}`, status: `status: {printableStatus: ErrorPvcNotFound}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status := tc.status
			if status == "" {
				status = stopped
			}
			var vmi *unstructured.Unstructured
			if tc.instance != "" {
				vmi = &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"phase": tc.instance}}}
			}
			if tc.instance == "-" {
				vmi.Object["status"] = nil
			}
			got := vmspec.Off(parse(t, plain, tc.vm, status), vmi)
			if tc.want == "" {
				assert.Empty(t, got)
			} else {
				assert.Contains(t, got, tc.want)
			}
		})
	}
}
