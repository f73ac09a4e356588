package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Connection is one account at one provider. Change it through its methods: each leaves all related fields right.
//
// It has two halves. Metadata is what people write about the connection; [Credential] is what a provider or an import
// brought, with what became of it. The halves change independently: a credential that storage refused is laid over
// whatever metadata storage holds by the time it takes it.
type Connection struct {
	Serial uint64 `json:"serial"` // higher with every write; see package connections
	// ID tells this connection from another that has its name later. It is random, and never changes. One that a former
	// release made gets its own with the next write.
	ID string `json:"id,omitempty"`

	Provider string            `json:"provider"`
	Label    string            `json:"label,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Private  bool              `json:"private,omitempty"`   // for the owner's own entity alone
	OpenedBy string            `json:"opened_by,omitempty"` // the owner's entity, if it said that it is not private
	Created  Actor             `json:"created"`
	Updated  Actor             `json:"updated,omitzero"` // who changed it last by a request, and when

	Record *Record `json:"record,omitempty"` // of the last change that is worth one; never changed, so it may be shared

	RotateAfter time.Duration `json:"rotate_after,omitempty"` // of its key; see RotationDue

	Shares []Share `json:"shares,omitempty"` // who beside its owner may use it while it is private

	Companions   map[string]providers.Secret `json:"-"` // secrets that are sent nowhere
	CompanionsBy string                      `json:"companions_by,omitempty"`

	Stops    Stops     `json:"stops,omitzero"`
	Entity   Entity    `json:"entity,omitzero"`   // of the entity that owns it
	Deleting time.Time `json:"deleting,omitzero"` // since when it is being deleted; nothing brings it back
	Ending   Ending    `json:"revoking,omitzero"` // it is being ended
	Ended    *Ended    `json:"ended,omitzero"`    // what came of its last end, nil: none; see LastEnd

	Offer     *Offer `json:"offer,omitzero"`       // to another owner; never changed, so it may be shared
	Moving    Moving `json:"moving,omitzero"`      // it is on its way to another key
	MovedFrom string `json:"moved_from,omitempty"` // the key that it had before, if it was moved

	// Until when exchanges with its service are told to the log, and the entity that said so.
	DebugUntil time.Time `json:"debug_until,omitzero"`
	DebugBy    string    `json:"debug_by,omitempty"`

	Credential

	unknown  unknownFields // written by a newer release that lets this one ignore them
	oversize bool          // storage had it larger than it may be written anew
}

// Credential is the half of a connection that says what is handed out and how it is kept fresh.
type Credential struct {
	// Generation is higher with every change of what is handed out. What came of spending a lower one is stale.
	Generation uint64 `json:"generation"`

	Kind           providers.Kind    `json:"kind"`
	Inputs         map[string]string `json:"inputs,omitempty"` // where it belongs, such as a shop
	RequiredScopes []string          `json:"required_scopes,omitempty"`
	// who brought the credential or named inputs; see Setter
	SetBy      string `json:"set_by,omitempty"`
	RequiredBy string `json:"required_by,omitempty"` // who named required_scopes
	AdoptedBy  string `json:"adopted_by,omitempty"`  // the owner's entity, if it brought the credential
	// and it was private then, or has been made so since
	Closed bool `json:"closed,omitempty"`
	// the last word on the stops which came with a request; never changed, so it may be shared
	Switched *Stops `json:"switched_stops,omitzero"`
	Pinned   string `json:"pinned"`            // fingerprint of the provider it belongs to
	FlowID   string `json:"flow_id,omitempty"` // the flow that brought the grant
	// where the grant comes from, if a refresh token was imported
	Imported Import  `json:"imported,omitzero"`
	Account  Account `json:"account,omitzero"`
	// what the grant reaches, where one of that is to be picked; which one is, Inputs tell
	Sites *providers.Sites `json:"sites,omitempty"`

	Grant *providers.Grant            `json:"-"` // nil for keys
	Key   map[string]providers.Secret `json:"-"` // the key fields, public ones too; nil for grants, which carry theirs
	// what the service told of the key that applications need beside it; nil: nothing
	Captured *providers.Captured `json:"-"`

	// the key before this one, until it is erased: one write brings it back
	FormerKey   map[string]providers.Secret `json:"-"`
	FormerUntil time.Time                   `json:"former_until,omitzero"`
	FormerAge   KeyAge                      `json:"former_age,omitzero"`
	// what the service told of that one
	FormerCaptured *providers.Captured `json:"-"`

	KeyAge KeyAge `json:"key_age,omitzero"` // see KeySince
	// what the grant had and lost since the consent; see Tells
	LostScopes []string `json:"lost_scopes,omitempty"`
	// what the provider asked for by default and the flow that brought the grant did not
	UnaskedScopes []string `json:"unasked_scopes,omitempty"`

	Rotated     time.Time `json:"rotated"`               // when what is handed out last changed
	LastRefresh time.Time `json:"last_refresh,omitzero"` // last successful one
	Serving     time.Time `json:"serving,omitzero"`      // since when the provider takes it, as far as is known
	Refused     Refusal   `json:"refused,omitzero"`      // the provider takes it no more
	Invalid     time.Time `json:"invalid,omitzero"`      // since when checks find that the service refuses it
	Attempt     Attempt   `json:"attempt,omitzero"`

	Traces      Traces    `json:"traces,omitempty"`      // of secrets that it had
	ToldAge     time.Time `json:"told_age,omitzero"`     // since when the key was of which it was told that it is old
	PassedLimit time.Time `json:"passed_limit,omitzero"` // the limit of the grant of which it was told that it has passed
}

// Refusal is the provider's last word on a grant. The zero value is none.
type Refusal struct {
	Reason Reason    `json:"reason"`
	Time   time.Time `json:"time"`
}

// Account is whose account at the provider a connection is. It outlives the grant that it was learnt with, so that a
// reconnect can be compared with it; another pin may name the same account otherwise.
type Account struct {
	ID     string `json:"id,omitempty"`
	Label  string `json:"label,omitempty"`
	Email  string `json:"email,omitempty"`
	Pinned string `json:"pinned,omitempty"` // fingerprint of the provider under which it was learnt
}

// Import remembers a refresh token that was obtained elsewhere, so that the same import sent again is known for what
// it is: by then the token may be spent.
type Import struct {
	Digest     string `json:"digest"`     // SHA-256 of the refresh token
	Generation uint64 `json:"generation"` // of the credential then; a higher one came of refreshing it
}

// Attempt is the record of the refreshes that failed since the last success. It decides when the next may be made, and
// survives a restart.
type Attempt struct {
	Failures int       `json:"failures,omitempty"`
	Last     time.Time `json:"last,omitzero"`
	// not before; zero: not until the provider or the grant changes
	Next  time.Time       `json:"next,omitzero"`
	Class providers.Class `json:"class,omitempty"`
	Code  string          `json:"code,omitempty"`
	Why   string          `json:"why,omitempty"` // one of the engine's own words, with what was seen
	// a request was sent and no answer came: the token may be spent
	Unknown bool `json:"unknown,omitempty"`
	// of the provider that failed; a newer one is worth a try
	ProviderSerial uint64 `json:"provider_serial,omitempty"`
	// since when the service says no in words that may concern the grant or the app
	Denied time.Time `json:"denied,omitzero"`
}

// Clone returns a copy that shares nothing a caller may change. Secrets are immutable and shared.
func (c *Connection) Clone() *Connection {
	if c == nil {
		return nil
	}
	out := *c
	out.Tags, out.Companions, out.Shares = maps.Clone(c.Tags), maps.Clone(c.Companions), slices.Clone(c.Shares)
	out.Ended = c.Ended.clone()
	out.Credential = c.Credential.clone()
	return &out
}

func (c Credential) clone() Credential {
	c.Inputs, c.Key, c.RequiredScopes = maps.Clone(c.Inputs), maps.Clone(c.Key), slices.Clone(c.RequiredScopes)
	c.FormerKey, c.Captured, c.FormerCaptured = maps.Clone(c.FormerKey), c.Captured.Clone(), c.FormerCaptured.Clone()
	c.LostScopes, c.UnaskedScopes = slices.Clone(c.LostScopes), slices.Clone(c.UnaskedScopes)
	if c.Grant != nil {
		g := *c.Grant
		g.Scopes, g.Config, g.SecretConfig = slices.Clone(g.Scopes), maps.Clone(g.Config), maps.Clone(g.SecretConfig)
		g.Key = maps.Clone(g.Key)
		c.Grant = &g
	}
	return c
}

// Adopt makes g the connection's grant after a consent or an issue. An account that g does not tell stays what it was
// known to be.
func (c *Connection) Adopt(g *providers.Grant, pinned string, now time.Time) {
	c.adopt(g, c.Account, pinned, now)
}

func (c *Connection) adopt(g *providers.Grant, before Account, pinned string, now time.Time) {
	c.noteKey(g.Key, now)
	c.replaced(pinned, now)
	c.reaches(g, before, pinned, now)
	c.Grant, c.Key, c.Pinned, c.Imported, c.AdoptedBy, c.Closed = withoutSites(g), nil, pinned, Import{}, "", false
	c.Identified(g.Account)
	c.credentialChanged(now)
}

// AdoptIssued is Adopt for a token that was asked for without a person. One that another key than before bought may be
// anybody's.
func (c *Connection) AdoptIssued(g *providers.Grant, pinned string, now time.Time) {
	if !maps.EqualFunc(c.KeyFields(), g.Key, providers.Secret.Equal) {
		c.Account = Account{}
	}
	c.Adopt(g, pinned, now)
}

// KeyFields are the fields of the connection's key, be it what is handed out or what buys that; nil when it has none.
func (c *Credential) KeyFields() map[string]providers.Secret {
	if c.Grant != nil {
		return c.Grant.Key
	}
	return c.Key
}

// AdoptConsent is Adopt for what a person's consent brought. What its answer does not tell is not forgotten where it
// is the same account's at the same provider: many give a refresh token at the first consent only. spending tells that
// the former one may be on its way to the provider: it is worth nothing then.
func (c *Connection) AdoptConsent(g *providers.Grant, spending bool, pinned string, now time.Time) {
	former := c.Grant
	same := former != nil && c.Pinned == pinned && c.Account.Pinned == pinned && c.Account.ID != "" &&
		c.Account.ID == g.Account.ID
	if same {
		merged := *g
		merged.Config, merged.SecretConfig = overlaid(former.Config, g.Config),
			overlaid(former.SecretConfig, g.SecretConfig)
		if merged.HardLimit.IsZero() && !reached(former.HardLimit, now) {
			merged.HardLimit = former.HardLimit
		}
		if g.RefreshToken.IsZero() && !spending && c.refreshTokenIsGood(now) && within(former.Scopes, g.Scopes) {
			merged.RefreshToken, merged.RefreshExpires = former.RefreshToken, former.RefreshExpires
		}
		g = &merged
	}
	c.Adopt(g, pinned, now)
}

// refreshTokenIsGood reports whether nothing is known to speak against the refresh token.
func (c *Connection) refreshTokenIsGood(now time.Time) bool {
	return c.Refused.Reason == "" && !c.Attempt.Unknown && !reached(c.Grant.HardLimit, now) &&
		!reached(c.Grant.RefreshExpires, now)
}

// within reports whether all scopes are among those granted.
func within(scopes, granted []string) bool {
	return !slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(granted, s) })
}

// overlaid is more laid over base; nil when there is nothing.
func overlaid[V any](base, more map[string]V) map[string]V {
	if len(base) == 0 {
		return more
	}
	out := maps.Clone(base)
	maps.Copy(out, more)
	return out
}

// AdoptImport is Adopt for tokens obtained elsewhere: they may be anybody's.
func (c *Connection) AdoptImport(g *providers.Grant, pinned string, now time.Time) {
	before := c.Account
	c.Account = Account{}
	c.adopt(g, before, pinned, now)
	if !g.RefreshToken.IsZero() {
		c.Imported = Import{Digest: digest(g.RefreshToken), Generation: c.Generation}
	}
}

// AdoptTried is AdoptImport for what became of brought when it was tried.
func (c *Connection) AdoptTried(g, brought *providers.Grant, pinned string, now time.Time) {
	told := *brought
	told.Sites, told.Account = g.Sites, g.Account
	c.AdoptImport(&told, pinned, now)
	c.Grant = withoutSites(g)
	c.Identified(g.Account)
	if !g.AccessToken.Equal(brought.AccessToken) { // it was refreshed already
		c.LastRefresh = now
		c.credentialChanged(now)
	}
}

// Identified records whose account the grant belongs to. Not knowing changes nothing.
func (c *Connection) Identified(a providers.Account) {
	if a.ID != "" || a.Label != "" || a.Email != "" {
		c.Account = Account{ID: a.ID, Label: a.Label, Email: a.Email, Pinned: c.Pinned}
	}
}

// HasImport reports whether the grant comes from this very import and still serves, or will once it is enabled:
// adopting g again could only lose what is newer. refreshed tells that something is. Until then another access token
// is a correction.
func (c *Connection) HasImport(g *providers.Grant, pinned string) (has, refreshed bool) {
	if !c.FromImport(g) && !c.Holds(g) || c.Pinned != pinned || c.Refused.Reason != "" {
		return false, false
	}
	refreshed = c.FromImport(g) && c.Generation > c.Imported.Generation
	return refreshed || g.AccessToken.IsZero() || g.AccessToken.Equal(c.Grant.AccessToken), refreshed
}

// FromImport reports whether the grant goes back to an import of this refresh token.
func (c *Connection) FromImport(g *providers.Grant) bool {
	return !g.RefreshToken.IsZero() && c.Imported.Digest == digest(g.RefreshToken)
}

// Holds reports whether the connection has this refresh token.
func (c *Connection) Holds(g *providers.Grant) bool {
	return c.Grant != nil && !g.RefreshToken.IsZero() && c.Grant.RefreshToken.Equal(g.RefreshToken)
}

func digest(s providers.Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// AdoptKey makes values the connection's key. Whose account it opens is not known.
func (c *Connection) AdoptKey(values map[string]providers.Secret, pinned string, now time.Time) {
	c.noteKey(values, now)
	c.replaced(pinned, now)
	c.Grant, c.Key, c.Pinned, c.Imported, c.Account, c.Sites = nil, values, pinned, Import{}, Account{}, nil
	c.AdoptedBy, c.Closed = "", false
	c.credentialChanged(now)
}

// Capture records what the service told of the key. Not knowing changes nothing.
func (c *Connection) Capture(told *providers.Captured) {
	if told != nil && c.Grant == nil {
		c.Captured = told.Clone()
	}
}

// AdoptFormer is AdoptKey for the key that was replaced last: it is as old as it was.
func (c *Connection) AdoptFormer(values map[string]providers.Secret, pinned string, now time.Time) {
	written := c.FormerAge.of(c)
	c.AdoptKey(values, pinned, now)
	if !written.IsZero() {
		c.KeyAge.Written = written
	}
}

// KeepFormer keeps the key that was replaced, with what the service told of it, until it is erased.
func (c *Connection) KeepFormer(values map[string]providers.Secret, told *providers.Captured, until time.Time) {
	c.FormerKey, c.FormerCaptured, c.FormerUntil, c.FormerAge = values, told, until, KeyAge{}
}

// EraseFormer forgets the former key when its time is over, and reports whether there was one.
func (c *Connection) EraseFormer(now time.Time) bool {
	if c.FormerUntil.IsZero() || now.Before(c.FormerUntil) {
		return false
	}
	c.KeepFormer(nil, nil, time.Time{})
	return true
}

// HasKey reports whether the connection has this key of this kind, and the provider did not refuse it: adopting it
// again would pass for a rotation.
func (c *Connection) HasKey(kind providers.Kind, values map[string]providers.Secret, pinned string) bool {
	stored := c.KeyFields()
	if stored == nil || c.Kind != kind || c.Pinned != pinned || c.Refused.Reason != "" || len(values) != len(stored) {
		return false
	}
	same := true
	for name, v := range values {
		before, there := stored[name]
		same = v.Equal(before) && there && same // each is compared, whatever came of the others
	}
	return same
}

// Refreshed replaces the grant by what a refresh brought.
func (c *Connection) Refreshed(g *providers.Grant, now time.Time) {
	if c.Grant != nil {
		c.loses(c.Grant.Scopes, g.Scopes)
	}
	c.Grant, c.LastRefresh = g, now
	if len(g.Key) > 0 && c.keyWritten().IsZero() { // by a former release: it is counted from here
		c.KeyAge.Written = now
	}
	c.Identified(g.Account)
	c.credentialChanged(now)
}

// replaced is told before another credential takes the place of what there is. If that belonged elsewhere or had run
// out, serving begins anew. Whether it could have been renewed, only its refresh token tells here.
func (c *Connection) replaced(pinned string, now time.Time) {
	g := c.Grant
	ranOut := g != nil && (reached(g.HardLimit, now) || g.RefreshToken.IsZero() && reached(g.Expires, now))
	if c.Pinned != pinned || ranOut {
		c.Serving = now
	}
	c.Captured, c.LostScopes, c.UnaskedScopes = nil, nil, nil
	c.KeepFormer(nil, nil, time.Time{})
}

// credentialChanged marks what is handed out as new, and as taken by the provider.
func (c *Connection) credentialChanged(now time.Time) {
	if c.Serving.IsZero() || c.Refused.Reason != "" {
		c.Serving = now
	}
	c.Generation++
	c.KeyAge = c.KeyAge.at(c.Generation)
	c.Rotated, c.Attempt, c.Refused, c.Invalid = now, Attempt{}, Refusal{}, time.Time{}
}

// CheckFailed records that the service refused the credential when it was checked.
func (c *Connection) CheckFailed(now time.Time) {
	if c.Invalid.IsZero() {
		c.Invalid = now
	}
}

// CheckPassed records that the service took the credential, and for whose account if that was not known.
func (c *Connection) CheckPassed(a providers.Account) {
	c.Invalid = time.Time{}
	if c.Account.ID == "" {
		c.Identified(a)
	}
}

// RevokedThere records that the service says that a token is revoked which nothing can renew.
func (c *Connection) RevokedThere(now time.Time) {
	if c.Refused.Reason == "" {
		c.Refused = Refusal{ReasonGrantRefused, now}
	}
}

// Worked reports whether this connection ever had a success at its provider. A failure of one that had none says
// little about the provider.
func (c *Connection) Worked() bool {
	consented := c.FlowID != "" && len(c.Key) == 0 // a key that came by a link need not have been checked
	return !c.LastRefresh.IsZero() || consented || c.Kind.Issued() && c.Grant != nil && !c.Grant.AccessToken.IsZero()
}

// Failure is what came of a refresh that brought nothing.
type Failure struct {
	*providers.Error
	Lost           bool          // an answer may have been lost on the way, with a token that was spent for it
	Next           time.Time     // when the next may be made; zero lets it rest until something changes
	ProviderSerial uint64        // of the provider as it was
	Idle           time.Duration // how long the provider lets a grant lie unused; zero: for ever
}

// RefreshFailed records one failed refresh. Only a rejection makes the provider's refusal of the grant, and it says so
// when an earlier request may have spent the token unseen, or when the grant lay idle for too long.
func (c *Connection) RefreshFailed(f Failure, now time.Time) {
	unknown, denied := c.Attempt.Unknown || f.Lost, c.Attempt.Denied
	if c.Attempt.ProviderSerial != f.ProviderSerial || denied.After(now) {
		denied = time.Time{} // what was wrong then may have been put right since
	}
	if f.SaysNo && denied.IsZero() {
		denied = now
	}
	c.Attempt = Attempt{
		Failures: c.Attempt.Failures + 1, Last: now, Next: f.Next, Class: f.Class, Code: f.Code, Why: f.Why(),
		Unknown: unknown, ProviderSerial: f.ProviderSerial, Denied: denied,
	}
	if f.Class == providers.Rejected {
		reason := ReasonGrantRefused
		switch {
		case unknown:
			reason = ReasonOutcomeUnknown
		case c.lainIdle(f.Idle, now):
			reason = ReasonIdleLimit
		}
		since := now
		if c.Refused.Reason != "" { // it was tried once more
			since = c.Refused.Time
		}
		c.Refused = Refusal{reason, since}
	}
}

// EraseRefused forgets the refresh token of a grant that the provider refuses, and reports whether there was one.
func (c *Connection) EraseRefused() bool {
	if !c.Refused.Reason.MayBeTried() || c.Grant == nil || c.Grant.RefreshToken.IsZero() {
		return false
	}
	g := *c.Grant
	g.RefreshToken = providers.Secret{}
	c.Grant = &g
	return true
}

// lainIdle reports whether the grant was left unused until it died by the provider's own rule.
func (c *Connection) lainIdle(limit time.Duration, now time.Time) bool {
	g := c.Grant
	return g != nil && (limit > 0 && now.Sub(g.Issued) >= limit || !g.RefreshExpires.IsZero() &&
		!now.Before(g.RefreshExpires))
}

// SetCompanions replaces the companions. Who writes back what is there did not set it.
func (c *Connection) SetCompanions(values map[string]providers.Secret, by Setter) {
	if by.Owner || !maps.EqualFunc(c.Companions, values, providers.Secret.Equal) {
		c.CompanionsBy = by.Name
	}
	if c.Companions = values; len(values) == 0 {
		c.Companions, c.CompanionsBy = nil, ""
	}
}

// Planted reports whether somebody else set the companions of a connection in which its owner put the credential.
func (c *Connection) Planted(owner Owner) bool {
	brought := c.AdoptedBy == owner.User || c.SetBy == owner.User // somebody else may have picked a site since
	return owner.Personal() && brought && c.CompanionsBy != owner.User
}

// Equal reports whether both would be stored alike. Either may be nil.
func (c *Connection) Equal(other *Connection) bool {
	if c == nil || other == nil {
		return c == other
	}
	mine, err := encodeConnection(c)
	if err != nil {
		return false
	}
	theirs, err := encodeConnection(other)
	return err == nil && bytes.Equal(mine, theirs)
}

// Delete marks the connection as being deleted, for good.
func (c *Connection) Delete(now time.Time) {
	if c.Deleting.IsZero() {
		c.Deleting = now
	}
}

// Over is the connection as it is once cred has become its credential.
func (c *Connection) Over(cred Credential) *Connection {
	out := *c
	out.Tags, out.Companions, out.Shares = maps.Clone(c.Tags), maps.Clone(c.Companions), slices.Clone(c.Shares)
	out.Credential = cred.clone()
	if said := cred.Switched; said != nil && said.By.Time.After(out.Stops.By.Time) {
		out.Stops = *said
	}
	switch {
	case cred.Closed:
		out.Private, out.OpenedBy = true, ""
	case cred.AdoptedBy != "":
		out.CloseFor(cred.AdoptedBy)
	}
	return &out
}
