package store

import "time"

// Status says whether a connection can serve. It is never stored: [Standing] derives it from facts.
type Status string

// The states of a connection. StatusPending is also how an open flow without a connection looks.
const (
	StatusActive           Status = "active"
	StatusNeedsReconnect   Status = "needs_reconnect"
	StatusFailedValidation Status = "failed_validation" // the service refused it when it was checked
	StatusExpired          Status = "expired"
	StatusDisabled         Status = "disabled"
	StatusArchived         Status = "archived" // put away: disabled, and not among what is looked after
	StatusPending          Status = "pending"
)

// Statuses are all that a connection can have.
func Statuses() []Status {
	return []Status{
		StatusActive, StatusNeedsReconnect, StatusFailedValidation, StatusExpired, StatusDisabled, StatusArchived,
		StatusPending,
	}
}

// Reason says why a connection has its status.
type Reason string

// The reasons; the empty one goes with StatusActive and StatusExpired.
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
	ReasonRevoking         Reason = "revoking" // it is being ended, with others
	ReasonRevoked          Reason = "revoked"  // it was ended so: nothing is left of it
	ReasonOwnerNotAllowed  Reason = "owner_not_allowed"
	ReasonKindNotAllowed   Reason = "kind_not_allowed"
	ReasonInputNotBound    Reason = "input_not_bound"
	ReasonFrozen           Reason = "frozen" // an operator stops everything for a while
	ReasonKeyRefused       Reason = "key_refused"
	ReasonTokenRefused     Reason = "token_refused"
	ReasonChoice           Reason = "choice"
	ReasonOwnerDisabled    Reason = "owner_disabled"
	ReasonOwnerMissing     Reason = "owner_missing"
	ReasonTransferred      Reason = "transferred" // its former owner's credential did not come along
	ReasonMoving           Reason = "moving"
)

// Reasons are all that a connection's status can have.
func Reasons() []Reason {
	return []Reason{
		ReasonFlowOpen, ReasonDenied, ReasonGrantRefused, ReasonOutcomeUnknown, ReasonIdleLimit,
		ReasonHardLimit, ReasonProviderChanged, ReasonProviderMissing, ReasonDisabledByPerson,
		ReasonDeleting, ReasonRevoking, ReasonRevoked, ReasonOwnerNotAllowed, ReasonKindNotAllowed,
		ReasonInputNotBound, ReasonFrozen, ReasonKeyRefused, ReasonTokenRefused, ReasonChoice,
		ReasonOwnerDisabled, ReasonOwnerMissing, ReasonTransferred, ReasonMoving,
	}
}

// MayBeTried reports whether a refused grant may be tried once more because a person asks: the refusal may have been
// the provider's incident.
func (r Reason) MayBeTried() bool {
	return r == ReasonGrantRefused || r == ReasonOutcomeUnknown || r == ReasonIdleLimit
}

// Facts are all that a connection's status depends on. Each is stored where it belongs and none wipes another: what is
// switched on again, or points to its provider again, is found as it was.
type Facts struct {
	Deleting bool
	Moving   bool
	Ending   bool
	Disabled bool // by a person
	Archived bool
	Left     Reason    // what became of the entity that owns it
	Shelved  bool      // it was put away for that
	Barred   Reason    // why its provider does not serve it; of the provider, so [Connection.Facts] does not know
	Pinned   string    // the provider that the credential belongs to
	Refused  Reason    // the provider's refusal of the grant
	Choosing bool      // a site is to be picked first
	Invalid  Reason    // what a check found
	Limit    time.Time // when the consent runs out whatever is refreshed; zero: never
	End      time.Time // when what is handed out dies and nothing can renew it; zero: never
}

