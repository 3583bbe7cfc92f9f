package lease

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// memory holds Leases by the API server's rules of compare-and-swap, for tests
// with synthetic time. TestServerRules holds the real one to the same rules.
type memory struct {
	mu      sync.Mutex
	leases  map[string]*coordinationv1.Lease // name -> as stored
	version int
}

func newMemory() *memory { return &memory{leases: map[string]*coordinationv1.Lease{}} }

// link is one process's way to the memory.
type link struct {
	client.Client
	m *memory

	mu sync.Mutex
	// fault is called in place of a request, which is do; nil: no fault.
	fault func(ctx context.Context, request string, do func() error) error
	count map[string]int // "get volume" -> requests
}

func (m *memory) link() *link { return &link{m: m, count: map[string]int{}} }

func (l *link) set(fault func(ctx context.Context, request string, do func() error) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// counted returns the requests since the last call.
func (l *link) counted() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.count
	l.count = map[string]int{}
	return c
}

func (l *link) request(ctx context.Context, verb, name string, do func() error) error {
	kind, _, _ := strings.Cut(name, "-")
	l.mu.Lock()
	fault := l.fault
	l.count[verb+" "+kind]++
	l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not sent: %w", err)
	}
	locked := func() error {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		return do()
	}
	if fault == nil {
		return locked()
	}
	return fault(ctx, verb+" "+name, locked)
}

var resource = coordinationv1.Resource("leases")

func (m *memory) store(obj *coordinationv1.Lease) {
	m.version++
	obj.ResourceVersion = strconv.Itoa(m.version)
	m.leases[obj.Name] = obj.DeepCopy()
}

func (l *link) Get(ctx context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	return l.request(ctx, "get", key.Name, func() error {
		stored := l.m.leases[key.Name]
		if stored == nil {
			return apierrors.NewNotFound(resource, key.Name)
		}
		stored.DeepCopyInto(obj.(*coordinationv1.Lease))
		return nil
	})
}

func (l *link) Create(ctx context.Context, obj client.Object, _ ...client.CreateOption) error {
	return l.request(ctx, "create", obj.GetName(), func() error {
		if l.m.leases[obj.GetName()] != nil {
			return apierrors.NewAlreadyExists(resource, obj.GetName())
		}
		obj.SetUID(types.UID("uid-" + strconv.Itoa(l.m.version)))
		l.m.store(obj.(*coordinationv1.Lease))
		return nil
	})
}

func (l *link) Update(ctx context.Context, obj client.Object, _ ...client.UpdateOption) error {
	return l.request(ctx, "update", obj.GetName(), func() error {
		stored := l.m.leases[obj.GetName()]
		if stored == nil || stored.UID != obj.GetUID() || stored.ResourceVersion != obj.GetResourceVersion() {
			return apierrors.NewConflict(resource, obj.GetName(), fmt.Errorf("not what was read"))
		}
		l.m.store(obj.(*coordinationv1.Lease))
		return nil
	})
}

func (l *link) Delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	var o client.DeleteOptions
	o.ApplyOptions(opts)
	return l.request(ctx, "delete", obj.GetName(), func() error {
		stored := l.m.leases[obj.GetName()]
		p := o.Preconditions
		switch {
		case stored == nil:
			return apierrors.NewNotFound(resource, obj.GetName())
		case p != nil && p.UID != nil && *p.UID != stored.UID,
			p != nil && p.ResourceVersion != nil && *p.ResourceVersion != stored.ResourceVersion:
			return apierrors.NewConflict(resource, obj.GetName(), fmt.Errorf("precondition"))
		}
		delete(l.m.leases, obj.GetName())
		return nil
	})
}

// lease as stored, or nil.
func (m *memory) lease(name string) *coordinationv1.Lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leases[name].DeepCopy()
}

// change a stored lease as a third party would; nil deletes it.
func (m *memory) change(name string, how func(*coordinationv1.Lease)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if how == nil {
		delete(m.leases, name)
		return
	}
	l := m.leases[name].DeepCopy()
	how(l)
	m.store(l)
}

// Faults.

func unreachable(context.Context, string, func() error) error {
	return fmt.Errorf("connection refused")
}

// silent takes requests and answers none until their deadline.
func silent(ctx context.Context, _ string, _ func() error) error {
	<-ctx.Done()
	return ctx.Err()
}

// unanswered stores what is asked for and loses the answer, for requests that
// begin with prefix.
func unanswered(prefix string) func(context.Context, string, func() error) error {
	return func(_ context.Context, request string, do func() error) error {
		if !strings.HasPrefix(request, prefix) {
			return do()
		}
		_ = do()
		return fmt.Errorf("connection reset by peer")
	}
}

// open makes a session that the test closes.
func open(t *testing.T, c client.Client, o Options) *Session {
	t.Helper()
	o.Namespace = "ns"
	if o.Node == "" {
		o.Node = "node"
	}
	s, err := Open(t.Context(), c, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = s.Close(ctx)
	})
	return s
}
