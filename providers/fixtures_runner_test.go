package providers_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const acmeYAML = `
id: acme
name: Acme
kinds: [authorization_code]
inputs:
  - {name: site, set_by: connection, pattern: '[a-z0-9]{2}'}
api_base: https://api.acme.example/{site}
endpoints:
  authorize: https://acme.example/authorize
  token: https://acme.example/token
  resources: https://api.acme.example/sites
  identity: https://api.acme.example/me
  health: https://api.acme.example/{site}/ping
  revoke: https://acme.example/revoke
client: {auth: [basic]}
scopes: {default: [tasks.read]}
refresh: {token: rotating, idle: 90d}
resources: {id: id, name: name, pick: site}
identity: {auth: bearer, headers: {X-Version: '2'}}
health: {}
account: {id: [id], label: [name], email: [email]}
connection_config:
  - {name: org, from: callback, path: [org], pattern: '[0-9]+', required: true}
  - {name: site_url, from: resources, path: [url]}
failures:
  - {step: [refresh], path: error, is: [gone], class: rejected}
revoke: {reach: grant}
`

const acmeFixture = `Acme, made up.
-- given --
client: {id: client-1, secret: secret-1}
redirect_uri: https://vault.example/callback
pick: s2
-- authorize --
https://acme.example/authorize
response_type=code
client_id=client-1
redirect_uri=https://vault.example/callback
state={state}
code_challenge={code_challenge}
code_challenge_method=S256
scope=tasks.read
-- callback --
code=code-1
state={state}
org=12
-- token.request --
POST https://acme.example/token
Authorization: Basic client-1:secret-1
Content-Type: application/x-www-form-urlencoded

grant_type=authorization_code
code=code-1
redirect_uri=https://vault.example/callback
code_verifier={code_verifier}
-- token.response --
# made up
HTTP 200

{"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 60, "scope": "tasks.read"}
-- refresh.request --
POST https://acme.example/token
Authorization: Basic client-1:secret-1
Content-Type: application/x-www-form-urlencoded

grant_type=refresh_token
refresh_token=refresh-1
-- refresh.response --
HTTP 200

{"access_token": "access-2", "refresh_token": "refresh-2", "expires_in": 60}
-- resources.request --
GET https://api.acme.example/sites
Authorization: Bearer access-1
-- resources.response --
HTTP 200

[{"id": "s1", "name": "One", "url": "https://one.example"}, {"id": "s2", "name": "Two", "url": "https://two.example"}]
-- identity.request --
GET https://api.acme.example/me
Authorization: Bearer access-1
X-Version: 2
-- identity.response --
HTTP 200

{"id": 7, "name": "Ada", "email": "ada@example.com"}
-- health.request --
GET https://api.acme.example/s2/ping
Authorization: Bearer access-1
-- health.response --
HTTP 204
-- health.wrong --
HTTP 401
-- revoke.request --
POST https://acme.example/revoke
Authorization: Basic client-1:secret-1
Content-Type: application/x-www-form-urlencoded

token=refresh-1
token_type_hint=refresh_token
-- revoke.response --
HTTP 200
-- choices --
- {id: s1, name: One}
- {id: s2, name: Two}
-- grant --
access_token: access-1
refresh_token: refresh-1
expires_in: 60
scopes: [tasks.read]
account: {id: 7, label: Ada, email: ada@example.com}
connection_config: {org: 12, site_url: https://two.example}
-- refreshed --
access_token: access-2
refresh_token: refresh-2
expires_in: 60
-- terms --
can_refresh: true
may_rotate: true
idle: 90d
-- failures --
- {step: refresh, status: 400, body: '{"error": "gone"}', class: rejected}
- {step: health, status: 403, body: '', class: forbidden}
-- accept --
inputs: {site: [s1]}
callback: {org: ['1']}
-- refuse --
inputs: {site: [s1/x, '']}
callback: {org: [x, '']}
-- use --
https://api.acme.example/s2
Authorization: Bearer access-1
`

const keyedYAML = `
id: keyed
name: Keyed
kinds: [api_key]
endpoints: {health: 'https://api.keyed.example/me'}
key:
  fields: [{name: api_key, required: true, secret: true, pattern: 'k-[0-9]+', shape: sure}]
send: {query: {key: '{api_key}'}}
health: {ok: {path: ok}}
`

const keyedFixture = `Keyed, made up.
-- given --
key: {api_key: k-1}
-- health.request --
GET https://api.keyed.example/me
?key=k-1
-- health.response --
HTTP 200

{"ok": true}
-- health.wrong --
HTTP 401
-- refuse --
key: {api_key: [x]}
-- use --
?key=k-1
`

func playText(t *testing.T, name, fixture, definition string) []string {
	t.Helper()
	f, err := providertest.ReadFixture(fstest.MapFS{name + ".txtar": {Data: []byte(fixture)}}, name)
	require.NoError(t, err)
	def, err := providers.Decode(f.ID+".yaml", []byte(definition))
	require.NoError(t, err)
	found := f.Play(def)
	assert.Equal(t, len(found) > 0, f.Differs(def))
	return found
}

