// Package metrics describes what Hayloft's programs tell Prometheus: each metric
// once, with its help, unit and labels, and who tells it. docs/metrics.md, the
// dashboards and the alerts are made of this catalog or checked against it.
//
// What describes objects (points, VMs, targets, jobs) is not counted along but
// read from the leader's caches when it is scraped: it is right after a restart
// too, and gone with its object. What is counted is the work of one process.
// Base units throughout, _total only on counters, moments as Unix time rather
// than ages, and no label that grows with the number of points.
//
// The package measures nothing by itself and imports neither program.
package metrics

// Outcomes, as values of the label outcome.
const (
	succeeded = "succeeded"
	failed    = "failed"
)

func outcome(reason string) string {
	if reason == "" {
		return succeeded
	}
	return failed
}

// jobTypes are the values of the label type for jobs. Counters begin at zero for
// each of them: of one that begins at one, Prometheus cannot tell the increase.
var jobTypes = []string{"cut", "backup", "restore", "clone", "removeSnapshots"}

// restoreKinds and sweptKinds are values of the label kind.
var (
	restoreKinds = []string{"newVM", "replace", "diskClaim"}
	sweptKinds   = []string{"job", "ticket", "volumeLease", "heldLease", "sessionLease"}
)

// restWays are how a guest is brought to rest for a cut.
var restWays = []string{"freeze", "pause"}

// hookTimes are when a VM's hooks are run: before its disks are cut, and afterwards.
var hookTimes = []string{"pre", "post"}

// transferTypes are the jobs that move data.
var transferTypes = []string{"backup", "restore", "clone"}
