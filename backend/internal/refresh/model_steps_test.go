package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// step is one thing that happens.
func (w *world) step() {
	w.mu.Lock()
	k := w.keys[w.rng.IntN(len(w.keys))]
	p, s := w.active, w.services[k.Owner.Org]
	reader := w.processes[w.rng.IntN(len(w.processes))]
	if reader.gone {
		reader = p
	}
	what, times, yes := w.rng.IntN(112), 1+w.rng.IntN(4), w.chance(0.5)
	for c := range w.calls {
		if w.chance(0.3) { // while a call is out, changing what it is made for matters most
			k, s, what = c.token.consent.key, c.token.consent.service, 43+w.rng.IntN(17)
		}
		break
	}
	w.mu.Unlock()
	switch {
	case what < 5:
		w.callers.Go(func() { w.poll(reader, k) })
	case what < 35:
		for range times {
			w.callers.Go(func() { w.read(reader, k, w.least(k)) })
		}
	case what < 43:
		for range times {
			w.callers.Go(func() { w.refresh(reader, k) })
		}
	case what < 49:
		w.label(p, k)
	case what < 53:
		w.able(p, k, yes)
	case what < 56:
		w.callers.Go(func() { w.reconnect(p, k) })
	case what < 57:
		w.bring(p, k)
	case what < 60:
		w.delete(p, k)
	case what < 63:
		w.change(p, s, func() { s.elsewhere = yes })
	case what < 65:
		w.change(p, s, func() { s.refused = yes })
	case what < 67:
		w.set(fmt.Sprint("refreshing is paused: ", yes), func() { w.paused = yes })
		p.Nudge()
	case what < 71:
		w.set(fmt.Sprint(p, " may only read: ", yes), func() { p.standby = yes })
		p.Nudge()
	case what < 76:
		w.kill(p)
	case what < 79:
		w.depose(p)
	case what < 82:
		w.restart(p)
	case what < 85:
		w.moveClock()
	case what < 88:
		w.set(s.name+" is down", func() { s.down = time.Now().Add(w.upTo(time.Hour)); w.troubled = true })
	case what < 90:
		w.set(s.name+" limits us", func() { s.limited = time.Now().Add(w.upTo(time.Hour)); w.troubled = true })
	case what < 92:
		w.revoke(k)
	case what < 94:
		w.set("storage refuses writes", func() { w.faults.noWrites = time.Now().Add(w.upTo(time.Hour)); w.troubled = true })
	case what < 95:
		w.set("storage refuses connections",
			func() { w.faults.noConnections = time.Now().Add(w.upTo(3 * time.Hour)); w.troubled = true })
	case what < 97:
		w.set("storage refuses everything",
			func() { w.faults.nothing = time.Now().Add(w.upTo(10 * time.Minute)); w.troubled = true })
	case what < 100:
		w.set("the trouble changes", func() { w.faults = faults{trouble: w.rng.Float64() / 2}; w.troubled = true })
	case what < 103:
		w.set(s.name+" refuses the app", func() {
			s.refusing, s.share, w.troubled = time.Now().Add(w.upTo(time.Hour)), 1, true
		})
	case what < 104:
		w.set(s.name+" mostly refuses the app", func() {
			s.refusing, s.share, w.troubled = time.Now().Add(w.upTo(4*time.Hour)), 0.9, true
		})
	case what < 107:
		w.set(s.name+" refuses good grants", func() {
			s.slanders, w.troubled = time.Now().Add(w.upTo(time.Hour)), true
		})
	default:
		w.retry(p)
	}
}

// set changes the world.
func (w *world) set(note string, change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	w.note("%s", note)
}

// caller is a context that may end soon.
func (w *world) caller() (context.Context, context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chance(0.7) {
		return context.WithTimeout(context.Background(), time.Minute)
	}
	return context.WithTimeout(context.Background(), w.upTo(time.Second))
}

// poll is an application that reads in a loop, whatever it is told.
func (w *world) poll(p *process, k store.Key) {
	for range 100 {
		w.read(p, k, 0)
		time.Sleep(50 * time.Millisecond)
	}
}

// least is a min_ttl, mostly none.
func (w *world) least(k store.Key) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chance(0.2) {
		return w.upTo(2 * w.services[k.Owner.Org].life)
	}
	return 0
}

