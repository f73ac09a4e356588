package backend

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

const (
	// drainTime is how long the end of a mount may take in all. It holds up every mount of the process.
	drainTime = 10 * time.Second

	// landTime is how long work that is under way may go on then. What is left of drainTime is for saving.
	landTime = 7 * time.Second

	// breakTime is how long work that is broken off may take to notice, where nothing is to be saved.
	breakTime = time.Second
)

// initialize runs when the mount becomes usable on this node. Nothing in it may fail or take long: an error would fail
// an enable that is already recorded. Its context ends with it.
func (b *backend) initialize(context.Context, *logical.InitializationRequest) error {
	b.process.join(b)
	b.tasks.Go("waking up", b.wake)
	b.tasks.Go("noting who reads what", b.uses.take)
	b.tasks.Work()
	return nil
}

// wake does what a new start asks for: renewals that a crash cut off, then the directory and with it what falls due.
// Requests are served meanwhile.
func (b *backend) wake(ctx context.Context) {
	b.uncached.Store(b.System().CachingDisabled())
	if _, err := b.config(ctx); err != nil && ctx.Err() == nil {
		b.Logger().Warn("config could not be read, so nothing is refreshed in the background until it can",
			"error", err)
	}
	if b.mayWrite() {
		if b.guard.unjudged() { // before anything is carried on
			b.guard.beat(ctx)
		}
		b.startNotices(ctx)
		b.learnHasher(ctx)
		b.loadLookups(ctx)
		if !b.guard.unjudged() {
			b.trials.Add(1)
			b.recover(ctx)
			b.loadJobs(ctx)
			b.loadDevices(ctx)
			b.loadWebhooks(ctx)
			b.tasks.Go("finishing imports", b.finishImports)
		}
		b.events.wake() // what comes from now on is handed on
		b.tasks.Go("writing the heartbeat", b.guard.beat)
	} else {
		b.notices.abstain()
	}
	b.fillDirectory(ctx)
	b.fillUses(ctx)
}

// recover tries again what a crash cut off.
func (b *backend) recover(ctx context.Context) {
	err := b.refresher.Recover(ctx)
	b.recovered.Store(err == nil)
	if err != nil && ctx.Err() == nil {
		b.Logger().Warn("refreshes that were cut off could not all be tried again; a minute later they are",
			"error", err)
	}
}

// loadJobs lets the jobs go on that a former process left.
func (b *backend) loadJobs(ctx context.Context) {
	if err := b.jobs.load(ctx); err != nil && ctx.Err() == nil {
		b.Logger().Debug("the jobs could not be read yet", "error", err)
	}
}

// loadDevices lets the flows go on whose codes people have yet to type.
func (b *backend) loadDevices(ctx context.Context) {
	if err := b.devices.load(ctx); err != nil && ctx.Err() == nil {
		b.Logger().Debug("the device flows could not be read yet", "error", err)
	}
}

// loadWebhooks lets go on what was being sent.
func (b *backend) loadWebhooks(ctx context.Context) {
	if err := b.webhooks.load(ctx); err != nil && ctx.Err() == nil {
		b.Logger().Debug("the webhooks could not be read yet", "error", err)
	}
}

// fillDirectory reads all connections, and later those that another node changed.
func (b *backend) fillDirectory(ctx context.Context) {
	missed, err := b.directory.fill(ctx)
	if b.directory.hasPersonal() { // they may have been read before it was known that this node may write
		b.leavers.begin()
	}
	b.catchUpNotices(ctx)
	switch n := len(missed.keys); {
	case ctx.Err() != nil:
	case n > 0:
		b.Logger().Warn("storage did not give some connections, so they are not refreshed in the background yet; a "+
			"minute later it is tried again",
			"count", n, "connections", fmt.Sprint(missed.keys[:min(n, 5)]), "error", missed.first)
	case err != nil:
		b.Logger().Warn("the connections could not be listed, so they are not refreshed in the background yet; a "+
			"minute later it is tried again",
			"error", err)
	}
}

// fillUses reads when connections were read last, and later what storage did not give.
func (b *backend) fillUses(ctx context.Context) {
	if err := b.uses.fill(ctx); err != nil && ctx.Err() == nil {
		b.Logger().Debug("the use of connections could not be read yet", "error", err)
	}
}

// periodic is Vault's heartbeat, once a minute. Vault's state lock is held meanwhile, so it only looks and starts.
func (b *backend) periodic(ctx context.Context, _ *logical.Request) error {
	b.tasks.Wake() // this node may be the one that writes now
	if !b.mayWrite() {
		return nil
	}
	b.tasks.Work() // it works already, unless it failed
	if !b.beating.CompareAndSwap(false, true) {
		return b.tidyFlows(ctx) // the last one hangs
	}
	b.tasks.Go("heartbeat", func(ctx context.Context) {
		defer b.beating.Store(false)
		if !b.recovered.Load() {
			b.wake(ctx)
			return
		}
		_, _ = b.config(ctx)
		b.learnHasher(ctx)
		b.guard.beat(ctx)
		b.fillDirectory(ctx)
		b.fillUses(ctx)
		b.loadJobs(ctx)
		b.loadLookups(ctx)
		b.loadDevices(ctx)
		b.loadWebhooks(ctx)
		b.noteProofs(ctx)
		b.findDoubted(ctx)
		b.tidyDaily(ctx)
	})
	if b.trials.Load() > 0 || b.lateTrials.Load() > 0 {
		b.tasks.Go("finishing imports", b.finishImports)
	}
	return b.tidyFlows(ctx)
}

