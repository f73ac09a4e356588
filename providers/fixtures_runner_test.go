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
accumulates: false
on_demand: false
-- people --
companions: {}
-- failures --
- {step: refresh, status: 400, body: '{"error": "gone"}', class: rejected, code: gone}
- {step: health, status: 403, body: '', class: forbidden}
-- otherwise --
- {inputs: {site: s1}, base: 'https://api.acme.example/s1'}
- {scopes: [a, b], authorize: {scope: a b, login_hint: ''}}
- {answer: token, without: [expires_in], grant: {expires_in: never}}
- {answer: identity, without: [id], fails: true}
- {answer: identity, with: {name: Eve}, without: [email], grant: {account: {label: Eve}}}
- {answer: refresh, without: [refresh_token], grant: {refresh_token: refresh-1}}
- {inputs: {site: s1/}, fails: true}
- {answer: identity, imported: true, with: {name: Zoe}, grant: {account: {label: Zoe}}}
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

const issuerYAML = `
id: issuer
name: Issuer
kinds: [authorization_code]
discovery: {issuer: 'https://id.acme.example'}
client: {auth: [post]}
authorize: {login_hint: login_hint}
scopes: {default: [openid], implies: {all: [some]}}
refresh: {token: none}
account: {id: ['id_token:sub']}
companions: [{name: signing, on: provider, pattern: '[a-f]+'}]
`

