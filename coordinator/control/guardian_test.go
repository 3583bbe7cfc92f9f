package control_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// settings defines Harvester's kind Setting: a text value, as its own does.
func (w *world) settings() {
	w.t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(w.t, apiextensions.AddToScheme(scheme))
	c, err := client.New(w.config, client.Options{Scheme: scheme})
	require.NoError(w.t, err)
	text := apiextensions.JSONSchemaProps{Type: "string"}
	crd := &apiextensions.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "settings.harvesterhci.io"},
		Spec: apiextensions.CustomResourceDefinitionSpec{
			Group: "harvesterhci.io", Scope: apiextensions.ClusterScoped,
			Names: apiextensions.CustomResourceDefinitionNames{Kind: "Setting", ListKind: "SettingList", Plural: "settings", Singular: "setting"},
			Versions: []apiextensions.CustomResourceDefinitionVersion{{
				Name: "v1beta1", Served: true, Storage: true,
				Schema: &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: ptr.To(true),
					Properties: map[string]apiextensions.JSONSchemaProps{"value": text, "default": text},
				}},
			}},
		},
	}
	require.NoError(w.t, client.IgnoreAlreadyExists(c.Create(w.ctx, crd)))
	w.eventually("the kind is served", func() bool {
		return w.client.List(w.ctx, &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "harvesterhci.io/v1beta1", "kind": "SettingList"}}) == nil
	})
}

type guards struct {
	mu       sync.Mutex
	interval map[string]time.Duration
	bad      map[string]bool
	healed   int
}

func (g *guards) Interval(kind string, every time.Duration, bad bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.interval[kind], g.bad[kind] = every, bad
}

func (g *guards) Gone(kind string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.interval, kind)
}
func (g *guards) Healed() { g.mu.Lock(); defer g.mu.Unlock(); g.healed++ }

func (g *guards) of(kind string) (every time.Duration, bad, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	every, known = g.interval[kind]
	return every, g.bad[kind], known
}

const aSetting = `{"type":"nfs","endpoint":"nfs://10.0.0.1:/backup","refreshIntervalInSeconds":0,"future":1}`

func (w *world) guarded(heal bool) (*guards, *unstructured.Unstructured, *longhorn.BackupTarget) {
	w.t.Helper()
	w.settings()
	g := &guards{interval: map[string]time.Duration{}, bad: map[string]bool{}}
	w.opts.Guard, w.opts.GuardEvery, w.opts.HealIntervals = g, 50*time.Millisecond, heal
	setting := &unstructured.Unstructured{Object: map[string]any{"value": aSetting}}
	setting.SetGroupVersionKind(schema.GroupVersionKind{Group: "harvesterhci.io", Version: "v1beta1", Kind: "Setting"})
	setting.SetName("backup-target")
	bt := &longhorn.BackupTarget{ObjectMeta: metav1.ObjectMeta{Namespace: w.lh, Name: "default"}}
	bt.Spec.BackupTargetURL, bt.Spec.PollInterval = "nfs://10.0.0.1:/backup", metav1.Duration{Duration: time.Second}
	unused := &longhorn.BackupTarget{ObjectMeta: metav1.ObjectMeta{Namespace: w.lh, Name: "unused"}}
	w.create(setting, bt, unused)
	w.t.Cleanup(func() { require.NoError(w.t, w.client.Delete(context.Background(), setting)) })
	return g, setting, bt
}

func TestHarvestersIntervalIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, setting, bt := w.guarded(false)
	w.asItself()
	w.start("one")
	w.eventually("both are found bad", func() bool {
		every, bad, known := g.of("setting")
		poll, slow, listed := g.of("longhorn")
		return known && bad && every == 0 && listed && slow && poll == time.Second
	})
	w.eventually("an event tells of each", func() bool {
		var list corev1.EventList
		require.NoError(t, w.client.List(w.ctx, &list))
		told := map[string]int{}
		for _, e := range list.Items {
			if e.Reason == "RefreshInterval" {
				told[string(e.InvolvedObject.UID)] += int(max(e.Count, 1))
			}
		}
		return told[string(setting.GetUID())] == 1 && told[string(bt.UID)] == 1
	})
	w.holds("nothing is changed without leave", 300*time.Millisecond, func() bool {
		w.refresh(setting)
		w.refresh(bt)
		return setting.Object["value"] == aSetting && bt.Spec.PollInterval.Duration == time.Second
	})
	setting.Object["value"] = `{"type":"nfs","endpoint":"nfs://10.0.0.1:/backup","refreshIntervalInSeconds":600}`
	require.NoError(t, w.client.Update(w.ctx, setting))
	w.eventually("it is good", func() bool { every, bad, _ := g.of("setting"); return !bad && every == 10*time.Minute })
	setting.Object["value"] = ""
	require.NoError(t, w.client.Update(w.ctx, setting))
	w.eventually("there is none", func() bool { _, _, known := g.of("setting"); return !known })
}

func TestHarvestersIntervalIsHealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, setting, bt := w.guarded(true)
	w.asItself()
	w.start("one")
	w.eventually("both are healed", func() bool {
		w.refresh(setting)
		w.refresh(bt)
		return setting.GetAnnotations()["hayloft.dev/former-refresh-interval"] == "0" && bt.Annotations["hayloft.dev/former-refresh-interval"] == "1s"
	})
	var value map[string]any
	require.NoError(t, json.Unmarshal([]byte(setting.Object["value"].(string)), &value))
	require.Equal(t, map[string]any{"type": "nfs", "endpoint": "nfs://10.0.0.1:/backup", "refreshIntervalInSeconds": 60.0, "future": 1.0}, value)
	require.Equal(t, time.Minute, bt.Spec.PollInterval.Duration)
	w.eventually("both are good", func() bool {
		_, bad, _ := g.of("setting")
		_, slow, _ := g.of("longhorn")
		return !bad && !slow
	})
	healed := func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.healed == 2 }
	w.eventually("both were counted", healed)
	w.holds("each is healed once", 300*time.Millisecond, healed)
}
