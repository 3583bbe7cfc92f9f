package command

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"hayloft.dev/cli/internal/kinds"
)

// checkOutput refuses an unknown -o.
func checkOutput(c *cobra.Command, output string, allowed ...string) error {
	if output == "" || slices.Contains(allowed, output) {
		return nil
	}
	return usage(c, "-o %q is not one of %s", output, strings.Join(allowed, ", "))
}

// objects is a list as kubectl prints it: of any kind, without a place in the
// API.
type objects struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Items      []client.Object `json:"items"`
}

func listOf(found []client.Object) objects {
	if found == nil {
		found = []client.Object{}
	}
	return objects{APIVersion: "v1", Kind: "List", Items: found}
}

// encode writes an object, or a list of them, for programs.
func encode(out io.Writer, format string, what any, k kinds.Kind, name string) error {
	var data []byte
	var err error
	switch format {
	case "name":
		data = []byte(k.Named(name) + "\n")
	case "yaml":
		data, err = yaml.Marshal(what)
	default:
		data, err = json.MarshalIndent(what, "", "    ")
		data = append(data, '\n')
	}
	if err != nil {
		return fmt.Errorf("writing %s as %s: %w", k.Word, format, err)
	}
	_, err = out.Write(data)
	return err
}
