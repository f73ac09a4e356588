package backend

import (
	"context"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// drift is how far what a connection was granted lies from what its provider asks for now. Both parts are without what
// missing_scopes tells, and go by the definition's rules for scopes. What a service does not tell is no drift.
type drift struct {
	grown []string // the provider asks for them now, and they were not granted
	lost  []string // they were granted, and a refresh or a check did not find them any more
}

func (d drift) is() bool { return len(d.grown)+len(d.lost) > 0 }

// driftOf is pure. p is nil where the provider is gone.
func driftOf(p *configured, c *store.Connection) (d drift) {
	if p == nil || c.Grant == nil || len(c.Grant.Scopes) == 0 || c.Pinned != p.fingerprint || c.Refused.Reason != "" {
		return d
	}
	granted, asked := c.Grant.Scopes, p.app.AskedOf(c.Kind)
	d.lost = p.app.MissingScopes(c.LostScopes, granted)
	if c.Kind.Issued() { // what the operator asks for no more was not lost
		d.lost = slices.DeleteFunc(d.lost, func(s string) bool { return !slices.Contains(asked, s) })
	}
	known := slices.Concat(granted, c.RequiredScopes, c.UnaskedScopes, d.lost)
	d.grown = p.app.MissingScopes(asked, known)
	return d
}

// driftAt is driftOf with the provider as it is.
func (b *backend) driftAt(ctx context.Context, c *store.Connection) drift {
	p, err := b.provider(ctx, c.Provider)
	if err != nil {
		return drift{}
	}
	return driftOf(p, c)
}

// advice says what drifted and which one command mends it; empty when nothing did.
func (d drift) advice(k store.Key, p *configured, c *store.Connection) string {
	if !d.is() {
		return ""
	}
	var why []string
	if len(d.grown) > 0 {
		why = append(why, "the provider asks for "+strings.Join(d.grown, ", ")+" now, which was not granted")
	}
	if len(d.lost) > 0 {
		why = append(why, strings.Join(d.lost, ", ")+" was granted and is not any more")
	}
	said := clipText(strings.Join(why, "; "))
	if c.Kind.Issued() {
		return said + ": a write of refresh/" + k.String() + " asks for it anew; if that does not help, somebody allows " +
			"it to the app at the service"
	}
	verb := "auth-code-url/"
	if c.Kind == providers.KindDeviceCode {
		verb = "device-code/"
	}
	return said + ": consent again, by a flow that " + verb + k.String() + d.scopesToName(p, c) + " starts; path, " +
		"label, tags, shares and account stay"
}

// scopesToName is what the flow has to name so that it asks for all: nothing, where the provider's own scopes do.
func (d drift) scopesToName(p *configured, c *store.Connection) string {
	asked := p.app.AskedOf(c.Kind)
	has := slices.Concat(c.RequiredScopes, d.lost, c.Grant.Scopes)
	if len(p.app.MissingScopes(has, p.app.RequestScopes(nil, nil))) == 0 {
		return ""
	}
	all := slices.Clone(asked)
	for _, scope := range has {
		if !slices.Contains(all, scope) && mayAskFor(p, []string{scope}) == nil {
			all = append(all, scope)
		}
	}
	return " scopes=" + strings.Join(all, ",")
}

// unasked are the scopes that the provider asked for by default when a flow began and the flow did not. nil where the
// provider was changed since: what was asked then is not known.
func (p *configured) unasked(f *store.Flow) []string {
	if p.entry.Updated.After(f.Created.Time) {
		return nil
	}
	return p.app.MissingScopes(p.app.AskedOf(f.Kind), f.Scopes)
}

// lostOrFound reports whether the scopes that a check was told differ from what is stored in what drifted.
func (p *configured) lostOrFound(c *store.Connection, told []string) bool {
	if p == nil || c.Grant == nil || len(c.Grant.Scopes) == 0 || len(told) == 0 || sizeOf(told) > maxToldScopes {
		return false
	}
	lost := p.app.MissingScopes(c.LostScopes, c.Grant.Scopes)
	return len(p.app.MissingScopes(c.Grant.Scopes, told)) > 0 || len(p.app.MissingScopes(lost, told)) < len(lost)
}

// maxToldScopes is how much of a check's answer is kept; see fieldLimits.
const maxToldScopes = 16 * kB

func sizeOf(texts []string) (size int) {
	for _, text := range texts {
		size += len(text)
	}
	return size
}
