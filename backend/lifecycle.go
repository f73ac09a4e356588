package backend

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// drainTime is how long the shutdown of a mount waits for what is in flight. It holds up every mount of the process.
const drainTime = 10 * time.Second

// initialize runs when the mount becomes usable on this node. Nothing in it may fail or take long: an error would fail
// an enable that is already recorded. Its context ends with it.
func (b *backend) initialize(context.Context, *logical.InitializationRequest) error {
	b.process.join(b)
	b.background.run(b.wake)
	b.background.run(b.coordinator.Work)
	return nil
}

// wake does what a new start asks for: refreshes that a crash cut off, then the directory and with it the index of what
// falls due. Requests are served meanwhile.
func (b *backend) wake(ctx context.Context) {
	b.uncached.Store(b.System().CachingDisabled())
	if b.WriteSafeReplicationState() {
		err := b.coordinator.Recover(ctx)
		b.recovered.Store(err == nil)
		if err != nil && ctx.Err() == nil {
			b.Logger().Warn("refreshes that were cut off could not all be tried again; a minute later they are", "error", err)
		}
	}
	b.fillDirectory(ctx)
}

// fillDirectory reads all connections, and later those that another node changed.
func (b *backend) fillDirectory(ctx context.Context) {
	if err := b.directory.fill(ctx, b.store); err != nil && ctx.Err() == nil {
		b.Logger().Warn("the connections could not all be read, so some are not refreshed in the background yet; a minute later it is tried again", "error", err)
	}
}

// periodic is Vault's heartbeat, once a minute. Vault's state lock is held meanwhile, so it only looks and starts.
func (b *backend) periodic(ctx context.Context, _ *logical.Request) error {
	b.coordinator.Nudge()
	if !b.WriteSafeReplicationState() {
		return nil
	}
	b.background.run(b.coordinator.Work) // it runs already, unless it failed
	if b.recovered.Load() {
		b.background.run(b.fillDirectory)
	} else {
		b.background.run(b.wake)
	}
	return b.tidyFlows(ctx)
}

// invalidate hears that storage changed without us. It does not say how, so what memory holds of it is dropped, or read
// again when it is asked for.
func (b *backend) invalidate(_ context.Context, key string) {
	switch noun, name := store.Classify(key); noun {
	case "config", "provider":
		b.configs.drop()
		b.providers.drop()
		b.coordinator.Nudge()
	case "connection":
		if k, err := store.ParseKey(name); err == nil {
			b.coordinator.Invalidate(k)
			b.directory.forget(k)
		}
	case "flow":
		b.flows.forget(name)
	}
}

// clean runs when the mount goes away. Vault replaces the whole process when one of its mounts is reloaded, and the
// others hear nothing of it; so each mount's flights are waited for, and this one's are refused from now on.
func (b *backend) clean(context.Context) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	b.background.stop()
	b.process.leave(b)
	var wg sync.WaitGroup
	wg.Go(func() { b.coordinator.Close(ctx) })
	b.process.quiesce(ctx)
	wg.Wait()
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

func (p *Process) leave(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mounts, b)
}

// quiesce waits for what is in flight in every mount there is.
func (p *Process) quiesce(ctx context.Context) {
	p.mu.Lock()
	mounts := make([]*backend, 0, len(p.mounts))
	for b := range p.mounts {
		mounts = append(mounts, b)
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, b := range mounts {
		wg.Go(func() { b.coordinator.Quiesce(ctx) })
	}
	wg.Wait()
}

// background is the mount's own goroutines beside the coordinator's flights.
type background struct {
	logger hclog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool // guarded by mu
}

func (g *background) init(logger hclog.Logger) {
	g.logger = logger
	g.ctx, g.cancel = context.WithCancel(context.Background())
}

// run starts work, unless the mount is going away. The work ends when its context does.
func (g *background) run(work func(context.Context)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.wg.Go(func() {
		defer func() {
			if r := recover(); r != nil { // one panic would take every mount of the process down
				g.logger.Error("a background task failed and was stopped", "panic", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
			}
		}()
		work(g.ctx)
	})
}

func (g *background) stop() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.wg.Wait()
}