func (w *world) read(p *process, k store.Key, least time.Duration) {
	ctx, cancel := w.caller()
	defer cancel()
	w.mu.Lock()
	if least > 0 || w.steps {
		w.demands[k]++ // a clock that goes back makes what is over seem to lie ahead
	}
	former := p.served[k]
	w.mu.Unlock()
	a, err := p.Get(ctx, k, anybody, least)
	w.judge(p, k, former, a, err)
}

func (w *world) refresh(p *process, k store.Key) {
	ctx, cancel := w.caller()
	defer cancel()
	w.byHand(k)
	w.mu.Lock()
	w.asking[k]++
	former := p.served[k]
	w.mu.Unlock()
	a, err := p.Refresh(ctx, k, anybody)
	w.mu.Lock()
	w.asking[k]--
	w.mu.Unlock()
	w.judge(p, k, former, a, err)
}

// judge checks an answer: it is never older than one that was given before it was asked for.
func (w *world) judge(p *process, k store.Key, former mark, a refresh.Answer, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.note("%s: reading %s: %v", p, k.Name, err)
		return
	}
	now := w.stateOf(a.Connection).mark
	w.note("%s: read %s: %v", p, k.Name, now)
	switch token := w.access[a.Connection.Grant.AccessToken.Reveal()]; {
	case token == nil:
		w.complain("%s: %s: what was handed out is no token", p, k.Name)
	case token.of.key != k:
		w.complain("%s: %s: the token handed out is of %s", p, k.Name, token.of.key.Name)
	case !w.steps && time.Since(token.until) > time.Second:
		w.complain("%s: %s: the token handed out is dead since %s", p, k.Name, time.Since(token.until))
	}
	if now.before(former) && !p.deposed { // who was deposed may have heard what it cannot keep
		w.complain("%s: %s: served %v after %v", p, k.Name, now, former)
	}
	if p.served[k].before(now) {
		p.served[k] = now
	}
}

var errNot = errors.New("this cannot be done to it")

// edit is a change that a person makes.
func (w *world) edit(p *process, k store.Key, change func(*store.Connection)) error {
	_, err := p.Update(context.Background(), k, func(c *store.Connection) (*store.Connection, error) {
		if c == nil || !c.Deleting.IsZero() {
			return nil, errNot
		}
		change(c)
		return c, nil
	})
	return err
}

func (w *world) label(p *process, k store.Key) {
	w.mu.Lock()
	label := fmt.Sprint("label ", w.rng.IntN(1000))
	w.mu.Unlock()
	err := w.edit(p, k, func(c *store.Connection) { c.Label = label })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("%s: %s gets %s: %v", p, k.Name, label, err)
	if err == nil {
		clear(w.wants[k].labels)
	}
	if !errors.Is(err, errNot) {
		w.wants[k].labels[label] = true
	}
}

