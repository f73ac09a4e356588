package store

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Status says whether a connection can serve.
type Status string

// The states of a connection. StatusPending is never stored: it is how an open flow without a connection looks.
const (
	StatusActive           Status = "active"
	StatusNeedsReconnect   Status = "needs_reconnect"
	StatusFailedValidation Status = "failed_validation"
	StatusDisabled         Status = "disabled"
	StatusPending          Status = "pending"
)

// Reason says why a connection has its status.
type Reason string

// The reasons; the empty one goes with StatusActive.
const (
	ReasonFlowOpen         Reason = "flow_open"
	ReasonDenied           Reason = "denied"
	ReasonGrantRefused     Reason = "grant_refused"
	ReasonOutcomeUnknown   Reason = "refresh_outcome_unknown"
	ReasonIdleLimit        Reason = "idle_limit"
	ReasonHardLimit        Reason = "hard_limit"
	ReasonProviderChanged  Reason = "provider_changed"
	ReasonProviderMissing  Reason = "provider_missing"
	ReasonDisabledByPerson Reason = "disabled_by_person"
	ReasonDeleting         Reason = "deleting"
)

// Connection is one account at one provider. Change it through its methods: each leaves all related fields right.
type Connection struct {
	Serial     uint64 `json:"serial"`     // +1 with every write
	Generation uint64 `json:"generation"` // +1 with every change of the credential; a result for a lower one is stale

	Provider       string            `json:"provider"`
	Kind           providers.Kind    `json:"kind"`
	Label          string            `json:"label,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	Inputs         map[string]string `json:"inputs,omitempty"`
	RequiredScopes []string          `json:"required_scopes,omitempty"`
	Private        bool              `json:"private,omitempty"` // for the owner's own entity alone
	Created        Actor             `json:"created"`

	Pinned string `json:"pinned"`            // fingerprint of the provider the credential belongs to
	FlowID string `json:"flow_id,omitempty"` // the flow that brought the grant

	Imported Import `json:"imported,omitzero"` // where the grant comes from, if a refresh token was imported

	Status       Status    `json:"status"`
	Reason       Reason    `json:"status_reason,omitempty"`
	Since        time.Time `json:"status_since"`
	DisabledFrom Status    `json:"disabled_from,omitempty"` // what enabling goes back to
	FormerReason Reason    `json:"former_reason,omitempty"`

	Grant *providers.Grant            `json:"-"` // nil for keys
	Key   map[string]providers.Secret `json:"-"` // the key fields, public ones too; nil for grants

	Rotated     time.Time `json:"rotated"`               // when the credential last changed
	LastRefresh time.Time `json:"last_refresh,omitzero"` // last successful one
	Attempt     Attempt   `json:"attempt"`
}

// Import remembers a refresh token that was obtained elsewhere, so that the same import sent again is known for what it is:
// by then the token may be spent.
type Import struct {
	Digest     string `json:"digest"`     // SHA-256 of the refresh token
	Generation uint64 `json:"generation"` // of the credential then; a higher one came of refreshing it
}

// Attempt is the record of the refreshes that failed since the last success. It decides when the next may be made, and
// survives a restart.
type Attempt struct {
	Failures       int             `json:"failures,omitempty"`
	Last           time.Time       `json:"last,omitzero"`
	Next           time.Time       `json:"next,omitzero"` // not before; zero with a resting class: not until something changes
	Class          providers.Class `json:"class,omitempty"`
	Code           string          `json:"code,omitempty"`
	Why            string          `json:"why,omitempty"`             // one of the engine's own words
	Unknown        bool            `json:"unknown,omitempty"`         // a request left and no answer came: the token may be spent
	ProviderSerial uint64          `json:"provider_serial,omitempty"` // of the provider that failed; a newer one lifts the rest
}

// Clone returns a copy that shares nothing a caller may change. Secrets are immutable and shared.
func (c *Connection) Clone() *Connection {
	if c == nil {
		return nil
	}
	out := *c
	out.Tags, out.Inputs, out.Key = maps.Clone(c.Tags), maps.Clone(c.Inputs), maps.Clone(c.Key)
	out.RequiredScopes = slices.Clone(c.RequiredScopes)
	if c.Grant != nil {
		g := *c.Grant
		g.Scopes, g.Config, g.SecretConfig = slices.Clone(g.Scopes), maps.Clone(g.Config), maps.Clone(g.SecretConfig)
		out.Grant = &g
	}
	return &out
}

// Adopt makes g the connection's grant after a consent, an issue, or an import without a refresh token.
func (c *Connection) Adopt(g *providers.Grant, pinned string, now time.Time) {
	c.Grant, c.Key, c.Pinned, c.Imported = g, nil, pinned, Import{}
	c.credentialChanged(now)
	c.recover(now)
}

// AdoptImport is Adopt for tokens obtained elsewhere.
func (c *Connection) AdoptImport(g *providers.Grant, pinned string, now time.Time) {
	c.Adopt(g, pinned, now)
	if !g.RefreshToken.IsZero() {
		c.Imported = Import{Digest: digest(g.RefreshToken), Generation: c.Generation}
	}
}

// HasImport reports whether the grant comes from this very import and still serves, or will once it is enabled: adopting g
// again could only lose what is newer. refreshed tells that something is. Until then another access token is a correction.
func (c *Connection) HasImport(g *providers.Grant, pinned string) (has, refreshed bool) {
	status := c.Status
	if status == StatusDisabled {
		status = c.DisabledFrom
	}
	if g.RefreshToken.IsZero() || c.Imported.Digest != digest(g.RefreshToken) || c.Pinned != pinned || status != StatusActive {
		return false, false
	}
	refreshed = c.Generation > c.Imported.Generation
	return refreshed || g.AccessToken.IsZero() || g.AccessToken.Equal(c.Grant.AccessToken), refreshed
}

func digest(s providers.Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// AdoptKey makes values the connection's key.
func (c *Connection) AdoptKey(values map[string]providers.Secret, pinned string, now time.Time) {
	c.Grant, c.Key, c.Pinned, c.Imported = nil, values, pinned, Import{}
	c.credentialChanged(now)
	c.recover(now)
}

// Refreshed replaces the grant by what a refresh brought.
func (c *Connection) Refreshed(g *providers.Grant, now time.Time) {
	c.Grant, c.LastRefresh = g, now
	c.credentialChanged(now)
	c.recover(now)
}

// Failure is what came of a refresh that brought nothing.
type Failure struct {
	*providers.Error
	Lost           bool          // an answer may have been lost on the way, with a token that was spent for it
	Next           time.Time     // when the next may be made; zero lets a resting class rest until the provider changes
	ProviderSerial uint64        // of the provider as it was
	Idle           time.Duration // how long the provider lets a grant lie unused; zero: for ever
}

// RefreshFailed records one failed refresh. Only a rejection changes the status, and it says so when an earlier request
// may have spent the token unseen, or when the grant lay idle for too long.
func (c *Connection) RefreshFailed(f Failure, now time.Time) {
	unknown := c.Attempt.Unknown || f.Lost
	c.Attempt = Attempt{
		Failures: c.Attempt.Failures + 1, Last: now, Next: f.Next, Class: f.Class, Code: f.Code, Why: f.Reason,
		Unknown: unknown, ProviderSerial: f.ProviderSerial,
	}
	if f.Class == providers.Rejected {
		reason := ReasonGrantRefused
		switch {
		case unknown:
			reason = ReasonOutcomeUnknown
		case c.lainIdle(f.Idle, now):
			reason = ReasonIdleLimit
		}
		c.setStatus(StatusNeedsReconnect, reason, now)
	}
}

// lainIdle reports whether the grant was left unused until it died by the provider's own rule.
func (c *Connection) lainIdle(limit time.Duration, now time.Time) bool {
	g := c.Grant
	return g != nil && (limit > 0 && now.Sub(g.Issued) >= limit || !g.RefreshExpires.IsZero() && !now.Before(g.RefreshExpires))
}

// HardLimitReached records that the person must consent again whatever is refreshed.
func (c *Connection) HardLimitReached(now time.Time) {
	c.setStatus(StatusNeedsReconnect, ReasonHardLimit, now)
}

// Disable stops the connection from serving, until Enable.
func (c *Connection) Disable(reason Reason, now time.Time) {
	if c.Status != StatusDisabled {
		c.DisabledFrom, c.FormerReason = c.Status, c.Reason
		c.Status, c.Since = StatusDisabled, now
	}
	c.Reason = reason
}

// Enable goes back to what Disable left.
func (c *Connection) Enable(now time.Time) {
	if c.Status != StatusDisabled {
		return
	}
	c.Status, c.Reason, c.Since = c.DisabledFrom, c.FormerReason, now
	c.DisabledFrom, c.FormerReason = "", ""
}

// credentialChanged marks what is handed out as new.
func (c *Connection) credentialChanged(now time.Time) {
	c.Generation++
	c.Rotated = now
	c.Attempt = Attempt{}
}

// recover makes the connection active, or lets it become so once it is enabled.
func (c *Connection) recover(now time.Time) { c.setStatus(StatusActive, "", now) }

func (c *Connection) setStatus(s Status, r Reason, now time.Time) {
	if c.Status == StatusDisabled {
		c.DisabledFrom, c.FormerReason = s, r
		return
	}
	if c.Status != s || c.Reason != r {
		c.Status, c.Reason, c.Since = s, r, now
	}
}

// StatusUnder is the status in the light of the provider as it is now: nil when it is gone, else its fingerprint. It
// changes nothing, so that an operator who takes a mistaken change back finds every connection as it was.
func (c *Connection) StatusUnder(fingerprint *string) (Status, Reason) {
	switch {
	case c.Status == StatusDisabled:
	case fingerprint == nil:
		return StatusNeedsReconnect, ReasonProviderMissing
	case *fingerprint != c.Pinned:
		return StatusNeedsReconnect, ReasonProviderChanged
	}
	return c.Status, c.Reason
}

// MissingScopes are those required and not granted.
func (c *Connection) MissingScopes() []string {
	if c.Grant == nil {
		return nil
	}
	var missing []string
	for _, s := range c.RequiredScopes {
		if !slices.Contains(c.Grant.Scopes, s) {
			missing = append(missing, s)
		}
	}
	return missing
}
