package refresh

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

const (
	// MinTTL is the least ttl ever told, in seconds: consumers treat less as an error or poll in a loop.
	MinTTL = 5 * time.Second

	// lastRead is what a token must have left to be handed out without a try for a newer one. A reader rests for
	// MinTTL, some for a second longer; requests take time, and servers count whole seconds of their own clocks.
	lastRead = MinTTL + 2*time.Second

	// recentSuccess is how long a success answers further demands to refresh.
	recentSuccess = 10 * time.Second

	// recentFailure is how long a failure answers further demands to refresh:
	// clients repeat a 502 twice by themselves.
	recentFailure = 5 * time.Second

	// minInterval is the least time between two refreshes by the worker. It falls behind what a ttl promised only for
	// tokens whose whole margin is lastRead: whoever reads them then waits for a newer one.
	minInterval = 4 * lastRead

	firstBackoff    = 2 * time.Second
	firstAppBackoff = time.Minute      // after an app was refused
	maxBackoff      = 10 * time.Minute // jitter included

	// maxRetrySpread is how far the background spreads the retries of a crowd that was told the same time.
	maxRetrySpread = time.Minute

	// maxSkew is how far the clocks of two nodes may differ before what one wrote means nothing to the other.
	maxSkew = time.Minute

	// notice is how long ahead people are told that a consent runs out.
	notice = 14 * 24 * time.Hour
)

// EndsSoon reports whether a consent that runs out at limit is one to have renewed now. The zero time is no limit.
func EndsSoon(limit, now time.Time) bool {
	return !limit.IsZero() && now.Add(notice).After(limit)
}

// recent reports whether something happened so lately that it answers a demand for it. What a wrong clock says is yet
// to happen does not.
func recent(at, now time.Time, within time.Duration) bool {
	d := now.Sub(at)
	return d >= 0 && d < within
}

// ahead reports whether the token is from a clock that was ahead of this one: when it expires is not known then.
func ahead(g *providers.Grant, now time.Time) bool { return g.Issued.After(now.Add(maxSkew)) }

// stage is how a credential stands at one moment.
type stage int

const (
	fresh stage = iota // serve it
	due                // alive, and inside the margin: serve it and replace it
	dead               // expired, or not there yet
)

// Margin is how long before expiry a token is replaced: a fifth of its life, at most limit. Of one that lives for
// seconds it is as much as a reader needs, or half.
func Margin(lifetime, limit time.Duration) time.Duration {
	return max(min(limit, lifetime/5), min(lastRead, lifetime/2))
}

// ending reports whether a reader who rests for the least ttl would hold a dead token.
func ending(g *providers.Grant, now time.Time) bool { return now.After(g.Expires.Add(-lastRead)) }

// stageOf places the connection's credential at now. Keys and tokens without expiry are always fresh.
func stageOf(c *store.Connection, limit time.Duration, now time.Time) stage {
	g := c.Grant
	switch {
	case g != nil && g.AccessToken.IsZero():
		return dead
	case g == nil || g.Expires.IsZero():
		return fresh
	case !now.Before(g.Expires):
		return dead
	case ahead(g, now), !now.Before(g.Expires.Add(-Margin(g.Lifetime(), limit))):
		return due
	}
	return fresh
}

// tooYoung reports whether the provider would not renew the token yet.
func tooYoung(g *providers.Grant, t Terms, now time.Time) bool {
	return t.MinAge > 0 && now.Before(g.Issued.Add(t.MinAge))
}

// TTL is how long a reader may rest before the engine hands out something newer, and the rotation period beside it.
func (a Answer) TTL(now time.Time) (ttl, period time.Duration) {
	g := a.Connection.Grant
	if g == nil || g.Expires.IsZero() {
		return a.Terms.Poll, a.Terms.Poll
	}
	margin := Margin(g.Lifetime(), a.Terms.Margin)
	handOver := g.Expires.Add(-margin)
	switch from := g.Issued.Add(a.Terms.MinAge); {
	case tooYoung(g, a.Terms, now) && from.After(handOver):
		handOver = from
	case ahead(g, now):
		handOver = now
	}
	switch next := nextOf(a.Connection.Attempt); {
	case !a.renewable(now): // something newer comes when a person does something: nobody knows when
		handOver = now.Add(a.Terms.Poll)
	// nothing newer before the next try
	case next.After(handOver) && !mayTry(a.Connection.Attempt, a.Terms.Serial, now):
		handOver = next
	}
	if handOver.After(g.Expires) {
		handOver = g.Expires
	}
	ttl = min(handOver.Sub(now), g.Lifetime()).Truncate(time.Second)
	return max(ttl, MinTTL), max((g.Lifetime() - margin).Truncate(time.Second), MinTTL)
}

