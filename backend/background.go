package backend

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// The kinds of lanes: what is done in the background, each for one provider or for the mount.
const (
	laneRefresh = "refresh"
	laneRotate  = "rotate" // refreshes that wait while storage may be a restored snapshot
	laneDelete  = "delete"
	laneEnd     = "end"
	laneJob     = "job"
	laneSave    = "save"
	laneLook    = "look" // at the entities that own connections
	laneMove    = "move"
	laneDevice  = "device" // at the services where people type codes
	laneLookup  = "lookup" // through all entries
	laneUse     = "use"
	laneNotice  = "notice"
	laneWebhook = "webhook"
	laneEvent   = "event" // to Vault
)

// connectionTask is one kind of background work for connections. due is pure: the connection, its terms and the time
// say when. run does it, if it is still due, and says when to look again. One due time is kept for a connection, the
// earliest of all kinds.
type connectionTask struct {
	due func(store.Key, *store.Connection, refresh.Terms) time.Time
	run func(context.Context, store.Key) time.Time
}

// dueOf is when something is to be done for a connection; zero: never, unless something changes.
func (b *backend) dueOf(k store.Key, c *store.Connection, t refresh.Terms) (due time.Time) {
	for _, kind := range b.connectionTasks {
		due = earlier(due, kind.due(k, c, t))
	}
	return due
}

// runConnection does what is due for a connection, and says when to look again.
func (b *backend) runConnection(ctx context.Context, k store.Key) (next time.Time) {
	c, err := b.connections.Look(ctx, k)
	if err != nil {
		return b.now().Add(tasks.LookAgain)
	}
	if c == nil {
		return next
	}
	terms, err := b.Terms(ctx, k, c)
	if err != nil {
		return b.now().Add(tasks.LookAgain)
	}
	for _, kind := range b.connectionTasks {
		due := kind.due(k, c, terms)
		if !due.IsZero() && !due.After(b.now()) {
			due = kind.run(ctx, k)
		}
		next = earlier(next, due)
	}
	return next
}

// earlier is the earlier of two times, where the zero time is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// maxMoves is how many moves that were cut off are carried through at once.
const maxMoves = 4

// waits reports whether a lane stands still: nothing is refreshed while that is paused, and nothing is carried on in
// storage that may be a restored snapshot.
func (b *backend) waits(lane string) bool {
	switch lane {
	case laneRefresh: // what of it waits for the guard has a lane of its own, and each looks at its terms
		return b.fenced || b.paused.Load()
	case laneRotate:
		return b.standsStill() || b.paused.Load()
	}
	return b.standsStill()
}

// room tells how many tasks of a lane may run now. Nothing is done where nothing may be written: what is due waits,
// and costs nothing meanwhile.
func (b *backend) room(lane tasks.Lane) (places int, until time.Time) {
	switch {
	case lane.Kind == laneSave:
		return 1, until
	case !b.writable.Load():
		return 0, b.now().Add(tasks.LookAgain)
	case slices.Contains([]string{laneJob, laneLookup, laneUse, laneNotice}, lane.Kind): // one of them at a time
		return 1, until
	case lane.Kind == laneEnd && b.mayCarryEnds(): // however the provider is: after a day it is not waited for
		return laterEnds, until
	case b.waits(lane.Kind):
		return 0, b.now().Add(tasks.LookAgain)
	case lane.Kind == laneLook, lane.Kind == laneWebhook, lane.Kind == laneEvent:
		return 1, until
	case lane.Kind == laneMove: // it need not ask the provider
		return maxMoves, until
	}
	return b.gate.Room(lane.Key)
}

// mayWrite asks Vault whether this node may write to the mount's storage. Room goes by the last answer, since it is
// asked under a mutex.
func (b *backend) mayWrite() bool {
	may := b.WriteSafeReplicationState()
	b.guard.leads(may)
	b.writable.Store(may)
	return may
}

// saving is the mount's task to save what storage refused, and to look after writes that failed. It is derived from
// what package connections holds.
type saving struct {
	tasks.Place
	b *backend

	mu   sync.Mutex
	wait time.Duration // guarded by mu; after the next failure
}

const (
	firstSaveRetry = 100 * time.Millisecond
	maxSaveRetry   = 15 * time.Second
	lastSaveRetry  = 250 * time.Millisecond // while the mount ends
)

