package providers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// signedAt is when the assertions of these tests are signed.
var signedAt = time.Date(2026, 11, 29, 12, 0, 0, 999_000_000, time.UTC)

// someKeys are keys of each sort, by what fitsAlg calls them.
var someKeys = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	keys["an RSA key"] = rsaKey
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		keys["an ECDSA key of the curve "+curve.Params().Name] = key
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	keys["an Ed25519 key"] = edKey
	return keys
})

// opened is what an assertion holds that a key verifies.
func opened(t testing.TB, token string, alg jose.SignatureAlgorithm, public any) (header jose.Header,
	claims map[string]any,
) {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{alg})
	require.NoError(t, err)
	payload, err := signed.Verify(public)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(payload, &claims))
	require.Len(t, signed.Signatures, 1)
	return signed.Signatures[0].Header, claims
}

// holdsNothingOf fails when a text repeats a line of a key.
func holdsNothingOf(t testing.TB, text, key string) {
	t.Helper()
	for line := range strings.Lines(key) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "-----") || len(line) < 8 {
			continue
		}
		for i := 0; i+8 <= len(line); i += 4 {
			assert.NotContains(t, text, line[i:i+8], "it holds a part of the key")
		}
	}
}

// Each algorithm signs with the sort of key that its RFC names, and refuses every other as what it is.
func TestAssertionAlgorithms(t *testing.T) {
	takes := map[string]string{
		"RS256": "an RSA key", "RS384": "an RSA key", "RS512": "an RSA key", "PS256": "an RSA key", "PS384": "an RSA key",
		"PS512": "an RSA key", "ES256": "an ECDSA key of the curve P-256", "ES384": "an ECDSA key of the curve P-384",
		"ES512": "an ECDSA key of the curve P-521", "EdDSA": "an Ed25519 key",
	}
	for alg, wanted := range takes {
		t.Run(alg, func(t *testing.T) {
			a := &Assertion{Alg: alg, Key: "pem", Claims: map[string]Template{"iss": "me"}, TTL: Duration{D: time.Minute}}
			for sort, key := range someKeys() {
				values := map[string]string{"pem": pkcs8(t, key)}
				checked := a.checkKey(values["pem"])
				token, expires, err := a.sign(values, signedAt)
				if sort == wanted {
					require.NoError(t, checked)
					require.NoError(t, err)
					header, claims := opened(t, token.Reveal(), jose.SignatureAlgorithm(alg), key.Public())
					assert.Equal(t, alg, header.Algorithm)
					assert.Equal(t, "JWT", header.ExtraHeaders["typ"])
					assert.Equal(t, "me", claims["iss"])
					assert.Equal(t, signedAt.Add(time.Minute).Truncate(time.Second), expires)
					continue
				}
				says := fmt.Sprintf("holds %s: the service takes %s, which is signed with %s", sort, alg, wanted)
				require.EqualError(t, checked, says)
				require.EqualError(t, err, says)
				assert.True(t, token.IsZero())
				assert.True(t, expires.IsZero())
				holdsNothingOf(t, err.Error(), values["pem"])
			}
		})
	}
}

// What is no key at all is told as when it is written, and nothing of it is repeated.
func TestAssertionOfNoKey(t *testing.T) {
	whole := pkcs8(t, someKeys()["an RSA key"])
	a := &Assertion{Alg: "RS256", Key: "pem", Claims: map[string]Template{"iss": "me"}, TTL: Duration{D: time.Minute}}
	for text, says := range map[string]string{
		"":                                       "is empty",
		strings.ReplaceAll(whole, "\n", `\n`):    "its line breaks are written as \\n",
		strings.ReplaceAll(whole, "\n", " "):     "its line breaks are lost",
		whole[:len(whole)/2]:                     "is no whole PEM",
		whole + whole:                            "holds more than one PEM block",
		strings.ReplaceAll(whole, "PRIVATE", ""): "holds PEM of another sort",
	} {
		_, _, err := a.sign(map[string]string{"pem": text}, signedAt)
		require.ErrorContains(t, err, says)
		holdsNothingOf(t, err.Error(), whole)
		assert.Equal(t, err, a.checkKey(text))
	}
}

