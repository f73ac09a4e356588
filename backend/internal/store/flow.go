package store

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// MaxConfirmationTries is how many wrong confirmation codes void a flow.
const MaxConfirmationTries = 5

// Flow is one attempt to connect an account. It is frozen at its start: what the provider's configuration says later
// cannot send the code elsewhere.
type Flow struct {
	ID       string         `json:"id"`
	Key      string         `json:"key"` // the connection's, in its full spelling
	Provider string         `json:"provider"`
	Kind     providers.Kind `json:"kind"`
	Pinned   string         `json:"pinned"`

	Created Actor     `json:"created"`
	Caller  string    `json:"caller"` // who may finish it, see the backend's caller
	Expires time.Time `json:"expires"`

	Resolved       providers.Resolved `json:"resolved"`
	Scopes         []string           `json:"scopes,omitempty"`
	RequiredScopes []string           `json:"required_scopes,omitempty"`
	Inputs         map[string]string  `json:"inputs,omitempty"`
	Private        *bool              `json:"private,omitempty"`    // as the caller wants the connection; nil: not said
	Reconnects     bool               `json:"reconnects,omitempty"` // there was a connection when it started
	// it was private and is somebody else's: it gets another grant of its account, and stays as it is
	Restores    bool   `json:"restores,omitempty"`
	RedirectURI string `json:"redirect_uri"`
	// the application receives the browser, not Vault
	OwnRedirect bool   `json:"own_redirect,omitempty"`
	ReturnURL   string `json:"return_url,omitempty"`
	Confirm     bool   `json:"confirm,omitempty"`
	// base64url of the SHA-256 of the session's value
	SessionBinding string           `json:"session_binding,omitempty"`
	Nonce          string           `json:"nonce,omitempty"`
	Verifier       providers.Secret `json:"-"`

	Device  *Device  `json:"device,omitempty"` // nil: the person consents in a browser that comes back
	Link    *Link    `json:"link,omitempty"`   // nil: whoever starts it sends the person to the provider
	Parked  *Parked  `json:"parked,omitempty"`
	Tries   int      `json:"tries,omitempty"`
	Void    bool     `json:"void,omitempty"`
	Claimed string   `json:"claimed,omitempty"` // fingerprint of the request that spends the code
	Outcome *Outcome `json:"outcome,omitempty"`

	unknown unknownFields
}

// Parked is what the browser brought to our callback, or to the page of a link.
type Parked struct {
	Time             time.Time         `json:"time"`
	Denied           string            `json:"denied,omitempty"` // the error code of RFC 6749 section 4.1.2.1
	Issuer           string            `json:"iss,omitempty"`
	Callback         map[string]string `json:"callback,omitempty"` // further parameters the definition names
	Code             providers.Secret  `json:"-"`
	ConfirmationCode providers.Secret  `json:"-"`

	// the fields of a key that a person brought by a link, in the place of a code
	Key map[string]providers.Secret `json:"-"`
}

// Outcome is what became of a flow, kept until it expires so that a request sent again gets the same answer.
type Outcome struct {
	Connected bool     `json:"connected"`
	Failure   string   `json:"failure,omitempty"` // the text of the answer, in the engine's own words
	Warnings  []string `json:"warnings,omitempty"`
}

// ExpiredAt reports whether the flow is over at now.
func (f *Flow) ExpiredAt(now time.Time) bool { return f.Void || !now.Before(f.Expires) }

// Park keeps what the browser brought. Only the first one counts, and only it was shown a page.
func (f *Flow) Park(p *Parked) { f.Parked = p }

// CountTry counts one attempt to name the confirmation code; Confirmed voids the flow after the last. Store the flow
// before comparing: a caller who stops the request must not win a try.
func (f *Flow) CountTry() { f.Tries++ }

// Confirmed compares in constant time. Case, dashes and spaces do not count: people type codes. When the last try
// failed, the flow is void.
func (f *Flow) Confirmed(code string) bool {
	code = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
	if f.Parked == nil || f.Parked.ConfirmationCode.IsZero() {
		return false
	}
	// A crash may have kept the flow from being marked as void; its tries were counted before.
	ok := f.Tries <= MaxConfirmationTries && f.Parked.ConfirmationCode.Equal(providers.NewSecret(code))
	if !ok && f.Tries >= MaxConfirmationTries {
		f.Void = true
	}
	return ok
}

// BoundTo reports whether value is what the session binding of the flow was made from.
func (f *Flow) BoundTo(value string) bool {
	sum := sha256.Sum256([]byte(value))
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(got), []byte(strings.TrimRight(f.SessionBinding, "="))) == 1
}

// ConnectionKey is the connection the flow is for.
func (f *Flow) ConnectionKey() (Key, error) { return ParseKey(f.Key) }

// Intent says that a connection's grant is being spent: stored before the provider is asked, removed after the answer
// is stored. One that is found at start names a grant whose fate nobody knows.
type Intent struct {
	Key        string    `json:"key"`
	Generation uint64    `json:"generation"`
	Time       time.Time `json:"time"`
}
