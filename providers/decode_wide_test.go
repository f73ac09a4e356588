package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wide uses the sections that few services need, all of them at once.
const wide = `id: wide
name: Wide
kinds: [authorization_code, client_credentials, login, key_pair]
inputs:
  - {name: shop, set_by: connection, required: true, strip: .shop.example, pattern: '[a-z0-9-]+'}
  - {name: area, set_by: connection, pattern: '[a-z]+'}
  - {name: site, set_by: connection, pattern: '[a-z]+'}
endpoints:
  authorize: https://{shop}.shop.example/authorize
  token: https://{shop}.shop.example/token
  machine: https://{shop}.shop.example/machine
  upgrade: https://shop.example.com/upgrade
  refresh: https://shop.example.com/refresh
  resources: https://shop.example.com/sites
  health: https://{dc}.api.shop.example/ping
  revoke: https://shop.example.com/apps/{client_id}
client: {auth: [basic], body: json, rename: {client_id: client_key}}
scopes: {param: '', join: ',', returned: list, default: [read], allowed: [read, write]}
authorize: {pkce: off, only: true, params: {client_key: '{client_id}', state: '{state}'}, optional_params: {site: '{area}'}}
callback: {code: auth_code, trim: '#_', decode: url, signed: hmac_query, match: {shop: '{shop}.shop.example'}}
token:
  ok: {status: [200, 201], path: code, equals: '0', absent: error, present: data}
  answer: {access_token: ['data[0].token', $], expires_at: [data.until], hard_expires_in: [data.hard]}
  by_kind:
    client_credentials: {endpoint: machine, lifetime: {when_absent: 24h}}
upgrade: {method: GET, auth: none, params: {secret: '{client_secret}'}}
refresh:
  call: {method: GET, auth: bearer, per_minute: 8}
  token: self
  min_age: 24h
  hard: never
lifetime: {when_zero: never}
resources: {method: GET, list: values, where: {url: 'https://{area}.shop.example'}, id: id, name: title, pick: site}
api_base: 'https://{shop}.shop.example/{account}'
health: {method: POST, body: raw, raw_body: '{"query": "{ viewer { id } }", "key": "{private_key}"}', ok: {absent: errors}}
account: {id: ['callback:user'], label: ['token:first', 'token:last'], join_label: true}
connection_config:
  - {name: dc, from: token, path: [dc], pattern: '[a-z]{2}[0-9]+'}
  - {name: shop, from: input, path: [shop]}
key:
  fields:
    - {name: account, derive: {region: '([a-z]+)-.*'}}
    - {name: private_key, set_by: provider, required: true, secret: true, multiline: true, pattern: '(?s)-----BEGIN .*', shape: sure}
    - {name: signing_key, secret: true, handed_out: true}
send: {headers: {X-Token: '{access_token}'}, query: {region: '{region}'}}
failures:
  - {step: [token, refresh, key], status: [403], path: error.code, not: ['0'], match: '\d+', class: rejected, reason: gone}
revoke: {method: DELETE, auth: client_basic, token: both, reach: account, ok: {status: [204]}}
`

func TestDecodeReadsRareSections(t *testing.T) {
	d, err := Decode("wide.yaml", []byte(wide))
	require.NoError(t, err)
	assert.Equal(t, Step("machine"), d.Token.ByKind[KindClientCredentials].Endpoint)
	assert.Equal(t, "0", *d.Token.OK.Equals)
	assert.Empty(t, *d.Scopes.Param)
	assert.True(t, d.Refresh.Hard.Never)
	assert.Equal(t, "GET", d.Upgrade.Method)
	assert.Equal(t, 8, d.Refresh.Call.PerMinute)
	assert.Equal(t, Template(`{"query": "{ viewer { id } }", "key": "{private_key}"}`), d.Health.Raw)
}

func TestDecodeChecksRareSections(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"upgrade goes nowhere": {
			"  upgrade: https://shop.example.com/upgrade\n", "", "upgrade: the section upgrade needs endpoints.upgrade",
		},
		"resources go nowhere": {
			"  resources: https://shop.example.com/sites\n", "", "resources: the section resources needs endpoints.resources",
		},
		"revoke goes nowhere": {
			"  revoke: https://shop.example.com/apps/{client_id}\n", "", "revoke: the section revoke needs endpoints.revoke",
		},
		"by_kind goes nowhere": {
			"  machine: https://{shop}.shop.example/machine\n", "",
			"token.by_kind.client_credentials.endpoint: endpoints.machine is missing",
		},
		"by_kind of no kind": {
			"client_credentials: {", "basic: {", `token.by_kind.basic: kind "basic" is not among kinds`,
		},
		"self without a call": {
			"  call: {method: GET, auth: bearer, per_minute: 8}\n", "",
			"refresh.token: a token that renews itself needs refresh.call",
		},
		"limit below nothing": {
			"per_minute: 8", "per_minute: -1",
			"refresh.call.per_minute: a limit is not negative",
		},
		"limit is no number": {
			"per_minute: 8", "per_minute: few", "wide.yaml:28: refresh.call.per_minute: a whole number belongs here, not text",
		},
		"form_post where nothing is sent": {
			"{pkce: off, only: true,", "{pkce: off, only: true, form_post: true,",
			"authorize.form_post: nothing but params is sent here",
		},
		"truth is no text": {
			"only: true", "only: often", "wide.yaml:19: authorize.only: true or false belongs here, not text",
		},
		"default beyond the list": {
			"default: [read]", "default: [fly]", `scopes.default[0]: "fly" is not known here, write one of: read, write`,
		},
		"rename to nothing": {
			"client_id: client_key}", "client_id: ''}", "client.rename.client_id: the service's own name",
		},
		"login with nothing": {
			", handed_out: true", "", `kinds[2]: kind "login" needs the section key, with a field that is`,
		},
		"equals without path": {"path: code, equals", "equals", "token.ok.equals: equals looks at path"},
		"answer path":         {"data.until", "data..until", `token.answer.expires_at[0]: path "data..until"`},
		"where path":          {"where: {url:", "where: {'u]':", `resources.where[0]: path "u]"`},
		"where placeholder": {
			"https://{area}.shop", "https://{page}.shop", "resources.where.url: placeholder {page} is not declared",
		},
		"optional parameter": {
			"site: '{area}'}}", "site: '{private_key}'}}", "authorize.optional_params.site: {private_key} is secret",
		},
		"capture shadows a derived": {
			"{name: dc, from", "{name: region, from", `connection_config[0].name: name "region" is taken by a value derived`,
		},
		"capture without a source":   {"from: token, ", "", `connection_config[0]: entry "dc": from is missing`},
		"capture without a path":     {", path: [dc]", "", `connection_config[0]: entry "dc": path is missing`},
		"reach of nobody knows what": {"reach: account", "reach: moon", `revoke.reach: "moon" is not known here`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, 1, strings.Count(wide, test.old), "the text to break must stand in the file once")
			_, err := Decode("wide.yaml", []byte(strings.Replace(wide, test.old, test.new, 1)))
			require.ErrorContains(t, err, test.want)
		})
	}
}
