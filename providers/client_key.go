package providers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// authPrivateKeyJWT is the client authentication by an assertion that the app signs with a key of its own, which is
// its client secret then (RFC 7523 section 2.2, OpenID Connect Core section 9).
const authPrivateKeyJWT = "private_key_jwt"

// clientAssertionType stands beside the assertion (RFC 7523 section 2.2).
const clientAssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ClientAssertion is what private_key_jwt signs, where a service wants it otherwise than RFC 7523 section 3 says. A jti
// is always in it, and iss, sub and aud are as there unless claims name them.
type ClientAssertion struct {
	// absent: RS256, ES256 and so on, as the key is
	Alg    string              `yaml:"alg,omitempty" words:"RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|ES512|EdDSA"`
	Header map[string]Template `yaml:"header,omitempty"` // beside kid, and x5t#S256 where there is a certificate
	Claims map[string]Template `yaml:"claims,omitempty"` // one whose placeholder has no value is left out
	TTL    Duration            `yaml:"ttl,omitempty"`    // absent: five minutes
	// nbf goes along, and is iat
	NotBefore bool `yaml:"nbf,omitempty"`
}

// The placeholders of a client's assertion.
const (
	placeholderTokenEndpoint = "token_endpoint" // where the call goes
	placeholderAudience      = "client_audience"
	placeholderKeyID         = "client_key_id"
	placeholderThumbprint    = "certificate_thumbprint" // SHA-256 of the certificate, base64url (RFC 7515 section 4.1.8)
)

const (
	clientAssertionTTL = 5 * time.Minute
	clientKeyField     = "client_secret"
)

// IsPrivateKey reports whether a client secret is a private key, which signs and is never sent: what goes along in a
// header or a form has no lines.
func IsPrivateKey(secret Secret) bool { return strings.Contains(secret.Reveal(), "-----BEGIN ") }

// CheckClientKey refuses a client key with which nothing can be signed, one that the authentication has no use for, and
// a certificate of another key. Errors hold nothing of the key.
func (a *App) CheckClientKey() error {
	var certificate *x509.Certificate
	if a.ClientCertificate != "" { // which is told to whoever reads the provider, so a key must not stand there
		var err error
		if certificate, err = parseCertificate(a.ClientCertificate); err != nil {
			return fmt.Errorf("client_certificate %w", err)
		}
	}
	key := IsPrivateKey(a.ClientSecret)
	switch {
	case a.ClientSecret.IsZero():
		return nil
	case a.ClientAuth == authPrivateKeyJWT && !key:
		return errors.New("client_auth private_key_jwt signs with a key: write that as client_secret, as PEM")
	case !key && a.ClientCertificate+a.ClientKeyID != "":
		return errors.New("client_key_id and client_certificate tell of a private key: write that as client_secret, or " +
			"empty them")
	case !key:
		return nil
	case a.ClientAuth != "" && a.ClientAuth != authPrivateKeyJWT:
		return fmt.Errorf("client_auth %s has no use for a private key: write private_key_jwt, or another client_secret",
			a.ClientAuth)
	case !a.Definition.takesClientAuth(authPrivateKeyJWT):
		return fmt.Errorf("%s takes no private key as client_secret: write the secret itself", a.Definition.Name)
	}
	signer, err := parsePrivateKey(a.ClientSecret.Reveal())
	if err != nil {
		return fmt.Errorf("client_secret %w", err)
	}
	if err := fitsAlg(signer, a.Definition.Client.algFor(signer)); err != nil {
		return fmt.Errorf("client_secret %w", err)
	}
	if certificate == nil {
		return nil
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return errors.New("client_certificate is for another key than client_secret: write both that belong together")
	}
	return nil
}

// parseCertificate reads the one certificate that a PEM text holds.
func parseCertificate(text string) (*x509.Certificate, error) {
	text = strings.TrimSpace(text)
	block, rest := pem.Decode([]byte(text)) // which passes over what stands before the block that it takes
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || strings.TrimSpace(string(rest)) != "" ||
		!strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----") || strings.Count(text, "-----BEGIN ") > 1 {
		return nil, errors.New("holds no single certificate: write the one of the key, as PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("holds no certificate that can be read: copy it whole")
	}
	return certificate, nil
}

