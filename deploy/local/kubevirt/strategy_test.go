package kubevirt

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	virt "kubevirt.io/api/core/v1"
)

var testNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func instanceIn(phase virt.VirtualMachineInstancePhase) *virt.VirtualMachineInstance {
	vmi := &virt.VirtualMachineInstance{ObjectMeta: metav1.ObjectMeta{UID: "now"}}
	vmi.Status.Phase = phase
	return vmi
}

func deleted(vmi *virt.VirtualMachineInstance) *virt.VirtualMachineInstance {
	vmi.DeletionTimestamp = new(metav1.NewTime(testNow))
	return vmi
}

func asks(requests ...virt.VirtualMachineStateChangeRequest) virt.VirtualMachineStatus {
	return virt.VirtualMachineStatus{StateChangeRequests: requests}
}

func stopRequest(uid types.UID) virt.VirtualMachineStateChangeRequest {
	return virt.VirtualMachineStateChangeRequest{Action: virt.StopRequest, UID: &uid}
}

func TestDecide(t *testing.T) {
	startRequest := virt.VirtualMachineStateChangeRequest{Action: virt.StartRequest}
	failedBefore := virt.VirtualMachineStatus{StartFailure: &virt.VirtualMachineStartFailure{
		ConsecutiveFailCount: 2, RetryAfterTimestamp: new(metav1.NewTime(testNow.Add(2 * time.Second))),
	}}
	const (
		always = virt.RunStrategyAlways
		rerun  = virt.RunStrategyRerunOnFailure
		manual = virt.RunStrategyManual
		halted = virt.RunStrategyHalted
		once   = virt.RunStrategyOnce
	)
	for _, test := range []struct {
		name     string
		strategy virt.VirtualMachineRunStrategy
		vmi      *virt.VirtualMachineInstance
		status   virt.VirtualMachineStatus
		want     action
	}{
		{"always starts", always, nil, virt.VirtualMachineStatus{}, action{start: true}},
		{"always leaves a running one", always, instanceIn(virt.Running), virt.VirtualMachineStatus{}, action{}},
		{"always ends a succeeded one", always, instanceIn(virt.Succeeded), virt.VirtualMachineStatus{}, action{stop: true}},
		{"always ends a failed one", always, instanceIn(virt.Failed), virt.VirtualMachineStatus{}, action{stop: true}},
		{"always restarts on request", always, instanceIn(virt.Running), asks(stopRequest("now")), action{stop: true}},
		{"a request for a former instance counts no more", always, instanceIn(virt.Running), asks(stopRequest("then")), action{}},
		{"always waits for one that goes", always, deleted(instanceIn(virt.Running)), virt.VirtualMachineStatus{}, action{}},
		{"always backs off", always, nil, failedBefore, action{wait: 2 * time.Second}},
		{"rerun starts at first", rerun, nil, virt.VirtualMachineStatus{}, action{start: true}},
		{"rerun starts coming from halted", rerun, nil, virt.VirtualMachineStatus{RunStrategy: halted}, action{start: true}},
		{"rerun stays down", rerun, nil, virt.VirtualMachineStatus{RunStrategy: rerun}, action{}},
		{
			"rerun starts on request", rerun, nil,
			virt.VirtualMachineStatus{RunStrategy: rerun, StateChangeRequests: []virt.VirtualMachineStateChangeRequest{startRequest}},
			action{start: true},
		},
		{"rerun repeats a failed one", rerun, instanceIn(virt.Failed), virt.VirtualMachineStatus{}, action{stop: true, again: true}},
		{"rerun does not repeat a succeeded one", rerun, instanceIn(virt.Succeeded), virt.VirtualMachineStatus{}, action{stop: true}},
		{"manual waits", manual, nil, virt.VirtualMachineStatus{}, action{}},
		{"manual starts on request", manual, nil, asks(startRequest), action{start: true}},
		{"manual stops on request", manual, instanceIn(virt.Running), asks(stopRequest("now")), action{stop: true}},
		{"manual leaves a failed one to be looked at", manual, instanceIn(virt.Failed), virt.VirtualMachineStatus{}, action{}},
		{"halted stops", halted, instanceIn(virt.Running), virt.VirtualMachineStatus{}, action{stop: true}},
		{"halted stays down", halted, nil, virt.VirtualMachineStatus{}, action{}},
		{"halted becomes always on request", halted, nil, asks(startRequest), action{unhalt: true}},
		{"once starts", once, nil, virt.VirtualMachineStatus{}, action{start: true}},
		{"once leaves a failed one", once, instanceIn(virt.Failed), virt.VirtualMachineStatus{}, action{}},
	} {
		got, err := decide(&virt.VirtualMachine{Status: test.status}, test.vmi, test.strategy, testNow)
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
	if _, err := decide(&virt.VirtualMachine{}, nil, "Sometimes", testNow); err == nil {
		t.Error("an unknown strategy was accepted")
	}
}

func TestPrintableStatus(t *testing.T) {
	with := func(vmi *virt.VirtualMachineInstance, c virt.VirtualMachineInstanceCondition) *virt.VirtualMachineInstance {
		vmi.Status.Conditions = append(vmi.Status.Conditions, c)
		return vmi
	}
	migrating := func(vmi *virt.VirtualMachineInstance) *virt.VirtualMachineInstance {
		vmi.Status.MigrationState = &virt.VirtualMachineInstanceMigrationState{StartTimestamp: new(metav1.NewTime(testNow))}
		return vmi
	}
	noClaim := virt.VirtualMachineInstanceCondition{Type: virt.VirtualMachineInstanceSynchronized, Status: corev1.ConditionFalse, Reason: pvcNotFound}
	noNode := virt.VirtualMachineInstanceCondition{Type: "PodScheduled", Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}
	paused := virt.VirtualMachineInstanceCondition{Type: virt.VirtualMachineInstancePaused, Status: corev1.ConditionTrue}
	crashing := virt.VirtualMachineStatus{StartFailure: &virt.VirtualMachineStartFailure{ConsecutiveFailCount: 1}}
	for _, test := range []struct {
		vm   virt.VirtualMachine
		vmi  *virt.VirtualMachineInstance
		f    facts
		want virt.VirtualMachinePrintableStatus
	}{
		{want: virt.VirtualMachineStatusStopped},
		{f: facts{hasUnbound: true}, want: virt.VirtualMachineStatusWaitingForVolumeBinding},
		{f: facts{hasUnbound: true, isPopulating: true}, want: virt.VirtualMachineStatusProvisioning},
		{vmi: instanceIn(virt.Pending), want: virt.VirtualMachineStatusStarting},
		{vmi: instanceIn(virt.Pending), f: facts{hasUnbound: true}, want: virt.VirtualMachineStatusWaitingForVolumeBinding},
		{vmi: with(instanceIn(virt.Pending), noClaim), want: virt.VirtualMachineStatusPvcNotFound},
		{vmi: with(instanceIn(virt.Pending), noNode), want: virt.VirtualMachineStatusUnschedulable},
		{vmi: instanceIn(virt.Scheduled), want: virt.VirtualMachineStatusStarting},
		{vmi: instanceIn(virt.Running), want: virt.VirtualMachineStatusRunning},
		{vmi: with(instanceIn(virt.Running), paused), want: virt.VirtualMachineStatusPaused},
		{vmi: migrating(with(instanceIn(virt.Running), paused)), want: virt.VirtualMachineStatusMigrating},
		{vmi: deleted(with(instanceIn(virt.Running), paused)), want: virt.VirtualMachineStatusStopping},
		{vmi: deleted(instanceIn(virt.Running)), want: virt.VirtualMachineStatusStopping},
		{vmi: deleted(instanceIn(virt.Succeeded)), want: virt.VirtualMachineStatusStopped},
		{vm: virt.VirtualMachine{Status: crashing}, want: virt.VirtualMachineStatusCrashLoopBackOff},
		{
			vm:  virt.VirtualMachine{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: new(metav1.NewTime(testNow))}},
			vmi: instanceIn(virt.Running), want: virt.VirtualMachineStatusTerminating,
		},
	} {
		if got := printable(&test.vm, test.vmi, virt.RunStrategyAlways, test.f); got != test.want {
			t.Errorf("%+v with %+v: %s, want %s", test.vm.Status, test.vmi, got, test.want)
		}
	}
}

