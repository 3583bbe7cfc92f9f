package table_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/fixture"
	"hayloft.dev/cli/internal/table"
)

func TestTables(t *testing.T) {
	var targets, jobs, schedules []client.Object
	for _, x := range fixture.Targets() {
		targets = append(targets, x)
	}
	for _, x := range fixture.Schedules() {
		schedules = append(schedules, x)
	}
	for _, x := range fixture.Jobs() {
		jobs = append(jobs, x)
	}
	backups := []client.Object{fixture.Ready(), fixture.Snapshot(), fixture.Lost(), fixture.FailedBackup(), fixture.Uploading(), fixture.New()}
	for name, tc := range map[string]struct {
		objects []client.Object
		options table.Options
	}{
		"backups":         {backups, table.Options{}},
		"backups-wide":    {backups, table.Options{Wide: true}},
		"backups-of-all":  {backups, table.Options{Namespaces: true}},
		"restores":        {[]client.Object{fixture.Restored(), fixture.Restoring()}, table.Options{}},
		"targets":         {targets, table.Options{Wide: true}},
		"schedules":       {schedules, table.Options{Wide: true}},
		"jobs":            {jobs, table.Options{}},
		"quotas":          {[]client.Object{fixture.Quota()}, table.Options{}},
		"empty-is-silent": {nil, table.Options{Wide: true}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.options.Now = fixture.Now()
			var out bytes.Buffer
			require.NoError(t, table.Print(&out, tc.objects, tc.options))
			fixture.Golden(t, out.Bytes())
		})
	}
}

func TestNoTableForOthers(t *testing.T) {
	assert.Error(t, table.Print(&bytes.Buffer{}, []client.Object{&corev1.Pod{}}, table.Options{}))
}
