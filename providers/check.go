package providers

import (
	"context"
	"slices"
	"time"
)

// Checked is what the service told of a credential that it takes.
type Checked struct {
	Account Account   // whose it is; empty when the call does not tell
	Scopes  []string  // that it has; nil when the call does not tell
	Expires time.Time // when it ends; zero when the call does not tell

	// of a key: its connection_config, as it was known and with what the call tells; nil when the call does not tell
	Captured *Captured
	Partly   *Error // why that is not whole; nil when it is
}

// CanCheck reports whether there is a call that shows whether a credential of that kind works: the definition's health
// call, its identity call, or a health endpoint that the operator names for a generic definition.
func (a *App) CanCheck(res Resolved, kind Kind) bool {
	step, spec := a.checkCall(kind)
	return spec != nil && (res.Endpoints[step] != "" || a.endpointTemplate(step) != "")
}

// checkCall is the call that shows whether a credential of that kind works; nil: there is none.
func (a *App) checkCall(kind Kind) (Step, *Probe) {
	switch def := a.Definition; {
	case def.Health.serves(kind):
		return StepHealth, def.Health
	case def.Identity.serves(kind) && a.Endpoints[StepHealth] == "":
		return StepIdentity, def.Identity
	case def.Health == nil && a.Endpoints[StepHealth] != "":
		return StepHealth, &Probe{}
	}
	return "", nil
}

// serves reports whether the call is there, and made with credentials of that kind.
func (p *Probe) serves(kind Kind) bool {
	return p != nil && (len(p.Kinds) == 0 || slices.Contains(p.Kinds, kind))
}

// Check asks the service whether g works, by a call that changes nothing. For a key, g carries the key fields in
// SecretConfig and no access token, and what was captured of it before. The error is an [*Error]: of class Expired or
// Rejected when the service refuses the credential, with a code where it did so in words that the definition knows;
// Forbidden when it takes the credential and does not allow this call.
func (c *Client) Check(ctx context.Context, app *App, res Resolved, kind Kind, g *Grant) (*Checked, error) {
	step, spec := app.checkCall(kind)
	if spec == nil {
		return nil, &Error{Class: Misconfigured, Step: StepHealth, Reason: ReasonNoEndpoint}
	}
	key := g.AccessToken.IsZero()
	if key {
		g = g.clone()
		g.capture(app.Definition.Connection, fromInput, asDoc(res.Inputs)) // the call may need it
	}
	r, failure := c.probe(ctx, app, res, step, spec, g)
	if failure != nil {
		return nil, failure
	}
	told := &Checked{Scopes: spec.scopes(r, app.Definition.Scopes), Expires: spec.expires(r)}
	if step == StepIdentity && !app.sameSubject(g.subject, r.doc) {
		return told, nil
	}
	docs := map[string]any{string(step): r.doc}
	if key {
		told.Captured, told.Partly = app.Definition.captureOfKey(g, step, r.doc)
		if step == StepIdentity { // as in Identify
			docs[fromConfig] = asDoc(told.Captured.Config)
		}
	}
	if step == StepIdentity || !app.Definition.Identity.serves(kind) {
		app.Definition.Account.read(&told.Account, docs)
	}
	return told, nil
}

// scopes are those that the answer names, in its header or its body.
func (p *Probe) scopes(r *reply, said Scopes) []string {
	if p.ScopesHeader != "" {
		inHeader := tokenAnswer{scopes: Scopes{Join: ","}}
		if scopes := inHeader.splitScopes(r.header.Get(p.ScopesHeader)); len(scopes) > 0 {
			return scopes
		}
	}
	if len(p.ScopesPath) == 0 {
		return nil
	}
	inBody := tokenAnswer{paths: Answer{Scope: p.ScopesPath}, scopes: said}
	return inBody.scopeList(r.doc)
}

// expires is the end that the answer's header names; zero when there is none that can be read.
func (p *Probe) expires(r *reply) time.Time {
	if p.ExpiryHeader == "" {
		return time.Time{}
	}
	text := r.header.Get(p.ExpiryHeader)
	for _, layout := range []string{
		time.RFC3339, "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700", time.RFC1123,
	} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}
