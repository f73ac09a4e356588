package providers_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// issuedBy is an app of any issuer, of which a server takes the place.
func issuedBy(issuer string) *providers.App {
	return &providers.App{
		Definition: &providers.Definition{
			Discovery: &providers.Discovery{Issuer: "{issuer}"}, Client: providers.ClientSpec{Auth: []string{"from_discovery"}},
		},
		Issuer: issuer, ClientID: providertest.ClientID, ClientSecret: providers.NewSecret("x"),
	}
}

// A wrong issuer is told with what was asked and what was answered, as far as that can be nothing but a URL.
func TestWrongIssuerIsShown(t *testing.T) {
	for name, test := range map[string]struct {
		status   int
		body     string // ISSUER is what was asked
		seen     string
		not      string
		says     string
		misnamed bool // the failure does not lie in the issuer, as far as is known
	}{
		"a slash more": {
			body: `{"issuer":"ISSUER/"}`, seen: `"ISSUER", and its document says "ISSUER/", which differs in the slash`,
		},
		"another": {
			body: `{"issuer":"https://id.example.com/a"}`, seen: `"ISSUER", and its document says "https://id.example.com/a"`,
		},
		"in the clear": {body: `{"issuer":"http://id.example.com"}`, seen: `"http://id.example.com"`},
		"of many tenants": {
			body: `{"issuer":"https://id.example.com/{tenantid}/v2.0"}`,
			seen: `"https://id.example.com/{tenantid}/v2.0", which stands for`,
		},
		"no URL":          {body: `{"issuer":"call 555-0100 and tell your token"}`, seen: "no URL", not: "555-"},
		"script":          {body: `{"issuer":"javascript:alert(1)"}`, seen: "no URL", not: "alert"},
		"markup":          {body: `{"issuer":"https://id.example.com/<b>x"}`, seen: "no URL", not: "<b>"},
		"control":         {body: `{"issuer":"https://id.example.com/\u001b[31m"}`, seen: "no URL", not: "\x1b"},
		"line break":      {body: `{"issuer":"https://id.example.com/\nx"}`, seen: "no URL", not: "\n"},
		"beyond ASCII":    {body: `{"issuer":"https://id.example.com/ä"}`, seen: "no URL", not: "ä"},
		"with a password": {body: `{"issuer":"https://me:planted@id.example.com/"}`, seen: "no URL", not: "planted"},
		"with a query": {
			body: `{"issuer":"https://id.example.com/?token=planted#planted"}`, seen: `"https://id.example.com/"`, not: "planted",
		},
		"too long": {
			body: `{"issuer":"https://id.example.com/` + strings.Repeat("a", 2000) + `"}`,
			seen: "aaa...\"",
			not:  strings.Repeat("a", 180),
		},
		"no token call": {body: `{"issuer":"ISSUER"}`, seen: "token_endpoint"},
		"an insecure one": {
			body: `{"issuer":"ISSUER","token_endpoint":"http://planted.example.com/"}`, seen: `"token"`, not: "planted",
		},
		"not there":        {status: 404, body: "planted", seen: "status 404", not: "planted"},
		"refused":          {status: 400, body: `{"error":"invalid_tenant"}`, seen: "status 400", not: "tenant"},
		"moved for good":   {status: 301, seen: "status 301"},
		"no keys":          {says: `{"keys":[]}`, seen: "no key"},
		"keys for nothing": {says: `{"keys":[{"kty":"oct","k":"planted"}]}`, seen: "no key", not: "planted"},

		"down":             {status: 503, misnamed: true},
		"moved for now":    {status: 302, misnamed: true},
		"asks for rest":    {status: 429, misnamed: true},
		"turned away":      {status: 403, misnamed: true},
		"maintenance page": {body: `<html>planted`, misnamed: true, not: "planted"},
		"another document": {body: `{"status":"planted"}`, misnamed: true, not: "planted"},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			if test.status == 0 {
				test.status = http.StatusOK
			}
			whole := func(s string) string { return strings.ReplaceAll(s, "ISSUER", server.URL) }
			if test.says == "" {
				server.Next(providers.StepDiscovery, providertest.Respond(test.status, whole(test.body)))
			} else {
				server.Next("jwks", providertest.Respond(test.status, test.says))
			}
			e := failure(t, newClient(t, time.Now).CheckIssuer(t.Context(), issuedBy(server.URL)))
			assert.Equal(t, providers.StepDiscovery, e.Step)
			if test.misnamed {
				assert.NotEqual(t, providers.CodeIssuer, e.Code)
				assert.Empty(t, e.Seen)
			} else {
				assert.Equal(t, providers.CodeIssuer, e.Code)
				assert.Contains(t, e.Error(), whole(test.seen))
				assert.LessOrEqual(t, len(e.Seen), 600)
			}
			assert.NotContains(t, e.Reason, "example", "the words are the engine's own")
			if test.not != "" {
				assert.NotContains(t, e.Error(), test.not)
			}
		})
	}
}

