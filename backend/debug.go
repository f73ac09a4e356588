package backend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Debug mode tells the log of each exchange with a service, for one connection or for a provider, until a time that is
// at most an hour away. Then it is over by itself.

const (
	mostDebug = time.Hour

	// A refresh storm must not fill the log: so many lines a minute for one connection or provider. The next line tells
	// how many were left out.
	debugLines = 60
)

// debugUntil reads until when something is to be told: a time, or how long from now on; empty or 0 ends it. What is
// stored may be written back, also when it is over.
func debugUntil(text string, stored, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	until, err := time.Parse(time.RFC3339, text)
	if err != nil {
		span, err := parseutil.ParseDurationSecond(text)
		if err != nil || span < 0 {
			return until, badRequest("debug_until is a time (2026-03-01T12:30:00Z), or how long from now on (15m)")
		}
		until = now.Add(span)
	}
	until = until.UTC().Truncate(time.Second)
	switch {
	case until.Equal(stored):
		return stored, nil
	case until.After(now.Add(mostDebug)):
		return until, badRequest("debug_until is at most an hour away: say 1h, and again later if need be")
	case !until.After(now):
		return until, badRequest("debug_until has passed already: name a later time, or nothing to end it")
	}
	return until, nil
}

// debugShown is what a read tells of it.
func debugShown(until, now time.Time) string {
	if !now.Before(until) {
		return ""
	}
	return rfc3339(until)
}

// debugs has the calls that are made with the context told to the log, if somebody wants that of the connection, or of
// its provider. Of a private connection only its own entity may want it, so a provider's word leaves those out, and
// what somebody's first connection may become. c is nil where there is no connection yet, and k zero where the call is
// for none.
func (b *backend) debugs(ctx context.Context, p *configured, k store.Key, c *store.Connection) context.Context {
	if p == nil {
		return ctx
	}
	now, private := b.now(), c == nil && k.Owner.Personal() || c != nil && c.Private
	of := ""
	switch {
	case c != nil && now.Before(c.DebugUntil) && (!private || c.DebugBy == k.Owner.User):
		of = k.String()
	case !private && now.Before(p.entry.DebugUntil):
		of = "provider " + p.name
	default:
		return ctx
	}
	connection := ""
	if k != (store.Key{}) {
		connection = k.String()
	}
	return providers.NewTracer(p.app, func(e providers.Exchange) {
		if told, left := b.debugging.admits(of, b.now()); told {
			b.tellExchange(p.name, connection, left, e)
		}
	}).With(ctx)
}

// tellExchange writes one line, which can be sent to somebody as it is.
func (b *backend) tellExchange(provider, connection string, left int, e providers.Exchange) {
	answer := "none"
	if e.Status != 0 {
		answer = fmt.Sprint(e.Status)
	}
	b.Logger().Info("an exchange with a service", "provider", provider, "connection", connection,
		"step", string(e.Step), "method", e.Method, "host", e.Host, "path", e.Path, "status", answer,
		"took", e.Took.Round(time.Millisecond).String(), "reason", e.Reason, "code", e.Code,
		"sent", namesText(e.Sent, e.SentForm), "got", namesText(e.Got, e.AnswerIsA), "left_out", left)
}

// namesText is such as "form: client_id code and 2 others".
func namesText(n providers.Names, form string) string {
	text := strings.Join(n.Known, " ")
	if form != "" {
		text = form + ": " + text
	}
	if n.Others > 0 {
		text += fmt.Sprintf(" and %d others", n.Others)
	}
	return strings.TrimSuffix(text, ": ")
}

// debugging counts the lines of each connection and provider that is told of.
type debugging struct {
	mu    sync.Mutex
	lines map[string]*debugMinute // guarded by mu; of those with a line in the last minutes
}

type debugMinute struct {
	since      time.Time
	told, left int
}

// admits reports whether one more line may be written, and how many were left out before it.
func (d *debugging) admits(of string, now time.Time) (told bool, left int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lines == nil {
		d.lines = map[string]*debugMinute{}
	}
	m := d.lines[of]
	if m == nil {
		for other, m := range d.lines { // few are told of at once
			if now.Sub(m.since) > mostDebug {
				delete(d.lines, other)
			}
		}
		m = &debugMinute{since: now}
		d.lines[of] = m
	}
	if age := now.Sub(m.since); age >= time.Minute || age < 0 {
		m.since, m.told = now, 0
	}
	if m.told == debugLines {
		m.left++
		return false, 0
	}
	left, m.left = m.left, 0
	m.told++
	return true, left
}
