package refresh

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

const (
	// opensAfter is how many different connections must fail in a row before a provider counts as down. One that fails
	// alone has its own backoff, and may be the one at fault.
	opensAfter = 3

	firstProbe = 15 * time.Second
	maxProbe   = 5 * time.Minute
)

// circuits keep each provider's connections from hammering it while it is down or limits us, and let all of them come
// back at once when it is up again.
type circuits struct {
	mu sync.Mutex
	of map[string]*circuit // guarded by mu
}

type circuit struct {
	notBefore time.Time          // the provider asked for it
	failing   map[store.Key]bool // since the last success
	openUntil time.Time          // the next probe may leave then; zero while closed
	probes    int                // that failed since it opened
	probing   bool
	excused   map[store.Key]bool // failed in an outage that is over: that is no reason to wait, once
}

// CircuitState is a provider's circuit as an operator sees it.
type CircuitState struct {
	State string    // open, or limited
	Until time.Time // it is left alone until then
}

func (c *circuits) get(provider string) *circuit {
	if c.of == nil {
		c.of = map[string]*circuit{}
	}
	if c.of[provider] == nil {
		c.of[provider] = &circuit{failing: map[store.Key]bool{}}
	}
	return c.of[provider]
}

// until is when the provider may be called next; zero: now. It changes nothing.
func (c *circuits) until(provider string, now time.Time) (time.Time, providers.Class) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.of[provider]; s != nil {
		return s.until(now)
	}
	return time.Time{}, ""
}

func (s *circuit) until(now time.Time) (time.Time, providers.Class) {
	switch {
	case now.Before(s.notBefore):
		return s.notBefore, providers.RateLimited
	case s.openUntil.IsZero():
		return time.Time{}, ""
	case now.Before(s.openUntil):
		return s.openUntil, providers.Transient
	case s.probing:
		return now.Add(firstProbe), providers.Transient
	}
	return time.Time{}, ""
}

// halfOpen reports whether the next call would be a probe.
func (c *circuits) halfOpen(provider string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.of[provider]
	return s != nil && !s.openUntil.IsZero()
}

// enter is until, and takes the probe of an open circuit. forced calls always enter: a person asked.
func (c *circuits) enter(provider string, now time.Time, forced bool) (time.Time, providers.Class) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.get(provider)
	if until, class := s.until(now); !forced && !until.IsZero() {
		return until, class
	}
	s.probing = !s.openUntil.IsZero()
	return time.Time{}, ""
}

// leave records what came of a call: "" for a success. It reports whether that opened the circuit, or, when it closed it,
// which connections had failed and need not wait any longer.
func (c *circuits) leave(provider string, k store.Key, class providers.Class, now, next time.Time) (opened bool, excused []store.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.get(provider)
	s.probing = false
	delete(s.excused, k)
	switch class {
	case providers.RateLimited:
		if next.After(s.notBefore) {
			s.notBefore = next
		}
		return false, nil
	case providers.Transient, providers.Unknown:
		s.failing[k] = true
		wasOpen := !s.openUntil.IsZero()
		if !wasOpen && len(s.failing) < opensAfter {
			return false, nil
		}
		if !wasOpen || !now.Before(s.openUntil) { // a straggler of the time before is no probe
			s.openUntil = now.Add(min(firstProbe<<min(s.probes, 8), maxProbe))
			s.probes++
		}
		return !wasOpen, nil
	}
	// A success, or an answer that shows the provider to be well.
	if !s.openUntil.IsZero() {
		delete(s.failing, k)
		s.excused, s.failing = s.failing, map[store.Key]bool{}
		excused = slices.Collect(maps.Keys(s.excused))
	}
	s.openUntil, s.probes = time.Time{}, 0 // notBefore stands: a straggler of the time before does not lift it
	clear(s.failing)
	return false, excused
}

// giveUp gives a probe back that was never sent.
func (c *circuits) giveUp(provider string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.get(provider).probing = false
}

// excuses reports whether a connection's last failure was part of an outage that is over, and it was not tried since.
func (c *circuits) excuses(provider string, k store.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.of[provider]
	return s != nil && s.excused[k]
}

// forget drops what is known of a provider.
func (c *circuits) forget(provider string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, provider)
}

// states are the circuits of providers that are not simply well.
func (c *circuits) states(now time.Time) map[string]CircuitState {
	c.mu.Lock()
	defer c.mu.Unlock()
	states := map[string]CircuitState{}
	for provider, s := range c.of {
		switch {
		case now.Before(s.notBefore):
			states[provider] = CircuitState{"limited", s.notBefore}
		case !s.openUntil.IsZero():
			states[provider] = CircuitState{"open", s.openUntil}
		}
	}
	return states
}
