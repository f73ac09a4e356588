package backend

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// A restored snapshot holds refresh tokens that have been spent since. To spend one again makes many providers end the
// whole grant, and with it the connections of the mount that the snapshot was taken from. So a node that may write
// leaves a heartbeat in storage, and a start judges its age before it carries on with anything. It cannot tell a
// restore from a Vault that was down for as long: config's restore_guard says from when on it is taken for one.

const (
	beatEvery = time.Hour

	// leastGap is the shortest gap that is told: a crash leaves one of up to an hour, and a heartbeat comes to a minute.
	leastGap = beatEvery + 5*time.Minute

	// leastGuard leaves room for what a crash and a restart take.
	leastGuard = 2 * time.Hour
	mostGuard  = 365 * 24 * time.Hour

	// mostAhead is how far clocks of nodes may differ. A heartbeat that lies further ahead tells that one of them was
	// wrong, and nothing of how old storage is.
	mostAhead = 5 * time.Minute

	// leaveTime is how long the last heartbeat may keep a clean stop.
	leaveTime = 2 * time.Second

	// gapTold is for how long a gap is told after the start that found it.
	gapTold = 7 * 24 * time.Hour
)

// Why refreshing is paused, beside what config says.
const (
	pausedByFence   = "fence"           // CONNECTORS_REFRESH_PAUSED
	pausedUnjudged  = "restore_unknown" // the heartbeat could not be read yet
	pausedSuspected = string(store.PausedRestore)
)

// guardSetting is what config says of the guard.
type guardSetting int32

const (
	guardUnknown  guardSetting = iota // it could not be read yet
	guardOff                          // nothing depends on the heartbeat
	guardOn                           // nothing is carried on before it was judged
	guardSuspects                     // refreshing is paused for it
)

// restoreGuard is what this process knows of its storage's age.
type restoreGuard struct {
	b    *backend
	turn chan struct{} // holds a token over the read and write of the heartbeat; config is written under it

	setting atomic.Int32                    // a guardSetting
	standby atomic.Bool                     // this node may not write, by Vault's last answer
	term    atomic.Int64                    // from 1; higher whenever this node is found not to lead
	judged  atomic.Int64                    // the term in which storage was judged
	unsaved atomic.Bool                     // refreshing is paused, and storage does not take that into config
	seen    atomic.Pointer[store.Heartbeat] // since it was judged, as it is or is to be
	written atomic.Int64                    // when this process wrote it last, in Unix seconds
}

func newRestoreGuard(b *backend) *restoreGuard {
	g := &restoreGuard{b: b, turn: make(chan struct{}, 1)}
	g.term.Store(1)
	return g
}

// isJudged reports whether storage was judged since this node leads. What a beat finds out that began before counts for
// nothing.
func (g *restoreGuard) isJudged() bool { return g.judged.Load() == g.term.Load() }

// follow notes what config says.
func (g *restoreGuard) follow(c *store.Config) {
	setting := guardOff
	switch {
	case c.RefreshPaused && c.PausedReason == store.PausedRestore:
		setting = guardSuspects
	case c.RestoreGuard > 0:
		setting = guardOn
	}
	g.setting.Store(int32(setting))
}

// leads notes whether this node may write. One that may again judges again: another wrote meanwhile.
func (g *restoreGuard) leads(may bool) {
	g.standby.Store(!may)
	if !may {
		g.term.Add(1)
		g.seen.Store(nil)
		g.written.Store(0)
	}
}

// unjudged reports whether nothing may be carried on yet, since nobody knows how old storage is.
func (g *restoreGuard) unjudged() bool {
	switch guardSetting(g.setting.Load()) {
	case guardUnknown, guardOn:
		return !g.isJudged() && !g.standby.Load()
	}
	return false
}

// suspects reports whether storage may be a restored snapshot.
func (g *restoreGuard) suspects() bool { return guardSetting(g.setting.Load()) == guardSuspects }

// holds reports whether no grant may be spent that may rotate. It asks nobody.
func (g *restoreGuard) holds() bool { return g.suspects() || g.unjudged() }

// standsStill reports whether what a former process began must wait: storage may be that of another mount which goes on
// with it. What people ask for is theirs to judge.
func (b *backend) standsStill() bool { return b.fenced || b.guard.holds() }

// pauses reports whether refreshing is paused for grants that may rotate, or for those that do not.
func (b *backend) pauses(c *store.Config, rotates bool) bool {
	return b.fenced || c.Pauses(rotates) || rotates && b.guard.holds()
}

// whyPaused is the reason of a pause in a word; empty: there is none, or an operator's.
func (b *backend) whyPaused(c *store.Config) string {
	switch {
	case b.fenced:
		return pausedByFence
	case c.RefreshPaused:
		return string(c.PausedReason)
	case b.guard.unjudged():
		return pausedUnjudged
	}
	return ""
}

// pausedError is why no token of theirs is redeemed now.
func (b *backend) pausedError(ctx context.Context, k store.Key, provider string) error {
	e := &refresh.Error{Problem: refresh.Paused, Key: k, Provider: provider}
	if config, err := b.config(ctx); err == nil {
		e.Why = b.whyPaused(config)
	}
	return e
}

