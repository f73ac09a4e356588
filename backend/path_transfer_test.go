package backend

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// people has alice, bob and carol exist.
func (f *fixture) people() {
	for _, id := range []string{"e-alice", "e-bob", "e-carol"} {
		f.System.AddEntity(id)
	}
}

// offers offers a connection.
func (f *fixture) offers(t *testing.T, from, to string, as ...testenv.Caller) testenv.Result {
	t.Helper()
	r := f.Write("transfer/"+from, map[string]any{"to": to}, as...)
	r.OK(t)
	return r
}

// accept takes what is offered.
func (f *fixture) accept(to, from string, as ...testenv.Caller) testenv.Result {
	return f.Write("accept/"+to, map[string]any{"from": from}, as...)
}

// isAnother has the service name another account, once.
func (f *fixture) isAnother() {
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"account-2"}`))
}

// An organization's connection goes to another with all that it is, and its former path knows nothing any more.
func TestTransfer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "org/acme/slack")
		before := f.Write("connections/org/acme/slack", map[string]any{
			"label": "Sales", "tags": map[string]string{"team": "sales"}, "required_scopes": "read",
		}).OK(t)
		token := f.Read("creds/org/acme/slack", nil).OK(t)["access_token"]
		assert.Equal(t, http.StatusNotFound, f.Read("transfer/org/acme/slack", nil).Status, "nothing is offered")

		made := f.offers(t, "org/acme/slack", "org/umbrella/crm", alice).OK(t)
		want := map[string]any{
			"to": "org/umbrella/crm", "by": "userpass-e-alice", "by_id": "e-alice", "time": f.Now().Format(time.RFC3339),
			"expires": f.Now().Add(24 * time.Hour).Format(time.RFC3339), "moved": false,
		}
		assert.Equal(t, want, members(t, made))
		assert.Equal(t, want, members(t, f.Read("transfer/org/acme/slack", nil, bob).OK(t)))
		shown := f.Read("connections/org/acme/slack", nil).OK(t)
		assert.Equal(t, []any{want["to"], want["expires"]}, []any{shown["transfer_to"], shown["transfer_until"]})
		f.Read("creds/org/acme/slack", nil).OK(t)

		got := f.accept("org/umbrella/crm", "org/acme/slack", bob).OK(t)
		for _, field := range []string{
			"connection_id", "label", "provider", "kind", "status", "account", "scopes", "created_by", "created_time",
			"last_rotation", "private",
		} {
			assert.Equal(t, before[field], got[field], field)
		}
		assert.Equal(t, members(t, map[string]any{"x": before["tags"]}), members(t, map[string]any{"x": got["tags"]}))
		assert.Equal(t, []string{"read"}, texts(t, got["required_scopes"]))
		assert.Equal(t, []any{"org/umbrella", "crm", "", "", "e-bob"}, []any{
			got["owner"], got["name"], got["transfer_to"], got["transfer_until"], got["updated_by_id"],
		})
		assert.Equal(t, token, f.Read("creds/org/umbrella/crm", nil).OK(t)["access_token"])
		assert.Equal(t, http.StatusNotFound, f.Read("connections/org/acme/slack", nil).Status)
		f.Read("creds/org/acme/slack", nil).Refused(t, http.StatusBadRequest, "no connection org/acme/slack")
		assert.Empty(t, f.stored(t, "connection/org/acme/"))
		assert.Zero(t, f.provider.Count(providers.StepRevoke))
		f.accept("org/umbrella/crm", "org/acme/slack", bob).Refused(t,
			http.StatusForbidden, "no connection org/acme/slack is offered")

		f.restart(t)
		f.System.SetReplication(0)
		assert.Equal(t, before["connection_id"], f.Read("connections/org/umbrella/crm", nil).OK(t)["connection_id"])
		f.Advance(time.Minute)
		f.Write("refresh/org/umbrella/crm", nil).OK(t)
		assert.NotEqual(t, token, f.Read("creds/org/umbrella/crm", nil).OK(t)["access_token"], "it is kept fresh")
		f.Delete("connections/org/umbrella/crm", nil).OK(t)
		assert.Equal(t, 1, f.provider.Count(providers.StepRevoke))
	})
}

// An offer is for one path, for a day, and until it is withdrawn; whoever asks for anything else hears the same.
func TestOfferIsForOnePathAndADay(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "org/acme/slack")
		f.connect(t, "org/acme/other")
		notOffered := func(to, from string) {
			t.Helper()
			f.accept(to, from, bob).Refused(t, http.StatusForbidden, "no connection "+from+" is offered to "+to)
		}
		f.offers(t, "org/acme/slack", "org/umbrella/crm")
		notOffered("org/umbrella/slack", "org/acme/slack")
		notOffered("org/other/crm", "org/acme/slack")
		notOffered("org/umbrella/crm", "org/acme/other")
		notOffered("org/umbrella/crm", "org/acme/none")
		f.undecodable(t, "connection/org/acme/broken")
		notOffered("org/umbrella/crm", "org/acme/broken")

		f.Delete("transfer/org/acme/slack", nil, bob).OK(t)
		f.Delete("transfer/org/acme/slack", nil, bob).OK(t)
		assert.Equal(t, http.StatusNotFound, f.Read("transfer/org/acme/slack", nil).Status)
		notOffered("org/umbrella/crm", "org/acme/slack")

		f.offers(t, "org/acme/slack", "org/umbrella/crm")
		f.offers(t, "org/acme/slack", "org/umbrella/second") // in the place of the first
		notOffered("org/umbrella/crm", "org/acme/slack")
		f.Advance(24 * time.Hour)
		notOffered("org/umbrella/second", "org/acme/slack")
		assert.Equal(t, http.StatusNotFound, f.Read("transfer/org/acme/slack", nil).Status)
		assert.Empty(t, f.Read("connections/org/acme/slack", nil).OK(t)["transfer_to"])
		f.offers(t, "org/acme/slack", "org/umbrella/second")
		f.Advance(24*time.Hour - time.Second)
		f.accept("org/umbrella/second", "org/acme/slack").OK(t)

		f.Delete("transfer/org/acme/none", nil).Refused(t, http.StatusBadRequest, "no connection")
		f.Read("transfer/org/acme/none", nil).Refused(t, http.StatusBadRequest, "no connection")
		f.Write("transfer/org/acme/none", map[string]any{"to": "org/umbrella/crm"}).Refused(t,
			http.StatusBadRequest, "no connection")
	})
}

// What somebody does to the connection meanwhile ends an offer: it was made of something else.
func TestWhatEndsAnOffer(t *testing.T) {
	const path = "org/acme/slack"
	for name, c := range map[string]struct {
		act  func(*testing.T, *fixture)
		ends bool
	}{
		"a stop": {func(t *testing.T, f *fixture) {
			f.Write("connections/"+path, map[string]any{"disabled": true}).OK(t)
		}, true},
		"a stop that was lifted": {func(t *testing.T, f *fixture) {
			f.Write("connections/"+path, map[string]any{"archived": true}).OK(t)
			f.Advance(time.Second)
			f.Write("connections/"+path, map[string]any{"archived": false}).OK(t)
		}, true},
		"another account": {func(t *testing.T, f *fixture) {
			f.isAnother()
			f.Write("exchange", with(f.own(t, path, nil), map[string]any{"allow_account_change": true})).OK(t)
		}, true},
		"a connection made anew": {func(t *testing.T, f *fixture) {
			f.Delete("connections/"+path, nil).OK(t)
			f.connect(t, path)
		}, true},
		"a consent of the same account": {func(t *testing.T, f *fixture) { f.connect(t, path) }, false},
		"a refresh": {func(t *testing.T, f *fixture) {
			f.Write("refresh/"+path, nil).OK(t)
		}, false},
		"a label": {func(t *testing.T, f *fixture) {
			f.Write("connections/"+path, map[string]any{"label": "x", "tags": map[string]string{"a": "b"}}).OK(t)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, path)
			f.offers(t, path, "org/umbrella/slack")
			f.Advance(time.Minute)
			c.act(t, f)
			got := f.accept("org/umbrella/slack", path)
			if c.ends {
				got.Refused(t, http.StatusForbidden, "is offered to")
				assert.Equal(t, http.StatusNotFound, f.Read("transfer/"+path, nil).Status)
				assert.Empty(t, f.Read("connections/"+path, nil).OK(t)["transfer_to"])
				return
			}
			got.OK(t)
		})
	}
}

// To another name of the same owner it is a rename, at once; of a private connection its owner alone renames.
func TestRename(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.connect(t, "self/slack", alice)
		f.Write("shares/self/slack", map[string]any{"entities": "e-bob"}, alice).OK(t)
		f.Write("connections/user/e-alice/slack", map[string]any{"disabled": true}, bob).OK(t)
		f.Write("connections/self/slack", map[string]any{"archived": true, "archived_reason": "later"}, alice).OK(t)
		before := f.Read("connections/self/slack", nil, alice).OK(t)
		for _, who := range []testenv.Caller{bob, testenv.Root} {
			f.Write("transfer/user/e-alice/slack", map[string]any{"to": "user/e-alice/crm"}, who).Refused(t,
				http.StatusForbidden, "only the entity that owns it may rename it")
		}
		r := f.offers(t, "self/slack", "self/crm", alice)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "shares have ended")
		assert.Equal(t, []any{"user/e-alice/crm", true, ""}, []any{r.Data["to"], r.Data["moved"], r.Data["expires"]})
		after := f.Read("connections/self/crm", nil, alice).OK(t)
		for _, field := range []string{
			"connection_id", "private", "status", "status_reason", "archived", "archived_reason", "account",
		} {
			assert.Equal(t, before[field], after[field], field)
		}
		assert.Equal(t, asClient(t, before)["disabled_by"], asClient(t, after)["disabled_by"])
		assert.Empty(t, f.Read("shares/self/crm", nil, alice).OK(t)["shares"])
		assert.Equal(t, http.StatusNotFound, f.Read("connections/self/slack", nil, alice).Status)

		f.Write("connections/self/crm", map[string]any{"archived": false}, alice).OK(t)
		f.Write("connections/user/e-alice/crm", map[string]any{"disabled": false}, bob).OK(t)
		f.Write("connections/self/crm", map[string]any{"private": false}, alice).OK(t)
		f.offers(t, "user/e-alice/crm", "user/e-alice/open", bob)
		assert.Equal(t, false, f.Read("connections/self/open", nil, alice).OK(t)["private"])
		f.Read("creds/user/e-alice/open", nil, bob).OK(t)

		f.connect(t, "plain")
		f.offers(t, "plain", "org/default/renamed")
		f.Read("creds/renamed", nil).OK(t)
		f.connect(t, "org/acme/self/member", alice)
		f.offers(t, "org/acme/self/member", "org/acme/user/e-alice/second", alice)
		f.Read("creds/org/acme/self/second", nil, alice).OK(t)
	})
}

// A renamed connection is its owner's as it was: what they put in, they may build on, and bring back.
func TestRenameOfAKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.key(t, "self/key", alice)
		f.Write("connections/self/key", map[string]any{"api_key": openaiKey + "2"}, alice).OK(t)
		f.offers(t, "self/key", "self/other", alice)
		f.Write("connections/self/other", map[string]any{"restore_former": true}, alice).OK(t)
		assert.Equal(t, openaiKey, f.Read("creds/self/other", nil, alice).OK(t)["api_key"])
	})
}

// Nobody reaches a private credential by an offer of their own: it stays behind, and is ended.
func TestTransferOfAPrivateConnectionByOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		for i, who := range []testenv.Caller{testenv.Root, bob} {
			from, to := fmt.Sprint("user/e-alice/slack", i), fmt.Sprint("org/acme/slack", i)
			f.connect(t, fmt.Sprint("self/slack", i), alice)
			token := f.Read("creds/"+strings.Replace(from, "user/e-alice", "self", 1), nil, alice).OK(t)["access_token"].(string)
			id := f.Read("connections/"+from, nil).OK(t)["connection_id"]
			r := f.offers(t, from, to, who)
			require.Len(t, r.Warnings, 1)
			assert.Contains(t, r.Warnings[0], "it will arrive without its credential")
			r = f.accept(to, from, who)
			got := r.OK(t)
			assert.Equal(t, []any{"needs_reconnect", "transferred", id, false}, []any{
				got["status"], got["status_reason"], got["connection_id"], got["private"],
			})
			assert.Equal(t, map[string]any{"id": "", "label": "", "email": ""}, members(t, got["account"]))
			require.Len(t, r.Warnings, 1)
			assert.Contains(t, r.Warnings[0], "arrived without its credential")
			assert.Contains(t, r.Warnings[0], "the former grant was revoked")
			assert.False(t, f.provider.Alive(token))
			f.Read("creds/"+to, nil, who).Refused(t,
				http.StatusConflict, "needs to be reconnected (transferred)", "auth-code-url")
			f.Write("refresh/"+to, nil, who).Refused(t, http.StatusConflict, "transferred")
			assert.Equal(t, http.StatusNotFound, f.Read("connections/"+from, nil).Status)
			f.restart(t)
			f.System.SetReplication(0)
			f.people()
			f.Read("creds/"+to, nil, who).Refused(t, http.StatusConflict, "transferred")
			f.connect(t, to, who)
			f.Read("creds/"+to, nil, who).OK(t)
			f.Delete("connections/"+to, nil).OK(t)
		}
		f.connect(t, "self/last", alice)
		f.offers(t, "user/e-alice/last", "org/acme/last", bob)
		f.accept("org/acme/last", "user/e-alice/last", bob).OK(t)
		revoked := f.provider.Count(providers.StepRevoke)
		assert.Empty(t, f.Delete("connections/org/acme/last", nil).Response, "it has no grant to revoke")
		assert.Equal(t, revoked, f.provider.Count(providers.StepRevoke))
	})
}

// What is not revoked is said: another connection may rest on the account, or the provider does not answer.
func TestTransferWithoutTheGrantSaysHowThatWent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.connect(t, "self/slack", alice)
		f.connect(t, "org/acme/same")
		f.offers(t, "user/e-alice/slack", "org/acme/slack")
		r := f.accept("org/acme/slack", "user/e-alice/slack")
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "the account may be shared with another connection")
		assert.Zero(t, f.provider.Count(providers.StepRevoke))
		f.Read("creds/org/acme/same", nil).OK(t)

		f.Delete("connections/org/acme/same", nil).OK(t)
		f.connect(t, "self/slack", alice)
		f.provider.Next(providers.StepRevoke, outage)
		f.offers(t, "user/e-alice/slack", "org/acme/second")
		r = f.accept("org/acme/second", "user/e-alice/slack")
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "may live on at the provider")
	})
}

// A private key leaves its secret behind, and a companion too.
func TestTransferOfAPrivateKeyByOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.key(t, "self/key", alice)
		f.Write("connections/self/key", map[string]any{"api_key": openaiKey + "2", "organization": "org-1"}, alice).OK(t)
		f.offers(t, "user/e-alice/key", "org/acme/key")
		r := f.accept("org/acme/key", "user/e-alice/key")
		got := r.OK(t)
		assert.Equal(t, []any{"needs_reconnect", "transferred"}, []any{got["status"], got["status_reason"]})
		assert.NotContains(t, got["key"], "api_key")
		assert.Equal(t, "org-1", members(t, got["key"])["organization"])
		assert.Empty(t, got["former_key"])
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "end the former key")
		f.Read("creds/org/acme/key", nil).Refused(t, http.StatusConflict, "needs its key again (transferred)")
		entry, err := f.Storage.Get(t.Context(), "connection/org/acme/key")
		require.NoError(t, err)
		assert.NotContains(t, string(entry.Value), openaiKey)
		f.Write("connections/org/acme/key", map[string]any{"api_key": openaiKey}).OK(t)
		assert.Equal(t, openaiKey, f.Read("creds/org/acme/key", nil).OK(t)["api_key"])
	})
}

// The owner's own offer gives the credential away, to that path and to nobody else.
func TestTransferOfAPrivateConnectionByItsOwner(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.connect(t, "self/slack", alice)
		f.Write("shares/self/slack", map[string]any{"everyone": true}, alice).OK(t)
		f.Write("connections/self/slack", map[string]any{"disabled": true}, alice).OK(t)
		f.Write("connections/user/e-alice/slack", map[string]any{"archived": true}, carol).OK(t)
		assert.Empty(t, f.offers(t, "self/slack", "user/e-bob/slack", alice).Warnings)
		f.accept("org/acme/slack", "user/e-alice/slack").Refused(t, http.StatusForbidden, "is offered to")
		for _, who := range []testenv.Caller{testenv.Root, carol} {
			f.accept("user/e-bob/slack", "user/e-alice/slack", who).Refused(t, http.StatusForbidden, "provision=true")
		}
		got := f.accept("self/slack", "user/e-alice/slack", bob).OK(t)
		assert.Equal(t, []any{"user/e-bob", true, "archived", false}, []any{
			got["owner"], got["private"], got["status"], got["disabled"],
		})
		stops := asClient(t, got)["disabled_by"].([]any)
		require.Len(t, stops, 1, "the former owner's went with the owner")
		assert.Equal(t, []any{"others", "e-carol"}, []any{members(t, stops[0])["side"], members(t, stops[0])["entity_id"]})
		assert.Empty(t, f.Read("shares/self/slack", nil, bob).OK(t)["shares"])
		f.Write("connections/user/e-bob/slack", map[string]any{"archived": false}, carol).OK(t)
		f.Read("creds/self/slack", nil, bob).OK(t)
		for _, who := range []testenv.Caller{testenv.Root, carol, alice} {
			f.Read("creds/user/e-bob/slack", nil, who).Refused(t, http.StatusForbidden, "private")
		}
		assert.Zero(t, f.provider.Count(providers.StepRevoke))
	})
}

// Whoever accepts for a live entity needs provision=true, and has nothing of what lands there.
func TestAcceptForALiveEntity(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		for i, target := range []string{"user/e-bob/slack", "org/acme/user/e-bob/slack"} {
			from := fmt.Sprint("org/acme/slack", i)
			f.connect(t, from)
			f.offers(t, from, target)
			f.accept(target, from, carol).Refused(t, http.StatusForbidden, "provision=true")
			f.System.FailEntities(errors.New("the view is away"))
			r := f.Write("accept/"+target, map[string]any{"from": from, "provision": true}, carol)
			r.Refused(t, http.StatusServiceUnavailable, "try again")
			assert.NotContains(t, r.Text, "away")
			f.System.FailEntities(nil)
			got := f.Write("accept/"+target, map[string]any{"from": from, "provision": true}, carol).OK(t)
			assert.Equal(t, true, got["private"])
			f.Read("creds/"+target, nil, carol).Refused(t, http.StatusForbidden, "private")
			f.Read("creds/"+target, nil, bob).OK(t)
			f.Delete("connections/"+target, nil).OK(t)
		}
		f.connect(t, "org/acme/slack")
		f.offers(t, "org/acme/slack", "user/u1/slack")
		assert.Equal(t, false, f.accept("user/u1/slack", "org/acme/slack").OK(t)["private"], "u1 is no entity")

		f.connect(t, "self/slack", alice)
		f.offers(t, "self/slack", "user/e-bob/slack", alice)
		f.System.RemoveEntity("e-bob")
		f.Write("accept/user/e-bob/slack", map[string]any{"from": "user/e-alice/slack", "provision": true}).Refused(t,
			http.StatusConflict, "does not know any more") // it would be everybody's
		f.Read("creds/self/slack", nil, alice).OK(t)
	})
}

// The operator's word on owners, kinds, inputs and numbers holds for the new owner.
func TestAcceptHoldsToThePolicy(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "org/acme/slack")
		f.offers(t, "org/acme/slack", "org/umbrella/slack")
		refused := func(status int, texts ...string) {
			t.Helper()
			f.Storage.Forget()
			f.accept("org/umbrella/slack", "org/acme/slack").Refused(t, status, texts...)
			assert.Zero(t, f.Storage.Writes())
		}
		f.Write("providers/acme", map[string]any{"allowed_owners": "org/acme"}).OK(t)
		refused(http.StatusForbidden, "allowed_owners")
		f.Write("providers/acme", map[string]any{"allowed_owners": "", "kinds": "client_credentials"}).OK(t)
		refused(http.StatusForbidden, "takes no connections of kind authorization_code")
		f.Write("providers/acme", map[string]any{"kinds": ""}).OK(t)
		f.connect(t, "org/umbrella/other")
		f.Write("config", map[string]any{"max_connections_per_owner": 1}).OK(t)
		refused(http.StatusConflict, "max_connections_per_owner")
		f.offers(t, "org/acme/slack", "org/acme/renamed")
		f.offers(t, "org/acme/renamed", "org/acme/slack") // a rename adds none
		f.Write("config", map[string]any{"max_connections_per_owner": 2}).OK(t)
		f.offers(t, "org/acme/slack", "org/umbrella/slack")
		f.undecodable(t, "provider/acme")
		f.Backend.InvalidateKey(t.Context(), "provider/acme")
		f.accept("org/umbrella/slack", "org/acme/slack").Refused(t, http.StatusInternalServerError)
		require.NoError(t, f.Storage.Delete(t.Context(), "provider/acme"))
		f.Backend.InvalidateKey(t.Context(), "provider/acme")
		refused(http.StatusConflict, "is gone")
		f.Write("providers/acme", f.acme()).OK(t)
		f.accept("org/umbrella/slack", "org/acme/slack").OK(t)
	})
}

// What acts as the app itself never goes under a user, nor to whom its account is not bound.
func TestTransferOfAnApp(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.allowApp(t)
		f.Write("connections/org/acme/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		for _, to := range []string{"user/u1/app", "user/e-alice/app", "org/acme/user/u1/app"} {
			f.Write("transfer/org/acme/app", map[string]any{"to": to}).Refused(t,
				http.StatusForbidden, "the operator's own credential")
		}
		assert.Equal(t, http.StatusNotFound, f.Read("transfer/org/acme/app", nil).Status)
		f.offers(t, "org/acme/app", "org/umbrella/app")
		f.accept("org/umbrella/app", "org/acme/app").OK(t)
		f.Read("creds/org/umbrella/app", nil).OK(t)
	})
}

// Where a connection is nothing else lands, and nothing is changed by the try.
func TestTransferToAnOccupiedTarget(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "org/acme/a")
		f.connect(t, "org/acme/b")
		f.key(t, "org/umbrella/a")
		f.offers(t, "org/acme/a", "org/umbrella/a")
		flow := f.own(t, "org/acme/a", nil)
		f.Storage.Forget()
		f.accept("org/umbrella/a", "org/acme/a").Refused(t,
			http.StatusConflict, "there is a connection org/umbrella/a already")
		f.Write("transfer/org/acme/a", map[string]any{"to": "org/acme/b"}).Refused(t, http.StatusConflict,
			"there is a connection org/acme/b already")
		f.undecodable(t, "connection/org/acme/broken")
		f.Storage.Forget()
		f.Write("transfer/org/acme/a", map[string]any{"to": "org/acme/broken"}).Refused(t, http.StatusConflict, "already")
		assert.Zero(t, f.Storage.Writes())
		assert.Equal(t, "org/umbrella/a", f.Read("transfer/org/acme/a", nil).OK(t)["to"], "the offer stands")
		f.Write("exchange", flow).OK(t)
		f.Delete("connections/org/umbrella/a", nil).OK(t)
		f.accept("org/umbrella/a", "org/acme/a").OK(t)
	})
}

// Open flows of what moves are void: a flow is for a key.
func TestFlowsOfAMovedConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		before := f.own(t, "org/acme/slack", nil) // begun before there was a connection
		f.connect(t, "org/acme/slack")
		reconnect := f.own(t, "org/acme/slack", nil)
		f.offers(t, "org/acme/slack", "org/umbrella/slack")
		r := f.accept("org/umbrella/slack", "org/acme/slack")
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "is void")
		for _, flow := range []map[string]any{before, reconnect} {
			asked := f.provider.Count(providers.StepToken)
			assert.GreaterOrEqual(t, f.Write("exchange", flow).Status, http.StatusBadRequest)
			assert.Equal(t, asked, f.provider.Count(providers.StepToken), "no code is spent")
		}
		assert.Equal(t, http.StatusNotFound, f.Read("connections/org/acme/slack", nil).Status)
		f.Read("creds/org/umbrella/slack", nil).OK(t)
	})
}

// Hostile and mistaken targets are named as such, and change nothing.
func TestNamesOfTransfers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.connect(t, "org/acme/slack")
		f.connect(t, "self/slack", alice)
		long := strings.Repeat("x", 3000)
		for _, name := range []string{
			"", "slack", "/", "//", "org", "org/acme", "org/acme/", "org//slack", "/org/acme/crm", "org/acme/crm/", "user/u1",
			"org/acme/../slack", "org/../acme/slack", "user/../e-alice/slack", "org/Acme/slack", "org/acme/SLACK",
			"org/acme/user/slack", "org/acme/self", "org/acme/user/u1", "org/acme/user/u1/x/y", "shared/user/u1/slack",
			"self/self", "user/self/self", "org/acme/org", "org/acme/sl ack", "org/acme/slack\n", "org/acme/sl\x00ack", long,
			"connections/org/acme/crm", "org/acme/user/" + long + "/x", "org/self/x/y", "user/u1/self/x",
		} {
			f.Storage.Forget()
			for _, r := range []testenv.Result{
				f.Write("transfer/org/acme/slack", map[string]any{"to": name}, alice),
				f.Write("accept/org/umbrella/slack", map[string]any{"from": name}, alice),
			} {
				assert.Equal(t, http.StatusBadRequest, r.Status, "%q: %s", name, r.Text)
				assert.Less(t, len(r.Text), 600)
			}
			assert.Zero(t, f.Storage.Writes())
		}
		f.Write("transfer/org/acme/slack", map[string]any{"to": "org/acme/slack"}).Refused(t,
			http.StatusBadRequest, "itself")
		f.Write("transfer/self/slack", map[string]any{"to": "user/e-alice/slack"}, alice).Refused(t,
			http.StatusBadRequest, "itself")
		f.Write("transfer/org/acme/slack", map[string]any{"to": "self/crm"}).Refused(t, http.StatusBadRequest, "no entity")
		f.Write("accept/org/acme/crm", map[string]any{"from": "org/acme/self/crm"}).Refused(t,
			http.StatusBadRequest, "no entity")
		f.Write("transfer/org/acme/slack", map[string]any{"to": "org/acme/b", "from": "x"}).Refused(t,
			http.StatusBadRequest, "unknown field")
		f.Write("accept/org/acme/b", map[string]any{"from": "org/acme/b", "to": "x"}).Refused(t,
			http.StatusBadRequest, "unknown field")

		f.offers(t, "self/slack", "org/acme/self/slack", alice)
		f.accept("org/acme/self/slack", "self/slack", alice).OK(t)
		f.offers(t, "org/acme/self/slack", "self/back", alice)
		f.accept("self/back", "org/acme/self/slack", alice).OK(t)
		f.Read("creds/self/back", nil, alice).OK(t)
	})
}

// An import that is not finished may hold the only token there is.
func TestTransferWhileAnImportWaits(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "org/acme/slack")
	f.offers(t, "org/acme/slack", "org/umbrella/slack")
	f.isAnother()
	f.Write("connections/org/acme/slack", map[string]any{"refresh_token": f.elsewhere(t)}).Refused(t, http.StatusConflict)
	require.NotEmpty(t, f.stored(t, "import/"))
	f.accept("org/umbrella/slack", "org/acme/slack").Refused(t, http.StatusConflict, "an import", "not finished")
	f.Advance(2 * time.Hour)
	require.Eventually(t, func() bool { f.periodic(t); return len(f.stored(t, "import/")) == 0 },
		time.Minute, time.Millisecond)
	f.accept("org/umbrella/slack", "org/acme/slack").OK(t)
}
