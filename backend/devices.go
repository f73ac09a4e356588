package backend

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A flow on another device (RFC 8628) is polled until the person has typed its code: by a task, on the node that may
// write. Each poll may bring the tokens, once, so before each the flow is written: that fences a node which has lost
// the lead, and says when the next is due whichever node makes it. What a poll brought is kept in memory until it is
// stored.

const (
	mostPollWait = time.Minute      // between two polls of a service that fails, unless it wants more
	redeemAgain  = 2 * time.Second  // after an issuer's keys could not be had, at first
	mostRedeem   = 30 * time.Second // and later

	// lateFlow is how long after its failure a write of a flow is feared to land, over what was written since.
	lateFlow = time.Minute
)

// devices has a task for each flow that is polled. They are derived from the flows that storage has.
type devices struct {
	b *backend

	mu    sync.Mutex
	known map[string]*deviceFlow // guarded by mu; by flow id
	// guarded by mu; by allowance: starts that wait for their service, and count as open
	starts map[string]int
}

func newDevices(b *backend) *devices {
	return &devices{b: b, known: map[string]*deviceFlow{}, starts: map[string]int{}}
}

// deviceFlow is the task of one flow.
type deviceFlow struct {
	tasks.Place
	b        *backend
	id       string
	provider string

	// These are Run's alone, which runs once at a time.
	polled  bool              // by this process, and lost tells of all polls since
	last    time.Time         // when the last poll was answered
	lost    bool              // an answer was, that may have held tokens
	wait    time.Duration     // after the last failure
	slowest time.Duration     // the interval that the service wants, should storage not have it
	brought *providers.Polled // the tokens, until they are stored
	since   time.Time         // when they came
	grant   *consentedGrant   // where they belong
	doubt   time.Time         // until then a write of the flow that failed may land

	mu    sync.Mutex
	ended *store.Flow // guarded by mu; with an outcome that storage does not have yet
	why   string      // guarded by mu; it is not polled now
	came  bool        // guarded by mu; the person consented, and the connection is being made
	void  bool        // guarded by mu; somebody ended it
}

// consentedGrant is where a grant of brought tokens belongs.
type consentedGrant struct {
	flow *store.Flow
	pin  string
}

// Lane implements [tasks.Task].
func (t *deviceFlow) Lane() tasks.Lane { return tasks.Lane{Kind: laneDevice, Key: t.provider} }

// Name implements [tasks.Task].
func (t *deviceFlow) Name() string { return t.id }

// begin has a flow polled from then on.
func (x *devices) begin(id, provider string, at time.Time) {
	x.mu.Lock()
	t := x.known[id]
	if t == nil {
		t = &deviceFlow{b: x.b, id: id, provider: provider}
		x.known[id] = t
	}
	x.mu.Unlock()
	x.b.tasks.Sooner(t, at)
}

// find gives the task of a flow; nil when there is none.
func (x *devices) find(id string) *deviceFlow {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.known[id]
}

func (x *devices) forget(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.known, id)
}

// asking is how many starts of an allowance wait for their service.
func (x *devices) asking(own string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.starts[own]
}

// asks counts a start, or with -1 its end.
func (x *devices) asks(own string, by int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.starts[own] += by; x.starts[own] <= 0 {
		delete(x.starts, own)
	}
}

// load gives each open flow its task, where this node may write.
func (x *devices) load(ctx context.Context) error {
	now := x.b.now()
	open := map[string]string{}
	if err := x.b.flows.each(ctx, func(id string, f openFlow) {
		if f.device && !f.ended && !f.denied && now.Before(f.expires) {
			open[id] = f.provider
		}
	}); err != nil {
		return err
	}
	for id, provider := range open {
		if x.find(id) == nil {
			x.begin(id, provider, now)
		}
	}
	return nil
}

// explain notes why a flow is not polled now, for who reads how it stands; empty: it is.
func (t *deviceFlow) explain(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.why = why
}

// told is the outcome that storage does not have yet, if there is one, and why it is not polled now.
func (t *deviceFlow) told() (ended *store.Flow, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended, t.why
}

// stop has a flow that was ended stay so, whatever lands in storage late.
func (x *devices) stop(id string) {
	if t := x.find(id); t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.void = true
	}
}

// stopped reports whether somebody ended the flow.
func (t *deviceFlow) stopped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.void
}

// holds reports whether tokens came of which the connection is being made.
func (t *deviceFlow) holds() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.came
}

// holds is that of a flow's task, if there is one.
func (x *devices) holds(id string) bool {
	t := x.find(id)
	return t != nil && t.holds()
}

// over ends the task.
func (t *deviceFlow) over() time.Time {
	t.b.devices.forget(t.id)
	return time.Time{}
}

