package paged

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// server answers lists as an API server does: one at any revision with all there
// is, others by pages.
type server struct {
	names   []string
	expires bool // the pages after the first are too old
	asked   []metav1.ListOptions
	watches chan string // at which revision
}

func (s *server) list(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
	s.asked = append(s.asked, o)
	from, to := 0, len(s.names)
	if o.Continue != "" {
		if s.expires {
			return nil, apierrors.NewResourceExpired("the list is too old")
		}
		if _, err := fmt.Sscan(o.Continue, &from); err != nil {
			return nil, err
		}
	}
	out := &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
	if limit := int(o.Limit); limit > 0 && o.ResourceVersion != "0" && to-from > limit {
		to = from + limit
		out.Continue = fmt.Sprint(to)
	}
	for _, name := range s.names[from:to] {
		c := corev1.ConfigMap{Data: map[string]string{"large": name}}
		c.Namespace, c.Name, c.ResourceVersion = "ns", name, "3"
		out.Items = append(out.Items, c)
	}
	return out, nil
}

func (s *server) watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.watches <- o.ResourceVersion
	return watch.NewFake(), nil
}

// A cache that is filled page by page holds what it holds otherwise: everything,
// transformed, and is watched from where it was listed. When a list grows too old
// before its last page, it is read at once.
func TestCachesAreFilledByPages(t *testing.T) {
	for name, c := range map[string]struct {
		objects int
		expires bool
		asked   string // limit and continuation of each request
	}{
		"none":         {0, false, "500/"},
		"one page":     {500, false, "500/"},
		"three pages":  {1200, false, "500/ 500/500 500/1000"},
		"grew too old": {1200, true, "500/ 500/500 0/"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{expires: c.expires, watches: make(chan string, 10)}
			for i := range c.objects {
				s.names = append(s.names, fmt.Sprintf("c%04d", i))
			}
			drop := func(o any) (any, error) {
				if o, ok := o.(*corev1.ConfigMap); ok {
					o.Data = nil
				}
				return o, nil
			}
			var likes []runtime.Object
			of := func(o runtime.Object) cache.TransformFunc { likes = append(likes, o); return drop }
			informer := Informer(of)(&cache.ListWatch{ListWithContextFunc: s.list, WatchFuncWithContext: s.watch}, &corev1.ConfigMap{}, 0, cache.Indexers{})
			require.NoError(t, informer.SetTransform(drop))
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { informer.RunWithContext(ctx) })
			require.Equal(t, "7", <-s.watches)
			require.True(t, cache.WaitForCacheSync(ctx.Done(), informer.HasSynced))
			stop()
			running.Wait()
			require.Equal(t, []runtime.Object{&corev1.ConfigMap{}}, likes)
			var asked []string
			for _, o := range s.asked {
				asked = append(asked, fmt.Sprintf("%d/%s", o.Limit, o.Continue))
			}
			require.Equal(t, c.asked, strings.Join(asked, " "))
			var held []string
			for _, o := range informer.GetStore().List() {
				held = append(held, o.(*corev1.ConfigMap).Name)
				require.Nil(t, o.(*corev1.ConfigMap).Data)
			}
			require.ElementsMatch(t, s.names, held)
		})
	}
}

// aged answers lists as an API server does that was at revision 7 and is at 9: one
// by pages at a revision is of just that one. From 7 nobody can watch any more.
type aged struct {
	server
	now  string
	fake *watch.FakeWatcher
}

func (s *aged) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	out, err := s.server.list(ctx, o)
	if err != nil {
		return nil, err
	}
	list := out.(*corev1.ConfigMapList)
	if list.ResourceVersion = s.now; o.Limit > 0 && o.ResourceVersion == "7" {
		list.ResourceVersion = "7"
	}
	return list, nil
}

func (s *aged) watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.watches <- o.ResourceVersion
	s.fake = watch.NewFake()
	return s.fake, nil
}

// A cache whose watch cannot go on is filled anew with what there is now, and not
// with the state from which it cannot.
func TestACacheThatCannotBeWatchedOnIsFilledAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &aged{server: server{watches: make(chan string, 1)}, now: "7"}
		for i := range 600 {
			s.names = append(s.names, fmt.Sprintf("c%04d", i))
		}
		informer := Informer(func(runtime.Object) cache.TransformFunc { return nil })(
			&cache.ListWatch{ListWithContextFunc: s.list, WatchFuncWithContext: s.watch}, &corev1.ConfigMap{}, time.Hour, cache.Indexers{})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { informer.RunWithContext(ctx) })
		require.Equal(t, "7", <-s.watches)
		synctest.Wait()
		require.Len(t, informer.GetStore().List(), 600)

		s.now, s.names = "9", s.names[:550]
		expired := apierrors.NewResourceExpired("too old resource version").Status()
		s.fake.Error(&expired)
		require.Equal(t, "9", <-s.watches)
		synctest.Wait()
		require.Len(t, informer.GetStore().List(), 550)
		stop()
		running.Wait()
	})
}
