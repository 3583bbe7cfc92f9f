package shares

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/names"
)

// Places in a Pod.
const (
	root = "/share"
	keys = "/etc/hayloft/share"
)

// nominal is the size that a claim has to name; a share has none.
var nominal = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}

func (s share) labels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name": "hayloft", "app.kubernetes.io/component": Component,
		LabelShare: s.key, LabelMount: s.mount,
	}
}

// owned makes what has a namespace go with the release.
func (o Options) owned(s share, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: o.Namespace, Name: name, Labels: s.labels(),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ServiceAccount", Name: Account, UID: o.Account}},
	}
}

// volume is an export as the kubelet mounts it. It is bound to one claim, and
// nothing on the share is ever removed with it.
func (o Options) volume(s share) *corev1.PersistentVolume {
	options := s.spec.NFS.Options
	if len(options) == 0 {
		options = defaultOptions
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: s.mount, Labels: s.labels()},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: nominal, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: o.Namespace, Name: s.mount},
			MountOptions:                  options,
			PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{
				Server: s.spec.NFS.Server, Path: s.spec.NFS.Path, ReadOnly: s.spec.ReadOnly,
			}},
		},
	}
}

func (o Options) claim(s share) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: o.owned(s, s.mount),
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, VolumeName: s.mount,
			StorageClassName: ptr.To(""), Resources: corev1.VolumeResourceRequirements{Requests: nominal},
		},
	}
}

// pod is the attempt-th of a share, under Pod Security "restricted" unless its user is
// root.
func (o Options) pod(s share, claim string, attempt int) *corev1.Pod {
	name := fmt.Sprintf("%s-%d", s.mount, attempt)
	args := []string{
		"share", fmt.Sprintf("--listen=:%d", Port), "--root=" + root, "--keys=" + keys,
		"--source=" + Source(s.spec), "--field=" + Field(s.spec),
	}
	probe := func(period int32) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(Port)}},
			PeriodSeconds: period, TimeoutSeconds: 3, FailureThreshold: 3,
		}
	}
	p := &corev1.Pod{
		ObjectMeta: o.owned(s, name),
		Spec: corev1.PodSpec{
			ServiceAccountName: Account, AutomountServiceAccountToken: ptr.To(false), EnableServiceLinks: ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To[int64](30), ImagePullSecrets: o.PullSecrets,
			NodeSelector: maps.Clone(o.NodeSelector), Tolerations: o.Tolerations, PriorityClassName: o.PriorityClass,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsUser: ptr.To(o.User), RunAsGroup: ptr.To(o.User), RunAsNonRoot: ptr.To(o.User != 0),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "share", Image: o.Image, ImagePullPolicy: o.PullPolicy, Command: []string{o.Program}, Args: args,
				Ports:          []corev1.ContainerPort{{Name: "share", ContainerPort: Port}},
				ReadinessProbe: probe(5), LivenessProbe: probe(20),
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
				},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "share", MountPath: root, ReadOnly: s.spec.ReadOnly},
					{Name: "keys", MountPath: keys, ReadOnly: true},
				},
			}},
			Volumes: []corev1.Volume{
				{Name: "share", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim, ReadOnly: s.spec.ReadOnly}}},
				{Name: "keys", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: []corev1.KeyToPath{
					// Not the client's key: who has the Pod must not be able to call another.
					{Key: KeyServerCert, Path: KeyServerCert}, {Key: KeyServerKey, Path: KeyServerKey}, {Key: KeyClientCert, Path: KeyClientCert},
				}}}},
			},
		},
	}
	p.Labels[LabelTemplate] = template(p)
	return p
}

// template is a digest of what a Pod is made of, but for its own name.
func template(p *corev1.Pod) string {
	spec := p.Spec.DeepCopy()
	spec.Volumes[1].Secret.SecretName = ""
	data, err := json.Marshal(spec)
	if err != nil {
		return ""
	}
	return names.Short(string(data))
}
