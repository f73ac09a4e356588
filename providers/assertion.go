package providers

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Assertion is a JWT that is signed with a key field. It buys a token (RFC 7523 section 2.1), or is one. iat and exp
// (RFC 7519 section 4.1) are always in it.
type Assertion struct {
	Alg string `yaml:"alg" words:"RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|ES512|EdDSA"`
	// the key field that holds the private key as PEM, or the member of one that is a file
	Key string `yaml:"key"`
	// beside alg and typ; one whose placeholder has no value is left out, as a claim is
	Header map[string]Template `yaml:"header,omitempty"`
	Claims map[string]Template `yaml:"claims"`
	// claims that are lists of texts; what has no value is left out of the list
	Lists map[string][]Template `yaml:"claim_lists,omitempty"`
	// how long it is good for
	TTL Duration `yaml:"ttl"`
	// iat lies so far back, for services whose clock is behind ours
	Skew Duration `yaml:"skew,omitempty"`
	// a random jti goes along (RFC 7519 section 4.1.7)
	JTI bool `yaml:"jti,omitempty"`
	// nbf goes along, and is iat
	NotBefore bool `yaml:"nbf,omitempty"`
	// nothing is bought with it: it is the access token that applications get
	Credential bool `yaml:"credential,omitempty"`
}

// The placeholders of an assertion.
const (
	// placeholderAssertion is the signed assertion, in the calls that it is made for.
	placeholderAssertion = "assertion"
	// placeholderFingerprint is the SHA-256 of the public key (SubjectPublicKeyInfo, DER) in base64, in claims and header.
	placeholderFingerprint = "key_fingerprint"
)

const maxAssertionTTL = 366 * 24 * time.Hour

// checkKey refuses what is no private key for the assertion's algorithm. The error says what it is, and holds nothing
// of it.
func (a *Assertion) checkKey(pem string) error {
	key, err := parsePrivateKey(pem)
	if err != nil {
		return err
	}
	return fitsAlg(key, a.Alg)
}

// sign makes the assertion as of now, and tells when it ends.
func (a *Assertion) sign(values map[string]string, now time.Time) (token Secret, expires time.Time, err error) {
	key, err := parsePrivateKey(values[a.Key])
	if err != nil {
		return Secret{}, time.Time{}, err
	}
	if err := fitsAlg(key, a.Alg); err != nil {
		return Secret{}, time.Time{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Secret{}, time.Time{}, errors.New("holds a key whose public part cannot be written down")
	}
	sum := sha256.Sum256(der)
	known := func(name string) string {
		if name == placeholderFingerprint {
			return base64.StdEncoding.EncodeToString(sum[:])
		}
		return values[name]
	}
	issued := now.Add(-a.Skew.D).Unix()
	expires = now.Add(a.TTL.D).Truncate(time.Second)
	claims := map[string]any{"iat": issued, "exp": expires.Unix()}
	if a.NotBefore {
		claims["nbf"] = issued
	}
	if a.JTI {
		claims["jti"] = rand.Text()
	}
	for name, template := range a.Claims {
		if text, whole := template.fill(known); whole {
			claims[name] = text
		}
	}
	for name, templates := range a.Lists {
		var list []string
		for _, template := range templates {
			if text, whole := template.fill(known); whole {
				list = append(list, text)
			}
		}
		if len(list) > 0 {
			claims[name] = list
		}
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	for name, template := range a.Header {
		if text, whole := template.fill(known); whole {
			options = options.WithHeader(jose.HeaderKey(name), text)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(a.Alg), Key: key}, options)
	if err != nil {
		return Secret{}, time.Time{}, fmt.Errorf("holds a key with which no %s is signed", a.Alg)
	}
	payload, _ := json.Marshal(claims) // texts, lists of texts and numbers always encode
	signed, err := signer.Sign(payload)
	if err != nil {
		return Secret{}, time.Time{}, fmt.Errorf("holds a key with which no %s is signed", a.Alg)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		return Secret{}, time.Time{}, fmt.Errorf("holds a key with which no %s is signed", a.Alg)
	}
	return NewSecret(text), expires, nil
}

// fill puts values in as they are; whole is false when one is missing or empty.
func (t Template) fill(value func(name string) string) (text string, whole bool) {
	whole = true
	text = placeholderPattern.ReplaceAllStringFunc(string(t), func(placeholder string) string {
		found := value(strings.Trim(placeholder, "{+}"))
		whole = whole && found != ""
		return found
	})
	return text, whole
}

// asserts is the assertion that goes with a kind; nil: none does.
func (d *Definition) asserts(kind Kind) *Assertion {
	if kind != KindJWTBearer {
		return nil
	}
	return d.Assertion
}

// assert signs the assertion for a step, and gives it to the placeholder.
func (c *Client) assert(app *App, step Step, values map[string]string) *Error {
	assertion := app.Definition.Assertion
	signed, _, err := assertion.sign(values, c.now())
	if err != nil {
		return keyDoesNot(step, assertion.Key, err)
	}
	values[placeholderAssertion] = signed.Reveal()
	return nil
}

// keyDoesNot tells that nothing can be signed with a key.
func keyDoesNot(step Step, field string, err error) *Error {
	return notSent(step, "key field "+field+" "+err.Error())
}

// claimsOf are the claims of an assertion of our own.
func claimsOf(assertion string) any {
	claims, _ := idTokenClaims(assertion)
	return claims
}

// needsAssertion reports whether a call is made with the definition's assertion.
func (k *Call) needsAssertion() bool {
	if k.Auth == authAssertion {
		return true
	}
	for _, t := range k.templates() {
		for _, name := range t.Placeholders() {
			if name == placeholderAssertion {
				return true
			}
		}
	}
	return false
}
