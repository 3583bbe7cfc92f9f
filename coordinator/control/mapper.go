package control

import (
	"net/http"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// mapper remembers what was found out about kinds. Each look into the cache of one
// namespace asks for its kind's, and finding that out takes more memory than the look.
type mapper struct {
	meta.RESTMapper
	known sync.Map // kind and versions -> *meta.RESTMapping
}

func newMapper(rc *rest.Config, c *http.Client) (meta.RESTMapper, error) {
	found, err := apiutil.NewDynamicRESTMapper(rc, c)
	return &mapper{RESTMapper: found}, err
}

// RESTMapping is remembered once it was found: a kind that is not there may come.
func (m *mapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	type key struct {
		kind     schema.GroupKind
		versions string
	}
	k := key{kind, strings.Join(versions, " ")}
	if found, ok := m.known.Load(k); ok {
		return found.(*meta.RESTMapping), nil
	}
	found, err := m.RESTMapper.RESTMapping(kind, versions...)
	if err == nil {
		m.known.Store(k, found)
	}
	return found, err
}
