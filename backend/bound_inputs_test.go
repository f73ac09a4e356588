package backend

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// ofShop asks for a credential of the app's own for a shop.
func ofShop(shop string) map[string]any {
	return map[string]any{
		"provider": "acme", "kind": "client_credentials", "inputs": map[string]any{"shop": shop},
	}
}

// bind says on the provider which shops owners may name.
func (f *fixture) bind(t *testing.T, bound map[string]any) {
	t.Helper()
	f.Write("providers/acme", map[string]any{"bound_inputs": bound}).OK(t)
}

// The operator's secret opens any account that is named. So an owner names none but those that are bound to it, and
// whoever names a stranger's gets nothing.
func TestBoundInputs(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.allowApp(t)
		refused := func(path, shop string) {
			t.Helper()
			f.Storage.Forget()
			calls := f.provider.Count(providers.StepToken)
			r := f.Write("connections/"+path, ofShop(shop))
			r.Refused(t, http.StatusForbidden, `input "shop"`, "bound_inputs on providers/acme")
			assert.NotContains(t, r.Text, shop)
			assert.Equal(t, calls, f.provider.Count(providers.StepToken), "nothing was sent")
			assert.Zero(t, f.Storage.Writes(), "nothing was stored")
			assert.Equal(t, http.StatusNotFound, f.Read("connections/"+path, nil).Status)
		}
		refused("org/acme/app", "two") // the kind alone opens none
		f.bind(t, map[string]any{
			"org/acme": map[string]any{"shop": []any{"two", "three"}}, "org/*": map[string]any{"shop": "four"},
		})
		refused("org/beta/app", "two")
		refused("org/acme/app", "five")
		refused("org/acme/app", "tw")
		for name, shop := range map[string]string{"a": "two", "b": "three", "c": "four", "d": "one"} { // one is the default
			assert.Equal(t, "active", f.Write("connections/org/acme/"+name, ofShop(shop)).OK(t)["status"])
		}
		f.Write("connections/org/beta/app", ofShop("four")).OK(t)
		f.Write("connections/org/beta/none", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		f.Read("creds/org/acme/a", nil).OK(t)

		// where a person consents, or brings what only they have, that proves it
		f.Write("exchange", f.own(t, "org/beta/person", map[string]any{"inputs": map[string]any{"shop": "two"}})).OK(t)
		f.Write("connections/org/beta/brought", map[string]any{
			"provider": "acme", "refresh_token": f.elsewhere(t), "inputs": map[string]any{"shop": "two"},
		}).OK(t)
	})
}

// What loses its binding stops at once, is not refreshed meanwhile, and comes back whole.
func TestBindingTakenAway(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.allowApp(t)
		both := map[string]any{"shop": []any{"two", "three"}}
		f.bind(t, map[string]any{"org/acme": both})
		f.Write("connections/org/acme/two", ofShop("two")).OK(t)
		f.Write("connections/org/acme/three", ofShop("three")).OK(t)
		f.bind(t, map[string]any{"org/acme": map[string]any{"shop": []any{"three"}}, "org/beta": both})
		calls := f.provider.Count(providers.StepToken)

		f.Read("creds/org/acme/two", nil).Refused(t, http.StatusForbidden, "input_not_bound", "bound_inputs")
		f.Write("refresh/org/acme/two", nil).Refused(t, http.StatusForbidden, "input_not_bound")
		assert.Equal(t, "not_asked", f.Write("check/org/acme/two", nil).OK(t)["service"])
		view := f.Read("connections/org/acme/two", nil).OK(t)
		assert.Equal(t, "disabled input_not_bound", fmt.Sprint(view["status"], " ", view["status_reason"]))
		f.Read("creds/org/acme/three", nil).OK(t)
		require.Eventually(t, func() bool {
			counts := members(t, f.Read("status", nil).OK(t)["by_status"])
			return counts["disabled"] != nil && number(counts["disabled"]) == 1
		}, time.Minute, time.Millisecond)
		f.Advance(2 * time.Hour)
		f.Read("creds/org/acme/two", nil).Refused(t, http.StatusForbidden, "input_not_bound")
		assert.Equal(t, calls, f.provider.Count(providers.StepToken), "nothing was sent")

		f.bind(t, map[string]any{"org/acme": both})
		f.Read("creds/org/acme/two", nil).OK(t)
		f.Delete("connections/org/acme/two", nil).OK(t)

		f.bind(t, map[string]any{})
		f.Read("creds/org/acme/three", nil).Refused(t, http.StatusForbidden, "input_not_bound")
	})
}

