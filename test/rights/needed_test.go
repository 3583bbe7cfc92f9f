package rights

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// needed names for each right a test that fails when its rule is taken away. Those
// of test/e2e run the programs with the tokens of their accounts; a coordinator
// whose cache may not watch a kind never starts. Those of parts run a part of one
// as its account. The key is where, what and the names that a right is for, as in
// docs/rights.md.
var needed = map[string]map[string]string{
	"hayloft-agent": {
		"hayloft-system nodejobs.hayloft.dev ":            "TestMainJob",
		"hayloft-system nodejobs/status.hayloft.dev ":     "TestMainJob",
		"hayloft-system leases.coordination.k8s.io ":      "TestMainJob",
		"everywhere backuptargets.hayloft.dev ":           "TestMainJob",
		"everywhere virtualmachineinstances.kubevirt.io ": "TestQuiesce",
		"everywhere virtualmachineinstances/freeze.subresources.kubevirt.io, virtualmachineinstances/unfreeze.subresources.kubevirt.io ": "TestQuiesce",
		"longhorn-system volumes.longhorn.io, volumeattachments.longhorn.io ":                                                            "TestMainJob",

		"longhorn-system engines.longhorn.io ":           "TestMainJob",
		"longhorn-system replicas.longhorn.io ":          "TestTheNodeHasAReplicaWhereItMust",
		"longhorn-system volumeattachments.longhorn.io ": "TestStoppedVM",
		"hayloft-system secrets ":                        "TestMainJob",
	},
	"hayloft-coordinator": {
		"hayloft-system secrets hayloft-api-certificate":                                     "TestAPIDay",
		"hayloft-system configmaps hayloft-api-ca":                                           "TestAPIDay",
		"everywhere tokenreviews.authentication.k8s.io ":                                     "TestAPIDay",
		"hayloft-system nodejobs.hayloft.dev ":                                               "TestMainJob",
		"hayloft-system leases.coordination.k8s.io ":                                         "TestMainJob",
		"hayloft-system configmaps ":                                                         "TestTwoClustersOnOneTarget",
		"hayloft-system pods ":                                                               "TestThePodOfAShare",
		"hayloft-system events ":                                                             "TestShareThatIsNotMountedIntoAPod",
		"hayloft-system secrets hayloft-webhook-certificate":                                 "TestAdmission",
		"longhorn-system volumes.longhorn.io ":                                               "TestMainJob",
		"longhorn-system volumeattachments.longhorn.io ":                                     "TestMainJob",
		"longhorn-system replicas.longhorn.io ":                                              "TestMainJob",
		"longhorn-system snapshots.longhorn.io ":                                             "TestMainJob",
		"longhorn-system backups.longhorn.io ":                                               "TestMainJob",
		"longhorn-system engines.longhorn.io ":                                               "TestListThatMayBeOlderThanTheCut",
		"longhorn-system backingimages.longhorn.io ":                                         "TestBackingImage",
		"longhorn-system backuptargets.longhorn.io ":                                         "TestHarvestersIntervalIsHealed",
		"longhorn-system backupbackingimages.longhorn.io ":                                   "TestAnImageIsMadeAgainFromItsBackup",
		"everywhere backuptargets.hayloft.dev ":                                              "TestMainJob",
		"everywhere snapshotquotas.hayloft.dev ":                                             "TestMainJob",
		"everywhere vmbackups.hayloft.dev, vmrestores.hayloft.dev, vmschedules.hayloft.dev ": "TestMainJob",
		"everywhere vmbackups.hayloft.dev ":                                                  "TestSchedules",
		"everywhere backuptargets/status.hayloft.dev, vmbackups/status.hayloft.dev, vmrestores/status.hayloft.dev, vmschedules/status.hayloft.dev, snapshotquotas/status.hayloft.dev ": "TestMainJob",
		"everywhere events ": "TestDeletion",
		"everywhere validatingwebhookconfigurations.admissionregistration.k8s.io, mutatingwebhookconfigurations.admissionregistration.k8s.io hayloft": "TestAdmission",
		"everywhere persistentvolumeclaims, persistentvolumes ": "TestMainJob",
		"everywhere persistentvolumeclaims ":                    "TestReplaceKeepsWhatTheVMIs",
		"everywhere virtualmachines.kubevirt.io ":               "TestMainJob",
		"everywhere virtualmachineinstances.kubevirt.io ":       "TestReplaceOfARunningVM",
		"everywhere datavolumes.cdi.kubevirt.io ":               "TestFormerClaimsOfDataVolumes",
		"everywhere secrets, configmaps ":                       "TestSecretsStaySecret",
		"everywhere secrets ":                                   "TestSnapshots",
		"everywhere namespaces ":                                "TestOnlyAPointsOwnDeletionRemovesData",
		"everywhere customresourcedefinitions.apiextensions.k8s.io vmbackups.hayloft.dev, vmschedules.hayloft.dev": "TestOnlyAPointsOwnDeletionRemovesData",
		"everywhere storageclasses.storage.k8s.io ":                                                                "TestMainJob",
		"everywhere serviceaccounts ":                                                                              "TestThePodOfAShare",
		"everywhere settings.harvesterhci.io backup-target":                                                        "TestHarvestersIntervalIsHealed",
		"everywhere virtualmachineimages.harvesterhci.io ":                                                         "TestBackingImage",
		"everywhere network-attachment-definitions.k8s.cni.cncf.io ":                                               "TestRefusedRestores",
		"everywhere virtualmachineinstancetypes.instancetype.kubevirt.io, virtualmachineclusterinstancetypes.instancetype.kubevirt.io, virtualmachinepreferences.instancetype.kubevirt.io, virtualmachineclusterpreferences.instancetype.kubevirt.io ": "TestCarryOver",
		"hayloft-system secrets ": "TestMainJob",
	},
}

