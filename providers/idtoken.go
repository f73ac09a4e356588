package providers

import (
	"context"
	"crypto"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// signingAlgs are the asymmetric algorithms: "none" proves nothing, and with HMAC everybody who holds the client
// secret could sign.
var signingAlgs = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.EdDSA,
}

// asymmetric picks from what an issuer says it signs with.
func asymmetric(algs []string) []string {
	return slices.DeleteFunc(slices.Clone(algs), func(alg string) bool { return !slices.Contains(signingAlgs, alg) })
}

// issuerKeys fetches the issuer's signing keys. It is called before the code is spent, so that a key server which is
// down costs nobody a consent; and afresh each time, so that a rotated key is never missing.
func (c *Client) issuerKeys(ctx context.Context, res Resolved) (*oidc.StaticKeySet, *Error) {
	target, err := url.Parse(res.JWKS)
	if err != nil {
		return nil, &Error{Class: Misconfigured, Step: StepDiscovery, Reason: ReasonNoEndpoint}
	}
	r, failure := c.fetchOf(ctx, res.Issuer, "key set", target)
	if failure != nil {
		return nil, failure
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	keys := &oidc.StaticKeySet{}
	if json.Unmarshal(r.body, &set) == nil {
		for _, raw := range set.Keys {
			var key jose.JSONWebKey
			// A key of a kind this engine does not know is skipped: the next may be the one that signs.
			if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() && key.Use != "enc" {
				keys.PublicKeys = append(keys.PublicKeys, crypto.PublicKey(key.Key))
			}
		}
	}
	if len(keys.PublicKeys) == 0 {
		return nil, wrongIssuer(Misconfigured, ReasonDiscoveryRefused,
			"%q publishes no key that an id_token could be checked with", shownURL(res.Issuer))
	}
	return keys, nil
}

// verifyIDToken checks an id_token as OpenID Connect Core section 3.1.3.7 says, and returns its claims.
func (c *Client) verifyIDToken(ctx context.Context, app *App, res Resolved, keys *oidc.StaticKeySet, raw, nonce string,
	access Secret,
) (any, *Error) {
	refuse := func(reason string, class Class) *Error {
		return &Error{Class: class, Step: StepToken, Reason: reason}
	}
	verifier := oidc.NewVerifier(res.Issuer, keys, &oidc.Config{
		ClientID: app.ClientID, SupportedSigningAlgs: asymmetric(res.SigningAlgs), Now: c.now,
	})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, refuse(ReasonIDTokenRefused, Misconfigured) // the library's text quotes claims
	}
	if token.AccessTokenHash != "" && token.VerifyAccessToken(access.Reveal()) != nil {
		return nil, refuse(ReasonIDTokenRefused, Misconfigured)
	}
	claims, ok := idTokenClaims(raw)
	if party := lookupText(claims, "azp"); !ok || party != "" && party != app.ClientID {
		return nil, refuse(ReasonIDTokenRefused, Misconfigured)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1 {
		return nil, refuse(ReasonNonceMismatch, Rejected) // a code from somebody else's flow
	}
	return claims, nil
}

// accessTokenClaims are those of an access token that is a JWT (RFC 9068); nil when it is none.
func (g *Grant) accessTokenClaims() any {
	claims, ok := idTokenClaims(g.AccessToken.Reveal())
	if !ok {
		return nil
	}
	return claims
}

// idTokenClaims reads the payload of an id_token without checking it. By itself that is good only for a token that
// came straight from the token endpoint over TLS (OpenID Connect Core section 3.1.3.7, rule 6).
func idTokenClaims(raw string) (any, bool) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, false
	}
	claims, err := decodeJSON(payload)
	_, object := claims.(map[string]any)
	return claims, err == nil && object
}
