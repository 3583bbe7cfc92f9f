package chart

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	namespace = "hayloft-system"
	patience  = time.Minute
)

// cluster is a real API server and Helm's way to it. No controllers run behind it:
// objects are checked and stored, pods are not started.
type cluster struct {
	t    *testing.T
	c    client.Client
	helm *action.Configuration
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	k := &cluster{t: t, helm: &action.Configuration{}}
	flags := genericclioptions.NewConfigFlags(false)
	path, in := kubeconfig(t), namespace
	flags.KubeConfig, flags.Namespace = &path, &in
	config, err := flags.ToRESTConfig()
	require.NoError(t, err)
	config.QPS = -1
	k.c, err = client.New(config, client.Options{})
	require.NoError(t, err)
	require.NoError(t, k.helm.Init(flags, namespace, "secret", t.Logf))
	for name, level := range map[string]string{namespace: "restricted", "longhorn-system": "privileged", "privileged": "privileged"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}}
		require.NoError(t, client.IgnoreAlreadyExists(k.c.Create(t.Context(), ns)))
	}
	k.definePrometheusKinds()
	return k
}

// definePrometheusKinds has the server take ServiceMonitors and PrometheusRules,
// whatever is in them: TestKindsOfThePrometheusOperator looks at that.
func (k *cluster) definePrometheusKinds() {
	for plural, kind := range map[string]string{"servicemonitors": "ServiceMonitor", "prometheusrules": "PrometheusRule"} {
		o := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", plural+".monitoring.coreos.com")
		o.Object["spec"] = map[string]any{
			"group": "monitoring.coreos.com", "scope": "Namespaced",
			"names": map[string]any{"kind": kind, "plural": plural},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
			}}},
		}
		require.NoError(k.t, client.IgnoreAlreadyExists(k.c.Create(k.t.Context(), o)))
		require.Eventually(k.t, func() bool {
			list := &unstructured.UnstructuredList{}
			list.SetAPIVersion("monitoring.coreos.com/v1")
			list.SetKind(kind + "List")
			return k.c.List(k.t.Context(), list) == nil
		}, patience, 50*time.Millisecond)
	}
}

func (k *cluster) has(o *unstructured.Unstructured) bool {
	err := k.c.Get(k.t.Context(), client.ObjectKeyFromObject(o), o.DeepCopy())
	if !apierrors.IsNotFound(err) {
		require.NoError(k.t, err, o.GetName())
	}
	return err == nil
}

func (k *cluster) install(values map[string]any) {
	k.t.Helper()
	install := action.NewInstall(k.helm)
	install.ReleaseName, install.Namespace = "hayloft", namespace
	_, err := install.RunWithContext(k.t.Context(), load(k.t), values)
	require.NoError(k.t, err)
}

func (k *cluster) uninstall() {
	k.t.Helper()
	_, err := action.NewUninstall(k.helm).Run("hayloft")
	require.NoError(k.t, err)
}

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

func point() *unstructured.Unstructured {
	o := object("hayloft.dev/v1alpha1", "VMBackup", "default", "p")
	o.Object["spec"] = map[string]any{"vm": "web", "target": "s3"}
	return o
}

// TestInstall installs, upgrades and uninstalls the chart as a user would: the real
// API server takes every object, and the user's points stay at the end.
func TestInstall(t *testing.T) {
	k := newCluster(t)
	all := cases(t)

	k.install(all["default"])
	for key, o := range render(t, namespace, all["default"]) {
		require.True(t, k.has(o), key)
	}
	require.Eventually(t, func() bool {
		err := k.c.Create(t.Context(), point(), client.DryRunAll)
		return err != nil && apierrors.IsInternalError(err)
	}, patience, 50*time.Millisecond, "without a coordinator that serves it the webhook fails closed")
	require.NoError(t, k.c.Create(t.Context(), object("v1", "ConfigMap", "default", "other"), client.DryRunAll), "and no other kind depends on it")

	// The coordinators say whom to trust.
	bundle := []byte(`[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"` + caBundle + `"}]`)
	webhook := object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "", "hayloft")
	require.NoError(t, k.c.Patch(t.Context(), webhook, client.RawPatch(types.JSONPatchType, bundle)))

	upgrade := action.NewUpgrade(k.helm)
	upgrade.Namespace = namespace
	_, err := upgrade.RunWithContext(t.Context(), "hayloft", load(t), all["everything"])
	require.NoError(t, err)
	for key, o := range render(t, namespace, all["everything"]) {
		require.True(t, k.has(o), key)
	}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook))
	hooks, _, err := unstructured.NestedSlice(webhook.Object, "webhooks")
	require.NoError(t, err)
	trusted, _, err := unstructured.NestedString(hooks[0].(map[string]any), "clientConfig", "caBundle")
	require.NoError(t, err)
	require.Equal(t, caBundle, trusted, "an upgrade leaves alone what the coordinators wrote")

	_, err = action.NewUpgrade(k.helm).RunWithContext(t.Context(), "hayloft", load(t), all["nothing"])
	require.NoError(t, err)
	require.True(t, k.has(object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "vmbackups.hayloft.dev")), "definitions that are not in the release any more stay")
	require.False(t, k.has(webhook))
	require.Eventually(t, func() bool { return k.c.Create(t.Context(), point()) == nil }, patience, 50*time.Millisecond)

	k.uninstall()
	for key, o := range render(t, namespace, all["everything"]) {
		require.Equal(t, o.GetKind() == "CustomResourceDefinition", k.has(o), "%s after the release is gone", key)
	}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKeyFromObject(point()), point()), "points are the user's")

	k.install(all["default"]) // and whoever comes back finds them
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKeyFromObject(point()), point()))
	k.uninstall()
}

