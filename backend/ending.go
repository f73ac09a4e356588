package backend

import (
	"context"
	"errors"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

const (
	// finishEnd is how long after an end began the background carries it through, if it was cut off.
	finishEnd = time.Minute

	// reachTime is how long a provider that does not answer is asked again. Then what is stored is erased all the same.
	reachTime = 24 * time.Hour
)

// endName is the name of a connection's end among the tasks: there is one at a time.
func endName(k store.Key) string { return "end " + k.String() }

// beingEnded refuses to change what is being ended: the end would take it along.
func beingEnded(k store.Key) error {
	return conflict("connection %s is being ended (revoking): nothing was changed; once it is over its owner can "+
		"connect it again", k)
}

// endDue is when the background is to carry an end through.
func (b *backend) endDue(_ store.Key, c *store.Connection, _ refresh.Terms) (due time.Time) {
	if c.Ending.On() {
		due = c.Ending.By.Time.Add(finishEnd)
	}
	return due
}

// mayCarryEnds reports whether ends go on. In storage that may be a restored snapshot only those do whose job was
// confirmed since: the account may have been connected again where the snapshot is from.
func (b *backend) mayCarryEnds() bool { return !b.standsStill() || b.jobs.confirmedHere("") }

// runEnd carries an end through that was cut off, or whose provider did not answer.
func (b *backend) runEnd(ctx context.Context, k store.Key) (next time.Time) {
	if b.standsStill() {
		c, _, err := b.connections.Get(ctx, k)
		if err != nil || c != nil && !b.jobs.confirmedHere(c.Ending.Job) {
			return b.now().Add(tasks.LookAgain)
		}
	}
	out, err := b.endOne(ctx, k)
	switch {
	case err != nil:
		b.Logger().Debug("an end could not be carried through yet", "connection", k.String(), "error", err)
		return b.now().Add(tasks.LookAgain)
	case out.over:
		return next
	}
	return out.next
}

// endOutcome is what came of a step towards the end of a connection.
type endOutcome struct {
	over bool      // nothing more is to be done
	next time.Time // else: when to ask the provider again
}

// endOne carries the end of a connection through, as far as its provider lets it.
func (b *backend) endOne(ctx context.Context, k store.Key) (endOutcome, error) {
	out, err := b.tasks.Once(ctx, endName(k), func(ctx context.Context) (any, error) { return b.carryEnd(ctx, k) })
	if err != nil {
		return endOutcome{}, err
	}
	return out.(endOutcome), nil
}

// carryEnd asks the provider, and then erases what is stored. What was under way when the mark was written lands
// before, so that it is erased too.
func (b *backend) carryEnd(ctx context.Context, k store.Key) (endOutcome, error) {
	if under := b.tasks.Find(refresh.Name(k)); under != nil {
		if _, _ = under.Wait(ctx); ctx.Err() != nil {
			return endOutcome{}, ctx.Err()
		}
	}
	if under := b.tasks.Find(importName(k)); under != nil {
		b.endedImports.Store(k, beingEnded(k)) // what it brings is for nobody
		if _, _ = under.Wait(ctx); ctx.Err() != nil {
			return endOutcome{}, ctx.Err()
		}
	}
	c, _, err := b.connections.Get(ctx, k)
	switch {
	case store.Damaged(err):
		return endOutcome{over: true}, nil // nothing of it can be told, or served
	case err != nil:
		return endOutcome{}, err
	case c == nil || !c.Ending.On():
		return endOutcome{over: true}, nil
	}
	mark := c.Ending
	out, err := b.ask(ctx, k, c, gate.Background, b.jobs.spared(mark.Job))
	if err != nil {
		return endOutcome{}, err
	}
	if out.again {
		since := b.now().Sub(mark.By.Time)
		if since < reachTime {
			wait := min(max(since/4, finishEnd), time.Hour, reachTime-since)
			return endOutcome{next: b.now().Add(wait)}, nil
		}
		out.word = store.EndUnreachable
	}
	if mark.Then == store.ThenDelete { // a flow from before would make it anew
		if err := b.voidFlows(ctx, k); err != nil {
			return endOutcome{}, err
		}
	}
	if err := b.store.DeleteTrials(ctx, k); err != nil {
		return endOutcome{}, err
	}
	ended := store.Ended{Job: mark.Job, Outcome: out.word, Why: b.whyNot(out), Time: b.now()}
	who := caller{entity: mark.By.EntityID, display: mark.By.DisplayName}
	_, err = b.connections.Update(ctx, k, connections.Act{Verb: "revoke"},
		func(c *store.Connection) (*store.Connection, error) {
			if c == nil || c.Ending.Job != mark.Job {
				return nil, nil
			}
			c.End(ended, who.setterOf(k, ended.Time))
			return c, nil
		})
	if err != nil {
		return endOutcome{}, err
	}
	if intent, open := b.connections.InterruptedIntent(k); open { // nobody will spend that grant any more
		if err := b.connections.Settle(ctx, k, intent.Generation); err != nil {
			b.Logger().Debug("an intent could not be removed", "connection", k.String(), "error", err)
		}
	}
	return endOutcome{over: true}, nil
}

// judged is how a target stands by its connection.
type judged struct {
	key    store.Key
	conn   *store.Connection
	result store.Result
	why    string
}

// target judges one target of a job: what was done already its entry tells; else whether it may be begun.
func (b *backend) target(ctx context.Context, run *jobRun, t store.Target) (judged, error) {
	k, err := store.ParseKey(t.Path)
	if err != nil {
		return judged{result: store.SkippedGone}, nil
	}
	j := judged{key: k}
	c, _, err := b.connections.Get(ctx, k)
	switch {
	case store.Unusable(err):
		j.result, j.why = store.SkippedChanged, "its entry cannot be read, so nothing was ended: reading it says why"
		return j, nil
	case err != nil:
		return j, err
	case c == nil || !t.Is(c):
		j.result = store.SkippedGone
		return j, nil
	}
	j.conn = c
	switch {
	case c.Ending.Job == run.job.ID:
		j.result = store.Marked
	case c.LastEnd().Job == run.job.ID:
		j.result, j.why = store.ResultOf(c.LastEnd().Outcome), c.LastEnd().Why
	case c.Ending.On() || !c.Deleting.IsZero():
		j.result = store.SkippedBusy
	case run.who.may(narrowing, k, c) != nil:
		j.result, j.why = store.SkippedForbidden, "whoever ran the job may not end it"
	default:
		matches, err := b.matches(ctx, run, k, c)
		if err != nil {
			return j, err
		}
		if j.result = store.NotBegun; !matches {
			j.result = store.SkippedChanged
		}
	}
	return j, nil
}

// matches reports whether a connection passes the filters of a job as it is now.
func (b *backend) matches(ctx context.Context, run *jobRun, k store.Key, c *store.Connection) (bool, error) {
	terms, err := b.Terms(ctx, k, c)
	if err != nil {
		return false, err
	}
	r := lookup(k)
	r.summarize(b, c, terms, b.appOf(ctx, c))
	if at := b.directory.lastChecked(k); !at.IsZero() {
		r.checked = unixOf(at)
	}
	if r.used = store.DayOf(b.now()); b.directory.knows(k, r.id) { // else nobody knows, and it stays
		r.used = b.directory.lastUsed(k)
	}
	now := b.now()
	if !run.selection.takes(r, run.states.judge(r, now), run.states, now) {
		return false, nil
	}
	p, err := b.provider(ctx, c.Provider)
	if err != nil && !store.Unusable(err) {
		return false, err
	}
	return run.selection.takesRead(p, c), nil
}

// errMoved is why a target was not begun: it changed again and again meanwhile.
var errMoved = errors.New("the connection was changed meanwhile")

// begin marks a target as being ended, if it still is what was planned. From then on nothing of it goes out.
func (b *backend) begin(ctx context.Context, run *jobRun, t store.Target) (judged, error) {
	for range 3 {
		j, err := b.target(ctx, run, t)
		if err != nil || j.result != store.NotBegun || !run.mayBegin() {
			return j, err
		}
		mark := store.Ending{Job: run.job.ID, Then: run.job.Then, By: run.who.actor(b.now())}
		marked, err := b.connections.Update(ctx, j.key, run.who.act("revoke", b.now()),
			func(c *store.Connection) (*store.Connection, error) {
				if c == nil || c.Serial != j.conn.Serial { // it was judged as it was before
					return nil, nil
				}
				c.BeginEnd(mark)
				return c, nil
			})
		if err != nil {
			return j, err
		}
		if marked != nil {
			j.conn, j.result = marked, store.Marked
			return j, nil
		}
	}
	return judged{}, errMoved
}
