package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// ConfigMaps is the file that holds all dashboards for `kubectl apply`.
const ConfigMaps = "configmaps.yaml"

// labelSidecar is what Grafana's sidecar looks for, as its chart has it.
const labelSidecar = "grafana_dashboard"

// Files are the files to ship, name -> content: the JSON of each dashboard, and
// ConfigMaps of them that Grafana's sidecar loads.
func Files() (map[string][]byte, error) {
	out := map[string][]byte{}
	var maps bytes.Buffer
	maps.WriteString("# Made by `make generate` from the dashboards beside it; do not edit.\n")
	for _, d := range All() {
		built, err := d.Build()
		if err != nil {
			return nil, err
		}
		data, err := json.MarshalIndent(built, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("writing dashboard %s: %w", d.Name, err)
		}
		data = append(data, '\n')
		out[d.Name+".json"] = data
		object := corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{
				Name: "hayloft-dashboard-" + d.Name, Namespace: "hayloft-system", Labels: map[string]string{labelSidecar: "1"},
			},
			Data: map[string]string{"hayloft-" + d.Name + ".json": string(data)},
		}
		text, err := yaml.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("writing the ConfigMap of dashboard %s: %w", d.Name, err)
		}
		maps.WriteString("---\n")
		maps.Write(text)
	}
	out[ConfigMaps] = maps.Bytes()
	return out, nil
}
