package containers

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWritesTo reads what the CRI plug-in keeps of a container, with the paths at
// which kubelets have the volumes of CSI drivers.
func TestWritesTo(t *testing.T) {
	const pods = "/var/lib/kubelet/pods/"
	mount := func(path, more string) string {
		return fmt.Sprintf(`{"mounts":[{"container_path":"/etc/hosts","host_path":"/var/lib/kubelet/pods/uid/etc-hosts"},{"container_path":"/data","host_path":%q%s}]}`, path, more)
	}
	device := func(path, permissions string) string {
		return fmt.Sprintf(`{"devices":[{"container_path":"/dev/disk","host_path":%q,"permissions":%q}]}`, path, permissions)
	}
	for name, c := range map[string]struct {
		config string
		want   bool
	}{
		"nothing mounted":            {`{}`, false},
		"mounted":                    {mount(pods+"uid/volumes/kubernetes.io~csi/pvc-1/mount", ""), true},
		"another kubelet's folder":   {mount("/mnt/kubelet/pods/uid/volumes/kubernetes.io~csi/pvc-1/mount", ""), true},
		"mounted to be read":         {mount(pods+"uid/volumes/kubernetes.io~csi/pvc-1/mount", `,"readonly":true`), false},
		"a folder in it":             {mount(pods+"uid/volume-subpaths/pvc-1/sh/0", ""), true},
		"a folder in it, to be read": {mount(pods+"uid/volume-subpaths/pvc-1/sh/0", `,"readonly":true`), false},
		"a block device":             {device(pods+"uid/volumeDevices/kubernetes.io~csi/pvc-1", "mrw"), true},
		"a block device to be read":  {device(pods+"uid/volumeDevices/kubernetes.io~csi/pvc-1", "r"), false},
		"another volume":             {mount(pods+"uid/volumes/kubernetes.io~csi/pvc-10/mount", ""), false},
		"another pod's":              {mount(pods+"uid-2/volumes/kubernetes.io~csi/pvc-1/mount", ""), false},
		"no CSI driver's":            {mount(pods+"uid/volumes/kubernetes.io~empty-dir/pvc-1", ""), false},
		"all that the kubelet has":   {mount(pods, ""), false},
		"a path of the node":         {mount("/pvc-1", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			var m metadata
			require.NoError(t, json.Unmarshal([]byte(`{"Version":"v1","Metadata":{"ID":"x","Config":`+c.config+`}}`), &m))
			require.Equal(t, c.want, m.Metadata.Config.writesTo("uid", []string{"pvc-0", "pvc-1"}))
		})
	}
}
