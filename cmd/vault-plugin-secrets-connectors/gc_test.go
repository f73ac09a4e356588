package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 6 << 20: 400, 8 << 20: 300, 15 << 20: 150, 24 << 20: 100, 48 << 20: 50, 1 << 40: 40,
	} {
		assert.Equal(t, want, gcPercent(live), "%d MiB", live>>20)
	}
}

// After a collection the heap may grow by as much as what is live allows.
func TestTuneGC(t *testing.T) {
	former := debug.SetGCPercent(100)
	defer debug.SetGCPercent(former)
	tuneGC()
	held := make([]byte, 60<<20)
	percent := func() int {
		now := debug.SetGCPercent(-1)
		debug.SetGCPercent(now)
		return now
	}
	require.Eventually(t, func() bool { runtime.GC(); return percent() == leastPercent }, time.Minute, time.Millisecond)
	runtime.KeepAlive(held)
	held = nil
	_ = held
	require.Eventually(t, func() bool { runtime.GC(); return percent() > leastPercent }, time.Minute, time.Millisecond)
}
