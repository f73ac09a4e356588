package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// planted are ways to have a connection stand in Alice's name before she connects it herself.
var planted = map[string]map[string]any{
	"a token": {"provider": "acme", "access_token": "bogus", "provision": true, "verify": false},
	"an import": {
		"provider": "acme", "access_token": "bogus", "refresh_token": "bogus", "provision": true, "verify": false,
	},
}

// Whoever plants a connection in Alice's name must not be served what she puts in it.
func TestPlantedConnection(t *testing.T) {
	closed := func(t *testing.T, f *fixture, answer testenv.Result) {
		t.Helper()
		assert.Equal(t, true, answer.OK(t)["private"])
		require.NotEmpty(t, answer.Warnings)
		assert.Contains(t, strings.Join(answer.Warnings, " "), "only entity e-alice is served")
		f.Read("creds/user/e-alice/slack", nil).Refused(t, http.StatusForbidden, "private")
		f.Read("creds/self/slack", nil, alice).OK(t)
	}
	for name, plant := range planted {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
				own := map[string]any{"provider": "acme"}
				t.Run("before she connects", func(t *testing.T) {
					f.Write("connections/user/e-alice/slack", plant).OK(t)
					closed(t, f, f.Write("exchange", f.own(t, "self/slack", own, alice), alice))
				})
				t.Run("during her flow", func(t *testing.T) {
					f.Delete("connections/user/e-alice/slack", nil).OK(t)
					answer := f.own(t, "self/slack", own, alice)
					f.Write("connections/user/e-alice/slack", with(plant, map[string]any{"required_scopes": "admin"})).OK(t)
					r := f.Write("exchange", answer, alice)
					closed(t, f, r)
					assert.Empty(t, texts(t, r.Data["required_scopes"]))
				})
				t.Run("deleted and planted anew during her flow", func(t *testing.T) {
					f.Delete("connections/user/e-alice/slack", nil).OK(t)
					f.Write("connections/user/e-alice/slack", plant).OK(t)
					answer := f.own(t, "self/slack", own, alice)
					f.Delete("connections/user/e-alice/slack", nil).OK(t)
					f.Write("connections/user/e-alice/slack", plant).OK(t)
					f.Write("exchange", answer, alice).Refused(t, http.StatusBadRequest, "no such flow")
				})
				t.Run("before she imports", func(t *testing.T) {
					f.Delete("connections/user/e-alice/slack", nil).OK(t)
					f.Write("connections/user/e-alice/slack", plant).OK(t)
					closed(t, f, f.Write("connections/self/slack", map[string]any{
						"refresh_token": f.elsewhere(t), "provider": "acme", "allow_account_change": true,
					}, alice))
				})
			})
		})
	}
	t.Run("a key over a planted key", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.Write("providers/openai", nil).OK(t)
			f.Write("connections/user/e-alice/slack", map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
			closed(t, f, f.Write("connections/self/slack", map[string]any{
				"provider": "openai", "api_key": openaiKey + "2",
			}, alice))
		})
	})
}

// What the owner opens stays open, for as long as she says so; what others open says nothing.
func TestOpenedByOwner(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		read := func(status int) {
			t.Helper()
			assert.Equal(t, status, f.Read("creds/user/e-alice/slack", nil).Status)
		}
		f.connect(t, "self/slack", alice)
		read(http.StatusForbidden)
		f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
		read(http.StatusOK)
		f.connect(t, "self/slack", alice)
		read(http.StatusOK)
		f.Write("connections/user/e-alice/slack", map[string]any{"private": true}).OK(t)
		read(http.StatusForbidden)
		f.Write("connections/self/slack", map[string]any{"private": true}, alice).OK(t)
		f.Write("exchange", f.own(t, "self/slack", map[string]any{"private": false}, alice), alice).OK(t)
		read(http.StatusOK)

		f.Write("providers/openai", nil).OK(t)
		made := f.Write("connections/self/openai", map[string]any{"api_key": openaiKey, "private": false}, alice)
		assert.Equal(t, false, made.OK(t)["private"])
		f.Write("connections/self/openai", map[string]any{"api_key": openaiKey + "2"}, alice).OK(t)
		assert.Equal(t, http.StatusOK, f.Read("creds/user/e-alice/openai", nil).Status)
	})
}