// A connection of the first releases names what nobody bound: it stops, and says what to do.
func TestUnboundFromAnOlderRelease(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.allowApp(t)
		f.bind(t, map[string]any{"org/acme": map[string]any{"shop": "two"}})
		f.Write("connections/org/acme/app", ofShop("two")).OK(t)
		entry, err := f.Storage.Get(t.Context(), "provider/acme")
		require.NoError(t, err)
		bound := `"bound_inputs":{"org/acme":{"shop":["two"]}},`
		require.Contains(t, string(entry.Value), bound)
		entry.Value = []byte(strings.Replace(string(entry.Value), bound, "", 1))
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		f.System.SetReplication(0)
		f.Read("creds/org/acme/app", nil).
			Refused(t, http.StatusForbidden, "input_not_bound", "bound_inputs on providers/acme")
	})
}

// A binding that is taken away while a request waits for its provider counts.
func TestBindingTakenAwayMeanwhile(t *testing.T) {
	f := newFixture(t, withEverything(t), testenv.InProcess)
	f.allowApp(t)
	f.bind(t, map[string]any{"org/acme": map[string]any{"shop": "two"}})
	b := f.engine()
	k := store.Key{Owner: store.Owner{Org: "acme"}, Name: "app"}
	w, err := b.planWrite(t.Context(), k, caller{}, &framework.FieldData{
		Raw: map[string]any{
			"provider": "acme", "kind": "client_credentials", "inputs": map[string]string{"shop": "two"},
		},
		Schema: connectionFields(),
	})
	require.NoError(t, err)
	f.bind(t, map[string]any{})
	calls := f.provider.Count(providers.StepToken)
	_, err = b.issue(t.Context(), w)
	require.ErrorContains(t, err, "bound_inputs")
	assert.Equal(t, calls, f.provider.Count(providers.StepToken), "nothing was sent")
	assert.Empty(t, f.stored(t, "connection/org/acme/"))
}

// What an operator binds is taken in the forms that clients have, answered in one, and refused with the reason.
func TestBoundInputsAreWritten(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.allowApp(t)
		want := map[string]any{"org/acme": map[string]any{"shop": []any{"two", "three"}}}
		for name, written := range map[string]any{
			"JSON":           map[string]any{"org/acme": map[string]any{"shop": []any{"two", "three", "two"}}},
			"a command line": `{"org/acme": {"shop": ["two", "three"]}}` + "\n",
			"a list as text": map[string]any{"org/acme": map[string]any{"shop": "two, three"}, "org/b": map[string]any{}},
			"nothing beside": map[string]any{"org/acme": map[string]any{"shop": []any{"two", "three"}}, "org/*": map[string]any{
				"shop": []any{},
			}},
		} {
			r := f.Write("providers/acme", map[string]any{"bound_inputs": written})
			assert.Equal(t, want, asClient(t, r.OK(t))["bound_inputs"], name)
		}
		before := f.written(t, "provider/acme")
		long := strings.Repeat("s", 4097)
		many := map[string]any{}
		for i := range 60 {
			many[fmt.Sprintf("org/o%d", i)] = map[string]any{"shop": strings.Repeat("s", 2000)}
		}
		for says, written := range map[string]any{
			"wrong type":       "shop=two",
			"null":             map[string]any{"org/acme": map[string]any{"shop": []any{nil}}},
			"give a map":       `{"org/acme": {"shop": null}}`,
			"is no owner":      map[string]any{"acme": map[string]any{"shop": "two"}},
			"org name":         map[string]any{"org/A": map[string]any{"shop": "two"}},
			"no organization":  map[string]any{"user/*": map[string]any{"shop": "two"}},
			"no other has":     map[string]any{"org/acme/user/*": map[string]any{"shop": "two"}},
			"must be a map":    map[string]any{"org/acme": []any{"two"}},
			"a map of owners":  map[string]any{"org/acme": map[string]any{"shop": map[string]any{"x": "y"}}},
			"not declared":     map[string]any{"org/acme": map[string]any{"colour": "red"}},
			"on the provider":  map[string]any{"org/acme": map[string]any{"realm": "main"}},
			"must match":       map[string]any{"org/acme": map[string]any{"shop": "TWO"}},
			"too large":        map[string]any{"org/acme": map[string]any{"shop": []any{float64(1 << 60)}}},
			"longer than 4096": map[string]any{"org/acme": map[string]any{"shop": []any{long}}},
			"98304 bytes":      many,
		} {
			r := f.Write("providers/acme", map[string]any{"bound_inputs": written})
			r.Refused(t, http.StatusBadRequest, "bound_inputs")
			assert.Contains(t, r.Text, says)
			assert.Less(t, len(r.Text), 600)
		}
		assert.Equal(t, before, f.written(t, "provider/acme"))
		f.Write("providers/keys", map[string]any{"bound_inputs": map[string]any{"org/a": map[string]any{"host": "one"}}}).
			Refused(t, http.StatusBadRequest, "nothing to bind")
		emptied := f.Write("providers/acme", map[string]any{"bound_inputs": ""}).OK(t)
		assert.Equal(t, map[string]any{}, asClient(t, emptied)["bound_inputs"])
		assert.Equal(t, true, members(t, f.Read("catalog/oauth2", nil).OK(t)["inputs"])["shop"].(map[string]any)["bound"])
	})
}