func TestStatusCountsEarlyFailuresOnceEach(t *testing.T) {
	vm := &virt.VirtualMachine{Spec: virt.VirtualMachineSpec{RunStrategy: new(virt.RunStrategyAlways)}}
	fail := func(uid types.UID) {
		vmi := instanceIn(virt.Failed)
		vmi.UID = uid
		setStatus(vm, vmi, facts{now: testNow})
	}
	fail("first")
	fail("first")
	fail("second")
	f := vm.Status.StartFailure
	if f == nil || f.ConsecutiveFailCount != 2 || !f.RetryAfterTimestamp.Time.Equal(testNow.Add(2*time.Second)) {
		t.Errorf("after two failures: %+v", f)
	}
	ran := instanceIn(virt.Failed)
	setPhase(ran, virt.Running)
	setPhase(ran, virt.Failed)
	setStatus(vm, ran, facts{now: testNow})
	if vm.Status.StartFailure != nil {
		t.Errorf("an instance that ran left %+v", vm.Status.StartFailure)
	}
}

func TestStatusSaysWhatFailed(t *testing.T) {
	vm := &virt.VirtualMachine{Spec: virt.VirtualMachineSpec{Running: new(true), RunStrategy: new(virt.RunStrategyAlways)}}
	_, err := vm.RunStrategy()
	if err == nil {
		t.Fatal("running and runStrategy together were accepted")
	}
	setStatus(vm, nil, facts{now: testNow, failure: &syncError{"FailedCreate", err}})
	last := vm.Status.Conditions[len(vm.Status.Conditions)-1]
	if last.Type != virt.VirtualMachineFailure || last.Reason != "FailedCreate" || last.Message != err.Error() {
		t.Errorf("conditions %+v", vm.Status.Conditions)
	}
	setStatus(vm, nil, facts{now: testNow.Add(time.Hour)})
	if len(vm.Status.Conditions) != 1 || !vm.Status.Conditions[0].LastTransitionTime.Time.Equal(testNow) {
		t.Errorf("after the failure: %+v", vm.Status.Conditions)
	}
}

