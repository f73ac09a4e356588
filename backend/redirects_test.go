package backend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestRedirectKey(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		same bool
	}{
		"the same":               {"https://app.example.com/cb", "https://app.example.com/cb", true},
		"another path":           {"https://app.example.com/cb", "https://app.example.com/cb/", false},
		"another query":          {"https://app.example.com/cb?p=a", "https://app.example.com/cb?p=b", false},
		"another host":           {"https://app.example.com/cb", "https://app.example.org/cb", false},
		"another port":           {"https://app.example.com/cb", "https://app.example.com:8443/cb", false},
		"the default port":       {"https://app.example.com/cb", "https://app.example.com:443/cb", true},
		"in other case":          {"https://app.example.com/cb", "HTTPS://APP.example.com/cb", true},
		"a path in other case":   {"https://app.example.com/cb", "https://app.example.com/CB", false},
		"no path":                {"https://app.example.com", "https://app.example.com/", true},
		"loopback":               {"http://127.0.0.1:8080/cb", "http://127.0.0.1:9090/cb", true},
		"loopback, no port":      {"http://127.0.0.1:8080/cb", "http://127.0.0.1/cb", true},
		"loopback, another path": {"http://127.0.0.1:8080/cb", "http://127.0.0.1:8080/other", false},
		"loopback, IPv6":         {"http://[::1]:8080/cb", "http://[::1]/cb", true},
		"loopback by name":       {"http://localhost:1/cb", "http://localhost:2/cb", true},
		"loopback by TLS":        {"https://127.0.0.1:1/cb", "https://127.0.0.1:2/cb", false},
		"an application's own":   {"com.example.app:/cb", "com.example.app:/cb", true},
		"another application's":  {"com.example.app:/cb", "com.example.other:/cb", false},
	} {
		assert.Equal(t, c.same, redirectKey(c.a) == redirectKey(c.b), name)
	}
}

// at configures a provider of the generic definition at some origin.
func (f *fixture) at(name, origin string, more map[string]any) testenv.Result {
	return f.Write("providers/"+name, with(map[string]any{
		"definition": "oauth2", "client_id": "id", "client_secret": "s",
		"endpoints":     map[string]any{"authorize": origin + "/authorize", "token": origin + "/token"},
		"redirect_uris": "https://shop.example.com/cb",
	}, more))
}

func TestSharedRedirectURIs(t *testing.T) {
	const one, other = "https://one.example.com", "https://other.example.com"
	iss := func(issuer string) map[string]any { return map[string]any{"issuer": issuer, "require_iss": true} }
	shared := map[string]any{"shared_redirect": true}
	for name, c := range map[string]struct {
		origin         string         // of the second
		first, second  map[string]any // what more is said of each
		refused        bool
		warnsOfSharing bool
	}{
		"of one service":               {origin: one},
		"of one service in other case": {origin: "https://ONE.example.com"},
		"of two":                       {origin: other, refused: true},
		"of one host's two ports":      {origin: one + ":8443", refused: true},
		"of two, only the token endpoint differs": {origin: one, second: map[string]any{"endpoints": map[string]any{
			"authorize": one + "/authorize", "token": other + "/token",
		}}, refused: true},
		"of two, only the authorization endpoint differs": {origin: one, second: map[string]any{"endpoints": map[string]any{
			"authorize": other + "/authorize", "token": one + "/token",
		}}, refused: true},
		"of two, another URI": {origin: other, second: map[string]any{"redirect_uris": "https://shop.example.com/cb2"}},
		"of two, one among several": {origin: other, second: map[string]any{
			"redirect_uris": "https://shop.example.com/cb2,https://shop.example.com/cb",
		}, refused: true},
		"of two, on one machine": {
			origin: other, first: map[string]any{"redirect_uris": "http://127.0.0.1:1/cb3"},
			second: map[string]any{"redirect_uris": "http://127.0.0.1:2/cb3"}, refused: true,
		},
		"of two that name themselves":      {origin: other, first: iss(one), second: iss(other)},
		"of two, of which the first does":  {origin: other, first: iss(one), refused: true},
		"of two, of which the second does": {origin: other, second: iss(other), refused: true},
		"of two with issuers, unrequired": {
			origin: other, first: map[string]any{"issuer": one}, second: map[string]any{"issuer": other}, refused: true,
		},
		"of two whose application is able": {origin: other, first: shared, second: shared, warnsOfSharing: true},
		"of two, the first's is":           {origin: other, first: shared, refused: true},
		"of two, the second's is":          {origin: other, second: shared, refused: true},
		"of two, one says this, one that":  {origin: other, first: shared, second: iss(other), refused: true},
		"of one that opens no flows at all": {origin: other, second: map[string]any{
			"definition": "openai", "client_id": nil, "client_secret": nil, "endpoints": nil,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.at("first", one, c.first).OK(t)
				second := f.at("second", c.origin, c.second)
				if c.refused {
					second.Refused(t, http.StatusConflict, "redirect_uris", "provider first", "shared_redirect=true")
					assert.Equal(t, http.StatusNotFound, f.Read("providers/second", nil).Status)
					return
				}
				second.OK(t)
				assert.Equal(t, c.warnsOfSharing, strings.Contains(strings.Join(second.Warnings, " "), "by state"))
				assert.Equal(t, len(second.Warnings), len(f.Read("providers/second", nil).Warnings))
			})
		})
	}
}

