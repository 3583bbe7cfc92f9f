package rights

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// sharePod makes the Pod of a share as a coordinator does, changed in one thing.
func (w *world) sharePod(change func(*corev1.Pod)) func(client.Client) error {
	return func(c client.Client) error {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "hayloft-system", Name: "hayloft-share-0123456789-1"},
			Spec: corev1.PodSpec{
				ServiceAccountName: "hayloft-share", AutomountServiceAccountToken: ptr.To(false),
				Containers: []corev1.Container{{Name: "share", Image: "i"}},
				Volumes: []corev1.Volume{
					{Name: "share", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}},
					{Name: "keys", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "hayloft-share-0123456789-1"}}},
				},
			},
		}
		if change != nil {
			change(p)
		}
		return c.Create(w.t.Context(), p, client.DryRunAll)
	}
}

func named(p *corev1.Pod)      { p.Name = "another" }
func asAgent(p *corev1.Pod)    { p.Spec.ServiceAccountName = "hayloft-agent" }
func withToken(p *corev1.Pod)  { p.Spec.AutomountServiceAccountToken = nil }
func withSecret(p *corev1.Pod) { p.Spec.Volumes[1].Secret.SecretName = "s3-keys" }
func onHost(p *corev1.Pod)     { p.Spec.HostNetwork = true }

func withEnv(p *corev1.Pod) {
	p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s3-keys"}}}}
}