func TestAssertionClaims(t *testing.T) {
	key := someKeys()["an ECDSA key of the curve P-256"]
	a := &Assertion{
		Alg: "ES256", Key: "pem", TTL: Duration{D: 9 * time.Minute}, Skew: Duration{D: time.Minute},
		Header: map[string]Template{"kid": "{key_id}", "x5t#S256": "{thumbprint}"},
		Claims: map[string]Template{
			"iss": "{login}", "sub": "{subject}", "both": "{login}/{subject}", "fixed": "x", "odd": "{login}\"\\\u2028<",
			"scope": "{scopes} more",
		},
		Lists: map[string][]Template{"aud": {"a", "{subject}", "{login}"}, "none": {"{subject}"}},
		JTI:   true, NotBefore: true,
	}
	values := map[string]string{"pem": pkcs8(t, key), "login": "ada", "key_id": "k-1", "subject": "", "scopes": "a b"}
	token, expires, err := a.sign(values, signedAt)
	require.NoError(t, err)
	header, claims := opened(t, token.Reveal(), jose.ES256, key.Public())
	assert.Equal(t, "k-1", header.KeyID)
	assert.NotContains(t, header.ExtraHeaders, jose.HeaderKey("x5t#S256"), "its placeholder has no value")
	jti, _ := claims["jti"].(string)
	assert.Len(t, jti, len(rand.Text()))
	delete(claims, "jti")
	at := float64(signedAt.Unix())
	assert.Equal(t, map[string]any{
		"iss": "ada", "fixed": "x", "odd": "ada\"\\\u2028<", "scope": "a b more", "aud": []any{"a", "ada"},
		"iat": at - 60, "nbf": at - 60, "exp": at + 540,
	}, claims)
	assert.Equal(t, signedAt.Add(9*time.Minute).Truncate(time.Second), expires, "as exp says")

	again, _, err := a.sign(values, signedAt)
	require.NoError(t, err)
	_, second := opened(t, again.Reveal(), jose.ES256, key.Public())
	assert.NotEqual(t, jti, second["jti"], "a jti that comes twice is a replay for the service")

	a.JTI, a.NotBefore, a.Skew = false, false, Duration{}
	token, _, err = a.sign(values, signedAt)
	require.NoError(t, err)
	_, claims = opened(t, token.Reveal(), jose.ES256, key.Public())
	assert.NotContains(t, claims, "jti")
	assert.NotContains(t, claims, "nbf")
	assert.InDelta(t, at, claims["iat"], 0)
}

