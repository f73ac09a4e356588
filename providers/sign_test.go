package providers_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// doer answers without a network, and keeps what was asked.
type doer struct {
	asked  []*http.Request
	status int
	body   string
	header http.Header
}

func (d *doer) Do(r *http.Request) (*http.Response, error) {
	d.asked = append(d.asked, r)
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.WroteHeaders()
	}
	return &http.Response{StatusCode: d.status, Header: d.header.Clone(), Body: io.NopCloser(strings.NewReader(d.body))}, nil
}

// The double that fixtures are compared by is right: the examples of AWS's own suite for version 4, "get-vanilla" and
// "post-x-www-form-urlencoded".
func TestSigV4OfTheDouble(t *testing.T) {
	const id, secret = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	for _, c := range []struct {
		method, body, signed, signature string
		header                          map[string]string
	}{
		{
			method: http.MethodGet, signed: "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
		},
		{
			method: http.MethodPost, body: "Param1=value1", signed: "content-type;host;x-amz-date",
			header:    map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
			signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
		},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "https://example.amazonaws.com/", nil)
		require.NoError(t, err)
		r.Header.Set("X-Amz-Date", "20150830T123600Z")
		for name, value := range c.header {
			r.Header.Set(name, value)
		}
		assert.Equal(t, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="+
			c.signed+", Signature="+c.signature, providertest.SigV4(r, []byte(c.body), id, secret, "service", "us-east-1"))
	}
}

const bucketYAML = `id: store
name: Store
kinds: [key_pair]
inputs:
  - {name: endpoint, set_by: provider, by_kind: {key_pair: {set_by: connection}}, pattern: 'https?://[^\s/?#@]+'}
  - {name: bucket, set_by: either, pattern: '[a-z0-9.-]+'}
endpoints: {health: '{endpoint}/{bucket}'}
sign:
  aws_sigv4: {service: s3, region: any, access_key_id: '{id}', secret_access_key: '{secret}', session_token: '{session}', body_hash: true}
health:
  auth: aws_sigv4
  inputs: {endpoint: 'https://.+', bucket: '.+'}
key:
  fields:
    - {name: id, required: true}
    - {name: secret, required: true, secret: true, handed_out: true}
    - {name: session, secret: true, handed_out: true}
`

func storeApp(t *testing.T) *providers.App {
	t.Helper()
	def, err := providers.Decode("store.yaml", []byte(bucketYAML))
	require.NoError(t, err)
	return &providers.App{Definition: def}
}

// What is signed is what is sent: the host without its usual port, and nothing of the secret.
func TestSignedRequest(t *testing.T) {
	app, at := storeApp(t), time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	d := &doer{status: http.StatusOK, body: `{}`}
	client := providers.NewClient(d, func() time.Time { return at }, "agent/1")
	for endpoint, host := range map[string]string{
		"https://store.example.com": "store.example.com", "https://store.example.com:443": "store.example.com",
		"https://store.example.com:9000": "store.example.com:9000",
	} {
		res, err := client.Resolve(t.Context(), app, providers.KindKeyPair,
			map[string]string{"endpoint": endpoint, "bucket": "reports"})
		require.NoError(t, err)
		g := &providers.Grant{SecretConfig: concealed(map[string]string{"id": "id-1", "secret": "s3cret-value"})}
		_, err = client.Check(t.Context(), app, res, providers.KindKeyPair, g)
		require.NoError(t, err)
		r := d.asked[len(d.asked)-1]
		assert.Equal(t, host, r.URL.Host)
		assert.Equal(t, providertest.SigV4(r, nil, "id-1", "s3cret-value", "s3", "any"), r.Header.Get("Authorization"))
		assert.NotContains(t, r.Header, "X-Amz-Security-Token")
		for _, values := range r.Header {
			assert.NotContains(t, strings.Join(values, " "), "s3cret-value")
		}
	}
	res, err := client.Resolve(t.Context(), app, providers.KindKeyPair,
		map[string]string{"endpoint": "https://store.example.com", "bucket": "reports"})
	require.NoError(t, err)
	_, err = client.Check(t.Context(), app, res, providers.KindKeyPair, &providers.Grant{})
	assert.ErrorContains(t, err, "incomplete_call", "a key of which a part is missing signs nothing")
}

