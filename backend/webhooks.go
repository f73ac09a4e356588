package backend

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/webhook"
)

// A webhook is a cursor over the log of notices: nothing is copied, and what leaves the log before its receiver took it
// is counted as dropped. Each has a goroutine of its own while it has something to send, one request at a time and in
// the order of the log, so that a receiver delays nobody but itself. It ends at once with the mount: what is not known to
// be delivered is sent again, under the same id.

const (
	// noticesAtOnce is how many notices are read of the log at a time.
	noticesAtOnce = 100

	// cursorEvery is how often the cursor of a webhook is stored at the most. What was delivered since is sent again
	// after a crash.
	cursorEvery = 5 * time.Second

	// passedEvery is how often it is where it passed over notices and delivered none: to pass over them again is cheap.
	passedEvery = 10 * time.Minute

	// cursorTime is how long a last write of a cursor may take.
	cursorTime = 5 * time.Second
)

// noticeReader is the log of notices.
type noticeReader interface {
	// read gives the notices after a number, at most so many; the number of the newest there is; and how many of those
	// after the number are gone.
	read(ctx context.Context, after uint64, most int) (found []store.Notice, last, dropped uint64, err error)
}

// webhooks has a task for each webhook that storage has.
type webhooks struct {
	b   *backend
	log noticeReader

	mu     sync.Mutex
	loaded bool                 // guarded by mu
	known  map[string]*delivery // guarded by mu; by name
}

func newWebhooks(b *backend, log noticeReader) *webhooks {
	return &webhooks{b: b, log: log, known: map[string]*delivery{}}
}

// delivery is the task of one webhook.
type delivery struct {
	tasks.Place
	b    *backend
	name string
	lock chan struct{} // holds a token over each read and write of the webhook's entry, and each write of its cursor

	// These are the turn's alone, of which there is one at a time.
	client *http.Client
	of     clientTerms // what the client was made for
	saved  time.Time   // when the cursor was stored last

	mu     sync.Mutex
	gone   bool                    // guarded by mu; the webhook was deleted
	busy   bool                    // guarded by mu; a turn is under way
	again  bool                    // guarded by mu; another is to follow it
	stop   context.CancelCauseFunc // guarded by mu; ends the turn under way
	lift   bool                    // guarded by mu; whatever was waited for need not be any more
	cursor *store.Cursor           // guarded by mu; nil until it was read. The turn alone moves it on
	dirty  bool                    // guarded by mu; something was delivered, or failed, that is not stored
	passed bool                    // guarded by mu; something was passed over that is not stored
	head   time.Time               // guarded by mu; of the notice that is being sent, or waits to be
	off    bool                    // guarded by mu; the webhook is disabled
}

// clientTerms are what an HTTP client is made for.
type clientTerms struct {
	config *store.Config
	caPEM  string
}

// errWebhookChanged ends a turn, since what it goes by changed.
var errWebhookChanged = errors.New("the webhook was changed")

// Lane implements [tasks.Task].
func (d *delivery) Lane() tasks.Lane { return tasks.Lane{Kind: laneWebhook, Key: d.name} }

// Name implements [tasks.Task].
func (d *delivery) Name() string { return d.name }

// Run implements [tasks.Task]. The turn takes none of the worker's places: its receiver may take its time.
func (d *delivery) Run(context.Context) (next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.gone:
	case d.busy:
		d.again = true
	default:
		d.busy = true
		d.b.tasks.Go("webhook "+d.name, d.send)
	}
	return next
}

// send is one turn, and enters the task anew.
func (d *delivery) send(ctx context.Context) {
	next := d.b.now().Add(tasks.LookAgain) // should it panic
	defer func() {
		d.mu.Lock()
		again, gone := d.again, d.gone
		d.busy, d.again, d.stop = false, false, nil
		d.mu.Unlock()
		switch {
		case gone:
			return
		case again:
			next = d.b.now()
		}
		d.b.tasks.Sooner(d, next)
	}()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d.mu.Lock()
	d.stop = stop
	d.mu.Unlock()
	next = d.turn(ctx)
}

// enter gives the task of a webhook.
func (x *webhooks) enter(name string) *delivery {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := x.known[name]
	if d == nil {
		d = &delivery{b: x.b, name: name, lock: make(chan struct{}, 1)}
		x.known[name] = d
	}
	return d
}

// find is enter for those who only ask; nil when there is none.
func (x *webhooks) find(name string) *delivery {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.known[name]
}

