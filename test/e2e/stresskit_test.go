package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// makeVMs makes the first VMs, all off: two disks of 16 to 64 MiB, an agent in
// every second guest, and a Secret for every third.
func (s *stressRun) makeVMs(t *testing.T, r *rand.Rand) {
	var made []*stressVM
	t.Run("making VMs", func(t *testing.T) {
		for i := range s.model.most {
			v := &stressVM{name: fmt.Sprintf("vm-%d", i), fronts: map[string]stressFront{}, claims: map[string]string{}}
			made = append(made, v)
			for _, disk := range []string{"root", "data1"} {
				v.fronts[disk] = stressFront{bytes: (16+16*r.Int64N(4))*mib - stressRing}
			}
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				s.as(t).makeStressVM(v, i)
			})
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	s.model.vms = made
}

// stressRing is the end of a disk of 16 MiB or more that a guest writes to.
const stressRing = 4 * mib

func (w *world) makeStressVM(v *stressVM, number int) {
	w.t.Helper()
	var claims []string
	for i, disk := range []string{"root", "data1"} {
		claim, front := v.name+"-"+disk, v.fronts[disk]
		w.claim(claim, front.bytes+stressRing)
		// A part of it stays blank, as on any disk.
		w.disk("fill", claim, "--seed", fmt.Sprint(2*number+i+1), "--offset", fmt.Sprint(mib), "--length", fmt.Sprint(front.bytes/3))
		front.sum = w.front(claim, front.bytes)
		v.fronts[disk], v.claims[disk] = front, claim
		claims = append(claims, claim)
	}
	w.mustMake(w.vmSpec(v.name, claims, func(vm *kubevirt.VirtualMachine) {
		off := kubevirt.RunStrategyHalted
		vm.Spec.RunStrategy = &off
		vm.Annotations = map[string]string{writeInterval: "20ms"}
		if number%2 == 0 {
			vm.Annotations[withAgent] = "connected"
		}
		if number%3 == 0 {
			secret := &corev1.Secret{StringData: map[string]string{"userdata": "#cloud-config"}}
			secret.Namespace, secret.Name = w.ns, v.name+"-init"
			w.mustMake(secret)
			addVolume(vm, "init", kubevirt.VolumeSource{CloudInitNoCloud: &kubevirt.CloudInitNoCloudSource{
				UserDataSecretRef: &corev1.LocalObjectReference{Name: secret.Name},
			}})
		}
	}))
}

// front is the sha256 of the first bytes of a claim's disk.
func (w *world) front(claim string, bytes int64) string {
	w.t.Helper()
	return w.disk("sha256", claim, "--length", fmt.Sprint(bytes))
}

// runStrategy is how a user turns a VM on and off.
func (w *world) runStrategy(vm string, to kubevirt.VirtualMachineRunStrategy) {
	w.t.Helper()
	o := &kubevirt.VirtualMachine{}
	o.Namespace, o.Name = w.ns, vm
	w.patch(o, fmt.Sprintf(`{"spec":{"runStrategy":%q}}`, to))
}

// kill ends a process with SIGKILL, if it runs, and has it come back later.
func (s *stressRun) kill(p *harness.Program, down time.Duration, start func()) {
	s.t.Helper()
	if p.Running() {
		p.Kill(s.t)
		s.away = append(s.away, stressAway{back: time.Now().Add(down), start: start})
	}
}

// bringBack starts the killed processes whose time has come.
func (s *stressRun) bringBack(now time.Time) {
	var still []stressAway
	for _, a := range s.away {
		if a.back.After(now) {
			still = append(still, a)
			continue
		}
		a.start()
	}
	s.away = still
}

// hear asks a running guest for the last write that it has finished. It must not
// know of less than it did before.
func (s *stressRun) hear(v *stressVM) (now int64, heard bool) {
	s.t.Helper()
	if !v.up {
		return 0, false
	}
	now, err := guestTold(filepath.Join(s.Dir, "guests", s.ns+"-"+v.name+".sock"))
	if err != nil {
		return 0, false // it starts, ends or moves
	}
	if now < v.acked {
		s.t.Errorf("the guest of %s has lost writes: it had finished %d, and now %d", v.name, v.acked, now)
	}
	v.acked = max(v.acked, now)
	return now, true
}

// guestTold is `vm status` without a process for each question.
func guestTold(socket string) (sequence int64, err error) {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, err
	}
	if err := json.NewEncoder(conn).Encode(map[string]string{"op": "status"}); err != nil {
		return 0, err
	}
	var told struct {
		Sequence int64  `json:"sequence"`
		Error    string `json:"error"`
	}
	if err := json.NewDecoder(conn).Decode(&told); err != nil {
		return 0, err
	}
	if told.Error != "" {
		return 0, fmt.Errorf("guest: %s", told.Error)
	}
	return told.Sequence, nil
}

// agree tells whether a point's disks are at most one write apart.
func agree(c v1alpha1.Consistency) bool {
	return c == v1alpha1.ConsistencyFrozen || c == v1alpha1.ConsistencyOffline
}
