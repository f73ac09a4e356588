package store

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// OfferLife is how long an offer may be taken.
const OfferLife = 24 * time.Hour

// Offer is a connection's offer to another owner. The zero value is none. It stands while the connection is what it
// was when it was offered, so whoever changes that need not know of it.
type Offer struct {
	To    string    `json:"to"` // the key
	By    Actor     `json:"by"`
	Until time.Time `json:"until"`
	Owner bool      `json:"owner,omitempty"` // the owner's own entity offers it
	Live  bool      `json:"live,omitempty"`  // the target is under an entity that Vault knew then

	Account string    `json:"account,omitempty"` // whose account it is, as it was known then
	Brought string    `json:"brought"`           // what brought its credential
	Stopped time.Time `json:"stopped,omitzero"`  // when its stops were changed last
}

// Moving is the mark of a connection that is on its way to another key. It serves nothing any more, whatever becomes
// of the process: what is there under the other key, or is still to be written there, takes its place.
type Moving struct {
	To      string    `json:"to"` // the key
	Since   time.Time `json:"since"`
	By      Actor     `json:"by"`
	Bare    bool      `json:"bare,omitempty"`    // its credential stays behind, and is ended
	Private bool      `json:"private,omitempty"` // it is to be its new owner's alone
}

// brought tells one credential from another that somebody else, or another account, put in its place. A refresh
// leaves it as it is.
func (c *Connection) brought() string {
	said := string(c.Kind) + " " + c.SetBy + " " + c.FlowID + " " + c.Imported.Digest
	switch {
	case c.Grant == nil: // a key is never renewed, so another generation is another key
		said += " " + strconv.FormatUint(c.Generation, 10)
	case len(c.Grant.Key) > 0: // the tokens that it buys are others each time
		var key strings.Builder
		for _, name := range slices.Sorted(maps.Keys(c.Grant.Key)) {
			value := c.Grant.Key[name].Reveal()
			key.WriteString(strconv.Itoa(len(value)) + name + " " + value)
		}
		said += " " + digest(providers.NewSecret(key.String()))
	}
	return said
}

// MakeOffer offers the connection, in the place of what was offered before.
func (c *Connection) MakeOffer(to Key, by Setter, live bool, now time.Time) {
	c.Offer = &Offer{
		To: to.String(), By: by.Actor, Until: now.Add(OfferLife), Owner: by.Owner, Live: live,
		Account: c.Account.ID, Brought: c.brought(), Stopped: c.Stops.By.Time,
	}
}

// Offered is the offer that stands, or none: one that is over, or that was made of another account, or before somebody
// stopped the connection or let it serve again, or before its owner was found to have left, counts for nothing.
func (c *Connection) Offered(now time.Time) (o Offer, open bool) {
	if c.Offer == nil {
		return Offer{}, false
	}
	o = *c.Offer
	// whose a key is, a host that it names for itself may lie about
	same := c.Grant != nil && len(c.Grant.Key) == 0 && o.Account != "" && o.Account == c.Account.ID ||
		o.Brought == c.brought() &&
			(o.Account == "" || o.Account == c.Account.ID)
	left := c.Entity.Left != "" && !c.Entity.Since.Before(o.By.Time)
	if o.To == "" || reached(o.Until, now) || !same || left || !o.Stopped.Equal(c.Stops.By.Time) ||
		!c.Deleting.IsZero() || c.Ending.On() || c.IsMoving() {
		return Offer{}, false
	}
	return o, true
}

// offeredTo is the key that it was offered to, whether that stands or not; empty: to none.
func (c *Connection) offeredTo() string {
	if c.Offer == nil {
		return ""
	}
	return c.Offer.To
}

// Withheld reports whether nobody but the owner gives the credential away: it is the owner's alone, or the owner's
// word, or that the owner left, keeps it from being served.
func (c *Connection) Withheld() bool { return c.Private || c.Stops.Owner.on() || c.Entity.Left != "" }

// Is reports whether both are the same offer.
func (o Offer) Is(other Offer) bool {
	return o.To == other.To && o.By.EntityID == other.By.EntityID && o.By.Time.Equal(other.By.Time) &&
		o.Until.Equal(other.Until) && o.Owner == other.Owner
}

// IsMoving reports whether the connection is on its way to another key.
func (c *Connection) IsMoving() bool { return c.Moving.To != "" }

// Move marks the connection as being on its way.
func (c *Connection) Move(m Moving) { c.Moving = m }

// Stay takes the mark back: the connection has not left, and will not.
func (c *Connection) Stay() { c.Moving, c.Offer = Moving{}, nil }

// Arrived is the connection as it is under the key that it moves to. secret tells which fields of a key are.
func (c *Connection) Arrived(from, to Key, secret func(field string) bool) *Connection {
	out, m := c.Clone(), c.Moving
	out.Serial, out.Moving, out.Offer, out.Shares, out.MovedFrom = 0, Moving{}, nil, nil, from.String()
	if out.Private, out.Switched = m.Private, nil; m.Private {
		out.OpenedBy = ""
	}
	if m.Bare {
		out.leaveCredential(m.Since, secret)
	}
	if from.Owner == to.Owner {
		return out
	}
	out.KeepFormer(nil, nil, time.Time{})
	out.DebugUntil, out.DebugBy = time.Time{}, ""
	if from.Owner.Personal() && from.Owner.User == to.Owner.User { // its entity owns it still
		return out
	}
	out.Stops.Owner, out.OpenedBy, out.AdoptedBy, out.Closed = Stop{}, "", "", false
	out.Entity = Entity{} // which is the former owner's
	if out.SetBy == "" {  // a release that did not note it would take it for its new owner's
		out.SetBy = nobody
	}
	if out.RequiredBy == "" {
		out.RequiredBy = nobody
	}
	return out
}

// nobody is the name of a [Setter] without an entity.
const nobody = "none"

// leaveCredential takes out whatever could be used, and what belongs to it.
func (c *Connection) leaveCredential(now time.Time, secret func(field string) bool) {
	if c.Grant != nil {
		c.Grant = &providers.Grant{Issued: now}
	}
	for name := range c.Key {
		if secret(name) {
			delete(c.Key, name)
		}
	}
	c.KeepFormer(nil, nil, time.Time{})
	c.Companions, c.CompanionsBy, c.Captured, c.Sites, c.Traces = nil, "", nil, nil, ""
	c.Account, c.Imported, c.FlowID, c.LastRefresh = Account{}, Import{}, "", time.Time{}
	c.credentialChanged(now)
	c.Refused = Refusal{ReasonTransferred, now}
}