// begin is told that there is something to save.
func (s *saving) begin() { s.b.tasks.Sooner(s, s.b.now().Add(firstSaveRetry)) }

// Lane implements [tasks.Task].
func (s *saving) Lane() tasks.Lane { return tasks.Lane{Kind: laneSave} }

// Name implements [tasks.Task].
func (s *saving) Name() string { return "what storage refused" }

// Run implements [tasks.Task].
func (s *saving) Run(ctx context.Context) (next time.Time) {
	left := s.b.connections.Flush(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if left == 0 {
		s.wait = 0
		return next
	}
	s.wait = min(max(2*s.wait, firstSaveRetry), maxSaveRetry)
	return s.b.now().Add(s.wait)
}

// discovery ends the gate's key for the calls that ask a provider's issuer.
const discovery = " discovery"

// keyHosts ends the gate's key for the calls to hosts that connections name for their keys. They need not be the
// service: how they fare says nothing of the provider, and a slow one takes no place of it.
const keyHosts = " hosts of keys"

// calledAt is the gate's key for calls with a credential, other than those for a token.
func (p *configured) calledAt(kind providers.Kind, inputs map[string]string) string {
	definition := p.app.Definition
	if definition.NamesHost(kind, inputs) || kind.HasKey() && len(definition.HostFields()) > 0 {
		return p.name + keyHosts
	}
	return p.name
}

// lift forgets that a provider was unwell: an operator has changed it.
func (b *backend) lift(provider string) {
	b.gate.Lift(provider)
	b.gate.Lift(provider + discovery)
}

// resolve fills in what is known of a provider before the first call of a flow. Where that asks for a discovery
// document, it is a call like any other, to somebody who need not be the one that gives tokens.
func (b *backend) resolve(ctx context.Context, p *configured, k store.Key, kind providers.Kind,
	inputs map[string]string,
) (providers.Resolved, error) {
	ctx = b.debugs(ctx, p, k, nil)
	if p.app.Definition.Discovery == nil {
		return p.client.Resolve(ctx, p.app, kind, inputs)
	}
	pass, err := b.enter(ctx, p.name+discovery, k, nil)
	if err != nil {
		return providers.Resolved{}, err
	}
	defer pass.Leave(gate.NotSent, 0)
	resolved, err := p.client.Resolve(ctx, p.app, kind, inputs)
	pass.Tell(refresh.OutcomeOf(err))
	return resolved, err
}

// enter lets a call to a provider pass that a person asked for, or tells why not: nothing was sent then.
func (b *backend) enter(ctx context.Context, provider string, k store.Key, c *store.Connection) (*gate.Pass, error) {
	return b.enterAs(ctx, gate.Person, provider, k, c)
}

// aside is what came of a call beside those to the token endpoint, which says nothing of that: it may not even have
// one. Only a request to be left alone concerns both.
func aside(err error) (gate.Outcome, time.Duration) {
	if o, after := refresh.OutcomeOf(err); o == gate.Limited {
		return o, after
	}
	return gate.NotSent, 0
}

// enterFor is enterAs for a request that may bring a new account: until it is known whose that is, the places it takes
// are the caller's, whatever name the connection has.
func (b *backend) enterFor(ctx context.Context, class gate.Class, provider string, k store.Key, c *store.Connection,
	who caller,
) (*gate.Pass, error) {
	v := visit(class, provider, k, c)
	if !v.Worked && who.id() != "" {
		v.Account = who.id()
	}
	return b.pass(ctx, k, v)
}

func (b *backend) enterAs(ctx context.Context, class gate.Class, provider string, k store.Key, c *store.Connection,
) (*gate.Pass, error) {
	return b.pass(ctx, k, visit(class, provider, k, c))
}

// visit is one call as the gate sees it. A host that a key named is its owner's choice, whatever organization a person
// is a member of there.
func visit(class gate.Class, provider string, k store.Key, c *store.Connection) gate.Visit {
	v := gate.Visit{Key: provider, Connection: k.String(), Account: refresh.AccountOf(k, c), Class: class}
	v.Worked = c != nil && c.Worked()
	if strings.HasSuffix(provider, keyHosts) {
		v.Chooser = k.Owner.String()
		if k.Owner.Personal() {
			v.Chooser = store.Owner{User: k.Owner.User}.String()
		}
	}
	return v
}