// hold is enter with the delivery's lock.
func (x *webhooks) hold(ctx context.Context, name string) (*delivery, error) {
	for {
		d := x.enter(name)
		if err := d.hold(ctx); err != nil {
			return nil, err
		}
		d.mu.Lock()
		gone := d.gone
		d.mu.Unlock()
		if !gone {
			return d, nil
		}
		d.release()
	}
}

func (d *delivery) hold(ctx context.Context) error {
	select {
	case d.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *delivery) release() { <-d.lock }

// forget ends the task of a webhook that is gone. It is called under its lock.
func (x *webhooks) forget(d *delivery) {
	x.mu.Lock()
	if x.known[d.name] == d {
		delete(x.known, d.name)
	}
	x.mu.Unlock()
	d.mu.Lock()
	d.gone = true
	if d.stop != nil {
		d.stop(errWebhookChanged)
	}
	d.mu.Unlock()
	x.b.tasks.Set(d, time.Time{})
}

// load gives each webhook that storage has its task, once, and removes what a deletion left that was cut off.
func (x *webhooks) load(ctx context.Context) error {
	x.mu.Lock()
	loaded := x.loaded
	x.mu.Unlock()
	if loaded {
		return nil
	}
	names, err := x.b.store.Webhooks(ctx)
	if err != nil {
		return err
	}
	cursors, err := x.b.store.Cursors(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		x.b.tasks.Sooner(x.enter(name), x.b.now())
	}
	for _, name := range cursors {
		if slices.Contains(names, name) {
			continue
		}
		if err := x.tidy(ctx, name); err != nil {
			return err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.loaded = true
	return nil
}

// tidy removes the cursor of a webhook that is not there, unless it was made meanwhile.
func (x *webhooks) tidy(ctx context.Context, name string) error {
	d, err := x.hold(ctx, name)
	if err != nil {
		return err
	}
	defer d.release()
	w, err := x.b.store.Webhook(ctx, name)
	if err != nil || w != nil {
		return unlessUnusable(err)
	}
	if err := x.b.store.DeleteCursor(ctx, name); err != nil {
		return err
	}
	x.forget(d)
	return nil
}

// wake is told that the log has something new. It does not wait.
func (x *webhooks) wake() {
	now := x.b.now()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, d := range x.known {
		d.mu.Lock()
		rests := d.off || d.cursor != nil && d.cursor.Next.After(now)
		d.mu.Unlock()
		if !rests {
			x.b.tasks.Sooner(d, now)
		}
	}
}

// changed is told that the webhook was changed, or may have been: the turn under way ends, and the next one begins.
func (d *delivery) changed() {
	d.mu.Lock()
	d.lift, d.off = true, false
	if d.stop != nil {
		d.stop(errWebhookChanged)
	}
	d.mu.Unlock()
	d.b.tasks.Sooner(d, d.b.now())
}

// hasten is told that the receiver takes messages: what waits for it need not any more.
func (d *delivery) hasten() {
	d.mu.Lock()
	waits := d.cursor == nil || d.cursor.Failures > 0
	d.lift = d.lift || waits
	d.mu.Unlock()
	if waits {
		d.b.tasks.Sooner(d, d.b.now())
	}
}

// turn sends what there is, and says when to look again; zero: when there is something new.
func (d *delivery) turn(ctx context.Context) (next time.Time) {
	b := d.b
	if !b.mayWrite() { // another node sends, and knows what it has sent
		d.mu.Lock()
		d.cursor = nil
		d.mu.Unlock()
		return b.now().Add(tasks.LookAgain)
	}
	w, err := d.read(ctx)
	switch {
	case store.Unusable(err):
		b.Logger().Warn("a webhook cannot be read, so nothing is sent for it", "webhook", d.name, "error", err)
		return next
	case err != nil:
		return d.later(ctx, err)
	case w == nil:
		return next
	}
	next, err = d.sendAll(ctx, w)
	if failed := d.save(ctx, w, err != nil); failed != nil {
		err = errors.Join(err, failed)
	}
	if err != nil {
		return d.later(ctx, err)
	}
	if !w.FormerSecret.IsZero() {
		next = earlier(next, w.FormerUntil)
	}
	return earlier(next, d.unsaved())
}

// later is when to look again after something of this node's own failed.
func (d *delivery) later(ctx context.Context, err error) time.Time {
	if ctx.Err() == nil {
		d.b.Logger().Debug("a webhook could not go on yet", "webhook", d.name, "error", err)
	}
	return d.b.now().Add(tasks.LookAgain)
}

// read reads the webhook, and its cursor where it is not known. It erases a former secret that signs no more.
func (d *delivery) read(ctx context.Context) (*store.Webhook, error) {
	b := d.b
	if err := d.hold(ctx); err != nil {
		return nil, err
	}
	defer d.release()
	w, err := b.store.Webhook(ctx, d.name)
	if err != nil {
		return nil, err
	}
	if w == nil {
		b.webhooks.forget(d)
		return nil, nil
	}
	if w.FormerEnded(b.now()) {
		w.DropFormer()
		if err := b.store.PutWebhook(ctx, d.name, w); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	known := d.cursor != nil && d.cursor.Webhook == w.ID
	d.mu.Unlock()
	var stored *store.Cursor
	if !known {
		if stored, err = b.cursorOf(ctx, d.name, w); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !known {
		d.cursor, d.dirty, d.passed, d.head = stored, false, false, time.Time{}
	}
	if d.lift {
		d.lift = false
		if d.cursor.Failures > 0 {
			d.cursor.Lift()
			d.dirty = true
		}
	}
	d.off = w.Disabled
	return w, nil
}

// cursorOf is the stored cursor of a webhook. One that is damaged is begun anew: what was delivered is sent again.
func (b *backend) cursorOf(ctx context.Context, name string, w *store.Webhook) (*store.Cursor, error) {
	c, err := b.store.Cursor(ctx, name)
	switch {
	case store.Damaged(err):
	case err != nil:
		return nil, err
	case c != nil && c.Webhook == w.ID:
		return c, nil
	}
	return w.StartOf(), nil
}

// at is how far the webhook has come.
func (d *delivery) at() *store.Cursor {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cursor == nil {
		return nil
	}
	return d.cursor.Clone()
}

// move moves the cursor on.
func (d *delivery) move(move func(*store.Cursor)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	move(d.cursor)
	d.dirty = true
}

// unsaved is when a cursor is to be stored that was stored too lately; zero: not by itself.
func (d *delivery) unsaved() (at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirty {
		return d.saved.Add(cursorEvery)
	}
	return at
}

// save stores the cursor, if that is worth a write. atOnce is for the end of a turn that was cut off.
func (d *delivery) save(ctx context.Context, w *store.Webhook, atOnce bool) error {
	now := d.b.now()
	since := now.Sub(d.saved)
	d.mu.Lock()
	worth := d.dirty && (atOnce || since >= cursorEvery) || d.passed && (atOnce || since >= passedEvery)
	d.mu.Unlock()
	if !worth {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cursorTime)
	defer cancel()
	if err := d.hold(ctx); err != nil {
		return err
	}
	defer d.release()
	d.mu.Lock()
	if d.gone || d.cursor == nil || d.cursor.Webhook != w.ID {
		d.mu.Unlock()
		return nil
	}
	c := d.cursor.Clone()
	d.mu.Unlock()
	if err := d.b.store.PutCursor(ctx, d.name, c); err != nil {
		return err
	}
	d.saved = now
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirty, d.passed = false, false
	return nil
}

// sendAll sends what the log has for the webhook, until nothing is left or something fails. An error is one of this
// node's, and not the receiver's.
func (d *delivery) sendAll(ctx context.Context, w *store.Webhook) (next time.Time, err error) {
	b := d.b
	for !w.Disabled {
		c := d.at()
		if c.Next.After(b.now()) {
			return c.Next, nil
		}
		found, last, dropped, err := b.webhooks.log.read(ctx, c.Seq, noticesAtOnce)
		if err != nil {
			return next, err
		}
		if dropped > 0 {
			upTo := last
			if len(found) > 0 {
				upTo = found[0].Seq - 1
			}
			d.move(func(c *store.Cursor) { c.Drop(dropped, upTo) })
			b.Logger().Warn("notices left the log before the receiver of a webhook took them", "webhook", d.name,
				"dropped", dropped)
		}
		if len(found) == 0 {
			if last < c.Seq { // the log is not the one that was read: what it gets is new
				d.move(func(c *store.Cursor) { c.Pass(last) })
			}
			d.mu.Lock()
			d.head = time.Time{}
			d.mu.Unlock()
			return next, nil
		}
		for _, n := range found {
			if !takes(w, n) {
				d.mu.Lock()
				d.cursor.Pass(n.Seq)
				d.passed = true
				d.mu.Unlock()
				continue
			}
			goOn, err := d.deliver(ctx, w, n)
			if err != nil || !goOn {
				return d.at().Next, err
			}
			if err := d.save(ctx, w, false); err != nil {
				return next, err
			}
		}
	}
	return next, nil
}

// deliver sends one notice, and notes what came of it. It reports whether others may follow.
func (d *delivery) deliver(ctx context.Context, w *store.Webhook, n store.Notice) (goOn bool, err error) {
	b := d.b
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case b.tasks.Held():
		return false, tasks.ErrClosed
	case !b.mayWrite():
		return false, errNotHere
	}
	d.mu.Lock()
	d.head = n.Time
	failures, failing := d.cursor.Failures, !d.cursor.Failing.IsZero()
	d.mu.Unlock()
	body, err := noticeBody(n)
	if err != nil {
		return false, err
	}
	client, err := d.clientOf(ctx, w)
	if err != nil {
		return false, err
	}
	out := webhook.Post(ctx, client, w.URL, b.agent(), webhook.Message{ID: n.ID, Body: body}, b.now(), w.Signs(b.now())...)
	if ctx.Err() != nil && !out.Delivered() { // it is this node that broke it off
		return false, context.Cause(ctx)
	}
	now := b.now()
	switch {
	case out.Delivered():
		d.move(func(c *store.Cursor) { c.Deliver(n.Seq, now) })
		if failing {
			b.Logger().Info("the receiver of a webhook takes notices again", "webhook", d.name, "failures", failures)
		}
		return true, nil
	case out.Gone():
		d.move(func(c *store.Cursor) { c.Fail(out.Status, out.Failure, false, now) })
		return false, d.disable(ctx, w)
	}
	gaveUp := false
	d.move(func(c *store.Cursor) {
		c.Fail(out.Status, out.Failure, out.Refused(), now)
		if gaveUp = out.Refused() && c.GiveUp(n.Seq, now); !gaveUp {
			c.Next = now.Add(webhook.Wait(c.Failures, rand.Float64(), out.After)) //nolint:gosec // it spreads load
		}
	})
	if !failing {
		b.Logger().Warn("the receiver of a webhook does not take a notice; it is sent again, later and later",
			"webhook", d.name, "failure", out.Failure)
	}
	if gaveUp {
		b.Logger().Warn("the receiver of a webhook has refused a notice for a day, so it is passed over", "webhook", d.name,
			"notice", n.ID, "failure", out.Failure)
	}
	return gaveUp, d.saveNow(ctx, w)
}

// saveNow stores how the receiver fares: the next node is to wait as long.
func (d *delivery) saveNow(ctx context.Context, w *store.Webhook) error { return d.save(ctx, w, true) }

// errNotHere ends a turn on a node that may not write any more.
var errNotHere = errors.New("this node may not write any more")

// disable notes that the receiver of this webhook wants no more, unless it was changed meanwhile.
func (d *delivery) disable(ctx context.Context, sent *store.Webhook) error {
	b := d.b
	if err := d.hold(ctx); err != nil {
		return err
	}
	defer d.release()
	w, err := b.store.Webhook(ctx, d.name)
	if err != nil || w == nil || !w.Same(sent) || !w.Gone() {
		return err
	}
	if err := b.store.PutWebhook(ctx, d.name, w); err != nil {
		return err
	}
	d.mu.Lock()
	d.off = true
	d.mu.Unlock()
	b.Logger().Warn("the receiver of a webhook wants no more (410), so it is disabled", "webhook", d.name)
	return nil
}

// clientOf is the client that a webhook is sent by.
func (d *delivery) clientOf(ctx context.Context, w *store.Webhook) (*http.Client, error) {
	config, err := d.b.config(ctx)
	if err != nil {
		return nil, err
	}
	terms := clientTerms{config, w.CAPEM}
	if d.client != nil && d.of == terms {
		return d.client, nil
	}
	client, err := d.b.webhookClient(terms)
	if err != nil {
		return nil, err
	}
	if d.client != nil {
		d.client.CloseIdleConnections()
	}
	d.client, d.of = client, terms
	return client, nil
}

func (b *backend) webhookClient(t clientTerms) (*http.Client, error) {
	return egress.New(egress.Policy{
		Allow: t.config.EgressAllow, ProxyURL: t.config.ProxyURL, CAPEM: t.caPEM, Timeout: t.config.RequestTimeout,
		Resolver: b.resolver,
	})
}
