package backend

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/webhook"
)

// turn sends what there is, and says when to look again; zero: when there is something new.
func (d *delivery) turn(ctx context.Context) (next time.Time) {
	b := d.b
	if !b.mayWrite() {
		return d.elsewhere()
	}
	w, err := d.read(ctx)
	switch {
	case store.Unusable(err):
		d.mu.Lock()
		d.off = true // until it is written
		d.mu.Unlock()
		b.Logger().Warn("a webhook cannot be read, so nothing is sent for it", "webhook", d.name, "error", err)
		return next
	case err != nil:
		return d.later(ctx, err)
	case w == nil:
		return next
	}
	next, err = d.sendAll(ctx, w)
	if errors.Is(err, errNotHere) {
		return d.elsewhere()
	}
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

// elsewhere is when to look again on a node that may not write: another one sends, and knows what it has sent.
func (d *delivery) elsewhere() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cursor = nil
	return d.b.now().Add(tasks.LookAgain)
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
		found, last, dropped, err := b.webhooks.log.read(ctx, c.Seq, noticesAtOnce, func(n *store.Notice) bool {
			return takes(w, n)
		})
		if err != nil {
			return next, err
		}
		if dropped > 0 {
			b.Logger().Warn("notices left the log before the receiver of a webhook took them", "webhook", d.name,
				"dropped", dropped)
			if len(found) == 0 || found[0].Seq > c.Seq+dropped {
				d.move(func(c *store.Cursor) { c.Drop(dropped, c.Seq+dropped) })
				dropped = 0
			} // else a part of the log is damaged that lies behind what is found
		}
		for _, n := range found {
			if goOn, err := d.deliver(ctx, w, n); err != nil || !goOn {
				return d.at().Next, err
			}
			if err := d.save(ctx, w, false); err != nil {
				return next, err
			}
		}
		if dropped > 0 {
			d.move(func(c *store.Cursor) { c.Drop(dropped, c.Seq) })
		}
		d.pass(last)
		if len(found) < noticesAtOnce {
			return next, nil
		}
	}
	return next, nil
}

// pass notes that there is nothing more to send up to a place. That lies before the cursor where the log has lost its
// end, as by a restored snapshot: what comes takes those places.
func (d *delivery) pass(upTo uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.head = time.Time{}
	if upTo != d.cursor.Seq {
		d.cursor.Pass(upTo)
		d.passed = true
	}
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
			c.Next = now.Add(webhook.Wait(c.Failures, rand.Float64(), out.After))
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