// TestRollback: with a release that goes back its definitions do, and a point keeps what the former ones know.
func TestRollback(t *testing.T) {
	k := newCluster(t)
	values := cases(t)["nothing"]
	values["crds"] = map[string]any{"install": true}
	former := load(t)
	for _, f := range former.Files {
		if f.Name == "files/crds/hayloft.dev_vmbackups.yaml" {
			without := regexp.MustCompile(`(?m)^ {14}note:\n(^ {15,}.*\n)+`)
			require.Len(t, without.FindAll(f.Data, -1), 1, "the field spec.note")
			f.Data = without.ReplaceAll(f.Data, nil)
		}
	}
	install := action.NewInstall(k.helm)
	install.ReleaseName, install.Namespace = "hayloft", namespace
	_, err := install.RunWithContext(t.Context(), former, values)
	require.NoError(t, err)
	noted := func() *unstructured.Unstructured {
		p := point()
		require.NoError(t, unstructured.SetNestedField(p.Object, "before the move", "spec", "note"))
		return p
	}
	// The server takes a moment to serve another definition.
	awaitNote := func(what string, kept bool) {
		require.Eventually(t, func() bool {
			p := noted()
			p.SetName("n")
			err := k.c.Create(t.Context(), p, client.DryRunAll)
			_, has, _ := unstructured.NestedString(p.Object, "spec", "note")
			return err == nil && has == kept
		}, patience, 50*time.Millisecond, what)
	}
	awaitNote("a former definition knows no note", false)

	upgrade := action.NewUpgrade(k.helm)
	upgrade.Namespace = namespace
	_, err = upgrade.RunWithContext(t.Context(), "hayloft", load(t), values)
	require.NoError(t, err)
	awaitNote("the next one does", true)
	kept := noted()
	kept.SetName("kept")
	require.NoError(t, k.c.Create(t.Context(), kept))

	require.NoError(t, action.NewRollback(k.helm).Run("hayloft"))
	awaitNote("and goes back", false)
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKeyFromObject(kept), kept))
	spec, _, err := unstructured.NestedMap(kept.Object, "spec")
	require.NoError(t, err)
	require.Equal(t, "web", spec["vm"])
	require.NotContains(t, spec, "note")
	require.NoError(t, k.c.Delete(t.Context(), kept))
	k.uninstall()
}

// TestPodSecurity: the API server's own admission takes every pod of ours in a
// namespace of level "restricted"; with container pause it is not taken there.
func TestPodSecurity(t *testing.T) {
	k := newCluster(t)
	for _, name := range []string{"hayloft-agent", "hayloft-coordinator"} {
		for _, in := range []string{namespace, "privileged"} {
			require.NoError(t, client.IgnoreAlreadyExists(k.c.Create(t.Context(), object("v1", "ServiceAccount", in, name))))
		}
	}
	for name, values := range cases(t) {
		rendered := render(t, namespace, values)
		agents, coordinators := rendered["DaemonSet hayloft-system/hayloft-agent"], rendered["Deployment hayloft-system/hayloft-coordinator"]
		require.NoError(t, k.start(namespace, coordinators), name)
		err := k.start(namespace, agents)
		if name != "everything" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, `violates PodSecurity "restricted:latest"`)
		require.ErrorContains(t, err, "hostPath")
		require.NotContains(t, err.Error(), "allowPrivilegeEscalation")
		require.NotContains(t, err.Error(), "capabilities")
		require.NoError(t, k.start("privileged", agents))
	}
	for _, name := range []string{"hayloft-agent", "hayloft-coordinator"} {
		require.NoError(t, k.c.Delete(t.Context(), object("v1", "ServiceAccount", namespace, name)))
	}
}

// start has the API server look at the pod that a workload would make.
func (k *cluster) start(in string, workload *unstructured.Unstructured) error {
	template, _, err := unstructured.NestedMap(workload.Object, "spec", "template")
	require.NoError(k.t, err)
	var pod corev1.Pod
	require.NoError(k.t, runtime.DefaultUnstructuredConverter.FromUnstructured(template, &pod))
	pod.Namespace, pod.Name = in, workload.GetName()
	return k.c.Create(k.t.Context(), &pod, client.DryRunAll)
}