func TestWriteInterval(t *testing.T) {
	for value, want := range map[string]time.Duration{"50ms": 50 * time.Millisecond, "0": 0, "2s": 2 * time.Second} {
		if got, err := writeInterval(map[string]string{WriteIntervalAnnotation: value}); err != nil || got != want {
			t.Errorf("%s: %s, %v", value, got, err)
		}
	}
	if got, err := writeInterval(nil); err != nil || got != 50*time.Millisecond {
		t.Errorf("without the annotation: %s, %v", got, err)
	}
	for _, value := range []string{"", "fast", "-1s"} {
		if _, err := writeInterval(map[string]string{WriteIntervalAnnotation: value}); err == nil {
			t.Errorf("%q was accepted", value)
		}
	}
}

func TestNodesAreChosenInTurnUnlessNamed(t *testing.T) {
	n := &nodes{names: []string{"a", "b"}}
	plain := &virt.VirtualMachineInstance{}
	selects := &virt.VirtualMachineInstance{}
	selects.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "b"}
	named := selects.DeepCopy()
	named.Annotations = map[string]string{NodeAnnotation: "a"}
	lost := &virt.VirtualMachineInstance{}
	lost.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "c"}
	for i, test := range []struct {
		vmi  *virt.VirtualMachineInstance
		want string
	}{{plain, "a"}, {selects, "b"}, {plain, "b"}, {named, "a"}, {plain, "a"}, {lost, ""}} {
		got, problem := n.choose(test.vmi)
		if got != test.want || (problem != "") != (test.want == "") {
			t.Errorf("choice %d: %q, %q, want %q", i, got, problem, test.want)
		}
	}
}

func TestAMigrationGoesToAnotherNode(t *testing.T) {
	n := &nodes{names: []string{"a", "b", "c"}}
	for i, test := range []struct {
		on, selects, added, want string
	}{
		{on: "a", want: "b"},
		{on: "c", want: "a"},
		{on: "a", added: "c", want: "c"},
		{on: "a", added: "a"},
		{on: "a", added: "d"},
		{on: "a", selects: "a"},
		{on: "a", selects: "a", added: "b"}, // the VM's own selector cannot be got round
	} {
		vmi := &virt.VirtualMachineInstance{}
		vmi.Status.NodeName = test.on
		vmi.Annotations = map[string]string{NodeAnnotation: test.on}
		if test.selects != "" {
			vmi.Spec.NodeSelector = map[string]string{corev1.LabelHostname: test.selects}
		}
		added := map[string]string{}
		if test.added != "" {
			added[corev1.LabelHostname] = test.added
		}
		if got := n.other(vmi, added); got != test.want {
			t.Errorf("case %d: %q, want %q", i, got, test.want)
		}
	}
}

func TestTargetNames(t *testing.T) {
	for n, want := range map[int]string{0: "vda", 25: "vdz", 26: "vdaa", 51: "vdaz", 52: "vdba", 702: "vdaaa"} {
		if got := target(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestKeepsState(t *testing.T) {
	tpm := func(d virt.TPMDevice) *virt.VirtualMachineInstance {
		vmi := &virt.VirtualMachineInstance{}
		vmi.Spec.Domain.Devices.TPM = &d
		return vmi
	}
	efi := &virt.VirtualMachineInstance{}
	efi.Spec.Domain.Firmware = &virt.Firmware{Bootloader: &virt.Bootloader{EFI: &virt.EFI{Persistent: new(true)}}}
	for i, test := range []struct {
		vmi  *virt.VirtualMachineInstance
		want bool
	}{
		{&virt.VirtualMachineInstance{}, false},
		{tpm(virt.TPMDevice{}), false},
		{tpm(virt.TPMDevice{Persistent: new(true)}), true},
		{tpm(virt.TPMDevice{Persistent: new(true), Enabled: new(false)}), false},
		{efi, true},
	} {
		if got := keepsState(test.vmi); got != test.want {
			t.Errorf("case %d: %t", i, got)
		}
	}
}
