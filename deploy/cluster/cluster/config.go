package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// PauseImage holds the namespaces of every pod.
const PauseImage = "hayloft.dev/pause:cluster"

// containerdConfig: %[1]s is the pause image, %[2]s the folder of network configurations. restrict_oom_score_adj is for
// machines that may not make a process less likely to be killed than its parent (no CAP_SYS_RESOURCE).
const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[1]s"
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "%[2]s"
`

// podNetwork: %[1]s is the range of the node's pods. Each pod has a link of its own to the node, which routes.
const podNetwork = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "ptp",
    "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "%[1]s"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`

// kubeletConfig: %[1]s is the authority, %[2]s the cgroup, %[3]s a resolv.conf. Disk space is the real machine's and
// not for a kubelet to make room on. With a lease of 20 s a kubelet renews it each 5 s, half as long as by default: nodeGrace.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[1]s}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: %[2]s
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
resolvConf: %[3]s
evictionHard: {memory.available: 1Mi, nodefs.available: 0%%, nodefs.inodesFree: 0%%, imagefs.available: 0%%}
imageGCHighThresholdPercent: 100
shutdownGracePeriod: 0s
nodeLeaseDurationSeconds: 20
`

// nodeGrace is how long a node may say nothing until it is not ready: four renewals of its lease, as by default until
// Kubernetes 1.31 (40 s of 10 s; five since), so that a lost node is given up in less than half the time.
const nodeGrace = "20s"

// webhookPatience is how long an API server goes on with a connection to a webhook on a node that is lost: 20 s until it asks and
// 8 s for an answer, where the default is 30 s and 15 s. It is longer than nodeGrace: who connects anew while the lost node still
// counts is led there again, and then waits for 30 s.
var webhookPatience = []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS=20", "HTTP2_PING_TIMEOUT_SECONDS=8"}

// nodeConfig is where a node's programs find their configuration.
type nodeConfig struct{ dir string }

func (c nodeConfig) containerd() string { return filepath.Join(c.dir, "containerd.toml") }
func (c nodeConfig) networks() string   { return filepath.Join(c.dir, "cni") }
func (c nodeConfig) kubelet() string    { return filepath.Join(c.dir, "kubelet.yaml") }
func (c nodeConfig) resolv() string     { return filepath.Join(c.dir, "resolv.conf") }
func (c nodeConfig) kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

func (c nodeConfig) write(plan nodePlan, authority, cgroup string) error {
	if err := os.MkdirAll(c.networks(), 0o755); err != nil {
		return fmt.Errorf("configuring %s: %w", plan.name, err)
	}
	for path, content := range map[string]string{
		c.containerd(): fmt.Sprintf(containerdConfig, PauseImage, c.networks()),
		filepath.Join(c.networks(), "pods.conflist"): fmt.Sprintf(podNetwork, plan.pods),
		c.kubelet(): fmt.Sprintf(kubeletConfig, authority, cgroup, c.resolv()),
		c.resolv():  "", // there is no name server
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return fmt.Errorf("configuring %s: %w", plan.name, err)
		}
	}
	return nil
}