// styleWith is the style in which a secret proves the app, where its connections have style: of an app whose secret was
// a text and is a key now, or the other way round, a flow has the one of the time before, and the former secret another.
// A private key signs, and is never sent. Empty: nobody knows how the app proved itself with a text.
func (a *App) styleWith(secret Secret, style string) string {
	key := IsPrivateKey(secret)
	switch {
	case key && usesSecret(style):
		return authPrivateKeyJWT
	case key || style != authPrivateKeyJWT || secret.IsZero():
		return style
	}
	i := slices.IndexFunc(a.Definition.Client.Auth, func(other string) bool {
		return usesSecret(other) && other != authPrivateKeyJWT
	})
	if i < 0 {
		return ""
	}
	return a.Definition.Client.Auth[i]
}

// takesClientAuth reports whether a style may be used with the service.
func (d *Definition) takesClientAuth(style string) bool {
	allowed := d.Client.Auth
	if d.Generic || len(allowed) == 0 {
		return true
	}
	for _, other := range allowed {
		if other == style || other == authFromDiscovery {
			return true
		}
	}
	return false
}

// algFor is the algorithm that the client's assertion is signed with.
func (s ClientSpec) algFor(key crypto.Signer) string {
	if s.Assertion != nil && s.Assertion.Alg != "" {
		return s.Assertion.Alg
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Params().BitSize]
	case ed25519.PrivateKey:
		return "EdDSA"
	}
	return "RS256"
}

// signClient makes the client's assertion for a call. The audience is the issuer where one is known, and else where the
// call goes.
func (a *App) signClient(k call, now time.Time) (Secret, *Error) {
	signer, err := parsePrivateKey(k.secret.Reveal())
	if err != nil {
		return Secret{}, keyDoesNot(k.step, "client_secret", err)
	}
	target := url.URL{Scheme: k.target.Scheme, Host: k.target.Host, Path: k.target.Path}
	keyID, proof := a.ClientKeyID, a.ClientCertificate
	if !k.secret.Equal(a.ClientSecret) {
		keyID, proof = a.FormerKeyID, a.FormerCertificate
	}
	values := map[string]string{
		"client_id": a.ClientID, "issuer": k.issuer, "scopes": k.values["scopes"], clientKeyField: k.secret.Reveal(),
		placeholderTokenEndpoint: target.String(), placeholderAudience: k.issuer, placeholderKeyID: keyID,
	}
	if k.issuer == "" {
		values[placeholderAudience] = target.String()
	}
	if proof != "" {
		certificate, err := parseCertificate(proof)
		if err != nil {
			return Secret{}, keyDoesNot(k.step, "client_certificate", err)
		}
		sum := sha256.Sum256(certificate.Raw)
		values[placeholderThumbprint] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	assertion := &Assertion{
		Alg: a.Definition.Client.algFor(signer), Key: clientKeyField, JTI: true, TTL: Duration{D: clientAssertionTTL},
		Header: map[string]Template{"kid": "{client_key_id}", "x5t#S256": "{certificate_thumbprint}"},
		Claims: map[string]Template{"iss": "{client_id}", "sub": "{client_id}", "aud": "{client_audience}"},
	}
	if own := a.Definition.Client.Assertion; own != nil {
		for name, template := range own.Header {
			assertion.Header[name] = template
		}
		for name, template := range own.Claims {
			assertion.Claims[name] = template
		}
		if own.TTL.D > 0 {
			assertion.TTL = own.TTL
		}
		assertion.NotBefore = own.NotBefore
	}
	signed, _, err := assertion.sign(values, now)
	if err != nil {
		return Secret{}, keyDoesNot(k.step, "client_secret", err)
	}
	return signed, nil
}
