package chart

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"hayloft.dev/deploy/tools/objects"
)

// TestLint is `helm lint --strict`.
func TestLint(t *testing.T) {
	for name, values := range cases(t) {
		lint := action.NewLint()
		lint.Strict = true
		result := lint.Run([]string{folder}, values)
		require.Empty(t, result.Errors, name)
		for _, m := range result.Messages {
			require.Less(t, m.Severity, support.WarningSev, "%s: %s", name, m)
		}
	}
}

// TestSchema: what values.yaml does not know, or means otherwise, is refused.
func TestSchema(t *testing.T) {
	c := load(t)
	for field, values := range map[string]string{
		"replica":        "coordinator: {replica: 2}",
		"replicas":       "coordinator: {replicas: 0}",
		"logLevel":       "agent: {logLevel: loud}",
		"digests/agent":  "image: {digests: {agent: latest}}",
		"jobPerNode":     "coordinator: {settings: {limits: {jobPerNode: 2}}}",
		"extraArgs":      "agent: {extraArgs: [stall-limit=1m]}",
		"socket":         "agent: {containerPause: {enabled: true, socket: containerd.sock}}",
		"targets":        "networkPolicy: {targets: [{cidr: 192.0.2.0/24}]}",
		"interval":       "monitoring: {serviceMonitor: {interval: soon}}",
		"maxUnavailable": "agent: {maxUnavailable: all}",
	} {
		var v map[string]any
		require.NoError(t, yaml.UnmarshalStrict([]byte(values), &v))
		_, err := Render(t.Context(), c, Release{Name: "hayloft", Namespace: "hayloft-system", Values: v, KubeVersion: kubeVersion})
		require.ErrorContains(t, err, field, values)
	}
	_, err := Render(t.Context(), c, Release{Name: "hayloft", Namespace: "hayloft-system", KubeVersion: "v1.31.9"})
	require.ErrorContains(t, err, "kubeVersion", "a token of 1.31 does not say where its pod runs")
}