// Run implements [tasks.Task].
func (t *deviceFlow) Run(ctx context.Context) time.Time {
	b := t.b
	if !b.mayWrite() {
		return b.now().Add(tasks.LookAgain)
	}
	if ended, _ := t.told(); ended != nil {
		return t.write(ctx, ended)
	}
	f, err := b.store.Flow(ctx, t.id)
	switch {
	case store.Unusable(err):
		return t.over()
	case err != nil:
		t.explain("Vault's storage does not answer")
		return t.later()
	case t.brought != nil && (f == nil || f.Void):
		t.discard(ctx)
		return t.over()
	case f != nil && f.Outcome == nil && !f.Void && t.stopped():
		if err := b.voidFlow(ctx, t.id); err != nil {
			b.Logger().Debug("a device flow that was ended is not marked so yet", "flow", t.id, "error", err)
		}
		return t.later()
	case f != nil && f.Void && b.now().Before(t.doubt): // an earlier write may land over the mark
		return t.doubt
	case f == nil || f.Device == nil || f.Over():
		return t.over()
	case t.brought == nil && f.ExpiredAt(b.now()): // who reads is told so
		return t.over()
	}
	k, err := f.ConnectionKey()
	if err != nil {
		return t.end(ctx, f, failure(f, "its connection has no valid name"), "", true)
	}
	defer b.connections.Pin(k)()
	known, unsaved, err := b.connections.Get(ctx, k)
	switch {
	case store.Damaged(err):
		return t.end(ctx, f, failure(f, damagedEntry(k).Error()), "", true)
	case err != nil:
		t.explain("Vault's storage does not answer")
		return t.later()
	case known != nil && known.FlowID == f.ID: // it was stored, and the flow was not
		return t.end(ctx, f, &store.Outcome{Connected: true}, "", !unsaved)
	}
	p, why, err := b.mayPoll(ctx, f, k, known)
	var refused *statusError
	switch {
	case errors.As(err, &refused) && t.brought != nil:
		return t.end(ctx, f, failure(f, refused.text+t.discard(ctx)), "", true)
	case errors.As(err, &refused):
		return t.end(ctx, f, failure(f, refused.text), "", true)
	case err != nil:
		b.Logger().Debug("a device flow cannot be looked at yet", "connection", f.Key, "error", err)
		t.explain("it cannot be looked at yet")
		return t.later()
	case why != "":
		t.explain(why)
		return t.later()
	case t.brought != nil:
		return t.redeem(ctx, f, p, k, known)
	}
	if due := t.due(f); b.now().Before(due) {
		return due
	}
	return t.poll(ctx, f, p, k, known)
}

// later is when to look again at what could not be polled.
func (t *deviceFlow) later() time.Time { return t.b.now().Add(max(t.slowest, providers.SlowDown)) }

// due is when the next poll may be made.
func (t *deviceFlow) due(f *store.Flow) time.Time {
	last := f.Device.Asked
	if last.IsZero() {
		last = f.Created.Time
	}
	if t.last.After(last) { // an answer that took long leaves the service the same time
		last = t.last
	}
	return last.Add(max(f.Device.Interval, t.slowest, t.wait))
}

// starterOf is who started a flow: what they might do is done in their place.
func starterOf(f *store.Flow) caller {
	accessor, _ := strings.CutPrefix(f.Caller, accessorPrefix)
	if accessor == f.Caller {
		accessor = ""
	}
	return caller{entity: f.Created.EntityID, accessor: accessor, display: f.Created.DisplayName}
}

// mayPoll says whether a flow may go on. A statusError ends it; why is what it waits for.
func (b *backend) mayPoll(ctx context.Context, f *store.Flow, k store.Key, known *store.Connection,
) (p *configured, why string, err error) {
	if err := b.thawedFlow(ctx, f); err != nil {
		var shut *refresh.Error
		if errors.As(err, &shut) {
			return nil, shut.Error(), nil
		}
		return nil, "", err
	}
	if p, err = b.provider(ctx, f.Provider); err != nil {
		return nil, "", err
	}
	if p == nil || p.fingerprint != f.Pinned {
		return nil, "", conflict("provider %q changed since the flow was started, so its code is sent nowhere", f.Provider)
	}
	if err := p.admit(k, f.Kind, known); err != nil {
		return p, "", err
	}
	if err := overtaken(known, k, f); err != nil {
		return p, "", err
	}
	who := starterOf(f)
	if known != nil && !f.Restores {
		if err := who.may(using, k, known); err != nil {
			return p, "", err
		}
	}
	if who.entity != "" {
		switch entity, err := b.System().EntityInfo(who.entity); {
		case err != nil:
			return p, "Vault does not tell of the entity that started it", nil
		case entity == nil:
			return p, "", forbidden("the entity that started the flow is not there any more")
		case entity.Disabled:
			return p, "", forbidden("the entity that started the flow is disabled")
		}
	}
	if known == nil {
		var full *statusError
		switch err := b.mayAdd(ctx, k); {
		case errors.As(err, &full):
			return p, full.text, nil
		case err != nil:
			return p, "", err
		}
	}
	return p, "", nil
}

