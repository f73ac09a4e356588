package providers_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// keysOf are the keys that a server publishes, made to be for a use.
func keysOf(t *testing.T, server *providertest.Server, use string) []jose.JSONWebKey {
	t.Helper()
	answer, err := http.Get(server.URL + "/jwks")
	require.NoError(t, err)
	defer func() { assert.NoError(t, answer.Body.Close()) }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	var set jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(body, &set))
	require.NotEmpty(t, set.Keys)
	for i := range set.Keys {
		set.Keys[i].Use = use
	}
	return set.Keys
}

// A key for encryption signs nothing (RFC 7517 section 4.2).
func TestExchangeHeedsTheUseOfKeys(t *testing.T) {
	for name, test := range map[string]struct {
		uses   []string // of the server's own keys; each is listed once
		others string   // use of another server's keys, listed beside them
		reason string
		asked  int // token calls
	}{
		"for signatures": {uses: []string{"sig"}, asked: 1},
		"for anything":   {uses: []string{""}, asked: 1},
		"for encryption": {uses: []string{"enc"}, reason: providers.ReasonDiscoveryRefused},
		"for signatures, beside one for encryption": {uses: []string{"sig"}, others: "enc", asked: 1},
		"for encryption, beside another's signatures": {
			uses: []string{"enc"}, others: "sig", reason: providers.ReasonIDTokenRefused, asked: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, other := providertest.New(t), providertest.New(t)
			var set jose.JSONWebKeySet
			if test.others != "" {
				set.Keys = keysOf(t, other, test.others)
			}
			for _, use := range test.uses {
				set.Keys = append(set.Keys, keysOf(t, server, use)...)
			}
			published, err := json.Marshal(set)
			require.NoError(t, err)
			f := begin(t, server, newClient(t, time.Now), openID(server), "openid")
			server.Next("jwks", providertest.Respond(200, string(published)))
			_, err = f.client.Exchange(t.Context(), f.app, f.finish)
			assert.Equal(t, test.asked, server.Count("token"))
			if test.reason == "" {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, test.reason, failure(t, err).Reason)
		})
	}
}

// answersWith lets the token endpoint give an id_token for a flow, signed with another key than the server's own.
func (f *flow) answersWith(t *testing.T, server *providertest.Server, alg jose.SignatureAlgorithm, key any) {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	require.NoError(t, err)
	claims, err := json.Marshal(map[string]any{
		"iss": server.URL, "sub": "a", "aud": providertest.ClientID, "nonce": f.finish.Nonce,
		"exp": time.Now().Add(time.Hour).Unix(),
	})
	require.NoError(t, err)
	signed, err := signer.Sign(claims)
	require.NoError(t, err)
	compact, err := signed.CompactSerialize()
	require.NoError(t, err)
	server.Next(providers.StepToken, providertest.Respond(200, `{"access_token":"tok","id_token":"`+compact+`"}`))
}

// Whoever holds the client secret could sign with it, and an issuer that lists HS256 would have it taken.
func TestExchangeRefusesSymmetricSignatures(t *testing.T) {
	server := providertest.New(t)
	f := begin(t, server, newClient(t, time.Now), openID(server), "openid")
	f.finish.Resolved.SigningAlgs = []string{"HS256", "ES256", "none"}
	f.answersWith(t, server, jose.HS256, []byte(strings.Repeat(providertest.ClientSecret, 2)))
	_, err := f.client.Exchange(t.Context(), f.app, f.finish)
	assert.Equal(t, providers.ReasonIDTokenRefused, failure(t, err).Reason)
}

// Of a list with nothing fit in it nothing counts, and RS256 is what every issuer must have (OpenID Connect Discovery
// section 3).
func TestExchangeHeedsNoUnfitAlgorithms(t *testing.T) {
	server := providertest.New(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	published, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), Use: "sig"}}})
	require.NoError(t, err)
	for _, listed := range [][]string{{"HS256", "none"}, nil, {"RS256"}} {
		f := begin(t, server, newClient(t, time.Now), openID(server), "openid")
		f.finish.Resolved.SigningAlgs = listed
		server.Next("jwks", providertest.Respond(200, string(published)))
		f.answersWith(t, server, jose.RS256, key)
		f.exchange(t)
	}
}

// What came before a refusal is given back for one purpose: somebody may have to revoke it.
func TestExchangeGivesBackWhatIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		answer providertest.Behavior
		change func(*flow)
		given  bool
		reason string
	}{
		"no id_token": {
			answer: providertest.Respond(200, `{"access_token":"tok"}`), given: true,
			reason: providers.ReasonIDTokenMissing,
		},
		"of another flow": {
			change: func(f *flow) { f.finish.Nonce = "another" }, given: true, reason: providers.ReasonNonceMismatch,
		},
		"a capture is missing": {
			change: func(f *flow) {
				f.app.Definition.Connection = []providers.Capture{
					{Name: "team", From: "token", Path: []string{"team"}, Required: true},
				}
			}, given: true, reason: providers.ReasonCaptureMissing,
		},
		"the code is refused": {
			answer: providertest.Respond(400, `{"error":"invalid_grant"}`), reason: providers.ReasonRefused,
		},
		"nothing was asked": {
			change: func(f *flow) { f.finish.Callback["iss"] = "https://evil.test" }, reason: providers.ReasonIssuerMismatch,
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			f := begin(t, server, newClient(t, time.Now), openID(server), "openid")
			if test.answer != nil {
				server.Next(providers.StepToken, test.answer)
			}
			if test.change != nil {
				test.change(f)
			}
			g, err := f.client.Exchange(t.Context(), f.app, f.finish)
			assert.Equal(t, test.reason, failure(t, err).Reason)
			require.Equal(t, test.given, g != nil)
			if g != nil {
				assert.False(t, g.AccessToken.IsZero())
				assert.Equal(t, providers.Account{}, g.Account)
			}
		})
	}
}
