package metrics

// bounds says of each label what bounds the number of its values. A label that
// is not in it does not exist: nothing here grows with the number of points.
var bounds = map[string]string{
	"code":        "status codes that the HTTP API answers with, about fifteen, and 0 for a caller that went away",
	"collector":   "the collectors that read objects, a handful",
	"way":         "how a guest is brought to rest: freeze, pause",
	"consistency": "how a point's disks were brought to rest, six words",
	"goversion":   "one",
	"hook":        "when it is run: pre, post",
	"kind":        "a few words each",
	"limit":       "limits of the HTTP API, five",
	"method":      "GET, HEAD, POST, DELETE, other",
	"namespace":   "namespaces that have VMs, points or quotas",
	"node":        "nodes that have an agent or an attached volume",
	"op":          "operations of the target worker, about ten",
	"operation":   "create, update, delete",
	"outcome":     "succeeded, failed",
	"phase":       "phases of the object, eight or fewer",
	"quota":       "SnapshotQuotas",
	"reason":      "reasons in code, about forty",
	"route":       "paths of the HTTP API's operations, about thirty, and none",
	"schedule":    "VMSchedules",
	"state":       "states of the object, five or fewer",
	"target":      "BackupTargets",
	"type":        "of points Backup and Snapshot; of jobs cut, backup, restore, clone and removeSnapshots",
	"version":     "one",
	"vm":          "VMs that exist",
}

// Label is a label and what bounds the number of its values.
type Label struct{ Name, Bound string }

// Labels returns the labels of all metrics, by name.
func Labels() []Label {
	var out []Label
	for _, name := range sortedKeys(bounds) {
		out = append(out, Label{name, bounds[name]})
	}
	return out
}