// TestOneSource: the chart has the very roles, policies, webhook and definitions
// that the local stack and all tests run under.
func TestOneSource(t *testing.T) {
	everything := cases(t)["everything"]
	delete(everything, "rbac") // its Role of credentials is another
	rendered := render(t, "hayloft-system", everything)
	plain := map[string]*unstructured.Unstructured{}
	for _, name := range []string{"rbac", "policies", "webhook", "crds"} {
		all, err := objects.ReadFolder(filepath.Join("../..", name))
		require.NoError(t, err)
		maps.Copy(plain, byKey(t, all))
	}
	for key, o := range plain {
		require.Contains(t, rendered, key)
		require.Equal(t, content(o), content(rendered[key]), key)
	}
	kinds := []string{"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}
	for key, o := range rendered {
		require.True(t, plain[key] != nil || !slices.Contains(kinds, o.GetKind()), "%s is in the chart alone", key)
		if o.GetKind() == "CustomResourceDefinition" {
			require.Equal(t, "keep", o.GetAnnotations()["helm.sh/resource-policy"], key)
		}
	}
}

// TestNamespaces: nothing is left that is said of the usual namespaces.
func TestNamespaces(t *testing.T) {
	for name, values := range cases(t) {
		values["longhorn"] = map[string]any{"namespace": "storage"}
		if api, ok := values["api"].(map[string]any); ok {
			delete(api, "names")
		}
		for key, o := range render(t, "backup", values) {
			if key == "PrometheusRule backup/hayloft" || o.GetKind() == "ConfigMap" || o.GetKind() == "CustomResourceDefinition" {
				continue // descriptions and links
			}
			data, err := yaml.Marshal(o.Object)
			require.NoError(t, err)
			for _, usual := range []string{"hayloft-system", "longhorn-system"} {
				require.NotContains(t, string(data), usual, "%s: %s", name, key)
			}
		}
	}
}

// TestLeastRights: a right that an opt-in needs is not there without it.
func TestLeastRights(t *testing.T) {
	plain, full := render(t, "hayloft-system", nil), render(t, "hayloft-system", cases(t)["everything"])
	for _, key := range []string{
		"Role longhorn-system/hayloft-heal", "ClusterRole /hayloft-heal", "ClusterRole /hayloft-api", "ClusterRole /hayloft-api-callers", "Role hayloft-system/hayloft-api-ca",
		"NetworkPolicy longhorn-system/hayloft-agents-to-instance-managers", "Service hayloft-system/hayloft-api",
	} {
		require.NotContains(t, plain, key)
		require.Contains(t, full, key)
	}
	rules, _, err := unstructured.NestedSlice(full["Role hayloft-system/hayloft-credentials"].Object, "rules")
	require.NoError(t, err)
	require.Equal(t, []any{map[string]any{
		"apiGroups": []any{""}, "resources": []any{"secrets"}, "resourceNames": []any{"s3-keys", "offsite-keys"}, "verbs": []any{"get"},
	}}, rules)
	subjects, _, err := unstructured.NestedSlice(full["RoleBinding hayloft-system/hayloft-identities"].Object, "subjects")
	require.NoError(t, err)
	require.Len(t, subjects, 1, "agents read no identities")
}

// TestKindsOfThePrometheusOperator: they are as that knows them.
func TestKindsOfThePrometheusOperator(t *testing.T) {
	full := render(t, "hayloft-system", cases(t)["everything"])
	for _, program := range []string{"agent", "coordinator"} {
		var m monitoring.ServiceMonitor
		strict(t, full["ServiceMonitor hayloft-system/hayloft-"+program], &m)
		require.Equal(t, "prometheus", m.Labels["release"])
		require.Equal(t, monitoring.Duration("15s"), m.Spec.Endpoints[0].Interval)
		var s corev1.Service
		strict(t, full["Service hayloft-system/hayloft-"+program+"-metrics"], &s)
		for k, v := range m.Spec.Selector.MatchLabels {
			require.Equal(t, v, s.Labels[k])
		}
		require.Equal(t, m.Spec.Endpoints[0].Port, s.Spec.Ports[0].Name)
	}
	var r monitoring.PrometheusRule
	strict(t, full["PrometheusRule hayloft-system/hayloft"], &r)
	require.Equal(t, "prometheus", r.Labels["release"])
	require.NotEmpty(t, r.Spec.Groups)
	dashboard := full["ConfigMap hayloft-system/hayloft-dashboard-fleet"]
	require.Equal(t, "1", dashboard.GetLabels()["grafana_dashboard"])
}

// TestPods: what pods are started with is what the programs know, and an upgrade
// neither restarts them for a setting nor takes the webhook away.
func TestPods(t *testing.T) {
	for name, values := range cases(t) {
		rendered := render(t, "hayloft-system", values)
		var agents appsv1.DaemonSet
		var coordinators appsv1.Deployment
		strict(t, rendered["DaemonSet hayloft-system/hayloft-agent"], &agents)
		strict(t, rendered["Deployment hayloft-system/hayloft-coordinator"], &coordinators)
		require.Equal(t, 0, coordinators.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(), name)
		for main, pod := range map[string]corev1.PodTemplateSpec{"../../../agent": agents.Spec.Template, "../../../coordinator": coordinators.Spec.Template} {
			require.False(t, pod.Spec.HostNetwork || pod.Spec.HostPID || pod.Spec.HostIPC, name)
			require.Empty(t, pod.Annotations["checksum/config"])
			known := flagsOf(t, main)
			for _, arg := range pod.Spec.Containers[0].Args {
				flag, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
				require.True(t, strings.Contains(known, `"`+flag+`"`), "%s: %s has no flag --%s", name, main, flag)
			}
			for _, v := range pod.Spec.Volumes {
				require.True(t, v.HostPath == nil || name == "everything", "%s: volume %s", name, v.Name)
			}
		}
		if pause := agents.Spec.Template.Spec; name == "everything" {
			require.Equal(t, "/run/k3s/containerd", pause.Volumes[2].HostPath.Path)
			require.False(t, *pause.AutomountServiceAccountToken)
			knows := flagsOf(t, "../../../agent/pauser")
			for _, arg := range pause.Containers[1].Args {
				flag, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
				require.Contains(t, knows, `"`+flag+`"`)
			}
			for _, m := range pause.Containers[1].VolumeMounts {
				require.NotEqual(t, "token", m.Name, "who has containerd's socket has no token")
			}
			for _, m := range pause.Containers[0].VolumeMounts {
				require.NotEqual(t, "containerd", m.Name, "and who has the token no socket")
			}
		}
	}
}

// flagsOf a program, as its source defines them.
func flagsOf(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	var text strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		text.Write(data)
	}
	return text.String()
}

// TestKustomize: the manifests are what the chart renders, and kustomize takes them.
func TestKustomize(t *testing.T) {
	dir := t.TempDir()
	all, err := Render(t.Context(), load(t), Release{Name: "hayloft", Namespace: "hayloft-system", KubeVersion: kubeVersion})
	require.NoError(t, err)
	require.NoError(t, WriteManifests(dir, "hayloft-system", all))
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	data, err := built.AsYaml()
	require.NoError(t, err)
	got, err := objects.Decode(data)
	require.NoError(t, err)
	have, want := byKey(t, got), byKey(t, all)
	require.Equal(t, "restricted", have["Namespace /hayloft-system"].GetLabels()["pod-security.kubernetes.io/enforce"])
	delete(have, "Namespace /hayloft-system")
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(have)))
	for key, o := range want {
		require.Equal(t, content(o), content(have[key]), key)
		require.NotContains(t, have[key].GetLabels(), "helm.sh/chart")
	}
}

// strict decodes an object into its type, which must know all fields.
func strict(t *testing.T, o *unstructured.Unstructured, into any) {
	t.Helper()
	require.NotNil(t, o)
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true))
}
