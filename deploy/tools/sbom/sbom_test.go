package sbom

import (
	"bytes"
	"os"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/stretchr/testify/require"
)

// TestOf describes a real program.
func TestOf(t *testing.T) {
	const program = "../../../bin/hayloft"
	_, err := os.Stat(program)
	require.NoError(t, err, "run `make build` first")
	data, err := Of("hayloft", "1.2.3", program)
	require.NoError(t, err)
	again, err := Of("hayloft", "1.2.3", program)
	require.NoError(t, err)
	require.Equal(t, string(data), string(again))

	var bom cyclonedx.BOM
	require.NoError(t, cyclonedx.NewBOMDecoder(bytes.NewReader(data), cyclonedx.BOMFileFormatJSON).Decode(&bom))
	require.Equal(t, "hayloft", bom.Metadata.Component.Name)
	found := map[string]cyclonedx.Component{}
	for _, c := range *bom.Components {
		found[c.Name] = c
	}
	require.Contains(t, found, "hayloft")
	require.Len(t, (*found["hayloft"].Hashes)[0].Value, 64)
	require.Contains(t, found, "stdlib")
	library := found["github.com/spf13/cobra"]
	require.Equal(t, "pkg:golang/github.com/spf13/cobra@"+library.Version, library.PackageURL)
	require.Regexp(t, "^h1:", (*library.Properties)[0].Value)
}