// What an operator sets on the provider binds all, and what several patterns say adds up.
func TestBoundByTheProvider(t *testing.T) {
	p := &configured{
		app: &providers.App{Definition: &providers.Definition{
			Kinds:  []providers.Kind{providers.KindClientCredentials},
			Inputs: []providers.Input{{Name: "region", SetBy: providers.SetByEither}},
		}},
		entry: &store.Provider{BoundInputs: map[string]map[string][]string{
			"org/*": {"region": {"eu"}}, "org/acme": {"region": {"us"}}, "org/beta": {"region": {"cn"}},
		}},
	}
	acme := store.Owner{Org: "acme"}
	assert.ElementsMatch(t, []string{"eu", "us"}, boundTo(p.entry, acme)["region"])
	named := map[string]string{"region": "cn"}
	name, found := p.unbound(acme, providers.KindClientCredentials, named)
	assert.Equal(t, []any{"region", true}, []any{name, found})
	p.entry.Inputs = map[string]string{"region": "eu"} // what a connection names does not count then
	_, found = p.unbound(acme, providers.KindClientCredentials, named)
	assert.False(t, found)
}

// A site that a grant of the app's own reaches is picked by those only to whom it is bound, and the only one there is
// serves nobody else.
func TestBoundSites(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		app := map[string]any{"provider": "sites", "kind": "client_credentials"}
		s.Write("connections/app", app).OK(t)
		s.Write("connections/app", siteInputs("site", "two")).Refused(t, http.StatusForbidden, "bound_inputs")
		s.Read("creds/app", nil).Refused(t, http.StatusConflict, "choice")
		s.Write("providers/sites", map[string]any{
			"bound_inputs": map[string]any{"org/default": map[string]any{"site": "two"}},
		}).OK(t)
		s.Write("connections/app", siteInputs("site", "one")).Refused(t, http.StatusForbidden, "bound_inputs")
		s.Write("connections/app", siteInputs("site", "two")).OK(t)
		assert.Equal(t, "two", s.picked(t, "app")[0])

		s.reach("only")
		assert.Equal(t, "input_not_bound", s.Write("connections/other", app).OK(t)["status_reason"])
		s.Read("creds/other", nil).Refused(t, http.StatusForbidden, "input_not_bound")
	}, "one", "two")
}

// The built-in catalogue: of which service a connection names the account that an app acts on.
func TestBoundInputsOfTheCatalogue(t *testing.T) {
	found := map[string][]string{}
	catalog, err := providers.NewRegistry(os.DirFS("../providers/catalog"))
	require.NoError(t, err)
	for _, id := range catalog.IDs() {
		definition, _ := catalog.Get(id)
		for _, in := range definition.Inputs {
			if definition.Binds(in) {
				found[id] = append(found[id], in.Name)
			}
		}
	}
	assert.Equal(t, map[string][]string{
		"docusign": {"run_as", "account_id"}, "github_app": {"installation_id"}, "pipedream_account": {"account_id"},
		"salesforce": {"run_as"}, "shopify": {"shop"}, "wix": {"instance_id"},
	}, found)
}
