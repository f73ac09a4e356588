package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const signedBoth = `id: signed
name: Signed
kinds: [key_pair]
inputs:
  - {name: region, set_by: either, default: here, pattern: '[a-z]+'}
  - {name: store, set_by: provider, by_kind: {key_pair: {set_by: connection}}, pattern: 'https://.+'}
endpoints:
  identity: https://x.example.com/me
  health: '{store}/list'
sign:
  aws_sigv4: {service: it, region: '{region}', access_key_id: '{id}', secret_access_key: '{secret}'}
  jwt_per_request:
    key: '{secret}'
    algs: [ES256, EdDSA]
    header: {kid: '{id}'}
    nonce: nonce
    claims: {sub: '{id}'}
    uri: uri
    life: 2m
identity: {auth: jwt_per_request}
health: {auth: aws_sigv4, inputs: {store: 'https://.+'}}
connection_config:
  - {name: told, from: identity, path: [told]}
key:
  fields:
    - {name: id, required: true}
    - {name: secret, required: true, secret: true, handed_out: true}
`

const signedLogin = `id: logged
name: Logged
kinds: [login]
inputs:
  - {name: region, set_by: connection, pattern: '[a-z]+'}
login: {protocol: smtp, host: '{host}', port: '{port}', tls: '{tls}', user: '{who}', password: '{password}'}
key:
  fields:
    - {name: host, required: true}
    - {name: port, default: '587'}
    - {name: tls, default: starttls}
    - {name: who}
    - {name: password, secret: true, handed_out: true}
`

