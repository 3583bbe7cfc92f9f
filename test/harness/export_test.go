package harness

// Waiting is how many requests wait behind an interruption.
func (p *Proxy) Waiting() int { return int(p.waiting.Load()) }

var StartProgram = startProgram

// End is the clean-up of a test.
func (p *Program) End() { p.end() }
