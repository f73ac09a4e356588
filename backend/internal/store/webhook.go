package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Webhook is where notices are sent, as an operator set it up.
type Webhook struct {
	ID  string `json:"id"`  // of this one: another of its name is another
	URL string `json:"url"` // which may hold a secret of the receiver's

	// what is sent; empty: all
	Kinds     []string `json:"kinds,omitempty"`
	Providers []string `json:"providers,omitempty"`
	Owners    []string `json:"owners,omitempty"` // patterns

	CAPEM string `json:"ca_pem,omitempty"`

	Secret       providers.Secret `json:"-"`
	SecretSet    time.Time        `json:"secret_set"`
	FormerSecret providers.Secret `json:"-"` // signs too, until then
	FormerUntil  time.Time        `json:"former_until,omitzero"`

	Disabled bool           `json:"disabled,omitempty"`
	Why      DisabledReason `json:"disabled_reason,omitempty"` // empty: an operator did it

	// Start is the last notice that was there before it.
	Start uint64 `json:"start,omitempty"`

	Created Actor `json:"created"`
	Updated Actor `json:"updated"`

	unknown unknownFields
}

// DisabledReason says why the engine itself disabled a webhook.
type DisabledReason string

// DisabledGone is of a receiver that answered 410: it wants no more.
const DisabledGone DisabledReason = "gone"

// NewWebhook is one that sends what comes after the notice start.
func NewWebhook(start uint64, by Actor) *Webhook {
	return &Webhook{ID: strings.ToLower(rand.Text()), Start: start, Created: by}
}

// SetSecret takes another secret. The former one signs too for as long as keep says.
func (w *Webhook) SetSecret(s providers.Secret, keep time.Duration, now time.Time) {
	if s.Equal(w.Secret) {
		return
	}
	former := w.Secret
	w.Secret, w.SecretSet = s, now
	w.DropFormer()
	if !former.IsZero() && keep > 0 {
		w.FormerSecret, w.FormerUntil = former, now.Add(keep)
	}
}

// DropFormer forgets the former secret.
func (w *Webhook) DropFormer() { w.FormerSecret, w.FormerUntil = providers.Secret{}, time.Time{} }

// FormerEnded reports whether there is a former secret that signs no more.
func (w *Webhook) FormerEnded(now time.Time) bool {
	return !w.FormerSecret.IsZero() && !now.Before(w.FormerUntil)
}

// Signs are the secrets that sign what is sent now.
func (w *Webhook) Signs(now time.Time) []providers.Secret {
	if w.FormerSecret.IsZero() || w.FormerEnded(now) {
		return []providers.Secret{w.Secret}
	}
	return []providers.Secret{w.Secret, w.FormerSecret}
}

// SetDisabled takes an operator's word. One that was disabled already stays so for its reason.
func (w *Webhook) SetDisabled(disabled bool) {
	if disabled != w.Disabled {
		w.Disabled, w.Why = disabled, ""
	}
}

// Gone disables a webhook whose receiver wants no more. It reports whether that changes anything.
func (w *Webhook) Gone() bool {
	if w.Disabled {
		return false
	}
	w.Disabled, w.Why = true, DisabledGone
	return true
}

// Same reports whether two are set up the same way, whoever did it.
func (w *Webhook) Same(other *Webhook) bool {
	return w.ID == other.ID && w.URL == other.URL && slices.Equal(w.Kinds, other.Kinds) &&
		slices.Equal(w.Providers, other.Providers) && slices.Equal(w.Owners, other.Owners) && w.CAPEM == other.CAPEM &&
		w.Secret.Equal(other.Secret) && w.FormerSecret.Equal(other.FormerSecret) &&
		w.FormerUntil.Equal(other.FormerUntil) && w.Disabled == other.Disabled && w.Why == other.Why
}

// Cursor is how far a webhook has come in the log of notices, and how its receiver fares. It has an entry of its own:
// the delivery alone writes it, and the webhook's own is the operators'.
type Cursor struct {
	Webhook string `json:"webhook"` // the id of the one that it is of
	Seq     uint64 `json:"seq"`     // the last notice that is done with

	Delivered uint64    `json:"delivered,omitempty"`
	Refused   uint64    `json:"refused,omitempty"` // by the receiver for a day, and passed over
	Dropped   uint64    `json:"dropped,omitempty"` // gone from the log before they could be delivered
	Last      time.Time `json:"last,omitzero"`     // when the last one was delivered

	Failures int       `json:"failures,omitempty"` // in a row
	Failing  time.Time `json:"failing,omitzero"`   // since when
	Refusing time.Time `json:"refusing,omitzero"`  // since when the receiver refuses this notice
	Tried    time.Time `json:"tried,omitzero"`     // when it failed last
	Next     time.Time `json:"next,omitzero"`      // when it is tried again
	Status   int       `json:"status,omitempty"`   // that the receiver answered last
	Failure  string    `json:"failure,omitempty"`

	unknown unknownFields
}

// refusedFor is how long a receiver may refuse one notice before others have their turn.
const refusedFor = 24 * time.Hour

