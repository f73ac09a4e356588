package backend

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// A webhook is a cursor over the log of notices: nothing is copied, and what leaves the log before its receiver took it
// is counted as dropped. Each has a goroutine of its own while it has something to send, one request at a time and in
// the order of the log, so that a receiver delays nobody but itself. It ends at once with the mount: what is not known
// to be delivered is sent again, under the same id.

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
	// read gives the notices after a place that takes passes, so many at the most; the place to go on from, which is the
	// end of the log where the place lies behind it; and how many of those after the place are gone.
	read(ctx context.Context, after uint64, most int, takes func(*store.Notice) bool) (
		found []store.Notice, last, dropped uint64, err error)
	// newest is the place of the last notice; 0: there is none.
	newest(ctx context.Context) (uint64, error)
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
	tasks.Following
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

// webhookReport is how a webhook fares, by what memory has of it.
type webhookReport struct {
	disabled                    bool
	failures                    int
	pending                     time.Duration // for which the first notice that waits has waited
	delivered, refused, dropped uint64
}

// report tells how the webhooks fare that this node sends for, by name.
func (x *webhooks) report() map[string]webhookReport {
	now, all := x.b.now(), map[string]webhookReport{}
	x.mu.Lock()
	defer x.mu.Unlock()
	for name, d := range x.known {
		d.mu.Lock()
		if c := d.cursor; c != nil && !d.gone {
			r := webhookReport{
				disabled: d.off, failures: c.Failures, delivered: c.Delivered, refused: c.Refused, dropped: c.Dropped,
			}
			if !d.head.IsZero() {
				r.pending = max(now.Sub(d.head), 0)
			}
			all[name] = r
		}
		d.mu.Unlock()
	}
	return all
}

// describe tells that to who reads status.
func (x *webhooks) describe() map[string]any {
	all := map[string]any{}
	for name, r := range x.report() {
		all[name] = map[string]any{
			"disabled": r.disabled, "failures": r.failures, "pending_age": int(r.pending.Seconds()),
			"delivered": int(r.delivered), "refused": int(r.refused), "dropped": int(r.dropped),
		}
	}
	return all
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
