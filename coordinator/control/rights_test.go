package control_test

import "hayloft.dev/test/harness"

// asItself has coordinators act as their account, with the rights of deploy/rbac,
// in this world's namespaces, and with no others. The test stays an administrator.
func (w *world) asItself() {
	w.t.Helper()
	who := harness.Account(w.t, w.config, "hayloft-coordinator", w.own, w.lh)
	w.account = &who
}
