package refresh

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Problem says why a connection cannot give its credential.
type Problem int

// The problems, by what helps.
const (
	NotFound       Problem = iota + 1 // there is no such connection
	Disabled                          // a person must enable it
	NeedsReconnect                    // a person must consent again
	Expired                           // the token is dead and there is nothing to refresh it with
	AppRefused                        // the operator must correct the provider
	Unavailable                       // it passes by itself
	Paused                            // the operator paused refreshing
	NotRefreshable                    // refreshing was asked of something that is not refreshed
	StorageRefuses                    // it passes when storage takes writes
	Choosing                          // a person must pick what of it is to be used
)

// Error is why a credential cannot be given, in terms of what the caller can do.
type Error struct {
	Problem  Problem
	Key      store.Key
	Provider string
	Reason   store.Reason     // with NeedsReconnect and Disabled
	Stops    store.Stops      // with Disabled
	Class    providers.Class  // with AppRefused and Unavailable
	Why      string           // one of the engine's own words; of what is frozen, with the operator's
	Code     string           // a known error code
	Next     time.Time        // with Unavailable: the next try
	HasKey   bool             // with NeedsReconnect: it holds a key, which nobody consents to
	Kind     providers.Kind   // with NeedsReconnect
	Sites    *providers.Sites // with Choosing
	cause    error            // with StorageRefuses; not for callers

	MayBeTried bool // with NeedsReconnect: a person may have the refused grant tried once more
}

// needsReconnect is the error of a connection that a person must see to.
func needsReconnect(k store.Key, c *store.Connection, reason store.Reason, now time.Time) *Error {
	return &Error{
		Problem: NeedsReconnect, Key: k, Provider: c.Provider, Reason: reason, HasKey: c.Grant == nil, Kind: c.Kind,
		MayBeTried: reason.MayBeTried() && c.Grant != nil && (!c.Grant.RefreshToken.IsZero() || c.Kind.Issued()) &&
			!limitPassed(c, now),
	}
}

// stopped says who stopped a connection, and what lifts that. Names stay with its metadata.
func stopped(k store.Key, stops store.Stops) string {
	var who, fields []string
	for _, s := range stops.Sides() {
		switch {
		case !k.Owner.Personal() || s.Side == store.SideEither:
		case s.Side == store.SideOwner:
			who = append(who, "its owner, who alone lifts that")
		default:
			who = append(who, "somebody else than its owner, which others lift")
		}
		if !s.Disabled.Time.IsZero() {
			fields = append(fields, "disabled=false")
		}
		if !s.Archived.Time.IsZero() {
			fields = append(fields, "archived=false")
		}
	}
	word := "disabled (disabled_by_person)"
	if stops.Archived() {
		word = "archived"
	}
	if len(who) > 0 {
		word += " by " + strings.Join(who, ", and by ")
	}
	slices.Sort(fields)
	return word + ": write " + strings.Join(slices.Compact(fields), " ") + " to connections/" + k.String()
}

// Unwrap gives what storage said, where it is the cause. It is not for callers: it may name files.
func (e *Error) Unwrap() error { return e.cause }