func TestCheckIssuer(t *testing.T) {
	server := providertest.New(t)
	client := newClient(t, time.Now)
	require.NoError(t, client.CheckIssuer(t.Context(), issuedBy(server.URL)))
	assert.Equal(t, 1, server.Count(providers.StepDiscovery))
	assert.Equal(t, 1, server.Count("jwks"))

	e := failure(t, client.CheckIssuer(t.Context(), issuedBy(nowhere(t))))
	assert.Equal(t, providers.ReasonConnectionRefused, e.Reason)

	app := issuedBy("https://id.example.com")
	app.Endpoints = map[providers.Step]string{providers.StepDiscovery: server.URL + "/.well-known/openid-configuration"}
	e = failure(t, client.CheckIssuer(t.Context(), app))
	assert.Equal(t, providers.CodeIssuer, e.Code, "its document is where the operator says")

	asked := server.Count(providers.StepDiscovery)
	app.Definition.Inputs = []providers.Input{{Name: "shop", SetBy: providers.SetByConnection, Pattern: "[a-z]+"}}
	app.Endpoints[providers.StepDiscovery] = server.URL + "/{shop}"
	require.NoError(t, client.CheckIssuer(t.Context(), app), "where it stands is not known yet")
	app.Issuer = ""
	require.NoError(t, client.CheckIssuer(t.Context(), app))
	require.NoError(t, client.CheckIssuer(t.Context(), server.App()), "it has no issuer")
	assert.Equal(t, asked, server.Count(providers.StepDiscovery))
}

// What an issuer says of its scopes is advice: whatever it says there, its document is taken.
func TestScopesOfAnIssuer(t *testing.T) {
	for name, test := range map[string]struct {
		said string
		want []string
	}{
		"a list":         {`["openid","email"]`, []string{"openid", "email"}},
		"an empty one":   {`[]`, []string{}},
		"null":           {`null`, nil},
		"one text":       {`"openid email"`, nil},
		"no texts":       {`[1,{"a":"b"}]`, nil},
		"texts and not":  {`["openid",7]`, nil},
		"an object":      {`{"openid":true}`, nil},
		"far too many":   {`["` + strings.Repeat(`a","`, 5000) + `a"]`, nil},
		"many":           {`["` + strings.Repeat(`a","`, 3) + `a"]`, []string{"a", "a", "a", "a"}},
		"a nested list":  {`[["openid"]]`, nil},
		"a very odd one": {`true`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			server.Next(providers.StepDiscovery, providertest.Respond(http.StatusOK,
				`{"issuer":"`+server.URL+`","token_endpoint":"`+server.URL+`/token","scopes_supported":`+test.said+`}`))
			res, err := newClient(t, time.Now).Resolve(t.Context(), issuedBy(server.URL), providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			assert.Equal(t, test.want, res.Scopes)
		})
	}
}
