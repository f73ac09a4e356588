package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const signedYAML = `id: acme
name: Acme
kinds: [jwt_bearer, authorization_code, key_exchange]
inputs:
  - {name: tenant, set_by: either, required: true, pattern: '[a-z]+'}
endpoints:
  authorize: https://acme.example.com/authorize
  token: https://acme.example.com/token
  identity: https://acme.example.com/me
  revoke: https://acme.example.com/revoke
key:
  fields:
    - {name: pem, required: true, secret: true, multiline: true}
    - {name: login, required: true}
    - {name: password, secret: true}
assertion:
  alg: RS256
  key: pem
  header: {kid: '{login}'}
  claims: {iss: '{login}', aud: '{tenant}'}
  claim_lists: {groups: ['{tenant}']}
  ttl: 1h
  skew: 1m
token:
  by_kind:
    jwt_bearer: {auth: assertion, headers: {X-Assertion: '{assertion}'}}
    key_exchange: {auth: none, params: {password: '{password}'}}
identity: {auth: assertion, kinds: [jwt_bearer]}
revoke: {kinds: [authorization_code], params: {token: '{refresh_token}'}}
account: {id: ['assertion:iss', sub]}
connection_config:
  - {name: inner, from: token, path: [inner], secret: true}
  - {name: outer, from: token, path: [outer]}
`

