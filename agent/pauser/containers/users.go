package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/nerdctl/v2/pkg/labels/k8slabels"

	"hayloft.dev/agent/pauser/hold"
	"hayloft.dev/agent/pauser/wire"
)

const (
	// containerMetadata is the extension in which containerd's CRI plug-in keeps
	// what the kubelet has asked for a container, in versions 1 and 2 alike.
	containerMetadata = "io.cri-containerd.container.metadata"
	// hotplug is how the names of pods begin by which KubeVirt has a volume attached
	// to the node of a running VM. They only hold it.
	hotplug = "hp-volume-"
	// csi is the folder of volumes of CSI drivers.
	csi = "kubernetes.io~csi"
)

// Users are the containers which run, or stand still, and may write to volumes, told
// by what the kubelet had mounted into them.
func (c *Containerd) Users(ctx context.Context, u wire.Users) ([]hold.User, error) {
	all, err := c.client.Containers(ctx, fmt.Sprintf("labels.%q==%q,labels.%q==%q", k8slabels.ContainerType, kindContainer, k8slabels.PodNamespace, u.Namespace))
	if err != nil {
		return nil, fmt.Errorf("listing the containers of namespace %s: %w", u.Namespace, err)
	}
	var out []hold.User
	for _, found := range all {
		info, err := found.Info(ctx, containerd.WithoutRefreshedMetadata)
		if err != nil {
			return nil, fmt.Errorf("reading container %s: %w", found.ID(), err)
		}
		pod, uid := info.Labels[k8slabels.PodName], info.Labels[podUID]
		if slices.Contains(u.Except, uid) || strings.HasPrefix(pod, hotplug) {
			continue
		}
		name := fmt.Sprintf("container %s of pod %s", info.Labels[k8slabels.ContainerName], pod)
		if e := info.Extensions[containerMetadata]; e != nil {
			var m metadata
			if err := json.Unmarshal(e.GetValue(), &m); err != nil {
				return nil, fmt.Errorf("reading what %s was made of: %w", name, err)
			}
			if !m.Metadata.Config.writesTo(uid, u.Volumes) {
				continue
			}
		}
		state, _, err := state(ctx, found)
		switch {
		case err != nil:
			return nil, err
		case state != containerd.Running && state != containerd.Paused && state != containerd.Pausing:
		case info.Extensions[containerMetadata] == nil:
			return nil, fmt.Errorf("containerd does not say what %s has mounted", name)
		default:
			out = append(out, hold.User{ID: found.ID(), Name: name})
		}
	}
	return out, nil
}

// metadata is as much as matters here of what the CRI plug-in keeps.
type metadata struct {
	Metadata struct{ Config config }
}

// config is what a kubelet has asked for a container.
type config struct {
	Mounts []struct {
		HostPath string `json:"host_path"`
		ReadOnly bool   `json:"readonly"`
	} `json:"mounts"`
	Devices []struct {
		HostPath    string `json:"host_path"`
		Permissions string `json:"permissions"`
	} `json:"devices"`
}

// writesTo: the container, of the pod of that UID, can write to one of the volumes.
func (c config) writesTo(pod string, volumes []string) bool {
	for _, m := range c.Mounts {
		if !m.ReadOnly && slices.Contains(volumes, volumeAt(m.HostPath, pod)) {
			return true
		}
	}
	for _, d := range c.Devices {
		if strings.Contains(d.Permissions, "w") && slices.Contains(volumes, volumeAt(d.HostPath, pod)) {
			return true
		}
	}
	return false
}

// volumeAt is the PersistentVolume that a kubelet has for a pod at a path; "": none
// of a CSI driver.
func volumeAt(path, pod string) string {
	_, below, _ := strings.Cut(path, "/pods/"+pod+"/")
	at := strings.Split(below, "/")
	switch {
	case len(at) > 2 && (at[0] == "volumes" || at[0] == "volumeDevices") && at[1] == csi:
		return at[2]
	case len(at) > 1 && at[0] == "volume-subpaths":
		return at[1] // a folder in it; whose volume it is, the path does not say
	}
	return ""
}
