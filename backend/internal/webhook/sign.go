package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// The headers of a request.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// A secret is written as this prefix and the base64 of so many bytes.
const (
	secretPrefix = "whsec_"
	leastSecret  = 24
	mostSecret   = 64
	madeSecret   = 32
)

var errSecret = errors.New("it is no secret of Standard Webhooks: write " + secretPrefix + " and the base64 of 24 to " +
	"64 random bytes, as by: echo " + secretPrefix + "$(openssl rand -base64 32)")

// NewSecret makes a secret.
func NewSecret() providers.Secret {
	key := make([]byte, madeSecret)
	_, _ = rand.Read(key) // it never fails
	return providers.NewSecret(secretPrefix + base64.StdEncoding.EncodeToString(key))
}

// CheckSecret reports how a secret breaks the rule, or nil. The error does not quote it.
func CheckSecret(s providers.Secret) error {
	_, err := keyOf(s)
	return err
}

// keyOf is what a secret is written for. The decoder would skip line breaks and let bits stand that no byte has, so
// that one key could be written in several ways.
func keyOf(s providers.Secret) ([]byte, error) {
	text, found := strings.CutPrefix(s.Reveal(), secretPrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if !found || err != nil || strings.ContainsAny(text, "\r\n") || len(key) < leastSecret || len(key) > mostSecret {
		return nil, errSecret
	}
	return key, nil
}

// Message is what is sent. The same one has the same id, however often it is sent.
type Message struct {
	ID   string // without a full stop
	Body []byte
}

// Headers are those of a request that is made now. It is signed with each secret, so that a receiver which knows one of
// them takes it.
func (m Message) Headers(now time.Time, secrets ...providers.Secret) (http.Header, error) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, secret := range secrets {
		key, err := keyOf(secret)
		if err != nil {
			return nil, err
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(m.ID + "." + timestamp + "."))
		mac.Write(m.Body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set(HeaderID, m.ID)
	h.Set(HeaderTimestamp, timestamp)
	h.Set(HeaderSignature, strings.Join(signatures, " "))
	return h, nil
}