// What somebody connects for others does not become private.
func TestConnectedForOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, path := range []string{"org/acme/slack", "user/u1/slack", "user/e-alice/slack"} {
			assert.Equal(t, false, f.connect(t, path, bob)["private"], path)
			f.Read("creds/"+path, nil).OK(t)
		}
	})
}

// Of a connection that a former release stored nobody knows who set it up, unless only its owner could.
func TestSettingsOfAFormerRelease(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		former := func(name string, private bool) {
			f.connect(t, "self/"+name, alice)
			k := store.Key{Owner: store.Owner{User: "e-alice"}, Name: name}
			s := store.New(f.Storage)
			c, err := s.Connection(t.Context(), k)
			require.NoError(t, err)
			c.SetBy, c.OpenedBy, c.Private, c.RequiredScopes = "", "", private, []string{"read"}
			c.Serial++
			require.NoError(t, s.PutConnection(t.Context(), k, c))
		}
		former("hers", true)
		former("anybodys", false)
		f.restart(t)
		f.System.SetReplication(0)
		f.start(t, "self/hers", map[string]any{"redirect_uri": appRedirect}, alice)
		f.Write("auth-code-url/self/anybodys", map[string]any{"provider": "acme", "redirect_uri": appRedirect}, alice).
			Refused(t, http.StatusBadRequest, "set up by somebody else", "required_scopes")
	})
}

// Settings that somebody else wrote in Alice's name do not decide where her consent goes.
// Each setting has its own author, and what an older release noted of none counts for the entity that made it alone.
func TestAuthorsOfSettings(t *testing.T) {
	alices := store.Key{Owner: store.Owner{User: "e-alice"}, Name: "x"}
	her := caller{entity: "e-alice"}
	by := func(set, required, created string, private bool) *store.Connection {
		c := &store.Connection{Created: store.Actor{EntityID: created}}
		c.SetBy, c.RequiredBy, c.Private = set, required, private
		return c
	}
	for name, c := range map[string]struct {
		conn               *store.Connection
		inherits, requires bool
	}{
		"hers":                     {by("e-alice", "e-alice", "", false), true, true},
		"hers, but for the scopes": {by("e-alice", "e-bob", "", false), true, false},
		"the scopes alone":         {by("none", "e-alice", "", false), false, true},
		"noted of nobody":          {by("", "", "e-alice", true), true, true},
		"made by somebody else":    {by("", "", "e-bob", true), false, false},
		"open to others":           {by("", "", "e-alice", false), false, false},
	} {
		assert.Equal(t, c.inherits, her.inherits(alices, c.conn), name)
		assert.Equal(t, c.requires, her.requires(alices, c.conn), name)
	}
	assert.True(t, caller{}.inherits(alices, by("e-bob", "e-bob", "", false)), "who is another consents for nobody here")
	assert.False(t, caller{}.owns(store.Key{Owner: store.Owner{Org: "acme"}}), "no entity owns nothing")
}

func TestPlantedSettings(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
		f.Write("connections/user/e-alice/slack", map[string]any{
			"provider": "acme", "access_token": "bogus", "verify": false, "provision": true,
			"required_scopes": "admin", "label": "hers", "tags": map[string]any{"team": "a"},
		}).OK(t)
		r := f.Write("auth-code-url/self/slack", map[string]any{"redirect_uri": appRedirect}, alice)
		r.Refused(t, http.StatusBadRequest, "set up by somebody else", `required_scopes ["admin"]`, "provider acme")
		f.Write("connections/self/slack", map[string]any{"access_token": "hers"}, alice).
			Refused(t, http.StatusBadRequest, "set up by somebody else")

		named := map[string]any{"provider": "acme", "required_scopes": "read"}
		made := f.Write("exchange", f.own(t, "self/slack", named, alice), alice).OK(t)
		assert.Equal(t, []string{"read"}, texts(t, made["required_scopes"]))
		assert.Equal(t, "hers", made["label"])
		f.start(t, "self/slack", map[string]any{"redirect_uri": appRedirect, "provider": nil}, alice)
	})
}

