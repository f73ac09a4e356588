package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMistakesInScopes(t *testing.T) {
	const text = `id: scoped
name: Scoped
kinds: [authorization_code, client_credentials]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  identity: https://x.example.com/me
scopes:
  optional_param: optional_scope
identity: {scopes_path: [scopes]}
token:
  by_kind:
    client_credentials: {scopes: []}
`
	d, err := Decode("scoped.yaml", []byte(text))
	require.NoError(t, err)
	require.NotNil(t, d.Token.ByKind[KindClientCredentials].Scopes, "none is not the same as not said")
	for _, c := range []struct{ old, new, want string }{
		{"optional_param: optional_scope", "optional_param: scope", `scopes.optional_param: "scope" is a parameter`},
		{"optional_param: optional_scope", "optional_param: state", `scopes.optional_param: "state" is a parameter`},
		{"identity: {", "authorize: {params: {optional_scope: x}}\nidentity: {", `"optional_scope" is the engine's own`},
		{
			"identity: {", "authorize: {only: true, pkce: off, params: {s: '{state}'}}\nidentity: {",
			"scopes.optional_param: the section authorize says only",
		},
		{"[authorization_code, client_credentials]", "[client_credentials]", "scopes.optional_param: no person is asked"},
		{"scopes_path: [scopes]", "scopes_path: [a..b]", `identity.scopes_path[0]: path "a..b"`},
		{"{scopes: []}", "{scope: x}", `token.by_kind.client_credentials.scope: unknown key, did you mean "scopes"?`},
		{"{scopes: []}", "{scopes: ['{graph}']}", "token.by_kind.client_credentials.scopes[0]: placeholder {graph} is not declared"},
		{
			"    client_credentials:", "    authorization_code: {scopes: [x]}\n    client_credentials:",
			"token.by_kind.authorization_code.scopes: what a person consents to",
		},
	} {
		changed := strings.Replace(text, c.old, c.new, 1)
		require.NotEqual(t, text, changed, c.old)
		_, err := Decode("scoped.yaml", []byte(changed))
		require.ErrorContains(t, err, c.want)
	}
}
