package providers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clientKey is an EC key as PEM, with a certificate of it.
func clientKey(t *testing.T) (key *ecdsa.PrivateKey, text, certificate string, thumbprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	sum := sha256.Sum256(signed)
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})),
		base64.RawURLEncoding.EncodeToString(sum[:])
}

// keyedServer gives tokens to whoever signs with a key that it knows.
type keyedServer struct {
	*httptest.Server
	knows  *ecdsa.PublicKey
	seen   []url.Values
	header []map[string]any
	claims []map[string]any
}

func newKeyedServer(t *testing.T) *keyedServer {
	t.Helper()
	s := &keyedServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		s.seen = append(s.seen, form)
		w.Header().Set("Content-Type", "application/json")
		signed, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
		var payload []byte
		if err == nil {
			payload, err = signed.Verify(s.knows)
		}
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
			return
		}
		header := map[string]any{"kid": signed.Signatures[0].Header.KeyID}
		for name, value := range signed.Signatures[0].Header.ExtraHeaders {
			header[string(name)] = value
		}
		var claims map[string]any
		_ = json.Unmarshal(payload, &claims)
		s.header, s.claims = append(s.header, header), append(s.claims, claims)
		_, _ = w.Write([]byte(`{"access_token":"acc","expires_in":60}`))
	}))
	t.Cleanup(s.Close)
	return s
}

// The app proves itself by what it signs (RFC 7523 section 2.2), and its key goes nowhere.
func TestClientSigns(t *testing.T) {
	server := newKeyedServer(t)
	key, text, certificate, thumbprint := clientKey(t)
	server.knows = &key.PublicKey
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	definition := &Definition{
		ID: "signs", Name: "Signs", Kinds: []Kind{KindClientCredentials},
		Endpoints: map[Step]Template{StepToken: Template(server.URL + "/token")},
		Client:    ClientSpec{Auth: []string{"basic", authPrivateKeyJWT}},
	}
	app := &App{Definition: definition, ClientID: "app-1", ClientSecret: NewSecret(text)}
	client := NewClient(server.Client(), func() time.Time { return now }, "test")
	ask := func() error {
		res, err := client.Resolve(t.Context(), app, KindClientCredentials, nil)
		require.NoError(t, err)
		require.Equal(t, authPrivateKeyJWT, res.ClientAuth, "the secret is a key")
		_, err = client.Issue(t.Context(), app, IssueRequest{Kind: KindClientCredentials, Resolved: res})
		return err
	}
	require.NoError(t, app.CheckClientKey())
	require.NoError(t, ask())
	form := server.seen[0]
	assert.Equal(t, clientAssertionType, form.Get("client_assertion_type"))
	assert.Equal(t, "app-1", form.Get("client_id"))
	assert.Empty(t, form.Get("client_secret"))
	claims := server.claims[0]
	assert.NotEmpty(t, claims["jti"])
	delete(claims, "jti")
	assert.Equal(t, map[string]any{
		"iss": "app-1", "sub": "app-1", "aud": server.URL + "/token", "iat": float64(now.Unix()),
		"exp": float64(now.Add(5 * time.Minute).Unix()),
	}, claims)
	assert.Equal(t, map[string]any{"kid": "", "typ": "JWT"}, server.header[0])

	// as the operator and the definition say
	app.ClientKeyID, app.ClientCertificate, app.Issuer = "key-1", certificate, "https://issuer.example.com"
	definition.Client.Assertion = &ClientAssertion{
		Claims: map[string]Template{"scope": "{scopes}", "tenant": "{client_id}"}, TTL: Duration{D: time.Minute},
		NotBefore: true,
	}
	require.NoError(t, app.CheckClientKey())
	require.NoError(t, ask())
	assert.Equal(t, map[string]any{"kid": "key-1", "typ": "JWT", "x5t#S256": thumbprint}, server.header[1])
	claims = server.claims[1]
	assert.Equal(t, "https://issuer.example.com", claims["aud"], "the issuer, where one is known")
	assert.Equal(t, "app-1", claims["tenant"])
	assert.NotContains(t, claims, "scope", "none is asked for")
	assert.Equal(t, claims["iat"], claims["nbf"])
	assert.InDelta(t, float64(now.Add(time.Minute).Unix()), claims["exp"], 0)
	assert.NotEqual(t, server.seen[0].Get("client_assertion"), server.seen[1].Get("client_assertion"))
}

// While the key is rotated, the former one serves after a clean refusal of the new one, and only then.
func TestClientKeyIsRotated(t *testing.T) {
	server := newKeyedServer(t)
	former, formerText, _, _ := clientKey(t)
	_, text, _, _ := clientKey(t)
	server.knows = &former.PublicKey
	app := &App{
		Definition: &Definition{
			ID: "signs", Kinds: []Kind{KindClientCredentials},
			Endpoints: map[Step]Template{StepToken: Template(server.URL + "/token")},
		},
		ClientID: "app-1", ClientSecret: NewSecret(text), FormerSecret: NewSecret(formerText),
	}
	client := NewClient(server.Client(), time.Now, "test")
	res, err := client.Resolve(t.Context(), app, KindClientCredentials, nil)
	require.NoError(t, err)
	_, err = client.Issue(t.Context(), app, IssueRequest{Kind: KindClientCredentials, Resolved: res})
	require.NoError(t, err)
	assert.Len(t, server.seen, 2)
	app.FormerSecret = Secret{}
	_, err = client.Issue(t.Context(), app, IssueRequest{Kind: KindClientCredentials, Resolved: res})
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "invalid_client", failure.Code)
	assert.NotContains(t, err.Error(), "BEGIN")
}

func TestCheckClientKey(t *testing.T) {
	_, text, certificate, _ := clientKey(t)
	_, _, stranger, _ := clientKey(t)
	for name, c := range map[string]struct {
		app  App
		auth []string
		alg  string
		says string
	}{
		"a secret":            {app: App{ClientSecret: NewSecret("secret")}},
		"a key":               {app: App{ClientSecret: NewSecret(text), ClientCertificate: certificate}},
		"asked for":           {app: App{ClientSecret: NewSecret(text), ClientAuth: authPrivateKeyJWT}},
		"no key":              {app: App{ClientSecret: NewSecret("secret"), ClientAuth: authPrivateKeyJWT}, says: "as PEM"},
		"no use":              {app: App{ClientSecret: NewSecret(text), ClientAuth: "post"}, says: "has no use for a private key"},
		"not taken":           {app: App{ClientSecret: NewSecret(text)}, auth: []string{"post"}, says: "takes no private key"},
		"broken":              {app: App{ClientSecret: NewSecret("-----BEGIN PRIVATE KEY-----\nAA")}, says: "no whole PEM"},
		"another alg":         {app: App{ClientSecret: NewSecret(text)}, alg: "PS256", says: "the service takes PS256"},
		"another certificate": {app: App{ClientSecret: NewSecret(text), ClientCertificate: stranger}, says: "another key"},
		"of no key":           {app: App{ClientSecret: NewSecret("secret"), ClientKeyID: "k"}, says: "tell of a private key"},
		"no certificate":      {app: App{ClientSecret: NewSecret(text), ClientCertificate: text}, says: "no single certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			c.app.Definition = &Definition{Name: "Test", Client: ClientSpec{Auth: c.auth}}
			if c.alg != "" {
				c.app.Definition.Client.Assertion = &ClientAssertion{Alg: c.alg}
			}
			err := c.app.CheckClientKey()
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "MI")
		})
	}
}
