package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// The owner and everybody else each have a word of their own on serving, and read their own.
func TestStops(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.connect(t, "self/slack", alice)
		const path = "connections/user/e-alice/slack"
		say := func(data map[string]any, as testenv.Caller) testenv.Result {
			t.Helper()
			r := f.Write(path, data, as)
			r.OK(t)
			return r
		}
		off, on := map[string]any{"disabled": true}, map[string]any{"disabled": false}
		state := func(as testenv.Caller) [4]any {
			d := f.Read(path, nil, as).OK(t)
			return [4]any{d["disabled"], d["archived"], d["archived_reason"], d["status"]}
		}
		refused := func(texts ...string) {
			t.Helper()
			f.Read("creds/self/slack", nil, alice).Refused(t, http.StatusForbidden, texts...)
		}

		say(off, bob)
		refused("disabled", "somebody else than its owner", "disabled=false")
		assert.Equal(t, [4]any{true, false, "", "disabled"}, state(bob))
		assert.Equal(t, [4]any{false, false, "", "disabled"}, state(alice))
		assert.Contains(t, say(on, alice).Warnings[0], "still stopped by others than its owner")
		refused("disabled")

		say(map[string]any{"archived": true, "archived_reason": "on leave"}, alice)
		refused("archived", "its owner, who alone lifts that, and by somebody else", "archived=false disabled=false")
		assert.Equal(t, [4]any{false, true, "on leave", "archived"}, state(alice))
		assert.Equal(t, [4]any{true, false, "", "archived"}, state(bob))
		f.Write("refresh/self/slack", nil, alice).Refused(t, http.StatusForbidden, "archived")

		by := asClient(t, f.Read(path, nil, testenv.Root).OK(t))["disabled_by"].([]any)
		assert.Len(t, by, 2)
		now := f.Now().Format(time.RFC3339)
		assert.Equal(t, map[string]any{
			"side": "owner", "what": "archived", "reason": "on leave", "display_name": "userpass-e-alice",
			"entity_id": "e-alice", "time": now,
		}, by[0])
		assert.Equal(t, map[string]any{
			"side": "others", "what": "disabled", "reason": "", "display_name": "userpass-e-bob",
			"entity_id": "e-bob", "time": now,
		}, by[1])
		assert.Equal(t, map[string]any{"archived": 1.0}, asClient(t, f.Read("status", nil).OK(t))["by_status"])

		assert.Empty(t, say(on, alice).Warnings, "what the owner may lift stands still, so it is no matter of others")
		f.Write(path, map[string]any{"archived_reason": "mine"}, bob).Refused(t, 400, "archived=true")
		say(map[string]any{"archived_reason": "on a long leave"}, alice)
		assert.Equal(t, "on a long leave", state(alice)[2])
		say(map[string]any{"archived_reason": "on leave"}, alice)

		f.restart(t)
		f.System.AddEntity("e-alice")
		assert.Contains(t, say(on, testenv.Root).Warnings[0], "still stopped by its owner's entity")
		refused("archived", "archived=false")
		say(map[string]any{"archived": false}, alice)
		f.Read("creds/self/slack", nil, alice).OK(t)
		assert.Equal(t, [4]any{false, false, "", "active"}, state(bob))
	})
}

// An organization has no entity: all who may write have one word.
func TestStopsOfAnOrganization(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "org/acme/key")
		f.Write("connections/org/acme/key", map[string]any{"archived": true}, alice).OK(t)
		f.Read("creds/org/acme/key", nil, bob).Refused(t, http.StatusForbidden,
			"is archived: write archived=false to connections/org/acme/key")
		f.Write("connections/org/acme/key", map[string]any{"archived": false}, bob).OK(t)
		f.Read("creds/org/acme/key", nil, bob).OK(t)
	})
}

// A reason without an archive is a mistake, and changes nothing.
func TestArchivedReasonAlone(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "org/acme/key")
		for _, data := range []map[string]any{
			{"archived_reason": "x"}, {"archived_reason": "x", "archived": false, "label": "new"},
		} {
			f.Write("connections/org/acme/key", data).Refused(t, http.StatusBadRequest, "archived=true")
		}
		assert.Empty(t, f.Read("connections/org/acme/key", nil).OK(t)["label"])
		f.Write("connections/org/acme/key", map[string]any{"archived": true, "archived_reason": "x\n"}).Refused(t,
			http.StatusBadRequest, "archived_reason")
	})
}
