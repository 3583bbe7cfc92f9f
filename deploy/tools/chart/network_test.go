package chart

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// instanceManager are the labels of Longhorn's instance managers that tell them apart (types.GetInstanceManagerLabels of
// longhorn-manager v1.8.1), by which Longhorn's own policies select them too.
var instanceManager = map[string]string{"longhorn.io/component": "instance-manager"}

// TestNetwork: the policies that select a pod name only ports that it has, let in all that it serves to others, and let
// agents reach the instance managers, on their side and, where that is asked for, on Longhorn's.
func TestNetwork(t *testing.T) {
	for _, name := range []string{"default", "everything"} {
		rendered := render(t, namespace, cases(t)[name])
		var agents appsv1.DaemonSet
		var coordinators appsv1.Deployment
		strict(t, rendered["DaemonSet hayloft-system/hayloft-agent"], &agents)
		strict(t, rendered["Deployment hayloft-system/hayloft-coordinator"], &coordinators)
		var policies []networkingv1.NetworkPolicy
		for _, o := range rendered {
			if o.GetKind() == "NetworkPolicy" {
				var p networkingv1.NetworkPolicy
				strict(t, o, &p)
				policies = append(policies, p)
			}
		}

		for _, pod := range []corev1.PodTemplateSpec{agents.Spec.Template, coordinators.Spec.Template} {
			in, both := map[string]bool{}, false
			for _, p := range policies {
				if p.Namespace != namespace || !matches(t, p.Spec.PodSelector, pod.Labels) {
					continue
				}
				both = both || slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress})
				for _, rule := range p.Spec.Ingress {
					for _, port := range rule.Ports {
						in[port.Port.String()] = true
					}
				}
			}
			require.True(t, both, "%s: what is not named is shut, both ways", name)
			serves := map[string]bool{}
			for _, port := range pod.Spec.Containers[0].Ports {
				serves[port.Name] = true
			}
			delete(serves, "health") // kubelets are let in whatever a policy says
			require.Equal(t, serves, in, name)
		}

		reaches, let := false, false
		for _, p := range policies {
			if p.Namespace == namespace && matches(t, p.Spec.PodSelector, agents.Spec.Template.Labels) {
				for _, rule := range p.Spec.Egress {
					reaches = reaches || slices.ContainsFunc(rule.To, func(to networkingv1.NetworkPolicyPeer) bool {
						return meets(t, to, "longhorn-system", instanceManager)
					}) && len(rule.Ports) == 0
				}
			}
			if p.Namespace == "longhorn-system" {
				require.True(t, matches(t, p.Spec.PodSelector, instanceManager))
				require.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, p.Spec.PolicyTypes)
				for _, rule := range p.Spec.Ingress {
					let = let || meets(t, rule.From[0], namespace, agents.Spec.Template.Labels) && len(rule.Ports) == 0
					require.False(t, meets(t, rule.From[0], namespace, coordinators.Spec.Template.Labels))
				}
			}
		}
		require.True(t, reaches, name)
		require.Equal(t, name == "everything", let, name)
	}
}

// TestShares: coordinators reach the Pods of shares, and these nobody.
func TestShares(t *testing.T) {
	for _, name := range []string{"default", "everything"} {
		var p, from networkingv1.NetworkPolicy
		rendered := render(t, namespace, cases(t)[name])
		strict(t, rendered["NetworkPolicy hayloft-system/hayloft-share"], &p)
		strict(t, rendered["NetworkPolicy hayloft-system/hayloft-coordinator"], &from)
		require.Empty(t, p.Spec.Egress)
		port := p.Spec.Ingress[0].Ports[0].Port
		require.Contains(t, flagsOf(t, "../../../coordinator/shares"), "const Port = 9481\n")
		require.Equal(t, intstr.FromInt32(9481), *port)
		share := map[string]string{"app.kubernetes.io/name": "hayloft", "app.kubernetes.io/component": "share"}
		require.True(t, matches(t, p.Spec.PodSelector, share))
		require.True(t, slices.ContainsFunc(from.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
			return len(rule.To) == 0 && len(rule.Ports) == 0 || slices.ContainsFunc(rule.To, func(to networkingv1.NetworkPolicyPeer) bool {
				return to.PodSelector != nil && to.NamespaceSelector == nil && matches(t, *to.PodSelector, share) && *rule.Ports[0].Port == *port
			})
		}), name)
	}
}

// meets: a peer of a policy is, or may be, a pod with such labels in that namespace.
func meets(t *testing.T, peer networkingv1.NetworkPolicyPeer, namespace string, pod map[string]string) bool {
	return peer.NamespaceSelector != nil && matches(t, *peer.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": namespace}) &&
		peer.PodSelector != nil && matches(t, *peer.PodSelector, pod)
}

func matches(t *testing.T, s metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(&s)
	require.NoError(t, err)
	return selector.Matches(labels.Set(of))
}