func (e *Error) Error() string {
	switch e.Problem {
	case NotFound:
		return fmt.Sprintf("no connection %s: start one with auth-code-url/%s, or write its key to connections/%s",
			e.Key, e.Key, e.Key)
	case Disabled:
		switch e.Reason {
		case store.ReasonFrozen:
			return fmt.Sprintf("connection %s is frozen: %s", e.Key, e.Why)
		case store.ReasonOwnerNotAllowed:
			return fmt.Sprintf("connection %s is not served (owner_not_allowed): an operator adds its owner to "+
				"allowed_owners on providers/%s", e.Key, e.Provider)
		case store.ReasonKindNotAllowed:
			return fmt.Sprintf("connection %s is not served (kind_not_allowed): its credential is the operator's "+
				"own, which no user may have; make it for an organization", e.Key)
		case store.ReasonInputNotBound:
			return fmt.Sprintf("connection %s is not served (input_not_bound): the app itself acts on the account that its "+
				"inputs name, and an operator has not bound that to its owner; bound_inputs on providers/%s does", e.Key,
				e.Provider)
		case store.ReasonOwnerDisabled:
			return fmt.Sprintf("connection %s is not served (owner_disabled): the Vault entity that owns it is disabled; "+
				"once that is enabled again, the next daily look at owners lets the connection serve", e.Key)
		case store.ReasonOwnerMissing:
			return fmt.Sprintf("connection %s is not served (owner_missing): Vault does not know the entity any more that "+
				"owns it, and its credential goes to no other owner; delete the connection, and connect the account again "+
				"for whom it is meant", e.Key)
		case store.ReasonMoving:
			return fmt.Sprintf("connection %s is moving to another owner or name: read it there in a moment", e.Key)
		case store.ReasonRevoking:
			return fmt.Sprintf("connection %s is being ended (revoking): once that is over, its owner can connect it again",
				e.Key)
		case store.ReasonDeleting:
			return fmt.Sprintf("connection %s is being deleted: once it is gone, make it anew with "+
				"auth-code-url/%s or connections/%s",
				e.Key, e.Key, e.Key)
		}
		return fmt.Sprintf("connection %s is %s", e.Key, stopped(e.Key, e.Stops))
	case NeedsReconnect:
		if e.Reason == store.ReasonProviderMissing {
			return fmt.Sprintf("connection %s has no provider (provider_missing): %q was deleted, or this release "+
				"cannot read it; an operator writes providers/%s again as it was", e.Key, e.Provider, e.Provider)
		}
		if e.HasKey {
			return fmt.Sprintf("connection %s needs its key again (%s): %s; write it to connections/%s", e.Key,
				e.Reason, explain(e.Reason), e.Key)
		}
		how := "start a flow with auth-code-url/" + e.Key.String()
		if e.Kind.Issued() {
			how = fmt.Sprintf("write its key fields to connections/%s, or kind=%s alone where the operator has the secret",
				e.Key, e.Kind)
		}
		s := fmt.Sprintf("connection %s needs to be reconnected (%s): %s; %s", e.Key, e.Reason, explain(e.Reason), how)
		if e.MayBeTried {
			s += fmt.Sprintf(", or, if that was an incident of the provider, have it tried once more by refresh/%s",
				e.Key)
		}
		return s
	case Expired:
		return fmt.Sprintf("the token of connection %s has expired and the provider gave nothing to refresh it "+
			"with: start a flow with auth-code-url/%s", e.Key, e.Key)
	case AppRefused:
		if e.Code == providers.CodeNotSent {
			return fmt.Sprintf("connection %s got no new token of provider %q, nothing was sent: %s", e.Key,
				e.Provider,
				e.Why)
		}
		s := fmt.Sprintf("provider %q refuses the app itself (%s): if that lasts, correct client_id, client_secret, "+
			"client_auth or scopes on providers/%s; connection %s is kept", e.Provider, detail(e.Why, e.Code),
			e.Provider,
			e.Key)
		if e.Code == providers.CodeIssuer {
			s = fmt.Sprintf("provider %q cannot be asked for a token (%s): correct issuer on providers/%s; connection "+
				"%s is kept", e.Provider, e.Why, e.Provider, e.Key)
		}
		if !e.Next.IsZero() {
			s += ", and the next try is at " + e.Next.UTC().Format(time.RFC3339)
		}
		return s
	case Unavailable:
		s := fmt.Sprintf("provider %q gave no new token for connection %s (%s: %s)", e.Provider, e.Key, e.Class,
			detail(e.Why, e.Code))
		if e.Code == providers.CodeIssuer {
			s += ": if that lasts, correct issuer on providers/" + e.Provider
		}
		if e.Next.IsZero() {
			return s + ": try again"
		}
		return s + ": the next try is at " + e.Next.UTC().Format(time.RFC3339)
	case StorageRefuses:
		return fmt.Sprintf("storage refuses the intent to refresh connection %s, so provider %q was not asked: "+
			"check Vault's storage and whether this node still leads, then ask again", e.Key, e.Provider)
	case Choosing:
		return fmt.Sprintf("connection %s is pending (choice): %s", e.Key, ToPick(e.Key, e.Sites))
	case Paused:
		switch e.Why {
		case "restore_suspected":
			return fmt.Sprintf("refreshing is paused (%s), so connection %s gets no new token: this storage may be a restored "+
				"snapshot, whose refresh tokens were spent since; an operator makes sure that no other Vault works with these "+
				"connections, and sets refresh_paused=false on config", e.Why, e.Key)
		case "restore_unknown":
			return fmt.Sprintf("refreshing is paused (%s), so connection %s gets no new token: restore_guard on config "+
				"watches over this mount, and storage has not told yet how old it is; that is tried again each minute: "+
				"check Vault's storage", e.Why, e.Key)
		}
		return fmt.Sprintf("refreshing is paused, so connection %s gets no new token: set refresh_paused=false on "+
			"config, or, if CONNECTORS_REFRESH_PAUSED=1 is set for Vault, restart Vault without it", e.Key)
	}
	return fmt.Sprintf("connection %s has nothing to refresh: %s", e.Key, e.Why)
}

// maxNamed is how many sites an error names.
const maxNamed = 20

// ToPick says what there is to pick from, and how.
func ToPick(k store.Key, s *providers.Sites) string {
	how := fmt.Sprintf("pick one with inputs=%s=<id> on connections/%s", s.Input, k)
	switch {
	case s.Unknown:
		return "what its account reaches could not be listed yet; " + how + ", which lists it anew"
	case len(s.Choices) == 0:
		return "its account reaches nothing that could be worked with; give it access at the service, then " + how
	}
	var named []string
	for _, c := range s.Choices[:min(len(s.Choices), maxNamed)] {
		text := c.ID
		if c.Name != "" {
			text += fmt.Sprintf(" (%s)", c.Name)
		}
		named = append(named, text)
	}
	more := ""
	if len(s.Choices) > maxNamed || s.More {
		more = ", and others"
	}
	return "its account reaches " + strings.Join(named, ", ") + more + "; " + how
}

func explain(r store.Reason) string {
	switch r {
	case store.ReasonOutcomeUnknown:
		return "an answer of the provider was lost and it now refuses the former token"
	case store.ReasonIdleLimit:
		return "it was not used for longer than the provider lets a grant rest"
	case store.ReasonTransferred:
		return "it was private, and came here without its former owner's credential"
	case store.ReasonHardLimit:
		return "the consent has run out"
	case store.ReasonRevoked:
		return "it was ended here, with whatever was stored of it"
	case store.ReasonProviderChanged:
		return "the provider was changed since this grant was made, so the grant is not sent there"
	}
	return "the provider refuses the grant; the person may have revoked it"
}

func detail(why, code string) string {
	switch {
	case code == "":
		return why
	case why == "" || why == code:
		return code
	}
	return why + ", " + code
}

// fromAttempt is the error that a stored failure stands for, without asking the provider again.
func fromAttempt(k store.Key, c *store.Connection, now time.Time) *Error {
	a := c.Attempt
	e := &Error{
		Problem: Unavailable, Key: k, Provider: c.Provider, Class: a.Class, Why: a.Why, Code: a.Code, Next: nextOf(a),
	}
	switch a.Class {
	case providers.Misconfigured:
		e.Problem = AppRefused
	case providers.Rejected:
		return needsReconnect(k, c, c.Refused.Reason, now)
	}
	return e
}