// A credential that belongs to the app is nobody's who may only connect accounts of their own.
func TestKindsOfTheApp(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		write := func(path string, as testenv.Caller) testenv.Result {
			return f.Write("connections/"+path, map[string]any{
				"provider": "acme", "kind": "client_credentials", "provision": true,
			}, as)
		}
		write("org/acme/app", testenv.Root).Refused(t, http.StatusForbidden, "takes no connections of kind", "kinds")
		kinds := texts(t, f.Read("providers/acme", nil).OK(t)["kinds"])
		assert.NotContains(t, kinds, "client_credentials")
		f.Write("providers/acme", map[string]any{"kinds": "client_credentials,device_grant"}).
			Refused(t, http.StatusBadRequest, "kinds")
		f.Write("providers/acme", map[string]any{"kinds": append(kinds, "client_credentials")}).OK(t)
		write("org/acme/app", testenv.Root).OK(t)
		before := f.provider.Count(providers.StepToken)
		for path, who := range map[string]testenv.Caller{
			"self/app": alice, "user/e-alice/app": alice, "user/e-bob/app": testenv.Root, "user/u1/app": testenv.Root,
			"org/acme/self/app": alice, "org/acme/user/u1/app": testenv.Root,
		} {
			write(path, who).Refused(t, http.StatusForbidden, "the operator's own credential")
		}
		assert.Equal(t, before, f.provider.Count(providers.StepToken), "nothing was asked of the provider")

		f.Write("providers/acme", map[string]any{"kinds": "authorization_code"}).OK(t)
		f.Read("creds/org/acme/app", nil).OK(t)
		write("org/acme/other", testenv.Root).Refused(t, http.StatusForbidden, "kinds on providers/acme")
	})
}

// A connection of such a kind that a user has from an older release stops, and says why.
func TestKindNotAllowed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"kinds": "authorization_code,client_credentials"}).OK(t)
		f.Write("connections/org/acme/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		entry, err := f.Storage.Get(t.Context(), "connection/org/acme/app")
		require.NoError(t, err)
		entry.Key = "connection/user/u1/app"
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		f.System.SetReplication(0)
		calls := f.provider.Count(providers.StepToken)
		f.Read("creds/user/u1/app", nil).Refused(t, http.StatusForbidden, "kind_not_allowed")
		f.Write("refresh/user/u1/app", nil).Refused(t, http.StatusForbidden, "kind_not_allowed")
		view := f.Read("connections/user/u1/app", nil).OK(t)
		assert.Equal(t, "disabled kind_not_allowed", fmt.Sprint(view["status"], " ", view["status_reason"]))
		assert.Equal(t, calls, f.provider.Count(providers.StepToken))
		f.Read("creds/org/acme/app", nil).OK(t)

		// a list that has shrunk leaves each its kind, and no other
		f.Write("providers/acme", map[string]any{"kinds": "client_credentials"}).OK(t)
		f.Write("auth-code-url/org/acme/app", map[string]any{"provider": "acme", "redirect_uri": appRedirect}).
			Refused(t, http.StatusForbidden, "adds it to kinds")
		f.Write("connections/org/acme/app", map[string]any{"provider": "acme", "refresh_token": "r"}).
			Refused(t, http.StatusForbidden, "adds it to kinds")
		f.Write("providers/acme", map[string]any{"kinds": "authorization_code"}).OK(t)
		f.Write("connections/org/acme/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
	})
}