const issuerFixture = `Issuer, made up.
-- given --
client: {id: client-1, secret: secret-1}
redirect_uri: https://vault.example/callback
login_hint: ada
-- discovery.request --
GET https://id.acme.example/.well-known/openid-configuration
-- discovery.response --
HTTP 200

{"issuer": "https://id.acme.example", "authorization_endpoint": "https://id.acme.example/a",
 "token_endpoint": "https://id.acme.example/t", "jwks_uri": "https://id.acme.example/k",
 "id_token_signing_alg_values_supported": ["ES256"]}
-- authorize --
https://id.acme.example/a
response_type=code
client_id=client-1
redirect_uri=https://vault.example/callback
state={state}
nonce={nonce}
code_challenge={code_challenge}
code_challenge_method=S256
scope=openid
login_hint=ada
-- callback --
code=code-1
state={state}
-- jwks.request --
GET https://id.acme.example/k
-- jwks.response --
HTTP 200

{jwks}
-- token.request --
POST https://id.acme.example/t
Content-Type: application/x-www-form-urlencoded

grant_type=authorization_code
code=code-1
redirect_uri=https://vault.example/callback
client_id=client-1
client_secret=secret-1
code_verifier={code_verifier}
-- token.response --
HTTP 200

{"access_token": "access-1", "id_token": "{id_token}"}
-- id_token --
{"iss": "https://id.acme.example", "sub": "ada-1", "aud": "client-1", "nonce": "{nonce}", "exp": 4102444800, "iat": 1}
-- grant --
access_token: access-1
expires_in: never
scopes: [openid]
account: {id: ada-1}
-- scopes --
- {granted: [all], covers: [some], lacks: [other]}
-- accept --
companions: {signing: [abc]}
-- refuse --
companions: {signing: [x]}
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
	assert.Empty(t, playText(t, "issuer/authorization_code", issuerFixture, issuerYAML))
	for former, row := range map[string][2]string{
		"[some]":   {"[other]", "scopes: row 1: [all] do not cover [some]\nscopes: row 1: [all] cover other"},
		"'[a-f]+'": {"'[x]+'", `accept: companions.signing: "abc" is refused`},
	} {
		changed := strings.Replace(issuerYAML, former, row[0], 1)
		assert.Contains(t, strings.Join(playText(t, "issuer/authorization_code", issuerFixture, changed), "\n"), row[1])
	}
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
		{"health: {}", "health: {method: POST}", `health.request: method: the fixture has "GET", sent is "POST"`},
		{"health: {}", "health: {ok: {status: [200]}}", `health.response: a credential that works is taken for bad`},
		{"token: rotating", "token: none", `refresh.request: the definition does not refresh this grant`},
		{"token: rotating", "token: reusable", `terms: may_rotate: the fixture says true, the definition false`},
		{"idle: 90d", "idle: 91d", `terms: idle`},
		{"idle: 90d", "idle: 90d, on_demand: true", `terms: on_demand: the fixture says false`},
		{
			"{default: [tasks.read]}", "{default: [tasks.read], accumulates: true}",
			`terms: accumulates: the fixture says false`,
		},
		{
			"failures:", "companions: [{name: sign, on: provider}]\nfailures:",
			`people: companions: sign="provider" the fixture does not`,
		},
		{"is: [gone]", "match: gone", `code: the fixture has "gone", the definition makes it ""`},
		{"is: [gone]", "is: [lost]", `failures[0] (refresh 400 {"error": "gone"}): the fixture says rejected`},
		{
			"revoke: {reach", "revoke: {token: access_token, reach", `revoke.request: body: token: the fixture has "refresh-1"`,
		},
		{"[a-z0-9]{2}", "[a-z0-9/]{2,4}", `refuse: inputs.site: "s1/x" is accepted`},
		{"pattern: '[0-9]+'", "pattern: '[0-9x]+'", `refuse: callback.org: "x" is accepted`},
		{"api.acme.example/{site}\n", "api.acme.example/v1/{site}\n", `use: address`},
		{"api.acme.example/{site}\n", "api.acme.example/{site}x\n", `otherwise[0]: base: address: the fixture has`},
		{"scopes: {", "scopes: {join: ',', ", `otherwise[1]: authorize: scope: the fixture has "a b"`},
		{"auth: [basic]}", "auth: [basic]}\nlifetime: {when_absent: 1h}", `otherwise[2]: grant: expires_in`},
		{"id: [id], ", "", `otherwise[3]: identity.response: it is taken`},
		{"pattern: '[a-z0-9]{2}'", "pattern: '[a-z0-9/]{2,3}'", `otherwise[6]: inputs: they are taken`},
		{"label: [name]", "label: [email]", `otherwise[4]: grant: account.label`},
	} {
		changed := strings.Replace(acmeYAML, row.former, row.instead, 1)
		require.NotEqual(t, acmeYAML, changed, row.former)
		assert.Contains(t, strings.Join(playText(t, acme, acmeFixture, changed), "\n"), row.finds, row.instead)
	}
	for _, row := range []struct{ former, instead, finds string }{ // in the fixture
		{
			"# made up\nHTTP 200\n\n{\"access_token\": \"access-1\"", "HTTP 200\n\n{\"access_token\": \"access-9\"",
			`identity.request: header: Authorization`,
		},
		{"-- revoke.response --\nHTTP 200", "-- revoke.response --\nHTTP 500", `revoke.response: revoke call failed`},
		{"-- health.wrong --\nHTTP 401", "-- health.wrong --\nHTTP 200", `health.wrong: the credential is taken for good`},
		{"idle: 90d", "idle: 90 days", `terms: idle: "90 days" is no length`},
		{"pick: s2", "pick: s9", `given: pick: "s9" is not among what the definition finds`},
		{`"refresh_token": "refresh-2", `, "", `refreshed: refresh_token: the fixture has "refresh-2"`},
		{"without: [id], fails: true", "without: [id]", `otherwise[3]: identity.response: identity call`},
		{"without: [email]", "without: [mail]", `otherwise[4]: without: the answer has no mail`},
		{"{label: Zoe}", "{label: Ada}", `otherwise[7]: grant: account.label: the fixture has "Ada"`},
		{"{answer: token, without", "{answer: id_token, without", `otherwise[2]: answer: the fixture has no id_token`},
		{"-- terms --", "scopes: [other]\n-- terms --", `refreshed: scopes: the fixture has [other]`},
		{"-- terms --", "-- checked --\nscopes: [other]\n-- terms --", `checked: scopes: the fixture has [other]`},
	} {
		changed := strings.Replace(acmeFixture, row.former, row.instead, 1)
		require.NotEqual(t, acmeFixture, changed, row.former)
		assert.Contains(t, strings.Join(playText(t, acme, changed, acmeYAML), "\n"), row.finds, row.instead)
	}
	for former, finds := range map[string]string{
		"secret: true, ":  `given: key: none of its fields is a secret`,
		"required: true,": `given: key: the definition takes a key without any field`,
	} {
		changed := strings.Replace(keyedYAML, former, "", 1)
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

// A child has what its parent has, but for the sections of its own and those that it empties.
func TestFixtureParent(t *testing.T) {
	files := fstest.MapFS{
		"acme/authorization_code.txtar": {Data: []byte(acmeFixture)},
		"other/authorization_code.txtar": {Data: []byte("-- parent --\nacme/authorization_code\n-- choices --\n" +
			"-- use --\nhttps://api.acme.example/other\nAuthorization: Bearer access-1\n")},
	}
	def, err := providers.Decode("acme.yaml", []byte(acmeYAML))
	require.NoError(t, err)
	f, err := providertest.ReadFixture(files, "other/authorization_code")
	require.NoError(t, err)
	assert.Equal(t, []string{`use: address: the fixture has "https://api.acme.example/other", the definition makes it ` +
		`"https://api.acme.example/s2"`}, f.Play(def))
}

// A further case of a kind takes over what its first fixture says, the parent's part with it, and no more than that.
func TestFixtureCase(t *testing.T) {
	files := fstest.MapFS{
		"acme/authorization_code.txtar":       {Data: []byte(acmeFixture)},
		"other/authorization_code.txtar":      {Data: []byte("-- parent --\nacme/authorization_code\n")},
		"other/authorization_code.case.txtar": {Data: []byte("-- parent --\nother/authorization_code\n")},
		"other/authorization_code.deep.txtar": {Data: []byte("-- parent --\nother/authorization_code.case\n")},
	}
	def, err := providers.Decode("acme.yaml", []byte(acmeYAML))
	require.NoError(t, err)
	f, err := providertest.ReadFixture(files, "other/authorization_code.case")
	require.NoError(t, err)
	assert.Equal(t, providers.KindAuthorizationCode, f.Kind)
	assert.Empty(t, f.Play(def))
	_, err = providertest.ReadFixture(files, "other/authorization_code.deep")
	assert.ErrorContains(t, err, "a parent's parent has none itself")
}

// Every value of a definition is changed in some way, and the file written anew is the same.
func TestMutator(t *testing.T) {
	all := mutantsOf(t, []byte(keyedYAML))
	def, err := providers.Decode("keyed.yaml", []byte(keyedYAML))
	require.NoError(t, err)
	same, err := providers.Decode("keyed.yaml", all[0].text)
	require.NoError(t, err)
	assert.Equal(t, def, same)
	changes := map[string]bool{}
	for _, m := range all[1:] {
		changes[m.path+": "+m.change] = true
		assert.NotEqual(t, string(all[0].text), string(m.text), "%s: %s", m.path, m.change)
	}
	for _, change := range []string{
		"name: text", "kinds[0]: delete", "endpoints.health: host", "endpoints.health: delete",
		"key.fields[0].required: false", "key.fields[0].shape: sure > likely", "key.fields[0]: delete",
		"send.query.key: text", "health.ok: delete", "health.ok.path: text",
	} {
		assert.True(t, changes[change], change)
	}
	assert.Equal(t, string(all[0].text), string(mutantsOf(t, []byte(keyedYAML))[0].text))
}

const signedYAML = `
id: signed
name: Signed
kinds: [jwt_bearer]
endpoints:
  token: https://signed.example/token
  revoke: https://signed.example/revoke
