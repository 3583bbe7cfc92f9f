package kubevirt_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/guest"
	"hayloft.dev/deploy/local/kubevirt"
	"hayloft.dev/deploy/local/kubevirt/subresource"
)

// put asks for a subresource as a user, "" for the administrator.
func (s *stack) put(t *testing.T, user, namespace, path, body string) error {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate.UserName = user
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c.RESTClient().Put().AbsPath("/apis/subresources.kubevirt.io/v1/namespaces/" + namespace + "/" + path).
		Body([]byte(body)).Do(t.Context()).Error()
}

func (s *stack) mustPut(t *testing.T, namespace, path, body string) {
	t.Helper()
	if err := s.put(t, "", namespace, path, body); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func (s *stack) refusesPut(t *testing.T, namespace, path, body string, is func(error) bool, saying string) {
	t.Helper()
	if err := s.put(t, "", namespace, path, body); err == nil || !is(err) || !strings.Contains(err.Error(), saying) {
		t.Errorf("%s: got %v, want an error with %q", path, err, saying)
	}
}

// agentMachine is a VM with an agent in its guest.
func agentMachine(namespace, name string, strategy virt.VirtualMachineRunStrategy, claims ...string) *virt.VirtualMachine {
	vm := machine(namespace, name, strategy, claims...)
	vm.Annotations[kubevirt.GuestAgentAnnotation] = kubevirt.AgentConnected
	return vm
}

func (s *stack) waitFreezeStatus(t *testing.T, namespace, name, want string) {
	t.Helper()
	until(t, fmt.Sprintf("%s has freeze status %q", name, want), func() bool {
		var vmi virt.VirtualMachineInstance
		s.read(t, namespace, name, &vmi)
		return vmi.Status.FSFreezeStatus == want
	})
}

func TestFreezeThroughTheAPIServer(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	create(t, s, claim(ns, "a"), claim(ns, "b"), agentMachine(ns, "vm", virt.RunStrategyAlways, "a", "b"))
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	until(t, "the VM has an agent", func() bool {
		for _, c := range s.vm(t, ns, "vm").Status.Conditions {
			if c.Type == virt.VirtualMachineConditionType(virt.VirtualMachineInstanceAgentConnected) && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
	s.mustPut(t, ns, "virtualmachineinstances/vm/freeze", `{"unfreezeTimeout":"1h"}`)
	frozen := s.ask(t, ns, "vm", guest.Request{Op: guest.OpStatus})
	if !frozen.Frozen || frozen.Freezes[0].Timeout != time.Hour {
		t.Errorf("the guest says %+v", frozen)
	}
	s.waitFreezeStatus(t, ns, "vm", "frozen")
	if again := s.ask(t, ns, "vm", guest.Request{Op: guest.OpStatus}); again.Sequence != frozen.Sequence {
		t.Errorf("it wrote on, from %d to %d", frozen.Sequence, again.Sequence)
	}
	s.mustPut(t, ns, "virtualmachineinstances/vm/unfreeze", "")
	s.waitFreezeStatus(t, ns, "vm", "")
	until(t, "it writes again", func() bool { return s.ask(t, ns, "vm", guest.Request{Op: guest.OpStatus}).Sequence > frozen.Sequence+5 })

	// Nobody thaws this one.
	s.mustPut(t, ns, "virtualmachineinstances/vm/freeze", `{"unfreezeTimeout":"1s"}`)
	until(t, "it thaws by itself", func() bool {
		f := s.ask(t, ns, "vm", guest.Request{Op: guest.OpFreezes}).Freezes[1]
		return f.Thawed != nil && f.ByTimeout
	})
	s.waitFreezeStatus(t, ns, "vm", "")
}

// Who asks must be allowed to, and is who the API server says, which nobody else can say.
func TestSubresourcesAreForThoseWhoMay(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	create(t, s, claim(ns, "a"), agentMachine(ns, "vm", virt.RunStrategyAlways, "a"))
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	const user = "quiescer"
	freeze, body := "virtualmachineinstances/vm/freeze", `{"unfreezeTimeout":"1h"}`
	if err := s.put(t, user, ns, freeze, body); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v", err)
	}
	create(t, s,
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "quiesce"}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"subresources.kubevirt.io"}, Verbs: []string{"update"},
			Resources: []string{"virtualmachineinstances/freeze", "virtualmachineinstances/unfreeze"},
		}}},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "quiesce"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "quiesce"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		})
	until(t, "the role counts", func() bool { return !apierrors.IsForbidden(s.put(t, user, ns, freeze, body)) })
	if err := s.put(t, user, ns, "virtualmachineinstances/vm/unfreeze", ""); err != nil {
		t.Errorf("with the role: %v", err)
	}
	if err := s.put(t, user, ns, "virtualmachines/vm/stop", ""); !apierrors.IsForbidden(err) {
		t.Errorf("what the role does not have: %v", err)
	}

	var service corev1.Service
	s.read(t, subresource.Namespace, "virt-api", &service)
	direct := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	url := fmt.Sprintf("https://%s:%d/apis/subresources.kubevirt.io/v1/namespaces/%s/%s", service.Spec.ClusterIP, service.Spec.Ports[0].Port, ns, freeze)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Remote-User", "admin")
	request.Header.Set("X-Remote-Group", "system:masters")
	response, err := direct.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("one who says himself who he is: %s", response.Status)
	}
	if s.ask(t, ns, "vm", guest.Request{Op: guest.OpStatus}).Frozen {
		t.Error("he froze the guest")
	}
}