// What is stored goes on, and is told of whenever it is read.
func TestSharedRedirectURIsOfBefore(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.at("first", "https://one.example.com", nil).OK(t)
		f.at("second", "https://other.example.com", map[string]any{"redirect_uris": "https://shop.example.com/cb2"}).OK(t)
		f.altered(t, "provider/second", func(p map[string]any) { p["redirect_uris"] = []any{"https://shop.example.com/cb"} })
		f.restart(t)
		for name, other := range map[string]string{"first": "second", "second": "first"} {
			read := f.Read("providers/"+name, nil)
			read.OK(t)
			require.Len(t, read.Warnings, 1)
			assert.Contains(t, read.Warnings[0], "provider "+other)
			f.start(t, "x-"+name, map[string]any{"provider": name, "redirect_uri": "https://shop.example.com/cb"})
		}
		changed := f.Write("providers/second", map[string]any{"scopes": "read"})
		changed.OK(t)
		assert.Len(t, changed.Warnings, 1)
		again := f.Write("providers/second", map[string]any{"redirect_uris": "https://shop.example.com/cb"})
		again.OK(t)
		assert.Equal(t, changed.Warnings, again.Warnings, "the list that is stored is no change")
		f.Write("providers/second", map[string]any{
			"redirect_uris": "https://shop.example.com/cb,https://shop.example.com/x",
		}).Refused(t, http.StatusConflict, "provider first")
		f.Write("providers/first", map[string]any{"shared_redirect": true}).OK(t)
		f.Write("providers/second", map[string]any{
			"redirect_uris": "https://shop.example.com/cb", "shared_redirect": true,
		}).OK(t)
		assert.Len(t, f.Read("providers/first", nil).Warnings, 1, "that the operator vouches for the application")
	})
}

// A provider that nobody can read starts no flow, and hinders none.
func TestSharedRedirectURIsBesideWhatCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.at("first", "https://one.example.com", nil).OK(t)
		for name, entry := range map[string]string{
			"bad": `{"version":1,"definition":`, "newer": `{"version":9,"definition":"oauth2"}`,
			"unknown": `{"version":1,"definition":"of another release","redirect_uris":["https://shop.example.com/cb"]}`,
		} {
			require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{Key: "provider/" + name, Value: []byte(entry)}))
		}
		f.restart(t)
		f.at("first", "https://one.example.com", nil).OK(t)
		f.at("second", "https://other.example.com", nil).Refused(t, http.StatusConflict, "provider first")

		f.Storage.Judge(func(a testenv.Access) error {
			if a.Op == "get" && a.Key == "provider/first" {
				return testenv.ErrStorage
			}
			return nil
		})
		f.at("second", "https://other.example.com", nil).Refused(t, http.StatusInternalServerError)
		f.Storage.Judge(nil)
		assert.Equal(t, http.StatusNotFound, f.Read("providers/second", nil).Status, "what is not known is not allowed")
	})
}

// With require_iss an answer that does not say who gave it is of nobody.
func TestRequireIss(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"require_iss": true}).Refused(t, http.StatusBadRequest, "issuer")
		f.Write("providers/acme", map[string]any{"issuer": f.provider.URL, "client_secret": providertest.ClientSecret}).OK(t)
		answer := f.own(t, "a", nil)
		f.Write("exchange", answer).OK(t) // as before
		f.Write("providers/acme", map[string]any{"require_iss": true}).OK(t)
		f.Write("exchange", f.own(t, "b", nil)).Refused(t, http.StatusConflict, "issuer")
		f.Write("exchange", with(f.own(t, "b", nil), map[string]any{"iss": "https://evil.example.com"})).Refused(t,
			http.StatusConflict, "issuer")
		f.Write("exchange", with(f.own(t, "b", nil), map[string]any{"iss": f.provider.URL})).OK(t)
		assert.Equal(t, true, f.Read("providers/acme", nil).OK(t)["require_iss"])
	})
}