func TestMistakesInSigning(t *testing.T) {
	for _, whole := range []string{signedBoth, signedLogin} {
		_, err := Decode(map[string]string{signedBoth: "signed.yaml", signedLogin: "logged.yaml"}[whole], []byte(whole))
		require.NoError(t, err)
	}
	for _, c := range []struct{ of, old, new, want string }{
		{signedBoth, "'{id}', secret_access", "'{idd}', secret_access", "placeholder {idd} is not declared"},
		{signedBoth, "region: '{region}'", "region: '{told}'", "{told} is neither an input nor a field of the key"},
		{signedBoth, "region: '{region}'", "region: '{client_id}'", "{client_id} is neither an input nor a field of the key"},
		{signedBoth, "service: it, ", "", "sign.aws_sigv4.service: service is missing"},
		{signedBoth, "access_key_id: '{id}'", "access_key_id: '{secret}'", "{secret} is secret, and this is sent as it is"},
		{signedBoth, "_key: '{secret}'", "_key: '{id}'", "sign.aws_sigv4.secret_access_key: write {field}"},
		{
			signedBoth, " key: '{secret}'", " key: '{id}'",
			"sign.jwt_per_request.key: write {field}, with a key field that is secret",
		},
		{signedBoth, " key: '{secret}'", " key: 'x{secret}'", "write {field}, with a key field that is secret"},
		{signedBoth, "[ES256, EdDSA]", "[]", "algs is missing"},
		{signedBoth, "[ES256, EdDSA]", "[ES256, ES256]", `"ES256" is named twice`},
		{signedBoth, "[ES256, EdDSA]", "[none]", `"none" is not known here`},
		{signedBoth, "life: 2m", "life: 2h", "lives from 1s to 1h"},
		{signedBoth, "    life: 2m\n", "", "lives from 1s to 1h"},
		{signedBoth, "{kid: '{id}'}", "{alg: none}", `sign.jwt_per_request.header.alg: "alg" is the engine's own`},
		{signedBoth, "{kid: '{id}'}", "{nonce: '{id}'}", `header.nonce: "nonce" is the engine's own`},
		{signedBoth, "{sub: '{id}'}", "{exp: '{id}'}", `claims.exp: "exp" is the engine's own`},
		{signedBoth, "{sub: '{id}'}", "{sub: '{secret}'}", "{secret} is secret, and this is sent as it is"},
		{signedBoth, "nonce: nonce", "nonce: alg", `sign.jwt_per_request.nonce: "alg" is the engine's own`},
		{signedBoth, "uri: uri", "uri: exp", `sign.jwt_per_request.uri: "exp" is the engine's own`},
		{signedBoth, "identity: {auth: jwt_per_request}", "identity: {}", "sign.jwt_per_request: no call is signed by it"},
		{signedBoth, "auth: aws_sigv4", "auth: aws_sigv5", `"aws_sigv5" is not known here`},
		{
			signedBoth, "inputs: {store: 'https://.+'}", "inputs: {stroe: 'https://.+'}",
			`health.inputs.stroe: "stroe" is no input`,
		},
		{
			signedBoth, ", inputs: {store: 'https://.+'}", "",
			`input "store" stands in the host of endpoints.health and may be missing`,
		},
		{
			signedBoth, "inputs: {store: 'https://.+'}", "inputs: {store: '.*'}",
			`input "store" stands in the host of endpoints.health`,
		},
		{
			signedBoth, "inputs: {store: 'https://.+'}", "inputs: {store: '('}",
			"health.inputs.store: pattern does not compile",
		},
		{signedBoth, "  aws_sigv4: {service", "  aws_sigv4_off: {service", "sign.aws_sigv4_off: unknown key"},
		{signedBoth, "kinds: [key_pair]", "kinds: [authorization_code]", "sign: no kind goes by it"},
		{signedLogin, "protocol: smtp, ", "", "login.protocol: protocol is missing"},
		{signedLogin, "protocol: smtp", "protocol: ftp", `"ftp" is not known here`},
		{signedLogin, "host: '{host}', ", "", "login.host: host is missing"},
		{signedLogin, "host: '{host}'", "host: '{region}'", "{region} is no field of a connection's key"},
		{signedLogin, "host: '{host}'", "host: '{password}'", "{password} is secret, and this is sent as it is"},
		{signedLogin, "{name: who}", "{name: who, set_by: provider}", "{who} is no field of a connection's key"},
		{
			signedLogin, "login: {", "check: none\nlogin: {",
			"check: none is for a definition without the sections health, identity and login",
		},
		{
			signedLogin, "login: {", "endpoints: {health: 'https://x.example.com'}\nhealth: {auth: none}\nlogin: {",
			"login: a key is tried by one or the other",
		},
	} {
		text := strings.Replace(c.of, c.old, c.new, 1)
		require.NotEqual(t, c.of, text, c.old)
		name := map[string]string{signedBoth: "signed.yaml", signedLogin: "logged.yaml"}[c.of]
		_, err := Decode(name, []byte(text))
		require.ErrorContains(t, err, c.want, c.new)
	}
}

// Only a key signs, and only the calls that try one.
func TestSignersAreForKeys(t *testing.T) {
	const mixed = `id: mixed
name: Mixed
kinds: [authorization_code, key_pair]
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  identity: https://x.example.com/me
sign:
  aws_sigv4: {service: it, region: any, access_key_id: '{id}', secret_access_key: '{secret}'}
identity: {auth: aws_sigv4, kinds: [key_pair]}
account: {id: [id]}
key:
  fields:
    - {name: id, required: true}
    - {name: secret, required: true, secret: true, handed_out: true}
`
	_, err := Decode("mixed.yaml", []byte(mixed))
	require.NoError(t, err)
	_, err = Decode("mixed.yaml", []byte(strings.Replace(mixed, ", kinds: [key_pair]", "", 1)))
	require.ErrorContains(t, err, "identity.auth: only a key signs")
	_, err = Decode("mixed.yaml", []byte(mixed+"token: {auth: aws_sigv4}\n"))
	require.ErrorContains(t, err, "token.auth: aws_sigv4 is for health and identity")
	_, err = Decode("mixed.yaml", []byte(strings.Replace(mixed, "sign:\n  aws_sigv4: {service: it, region: any, "+
		"access_key_id: '{id}', secret_access_key: '{secret}'}\n", "", 1)))
	require.ErrorContains(t, err, "identity.auth: sign.aws_sigv4 is missing")
}
