package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func aWebhook(now time.Time) *Webhook {
	w := NewWebhook(7, Actor{EntityID: "e1", DisplayName: "ops", Time: now})
	w.URL, w.Kinds, w.Owners = "https://hooks.example.com/secret-path", []string{"connect"}, []string{"org/*"}
	w.SetSecret(providers.NewSecret("first"), time.Hour, now)
	w.SetSecret(providers.NewSecret("second"), time.Hour, now)
	return w
}

func TestWebhookIsStored(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	storage := &logical.InmemStorage{}
	s := New(storage)
	w := aWebhook(now)
	require.NoError(t, s.PutWebhook(t.Context(), "siem", w))
	read, err := s.Webhook(t.Context(), "siem")
	require.NoError(t, err)
	assert.True(t, w.Same(read))
	assert.Equal(t, *w, *read)
	assert.Equal(t, "second", read.Secret.Reveal())
	assert.Equal(t, "first", read.FormerSecret.Reveal())

	c := w.StartOf()
	c.Fail(500, "it answered 500", true, now)
	c.Next = now.Add(time.Minute)
	require.NoError(t, s.PutCursor(t.Context(), "siem", c))
	cursor, err := s.Cursor(t.Context(), "siem")
	require.NoError(t, err)
	assert.Equal(t, c, cursor)

	names, err := s.Webhooks(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"siem"}, names, "a cursor is no webhook")
	require.NoError(t, s.DeleteWebhook(t.Context(), "siem"))
	require.NoError(t, s.DeleteCursor(t.Context(), "siem"))
	left, err := logical.CollectKeys(t.Context(), storage)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A later release may add what this one ignores; what it must not ignore raises the version.
func TestWebhookOfALaterRelease(t *testing.T) {
	s := New(&logical.InmemStorage{})
	put := func(key, value string) {
		require.NoError(t, s.storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: []byte(value)}))
	}
	put("webhook/siem", `{"version":1,"id":"x","url":"https://a.example","secret":"s","secret_set":"2026-01-01T00:00:00Z",
		"created":{"time":"2026-01-01T00:00:00Z"},"updated":{"time":"2026-01-01T00:00:00Z"},"shape":"round"}`)
	put("webhook-cursor/siem", `{"version":1,"webhook":"x","seq":3,"shape":"round"}`)
	w, err := s.Webhook(t.Context(), "siem")
	require.NoError(t, err)
	require.NoError(t, s.PutWebhook(t.Context(), "siem", w))
	c, err := s.Cursor(t.Context(), "siem")
	require.NoError(t, err)
	require.NoError(t, s.PutCursor(t.Context(), "siem", c))
	for _, key := range []string{"webhook/siem", "webhook-cursor/siem"} {
		entry, err := s.storage.Get(t.Context(), key)
		require.NoError(t, err)
		assert.Contains(t, string(entry.Value), `"shape":"round"`)
	}
	put("webhook/siem", `{"version":2}`)
	put("webhook-cursor/siem", `{"version":2}`)
	_, err = s.Webhook(t.Context(), "siem")
	assert.True(t, Unusable(err) && !Damaged(err), "%v", err)
	_, err = s.Cursor(t.Context(), "siem")
	assert.True(t, Unusable(err) && !Damaged(err), "%v", err)
}

func TestWebhookPrintsNothing(t *testing.T) {
	w := *aWebhook(time.Now())
	encoded, err := json.Marshal(w)
	require.NoError(t, err)
	for _, text := range []string{
		string(encoded), fmt.Sprint(w), fmt.Sprintf("%v %+v %#v %s", w, w, w, &w), w.LogValue().String(),
	} {
		for _, secret := range []string{"first", "second", "secret-path"} {
			assert.NotContains(t, text, secret)
		}
	}
}

func TestWebhookSecrets(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	signs := func(w *Webhook, at time.Time) string {
		var all []string
		for _, s := range w.Signs(at) {
			all = append(all, s.Reveal())
		}
		return strings.Join(all, " ")
	}
	w := NewWebhook(0, Actor{})
	w.SetSecret(providers.NewSecret("a"), time.Hour, now)
	assert.Equal(t, "a", signs(w, now))
	w.SetSecret(providers.NewSecret("b"), time.Hour, now)
	assert.Equal(t, "b a", signs(w, now.Add(time.Hour-1)))
	assert.Equal(t, "b", signs(w, now.Add(time.Hour)))
	assert.False(t, w.FormerEnded(now.Add(time.Hour-1)))
	assert.True(t, w.FormerEnded(now.Add(time.Hour)))
	w.SetSecret(providers.NewSecret("b"), 0, now.Add(time.Minute))
	assert.Equal(t, "b a", signs(w, now), "the same one is no change")
	assert.Equal(t, now, w.SecretSet)
	w.SetSecret(providers.NewSecret("c"), 0, now)
	assert.Equal(t, "c", signs(w, now), "none is kept")
	assert.True(t, w.FormerSecret.IsZero())
	assert.False(t, w.FormerEnded(now.Add(48*time.Hour)))
}

func TestWebhookIsDisabled(t *testing.T) {
	w := NewWebhook(0, Actor{})
	assert.True(t, w.Gone())
	assert.False(t, w.Gone())
	w.SetDisabled(true)
	assert.Equal(t, DisabledGone, w.Why, "what a read answered may come back")
	w.SetDisabled(false)
	assert.Empty(t, w.Why)
	w.SetDisabled(true)
	assert.Empty(t, w.Why)
	assert.False(t, w.Gone(), "an operator has said so already")
	assert.Empty(t, w.Why)
}

func TestCursor(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := NewWebhook(5, Actor{}).StartOf()
	assert.EqualValues(t, 5, c.Seq)
	c.Fail(0, "down", false, now)
	assert.False(t, c.GiveUp(6, now.Add(48*time.Hour)), "the receiver is down, which says nothing of the notice")
	c.Fail(400, "refused", true, now.Add(time.Hour))
	assert.Equal(t, now, c.Failing)
	assert.Equal(t, 2, c.Failures)
	assert.False(t, c.GiveUp(6, now.Add(25*time.Hour-1)))
	assert.True(t, c.GiveUp(6, now.Add(25*time.Hour)))
	assert.EqualValues(t, 6, c.Seq)
	assert.EqualValues(t, 1, c.Refused)
	assert.False(t, c.GiveUp(7, now.Add(99*time.Hour)), "each has its day")
	c.Fail(400, "refused", true, now)
	c.Drop(10, 16)
	assert.EqualValues(t, 16, c.Seq)
	assert.EqualValues(t, 10, c.Dropped)
	assert.True(t, c.Refusing.IsZero())
	c.Deliver(17, now)
	assert.Equal(t, &Cursor{
		Webhook: c.Webhook, Seq: 17, Delivered: 1, Refused: 1, Dropped: 10, Last: now,
	}, c)
}