// renewable reports whether the engine will renew the token by itself.
func (a Answer) renewable(now time.Time) bool {
	status, _ := a.Status(now)
	return status == store.StatusActive && a.Terms.CanRefresh && !a.Terms.Paused
}

// dueAt is when the background is to renew the connection; zero: never, unless something changes. interrupted tells
// that a crash cut a renewal off. What a due time is spread by makes it earlier than a reader's ttl told, never later;
// a retry after a failure is spread to later.
func dueAt(k store.Key, c *store.Connection, t Terms, interrupted bool, now time.Time) time.Time {
	status, _ := t.Status(c, now)
	g, at := c.Grant, c.Attempt
	// a person had a refused grant tried once more, and that was cut off
	again := interrupted && Answer{Connection: c, Terms: t}.mayTryRefused(now)
	if g == nil || !status.Lives() && !again || !t.CanRefresh {
		return time.Time{}
	}
	due := renewAt(k, g, t)
	if !due.IsZero() && ahead(g, now) && !tooYoung(g, t, now) {
		due = earlier(due, now)
	}
	if interrupted {
		due = now
	}
	if due.IsZero() || mayTry(at, t.Serial, now) || interrupted && at.Class != providers.RateLimited {
		return due
	}
	next := nextOf(at)
	if next.IsZero() {
		return time.Time{}
	}
	retry := next.Add(spread(k, min(next.Sub(at.Last)/10, maxRetrySpread)))
	if retry.After(due) {
		return retry
	}
	return due
}

func limitPassed(c *store.Connection, now time.Time) bool {
	return c.Grant != nil && !c.Grant.HardLimit.IsZero() && !now.Before(c.Grant.HardLimit)
}

// renewAt is when the token is to be renewed if nothing fails; zero: when somebody asks.
func renewAt(k store.Key, g *providers.Grant, t Terms) (due time.Time) {
	if t.OnDemand {
		return due
	}
	if !g.Expires.IsZero() {
		margin := Margin(g.Lifetime(), t.Margin)
		due = g.Expires.Add(-margin - spread(k, margin/4))
	}
	if t.Idle > 0 {
		due = earlier(due, g.Issued.Add(t.Idle-t.Idle/5-spread(k, t.Idle/20)))
	}
	if life := g.RefreshExpires.Sub(g.Issued); !g.RefreshExpires.IsZero() && life > minInterval {
		// A provider that does not renew this date makes each such refresh fall nearer to it: a handful, as each
		// leaves a fifth of the rest.
		due = earlier(due, g.RefreshExpires.Add(-life/5-spread(k, life/20)))
	}
	least := t.MinAge
	if !g.AccessToken.IsZero() {
		least = max(least, minInterval)
	}
	if rested := g.Issued.Add(least); !due.IsZero() && due.Before(rested) {
		due = rested
	}
	return due
}

// earlier is the earlier of two times, where the zero time is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// spread is a share of up to most that is always the same for a connection: those made in one minute do not fall due
// in one.
func spread(k store.Key, most time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.String()))
	return time.Duration(float64(most) * float64(h.Sum32()) / math.MaxUint32)
}

// mayTry reports whether the record of failures allows a refresh now. A write of the provider may have put right what
// it refused the app for.
func mayTry(a store.Attempt, providerSerial uint64, now time.Time) bool {
	if a.Class == "" || a.Class == providers.Misconfigured && a.ProviderSerial != providerSerial {
		return true
	}
	return !now.Before(nextOf(a)) || now.Before(a.Last) // a failure that is yet to come is from a clock that was wrong
}

// nextOf is when the next try may be made. Former releases let a refused app rest until its provider was written.
func nextOf(a store.Attempt) time.Time {
	if a.Class == providers.Misconfigured && a.Next.IsZero() {
		return a.Last.Add(maxBackoff)
	}
	return a.Next
}

// nextTry is when the renewal after this failure may be made. Jitter keeps a crowd from coming back in step; it only
// adds, and what the provider asked for stands to the second.
func nextTry(e *providers.Error, failures int, now time.Time) time.Time {
	first := firstBackoff
	switch {
	case e.Class == providers.Rejected:
		return time.Time{}
	// an incident is over in minutes, and an operator is no quicker
	case e.Class == providers.Misconfigured && !e.NotSent():
		first = firstAppBackoff
	}
	wait := min(first<<min(failures, 9), maxBackoff*2/3)
	return now.Add(max(wait+rand.N(wait/2), e.RetryAfter))
}