// poll asks the service once.
func (t *deviceFlow) poll(ctx context.Context, f *store.Flow, p *configured, k store.Key, known *store.Connection,
) time.Time {
	b := t.b
	pass, err := b.enterFor(ctx, gate.Background, f.Provider, k, known, starterOf(f))
	var shut *gate.Refused
	switch {
	case errors.As(err, &shut):
		t.explain(gateText(shut))
		if next := t.later(); shut.Until.Before(next) {
			return next
		}
		return shut.Until
	case err != nil:
		return t.later()
	}
	defer pass.Leave(gate.NotSent, 0)
	unseen := t.lost || !t.polled && !f.Device.Asked.IsZero() // by another process
	if f, err = t.claim(ctx); f == nil {
		if err != nil {
			t.explain("Vault's storage does not take what must be noted before the service is asked")
			b.Logger().Debug("a device flow could not be written, so it is not polled", "flow", t.id, "error", err)
		}
		return t.later()
	}
	t.explain("")
	t.polled = true
	ctx = b.debugs(ctx, p, k, known)
	polled, err := p.client.PollDevice(ctx, p.app, f.Resolved, f.Device.Code, f.Scopes)
	t.last = b.now()
	var call *providers.Error
	switch {
	case err == nil:
		pass.Tell(gate.Succeeded, 0)
		b.proven(p)
		t.brought, t.since, t.wait = polled, b.now(), 0
		t.grant = &consentedGrant{flow: f, pin: p.fingerprint}
		t.mu.Lock()
		t.came = true
		t.mu.Unlock()
		return t.redeem(ctx, f, p, k, known)
	case !errors.As(err, &call):
		return t.end(ctx, f, failure(f, exchangeFailure(p.name, f.Kind, err)), "", true)
	case call.Code == providers.CodePending:
		pass.Tell(gate.Answered, 0)
		t.wait = 0
		return t.due(f)
	case call.Code == providers.CodeSlowDown:
		pass.Tell(gate.Answered, 0) // it is about this code, not about the app
		t.wait, t.slowest = 0, max(f.Device.Interval, t.slowest)+providers.SlowDown
		t.slower(ctx)
		return t.due(f)
	}
	pass.Tell(refresh.OutcomeOf(err))
	switch {
	case call.Denied():
		return t.end(ctx, f, failure(f, "the person said no ("+providers.CodeDenied+")"), store.DeviceDenied, true)
	case call.Lapsed():
		return t.end(ctx, f, failure(f, "nobody typed the code in time ("+providers.CodeExpired+")"), store.DeviceExpired,
			true)
	case call.NotSent():
		return t.end(ctx, f, failure(f, exchangeFailure(p.name, f.Kind, err)), "", true)
	}
	switch call.Class {
	case providers.Transient, providers.Unknown, providers.RateLimited:
		t.lost = t.lost || call.Class == providers.Unknown
		interval := max(f.Device.Interval, t.slowest)
		t.wait = max(min(2*max(t.wait, interval), mostPollWait), interval, call.RetryAfter)
		t.explain("provider " + p.name + " gave no answer that says how it stands (" + call.Error() + "): it is asked again")
		return t.due(f)
	}
	text := exchangeFailure(p.name, f.Kind, err)
	if call.Class == providers.Rejected && unseen {
		text += "; an earlier answer may have been lost on its way, and what was granted with it lives on: end it in the " +
			"account's settings at the service"
	}
	return t.end(ctx, f, failure(f, text), "", true)
}