key:
  fields:
    - {name: pem, required: true, secret: true, multiline: true}
    - {name: login, required: true}
assertion:
  alg: RS256
  key: pem
  header: {kid: '{login}'}
  claims: {iss: '{login}', fp: 'SHA256:{key_fingerprint}'}
  ttl: 10m
  skew: 60s
  jti: true
  nbf: true
token: {by_kind: {jwt_bearer: {auth: none}}}
revoke: {auth: none, params: {token: '{access_token}'}}
account: {id: ['assertion:iss']}
failures:
  - {step: [token], path: error, is: [gone], class: rejected, reason: gone_for_good}
`

const signedFixture = `Signed, made up.
-- given --
key: {pem: "{rsa_private_key}", login: ada}
secrets: [pem]
-- assertion --
{"header": {"alg": "RS256", "typ": "JWT", "kid": "ada"},
 "claims": {"iss": "ada", "fp": "SHA256:{rsa_key_fingerprint}", "jti": "*", "iat": -60, "nbf": -60, "exp": 600}}
-- token.request --
POST https://signed.example/token
Content-Type: application/x-www-form-urlencoded

grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer
assertion={assertion}
-- token.response --
HTTP 200

{"access_token": "access-1", "expires_in": 60}
-- revoke.request --
POST https://signed.example/revoke
Content-Type: application/x-www-form-urlencoded

