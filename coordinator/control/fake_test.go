package control_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/document"
)

// fakeTargets is target work that remembers what it was asked and fails where
// it is told to.
type fakeTargets struct {
	mu    sync.Mutex
	calls []string
	fails map[string]error // operation -> its error
	docs  map[string]*document.Document
	vm    *unstructured.Unstructured
	claim func(name string) []byte
	keeps protocol.Keeps // what probes say of the target
	draft bool           // Finalize needs a capture first
	// listing answers refreshes; nil: everything is as it is known.
	listing func(protocol.RefreshRequest) (protocol.RefreshResult, protocol.Cost)
	// sources are what the captures were given, in their order.
	sources []*protocol.CaptureSource
	// silent targets accept and never answer; hung is how many workers wait for them now,
	// most how many did at once.
	silent     map[string]bool
	hung, most int
}

// silence has a target give no answer from now on, or answer again.
func (f *fakeTargets) silence(target string, silent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent[target] = silent
}

// answers waits for an answer of a target as long as the caller does.
func (f *fakeTargets) answers(ctx context.Context, target string) error {
	f.mu.Lock()
	silent := f.silent[target]
	if silent {
		f.hung++
		f.most = max(f.most, f.hung)
	}
	f.mu.Unlock()
	if !silent {
		return nil
	}
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hung--
	return &protocol.Error{Reason: protocol.Timeout, Transient: true, Message: "it took too long"}
}

// given is what the last capture was given of the VM.
func (f *fakeTargets) given() *protocol.CaptureSource {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sources) == 0 {
		return nil
	}
	return f.sources[len(f.sources)-1]
}

// documentOf is what was finalized at a path.
func (f *fakeTargets) documentOf(path string) *document.Document {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.docs[path]
}

// missingDraft has Finalize fail until the VM is captured.
func (f *fakeTargets) missingDraft(missing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.draft = missing
}

func newFakeTargets() *fakeTargets {
	return &fakeTargets{fails: map[string]error{}, docs: map[string]*document.Document{}, silent: map[string]bool{}}
}

func (f *fakeTargets) do(op, arg string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, op+" "+arg)
	return f.fails[op]
}

// fail has an operation fail from now on; nil heals it.
func (f *fakeTargets) fail(op string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[op] = err
}

func (f *fakeTargets) called(op string) (args []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if len(c) > len(op) && c[:len(op)+1] == op+" " {
			args = append(args, c[len(op)+1:])
		}
	}
	return args
}

