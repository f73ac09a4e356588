package providers

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-jose/go-jose/v4"
)

// The words of Call.Auth that name a signer.
const (
	authSigV4      = "aws_sigv4"
	authRequestJWT = "jwt_per_request"
)

// signs reports whether a word of Call.Auth names a signer.
func signs(auth string) bool { return auth == authSigV4 || auth == authRequestJWT }

// sign signs a request that is otherwise complete, if its call is a signed one. It adds to header, and may write
// target's query in another order.
func (a *App) sign(k call, method string, target *url.URL, header http.Header, body []byte, now time.Time) *Error {
	var err error
	switch spec := a.Definition.Sign; {
	case !signs(k.spec.Auth):
	case spec == nil:
		return &Error{Class: Misconfigured, Step: k.step, Reason: ReasonClientAuth}
	case k.spec.Auth == authSigV4:
		err = spec.SigV4.sign(k.values, method, target, header, body, now)
	default:
		err = spec.JWT.sign(k.values, method, target, header, now)
	}
	var unfit *unfitKeyError
	switch {
	case errors.As(err, &unfit):
		return notSent(k.step, "the key as it is stored "+unfit.Error()+": write it again")
	case err != nil:
		return &Error{Class: Misconfigured, Step: k.step, Reason: ReasonIncompleteCall}
	}
	return nil
}

func (s *SigV4) sign(values map[string]string, method string, target *url.URL, header http.Header, body []byte,
	now time.Time,
) error {
	parts := map[string]string{}
	if !expandInto(parts, map[string]Template{
		"region": s.Region, "id": s.AccessKeyID, "secret": s.SecretAccessKey,
	}, values) {
		return errors.New("a part of the key has no value")
	}
	session := ""
	if s.SessionToken.known(values) {
		session, _ = s.SessionToken.Expand(values) // known
	}
	hash := sha256.Sum256(body)
	payload := hex.EncodeToString(hash[:])
	if s.BodyHash {
		header.Set("X-Amz-Content-Sha256", payload)
	}
	// what is signed is the host without the usual port, and the header that is sent would have it
	target.Host = strings.TrimSuffix(target.Host, map[string]string{"https": ":443", "http": ":80"}[target.Scheme])
	request := &http.Request{Method: method, URL: target, Header: header, ContentLength: int64(len(body))}
	return v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{
		AccessKeyID: parts["id"], SecretAccessKey: parts["secret"], SessionToken: session,
	}, request, payload, s.Service, parts["region"], now, func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = s.BodyHash
	})
}

func (j *RequestJWT) sign(values map[string]string, method string, target *url.URL, header http.Header,
	now time.Time,
) error {
	text, err := j.Key.Expand(values)
	if err != nil {
		return err
	}
	key, err := j.signingKey(text)
	if err != nil {
		return err
	}
	inHeader, claims := map[string]string{}, map[string]string{}
	if !expandInto(inHeader, j.Header, values) || !expandInto(claims, j.Claims, values) {
		return errors.New("a member of the token has no value")
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	for name, value := range inHeader {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	if j.Nonce != "" {
		random := make([]byte, 16)
		_, _ = rand.Read(random) // it never fails
		options.WithHeader(jose.HeaderKey(j.Nonce), hex.EncodeToString(random))
	}
	members := map[string]any{"nbf": now.Unix(), "exp": now.Add(j.Life.D).Unix()}
	for name, value := range claims {
		members[name] = value
	}
	if j.URI != "" {
		members[j.URI] = method + " " + target.Host + target.EscapedPath()
	}
	payload, _ := json.Marshal(members) // texts and numbers always encode
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		return err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return err
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return err
	}
	header.Set("Authorization", "Bearer "+token)
	return nil
}

// unfitKeyError says what is wrong with a private key, as a phrase that goes on from the name of its field. It holds
// nothing of the key.
type unfitKeyError struct{ says string }

func (e *unfitKeyError) Error() string { return e.says }

// signingKey reads the private key and picks the algorithm for it. The error is an [*unfitKeyError].
func (j *RequestJWT) signingKey(text string) (jose.SigningKey, error) {
	var key crypto.Signer
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err == nil && len(raw) == ed25519.PrivateKeySize {
		whole := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
		if !slices.Equal(whole, ed25519.PrivateKey(raw)) {
			return jose.SigningKey{}, &unfitKeyError{"holds an Ed25519 key whose two halves do not belong together: " +
				"copy it whole"}
		}
		key = whole
	} else if key, err = parsePrivateKey(text); err != nil {
		return jose.SigningKey{}, &unfitKeyError{err.Error()}
	}
	for _, alg := range j.Algs {
		if signsWith(key, alg) {
			return jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, nil
		}
	}
	return jose.SigningKey{}, &unfitKeyError{fmt.Sprintf("holds %s, and requests are signed with %s here: make a key "+
		"for that", sortOfKey(key), strings.Join(j.Algs, " or "))}
}

// checkSigning refuses a key that could sign nothing. The error goes on from the name of the field.
func (d *Definition) checkSigning(field, value string) error {
	if d.Sign == nil || d.Sign.JWT == nil || !slices.Contains(d.Sign.JWT.Key.Placeholders(), field) || value == "" {
		return nil
	}
	_, err := d.Sign.JWT.signingKey(value)
	return err
}

// maxClockDifference is by how much the clock of a service may differ before a refusal of what is signed says nothing
// of the key.
const maxClockDifference = 30 * time.Second

// clocksDiffer reports whether the answer was given at another time than it is here. Signatures tell the time, and are
// refused like those of a wrong key where it is wrong.
func (r *reply) clocksDiffer(now time.Time) bool {
	there, err := http.ParseTime(r.header.Get("Date"))
	return err == nil && there.Sub(now).Abs() > maxClockDifference
}
