package backend

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// confirmationAlphabet leaves out what people confuse: 0 O, 1 I L, 5 S, 2 Z, 8 B, U V. Twenty-three letters in eight
// places are 36 bits; five tries at them are nothing.
const confirmationAlphabet = "34679ACDEFGHJKMNPQRTWXY"

// newState makes 256 bits of state.
func newState() string { return randomText(32) }

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// newConfirmationCode draws evenly from the alphabet: bytes beyond its last full multiple are drawn again.
func newConfirmationCode() string {
	const n = len(confirmationAlphabet)
	code := make([]byte, 0, 8)
	for b := make([]byte, 1); len(code) < cap(code); {
		_, _ = rand.Read(b)
		if v := int(b[0]); v < 256/n*n {
			code = append(code, confirmationAlphabet[v%n])
		}
	}
	return string(code)
}

// digest names a request by everything that matters in it, without keeping any of it.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte{byte(len(p) >> 24), byte(len(p) >> 16), byte(len(p) >> 8), byte(len(p))})
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// flowIndex knows the flows there are, so that a connection's metadata
// can show them and a caller cannot open without end.
type flowIndex struct {
	b      *backend
	mirror *mirror[string, openFlow] // by flow id

	// holds a token while a flow is counted and stored, so that no more are open than may be
	starting chan struct{}
	locks    *hashLocks // of flows; held for storage only, never over the network
}

// openFlow is what the index keeps of one flow. Guarded by the mirror's mutex.
type openFlow struct {
	key      string
	provider string
	caller   string
	started  time.Time
	expires  time.Time
	device   bool // the person types a code on another device
	link     bool // the person was sent a link
	void     bool
	denied   bool
	ended    bool // there is an outcome but a denial, or it is void, or it cannot be read

	finishing bool // its code is being spent, unless a crash cut that off
}

func newFlowIndex(b *backend) *flowIndex {
	return &flowIndex{
		b: b, mirror: newMirror(unordered[string, openFlow]{}), starting: make(chan struct{}, 1), locks: newHashLocks(),
	}
}

func (o *openFlow) summarize(f *store.Flow) {
	denied := f.Device != nil && f.Device.Ended == store.DeviceDenied
	*o = openFlow{
		key: f.Key, provider: f.Provider, caller: f.Caller, started: f.Created.Time, expires: f.Expires,
		device: f.Device != nil, link: f.Link != nil, void: f.Void && f.Outcome == nil,
		denied:    denied || f.Parked != nil && f.Parked.Denied != "",
		ended:     f.Outcome != nil && !denied || f.Void,
		finishing: f.Claimed != "" && f.Outcome == nil,
	}
}

// start is the path at which a flow like that is started.
func (o *openFlow) start() string {
	switch {
	case o.device:
		return "device-code/" + o.key
	case o.link:
		return "connect-link/" + o.key
	}
	return "auth-code-url/" + o.key
}

// lock serialises the changes of one flow, and waits for that as long as ctx lasts.
func (x *flowIndex) lock(ctx context.Context, id string) (unlock func(), err error) {
	return x.locks.lock(ctx, id)
}

func (x *flowIndex) changed(f *store.Flow) {
	x.mirror.set(f.ID, func(o *openFlow) { o.summarize(f) })
}

func (x *flowIndex) gone(id string) { x.mirror.remove(id, func(*openFlow) {}) }

// forget says that somebody else changed a flow.
func (x *flowIndex) forget(id string) { x.mirror.forget(id) }