// The fingerprint is what `openssl pkey -pubout -outform DER | openssl dgst -sha256 -binary | base64` says of this key,
// which was made for this test and opens nothing.
func TestAssertionFingerprint(t *testing.T) {
	const ofNothing = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgs9PYyuK1N5j15NaT
RgAW6O7vUPOipQTd/P/Ppf9U4CqhRANCAATcXD0cdr4vShAzuVWvJIpB0Kx+JFkM
faIspsY3ztbSmxaO4omy6iUrvbulJnkco4pYTYdEiXt2CbqEbv6tXnc8
-----END PRIVATE KEY-----
`
	const said = "2uMgvIVEWeuIpDTqvwA/8Hz9Uy+MCwU79n2jDiozrog="
	a := &Assertion{
		Alg: "ES256", Key: "pem", TTL: Duration{D: time.Minute}, Header: map[string]Template{"kid": "{key_fingerprint}"},
		Claims: map[string]Template{"iss": "{account}.SHA256:{key_fingerprint}"},
	}
	// the placeholder is the engine's own, whatever else has its name
	values := map[string]string{"pem": ofNothing, "account": "A-1", "key_fingerprint": "x"}
	token, _, err := a.sign(values, signedAt)
	require.NoError(t, err)
	key, err := parsePrivateKey(ofNothing)
	require.NoError(t, err)
	header, claims := opened(t, token.Reveal(), jose.ES256, key.Public())
	assert.Equal(t, "A-1.SHA256:"+said, claims["iss"])
	assert.Equal(t, said, header.KeyID)
}

// Whose key it is decides whether the kind is the app's own.
func TestWhoseKeyBuys(t *testing.T) {
	of := func(setBy string, member bool) *Definition {
		field := KeyField{Name: "pem", Secret: true, SetBy: setBy}
		if member {
			field = KeyField{Name: "file", Secret: true, SetBy: setBy, JSON: map[string]KeyMember{"pem": {Secret: true}}}
		}
		return &Definition{
			Key: &Key{Fields: []KeyField{field}}, Assertion: &Assertion{Key: "pem"},
			Token: TokenCall{Call: Call{Params: map[string]Template{"login": "{pem}"}}},
		}
	}
	unsent := of("", false)
	unsent.Token = TokenCall{}
	for _, test := range []struct {
		name     string
		d        *Definition
		kind     Kind
		ofTheApp bool
	}{
		{"the connection's key", of("", false), KindJWTBearer, false},
		{"a member of the connection's file", of("", true), KindJWTBearer, false},
		{"the operator's key", of(SetByProvider, false), KindJWTBearer, true},
		{"no key at all", &Definition{}, KindJWTBearer, true},
		{"a login of the connection", of("", false), KindKeyExchange, false},
		{"a login of the operator", of(SetByProvider, false), KindKeyExchange, true},
		{"a secret that no login brings", unsent, KindKeyExchange, true},
		{"a login without a key", &Definition{}, KindKeyExchange, true},
		{"a login without a secret", &Definition{Key: &Key{Fields: []KeyField{{Name: "id"}}}}, KindKeyExchange, true},
		{"an account held elsewhere", &Definition{}, KindBrokered, true},
		{"the app itself", &Definition{}, KindClientCredentials, true},
		{"a person's consent", of("", false), KindAuthorizationCode, false},
		{"a plain key", of("", false), KindAPIKey, false},
	} {
		assert.Equal(t, test.ofTheApp, test.d.OfTheApp(test.kind), test.name)
		buys := !test.ofTheApp && (test.kind == KindJWTBearer || test.kind == KindKeyExchange)
		assert.Equal(t, buys, test.d.BuysWithKey(test.kind), test.name)
	}
}

// Whatever claims and values hold: what is signed is what was said, each claim whole or left out, and no secret of the
// values is in it that no claim names.
func FuzzAssertionClaims(f *testing.F) {
	f.Add("{login}", "{login}@{host}", "ada", "acme.example")
	f.Add("{missing}", "x{}", "", "{login}")
	f.Add("{+login}", "{{login}}", "\x00\xff", `","admin":true,"x":"`)
	f.Add("SHA256:{key_fingerprint}", "{pem}", "\u2028", "\\")
	key := someKeys()["an ECDSA key of the curve P-256"]
	text := pkcs8(f, key)
	placeholder := regexp.MustCompile(`\{\+?(login|host)\}`)
	f.Fuzz(func(t *testing.T, first, second, login, host string) {
		if strings.Contains(first+second, "{pem}") || strings.Contains(first+second, "{+pem}") {
			t.Skip("a definition that names the secret is refused")
		}
		a := &Assertion{
			Alg: "ES256", Key: "pem", TTL: Duration{D: time.Minute},
			Claims: map[string]Template{"first": Template(first)}, Lists: map[string][]Template{"list": {Template(second)}},
			Header: map[string]Template{"kid": Template(second)},
		}
		token, _, err := a.sign(map[string]string{"pem": text, "login": login, "host": host}, signedAt)
		require.NoError(t, err)
		_, claims := opened(t, token.Reveal(), jose.ES256, key.Public())
		for name := range claims {
			assert.Contains(t, []string{"iat", "exp", "first", "list"}, name)
		}
		left := (login == "" && strings.Contains(first, "{login}")) || (host == "" && strings.Contains(first, "{host}"))
		if _, there := claims["first"]; left {
			assert.False(t, there, "a claim without its value")
		}
		whole := placeholder.ReplaceAllStringFunc(first, func(p string) string {
			return map[string]string{"login": login, "host": host}[strings.Trim(p, "{+}")]
		})
		if told, is := claims["first"].(string); is && utf8.ValidString(whole) && !placeholderPattern.MatchString(
			placeholder.ReplaceAllString(first, "")) {
			assert.Equal(t, whole, told)
		}
		holdsNothingOf(t, token.Reveal(), text)
	})
}

// A key file with a private key in it is refused or signs with that key; what refuses it repeats nothing.
func FuzzKeyFileSigns(f *testing.F) {
	d, err := Decode("robot.yaml", []byte(`id: robot
name: Robot
kinds: [jwt_bearer]
endpoints: {token: 'https://robots.example.com/token'}
key:
  fields:
    - name: file
      required: true
      secret: true
      json: {email: {required: true}, pem: {secret: true}}
assertion: {alg: ES256, key: pem, claims: {iss: '{email}'}, ttl: 1h}
token: {by_kind: {jwt_bearer: {auth: none}}}
account: {id: ['assertion:iss']}
`))
	require.NoError(f, err)
	key := someKeys()["an ECDSA key of the curve P-256"]
	whole := pkcs8(f, key)
	other, err := x509.MarshalPKCS8PrivateKey(someKeys()["an RSA key"])
	require.NoError(f, err)
	quoted := func(text string) string {
		encoded, _ := json.Marshal(text)
		return string(encoded)
	}
	f.Add(`{"email": "a@b", "pem": ` + quoted(whole) + `}`)
	f.Add(`{"email": "a@b", "pem": ` + quoted(pemOf("PRIVATE KEY", other)) + `}`)
	f.Add(`{"email": "a@b", "pem": ` + quoted(strings.ReplaceAll(whole, "\n", " ")) + `}`)
	f.Add(`{"email": "a@b", "pem": ` + quoted(whole+whole) + `, "pem": ""}`)
	f.Add(`{"email": "a@b", "PEM": ` + quoted(whole) + `}`)
	f.Add(`{"email": "a@b", "pem": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n"}`)
	f.Fuzz(func(t *testing.T, file string) {
		values := map[string]string{"file": file}
		_, err := d.CheckKey(SetByConnection, values)
		if err != nil {
			holdsNothingOf(t, err.Error(), whole)
			if len(file) > 40 && strings.Contains(err.Error(), file[:40]) {
				t.Fatalf("the error holds the file: %v", err)
			}
			return
		}
		derived := d.DeriveKey(values)
		token, _, err := d.Assertion.sign(derived, signedAt)
		require.NoError(t, err, "what was taken does not sign")
		parsed, err := parsePrivateKey(derived["pem"])
		require.NoError(t, err)
		_, claims := opened(t, token.Reveal(), jose.ES256, parsed.Public())
		assert.NotEmpty(t, claims["iss"])
	})
}