func TestFreezesThatFail(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := agentMachine(ns, "vm", virt.RunStrategyAlways, "a")
	create(t, s, claim(ns, "a"), claim(ns, "b"), vm, machine(ns, "mute", virt.RunStrategyAlways, "b"),
		machine(ns, "off", virt.RunStrategyHalted))
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	s.waitStatus(t, ns, "mute", virt.VirtualMachineStatusRunning)
	body := `{"unfreezeTimeout":"1h"}`
	s.refusesPut(t, ns, "virtualmachineinstances/mute/freeze", body, apierrors.IsInternalError,
		`server error. command Freeze failed: "virError(Code=86, Domain=10, Message='Guest agent is not responding: QEMU guest agent is not connected')"`)
	s.refusesPut(t, ns, "virtualmachineinstances/off/freeze", body, apierrors.IsNotFound, `"off" not found`)
	s.refusesPut(t, ns, "virtualmachineinstances/vm/freeze", "{}", apierrors.IsInternalError, "timeout in freeze request is not set")

	s.change(t, vm, `{"metadata":{"annotations":{"local.hayloft.dev/freeze-fault":"error"}}}`)
	s.refusesPut(t, ns, "virtualmachineinstances/vm/freeze", body, apierrors.IsInternalError, "failed to freeze")
	s.change(t, vm, `{"metadata":{"annotations":{"local.hayloft.dev/freeze-fault":"hang"}}}`)
	began := time.Now()
	s.refusesPut(t, ns, "virtualmachineinstances/vm/freeze", body, apierrors.IsInternalError, "Client.Timeout exceeded")
	if waited := time.Since(began); waited < 10*time.Second {
		t.Errorf("a freeze that hangs was given up after %s", waited)
	}
	if got := s.ask(t, ns, "vm", guest.Request{Op: guest.OpFreezes}).Freezes; len(got) != 0 {
		t.Errorf("something was frozen: %v", got)
	}
	// One that takes longer than its asker waits freezes the guest all the same.
	s.change(t, vm, `{"metadata":{"annotations":{"local.hayloft.dev/freeze-fault":"11s"}}}`)
	s.refusesPut(t, ns, "virtualmachineinstances/vm/freeze", `{"unfreezeTimeout":"2s"}`, apierrors.IsInternalError, "Client.Timeout exceeded")
	until(t, "it is frozen late and thaws by itself", func() bool {
		f := s.ask(t, ns, "vm", guest.Request{Op: guest.OpFreezes}).Freezes
		return len(f) == 1 && f[0].ByTimeout
	})
}

func TestPauseAndUnpause(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	create(t, s, claim(ns, "a"), agentMachine(ns, "vm", virt.RunStrategyAlways, "a"))
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	s.refusesPut(t, ns, "virtualmachineinstances/vm/unpause", "", apierrors.IsConflict, "VMI is not paused")
	s.mustPut(t, ns, "virtualmachineinstances/vm/pause", "")
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusPaused)
	s.refusesPut(t, ns, "virtualmachineinstances/vm/pause", "", apierrors.IsConflict, "VMI is already paused")
	s.refusesPut(t, ns, "virtualmachineinstances/vm/freeze", `{"unfreezeTimeout":"1h"}`, apierrors.IsInternalError, "domain is not running")
	s.mustPut(t, ns, "virtualmachineinstances/vm/unpause", "")
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
}

func TestStartStopAndRestart(t *testing.T) {
	s := theStack(t)
	for _, test := range []struct {
		created, started, stopped virt.VirtualMachineRunStrategy
	}{
		{virt.RunStrategyHalted, virt.RunStrategyAlways, virt.RunStrategyHalted},
		{virt.RunStrategyManual, virt.RunStrategyManual, virt.RunStrategyManual},
	} {
		t.Run(string(test.created), func(t *testing.T) {
			ns := s.namespace(t)
			create(t, s, claim(ns, "a"), machine(ns, "vm", test.created, "a"))
			s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped)
			s.mustPut(t, ns, "virtualmachines/vm/start", "")
			if vm := s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning); *vm.Spec.RunStrategy != test.started {
				t.Errorf("started with run strategy %s", *vm.Spec.RunStrategy)
			}
			s.refusesPut(t, ns, "virtualmachines/vm/start", "", apierrors.IsConflict, "VM is already running")

			var vmi virt.VirtualMachineInstance
			s.read(t, ns, "vm", &vmi)
			first := vmi.UID
			s.mustPut(t, ns, "virtualmachines/vm/restart", "")
			until(t, "another instance runs", func() bool {
				err := s.Get(t.Context(), client.ObjectKeyFromObject(&vmi), &vmi)
				return err == nil && vmi.UID != first && vmi.Status.Phase == virt.Running
			})
			s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
			s.mustPut(t, ns, "virtualmachines/vm/stop", "{}")
			if vm := s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped); *vm.Spec.RunStrategy != test.stopped {
				t.Errorf("stopped with run strategy %s", *vm.Spec.RunStrategy)
			}
			s.waitNoTickets(t, ns, "a")
			if test.created == virt.RunStrategyManual {
				s.refusesPut(t, ns, "virtualmachines/vm/stop", "", apierrors.IsConflict, "VM is not running")
			}
		})
	}
}

// Clients that look at what a cluster has find the subresources.
func TestSubresourcesAreDiscovered(t *testing.T) {
	s := theStack(t)
	c, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.Discovery().ServerResourcesForGroupVersion("subresources.kubevirt.io/v1")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list.APIResources {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "virtualmachineinstances/freeze") || !strings.Contains(got, "virtualmachines/start") {
		t.Errorf("there are %s", got)
	}
}