func (f *fakeTargets) Probe(_ context.Context, t protocol.Target) (protocol.ProbeResult, error) {
	err := f.do("probe", t.Name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent[t.Name] { // at once, for the tests' sake
		err = &protocol.Error{Reason: protocol.Timeout, Transient: true, Message: "it gave no answer in the time allowed"}
	}
	return protocol.ProbeResult{Keeps: f.keeps}, err
}

func (f *fakeTargets) ProbeAndTidy(ctx context.Context, t protocol.Target) (protocol.ProbeResult, error) {
	if err := f.do("tidy", t.Name); err != nil {
		return protocol.ProbeResult{}, err
	}
	return f.Probe(ctx, t)
}

func (f *fakeTargets) Capture(_ context.Context, _ protocol.Target, r protocol.CaptureRequest) error {
	slices.Sort(r.Claims)
	f.missingDraft(false)
	f.mu.Lock()
	f.sources = append(f.sources, r.Source)
	f.mu.Unlock()
	return f.do("capture", fmt.Sprint(r.VM, r.Claims))
}

func (f *fakeTargets) Finalize(_ context.Context, _ protocol.Target, r protocol.FinalizeRequest) (protocol.FinalizeResult, error) {
	if err := f.do("finalize", string(r.Point.UID)); err != nil {
		return protocol.FinalizeResult{}, err
	}
	f.mu.Lock()
	missing := f.draft
	f.mu.Unlock()
	if missing {
		return protocol.FinalizeResult{}, &protocol.Error{Reason: protocol.NotFound, Message: "the draft is not on the target"}
	}
	path, err := document.PointPath(r.Point.Namespace, r.Point.Name, r.Point.UID)
	if err != nil {
		return protocol.FinalizeResult{}, err
	}
	out := protocol.FinalizeResult{Path: path, Digest: "sha256:00"}
	for _, d := range r.Disks {
		out.Disks = append(out.Disks, protocol.Inspection{Name: d.Name, SizeBytes: d.SizeBytes, VolumeSizeBytes: d.SizeBytes, UploadedBytes: 1000})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.docs[path] = &document.Document{FormatVersion: 1, Digest: out.Digest, Point: r.Point, Disks: r.Disks, Origin: document.Origin{Namespace: r.Point.Namespace}}
	return out, nil
}

func (f *fakeTargets) ReadDocument(_ context.Context, _ protocol.Target, r protocol.ReadDocumentRequest) (*document.Document, error) {
	path := r.Path
	if err := f.do("readDocument", path); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.docs[path]
	if d == nil {
		return nil, &protocol.Error{Reason: protocol.NotFound, Message: path + " is not on the target"}
	}
	c := *d
	vm, err := f.vm.MarshalJSON()
	if err != nil {
		return nil, err
	}
	c.VM, c.Claims, c.Origin.VM = vm, nil, f.vm.GetName()
	for _, disk := range c.Disks {
		c.Claims = append(c.Claims, document.Claim{Name: disk.Claim, Object: f.claim(disk.Claim)})
	}
	return &c, nil
}

func (f *fakeTargets) InspectBackups(_ context.Context, _ protocol.Target, _ string, disks []document.Disk) ([]protocol.Inspection, error) {
	if err := f.do("inspectBackups", fmt.Sprint(len(disks))); err != nil {
		return nil, err
	}
	var out []protocol.Inspection
	for _, d := range disks {
		out = append(out, protocol.Inspection{Name: d.Name, SizeBytes: d.SizeBytes, VolumeSizeBytes: d.SizeBytes})
	}
	return out, nil
}

func (f *fakeTargets) InspectBlocks(_ context.Context, _ protocol.Target, _ string, disks []document.Disk) ([]protocol.Inspection, error) {
	return nil, f.do("inspectBlocks "+disks[0].Name, disks[0].Backup)
}

func (f *fakeTargets) MakeSecrets(_ context.Context, _ protocol.Target, r protocol.MakeSecretsRequest) error {
	return f.do("makeSecrets", r.Namespace)
}

func (f *fakeTargets) DropAttempt(_ context.Context, _ protocol.Target, _, backup string) error {
	return f.do("dropAttempt", backup)
}

// Refresh finds what is known unchanged, and nothing else, unless listing says
// otherwise.
func (f *fakeTargets) Refresh(_ context.Context, t protocol.Target, r protocol.RefreshRequest) (protocol.RefreshResult, protocol.Cost, error) {
	cost := protocol.Cost{CPU: time.Millisecond, Reaped: true, Wall: time.Millisecond, Requests: 1}
	if err := f.do("refresh", t.Name); err != nil {
		return protocol.RefreshResult{}, cost, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listing != nil {
		result, own := f.listing(r)
		return result, own, nil
	}
	return protocol.RefreshResult{Listed: len(r.Known), Unchanged: len(r.Known)}, cost, nil
}

func (f *fakeTargets) Leftovers(ctx context.Context, t protocol.Target, _ protocol.LeftoversRequest) (protocol.LeftoversResult, protocol.Cost, error) {
	err := f.do("leftovers", t.Name)
	if err == nil {
		err = f.answers(ctx, t.Name)
	}
	return protocol.LeftoversResult{}, protocol.Cost{Reaped: true}, err
}

func (f *fakeTargets) DeletePoint(ctx context.Context, t protocol.Target, r protocol.DeleteRequest) error {
	if err := f.answers(ctx, t.Name); err != nil {
		return err
	}
	return f.do("deletePoint", fmt.Sprintf("%s %d", r.DraftUID, len(r.Backups)))
}
