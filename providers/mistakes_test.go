package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The mistakes that people make when they write a definition. Each message says where, and what was meant.
func TestMistakes(t *testing.T) {
	const head = "id: x\nname: X\n"
	for _, test := range []struct{ name, text, want string }{
		{
			"unknown key", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorise: {}
`,
			`x.yaml:7: authorise: unknown key, did you mean "authorize"?`,
		},
		{
			"a lifetime that nobody can be asked for", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token'}
lifetime: {from: introspect}
`,
			`x.yaml:5: lifetime.from: from: introspect needs endpoints.introspect`,
		},
		{
			"an endpoint that is asked nothing", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token', introspect: 'https://x.example.com/i'}
`,
			`x.yaml:4: endpoints.introspect: nothing calls it: say lifetime: {from: introspect}, or drop the endpoint`,
		},
		{
			"a lifetime that is asked for and assumed", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token', introspect: 'https://x.example.com/i'}
lifetime: {from: introspect, when_absent: 1h}
`,
			`x.yaml:5: lifetime.when_absent: the introspection endpoint tells it: drop when_absent, or from`,
		},
		{
			"a lifetime that is asked for twice", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token', introspect: 'https://x.example.com/i'}
lifetime: {from: introspect}
token: {lifetime: {from: introspect}}
`,
			`x.yaml:6: token.lifetime.from: where a lifetime comes from is told once, in the section lifetime`,
		},
		{
			"a word for a lifetime that nobody knows", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token'}
lifetime: {from: jwt}
`,
			`x.yaml:5: lifetime.from: "jwt" is not known here, write one of: introspect`,
		},
		{
			"a check of a definition that has none", `check: none
kinds: [api_key]
endpoints: {health: 'https://x.example.com/me'}
key: {fields: [{name: api_key, secret: true}]}
send: {headers: {Authorization: 'Bearer {api_key}'}}
health: {}
`,
			`x.yaml:3: check: none is for a definition without the sections health, identity and login`,
		},
		{
			"checked too seldom", `check_interval: 31d
kinds: [api_key]
endpoints: {health: 'https://x.example.com/me'}
key: {fields: [{name: api_key, secret: true}]}
send: {headers: {Authorization: 'Bearer {api_key}'}}
health: {}
`,
			`x.yaml:3: check_interval: must lie between one hour and 30 days, or be never`,
		},
		{
			"rotated never", `kinds: [api_key]
endpoints: {health: 'https://x.example.com/me'}
key: {rotate_after: never, fields: [{name: api_key, secret: true}]}
send: {headers: {Authorization: 'Bearer {api_key}'}}
health: {}
`,
			`x.yaml:5: key.rotate_after: must lie between one day and ten years`,
		},
		{
			"rotated too often", `kinds: [api_key]
endpoints: {health: 'https://x.example.com/me'}
key: {rotate_after: 1h, fields: [{name: api_key, secret: true}]}
send: {headers: {Authorization: 'Bearer {api_key}'}}
health: {}
`,
			`x.yaml:5: key.rotate_after: must lie between one day and ten years`,
		},
		{
			"a secret that a name could be", `kinds: [api_key]
endpoints: {health: 'https://x.example.com/me'}
key: {fields: [{name: api_key, secret: true}]}
secret_shapes: [{prefix: sk-, rest: '[a-z]+'}]
send: {headers: {Authorization: 'Bearer {api_key}'}}
health: {}
`,
			`x.yaml:6: secret_shapes[0].rest: it takes less than 10 characters, and a name may have as many`,
		},
		{
			"a secret that begins with anything", `kinds: [api_key]
endpoints: {health: 'https://x.example.com/me'}
key: {fields: [{name: api_key, secret: true}]}
secret_shapes: [{prefix: s, rest: '[a-z]{20}'}]
send: {headers: {Authorization: 'Bearer {api_key}'}}
health: {}
`,
			`x.yaml:6: secret_shapes[0].prefix: a prefix has two characters or more`,
		},
		{
			"checked too often", `check_interval: 1m
kinds: [api_key]
endpoints: {health: 'https://x.example.com/me'}
key: {fields: [{name: api_key, secret: true}]}
send: {headers: {Authorization: 'Bearer {api_key}'}}
health: {}
`,
			`x.yaml:3: check_interval: must lie between one hour and 30 days, or be never`,
		},
		{
			"a day in words", `checked: today
kinds: [api_key]
check: none
key: {fields: [{name: api_key, secret: true}]}
send: {headers: {Authorization: 'Bearer {api_key}'}}
`,
			`x.yaml:3: checked: write the day as 2026-11-29`,
		},
		{
			"unknown key deep down", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  parms: {prompt: consent}
`,
			`x.yaml:8: authorize.parms: unknown key, did you mean "params"?`,
		},
		{
			"parameter beside params", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  prompt: consent
`,
			"x.yaml:8: authorize.prompt: unknown key, write one of: form_post, login_hint, omit, only, " +
				"optional_params, params, pkce; a parameter of the request goes into params",
		},
		{
			"key that was never there", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
token:
  assertion: {}
`,
			"x.yaml:8: token.assertion: unknown key, write one of: answer, auth, body, by_kind, grant_type, " +
				"headers, lifetime, method, ok, params, per_minute, raw_body; a parameter of the request goes into " +
				"params",
		},
		{
			"text for a list", `kinds: authorization_code
`,
			"x.yaml:3: kinds: a list belongs here, not text: write [authorization_code]",
		},
		{
			"text for a map", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
client: post
`,
			"x.yaml:7: client: a map belongs here, not text",
		},
		{
			"no blank behind a colon", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
client:
  body:json
`,
			"x.yaml:7: client: a map belongs here, not text: is a blank missing behind the colon?",
		},
		{
			"list for a text", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
scopes:
  join: [',']
`,
			"x.yaml:8: scopes.join: text belongs here, not a list",
		},
		{
			"colon in a text in braces", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
scopes: {default: [read:user, repo]}
`,
			"x.yaml:7: scopes.default[0]: text belongs here, not a map: a text with a colon in it stands in quotes",
		},
		{
			"number for a text", `kinds: [api_key]
key:
  fields:
    - {name: api_key, secret: true}
send:
  headers: {X-Key: '{api_key}'}
setup:
  redirect: 1.10
`,
			"x.yaml:10: setup.redirect: text belongs here, not a number: write it in quotes, '1.10'",
		},
		{
			"truth for a text", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  identity: https://x.example.com/me
identity:
  ok: {path: ok, equals: true}
`,
			"x.yaml:9: identity.ok.equals: text belongs here, not true or false: write it in quotes, 'true'",
		},
		{
			"text for a truth", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
client:
  public: yes
`,
			"x.yaml:8: client.public: true or false belongs here, not text",
		},
		{
			"unquoted placeholder", `kinds: [api_key]
key:
  fields:
    - {name: api_key, secret: true}
send:
  headers: {X-Key: {api_key}}
`,
			"x.yaml:8: send.headers.X-Key: text belongs here, not a map: a text that begins with a brace " +
				"stands in quotes, '{api_key}'",
		},
		{
			"unquoted placeholder before a text", `kinds: [api_key]
key:
  fields:
    - {name: api_key, secret: true}
send:
  headers: {X-Key: '{api_key}'}
api_base: {host}.example.com
`,
			"x.yaml:9: value is not allowed in this context: a text that begins with a brace stands in quotes, " +
				"'{host}.example.com'",
		},
		{
			"tab", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
client:
	body: json
`,
			"x.yaml:8: found character '	' that cannot start any token: that is a tab, and YAML is indented " +
				"with blanks",
		},
		{
			"text with a colon", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
summary: a service: the best
`,
			"x.yaml:7: mapping value is not allowed in this context: is the line indented as its neighbours, " +
				"and stands a text with a colon in quotes?",
		},
		{
			"text with an at sign", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
summary: @acme
`,
			"x.yaml:7: '@' is a reserved character: a text that begins so stands in quotes",
		},
		{
			"empty key", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
refresh:
  token:
`,
			"x.yaml:8: refresh.token: an empty key: write a value, {} for a section of defaults, or leave the " +
				"key out",
		},
		{
			"empty section", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  identity: https://x.example.com/me
identity:
`,
			"x.yaml:8: identity: an empty key: write a value, {} for a section of defaults, or leave the key out",
		},
		{
			"nothing extended", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
scopes: ~
`,
			"x.yaml:7: scopes: ~ takes away what a parent says, and this definition extends none: leave the key out",
		},
		{
			"kind of the future", `kinds: [quantum]
`,
			`x.yaml:3: kinds[0]: "quantum" is not known here, write one of: authorization_code, ` +
				`client_credentials, api_key, basic, key_pair, login, device_code, jwt_bearer, key_exchange, brokered`,
		},
		{
			"kind misspelled", `kinds: [apikey]
`,
			`x.yaml:3: kinds[0]: "apikey" is not known here, did you mean "api_key"?`,
		},
		{
			"method of the future", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
client:
  auth: [tls_client_auth]
`,
			`x.yaml:8: client.auth[0]: "tls_client_auth" is not known here, write one of: basic, basic_raw, ` +
				`post, none, secret_as_user, private_key_jwt, from_discovery`,
		},
		{
			"section without its kind", `kinds: [api_key]
key:
  fields:
    - {name: api_key, secret: true}
send:
  headers: {X-Key: '{api_key}'}
authorize:
  params: {prompt: consent}
`,
			"x.yaml:9: authorize: no kind goes by it: add the kind authorization_code, or drop the section",
		},
		{
			"secret that goes nowhere", `kinds: [api_key]
key:
  fields:
    - {name: api_key, secret: true}
    - {name: signing_key, secret: true}
send:
  headers: {X-Key: '{api_key}'}
`,
			`x.yaml:7: key.fields[1]: key field "signing_key" is secret and no send names it: name it there, ` +
				`or say handed_out: true where the application itself signs or logs in with it`,
		},
		{
			"the operator's secret, sent by applications", `kinds: [api_key]
key:
  fields:
    - {name: api_key, secret: true}
    - {name: app_key, set_by: provider, secret: true}
send:
  headers: {X-Key: '{api_key}', X-App: '{app_key}'}
`,
			`x.yaml:7: key.fields[1]: key field "app_key" is the operator's secret and applications would send it: say ` +
				`handed_out: true where every reader of a credential may have it, or name it in our own calls alone`,
		},
		{
			"the operator's secret, beside tokens", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token'}
key: {fields: [{name: developer_token, set_by: provider, secret: true}]}
send:
  headers: {Authorization: 'Bearer {access_token}'}
  optional_headers: {X-App: '{developer_token}'}
`,
			`x.yaml:5: key.fields[0]: key field "developer_token" is the operator's secret and applications would send ` +
				`it: say handed_out: true where every reader of a credential may have it, or name it in our own calls alone`,
		},
		{
			"the operator's secret, handed out by nothing", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token', health: 'https://x.example.com/me'}
key: {fields: [{name: developer_token, set_by: provider, secret: true, handed_out: true}]}
health: {headers: {X-App: '{developer_token}'}}
`,
			`x.yaml:5: key.fields[0].handed_out: key field "developer_token" is the operator's and no send names it: name ` +
				`it there, or drop handed_out`,
		},
		{
			"the operator's field, where the API is", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token'}
api_base: https://x.example.com/{developer_token}
key: {fields: [{name: developer_token, set_by: provider, secret: true, handed_out: true}]}
send: {headers: {Authorization: '{access_token}', X-App: '{developer_token}'}}
`,
			"x.yaml:5: api_base: {developer_token} is a key field of the operator's, and this is answered beside every " +
				"credential: let it be an input",
		},
		{
			"a person's field, where no kind has a key", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token'}
key: {fields: [{name: developer_token, secret: true, handed_out: true}]}
`,
			"x.yaml:5: key: no kind uses a key: add the kind, or drop the section; a field that the operator writes for " +
				"all says set_by: provider",
		},
		{
			"how a key is sent, where no kind has one", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token'}
key:
  fields: [{name: developer_token, set_by: provider, secret: true}]
  send: {headers: {X-App: '{developer_token}'}}
`,
			`x.yaml:5: key: no kind uses a key, so send and also say nothing here: the section send says how tokens are ` +
				`sent, and what goes along
x.yaml:6: key.fields[0]: key field "developer_token" is the operator's secret and applications would send it: say ` +
				`handed_out: true where every reader of a credential may have it, or name it in our own calls alone`,
		},
		{
			"the operator's field in the place of a key's own", `kinds: [login]
key: {fields: [{name: login}, {name: app_key, set_by: provider, secret: true, handed_out: true}]}
send: {headers: {X-App: '{app_key}'}}
`,
			`x.yaml:3: kinds[0]: kind "login" needs the section key, with a field that is handed_out`,
		},
		{
			"the client secret, sent by applications", `kinds: [client_credentials]
endpoints: {token: 'https://x.example.com/token'}
send: {headers: {Authorization: 'Bearer {access_token}', X-App: '{client_secret}'}}
`,
			"x.yaml:5: send.headers.X-App: {client_secret} never leaves the engine, and applications send this",
		},
		{
			"signs by itself, and nothing is handed out", `kinds: [key_pair]
key:
  fields:
    - {name: access_key}
    - {name: secret_key, secret: true}
`,
			`x.yaml:3: kinds[0]: kind "key_pair" needs the section key, with a field that is ` +
				`handed_out
x.yaml:7: key.fields[1]: key field "secret_key" is secret and no send names it: name ` +
				`it there, or say handed_out: true where the application itself signs or logs in with it`,
		},
		{
			"rename misspelled", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
client:
  rename: {clientid: app_id}
`,
			`x.yaml:8: client.rename.clientid: "clientid" is no parameter of the engine's, did you mean "client_id"?`,
		},
		{
			"rename of the state", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
client:
  rename: {state: st}
`,
			"x.yaml:8: client.rename.state: that one is named by callback.state",
		},
		{
			"omit misspelled", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  omit: [respons_type]
`,
			`x.yaml:8: authorize.omit[0]: "respons_type" is no parameter of the engine's, did you mean ` +
				`"response_type"?`,
		},
		{
			"omit of the state", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  omit: [state]
`,
			"x.yaml:8: authorize.omit[0]: without state nobody can tell whose answer comes back",
		},
		{
			"omit of the challenge", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  omit: [code_challenge]
`,
			"x.yaml:8: authorize.omit[0]: write authorize.pkce: off, so that no verifier is sent either",
		},
		{
			"client_id of its own", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  params: {client_id: '{client_id}'}
`,
			`x.yaml:8: authorize.params.client_id: "client_id" is the engine's own and is sent in its place: ` +
				`leave it out`,
		},
		{
			"state of its own", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  params: {state: fixed}
`,
			`x.yaml:8: authorize.params.state: "state" is the engine's own and is sent in its place: leave it out`,
		},
		{
			"redirect_uri of its own", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  optional_params: {redirect_uri: '{redirect_uri}'}
`,
			`x.yaml:8: authorize.optional_params.redirect_uri: "redirect_uri" is the engine's own and is sent ` +
				`in its place: leave it out`,
		},
		{
			"challenge of its own", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  params: {code_challenge: fixed}
`,
			`x.yaml:8: authorize.params.code_challenge: "code_challenge" is the engine's own and is sent in ` +
				`its place: leave it out`,
		},
		{
			"grant type among the parameters", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
token:
  params: {grant_type: code}
`,
			`x.yaml:8: token.params.grant_type: "grant_type" is the engine's own and is sent in its place: ` +
				`write grant_type as token.grant_type, and leave the others out`,
		},
		{
			"nothing but parameters, and no state", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
authorize:
  only: true
  pkce: off
  params: {app: '{client_id}'}
`,
			"x.yaml:8: authorize.only: nothing but params is sent here, and none holds {state}: nobody could " +
				"tell whose answer comes back",
		},
		{
			"account without identity", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
account:
  id: [sub]
`,
			"x.yaml:8: account.id[0]: it is read from identity, and there is none: add the section identity",
		},
		{
			"account from an absent section", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  identity: https://x.example.com/me
identity: {}
account:
  id: ['resources:id']
`,
			`x.yaml:10: account.id[0]: "resources" is not known here, write one of: token, id_token, upgrade, ` +
				"access_token_claims, health, callback, connection_config, assertion",
		},
		{
			"account that anybody may write", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  identity: https://x.example.com/me
identity: {}
account:
  id: ['connection_config:realm']
connection_config:
  - {name: realm, from: callback, path: [realm], pattern: '[0-9]+'}
`,
			`x.yaml:10: account.id[0]: the answer of identity proves only what its address names: ` +
				"let endpoints.identity hold {realm}, or read the account from an answer",
		},
		{
			"captured from an absent section", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
connection_config:
  - {name: site, from: resources, path: [id]}
`,
			"x.yaml:8: connection_config[0].from: it is read from resources, and there is none: add the " +
				"section resources",
		},
		{
			"captured from nowhere", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
connection_config:
  - {name: site, from: tokens, path: [id]}
`,
			`x.yaml:8: connection_config[0].from: "tokens" is not known here, did you mean "token"?`,
		},
		{
			"endpoint that nothing calls", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  identity: https://x.example.com/me
`,
			"x.yaml:7: endpoints.identity: nothing calls it: add the section identity, which may be {}",
		},
		{
			"body of a GET", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  identity: https://x.example.com/me
identity: {body: json, params: {a: b}}
`,
			"x.yaml:8: identity.body: the call is a GET, which has no body: say method: POST, or drop it",
		},
		{
			"client secret in send", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
send:
  headers: {X-App: '{client_secret}', Authorization: 'Bearer {access_token}'}
`,
			"x.yaml:8: send.headers.X-App: {client_secret} never leaves the engine, and applications send this",
		},
		{
			"refresh token in api_base", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
api_base: https://x.example.com/{refresh_token}
`,
			"x.yaml:7: api_base: {refresh_token} never leaves the engine, and applications send this",
		},
		{
			"unused input", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
inputs:
  - {name: shop, set_by: connection, pattern: '[a-z]+'}
`,
			`x.yaml:8: inputs[0]: input "shop" is used nowhere: write {shop} where it belongs, or drop it`,
		},
		{
			"misspelled placeholder", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
inputs:
  - {name: region, set_by: provider, pattern: '[a-z]+'}
token:
  params: {region: '{regoin}'}
`,
			`x.yaml:8: inputs[0]: input "region" is used nowhere: write {region} where it belongs, or drop ` +
				`it
x.yaml:10: token.params.region: placeholder {regoin} is not declared: add an input, key field ` +
				`or connection_config entry of that name, did you mean {region}?`,
		},
		{
			"host that may be missing", `kinds: [authorization_code]
endpoints:
  authorize: https://{shop}.example.com/authorize
  token: https://x.example.com/token
inputs:
  - {name: shop, set_by: connection, pattern: '[a-z]+'}
`,
			`x.yaml:8: inputs[0]: input "shop" stands in the host of endpoints.authorize and may be missing: ` +
				`say required: true, or give a default`,
		},
		{
			"host that may be empty", `kinds: [authorization_code]
endpoints:
  authorize: https://{shop}.example.com/authorize
  token: https://x.example.com/token
inputs:
  - {name: shop, set_by: connection, required: true, pattern: '[a-z]*'}
`,
			`x.yaml:8: inputs[0].pattern: input "shop" stands in the host of endpoints.authorize, and its ` +
				`pattern takes an empty text: write + for *`,
		},
		{
			"host that anybody names", `kinds: [authorization_code]
endpoints:
  authorize: https://{host}/authorize
  token: https://x.example.com/token
inputs:
  - {name: host, set_by: connection, required: true, pattern: '[a-z.]+'}
`,
			`x.yaml:5: endpoints.authorize: URL template "https://{host}/authorize": the host holds {host}, ` +
				`and its pattern leaves open whose host it is: let it end in a fixed domain such as .example.com, ` +
				`list the hosts, or say set_by: provider`,
		},
		{
			"word misspelled", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
refresh:
  token: rotate
`,
			`x.yaml:8: refresh.token: "rotate" is not known here, write one of: rotating, may_rotate, ` +
				`reusable, self, reissue, none`,
		},
		{
			"duration", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
refresh:
  idle: 90 days
`,
			`x.yaml:8: refresh.idle: duration "90 days": write a whole number and s, m, h or d (at most 100 ` +
				`years), or the word never`,
		},
		{
			"bare number of seconds", `kinds: [authorization_code]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
refresh:
  idle: 90
`,
			`x.yaml:8: refresh.idle: duration "90": write a whole number and s, m, h or d (at most 100 years), ` +
				`or the word never`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Decode("x.yaml", []byte(head+test.text))
			assert.EqualError(t, err, test.want)
		})
	}
}