// The mistakes that people make with keys that buy tokens. Each message says where, and what was meant.
func TestMistakesOfAssertions(t *testing.T) {
	_, err := Decode("acme.yaml", []byte(signedYAML))
	require.NoError(t, err)
	for _, test := range []struct{ name, former, instead, want string }{
		{"no algorithm", "  alg: RS256\n", "", `assertion.alg: alg is missing: which algorithm signs?`},
		{
			"an algorithm without a key", "alg: RS256", "alg: HS256",
			`assertion.alg: "HS256" is not known here, did you mean "RS256"?`,
		},
		{
			"no key", "key: pem", "key: file", `assertion.key: "file" is no key field: name the one that holds the private key`,
		},
		{
			"a key that all may see", "{name: pem, required: true, secret: true", "{name: pem, required: true, secret: false",
			`assertion.key: key field "pem" holds a private key and is not secret`,
		},
		{
			"a key on one line", ", multiline: true", "",
			`assertion.key: key field "pem" takes no line breaks, which PEM has: say multiline: true`,
		},
		{"no end", "  ttl: 1h\n", "", `assertion.ttl: ttl is missing: how long is it good for?`},
		{"an end that never comes", "ttl: 1h", "ttl: 367d", `assertion.ttl: must be a year at most`},
		{
			"no claims", "  claims: {iss: '{login}', aud: '{tenant}'}\n", "",
			`assertion.claims: claims are missing: who signs, and for what?`,
		},
		{
			"a claim of the engine's", "claims: {iss", "claims: {exp: '9', iss",
			`assertion.claims.exp: the engine sets it: drop it, or say ttl, skew, jti or nbf`,
		},
		{
			"a list of the engine's", "claim_lists: {groups", "claim_lists: {jti: [a], groups",
			`assertion.claim_lists.jti: the engine sets it: drop it, or say ttl, skew, jti or nbf`,
		},
		{
			"a claim twice", "claim_lists: {groups", "claim_lists: {aud: [a], groups",
			`assertion.claim_lists.aud: it stands in claims too: it is either a text or a list`,
		},
		{
			"a header of the engine's", "header: {kid", "header: {alg: none, kid",
			`assertion.header.alg: the engine sets it: drop it`,
		},
		{
			"a header that changes the signature", "header: {kid", "header: {b64: 'false', kid",
			`assertion.header.b64: the engine sets it: drop it`,
		},
		{
			"a secret in a claim", "claims: {iss", "claims: {pass: '{password}', iss",
			`assertion.claims.pass: {password} is secret, and an assertion can be read by whoever gets it`,
		},
		{
			"the key in the header", "header: {kid", "header: {jwk: '{pem}', kid",
			`assertion.header.jwk: {pem} is secret, and an assertion can be read by whoever gets it`,
		},
		{
			"the client secret in a list", "['{tenant}']", "['{client_secret}']",
			`assertion.claim_lists.groups[0]: {client_secret} is secret, and an assertion can be read by whoever gets it`,
		},
		{
			"a secret of an answer in a claim", "claims: {iss", "claims: {inner: '{inner}', iss",
			`assertion.claims.inner: {inner} is secret, and an assertion can be read by whoever gets it`,
		},
		{
			"itself in a claim", "claims: {iss", "claims: {a: '{assertion}', iss",
			`assertion.claims.a: {assertion} is what is being signed`,
		},
		{
			"the fingerprint elsewhere", "X-Assertion: '{assertion}'", "X-Print: '{key_fingerprint}'",
			`token.by_kind.jwt_bearer.headers.X-Print: {key_fingerprint} is for the claims and the header of the assertion`,
		},
		{
			"a claim of nobody", "claims: {iss", "claims: {x: '{nobody}', iss",
			`assertion.claims.x: placeholder {nobody} is not declared: add an input, key field or ` +
				`connection_config entry of that name`,
		},
		{
			"an account from no claim", "assertion:iss", "assertion:sub",
			`account.id[0]: the assertion has no claim "sub"`,
		},
		{
			"the assertion with a code", "token:\n", "token:\n  params: {x: '{assertion}'}\n",
			`token.params.x: {assertion} has no value there: it is for token.by_kind.jwt_bearer and the calls identity, health, ` +
				`resources, reaches and revoke`,
		},
		{
			"the assertion with a login", "key_exchange: {auth: none", "key_exchange: {auth: assertion",
			`token.by_kind.key_exchange.auth: assertion has no value there: it is for token.by_kind.jwt_bearer and the calls`,
		},
		{
			"the assertion for all kinds", "token:\n", "token:\n  auth: assertion\n",
			`token.auth: assertion has no value there`,
		},
		{
			"the assertion in a URL", "https://acme.example.com/me", "https://acme.example.com/me/{assertion}",
			`endpoints.identity: {assertion} has no value there`,
		},
		{
			"the assertion for applications", "account:", "send: {headers: {X-A: '{assertion}'}}\naccount:",
			`send.headers.X-A: {assertion} never leaves the engine, and applications send this`,
		},
		{
			"a revocation of no kind", "revoke: {kinds: [authorization_code]", "revoke: {kinds: [api_key]",
			`revoke.kinds[0]: kind "api_key" is not among kinds`,
		},
		{
			"a revocation of all kinds", "revoke: {kinds: [authorization_code]",
			"revoke: {kinds: [authorization_code, jwt_bearer, key_exchange]",
			`revoke.kinds: these are all that there are: leave it out`,
		},
		{
			"a key that is sent and buys", "key:\n", "key:\n  send: {headers: {X-Key: '{password}'}}\n",
			`key: the key buys a token, which the section send says how to send: drop send and also`,
		},
		{
			"an endpoint of a kind that is nowhere", "key_exchange: {auth", "key_exchange: {endpoint: login, auth",
			`token.by_kind.key_exchange.endpoint: endpoints.login is missing`,
		},
		{
			"a method that nobody knows", "key_exchange: {auth", "key_exchange: {method: SEND, auth",
			`token.by_kind.key_exchange.method: "SEND" is not known here, write one of: GET, POST, PUT, PATCH, DELETE`,
		},
		{
			"a GET with a body", "key_exchange: {auth", "key_exchange: {method: GET, body: json, auth",
			`token.by_kind.key_exchange.body: a GET has no body: say method: POST, or drop it`,
		},
		{
			"a path that is none", "key_exchange: {auth", "key_exchange: {answer: {access_token: ['a[']}, auth",
			`token.by_kind.key_exchange.answer.access_token[0]: `,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(signedYAML, test.former, test.instead, 1)
			require.NotEqual(t, signedYAML, text)
			_, err := Decode("acme.yaml", []byte(text))
			require.ErrorContains(t, err, test.want)
			assert.Regexp(t, `acme\.yaml:\d+: `, err.Error(), "it says in which line")
		})
	}
}

