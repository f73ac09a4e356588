package store

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// MaxLinkTries is how often a link may lead to its provider: each try is a question whether a key is right.
const MaxLinkTries = 5

// Link is what a flow has that is offered to a person without a Vault token. Whoever has the link may try, until one of
// them consented, or brought a key: that ends it. Former releases refuse such a flow: they would not know what it is
// bound to beside the rest.
type Link struct {
	Until   time.Time `json:"until"` // the link is good until then
	Purpose string    `json:"purpose,omitempty"`
	// id or email of the only account that may be connected; empty: any
	Account string `json:"account,omitempty"`

	// What the starter asked for. The flow has what came of it, with what the person added.
	Inputs    map[string]string `json:"inputs,omitempty"`
	Asked     []string          `json:"asked,omitempty"`
	Optional  []string          `json:"optional,omitempty"`
	LoginHint string            `json:"login_hint,omitempty"`
	Provision bool              `json:"provision,omitempty"`

	Tries int `json:"tries,omitempty"`
	// of the latest try: the hash of its state, and until when it may come back; empty: it leads nowhere any more
	State  string    `json:"state,omitempty"`
	Ends   time.Time `json:"ends,omitzero"`
	Denied string    `json:"denied,omitempty"` // how the latest try was refused
}

// Offered reports whether the flow's link may be used at now.
func (f *Flow) Offered(now time.Time) bool {
	return f.Link != nil && !f.Over() && f.Parked == nil && f.Claimed == "" && now.Before(f.Link.Until) &&
		f.Link.Tries < MaxLinkTries
}

// Started reports whether a person is at the provider, and may come back.
func (f *Flow) Started(now time.Time) bool {
	return f.Link != nil && !f.Over() && f.Parked == nil && f.Link.State != "" && now.Before(f.Link.Ends)
}

// BeginTry counts a try, and voids the one before: what it brings belongs to nothing. Store the flow before anybody is
// asked.
func (f *Flow) BeginTry() {
	f.Link.Tries++
	f.Link.State, f.Link.Ends, f.Link.Denied = "", time.Time{}, ""
	f.Verifier, f.Nonce = providers.Secret{}, ""
}

// Lead notes that the latest try leads to the provider under that state, and how long it may take.
func (f *Flow) Lead(state string, ends time.Time) {
	f.Link.State, f.Link.Ends = FlowID(state), ends
	if f.Expires.Before(ends) { // who pressed the button in time has the time that others have
		f.Expires = ends
	}
}

// DenyTry notes that the latest try came back without a consent. The link may be used again.
func (f *Flow) DenyTry(code string) {
	f.Link.State, f.Link.Ends, f.Link.Denied = "", time.Time{}, code
}

// EndLink lets the flow of a link end at that time, if it would later.
func (f *Flow) EndLink(at time.Time) {
	if f.Link != nil && at.Before(f.Expires) {
		f.Expires = at
	}
}

// Refuses says why the account must not be connected, or nothing.
func (l *Link) Refuses(a providers.Account) string {
	switch {
	case l == nil || l.Account == "" || a.ID == l.Account || a.Email == l.Account:
		return ""
	case a.ID == "" && a.Email == "":
		return "whose account it is could not be learned, and the link was for one account alone"
	}
	return "it is another account than the link was for"
}

// HoldsKey reports whether a person brought a key, which waits for the starter.
func (f *Flow) HoldsKey() bool { return f.Parked != nil && len(f.Parked.Key) > 0 }

// ValidLink reports whether s has the shape of a link's value.
func ValidLink(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// LinkID is the id of a link's flow: a hash of its value, and of no state.
func LinkID(link string) string {
	sum := sha256.Sum256([]byte("connect link " + link))
	return hex.EncodeToString(sum[:])
}

// LinkState makes the state of a try: it names the flow, whose id is no secret, and proves itself by what is random.
func LinkState(id, random string) string {
	b, _ := hex.DecodeString(id)
	return base64.RawURLEncoding.EncodeToString(b) + "." + random
}

// FlowOfState is the id of the flow that a state may belong to. Whether it does, StateIs knows.
func FlowOfState(state string) string {
	if id, _, try := strings.Cut(state, "."); try {
		if b, err := base64.RawURLEncoding.Strict().DecodeString(id); err == nil && len(b) == sha256.Size {
			return hex.EncodeToString(b)
		}
	}
	return FlowID(state)
}

// StateIs reports whether the flow waits for that state at now.
func (f *Flow) StateIs(state string, now time.Time) bool {
	if f.Link == nil {
		return FlowID(state) == f.ID
	}
	return f.Started(now) && subtle.ConstantTimeCompare([]byte(FlowID(state)), []byte(f.Link.State)) == 1
}
