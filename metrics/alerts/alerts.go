// Package alerts holds Hayloft's PrometheusRule and checks it: that each alert
// fires, stays quiet and recovers as its unit tests say, that it uses only metrics
// that exist, and that it leads to a runbook.
package alerts

import (
	_ "embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed prometheusrule.yaml
var manifest []byte

// Rule is one alert.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Group is a group of alerts.
type Group struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Groups are all alerts.
func Groups() ([]Group, error) {
	var rule struct {
		Spec struct {
			Groups []Group `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(manifest, &rule); err != nil {
		return nil, fmt.Errorf("reading the PrometheusRule: %w", err)
	}
	return rule.Spec.Groups, nil
}
