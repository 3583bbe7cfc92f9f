package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	kubevirt "kubevirt.io/api/core/v1"

	"hayloft.dev/test/containertest"
	"hayloft.dev/test/harness"
)

// BenchmarkPrograms: memory and CPU of each program, with nothing to do, and while a
// running VM with two disks of random data, whose container is paused for the cut, is
// backed up. Of agents and coordinators the one that used most counts, which is the one
// that did the work; the pauser's two processes count together. Memory is the peak of
// the resident set: during a backup of the target workers too, each of which lives for
// a moment, as far as a look every 20 ms has met it.
func BenchmarkPrograms(b *testing.B) {
	size := int64(setting(b, "HAYLOFT_BENCH_MIB", 1024)) * mib
	ctrd := containertest.Start(b)
	w := newWorld(b)
	socket := w.PauserSocket(b)
	programs := []*harness.Program{w.StartPauser(b, ctrd.Socket, socket)}
	programs = append(programs, w.StartAgents(b, harness.ProgramOptions{Args: []string{"--pauser-socket", socket}})...)
	for _, name := range []string{"coordinator-1", "coordinator-2"} {
		programs = append(programs, w.StartCoordinator(b, name, harness.ProgramOptions{}))
	}
	w.targetReady(w.Target)
	vm := w.vm("vm", kubevirt.RunStrategyAlways, w.filled(size, "vm-root", "vm-data")...)
	vm.Annotations = map[string]string{"local.hayloft.dev/containerd": ctrd.Socket}
	w.startVM(vm)
	w.pass(warmUp)

	idle := w.idleWindow()
	w.costs("idle", programs, func() { w.pass(idle) })
	w.costs("backup", programs, func() { w.backup("point", "vm", w.Target) })
	w.settled()
	w.removeVM(vm)
}

// costs reports what programs use while something happens.
func (w *world) costs(when string, programs []*harness.Program, what func()) {
	w.b.Helper()
	families := make([][]int, len(programs))
	before := make([]usage, len(programs))
	coordinators := map[int]bool{}
	for i, p := range programs {
		families[i] = []int{p.PID()}
		switch p.Kind {
		case "pauser":
			families[i] = append(families[i], childrenOf(map[int]bool{p.PID(): true})...)
		case "coordinator":
			coordinators[p.PID()] = true
		}
		for _, pid := range families[i] {
			// The peak so far is of another time: proc(5), clear_refs.
			check(w.b, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0))
		}
		before[i] = w.usageOf(families[i]...)
	}
	workers := watchPeak(func() []int { return childrenOf(coordinators) })
	began := time.Now()
	what()
	took := time.Since(began)
	worst := map[string]figures{"targetio": {mib: workers() / mib}}
	for i, p := range programs {
		after, peak := w.usageOf(families[i]...), 0.0
		for _, pid := range families[i] {
			peak += peakOf(pid)
		}
		f := figures{mib: peak / mib, millicores: millicores(after.cpu-before[i].cpu, took)}
		w.b.Logf("%s: %s %s: %.1f MiB, %.1f millicores", when, p.Kind, p.Name, f.mib, f.millicores)
		worst[p.Kind] = figures{mib: max(worst[p.Kind].mib, f.mib), millicores: max(worst[p.Kind].millicores, f.millicores)}
		if p.Kind == "coordinator" {
			t := worst["targetio"]
			t.millicores += millicores(after.children-before[i].children, took)
			worst["targetio"] = t
		}
	}
	w.b.Logf("%s: over %s, %s", when, took.Round(time.Second), load())
	for kind, f := range worst {
		if f.mib == 0 {
			continue // no target worker had anything to do
		}
		w.b.ReportMetric(f.mib, kind+"-"+when+"-MiB")
		w.b.ReportMetric(f.millicores, kind+"-"+when+"-millicores")
	}
}

// watchPeak looks at processes that come and go; what it returns ends that, and
// returns the highest peak of any.
func watchPeak(pids func() []int) (peak func() float64) {
	stop, done := make(chan struct{}), make(chan float64)
	go func() {
		highest := 0.0
		looks := time.NewTicker(20 * time.Millisecond)
		defer looks.Stop()
		for {
			select {
			case <-stop:
				done <- highest
				return
			case <-looks.C:
				for _, pid := range pids() {
					highest = max(highest, peakOf(pid))
				}
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-done
	}
}

// childrenOf are the processes whose parents are among these.
func childrenOf(parents map[int]bool) (out []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil && parents[parent] {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

// peakOf is the most memory that a process has had at once, in bytes; 0: it has ended.
func peakOf(pid int) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 64)
			return kib * 1024
		}
	}
	return 0
}