// tidyDaily forgets once a day what need not be kept any longer, and tells which client secrets are old.
func (b *backend) tidyDaily(ctx context.Context) {
	if now := b.now().Unix(); now-b.tidied.Load() >= int64((24 * time.Hour).Seconds()) {
		if err := b.tidyHistories(ctx); err != nil {
			if ctx.Err() == nil {
				b.Logger().Warn("old histories could not be tidied", "error", err)
			}
			return
		}
		if err := b.tellOldSecrets(ctx); err != nil {
			b.Logger().Debug("which client secrets are to be replaced could not be told yet", "error", err)
			return
		}
		b.tidied.Store(now)
	}
}

// invalidate hears that storage changed without us. It does not say how, so what memory holds of it is dropped, or
// read again when it is asked for.
func (b *backend) invalidate(_ context.Context, key string) {
	switch noun, name := store.Classify(key); noun {
	case "config", "provider":
		b.configs.drop()
		b.providersChanged()
		b.tasks.Wake()
	case "connection":
		if k, err := store.ParseKey(name); err == nil {
			b.connections.Invalidate(k)
			b.directory.forget(k)
		}
	case "flow":
		b.flows.forget(name)
	case "code":
		b.codes.forget(name)
	case "lookup-key":
		b.hashing.current.Store(nil)
	case "use":
		b.uses.invalidate(name)
	}
}

// clean runs when the mount goes away. Vault replaces the whole process when one of its mounts is reloaded, and the
// others hear nothing of it; so each mount's work is waited for, and this one's is refused from now on. A mount that is
// being removed leaves the others alone, and loses what it holds, as Vault is about to erase its storage.
func (b *backend) clean(context.Context) {
	others, joined := b.process.leave(b)
	if joined && b.removed() {
		b.gate.Close()
		end, cancel := context.WithTimeout(context.Background(), breakTime)
		defer cancel()
		over, cancel := context.WithCancel(end)
		cancel()
		b.tasks.Close(end, over) // what is written later would outlive the mount
		return
	}
	end, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	soft, cancel := context.WithTimeout(end, landTime)
	defer cancel()
	last := []func(context.Context){b.saveLast, b.guard.leave}
	last = append(last, slices.Repeat([]func(context.Context){b.uses.writeAll}, useWriters)...)
	for _, other := range others {
		other.tasks.Hold()
		last = append(last, slices.Repeat([]func(context.Context){other.uses.writeAll}, useWriters)...)
		last = append(last, func(ctx context.Context) {
			other.saveAll(ctx) // what it holds need not wait for what it does
			other.tasks.Quiesce(ctx)
			other.saveLast(ctx)
		})
	}
	b.gate.Close() // who waits there leaves at once
	left := b.tasks.Close(end, soft, last...)
	if len(left) > 0 {
		b.Logger().Error("work that did not end in time was abandoned; what it was doing may be unfinished",
			"work", left)
	}
	if n := b.uses.left(); n > 0 && b.writable.Load() {
		b.Logger().Warn("shutting down before it was written when some connections were read within the last hour",
			"entries", n)
	}
	if n := b.connections.Unsaved(); n > 0 {
		b.Logger().Error("shutting down with states that storage refused; these connections "+
			"may need to be reconnected",
			"count", n, "connections", b.connections.SomeUnsaved(20))
	}
}

// removed reports whether the mount goes away for good: Vault taints one that it disables. One that it moves is tainted
// too, for a moment, and is not cleaned. Where Vault does not answer, nothing is lost by draining.
func (b *backend) removed() bool {
	told := make(chan bool, 1)
	b.tasks.Go("asking Vault why the mount ends", func(context.Context) { told <- b.System().Tainted() })
	timer := time.NewTimer(breakTime)
	defer timer.Stop()
	select {
	case removed := <-told:
		return removed
	case <-timer.C:
		return false
	}
}

// saveAll tries to save what storage refused until nothing is left, or ctx ends.
func (b *backend) saveAll(ctx context.Context) {
	for wait := firstSaveRetry; b.connections.Unsaved() > 0; wait = min(2*wait, lastSaveRetry) {
		if b.connections.Flush(ctx); b.connections.Unsaved() == 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// saveLast is saveAll, and then tells what happened.
func (b *backend) saveLast(ctx context.Context) {
	b.saveAll(ctx)
	b.notices.drain(ctx)
}

// Process is what the mounts of one plugin process know of one another. Main makes one.
type Process struct {
	mu     sync.Mutex
	mounts map[*backend]struct{} // guarded by mu
}

func (p *Process) join(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mounts == nil {
		p.mounts = map[*backend]struct{}{}
	}
	p.mounts[b] = struct{}{}
}

// leave takes a mount out, and gives the others. One that Vault made only to ask for its metadata never joined, and
// its end concerns nobody.
func (p *Process) leave(b *backend) (others []*backend, joined bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, joined := p.mounts[b]; !joined {
		return nil, false
	}
	delete(p.mounts, b)
	for other := range p.mounts {
		others = append(others, other)
	}
	return others, true
}
