package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// leastGrowth is by how many bytes the heap grows before garbage is collected: where little is kept, collecting it all
	// the time is what reads of credentials would wait for.
	leastGrowth = 24 << 20

	// A large mount keeps much and makes little waste, so that memory costs more there than collecting it.
	leastPercent = 40
	mostPercent  = 400
)

// gcPercent is how much the heap may grow, in percent of what is live, in steps that keep it from changing all the
// time.
func gcPercent(live uint64) int {
	const step = 25
	percent := leastGrowth * 100 / max(live, 1) / step * step
	return int(min(max(percent, leastPercent), mostPercent))
}

// cycle is an object that nobody holds, so that its finalizer runs after each collection.
type cycle struct{ live []metrics.Sample }

// tuneGC sets how much the heap may grow, now and after each collection.
func tuneGC() {
	percent := leastPercent
	debug.SetGCPercent(percent)
	var collected func(*cycle)
	collected = func(c *cycle) {
		metrics.Read(c.live)
		if next := gcPercent(c.live[0].Value.Uint64()); next != percent {
			percent = next
			debug.SetGCPercent(next)
		}
		runtime.SetFinalizer(c, collected)
	}
	runtime.SetFinalizer(&cycle{[]metrics.Sample{{Name: "/gc/heap/live:bytes"}}}, collected)
}