token=access-1
-- revoke.response --
HTTP 200
-- grant --
access_token: access-1
expires_in: 60
account: {id: ada}
-- failures --
- {step: token, status: 400, body: '{"error": "gone"}', class: rejected, reason: gone_for_good}
- {step: refresh, status: 400, body: '{"error": "gone"}', class: rejected}
-- refuse --
key: {pem: ["{ec_private_key}", ''], login: ['']}
-- use --
Authorization: Bearer access-1
`

// What is signed is compared claim by claim, and what is signed with another key is told.
func TestFixtureRunnerOfAssertions(t *testing.T) {
	const signed = "signed/jwt_bearer"
	assert.Empty(t, playText(t, signed, signedFixture, signedYAML))
	for _, row := range []struct{ former, instead, finds string }{ // in the definition
		{
			"alg: RS256", "alg: PS256",
			`token.request: assertion header alg: the fixture has RS256, the definition makes it PS256`,
		},
		{"kid: '{login}'", "kid: x", `token.request: assertion header kid: the fixture has ada`},
		{"iss: '{login}'", "iss: x", `token.request: assertion claim iss: the fixture has ada, the definition makes it x`},
		{"SHA256:{key_fingerprint}", "{key_fingerprint}", `token.request: assertion claim fp`},
		{"jti: true", "jti: false", `token.request: assertion claim jti: the fixture has *, the definition makes it <nil>`},
		{"nbf: true", "nbf: false", `token.request: assertion claim nbf: the fixture has -60`},
		{"ttl: 10m", "ttl: 11m", `token.request: assertion claim exp: the fixture has 600, the definition makes it 660`},
		{"skew: 60s", "skew: 61s", `token.request: assertion claim iat: the fixture has -60, the definition makes it -61`},
		{"{auth: none}}}", "{auth: assertion}}}", `token.request: header: Authorization="Bearer assertion-1" is sent`},
		{"{auth: none}}}", "{auth: none, grant_type: x}}}", `token.request: body: grant_type`},
		{"reason: gone_for_good", "reason: lost", `reason: the fixture has "gone_for_good", the definition makes it "lost"`},
		{"id: ['assertion:iss']", "id: ['assertion:fp']", `grant: account.id: the fixture has "ada"`},
		{"name: pem, required: true", "name: pem", `given: key: the definition takes a key without any field`},
	} {
		changed := strings.Replace(signedYAML, row.former, row.instead, 1)
		require.NotEqual(t, signedYAML, changed, row.former)
		if strings.HasPrefix(row.finds, "given") {
			changed = strings.Replace(changed, "name: login, required: true", "name: login", 1)
		}
		assert.Contains(t, strings.Join(playText(t, signed, signedFixture, changed), "\n"), row.finds, row.instead)
	}
	for _, row := range []struct{ former, instead, finds string }{ // in the fixture
		{`"fp": "SHA256:{rsa_key_fingerprint}", `, "", `token.request: assertion claim fp: the fixture has <nil>`},
		{"{rsa_key_fingerprint}", "{ec_key_fingerprint}", `token.request: assertion claim fp`},
		{
			"assertion={assertion}", "assertion=x",
			`token.request: body: assertion: the fixture has "x", sent is "assertion-1"`,
		},
		{"token=access-1", "token=access-2", `revoke.request: body: token: the fixture has "access-2"`},
		{`pem: ["{ec_private_key}", '']`, `pem: ["{rsa_private_key}"]`, `refuse: key.pem: "-----BEGIN`},
		{
			`"access_token": "access-1"`, `"error": "gone"`,
			`token.response: token call failed: gone_for_good (gone) (class rejected)`,
		},
	} {
		changed := strings.Replace(signedFixture, row.former, row.instead, 1)
		require.NotEqual(t, signedFixture, changed, row.former)
		assert.Contains(t, strings.Join(playText(t, signed, changed, signedYAML), "\n"), row.finds, row.instead)
	}
}