// A provider serves those owners that its operator names, whatever a policy lets the caller write.
func TestAllowedOwners(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "org/beta/mine")
		f.connect(t, "org/acme/slack")
		f.connect(t, "user/u1/slack")
		late := f.own(t, "org/beta/late", nil)
		for _, bad := range []string{
			"acme", "org/", "org/A", "team/x", "user/..", "*", "org/acme/user/", "org/acme/self",
			"org/a*",
		} {
			f.Write("providers/acme", map[string]any{"allowed_owners": bad}).
				Refused(t, http.StatusBadRequest, "allowed_owners")
		}
		f.Write("providers/acme", map[string]any{"allowed_owners": "org/acme,user/*"}).OK(t)
		calls := f.provider.Count(providers.StepToken)

		f.Write("auth-code-url/org/beta/other", map[string]any{"provider": "acme"}).
			Refused(t, http.StatusForbidden, "allowed_owners")
		f.Write("exchange", late).Refused(t, http.StatusForbidden, "allowed_owners")
		f.Write("connections/org/beta/other", map[string]any{"provider": "acme", "access_token": "x"}).
			Refused(t, http.StatusForbidden, "allowed_owners")
		f.Read("creds/org/beta/mine", nil).Refused(t, http.StatusForbidden, "owner_not_allowed", "allowed_owners")
		f.Write("refresh/org/beta/mine", nil).Refused(t, http.StatusForbidden, "owner_not_allowed")
		view := f.Read("connections/org/beta/mine", nil).OK(t)
		assert.Equal(t, "disabled owner_not_allowed", fmt.Sprint(view["status"], " ", view["status_reason"]))
		assert.Equal(t, calls, f.provider.Count(providers.StepToken), "nothing was sent")
		f.Read("creds/org/acme/slack", nil).OK(t)
		f.Read("creds/user/u1/slack", nil).OK(t)
		require.Eventually(t, func() bool {
			counts := members(t, f.Read("status", nil).OK(t)["by_status"])
			return counts["disabled"] != nil && number(counts["disabled"]) == 1
		}, time.Minute, time.Millisecond)

		f.Write("providers/acme", map[string]any{"allowed_owners": "org/*"}).OK(t)
		f.Read("creds/org/beta/mine", nil).OK(t)
		f.Write("exchange", late).OK(t)
		f.Read("creds/user/u1/slack", nil).Refused(t, http.StatusForbidden, "owner_not_allowed")

		f.Write("auth-code-url/org/acme/user/u1/slack", map[string]any{"provider": "acme"}).
			Refused(t, http.StatusForbidden, "allowed_owners")
		f.Write("providers/acme", map[string]any{"allowed_owners": "org/acme/user/*"}).OK(t)
		f.connect(t, "org/acme/user/u1/slack")
		f.Read("creds/org/acme/user/u1/slack", nil).OK(t)
		f.Read("creds/org/acme/slack", nil).Refused(t, http.StatusForbidden, "owner_not_allowed")
		f.Write("auth-code-url/org/beta/user/u1/slack", map[string]any{"provider": "acme"}).
			Refused(t, http.StatusForbidden, "allowed_owners")
		f.Write("providers/acme", map[string]any{"allowed_owners": "org/*/user/u1"}).OK(t)
		f.Read("creds/org/acme/user/u1/slack", nil).OK(t)
	})
}

// Whoever starts a flow can edit its URL: what is granted beyond allowed_scopes is told, and refused where the operator
// or the definition says so. A refresh is never refused for it.
func TestSurplusScopes(t *testing.T) {
	granted := func(scope string) providertest.Behavior {
		return providertest.Respond(http.StatusOK, `{"access_token":"a-`+scope+`","refresh_token":"r-`+scope+
			`","token_type":"bearer","expires_in":3600,"scope":"read write `+scope+`"}`)
	}
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"surplus_scopes": "drop"}).Refused(t, http.StatusBadRequest,
			"surplus_scopes")
		f.provider.Next(providers.StepToken, granted("admin"))
		warned := f.Write("exchange", f.own(t, "slack", nil))
		assert.Equal(t, []string{"admin"}, texts(t, warned.OK(t)["surplus_scopes"]))
		assert.Contains(t, strings.Join(warned.Warnings, " "), "beyond allowed_scopes")

		f.Write("providers/acme", map[string]any{"surplus_scopes": "refuse"}).OK(t)
		answer := f.own(t, "slack", nil)
		f.provider.Next(providers.StepToken, granted("admin"))
		f.Write("exchange", answer).Refused(t, http.StatusConflict, "more was granted than allowed_scopes", "admin")
		assert.Equal(t, "a-admin", f.Read("creds/slack", nil).OK(t)["access_token"], "what there was stays")

		f.Advance(time.Minute)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK,
			`{"access_token":"refreshed","token_type":"bearer","expires_in":3600,"scope":"read write admin"}`))
		f.Write("refresh/slack", nil).OK(t)
		assert.Equal(t, "refreshed", f.Read("creds/slack", nil).OK(t)["access_token"])

		f.Write("providers/acme", map[string]any{"allowed_scopes": "read,write,admin"}).OK(t)
		f.provider.Next(providers.StepToken, granted("admin"))
		assert.Empty(t, texts(t, f.Write("exchange", f.own(t, "slack", nil)).OK(t)["surplus_scopes"]))
		f.Write("providers/acme", map[string]any{"allowed_scopes": "*"}).OK(t)
		f.provider.Next(providers.StepToken, granted("anything"))
		assert.Empty(t, texts(t, f.Write("exchange", f.own(t, "slack", nil)).OK(t)["surplus_scopes"]))
	})
}