// A key is tried at no host that nobody named for it, and where its call is not made, that is no mistake.
func TestSignedWhereItsInputsSay(t *testing.T) {
	app := storeApp(t)
	d := &doer{status: http.StatusOK, body: `{}`}
	client := providers.NewClient(d, time.Now, "")
	for _, inputs := range []map[string]string{
		{},
		{"bucket": "reports"},
		{"endpoint": "https://store.example.com"},
		{"endpoint": "http://store.internal", "bucket": "reports"},
	} {
		res, err := client.Resolve(t.Context(), app, providers.KindKeyPair, inputs)
		require.NoError(t, err)
		assert.False(t, app.CanCheck(res, providers.KindKeyPair), "%v", inputs)
		assert.False(t, app.Checks(providers.KindKeyPair, inputs), "%v", inputs)
		assert.Contains(t, app.WhyUnchecked(res, providers.KindKeyPair), "checkable where")
		require.NoError(t, client.CheckKeyHost(app, providers.KindKeyPair, inputs))
		_, err = client.Check(t.Context(), app, res, providers.KindKeyPair, &providers.Grant{})
		require.Error(t, err)
	}
	assert.Empty(t, d.asked)
	assert.True(t, app.Checks(providers.KindKeyPair,
		map[string]string{"endpoint": "https://store.example.com", "bucket": "reports"}))
}

// Where the clock is wrong, a good key is refused like a wrong one.
func TestRefusedByTheClock(t *testing.T) {
	app, at := storeApp(t), time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	inputs := map[string]string{"endpoint": "https://store.example.com", "bucket": "reports"}
	for date, reason := range map[string]string{
		"":                              "refused",
		"not a date":                    "refused",
		"Sun, 29 Nov 2026 12:00:20 GMT": "refused",
		"Sun, 29 Nov 2026 12:05:00 GMT": "clocks_differ",
		"Sun, 29 Nov 2026 11:55:00 GMT": "clocks_differ",
	} {
		d := &doer{status: http.StatusUnauthorized, header: http.Header{"Date": {date}}}
		client := providers.NewClient(d, func() time.Time { return at }, "")
		res, err := client.Resolve(t.Context(), app, providers.KindKeyPair, inputs)
		require.NoError(t, err)
		g := &providers.Grant{SecretConfig: concealed(map[string]string{"id": "id-1", "secret": "s3cret"})}
		_, err = client.Check(t.Context(), app, res, providers.KindKeyPair, g)
		var failure *providers.Error
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, reason, failure.Reason, date)
		assert.Equal(t, reason == "refused", failure.Class == providers.Rejected, date)
	}
}

func privatePEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// A key with which requests cannot be signed is refused when it is written, and told as what it is.
func TestKeyThatCannotSign(t *testing.T) {
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	def, _ := catalog.Get("coinbase")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(p256.Public())
	require.NoError(t, err)
	mixed := append(append([]byte{}, ed[:32]...), make([]byte, 32)...)

	for says, key := range map[string]string{
		"":                               privatePEM(t, p256),
		" ":                              base64.StdEncoding.EncodeToString(ed),
		"holds an RSA key, and":          privatePEM(t, rsaKey),
		"of the curve P-384":             privatePEM(t, p384),
		"holds a public key":             string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		"two halves":                     base64.StdEncoding.EncodeToString(mixed),
		"is no PEM":                      base64.StdEncoding.EncodeToString(ed[:32]),
		`its line breaks are written as`: strings.ReplaceAll(privatePEM(t, p256), "\n", `\n`),
	} {
		_, err := def.CheckKey(providers.SetByConnection, map[string]string{
			"key_name": "66666666-7777-4888-8999-000000000000", "private_key": key,
		})
		if strings.TrimSpace(says) == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, `field "private_key" `, says)
		require.ErrorContains(t, err, says)
		for line := range strings.SplitSeq(key, "\n") {
			if len(line) > 20 && !strings.HasPrefix(line, "---") {
				assert.NotContains(t, err.Error(), line[:20])
			}
		}
	}
}

// A key that was stored before anybody looked signs nothing, and the check says why.
func TestStoredKeyThatCannotSign(t *testing.T) {
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	def, _ := catalog.Get("coinbase")
	d := &doer{status: http.StatusOK, body: `{}`}
	client := providers.NewClient(d, time.Now, "")
	app := &providers.App{Definition: def}
	res, err := client.Resolve(t.Context(), app, providers.KindKeyPair, nil)
	require.NoError(t, err)
	_, err = client.Check(t.Context(), app, res, providers.KindKeyPair, &providers.Grant{SecretConfig: concealed(
		map[string]string{"key_name": "66666666-7777-4888-8999-000000000000", "private_key": "-----BEGIN CERTIFICATE-----"},
	)})
	var failure *providers.Error
	require.ErrorAs(t, err, &failure)
	assert.True(t, failure.NotSent())
	assert.ErrorContains(t, err, "nothing was sent: the key as it is stored is no whole PEM")
	assert.Empty(t, d.asked)
}
