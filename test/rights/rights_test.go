// Package rights asks a real API server, as many callers, what deploy/rbac and
// deploy/policies let each of them do. No coordinator runs: these rights hold
// without one.
package rights

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// callers and the letters that stand for them in the table.
var callers = []struct {
	letter string
	who    rest.ImpersonationConfig
}{
	{"A", user("root", "system:masters")},
	{"E", user("editor")},                 // of VMs and points in shop, and may use targets there
	{"b", user("editor-without-restore")}, // the same, but for the verb restore
	{"u", user("editor-without-use")},     // the same, but for the verb use
	{"v", user("editor-without-vms")},
	{"s", user("editor-without-secrets")},
	{"d", user("editor-of-disks")}, // restores points and makes claims, nothing else
	{"S", user("stranger")},        // an editor like the first, of namespace lab
	{"G", user("guest")},           // the same, and may restore point p of shop
	{"R", user("reader")},          // view in shop and in Hayloft's namespace
	{"W", user("wide")},            // everything of hayloft.dev, everywhere
	{"C", account("hayloft-coordinator", "")},
	{"1", account("hayloft-agent", "n1")},
	{"2", account("hayloft-agent", "n2")},
	{"n", account("hayloft-agent", "")}, // its token names no node
}

// TestCallers: + may, - is kept from it by RBAC, x by a policy.
func TestCallers(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		does string
		act  func(client.Client) error
		may  string
	}{
		{"reads a point", w.get(&v1alpha1.VMBackup{}, "shop", "p") /*                    */, "A+ E+ b+ u+ v+ s+ d+ S- G- R+ W+ C+ 1- 2- n-"},
		{"backs a VM up", w.backup("web", "s3") /*                                       */, "A+ E+ b+ ux vx s+ d- S- G- R- Wx C+ 1- 2- n-"},
		{"backs a VM up to another target", w.backup("web", "other") /*                  */, "A+ E+ b+ ux vx s+ d- S- G- R- Wx C+ 1- 2- n-"},
		{"takes a snapshot", w.backup("web", "") /*                                      */, "A+ E+ b+ u+ vx s+ d- S- G- R- Wx C+ 1- 2- n-"},
		{"says that it found a point", w.found() /*                                      */, "Ax Ex bx ux vx sx d- S- G- R- Wx C+ 1- 2- n-"},
		{"pins a point", w.pin() /*                                                      */, "A+ E+ b+ u+ v+ s+ d- S- G- R- W+ C+ 1- 2- n-"},
		{"claims another cluster's point", w.claim() /*                                  */, "A+ Ex bx ux vx sx d- S- G- R- Wx Cx 1- 2- n-"},
		{"deletes a point", w.remove() /*                                                */, "A+ E+ b+ u+ v+ s+ d- S- G- R- W+ C+ 1- 2- n-"},
		{"schedules backups of a VM", w.schedule("s3") /*                                */, "A+ E+ b+ ux vx s+ dx S- G- R- Wx C- 1- 2- n-"},
		{"schedules snapshots of all VMs", w.schedule("") /*                             */, "A+ E+ b+ u+ vx s+ dx S- G- R- Wx C- 1- 2- n-"},
		{"has a schedule use another target", w.change("target", `"other"`) /*           */, "A+ E+ b+ ux vx s+ dx S- G- R- Wx C+ 1- 2- n-"},
		{"has a schedule keep fewer points", w.change("retention", `{"keepLast":5}`) /*  */, "A+ E+ b+ ux vx s+ dx S- G- R- Wx C+ 1- 2- n-"},
		{"suspends a schedule", w.change("suspend", "true") /*                           */, "A+ E+ b+ u+ v+ s+ d+ S- G- R- W+ C+ 1- 2- n-"},
		{"says when a schedule last ran", w.ran() /*                                     */, "A+ E- b- u- v- s- d- S- G- R- Wx C+ 1- 2- n-"},
		{"restores to a new VM", w.restore("shop", newVM) /*                             */, "A+ E+ bx u+ vx sx dx S- G- R- Wx C- 1- 2- n-"},
		{"restores and has images made again", w.restore("shop", newVM, images) /*       */, "A+ Ex bx ux vx sx dx S- G- R- Wx C- 1- 2- n-"},
		{"replaces a VM", w.restore("shop", replace("Retain")) /*                        */, "A+ E+ bx u+ vx sx dx S- G- R- Wx C- 1- 2- n-"},
		{"replaces a VM and its disks", w.restore("shop", replace("Delete")) /*          */, "A+ E+ bx u+ vx sx dx S- G- R- Wx C- 1- 2- n-"},
		{"restores one disk", w.restore("shop", disk) /*                                 */, "A+ E+ bx u+ v+ s+ d+ S- G- R- Wx C- 1- 2- n-"},
		{"restores a point of shop in lab", w.restore("lab", from("p")) /*               */, "A+ E- b- u- v- s- d- Sx G+ R- Wx C- 1- 2- n-"},
		{"restores another point of shop in lab", w.restore("lab", from("q")) /*         */, "A+ E- b- u- v- s- d- Sx Gx R- Wx C- 1- 2- n-"},
		{"restores a disk of shop in lab", w.restore("lab", from("p"), disk) /*          */, "A+ E- b- u- v- s- d- Sx G+ R- Wx C- 1- 2- n-"},
		{"restores shop's point by its own name", w.restore("lab", newVM) /*             */, "A+ E- b- u- v- s- d- S+ G+ R- Wx C- 1- 2- n-"},
		{"says where a point's data is", w.status() /*                                   */, "A+ E- b- u- v- s- d- S- G- R- Wx C+ 1- 2- n-"},
		{"reads a job", w.get(&v1alpha1.NodeJob{}, "hayloft-system", "on-n1") /*         */, "A+ E- b- u- v- s- d- S- G- R+ W+ C+ 1+ 2+ n+"},
		{"makes a job", w.makeJob() /*                                                   */, "A+ E- b- u- v- s- d- S- G- R- Wx C+ 1- 2- n-"},
		{"gives a job to another node", w.assign() /*                                    */, "A+ E- b- u- v- s- d- S- G- R- Wx C+ 1- 2- n-"},
		{"deletes a job", w.removeJob() /*                                               */, "A+ E- b- u- v- s- d- S- G- R- Wx C+ 1- 2- n-"},
		{"ends a job of node n1", w.report("on-n1") /*                                   */, "A+ E- b- u- v- s- d- S- G- R- Wx C- 1+ 2x nx"},
		{"makes the Pod of a share", w.sharePod(nil) /*                                  */, "A+ E- b- u- v- s- d- S- G- R- W- C+ 1- 2- n-"},
		{"makes one of another name", w.sharePod(named) /*                               */, "A+ E- b- u- v- s- d- S- G- R- W- Cx 1- 2- n-"},
		{"makes one with another account", w.sharePod(asAgent) /*                        */, "A+ E- b- u- v- s- d- S- G- R- W- Cx 1- 2- n-"},
		{"makes one with a token", w.sharePod(withToken) /*                              */, "A+ E- b- u- v- s- d- S- G- R- W- Cx 1- 2- n-"},
		{"makes one with targets' keys", w.sharePod(withSecret) /*                       */, "A+ E- b- u- v- s- d- S- G- R- W- Cx 1- 2- n-"},
		{"makes one with an environment", w.sharePod(withEnv) /*                         */, "A+ E- b- u- v- s- d- S- G- R- W- Cx 1- 2- n-"},
		{"makes one on its node's network", w.sharePod(onHost) /*                        */, "A+ E- b- u- v- s- d- S- G- R- W- Cx 1- 2- n-"},
		{"ends a job of no node", w.report("on-none") /*                                 */, "A+ E- b- u- v- s- d- S- G- R- Wx C- 1x 2x nx"},
	} {
		t.Run(c.does, func(t *testing.T) {
			for _, caller := range callers {
				err := c.act(w.as(caller.who))
				got := verdict(err)
				at := strings.Index(c.may, caller.letter)
				require.GreaterOrEqual(t, at, 0, "the table says nothing of %s", caller.who.UserName)
				want := c.may[at+1 : at+2]
				require.Equal(t, want, got, "%s %s: %v", caller.who.UserName, c.does, err)
			}
		})
	}
}