// claim notes in storage that a poll begins. f is nil when it must not.
func (t *deviceFlow) claim(ctx context.Context) (f *store.Flow, err error) {
	unlock, err := t.b.flows.lock(ctx, t.id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f, err = t.b.store.Flow(ctx, t.id)
	if err != nil || f == nil || f.Over() || f.Device == nil {
		return nil, err
	}
	f.Device.Ask(t.b.now(), t.slowest)
	if err := t.put(ctx, f); err != nil {
		return nil, err
	}
	return f, nil
}

// put stores the flow. It is called under its lock.
func (t *deviceFlow) put(ctx context.Context, f *store.Flow) error {
	err := t.b.putFlow(ctx, f)
	if err != nil && !store.IsReadOnly(err) {
		t.doubt = t.b.now().Add(lateFlow)
	}
	return err
}

// slower has the longer interval outlive this process. Where storage refuses it, the next poll writes it.
func (t *deviceFlow) slower(ctx context.Context) {
	unlock, err := t.b.flows.lock(ctx, t.id)
	if err != nil {
		return
	}
	defer unlock()
	f, err := t.b.store.Flow(ctx, t.id)
	if err != nil || f == nil || f.Over() || f.Device == nil {
		return
	}
	f.Device.SlowTo(t.slowest)
	if err := t.put(ctx, f); err != nil {
		t.b.Logger().Debug("the longer interval of a device flow could not be stored yet", "flow", t.id, "error", err)
	}
}

// redeem makes of the tokens that came the connection.
func (t *deviceFlow) redeem(ctx context.Context, f *store.Flow, p *configured, k store.Key, known *store.Connection,
) time.Time {
	b := t.b
	ctx = b.debugs(ctx, p, k, known)
	g, err := p.client.Redeem(ctx, p.app, f.Resolved, f.Scopes, t.brought)
	var call *providers.Error
	if errors.As(err, &call) && call.Step == providers.StepDiscovery && call.Class != providers.Misconfigured &&
		b.now().Before(t.since.Add(finishTime)) {
		t.wait = min(max(2*t.wait, redeemAgain), mostRedeem)
		t.explain("the person consented, and the issuer's keys cannot be had (" + call.Error() + "): it is tried again")
		return b.now().Add(t.wait)
	}
	if err != nil {
		why := exchangeFailure(p.name, f.Kind, err) + b.discard(ctx, p, f.Kind, f.Inputs, g)
		return t.end(ctx, f, failure(f, why), "", true)
	}
	outcome, saved := b.keepConsented(ctx, consented{
		who: starterOf(f), verb: "device-code", otherAccount: f.Device.AccountChange,
	}, f, p, k, known, g)
	return t.end(ctx, f, outcome, "", saved)
}

// discard revokes tokens that came and that nobody will use, and says if they may live on.
func (t *deviceFlow) discard(ctx context.Context) string {
	from := t.grant
	p, err := t.b.provider(ctx, from.flow.Provider)
	if err != nil || p == nil || p.fingerprint != from.pin {
		return livesOn
	}
	return t.b.discard(ctx, p, from.flow.Kind, from.flow.Inputs, t.brought.Discard())
}

// end notes what became of a flow. saved is false while the connection that it made lives in memory only: the flow must
// not say "connected" when a crash has taken that.
func (t *deviceFlow) end(ctx context.Context, f *store.Flow, outcome *store.Outcome, as store.DeviceEnd, saved bool,
) time.Time {
	f.Outcome, f.Device.Ended = outcome, as
	t.brought, t.grant, t.wait = nil, nil, 0
	t.mu.Lock()
	t.ended, t.why, t.came = f, "", false
	t.mu.Unlock()
	t.b.flows.changed(f)
	if !saved {
		return t.b.now().Add(firstSaveRetry)
	}
	return t.write(ctx, f)
}

// write stores what became of a flow, until storage takes it or nobody asks any more.
func (t *deviceFlow) write(ctx context.Context, f *store.Flow) time.Time {
	b := t.b
	again := func() time.Time {
		if b.now().After(f.Expires.Add(finishTime)) {
			return t.over()
		}
		t.wait = min(max(2*t.wait, firstSaveRetry), maxSaveRetry)
		return b.now().Add(t.wait)
	}
	if k, err := f.ConnectionKey(); err == nil && f.Outcome.Connected {
		if c, unsaved, err := b.connections.Get(ctx, k); err != nil || unsaved && c != nil && c.FlowID == f.ID {
			return again()
		}
	}
	unlock, err := b.flows.lock(ctx, t.id)
	if err != nil {
		return again()
	}
	defer unlock()
	stored, err := b.store.Flow(ctx, t.id)
	switch {
	case err != nil && !store.Unusable(err):
		return again()
	case stored == nil: // it was tidied away
		b.flows.gone(t.id)
		return t.over()
	case err == nil && (stored.Outcome != nil || stored.Void && !f.Outcome.Connected):
		if b.now().Before(t.doubt) {
			return t.doubt
		}
		b.flows.changed(stored) // whoever ended it knows, or another node
		return t.over()
	}
	if err := t.put(ctx, f); err != nil {
		b.Logger().Debug("the outcome of a device flow could not be stored yet", "connection", f.Key, "error", err)
		return again()
	}
	if b.now().Before(t.doubt) { // an earlier write may land over it: it is looked at again
		return t.doubt
	}
	return t.over()
}
