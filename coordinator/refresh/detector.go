package refresh

import "time"

// Detector finds a loop: something that happens more often than it can when
// everything is right. It knows nothing of how the pace is decided, so that a
// mistake there is found here.
//
// It allows a burst, and then one each Every.
type Detector struct {
	Every time.Duration
	Burst int

	used int
	from time.Time // since when used counts
}

// Admit counts one and tells whether it is still within what can be right.
func (d *Detector) Admit(now time.Time) bool {
	if d.from.IsZero() {
		d.from = now
	}
	if back := int(now.Sub(d.from) / d.Every); back > 0 {
		d.used = max(0, d.used-back)
		d.from = d.from.Add(time.Duration(back) * d.Every)
	}
	if d.used >= d.Burst {
		return false
	}
	d.used++
	return true
}
