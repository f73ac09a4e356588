package providertest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// How the service of a fixture looks at signatures: it makes them anew, or verifies them, as a service would.

// signature compares what a request is signed with, where the fixture says {aws_sigv4 service region} or {jwt}. It
// tells what is to be compared as usual otherwise.
func (s *service) signature(wanted string, r *http.Request, body string) (want string, differences []string) {
	sent := r.Header.Get("Authorization")
	scheme, word, _ := strings.Cut(wanted, "{")
	parts := strings.Fields(strings.TrimSuffix(word, "}"))
	switch {
	case len(parts) == 3 && parts[0] == "aws_sigv4":
		key := s.f.given.Key
		return SigV4(r, []byte(body), key["access_key_id"], key["secret_access_key"], parts[1], parts[2]), nil
	case word == "jwt}" && s.f.jwt != nil:
		token, found := strings.CutPrefix(sent, scheme)
		if !found {
			return wanted, nil
		}
		if wrong := s.f.jwt.differs(s.f.given.Key, token, s.nonces); wrong != "" {
			return sent, []string{"token: " + wrong}
		}
		return sent, nil
	}
	return wanted, nil
}

// SigV4 is the Authorization header that a request has to bring, by
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html: over all that is sent of
// host, content-type and x-amz-..., and over whatever else the request says that it signs.
func SigV4(r *http.Request, body []byte, id, secret, service, region string) string {
	names := []string{"host"}
	for name := range r.Header {
		if name = strings.ToLower(name); name == "content-type" || strings.HasPrefix(name, "x-amz-") {
			names = append(names, name)
		}
	}
	_, said, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	said, _, _ = strings.Cut(said, ",")
	for name := range strings.SplitSeq(said, ";") {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	var headers strings.Builder
	for _, name := range names {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	if service != "s3" {
		path = strings.ReplaceAll(path, "%", "%25") // each segment is escaped twice
	}
	var query []string
	for name, values := range r.URL.Query() {
		for _, value := range values {
			query = append(query, uriEncode(name)+"="+uriEncode(value))
		}
	}
	slices.Sort(query)
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{
		r.Method, path, strings.Join(query, "&"), headers.String(), signed, hexHash(body),
	}, "\n")
	at := r.Header.Get("X-Amz-Date")
	day, _, _ := strings.Cut(at, "T")
	scope := strings.Join([]string{day, region, service, "aws4_request"}, "/")
	key := []byte("AWS4" + secret)
	for _, part := range []string{day, region, service, "aws4_request"} {
		key = hmacSHA256(key, part)
	}
	signature := hmacSHA256(key, strings.Join([]string{"AWS4-HMAC-SHA256", at, scope, hexHash([]byte(canonical))}, "\n"))
	return fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", id, scope, signed,
		hex.EncodeToString(signature))
}

func uriEncode(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func hexHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func hmacSHA256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// tokenSaid is what a token for one request has to say. {random} is a text that no request before had.
type tokenSaid struct {
	Key    string            `yaml:"key"` // the field of the key that holds the private one
	Alg    string            `yaml:"alg"`
	Header map[string]string `yaml:"header"`
	Claims map[string]any    `yaml:"claims"`
}

// differs tells what is wrong with a token; empty: nothing.
func (want *tokenSaid) differs(key map[string]string, token string, nonces map[string]bool) string {
	public, err := publicKey(key[want.Key])
	if err != nil {
		return "the fixture's key: " + err.Error()
	}
	object, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(want.Alg)})
	if err != nil {
		return "it is none that is signed with " + want.Alg
	}
	payload, err := object.Verify(public)
	if err != nil {
		return "the signature is not of the key"
	}
	var header map[string]any
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err == nil {
		err = json.Unmarshal(raw, &header)
	}
	if err != nil {
		return "the header cannot be read"
	}
	delete(header, "alg")
	for name, value := range want.Header {
		if text, isText := header[name].(string); value == "{random}" && isText && len(text) >= 16 && !nonces[text] {
			nonces[text] = true
			header[name] = "{random}"
		}
	}
	said, wanted := fmt.Sprint(header), fmt.Sprint(anyOf(want.Header))
	if said != wanted {
		return fmt.Sprintf("the header says %s, and the fixture %s", said, wanted)
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "the claims cannot be read"
	}
	had, _ := json.Marshal(claims) // maps are written in the order of their keys
	expected, _ := json.Marshal(want.Claims)
	if string(had) != string(expected) {
		return fmt.Sprintf("the claims are %s, and in the fixture %s", had, expected)
	}
	return ""
}

func anyOf(texts map[string]string) map[string]any {
	values := map[string]any{}
	for name, text := range texts {
		values[name] = text
	}
	return values
}

// publicKey is the public half of a private key, as PEM or as 64 bytes of Ed25519 in base64.
func publicKey(text string) (any, error) {
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) == ed25519.PrivateKeySize {
		return ed25519.PrivateKey(raw).Public(), nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is no PEM")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key.Public(), nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key, isEC := parsed.(*ecdsa.PrivateKey); isEC {
		return key.Public(), nil
	}
	return nil, errors.New("it is of no sort that is verified here")
}
