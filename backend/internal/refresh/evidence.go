package refresh

import (
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// denialsApart is how far apart two refusals must be to tell a dead grant from an incident.
const denialsApart = time.Hour

// weigh says what a failure means. Some services refuse a dead grant in the words for a wrong app, or in words of their
// own. What tells is that the grant was refused so twice, an hour apart, while another account's was renewed between,
// and the provider was not written: else the two may be of two incidents.
func (r *Refresher) weigh(k store.Key, a Answer, failure *providers.Error) *providers.Error {
	if !failure.SaysNo || !r.doubtful(k, a) || r.Now().Before(a.Connection.Attempt.Denied.Add(denialsApart)) {
		return failure
	}
	proven := *failure
	proven.Class = providers.Rejected
	return &proven
}

// doubtful reports whether another account was renewed since the service first refused c in such words. It may be the
// grant's own fault then, and says nothing of the app.
func (r *Refresher) doubtful(k store.Key, a Answer) bool {
	c, since := a.Connection, a.Connection.Attempt.Denied
	if since.IsZero() || c.Attempt.ProviderSerial != a.Terms.Serial {
		return false
	}
	last := r.witnesses.last(c.Provider, c.Pinned, AccountOf(k, c))
	return last.After(since) && !last.After(r.Now()) // what is yet to come is from a clock that was wrong
}

// witnesses remembers for each provider the two accounts whose grants were renewed last. What a process forgets comes
// again with the next renewals.
type witnesses struct {
	mu sync.Mutex
	of map[string]witness
}

type witness struct {
	pin           string
	newest, other renewed // of two accounts
}

type renewed struct {
	account string
	at      time.Time
}

// renewed notes that a grant of account, made under pin, was renewed by a request of that time: between that and the
// answer the app may have been refused.
func (w *witnesses) renewed(provider, pin, account string, sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[string]witness{}
	}
	seen := w.of[provider]
	switch {
	case seen.pin != pin:
		seen = witness{pin: pin}
	case seen.newest.account != account:
		seen.other = seen.newest
	}
	seen.newest = renewed{account, sent}
	w.of[provider] = seen
}

// last is when a grant of any other account under the same pin was renewed last; zero: not that anybody knows.
func (w *witnesses) last(provider, pin, account string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.of[provider]
	switch {
	case seen.pin != pin:
		return time.Time{}
	case seen.newest.account != account:
		return seen.newest.at
	}
	return seen.other.at
}
