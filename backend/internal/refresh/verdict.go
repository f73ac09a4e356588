package refresh

import (
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// need is what a credential needs before it is handed out.
type need int

const (
	nothing    need = iota
	renewSoon       // it lives, and is inside the margin: hand it out and renew it meanwhile
	renewFirst      // it lives, and something speaks for a new one first; if that fails it will do
	renewNow        // it is dead
)

// Status is how the connection stands at now.
func (a Answer) Status(now time.Time) (store.Status, store.Reason) {
	return a.Terms.Status(a.Connection, now)
}

// Status is how c stands at now under these terms.
func (t Terms) Status(c *store.Connection, now time.Time) (store.Status, store.Reason) {
	f := c.Facts(t.CanRefresh)
	f.Barred = t.Barred
	return f.Status(t.Fingerprint, now)
}

// disabled is the error of a connection that is not served because somebody decided so.
func (a Answer) disabled(k store.Key, reason store.Reason) *Error {
	c := a.Connection
	return &Error{Problem: Disabled, Key: k, Provider: c.Provider, Reason: reason, Stops: c.Stops, Why: a.Terms.Frozen}
}

// paused is the error of a connection that gets no new token now.
func (a Answer) paused(k store.Key) *Error {
	return &Error{Problem: Paused, Key: k, Provider: a.Connection.Provider, Why: a.Terms.PausedReason}
}

// mayTryRefused reports whether a grant that the provider refused may be tried once more, because a person asks.
func (a Answer) mayTryRefused(now time.Time) bool {
	status, reason := a.Status(now)
	return status == store.StatusNeedsReconnect && reason.MayBeTried() && a.Terms.CanRefresh &&
		!limitPassed(a.Connection, now)
}

// judge says what the credential needs, or why it is not handed out. why goes with renewFirst. It adds the warnings
// that go out with the credential.
func (a *Answer) judge(k store.Key, minTTL time.Duration, now time.Time) (n need, why string, err error) {
	conn := a.Connection
	status, reason := a.Status(now)
	at := stageOf(conn, a.Terms.Margin, now)
	switch status {
	case store.StatusDisabled, store.StatusArchived:
		return nothing, "", a.disabled(k, reason)
	case store.StatusExpired:
		return nothing, "", &Error{Problem: Expired, Key: k, Provider: conn.Provider}
	case store.StatusPending:
		return nothing, "", &Error{Problem: Choosing, Key: k, Provider: conn.Provider, Sites: conn.Sites}
	case store.StatusNeedsReconnect:
		err := needsReconnect(k, conn, reason, now)
		if at == dead || conn.Grant == nil || reason == store.ReasonRevoked {
			return nothing, "", err
		}
		a.warn(err.Error() + "; until then this token may still work")
		return nothing, "", nil
	case store.StatusFailedValidation:
		a.warn("the service refused this credential when it was checked (" + string(reason) + "): it may not work; " +
			"check/" + k.String() + " asks again")
	}
	g := conn.Grant
	switch {
	case at == dead:
		return renewNow, "", nil
	case g == nil || g.Expires.IsZero():
		return nothing, "", nil
	case tooYoung(g, a.Terms, now):
		if now.Add(minTTL).After(g.Expires) {
			a.warn("the provider renews no token younger than " + a.Terms.MinAge.String() +
				", so none that lives as long as min_ttl can be had now")
		}
		return nothing, "", nil
	case minTTL > g.Lifetime(), now.Add(minTTL).After(g.Expires) && recent(conn.LastRefresh, now, recentSuccess):
		// The next one would live as long: asking for it would make each such read a request to the provider.
		a.warn("tokens of this provider live " + g.Lifetime().String() +
			", which is not enough for min_ttl; this is the newest there is")
	case now.Add(minTTL).After(g.Expires) && now.Before(g.Issued.Add(Soonest(g))):
		a.warn("the token is too new to be replaced for min_ttl, which would let any reader ask the provider again " +
			"and again: refresh/" + k.String() + " replaces it now")
	case now.Add(minTTL).After(g.Expires):
		return renewFirst, "no token that lives as long as min_ttl can be had now", nil
	case at == due && ending(g, now):
		return renewFirst, "the token is about to expire", nil
	}
	if at == due {
		return renewSoon, "", nil
	}
	return nothing, "", nil
}

// Soonest is the age at which a reader may have a living token replaced.
func Soonest(g *providers.Grant) time.Duration { return max(g.Lifetime()/4, 30*time.Second) }

// diedWaiting reports whether the token is dead though it was meant to live: it took long to come, or a clock was set.
// One that lives for seconds only would be no better the next time.
func (a Answer) diedWaiting(now time.Time) bool {
	g := a.Connection.Grant
	return stageOf(a.Connection, 0, now) == dead && g != nil && g.Lifetime() >= MinTTL
}

func (a *Answer) warn(text string) { a.Warnings = append(a.Warnings, text) }

func (a *Answer) warnOfFailures() {
	if at := a.Connection.Attempt; at.Failures > 0 {
		a.warn("refreshing this token has failed (" + string(at.Class) + ": " + detail(at.Why, at.Code) +
			"); it is served while it lives")
	}
}

// warnOfLimit tells ahead of time that a person will be needed.
func (a *Answer) warnOfLimit(now time.Time) {
	status, _ := a.Status(now)
	if g := a.Connection.Grant; g != nil && status.Lives() && EndsSoon(g.HardLimit, now) {
		a.warn("the consent runs out at " + g.HardLimit.UTC().Format(time.RFC3339) +
			" whatever is refreshed: have the account reconnected before")
	}
}
