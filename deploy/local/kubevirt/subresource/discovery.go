package subresource

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virt "kubevirt.io/api/core/v1"
)

// Resources as they are in paths.
const (
	instances = "virtualmachineinstances"
	machines  = "virtualmachines"
)

// served are the subresources of each resource.
func served() []string {
	names := []string{}
	for _, name := range []string{"freeze", "unfreeze", "pause", "unpause"} {
		names = append(names, instances+"/"+name)
	}
	for _, name := range []string{"start", "stop", "restart"} {
		names = append(names, machines+"/"+name)
	}
	slices.Sort(names)
	return names
}

func group() metav1.APIGroup {
	version := metav1.GroupVersionForDiscovery{GroupVersion: virt.SubresourceGroupName + "/v1", Version: "v1"}
	return metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroup"}, Name: virt.SubresourceGroupName,
		Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
	}
}

func discoverGroups(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, metav1.APIGroupList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"}, Groups: []metav1.APIGroup{group()},
	})
}

func discoverGroup(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, group()) }

func discoverResources(w http.ResponseWriter, _ *http.Request) {
	list := metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
		GroupVersion: virt.SubresourceGroupName + "/v1",
	}
	for _, name := range served() {
		kind := "VirtualMachineInstance"
		if strings.HasPrefix(name, machines+"/") {
			kind = "VirtualMachine"
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: name, Namespaced: true, Kind: kind, Verbs: metav1.Verbs{"update"}})
	}
	writeJSON(w, http.StatusOK, list)
}
