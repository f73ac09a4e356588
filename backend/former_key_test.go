package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// A key that was replaced by mistake is back with one write, for a week.
func TestFormerKey(t *testing.T) {
	eachWith(t, withKeys(t), func(t *testing.T, f *fixture) {
		f.keyed(t)
		restore := map[string]any{"restore_former": true}
		key := func() any { return f.Read("creds/keys", nil).OK(t)["api_key"] }
		f.Write("connections/keys", restore).Refused(t, http.StatusConflict, "has no former key")
		f.Write("connections/keys", map[string]any{"api_key": "the-second-key-5678-5678", "verify": false}).OK(t)
		read := f.Read("connections/keys", nil).OK(t)
		assert.Equal(t, map[string]any{"api_key": "****"}, members(t, read["former_key"]), "masked: it is short")
		assert.Equal(t, rfc3339(f.Now().Add(7*24*time.Hour)), read["former_key_until"])
		f.Write("connections/keys", with(restore, map[string]any{"api_key": "x"})).
			Refused(t, http.StatusBadRequest, "no other credential")

		f.Write("connections/keys", map[string]any{"api_key": "the-second-key-5678-5678", "label": "x"}).OK(t)
		f.restart(t)
		f.Write("connections/keys", restore).OK(t)
		assert.Equal(t, "the-key-1234", key())
		f.Write("connections/keys", restore).OK(t)
		assert.Equal(t, "the-second-key-5678-5678", key(), "and the other is kept in turn")

		f.Advance(7*24*time.Hour + time.Minute)
		f.Write("connections/keys", restore).Refused(t, http.StatusConflict, "has no former key")
		assert.Equal(t, "the-second-key-5678-5678", key())
	})
}

// It is kept for who wrote both, for where both go, and no longer than it is said to be.
func TestFormerKeyIsNotKept(t *testing.T) {
	second := map[string]any{"api_key": "the-second-key-5678-5678", "verify": false}
	restore := map[string]any{"restore_former": true}
	for name, between := range map[string]func(*testing.T, *fixture){
		"it failed its check": func(t *testing.T, f *fixture) {
			f.provider.Next("identity", refusal)
			f.Write("check/keys", nil).OK(t)
			f.Write("connections/keys", second).OK(t)
		},
		"somebody else wrote it": func(t *testing.T, f *fixture) {
			f.Write("connections/keys", with(second, nil), alice).OK(t)
		},
		"its provider points elsewhere": func(t *testing.T, f *fixture) {
			f.Write("connections/keys", second).OK(t)
			f.Write("providers/keys", map[string]any{"endpoints": map[string]any{
				"identity": "https://elsewhere.example.com/me",
			}}).OK(t)
		},
		"its time is over": func(t *testing.T, f *fixture) {
			f.Write("connections/keys", second).OK(t)
			f.passHours(t, 7*24+1)
			assert.Eventually(t, func() bool { // by a task, in its own time
				entry, err := f.Storage.Get(t.Context(), "connection/org/default/keys")
				return err == nil && !strings.Contains(string(entry.Value), "the-key-1234")
			}, time.Minute, 10*time.Millisecond, "it is erased")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withKeys(t), testenv.InProcess)
			f.keyed(t)
			between(t, f)
			f.Write("connections/keys", restore).Refused(t, http.StatusConflict)
		})
	}
}