// each calls fn with every flow, reading first what storage has and the index does not know. A flow that storage does
// not give, or that cannot be decoded, counts as ended: it hides no other, and nothing of a connection hangs on it. fn
// must not call back.
func (x *flowIndex) each(ctx context.Context, fn func(id string, f openFlow)) error {
	unreadable := func(o *openFlow) {
		if o.expires.IsZero() { // it is removed when any flow that is open now would be
			*o = openFlow{ended: true, expires: x.b.now().Add(longestLink)}
		}
	}
	_, err := x.mirror.fill(ctx, source[string, openFlow]{
		keys: func(ctx context.Context, fn func(string)) error {
			ids, err := x.b.store.Flows(ctx)
			for _, id := range ids {
				fn(id)
			}
			return err
		},
		read: func(ctx context.Context, id string) (func(*openFlow), error) {
			f, err := x.b.store.Flow(ctx, id)
			switch {
			case store.Unusable(err):
				return unreadable, nil
			case err != nil || f == nil:
				return nil, err
			}
			return func(o *openFlow) { o.summarize(f) }, nil
		},
		unread: unreadable,
	}, func(*openFlow) {})
	if err != nil {
		return err
	}
	x.mirror.each(func(id string, f *openFlow) { fn(id, *f) })
	return nil
}

// flowOf is the latest flow for a connection that has neither ended nor expired, or nil.
func (b *backend) flowOf(ctx context.Context, k store.Key) (*openFlow, error) {
	var latest *openFlow
	now, key := b.now(), k.String()
	err := b.flows.each(ctx, func(_ string, f openFlow) {
		if f.key == key && !f.ended && now.Before(f.expires) && (latest == nil || f.started.After(latest.started)) {
			latest = &f
		}
	})
	return latest, err
}

// voidFlows ends the open flows of a connection that is being deleted, so that none of them brings it back. One that
// is being finished looks for the mark before it connects anything.
func (b *backend) voidFlows(ctx context.Context, k store.Key) error {
	var open []string
	if err := b.flows.each(ctx, func(id string, f openFlow) {
		if f.key == k.String() && !f.ended {
			open = append(open, id)
		}
	}); err != nil {
		return err
	}
	for _, id := range open {
		if err := b.voidFlow(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) voidFlow(ctx context.Context, id string) error {
	unlock, err := b.flows.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := b.store.Flow(ctx, id)
	if err != nil || f == nil || f.Outcome != nil {
		return err
	}
	f.Void = true
	f.EndLink(b.now().Add(finishTime)) // nobody waits for it any more
	if err := b.putFlow(ctx, f); err != nil {
		return err
	}
	b.devices.stop(id)
	return nil
}

// voided reports whether a flow became void while its code was spent. It takes no lock, since its caller holds the
// connection's: a deletion marks its flows before it takes that one, so a mark that is not there yet belongs to a
// deletion that finds the connection. What cannot be read counts as not void,
// since what the provider gave is not to be lost.
func (b *backend) voided(ctx context.Context, id string) bool {
	f, err := b.store.Flow(context.WithoutCancel(ctx), id)
	return err == nil && f != nil && f.Void
}

// putFlow stores a flow and tells the index.
func (b *backend) putFlow(ctx context.Context, f *store.Flow) error {
	if err := b.store.PutFlow(ctx, f.Kept()); err != nil {
		return err
	}
	b.flows.changed(f)
	return nil
}

const (
	finishTime  = 10 * time.Minute // no exchange takes as long
	longestFlow = time.Hour        // the most that flow_ttl may be
	longestLink = 24 * time.Hour   // the most that the ttl of a link may be
)

// tidyFlows removes flows that have expired; one that is being finished later, or the mark of a deletion would go with
// it. One whose outcome is stored after that is removed the next time. Codes go after their flows.
func (b *backend) tidyFlows(ctx context.Context) error {
	var expired []string
	now := b.now()
	err := b.flows.each(ctx, func(id string, f openFlow) {
		end := f.expires
		if f.finishing || f.device || f.link { // of the latter people are told for a while that they expired
			end = end.Add(finishTime)
		}
		if !now.Before(end) {
			expired = append(expired, id)
		}
	})
	if err != nil {
		return err
	}
	for _, id := range expired {
		if err := b.store.DeleteFlow(ctx, id); err != nil {
			return err
		}
		b.flows.gone(id)
	}
	return b.codes.tidy(ctx)
}
