package crds

import (
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func definition(name, plural string, established *apiextensionsv1.ConditionStatus) *apiextensionsv1.CustomResourceDefinition {
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
	crd.Spec.Group = "x.dev"
	crd.Spec.Names.Plural = plural
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true}, {Name: "v0", Served: false}}
	if established != nil {
		crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: *established}}
	}
	return crd
}

func TestNotEstablished(t *testing.T) {
	yes, no := apiextensionsv1.ConditionTrue, apiextensionsv1.ConditionFalse
	wanted := []*apiextensionsv1.CustomResourceDefinition{
		definition("yes", "", nil), definition("no", "", nil), definition("silent", "", nil), definition("absent", "", nil),
	}
	have := []apiextensionsv1.CustomResourceDefinition{
		*definition("yes", "", &yes), *definition("no", "", &no), *definition("silent", "", nil), *definition("other", "", &yes),
	}
	require.Equal(t, []string{"no", "silent", "absent"}, notEstablished(wanted, have))
	require.Len(t, notEstablished(wanted, nil), 4, "an empty list establishes nothing")
}

func TestNotDiscovered(t *testing.T) {
	wanted := []*apiextensionsv1.CustomResourceDefinition{definition("as.x.dev", "as", nil), definition("bs.x.dev", "bs", nil)}
	have := []*metav1.APIResourceList{
		{GroupVersion: "x.dev/v1", APIResources: []metav1.APIResource{{Name: "as"}, {Name: "as/status"}}},
		{GroupVersion: "y.dev/v1", APIResources: []metav1.APIResource{{Name: "bs"}}},
	}
	require.Equal(t, []string{"x.dev/v1, Resource=bs"}, notDiscovered(wanted, have), "versions that are not served are not waited for")
}
