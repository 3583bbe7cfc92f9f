package query

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	for expr, want := range map[string]string{
		`max by (target) (hayloft_target_ready) == 0`:                                                 "",
		`sum by (le) (rate(hayloft_job_duration_seconds_bucket{type="cut"}[$__rate_interval]))`:       "",
		`count(hayloft_vm_protection_info{namespace=~"$namespace", state!="Protected"}) or vector(0)`: "",
		`histogram_quantile(0.5, sum by (type) (rate(hayloft_job_duration_seconds[5m])))`:             "",
		`sum by (instance) (hayloft_leader)`:                                                          "",
		`hayloft_no_such_thing`:                                                                       "nobody tells hayloft_no_such_thing",
		`rate(hayloft_job_duration_seconds[5m])`:                                                      "nobody tells hayloft_job_duration_seconds",
		`hayloft_target_ready{name="hayloft_other"}`:                                                  "hayloft_target_ready has no label name, only [target]",
		`sum by (vm) (hayloft_target_ready)`:                                                          "no metric in the expression has the label vm",
		`hayloft_queue_jobs * on (node) group_left () hayloft_leader`:                                 "no metric in the expression has the label node",
		`up == 0`: `"up == 0" asks for none of Hayloft's metrics`,
	} {
		err := Check(expr)
		if want == "" {
			require.NoError(t, err, expr)
			continue
		}
		require.EqualError(t, err, want, expr)
	}
}