const brokerFileYAML = `
id: broker
name: Broker
kinds: [brokered]
inputs:
  - {name: account, set_by: either, required: true, pattern: 'a-[0-9]+'}
endpoints:
  install: https://broker.example/let-in
  token: https://broker.example/token
  upgrade: https://broker.example/accounts/{account}
  reaches: https://broker.example/accounts
client: {auth: [post]}
install: {kinds: [brokered], params: {app: '{client_id}'}}
reaches: {auth: client_basic, id: id, name: name, input: account}
token: {by_kind: {brokered: {scopes: [read]}}}
upgrade: {method: GET, auth: bearer, answer: {access_token: [token]}}
account: {id: ['upgrade:id']}
check: none
`

const brokerFixture = `Broker, made up.
-- given --
client: {id: client-1, secret: secret-1}
inputs: {account: a-7}
-- install --
https://broker.example/let-in
app=client-1
state={state}
-- reaches.request --
GET https://broker.example/accounts
Authorization: Basic client-1:secret-1
-- reaches.response --
HTTP 200

[{"id": "a-7", "name": "Seven"}, {"id": "x"}]
-- reached --
- {id: a-7, name: Seven}
-- token.request --
POST https://broker.example/token
Content-Type: application/x-www-form-urlencoded

grant_type=client_credentials
client_id=client-1
client_secret=secret-1
scope=read
-- token.response --
HTTP 200

{"access_token": "of-the-app", "expires_in": 60}
-- upgrade.request --
GET https://broker.example/accounts/a-7
Authorization: Bearer of-the-app
-- upgrade.response --
HTTP 200

{"id": "a-7", "token": "of-the-account"}
-- grant --
access_token: of-the-account
expires_in: never
account: {id: a-7}
-- failures --
- {step: reaches, status: 503, body: '', class: transient}
- {step: upgrade, status: 503, body: '', class: transient}
-- otherwise --
- {answer: upgrade, with: {id: a-8}, grant: {account: {id: a-8}}}
`

// What goes before an app's own tokens, and the second call, are compared too.
func TestFixtureRunnerOfBrokers(t *testing.T) {
	const broker = "broker/brokered"
	assert.Empty(t, playText(t, broker, brokerFixture, brokerFileYAML))
	for _, row := range []struct{ former, instead, finds string }{ // in the definition
		{"example/let-in", "example/let", `install: address`},
		{"{app: '{client_id}'}", "{application: '{client_id}'}", `install: parameter: app="client-1" is not sent`},
		{"auth: client_basic", "auth: bearer_client_secret", `reaches.request: header: Authorization`},
		{"id: id, name: name", "id: id, name: id", `reached: the fixture has`},
		{"scopes: [read]", "scopes: [write]", `token.request: body: scope: the fixture has "read"`},
		{"method: GET, ", "", `upgrade.request: method: the fixture has "GET"`},
		{
			"auth: bearer, answer", "auth: none, answer",
			`upgrade.request: header: Authorization="Bearer of-the-app" is not sent`,
		},
		{"upgrade:id", "upgrade:token", `grant: account.id: the fixture has "a-7"`},
	} {
		changed := strings.Replace(brokerFileYAML, row.former, row.instead, 1)
		require.NotEqual(t, brokerFileYAML, changed, row.former)
		assert.Contains(t, strings.Join(playText(t, broker, brokerFixture, changed), "\n"), row.finds, row.instead)
	}
	without := strings.Replace(brokerFileYAML, "install: {kinds: [brokered], params: {app: '{client_id}'}}\n", "", 1)
	without = strings.Replace(without, "  install: https://broker.example/let-in\n", "", 1)
	assert.Contains(t, strings.Join(playText(t, broker, brokerFixture, without), "\n"),
		"install: the definition has no consent")
	for _, section := range []string{"install", "reaches.request"} {
		begin := "-- " + section + " --\n"
		_, rest, found := strings.Cut(brokerFixture, begin)
		require.True(t, found)
		end := strings.Index(rest, "\n-- ") + 1
		if section == "reaches.request" { // with its answer
			end += strings.Index(rest[end+3:], "\n-- ") + 4
		}
		changed := strings.Replace(brokerFixture, begin+rest[:end], "", 1)
		assert.Contains(t, strings.Join(playText(t, broker, changed, brokerFileYAML), "\n"),
			section+": the section is missing")
	}
}
