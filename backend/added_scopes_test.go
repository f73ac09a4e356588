package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// asks gives the scopes that a flow of idp asks for.
func (f *fixture) asks(t *testing.T, scopes string) string {
	t.Helper()
	return query(t, f.start(t, "me", map[string]any{"provider": "idp", "scopes": scopes})["url"].(string), "scope")
}

// What the engine adds by itself can be taken away, name by name. Neither grants nor open flows are touched.
func TestAddedScopes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		f.Write("providers/idp", map[string]any{"scopes": "read"}).OK(t)
		all := []string{"openid", "profile", "email", "offline_access"}
		added := func(names any) []string {
			f.Write("providers/idp", map[string]any{"added_scopes": names}).OK(t)
			return texts(t, f.Read("providers/idp", nil).OK(t)["added_scopes"])
		}
		assert.Equal(t, all, texts(t, f.Read("providers/idp", nil).OK(t)["added_scopes"]))
		assert.Equal(t, "read openid profile email offline_access", f.asks(t, ""))
		open := f.own(t, "open", map[string]any{"provider": "idp"})
		iss := map[string]any{"iss": f.provider.URL}
		f.Write("exchange", with(f.own(t, "mine", map[string]any{"provider": "idp"}), iss)).OK(t)

		assert.Equal(t, []string{"openid"}, added("openid"))
		assert.Equal(t, "read openid", f.asks(t, ""))
		f.restart(t)
		assert.Equal(t, "read openid", f.asks(t, ""))
		f.Write("auth-code-url/me", map[string]any{"provider": "idp", "scopes": "offline_access"}).
			Refused(t, http.StatusBadRequest, "allowed_scopes")

		assert.Empty(t, added(""))
		assert.Equal(t, "read", f.asks(t, ""))
		assert.Empty(t, added([]any{}))
		f.Write("providers/idp", map[string]any{"allowed_scopes": "read,openid"}).OK(t)
		assert.Equal(t, "openid", f.asks(t, "openid"), "somebody named it")

		assert.Equal(t, []string{"profile", "offline_access"}, added("offline_access,profile,offline_access"))
		for _, wrong := range []any{"read", "openid,read", "Openid", "openid profile", []any{""}} {
			f.Write("providers/idp", map[string]any{"added_scopes": wrong, "scopes": "x"}).
				Refused(t, http.StatusBadRequest, "added_scopes", "openid, profile")
		}
		assert.Equal(t, "read profile offline_access", f.asks(t, ""), "nothing was changed")
		f.Write("providers/acme", map[string]any{"added_scopes": "openid"}).Refused(t, http.StatusBadRequest, "it adds none")

		assert.Equal(t, "active", f.Read("connections/mine", nil).OK(t)["status"])
		assert.Equal(t, true, f.Read("providers/idp", nil).OK(t)["client_secret_set"])
		f.Write("exchange", with(open, iss)).OK(t)
		f.Advance(time.Minute)
		f.Write("refresh/mine", nil).OK(t)
	})
}

// Taking nothing away is kept as unsaid, so what another release adds is asked for.
func TestAllAddedScopes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		read := f.Read("providers/idp", nil).OK(t)
		written := f.Write("providers/idp", map[string]any{"added_scopes": read["added_scopes"], "pkce": read["pkce"]}).OK(t)
		assert.Equal(t, read["added_scopes"], written["added_scopes"])
		entry, err := f.Storage.Get(t.Context(), "provider/idp")
		assert.NoError(t, err)
		assert.NotContains(t, string(entry.Value), "added_scopes")
		f.Write("providers/acme", map[string]any{"added_scopes": ""}).OK(t)
	})
}

// An issuer that says which scopes it knows is not asked for others that nobody named.
func TestScopesAnIssuerDoesNotKnow(t *testing.T) {
	for name, c := range map[string]struct{ known, asked, want string }{
		"all":                {`["openid","profile","email","offline_access"]`, "", "openid profile email offline_access"},
		"no offline_access":  {`["read_user","openid","profile","email"]`, "", "openid profile email"},
		"named all the same": {`["openid"]`, "offline_access", "offline_access openid"},
		"none of ours":       {`["read"]`, "", ""},
		"an empty list":      {`[]`, "", "openid profile email offline_access"},
		"no list":            {`"openid"`, "", "openid profile email offline_access"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.publishes(`,"scopes_supported":` + c.known)
				f.issuer(t)
				assert.Equal(t, c.want, f.asks(t, c.asked))
			})
		})
	}
}

// The refusal of an issuer that knows a scope not says where that is taken away.
func TestScopeThatIsRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for code, says := range map[string]string{
			"invalid_scope": "added_scopes", "unauthorized_client": "client_auth", "access_denied": "(access_denied): start",
		} {
			flow := f.start(t, "x", nil)
			f.callback(t, "acme", map[string]string{"state": query(t, flow["url"].(string), "state"), "error": code})
			f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": "AAAAAAAA"}).
				Refused(t, http.StatusConflict, code, says, "start again with auth-code-url/")
		}
	})
}

// What the engine adds by itself is never missing: offline_access, say, stands in few answers. What somebody requires
// by name is.
func TestAddedScopesAreNotMissing(t *testing.T) {
	const answer = `{"access_token":"a","refresh_token":"r","token_type":"Bearer","expires_in":3600,"scope":"Mail.Read"}`
	for name, c := range map[string]struct {
		added any
		data  map[string]any
		want  []string
	}{
		"nothing named": {data: map[string]any{}},
		"all named":     {data: map[string]any{"scopes": "openid,profile,offline_access,Mail.Read"}},
		"one not granted beside them": {
			data: map[string]any{"scopes": "offline_access,Mail.Send"}, want: []string{"Mail.Send"},
		},
		"required by name": {
			data: map[string]any{"required_scopes": "Mail.Read,offline_access"}, want: []string{"offline_access"},
		},
		"not added, and named": {
			added: "", data: map[string]any{"scopes": "Mail.Read,offline_access"}, want: []string{"offline_access"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.issuer(t)
				f.publishes("") // no keys, so no id_token is asked for
				f.Write("providers/idp", with(map[string]any{"allowed_scopes": "*"},
					map[string]any{"added_scopes": c.added})).OK(t)
				own := f.own(t, "mail", with(map[string]any{"provider": "idp"}, c.data))
				f.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK, answer))
				r := f.Write("exchange", own)
				assert.ElementsMatch(t, c.want, texts(t, r.OK(t)["missing_scopes"]))
				assert.Equal(t, len(c.want) > 0, strings.Contains(strings.Join(r.Warnings, "\n"), "not granted"))
			})
		})
	}
}

// publishes scripts what the issuer answers next: the least there must be, and what more holds.
func (f *fixture) publishes(more string) {
	f.provider.Next(providers.StepDiscovery, providertest.Respond(http.StatusOK, `{"issuer":"`+f.provider.URL+
		`","authorization_endpoint":"`+f.provider.URL+`/authorize","token_endpoint":"`+f.provider.URL+`/token"`+more+`}`))
}
