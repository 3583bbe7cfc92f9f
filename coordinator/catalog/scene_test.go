package catalog

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/points"
)

// scene is a target and a cluster, as far as they matter here.
type scene struct {
	t     *testing.T
	index *Index
	facts Facts
	// on is what is on the target: path -> version, or a document.
	on map[string]protocol.FoundDocument
}

func newScene(t *testing.T) *scene {
	return &scene{
		t: t, index: NewIndex(), on: map[string]protocol.FoundDocument{},
		facts: Facts{Points: map[string]Point{}, Forgotten: map[types.UID]bool{}, Namespaces: map[string]bool{"prod": true, "kube-system": true, "hayloft-system": true}, Reserved: []string{"hayloft-system"}},
	}
}

// put a document on the target.
func (s *scene) put(namespace string, n int) (path string) {
	d := points.Document(namespace, fmt.Sprintf("p%d", n), n)
	path = points.Path(s.t, d)
	s.on[path] = protocol.FoundDocument{Path: path, Version: "v1", Digest: "sha256:1", Origin: d.Origin, Point: d.Point, Consistency: d.Consistency, Disks: d.Disks}
	return path
}

// exists says that there is a VMBackup of a document.
func (s *scene) exists(path string, found bool) {
	d := s.on[path]
	s.facts.Points[path] = Point{
		Namespace: d.Point.Namespace, Name: d.Point.Name, UID: "here-" + d.Point.UID, Found: found, Phase: v1alpha1.BackupReady, Digest: d.Digest,
	}
}

func (s *scene) phase(path string, phase v1alpha1.BackupPhase) {
	p := s.facts.Points[path]
	p.Phase = phase
	s.facts.Points[path] = p
}

// list does what the worker does, and applies it.
func (s *scene) list() (Intent, protocol.RefreshResult) {
	known, confirm := s.index.Prepare(s.facts)
	var r protocol.RefreshResult
	listed := map[string]bool{}
	versions := map[string]string{}
	for _, k := range known {
		path, version := protocol.ParseKnown(k)
		versions[path] = version
	}
	for path, d := range s.on {
		r.Listed++
		listed[path] = true
		switch version, ok := versions[path]; {
		case ok && version == protocol.AnyVersion:
			r.Unchanged++
			r.Seen = append(r.Seen, protocol.Known(path, d.Version))
		case ok && version == d.Version:
			r.Unchanged++
		case d.Digest == "":
			r.Faults = append(r.Faults, protocol.FaultyDocument{Path: path, Version: d.Version, Changed: ok, Reason: protocol.Reason(d.Consistency), Message: "bad"})
		default:
			d.Changed = ok
			r.Read = append(r.Read, d)
		}
	}
	for path := range versions {
		if !listed[path] {
			r.Gone = append(r.Gone, path)
		}
	}
	for _, path := range confirm {
		if !listed[path] {
			r.Absent = append(r.Absent, path)
		}
	}
	in := s.index.Apply(s.facts, r)
	for _, d := range in.Make {
		s.exists(d.Path, true)
		s.index.Set(d.Path, Entry{Version: d.Version, State: Known})
	}
	for _, m := range in.Missing {
		s.phase(s.path(m.UID), v1alpha1.BackupMissing)
	}
	for _, p := range in.Back {
		s.phase(s.path(p.UID), v1alpha1.BackupReady)
	}
	for _, p := range in.Remove {
		delete(s.facts.Points, s.path(p.UID))
	}
	return in, r
}

func (s *scene) path(uid types.UID) string {
	for path, p := range s.facts.Points {
		if p.UID == uid {
			return path
		}
	}
	s.t.Fatalf("no point %s", uid)
	return ""
}

func (s *scene) state(path string) State {
	e, _ := s.index.Get(path)
	return e.State
}
