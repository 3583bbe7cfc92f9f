// Package settings is what the configuration files and flags of agent and coordinator
// have in common: strict YAML, and values with bounds that are named when they are
// broken. What the settings are is in the packages of the same name beside each
// program.
package settings

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Read reads a file into its shape; a field that the shape lacks is an error.
func Read(data []byte, file any) error {
	if err := yaml.UnmarshalStrict(data, file); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	return nil
}

// Number takes a number over if the file has it and it is from low to high; the
// error names the field and the bounds.
func Number(field string, from, to *int, low, high int) error {
	switch {
	case from == nil:
	case *from < low || *from > high:
		return fmt.Errorf("%s: %d is out of bounds: choose %d to %d", field, *from, low, high)
	default:
		*to = *from
	}
	return nil
}

// Span is Number for durations.
func Span(field string, from *metav1.Duration, to *time.Duration, low, high time.Duration) error {
	switch {
	case from == nil:
	case from.Duration < low || from.Duration > high:
		return fmt.Errorf("%s: %s is out of bounds: choose %s to %s", field, from.Duration, low, high)
	default:
		*to = from.Duration
	}
	return nil
}