// StartOf is the cursor of a webhook that has sent nothing.
func (w *Webhook) StartOf() *Cursor { return &Cursor{Webhook: w.ID, Seq: w.Start} }

// Deliver notes that a notice was taken.
func (c *Cursor) Deliver(seq uint64, now time.Time) {
	c.Seq, c.Last = seq, now
	c.Delivered++
	c.lift()
	c.Status, c.Failure, c.Tried = 0, "", time.Time{}
}

// Pass notes that a notice is none for this webhook.
func (c *Cursor) Pass(seq uint64) { c.Seq = seq }

// Drop notes that so many notices left the log before they were delivered. upTo is the last of them.
func (c *Cursor) Drop(n, upTo uint64) {
	c.Dropped += n
	c.Seq = upTo
	c.Refusing = time.Time{} // that was of a notice which is gone
}

// Fail notes that a notice could not be delivered. refused tells that the receiver does not take this one.
func (c *Cursor) Fail(status int, failure string, refused bool, now time.Time) {
	if c.Failures++; c.Failing.IsZero() {
		c.Failing = now
	}
	if refused && c.Refusing.IsZero() {
		c.Refusing = now
	}
	c.Status, c.Failure, c.Tried = status, failure, now
}

// GiveUp passes over a notice that the receiver has refused for a day. It reports whether that is so.
func (c *Cursor) GiveUp(seq uint64, now time.Time) bool {
	if c.Refusing.IsZero() || now.Before(c.Refusing.Add(refusedFor)) {
		return false
	}
	c.Seq = seq
	c.Refused++
	c.Refusing, c.Next = time.Time{}, time.Time{}
	return true
}

// Lift has the next try made at once, as after somebody mended the receiver.
func (c *Cursor) Lift() {
	c.Failures, c.Next = 0, time.Time{}
}

func (c *Cursor) lift() {
	c.Lift()
	c.Failing, c.Refusing = time.Time{}, time.Time{}
}

// Clone gives a copy to look at.
func (c *Cursor) Clone() *Cursor {
	own := *c
	return &own
}

type webhookFields Webhook

type webhookRecord struct {
	header
	webhookFields
	Secret       string `json:"secret"`
	FormerSecret string `json:"former_secret,omitempty"`
}

type cursorRecord struct {
	header
	Cursor
}

func encodeWebhook(w *Webhook) ([]byte, error) {
	return encode(webhookRecord{
		header{webhookVersion}, webhookFields(*w), w.Secret.Reveal(), w.FormerSecret.Reveal(),
	}, w.unknown)
}

func decodeWebhook(b []byte) (*Webhook, error) {
	var r webhookRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	w := Webhook(r.webhookFields)
	w.Secret, w.FormerSecret = providers.NewSecret(r.Secret), providers.NewSecret(r.FormerSecret)
	w.unknown = unknown
	return &w, r.check("webhook", webhookVersion)
}

func encodeCursor(c *Cursor) ([]byte, error) {
	return encode(cursorRecord{header{cursorVersion}, *c}, c.unknown)
}

func decodeCursor(b []byte) (*Cursor, error) {
	var r cursorRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	c := r.Cursor
	c.unknown = unknown
	return &c, r.check("webhook's cursor", cursorVersion)
}

// Webhook reads one webhook.
func (s Store) Webhook(ctx context.Context, name string) (*Webhook, error) {
	return get(ctx, s.storage, webhookPrefix+name, decodeWebhook)
}

// PutWebhook writes one.
func (s Store) PutWebhook(ctx context.Context, name string, w *Webhook) error {
	return put(ctx, s.storage, webhookPrefix+name, w, encodeWebhook)
}

// DeleteWebhook removes one; absent is fine.
func (s Store) DeleteWebhook(ctx context.Context, name string) error {
	return s.remove(ctx, webhookPrefix+name)
}

// Webhooks lists the names of all webhooks.
func (s Store) Webhooks(ctx context.Context) ([]string, error) { return s.list(ctx, webhookPrefix) }

// Cursor reads the cursor under the name of a webhook. It may be that of a former one of the name.
func (s Store) Cursor(ctx context.Context, name string) (*Cursor, error) {
	return get(ctx, s.storage, cursorPrefix+name, decodeCursor)
}

// PutCursor writes it.
func (s Store) PutCursor(ctx context.Context, name string, c *Cursor) error {
	return put(ctx, s.storage, cursorPrefix+name, c, encodeCursor)
}

// DeleteCursor removes it; absent is fine.
func (s Store) DeleteCursor(ctx context.Context, name string) error {
	return s.remove(ctx, cursorPrefix+name)
}

// Cursors lists the names under which there are cursors.
func (s Store) Cursors(ctx context.Context) ([]string, error) { return s.list(ctx, cursorPrefix) }

// String, GoString, MarshalJSON and LogValue redact: its URL may hold a secret.
func (w Webhook) String() string               { return "webhook " + w.ID }
func (w Webhook) GoString() string             { return w.String() }
func (w Webhook) MarshalJSON() ([]byte, error) { return json.Marshal(w.String()) }
func (w Webhook) LogValue() slog.Value         { return slog.StringValue(w.String()) }
