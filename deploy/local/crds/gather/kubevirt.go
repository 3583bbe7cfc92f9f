package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virtv1 "kubevirt.io/api/core/v1"
	"kubevirt.io/api/instancetype"
	instancetypev1beta1 "kubevirt.io/api/instancetype/v1beta1"
	"sigs.k8s.io/yaml"
)

// kubevirt makes KubeVirt's definitions. KubeVirt has no files with them: its operator builds them at run time from
// generated schemas, which are string literals in its source, and a few names. The schemas are read from the source;
// the names come from its API module and are put together here.
func kubevirt(dir string) ([]byte, error) {
	schemas, err := stringMap(filepath.Join(dir, "pkg", "virt-operator", "resource", "generate", "components",
		"validations_generated.go"), "CRDsValidation")
	if err != nil {
		return nil, err
	}
	var documents [][]byte
	for _, kind := range kubevirtKinds() {
		schema, ok := schemas[kind.Names.Singular]
		if !ok {
			return nil, fmt.Errorf("there is no schema for %s", kind.Names.Singular)
		}
		document, err := kind.definition(schema)
		if err != nil {
			return nil, fmt.Errorf("making the definition of %s: %w", kind.Names.Kind, err)
		}
		documents = append(documents, document)
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

// kind is what KubeVirt's operator adds to a schema.
type kind struct {
	Group    string
	Scope    apiextensionsv1.ResourceScope
	Versions []apiextensionsv1.CustomResourceDefinitionVersion
	Names    apiextensionsv1.CustomResourceDefinitionNames
	Columns  []apiextensionsv1.CustomResourceColumnDefinition
	Status   bool // has the status subresource; a VirtualMachineInstance has none
}

func kubevirtKinds() []kind {
	age := apiextensionsv1.CustomResourceColumnDefinition{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"}
	column := func(name, path string) apiextensionsv1.CustomResourceColumnDefinition {
		return apiextensionsv1.CustomResourceColumnDefinition{Name: name, Type: "string", JSONPath: path}
	}
	ready := column("Ready", ".status.conditions[?(@.type=='Ready')].status")
	core := virtv1.VirtualMachineGroupVersionKind.Group

	kinds := []kind{
		{
			Group: core, Scope: apiextensionsv1.NamespaceScoped, Versions: virtv1.ApiSupportedVersions, Status: true,
			Names:   apiextensionsv1.CustomResourceDefinitionNames{Plural: "virtualmachines", Singular: "virtualmachine", Kind: virtv1.VirtualMachineGroupVersionKind.Kind, ShortNames: []string{"vm", "vms"}},
			Columns: []apiextensionsv1.CustomResourceColumnDefinition{age, column("Status", ".status.printableStatus"), ready},
		},
		{
			Group: core, Scope: apiextensionsv1.NamespaceScoped, Versions: virtv1.ApiSupportedVersions,
			Names:   apiextensionsv1.CustomResourceDefinitionNames{Plural: "virtualmachineinstances", Singular: "virtualmachineinstance", Kind: virtv1.VirtualMachineInstanceGroupVersionKind.Kind, ShortNames: []string{"vmi", "vmis"}},
			Columns: []apiextensionsv1.CustomResourceColumnDefinition{age, column("Phase", ".status.phase"), column("NodeName", ".status.nodeName"), ready},
		},
		{
			Group: core, Scope: apiextensionsv1.NamespaceScoped, Versions: virtv1.ApiSupportedVersions, Status: true,
			Names:   apiextensionsv1.CustomResourceDefinitionNames{Plural: "virtualmachineinstancemigrations", Singular: "virtualmachineinstancemigration", Kind: virtv1.VirtualMachineInstanceMigrationGroupVersionKind.Kind, ShortNames: []string{"vmim", "vmims"}},
			Columns: []apiextensionsv1.CustomResourceColumnDefinition{column("Phase", ".status.phase"), column("VMI", ".spec.vmiName")},
		},
	}
	one := []apiextensionsv1.CustomResourceDefinitionVersion{{Name: instancetypev1beta1.SchemeGroupVersion.Version, Served: true, Storage: true}}
	for _, k := range []struct {
		plural, singular, kind string
		scope                  apiextensionsv1.ResourceScope
	}{
		{instancetype.PluralResourceName, instancetype.SingularResourceName, "VirtualMachineInstancetype", apiextensionsv1.NamespaceScoped},
		{instancetype.ClusterPluralResourceName, instancetype.ClusterSingularResourceName, "VirtualMachineClusterInstancetype", apiextensionsv1.ClusterScoped},
		{instancetype.PluralPreferenceResourceName, instancetype.SingularPreferenceResourceName, "VirtualMachinePreference", apiextensionsv1.NamespaceScoped},
		{instancetype.ClusterPluralPreferenceResourceName, instancetype.ClusterSingularPreferenceResourceName, "VirtualMachineClusterPreference", apiextensionsv1.ClusterScoped},
	} {
		kinds = append(kinds, kind{
			Group: instancetypev1beta1.SchemeGroupVersion.Group, Scope: k.scope, Versions: one,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: k.plural, Singular: k.singular, Kind: k.kind},
		})
	}
	return kinds
}

func (k kind) definition(schema string) ([]byte, error) {
	validation := &apiextensionsv1.CustomResourceValidation{}
	if err := yaml.Unmarshal([]byte(schema), validation); err != nil {
		return nil, err
	}
	crd := apiextensionsv1.CustomResourceDefinition{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: k.Names.Plural + "." + k.Group},
		Spec:       apiextensionsv1.CustomResourceDefinitionSpec{Group: k.Group, Scope: k.Scope, Names: k.Names},
	}
	for _, version := range k.Versions {
		version.Schema = validation
		version.AdditionalPrinterColumns = k.Columns
		if k.Status {
			version.Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
		}
		crd.Spec.Versions = append(crd.Spec.Versions, version)
	}
	return yaml.Marshal(crd)
}

// stringMap reads a package-level map literal of strings from Go source.
func stringMap(file, name string) (map[string]string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != name || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.CompositeLit)
		if !ok {
			return false
		}
		for _, element := range literal.Elts {
			if pair, ok := element.(*ast.KeyValueExpr); ok {
				found[text(pair.Key)] = text(pair.Value)
			}
		}
		return false
	})
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no map %s", file, name)
	}
	return found, nil
}

// text is the value of a string literal, or of literals joined by +. Anything else is "", which no kind is named.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err != nil {
			return ""
		}
		return s
	case *ast.BinaryExpr:
		return text(e.X) + text(e.Y)
	}
	return ""
}
