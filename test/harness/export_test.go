package harness

// Waiting is how many requests wait behind an interruption.
func (p *Proxy) Waiting() int { return int(p.waiting.Load()) }