// What goes with one kind only.
func TestMistakesOfKindsThatBuy(t *testing.T) {
	const key = "key: {fields: [{name: pem, required: true, secret: true, multiline: true}]}\n"
	const signs = "assertion: {alg: RS256, key: pem, claims: {iss: me}, ttl: 1h}\n"
	const token = "endpoints: {token: 'https://acme.example.com/token'}\n"
	for _, test := range []struct{ name, text, want string }{
		{
			"nothing to sign", "kinds: [jwt_bearer]\n" + token + key, `kinds[0]: kind "jwt_bearer" needs the section assertion`,
		},
		{"nowhere to buy", "kinds: [jwt_bearer]\n" + key + signs, `kinds[0]: kind jwt_bearer needs endpoints.token`},
		{"no key to buy with", "kinds: [key_exchange]\n" + token, `kinds[0]: kind "key_exchange" needs the section key`},
		{
			"no second call", "kinds: [brokered]\n" + token,
			`kinds[0]: kind "brokered" needs the section upgrade`,
		},
		{
			"nowhere for the second call", "kinds: [brokered]\n" + token + "upgrade: {}\n",
			`kinds[0]: kind brokered needs endpoints.upgrade`,
		},
		{
			"an assertion of no kind", "kinds: [key_exchange]\n" + token + key + signs,
			`assertion: no kind goes by it: add the kind jwt_bearer, or drop the section`,
		},
		{
			"a second call of no kind", "kinds: [client_credentials]\nendpoints: {token: 'https://acme.example.com/token', " +
				"upgrade: 'https://acme.example.com/up'}\nupgrade: {}\n",
			`upgrade: no kind goes by it: add the kind authorization_code, or another that obtains a token with a key`,
		},
		{
			"an assertion without its section", "kinds: [key_exchange]\n" + token + key +
				"token: {params: {a: '{assertion}'}}\n", `token.params.a: {assertion} has no value without the section assertion`,
		},
		{
			"a bearer without its section", "kinds: [client_credentials]\nendpoints: {token: 'https://acme.example.com/token', " +
				"revoke: 'https://acme.example.com/revoke'}\nrevoke: {auth: assertion}\n",
			`revoke.auth: assertion has no value without the section assertion`,
		},
		{
			"a claim without its section", "kinds: [client_credentials]\n" + token + "account: {id: ['assertion:iss']}\n",
			`account.id[0]: it is read from assertion, and there is none: add the section assertion`,
		},
		{
			"a credential that is bought", "kinds: [jwt_bearer]\n" + token + key +
				"assertion: {alg: RS256, key: pem, claims: {iss: me}, ttl: 1h, credential: true}\n" +
				"token: {by_kind: {jwt_bearer: {auth: none}}}\n",
			`assertion.credential: the assertion is the token, so token.by_kind.jwt_bearer calls nothing: drop it`,
		},
		{
			"a credential that is over", "kinds: [jwt_bearer]\n" + key +
				"assertion: {alg: RS256, key: pem, claims: {iss: me}, ttl: 1m, skew: 1m, credential: true}\n",
			`assertion.skew: must be shorter than ttl`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Decode("acme.yaml", []byte("id: acme\nname: Acme\n"+test.text))
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := Decode("acme.yaml", []byte("id: acme\nname: Acme\nkinds: [jwt_bearer]\n"+key+
		"assertion: {alg: RS256, key: pem, claims: {iss: me}, ttl: 1h, credential: true}\n"))
	require.NoError(t, err, "what is the token itself needs no endpoint")
}
