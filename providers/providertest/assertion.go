package providertest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// assertion is what a JWT holds that is signed with the key of a fixture. Its times count from the time of the play,
// and * stands for a text that is another each time.
type assertion struct {
	Header map[string]any `json:"header"`
	Claims map[string]any `json:"claims"`
}

// fixtureAssertion stands for an assertion that is as it should be.
const fixtureAssertion = "assertion-1"

// fixtureKeys are the private keys of fixtures, made anew each time.
var fixtureKeys = sync.OnceValue(func() map[string]crypto.Signer {
	ofRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // there is no randomness
	}
	ofEC, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{"{rsa_private_key}": ofRSA, "{ec_private_key}": ofEC}
})

// withKeys puts private keys into a section, as PEM whose line breaks are written as \n, and the fingerprints of their
// public keys: SHA-256 of SubjectPublicKeyInfo (DER) in base64.
func withKeys(text string) string {
	for word, key := range fixtureKeys() {
		text = strings.ReplaceAll(text, strings.Replace(word, "_private_key", "_key_fingerprint", 1), fingerprint(key))
		if !strings.Contains(text, word) {
			continue
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			panic(err) // of keys of our own
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		text = strings.ReplaceAll(text, word, strings.ReplaceAll(string(block), "\n", `\n`))
	}
	return text
}

func fingerprint(key crypto.Signer) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err) // of keys of our own
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

var jwtPattern = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

// plain puts a word in the place of assertions that are as the fixture says; of others it tells what is wrong.
func (f *Fixture) plain(text string) (plain string, wrong []string) {
	if f.assertion == nil {
		return text, nil
	}
	plain = jwtPattern.ReplaceAllStringFunc(text, func(token string) string {
		if found := f.assertion.compare(token); len(found) > 0 {
			wrong = append(wrong, found...)
		}
		return fixtureAssertion
	})
	return plain, wrong
}

func (a *assertion) compare(token string) (wrong []string) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return []string{"assertion: it is no JWT: " + err.Error()}
	}
	var payload []byte
	for _, key := range fixtureKeys() {
		if content, err := signed.Verify(key.Public()); err == nil {
			payload = content
		}
	}
	if payload == nil {
		return []string{"assertion: it is not signed with the key of the fixture"}
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return []string{"assertion: its claims are no object"}
	}
	for _, name := range []string{"iat", "exp", "nbf"} {
		if at, is := claims[name].(float64); is {
			claims[name] = at - float64(playedAt.Unix())
		}
	}
	header := map[string]any{"alg": signed.Signatures[0].Header.Algorithm}
	maps.Copy(header, textsOf(signed.Signatures[0].Header.ExtraHeaders))
	if kid := signed.Signatures[0].Header.KeyID; kid != "" {
		header["kid"] = kid
	}
	wrong = differences("assertion header", a.Header, header)
	return append(wrong, differences("assertion claim", a.Claims, claims)...)
}

func textsOf(extra map[jose.HeaderKey]any) map[string]any {
	all := map[string]any{}
	for name, value := range extra {
		all[string(name)] = value
	}
	return all
}

func differences(what string, want, got map[string]any) (found []string) {
	names := append(slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got))...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if text, is := got[name].(string); want[name] == "*" && is && text != "" {
			continue
		}
		if !reflect.DeepEqual(want[name], got[name]) {
			found = append(found, fmt.Sprintf("%s %s: the fixture has %v, the definition makes it %v", what, name,
				want[name], got[name]))
		}
	}
	return found
}

// plainRequest is plain for all that a request brings.
func (f *Fixture) plainRequest(r *http.Request, body string) (header http.Header, plain string, wrong []string) {
	header = r.Header.Clone()
	for name, values := range header {
		for i, value := range values {
			text, found := f.plain(value)
			header[name][i] = text
			wrong = append(wrong, found...)
		}
	}
	plain, found := f.plain(body)
	return header, plain, append(wrong, found...)
}

// asksFor gets a token without a person.
func (p *play) asksFor(ctx context.Context) (*providers.Grant, error) {
	_, own := p.keySides(p.f.given.Key)
	key := map[string]providers.Secret{}
	for name, value := range own {
		key[name] = providers.NewSecret(value)
	}
	g, err := p.client.Issue(ctx, p.app, providers.IssueRequest{
		Kind: p.f.Kind, Resolved: p.res, Scopes: p.scopes, Key: key,
	})
	if err != nil {
		return nil, err
	}
	token, wrong := p.f.plain(g.AccessToken.Reveal())
	p.at.wrong = append(p.at.wrong, wrong...)
	g.AccessToken = providers.NewSecret(token)
	return g, nil
}