// parts are folders with tests that run parts of the programs: the coordinator's
// controllers, its target worker, and how an agent has volumes attached.
var parts = []string{"../../coordinator/control", "../../coordinator/targetwork", "../../agent/attach"}

// TestEveryRightIsNeeded: each right has such a test, and the test is there.
func TestEveryRightIsNeeded(t *testing.T) {
	tests := testsOf(t, append(parts, "../e2e")...)
	for account, by := range needed {
		unknown := map[string]bool{}
		for key := range by {
			unknown[key] = true
		}
		for _, r := range rightsOf(t, account) {
			require.Contains(t, by, r.key(), "a right of %s: name a test that fails without it", account)
			require.True(t, tests[by[r.key()]], "%s, which is to need %q of %s, is not there", by[r.key()], r.key(), account)
			delete(unknown, r.key())
		}
		require.Empty(t, unknown, "no such rights of %s", account)
	}
}

// testsOf are the tests in folders.
func testsOf(t *testing.T, folders ...string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files, folder)
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(string(data), -1) {
				tests[m[1]] = true
			}
		}
	}
	return tests
}

// TestRareRights: what the accounts do on few days, or with other products, they
// may, and not the like of it: that it is needed, other tests show.
func TestRareRights(t *testing.T) {
	w := newWorld(t)
	const agent, coordinator = "system:serviceaccount:hayloft-system:hayloft-agent", "system:serviceaccount:hayloft-system:hayloft-coordinator"
	for _, c := range []struct {
		who, namespace, verb, resource, name string
		may                                  bool
	}{
		// Shares are worked on through Pods of Hayloft's own namespace.
		{coordinator, system, "create", "pods.", "", true},
		{coordinator, system, "watch", "pods.", "", true},
		{coordinator, system, "delete", "pods.", "", true},
		{coordinator, "shop", "create", "pods.", "", false},
		{coordinator, system, "list", "events.", "", true},
		{coordinator, "shop", "list", "events.", "", false},
		// Refresh intervals of Longhorn's and Harvester's own targets.
		{coordinator, "longhorn-system", "list", "backuptargets.longhorn.io", "", true},
		{coordinator, "longhorn-system", "patch", "backuptargets.longhorn.io", "default", true}, // heal.yaml
		{coordinator, "longhorn-system", "delete", "backuptargets.longhorn.io", "default", false},
		{coordinator, "", "get", "settings.harvesterhci.io", "backup-target", true},
		{coordinator, "", "patch", "settings.harvesterhci.io", "backup-target", true}, // heal.yaml
		{coordinator, "", "get", "settings.harvesterhci.io", "auto-rotate-rke2-certs", false},
		// Where a volume's replicas are that is to have its data beside its engine.
		{agent, "longhorn-system", "list", "replicas.longhorn.io", "", true},
		{agent, "longhorn-system", "get", "replicas.longhorn.io", "r", false},
		{agent, "longhorn-system", "list", "volumes.longhorn.io", "", false},
		// Whether an engine shows what a Snapshot point stands for, where no object of Longhorn's tells.
		{coordinator, "longhorn-system", "list", "engines.longhorn.io", "", true},
		{coordinator, "longhorn-system", "get", "engines.longhorn.io", "e", false},
		// Images that are made again, and whether Longhorn has their content.
		{coordinator, "longhorn-system", "list", "backupbackingimages.longhorn.io", "", true},
		{coordinator, "longhorn-system", "delete", "backupbackingimages.longhorn.io", "b", false},
		{coordinator, "shop", "create", "virtualmachineimages.harvesterhci.io", "", true},
		{coordinator, "shop", "delete", "virtualmachineimages.harvesterhci.io", "i", false},
		// What a former claim was made by, and what a restored VM refers to.
		{coordinator, "shop", "get", "datavolumes.cdi.kubevirt.io", "d", true},
		{coordinator, "shop", "patch", "datavolumes.cdi.kubevirt.io", "d", true},
		{coordinator, "shop", "delete", "datavolumes.cdi.kubevirt.io", "d", true},
		{coordinator, "shop", "create", "datavolumes.cdi.kubevirt.io", "", false},
		{coordinator, "shop", "get", "serviceaccounts.", "web", true},
		{coordinator, "shop", "create", "serviceaccounts/token.", "web", false},
		// Nobody looks through Secrets, gives rights, or runs commands in pods.
		{coordinator, "shop", "list", "secrets.", "", false},
		{coordinator, system, "list", "secrets.", "", false},
		{coordinator, "shop", "create", "rolebindings.rbac.authorization.k8s.io", "", false},
		{coordinator, "shop", "create", "pods/exec.", "p", false},
		{coordinator, system, "create", "pods/exec.", "p", false},
		{agent, "shop", "create", "pods/exec.", "p", false},
		{agent, system, "create", "pods/exec.", "p", false},
		{agent, "shop", "get", "pods.", "p", false},
		{agent, "shop", "get", "secrets.", "s", false},
		{agent, system, "list", "secrets.", "", false},
		{agent, "shop", "get", "virtualmachines.kubevirt.io", "web", false},
	} {
		require.Equal(t, c.may, w.may(c.who, c.namespace, c.verb, c.resource, c.name), "%+v", c)
	}
}