// Facts gives the connection's own. renewable tells whether the engine could renew the credential.
func (c *Connection) Facts(renewable bool) Facts {
	f := Facts{
		Deleting: !c.Deleting.IsZero(), Moving: c.IsMoving(), Ending: c.Ending.On(), Disabled: c.Stops.On(),
		Archived: c.Stops.Archived(), Pinned: c.Pinned, Refused: c.Refused.Reason,
		Left: c.Entity.Left, Shelved: !c.Entity.Archived.IsZero(), Choosing: c.Choosing(),
	}
	switch {
	case c.Invalid.IsZero():
	case c.Grant == nil:
		f.Invalid = ReasonKeyRefused
	default:
		f.Invalid = ReasonTokenRefused
	}
	if g := c.Grant; g != nil {
		f.Limit = g.HardLimit
		if !renewable {
			f.End = g.Expires
		}
	}
	return f
}

// Status derives the word. fingerprint is that of the provider as it is now, nil when it is gone. What a person
// decided goes first, then whether its owner is there, then where the credential belongs, then what the provider said
// of it, then what time did to it.
func (f Facts) Status(fingerprint *string, now time.Time) (Status, Reason) {
	switch {
	case f.Deleting:
		return StatusDisabled, ReasonDeleting
	case f.Moving:
		return StatusDisabled, ReasonMoving
	case f.Ending:
		return StatusDisabled, ReasonRevoking
	case f.Archived:
		return StatusArchived, ReasonDisabledByPerson
	case f.Left != "" && f.Shelved:
		return StatusArchived, f.Left
	case f.Disabled:
		return StatusDisabled, ReasonDisabledByPerson
	case f.Left != "":
		return StatusDisabled, f.Left
	case f.Barred != "":
		return StatusDisabled, f.Barred
	case f.Refused == ReasonRevoked: // a person decided that too
		return StatusNeedsReconnect, ReasonRevoked
	case fingerprint == nil:
		return StatusNeedsReconnect, ReasonProviderMissing
	case *fingerprint != f.Pinned:
		return StatusNeedsReconnect, ReasonProviderChanged
	case f.Refused != "":
		return StatusNeedsReconnect, f.Refused
	case reached(f.Limit, now):
		return StatusNeedsReconnect, ReasonHardLimit
	case reached(f.End, now):
		return StatusExpired, ""
	case f.Choosing:
		return StatusPending, ReasonChoice
	case f.Invalid != "":
		return StatusFailedValidation, f.Invalid
	}
	return StatusActive, ""
}

// Stopped reports whether nothing is served or renewed because somebody decided so, or its owner left.
func (s Status) Stopped() bool { return s == StatusDisabled || s == StatusArchived }

// Lives reports whether the grant is kept fresh: it serves, or will once a person has picked a site.
func (s Status) Lives() bool { return s == StatusActive || s == StatusPending }

func reached(limit, now time.Time) bool { return !limit.IsZero() && !now.Before(limit) }

// Since is when the connection came to have this status, as far as its own facts tell: when its provider changed they
// do not, and the answer is zero.
func (c *Connection) Since(s Status, r Reason) time.Time {
	switch {
	case r == ReasonDeleting:
		return c.Deleting
	case r == ReasonMoving:
		return c.Moving.Since
	case r == ReasonRevoking:
		return c.Ending.By.Time
	case r == ReasonDisabledByPerson:
		return c.Stops.Since(s == StatusArchived)
	case r == ReasonOwnerDisabled, r == ReasonOwnerMissing:
		if s == StatusArchived {
			return c.Entity.Archived
		}
		return c.Entity.Since
	case r == ReasonProviderChanged, r == ReasonProviderMissing, s == StatusDisabled:
		return time.Time{}
	case r == ReasonHardLimit && c.Refused.Reason == "":
		return c.Grant.HardLimit
	case s == StatusNeedsReconnect:
		return c.Refused.Time
	case s == StatusFailedValidation:
		return c.Invalid
	case s == StatusExpired:
		return c.Grant.Expires
	}
	if on := c.Stops.By.Time; on.After(c.Serving) {
		return on
	}
	return c.Serving
}