func verdict(err error) string {
	switch {
	case err == nil:
		return "+"
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
		return "x"
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot "):
		return "-"
	}
	return fmt.Sprintf("neither: %v", err)
}

// TestSentences: a refusal names the field, the value and what to do.
func TestSentences(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		who  rest.ImpersonationConfig
		act  func(client.Client) error
		says string
	}{
		{user("stranger"), w.restore("lab", from("p")), "spec.backup: you may not restore VMBackup shop/p: ask for the verb restore on it in that namespace"},
		{user("editor-without-vms"), w.restore("shop", newVM), "spec.newVM: you may not create virtualmachines in namespace shop, which the restore does for you: ask for that right"},
		{user("editor-without-vms"), w.restore("shop", replace("Retain")), "spec.replace.vm: you may not update VirtualMachine web in namespace shop, which the restore does for you: ask for that right"},
		{user("editor-without-secrets"), w.restore("shop", newVM), "metadata.namespace: you may not create secrets and configmaps in namespace shop, which the restore does for you: ask for that right"},
		{user("wide"), w.restore("shop", disk), "metadata.namespace: you may not create persistentvolumeclaims in namespace shop, which the restore does for you: ask for that right"},
		{user("wide"), w.restore("shop", replace("Delete")), "spec.replace.vm: you may not update VirtualMachine web in namespace shop, which the restore does for you: ask for that right"},
		{user("editor-without-use"), w.backup("web", "s3"), "spec.target: you may not use BackupTarget s3 from namespace shop: ask for the verb use on it, as ClusterRole hayloft-use-targets has it"},
		{user("editor-without-vms"), w.backup("web", "s3"), "spec.vm: you may not get VirtualMachine web in namespace shop: ask for that right"},
		{account("hayloft-agent", "n2"), w.report("on-n1"), `spec.nodeName: the job is for node "n1", and this token is of node "n2": only the agent of the job's node writes its status`},
		{user("wide"), w.report("on-n1"), "the status of a NodeJob is written by Hayloft's agents alone"},
		{user("wide"), w.makeJob(), "NodeJobs are made and changed by Hayloft's coordinator alone: read them, and change the VMBackup or VMRestore that they are for"},
		{user("editor-of-disks"), w.schedule("s3"), "metadata.namespace: you may not create vmbackups in namespace shop, which the schedule does for you: ask for that right"},
		{user("editor-without-vms"), w.schedule("s3"), "spec.vm: you may not get VirtualMachine web in namespace shop: ask for that right"},
		{user("editor-without-vms"), w.schedule(""), "spec.selector: you may not get and list virtualmachines in namespace shop, of which it picks some"},
		{user("editor-without-use"), w.change("target", `"other"`), "spec.target: you may not use BackupTarget other from namespace shop"},
		{user("wide"), w.found(), "spec.found is set by Hayloft's coordinator alone, on points that it found on a target: remove it"},
		{user("wide"), w.claim(), "spec.claimed: you may not claim points on BackupTarget s3: ask for the verb claim on it, as ClusterRole hayloft-claim-points has it"},
		{user("wide"), w.status(), "the status is written by Hayloft's coordinator alone"},
		{account("hayloft-coordinator", ""), w.sharePod(asAgent), "a coordinator makes Pods of shares alone, under their account and without its token"},
		{account("hayloft-coordinator", ""), w.sharePod(withSecret), "the Pod of a share mounts a claim and its own keys, and nothing else"},
	} {
		require.ErrorContains(t, c.act(w.as(c.who)), c.says)
	}
}