// overlay says of config what storage would not take.
func (g *restoreGuard) overlay(c *store.Config) {
	if g.unsaved.Load() {
		c.Suspect()
	}
}

// lifted follows an operator's word that refreshing is to go on.
func (g *restoreGuard) lifted() {
	if g.unsaved.CompareAndSwap(true, false) {
		g.judged.Store(g.term.Load())
	}
}

// beat judges the heartbeat that storage has, unless that was done, and writes a new one when it is time.
func (g *restoreGuard) beat(ctx context.Context) { g.write(ctx, beatEvery) }

// leave is beat at a clean stop.
func (g *restoreGuard) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if g.isJudged() && g.b.mayWrite() {
		g.write(ctx, 0)
	}
}

func (g *restoreGuard) write(ctx context.Context, every time.Duration) {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return
	}
	if !g.b.mayWrite() { // any more, after the wait
		return
	}
	term := g.term.Load()
	if !g.isJudged() && !g.judge(ctx, term) {
		return
	}
	now := g.b.now()
	if age := now.Sub(time.Unix(g.written.Load(), 0)); age < every && age >= 0 {
		return
	}
	seen := g.seen.Load()
	if seen == nil || g.term.Load() != term { // another leads by now
		return
	}
	next := *seen
	next.Time = now
	if err := g.b.store.PutHeartbeat(ctx, &next); err != nil {
		g.b.Logger().Debug("the heartbeat could not be written; a minute later it is tried again", "error", err)
		return
	}
	g.seen.Store(&next)
	g.written.Store(now.Unix())
}

// judge finds out how old storage is, and pauses refreshing if that is suspicious. It reports whether it could. term is
// the one in which it began.
func (g *restoreGuard) judge(ctx context.Context, term int64) bool {
	b := g.b
	config, err := b.config(ctx)
	if err != nil {
		return false
	}
	last, err := b.store.Heartbeat(ctx)
	unreadable := store.Unusable(err)
	switch {
	case unreadable:
		b.Logger().Warn("the heartbeat in storage cannot be decoded, so nobody knows how old this storage is", "error", err)
		last = nil
	case err != nil:
		b.Logger().Debug("the heartbeat could not be read; a minute later it is tried again", "error", err)
		return false
	}
	if !b.mayWrite() { // storage may have taken long, and whoever leads by now judges
		return false
	}
	now := b.now()
	seen := store.Heartbeat{Time: now}
	gap := store.Gap{}
	if last != nil { // else the mount is new, or was of a release that wrote none
		seen = *last
		gap = store.Gap{Since: last.Time, Until: now}
	}
	long := gap.Length() > leastGap || gap.Length() < -mostAhead
	suspicious := config.RestoreGuard > 0 &&
		(unreadable || gap.Length() > config.RestoreGuard || gap.Length() < -mostAhead)
	if long {
		seen.Gap = gap
	}
	g.seen.Store(&seen)
	if suspicious {
		if err := g.pause(ctx); err != nil {
			b.Logger().Error("storage may be a restored snapshot, and refuses to note in config that refreshing is paused; a "+
				"minute later it is tried again", "since", gap.Since, "gap", gap.Length(), "error", err)
			return false
		}
	}
	switch {
	case suspicious:
		b.Logger().Error("storage may be a restored snapshot, so what may rotate is not refreshed and nothing is carried "+
			"on: make sure that no other Vault works with these connections, then write refresh_paused=false to config",
			"since", gap.Since, "gap", gap.Length(), "restore_guard", config.RestoreGuard)
	case long:
		b.Logger().Warn("nobody was at work on this storage for a while: Vault was down, or it is a restored snapshot, "+
			"whose refresh tokens may be spent", "since", gap.Since, "gap", gap.Length())
	}
	g.judged.Store(term)
	return true
}

// pause writes into config that refreshing is paused. What storage does not take holds in memory.
func (g *restoreGuard) pause(ctx context.Context) error {
	b := g.b
	b.configWrites.Lock()
	defer b.configWrites.Unlock()
	g.unsaved.Store(true)
	defer b.configs.drop()
	stored, err := b.store.Config(ctx)
	if err == nil {
		c := *stored
		c.Suspect()
		if err = b.store.PutConfig(ctx, &c); err == nil {
			g.unsaved.Store(false)
			stored = &c
		}
	} else {
		stored = store.DefaultConfig()
	}
	g.overlay(stored)
	b.followConfig(stored, nil)
	return err
}

// gapNow is the last gap that is told still; zero: none is.
func (b *backend) gapNow(h *store.Heartbeat) (gap store.Gap) {
	if h != nil && !h.Gap.Until.IsZero() && b.now().Before(h.Gap.Until.Add(gapTold)) {
		gap = h.Gap
	}
	return gap
}

// restoredGap is the gap to tell of: that which this process found, or else that which storage has. Where storage does
// not tell, the rest of status is worth reading.
func (b *backend) restoredGap(ctx context.Context) store.Gap {
	seen := b.guard.seen.Load()
	if seen == nil {
		seen, _ = b.store.Heartbeat(ctx)
	}
	return b.gapNow(seen)
}
