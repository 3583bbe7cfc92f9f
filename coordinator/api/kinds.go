package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Mapper knows the kinds that callers reach through this API, so that nothing has
// to be asked of the API server before it is known who calls.
func Mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion, corev1.SchemeGroupVersion})
	for kind, scope := range map[string]meta.RESTScope{
		"VMBackup": meta.RESTScopeNamespace, "VMRestore": meta.RESTScopeNamespace, "VMSchedule": meta.RESTScopeNamespace,
		"NodeJob": meta.RESTScopeNamespace, "BackupTarget": meta.RESTScopeRoot,
	} {
		m.Add(v1alpha1.GroupVersion.WithKind(kind), scope)
	}
	// In which what was deleted with its data kept is written down.
	m.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	return m
}