func (w *world) able(p *process, k store.Key, disabled bool) {
	err := w.edit(p, k, func(c *store.Connection) {
		if disabled {
			disable(c)
		} else {
			enable(c)
		}
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("%s: %s disabled: %v: %v", p, k.Name, disabled, err)
	w.demands[k]++
	if err == nil {
		clear(w.wants[k].disabled)
	}
	if !errors.Is(err, errNot) {
		w.wants[k].disabled[disabled] = true
	}
}

// reconnect is a person who consents, and a coordinator that keeps what came of it.
func (w *world) reconnect(p *process, k store.Key) {
	s := w.services[k.Owner.Org]
	_, _ = p.Detach(context.Background(), "exchange "+k.String(), func(ctx context.Context) (any, error) {
		defer p.Pin(k)()
		known, err := p.Load(ctx, k)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		slow := w.upTo(3 * time.Second)
		w.mu.Unlock()
		if err := sleep(ctx, slow); err != nil {
			return nil, err
		}
		w.mu.Lock()
		if s.elsewhere || p.gone || p.deposed {
			w.mu.Unlock()
			return nil, errNot
		}
		w.demands[k]++
		g := w.consentTo(s, k)
		m := w.access[g.AccessToken.Reveal()].mark
		w.note("%s: %s: a person consents: %v", p, k.Name, m)
		p.receive(k, m)
		w.worstMoment()
		w.mu.Unlock()
		_, saved, err := p.Keep(ctx, k, known, func(c *store.Connection) (*store.Connection, error) {
			switch {
			case c == nil && known != nil, c != nil && !c.Deleting.IsZero():
				w.mu.Lock()
				defer w.mu.Unlock()
				if p.received[k].mark == m {
					delete(p.received, k) // deleted meanwhile: nobody was promised this
				}
				return nil, errNot
			case c == nil:
				c = &store.Connection{
					Provider: s.name, Credential: store.Credential{
						Kind: providers.KindAuthorizationCode, FlowID: "flow",
						// as the backend does: what was left of one that was deleted must not fit
						Generation: uint64(time.Now().UnixMilli()),
					},
				}
			}
			c.Adopt(g, fingerprint, p.w.now())
			return c, nil
		})
		w.set(fmt.Sprintf("%s: %s: %v is saved: %v, %v", p, k.Name, m, saved, err), func() {})
		return nil, err
	})
}

// bring is a person who imports a refresh token alone, obtained elsewhere.
// There is nothing to hand out until it is spent.
func (w *world) bring(p *process, k store.Key) {
	w.mu.Lock()
	w.demands[k]++
	g := w.consentTo(w.services[k.Owner.Org], k)
	m := w.access[g.AccessToken.Reveal()].mark
	w.mu.Unlock()
	g.AccessToken, g.Expires = providers.Secret{}, g.Issued
	err := w.edit(p, k, func(c *store.Connection) { c.AdoptImport(g, fingerprint, w.now()) })
	w.set(fmt.Sprintf("%s: %s: a person brings %v: %v", p, k.Name, m, err), func() {
		if err == nil {
			p.receive(k, m)
		}
	})
	w.callers.Go(func() { w.refresh(p, k) })
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.skew)
}

func (w *world) delete(p *process, k store.Key) {
	ctx, cancel := w.caller()
	defer cancel()
	_, err := p.Detach(ctx, "delete "+k.String(), func(ctx context.Context) (any, error) {
		return nil, p.Delete(ctx, k, nil)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("%s: %s is to be deleted: %v", p, k.Name, err)
	// What was set before may be gone or not, and what comes anew begins with this.
	w.wants[k].labels[""], w.wants[k].disabled[false] = true, true
}

// change is an operator's change of a provider.
func (w *world) change(p *process, s *service, change func()) {
	w.mu.Lock()
	change()
	w.troubled = true
	w.lifted(p, s)
	w.note("%s is changed: elsewhere %v, refuses the app %v", s.name, s.elsewhere, s.refused)
	var keys []store.Key
	for _, k := range w.keys {
		if k.Owner.Org == s.name {
			w.demands[k]++
			keys = append(keys, k)
		}
	}
	w.mu.Unlock()
	p.Forget(s.name)
	p.Reconsider(keys)
}

// kill ends a process at once, and Vault starts another. What it had in the air goes on for a while, and is heard by
// nobody.
func (w *world) kill(p *process) {
	w.mu.Lock()
	w.note("%s is killed", p)
	p.gone = true
	w.cutOff(p)
	w.mu.Unlock()
	w.leaving.Go(func() { p.quit(0) })
	w.launch()
}

// depose makes another process the one that writes. The former learns of it later, and lives on for a while.
func (w *world) depose(p *process) {
	w.mu.Lock()
	w.note("%s is deposed", p)
	p.deposed, p.unaware = true, time.Now().Add(w.upTo(20*time.Second))
	w.cutOff(p)
	d := w.upTo(10 * time.Minute)
	w.mu.Unlock()
	w.leaving.Go(func() {
		time.Sleep(d)
		p.quit(10 * time.Second)
		w.set(p.name+" ends", func() { p.gone = true })
	})
	w.launch()
}

func (w *world) restart(p *process) {
	p.quit(10 * time.Second)
	w.set(p.name+" has ended", func() { w.cutOff(p); p.gone = true })
	w.launch()
}

func (w *world) moveClock() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.steps {
		return
	}
	w.skew = w.upTo(2*time.Hour) - time.Hour
	for k := range w.demands {
		w.demands[k]++
	}
	w.note("the clock is off by %s", w.skew)
}

// revoke is a person who takes the consent back at the service.
func (w *world) revoke(k store.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if held := w.onDisk[k]; held.token != nil {
		held.token.consent.revoked = true
		w.note("%s: consent %d is revoked", k.Name, held.token.consent.id)
	}
}
