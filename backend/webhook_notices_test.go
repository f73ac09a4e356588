package backend

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// What the filter does not take moves the cursor, costs no request, and no write for each.
func TestWebhookFilters(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	f.hook(t, "siem", r.URL, map[string]any{"owners": "org/acme"})
	f.Storage.Forget()
	for range 20 {
		f.tell("a", "b")
		f.Advance(2 * time.Second)
		f.soonStored(t)
	}
	f.soon(t, func() bool { return f.Backend.(*backend).webhooks.find("siem").at().Seq == 40 }, "passed over")
	assert.Empty(t, r.sent())
	writes := 0
	for _, a := range f.Storage.History() {
		if a.Write() && a.Under("webhook-cursor/") {
			writes++
		}
	}
	assert.LessOrEqual(t, writes, 2)
}

func TestWebhookTakes(t *testing.T) {
	acme := store.Notice{Kind: "connect", Provider: "slack", Connection: "org/acme/x"}
	member := store.Notice{Kind: "connect", Provider: "slack", Connection: "org/acme/user/u1/x"}
	person := store.Notice{Kind: "deleted", Provider: "github", Connection: "user/u1/x"}
	app := store.Notice{Kind: "rotation_due", Provider: "slack"}
	mount := store.Notice{Kind: "frozen"}
	many := store.Notice{Kind: "needs_reconnect", Provider: "slack", Count: 5000}
	one := store.Notice{Kind: "needs_reconnect", Provider: "slack", Count: 1} // of somebody who was only counted
	for name, c := range map[string]struct {
		w    store.Webhook
		want []store.Notice
	}{
		"all":        {store.Webhook{}, []store.Notice{acme, member, person, app, mount, many, one}},
		"a kind":     {store.Webhook{Kinds: []string{"deleted", "frozen"}}, []store.Notice{person, mount}},
		"a provider": {store.Webhook{Providers: []string{"slack"}}, []store.Notice{acme, member, app, many, one}},
		"an owner":   {store.Webhook{Owners: []string{"org/acme"}}, []store.Notice{acme, many, one}},
		"members":    {store.Webhook{Owners: []string{"org/*/user/*"}}, []store.Notice{member, many, one}},
		"users":      {store.Webhook{Owners: []string{"user/*", "org/acme"}}, []store.Notice{acme, person, many, one}},
		"all of them": {store.Webhook{
			Kinds: []string{"connect"}, Providers: []string{"slack"}, Owners: []string{"org/*"},
		}, []store.Notice{acme}},
	} {
		var got []store.Notice
		for _, n := range []store.Notice{acme, member, person, app, mount, many, one} {
			if takes(&c.w, &n) {
				got = append(got, n)
			}
		}
		assert.Equal(t, c.want, got, name)
	}
	assert.Equal(t, []string{
		"connection.connect", "provider.rotation_due", "mount.frozen", "connection.needs_reconnect",
		"connection.needs_reconnect",
	},
		[]string{typeOf(acme), typeOf(app), typeOf(mount), typeOf(many), typeOf(one)})
}
