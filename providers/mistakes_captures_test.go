package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const captured = `id: captured
name: Captured
kinds: [authorization_code]
inputs:
  - {name: company, set_by: connection, pattern: '[0-9]+'}
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
connection_config:
  - name: realm
    pattern: '[0-9]+'
    any_of:
      - {from: callback, path: [realmId]}
      - {from: access_token_claims, path: [realm]}
      - {from: input, path: [company]}
`

func TestMistakesInCaptures(t *testing.T) {
	_, err := Decode("captured.yaml", []byte(captured))
	require.NoError(t, err)
	for _, c := range []struct{ old, new, want string }{
		{
			"from: callback", "from: calback",
			`connection_config[0].any_of[0].from: "calback" is not known here, did you mean "callback"?`,
		},
		{
			"path: [company]", "path: [compny]",
			`connection_config[0].any_of[2].path[0]: "compny" is no input, did you mean "company"?`,
		},
		{", path: [realmId]", "", "connection_config[0].any_of[0]: entry \"realm\": from and path belong together"},
		{"path: [realmId]", "path: [a..b]", `connection_config[0].any_of[0].path[0]: path "a..b"`},
		{"from: access_token_claims", "from: callback", "connection_config[0].any_of[1].from: callback is named twice"},
		{"from: access_token_claims", "from: identity", "it is read from identity, and there is none"},
		{"    pattern: '[0-9]+'\n    any", "    any", "a value from the callback needs a pattern"},
		{"    any_of:", "    from: token\n    any_of:", "any_of stands in the place of from and path"},
		{"name: realm", "name: company", `connection_config[0].name: name "company" is taken by an input`},
		{"any_of", "anyof", `connection_config[0].anyof: unknown key, did you mean "any_of"?`},
	} {
		text := strings.Replace(captured, c.old, c.new, 1)
		require.NotEqual(t, captured, text, c.old)
		_, err := Decode("captured.yaml", []byte(text))
		require.ErrorContains(t, err, c.want)
	}
}

const ofSomeKinds = `id: some
name: Some
kinds: [authorization_code, client_credentials]
inputs:
  - {name: tenant, set_by: provider, default: any, pattern: '[a-z]+'}
endpoints:
  authorize: https://x.example.com/{tenant}/authorize
  token: https://x.example.com/{tenant}/token
  identity: https://x.example.com/me
token:
  by_kind: {client_credentials: {inputs: {tenant: 't[a-z]+'}}}
identity:
  kinds: [authorization_code]
`

func TestMistakesInWhatSomeKindsTake(t *testing.T) {
	_, err := Decode("some.yaml", []byte(ofSomeKinds))
	require.NoError(t, err)
	for _, c := range []struct{ old, new, want string }{
		{
			"  kinds: [authorization_code]", "  kinds: [authorization_code, client_credentials]",
			"some.yaml:13: identity.kinds: these are all that there are: leave it out",
		},
		{
			"  kinds: [authorization_code]", "  kinds: [api_key]",
			`some.yaml:13: identity.kinds[0]: kind "api_key" is not among kinds`,
		},
		{
			"  kinds: [authorization_code]", "  kinds: [client_credentials, client_credentials]",
			`identity.kinds[1]: kind "client_credentials" is named twice`,
		},
		{"  kinds: [authorization_code]", "  kinds: authorization_code", "some.yaml:13: identity.kinds: a list belongs here"},
		{
			"{tenant: 't[a-z]+'}", "{tennant: 't[a-z]+'}",
			`by_kind.client_credentials.inputs.tennant: "tennant" is no input, did you mean "tenant"?`,
		},
		{
			"{tenant: 't[a-z]+'}", "{tenant: 't[a-z+'}",
			`by_kind.client_credentials.inputs.tenant: pattern does not compile`,
		},
		{
			"{client_credentials: {inputs", "{authorization_code: {inputs",
			"token.by_kind.authorization_code.inputs: what a consent takes is the input's own pattern",
		},
	} {
		text := strings.Replace(ofSomeKinds, c.old, c.new, 1)
		require.NotEqual(t, ofSomeKinds, text)
		_, err := Decode("some.yaml", []byte(text))
		require.ErrorContains(t, err, c.want)
	}
}

const capturedOfKey = `id: captured
name: Captured
kinds: [api_key]
inputs:
  - {name: company, set_by: connection, pattern: '[0-9]+'}
endpoints: {identity: 'https://x.example.com/{company}/me'}
key: {fields: [{name: token, secret: true, required: true}]}
send: {headers: {X-Key: '{token}'}, optional_headers: {X-Hub: '{hub}'}}
identity: {}
connection_config:
  - {name: hub, from: identity, path: [hub]}
`

// No key could ever be sent that needs what only the answer to it tells.
func TestMistakesInWhatIsSentWithAKey(t *testing.T) {
	const refused = `connection_config[0]: entry "hub" is known of a key only once one was sent`
	for _, c := range []struct{ old, new, want string }{
		{"", "", ""},
		{"'{token}'}, optional_headers: {X-Hub", "'{token}', X-Hub", refused},
		{"optional_headers: {X-Hub: '{hub}'}", "query: {hub: '{hub}'}", refused},
		{"optional_headers: {X-Hub: '{hub}'}", "basic_user: '{hub}'", refused},
		{
			"optional_headers: {X-Hub: '{hub}'}}\nidentity: {}", "query: {hub: '{hub}'}}\nidentity: {auth: none, headers: {X-Key: '{token}'}}", "",
		},
		{
			"optional_headers: {X-Hub: '{hub}'}}\nidentity: {}\nconnection_config:\n  - {name: hub, from: identity, path: [hub]}",
			"query: {hub: '{hub}'}}\nidentity: {}\nconnection_config:\n  - {name: hub, any_of: [{from: identity, path: [hub]}, " +
				"{from: input, path: [company]}]}", "",
		},
	} {
		text := strings.Replace(capturedOfKey, c.old, c.new, 1)
		_, err := Decode("captured.yaml", []byte(text))
		if c.want == "" {
			require.NoError(t, err, c.new)
			continue
		}
		require.NotEqual(t, capturedOfKey, text, c.old)
		require.ErrorContains(t, err, c.want)
	}
}