// The runner finds nothing where fixture and definition agree, and says which section differs where they do not.
func TestFixtureRunner(t *testing.T) {
	const acme, keyed = "acme/authorization_code", "keyed/api_key"
	assert.Empty(t, playText(t, acme, acmeFixture, acmeYAML))
	assert.Empty(t, playText(t, keyed, keyedFixture, keyedYAML))
	for _, row := range []struct{ former, instead, finds string }{ // in the definition
		{"acme.example/authorize", "acme.example/begin", `authorize: URL`},
		{"tasks.read", "tasks.write", `authorize: parameter: scope: the fixture has "tasks.read", sent is "tasks.write"`},
		{"auth: [basic]", "auth: [post]", `token.request: body: client_id="client-1" is sent, and not in the fixture`},
		{"acme.example/token", "acme.example/other", `token.request: URL`},
		{"id: id, name", "id: url, name", `choices: `},
		{"X-Version: '2'", "X-Version: '3'", `identity.request: header: X-Version: the fixture has "2", sent is "3"`},
		{"label: [name]", "label: [id]", `grant: account.label: the fixture has "Ada"`},
		{"path: [url]", "path: [name]", `grant: connection_config: site_url`},
		{"{site}/ping", "{site}/pong", `health.request: URL`},
		{"health: {}", "health: {ok: {status: [200]}}", `health.response: a credential that works is taken for bad`},
		{"token: rotating", "token: none", `refresh.request: the definition does not refresh this grant`},
		{"token: rotating", "token: reusable", `terms: may_rotate: the fixture says true, the definition false`},
		{"idle: 90d", "idle: 91d", `terms: idle`},
		{"is: [gone]", "is: [lost]", `failures[0] (refresh 400 {"error": "gone"}): the fixture says rejected`},
		{"revoke: {reach", "revoke: {token: access_token, reach", `revoke.request: body: token: the fixture has "refresh-1"`},
		{"[a-z0-9]{2}", "[a-z0-9/]{2,4}", `refuse: inputs.site: "s1/x" is accepted`},
		{"pattern: '[0-9]+'", "pattern: '[0-9x]+'", `refuse: callback.org: "x" is accepted`},
		{"api.acme.example/{site}\n", "api.acme.example/v1/{site}\n", `use: address`},
	} {
		changed := strings.Replace(acmeYAML, row.former, row.instead, 1)
		require.NotEqual(t, acmeYAML, changed, row.former)
		assert.Contains(t, strings.Join(playText(t, acme, acmeFixture, changed), "\n"), row.finds, row.instead)
	}
	for _, row := range []struct{ former, instead, finds string }{ // in the fixture
		{"# made up\nHTTP 200\n\n{\"access_token\": \"access-1\"", "HTTP 200\n\n{\"access_token\": \"access-9\"",
			`identity.request: header: Authorization`},
		{"-- revoke.response --\nHTTP 200", "-- revoke.response --\nHTTP 500", `revoke.response: revoke call failed`},
		{"-- health.wrong --\nHTTP 401", "-- health.wrong --\nHTTP 200", `health.wrong: the credential is taken for good`},
		{"pick: s2", "pick: s9", `given: pick: "s9" is not among what the definition finds`},
		{`"refresh_token": "refresh-2", `, "", `refreshed: refresh_token: the fixture has "refresh-2"`},
	} {
		changed := strings.Replace(acmeFixture, row.former, row.instead, 1)
		require.NotEqual(t, acmeFixture, changed, row.former)
		assert.Contains(t, strings.Join(playText(t, acme, changed, acmeYAML), "\n"), row.finds, row.instead)
	}
	for former, finds := range map[string]string{
		"secret: true, ":  `given: key: none of its fields is a secret`,
		"required: true,": `given: key: the definition takes a key without any field`,
		"shape: sure":     "",
	} {
		changed := strings.Replace(keyedYAML, former, map[bool]string{true: "shape: likely"}[finds == ""], 1)
		assert.Contains(t, strings.Join(playText(t, keyed, keyedFixture, changed), "\n"), finds, former)
	}
}

// A fixture that is written wrongly is refused with its file and section.
func TestFixtureMistakes(t *testing.T) {
	for text, says := range map[string]string{
		"-- gvien --\n":                                             "acme/api_key.txtar: gvien: there is no such section",
		"-- use --\nx: y\n-- use --\nx: y\n":                        "acme/api_key.txtar: use: the section stands here twice",
		"-- given --\nkeys: {}\n":                                   "acme/api_key.txtar: given: ",
		"-- health.request --\nGET https://x.example\n":             "health: a request and a response belong together",
		"-- health.wrong --\n401\n":                                 "health.wrong: it begins with HTTP and a status",
		"-- failures --\n- {step: x, status: 1}\n":                  `failures: row 1: step "x"`,
		"-- callback --\ncode\n":                                    `callback: "code" is no name=value`,
		"-- parent --\nacme/basic\n":                                "acme/api_key.txtar: parent: ",
		"-- health.request --\nget https://x.example\n":             "health.request: it begins with METHOD URL",
		"-- failures --\n- {step: api, status: 400, class: dead}\n": `failures: row 1: class "dead"`,
	} {
		_, err := providertest.ReadFixture(fstest.MapFS{"acme/api_key.txtar": {Data: []byte(text)}}, "acme/api_key")
		assert.ErrorContains(t, err, says, text)
	}
}