// TestClaimer: the right to claim is given for the cluster, and is none to change
// points.
func TestClaimer(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"editor-and-claimer", "claimer"} {
		w.make(&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "hayloft-claim-points"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
		})
	}
	w.bind("shop", "editor-and-claimer", "ClusterRole", "hayloft-edit")
	require.Eventually(t, func() bool { return w.claim()(w.as(user("editor-and-claimer"))) == nil }, patience, 20*time.Millisecond)
	require.True(t, apierrors.IsForbidden(w.claim()(w.as(user("claimer")))))
}

// TestUseOfOneTarget: the right can be given for one target, in one namespace.
func TestUseOfOneTarget(t *testing.T) {
	w := newWorld(t)
	w.grant("shop", "editor-of-one-target", rule("hayloft.dev", "backuptargets", []string{"s3"}, "use"))
	c := w.as(user("editor-of-one-target"))
	require.Eventually(t, func() bool { return w.backup("web", "s3")(c) == nil }, patience, 20*time.Millisecond)
	require.ErrorContains(t, w.backup("web", "other")(c), "you may not use BackupTarget other")
}

// TestDeletionOfSnapshots: the right to delete points is asked for once, however
// many are named: for each would cost more than a policy may.
func TestDeletionOfSnapshots(t *testing.T) {
	w := newWorld(t)
	w.grant("shop", "replacer",
		rule("hayloft.dev", "vmbackups", nil, "get", "restore"), rule("hayloft.dev", "vmrestores", nil, "create"), rule("kubevirt.io", "virtualmachines", nil, "update"),
		rule("", "persistentvolumeclaims", nil, "create", "delete"), rule("", "secrets", nil, "create"), rule("", "configmaps", nil, "create"))
	disks := w.as(user("replacer"))
	require.Eventually(t, func() bool { return w.restore("shop", replace("Delete"))(disks) == nil }, patience, 20*time.Millisecond)
	for _, n := range []int{1, 3, 1024} {
		named := func(s *v1alpha1.VMRestoreSpec) {
			replace("Delete")(s)
			for i := range n {
				s.Replace.DeleteSnapshots = append(s.Replace.DeleteSnapshots, fmt.Sprint("snapshot-", i))
			}
		}
		require.NoError(t, w.restore("shop", named)(w.as(user("editor"))), "%d snapshots", n)
		require.ErrorContains(t, w.restore("shop", named)(disks),
			"spec.replace.deleteSnapshots: you may not delete vmbackups in namespace shop, which the restore does for you: ask for that right")
	}
}
