package providers

import (
	"context"
	"slices"
	"strings"
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
	if a.logsIn(kind) {
		return true
	}
	step, spec := a.checkCall(kind)
	return spec != nil && (res.Endpoints[step] != "" || a.endpointTemplate(step) != "") &&
		len(spec.unmet(res.Inputs)) == 0
}

// Checks is CanCheck for a connection with those inputs of its own.
func (a *App) Checks(kind Kind, connection map[string]string) bool {
	res := Resolved{}
	if _, spec := a.checkCall(kind); spec != nil && len(spec.Inputs) > 0 {
		merged, err := a.Definition.MergeInputs(kind, a.Inputs, connection)
		if err != nil {
			return false
		}
		res.Inputs = merged
	}
	return a.CanCheck(res, kind)
}

// WhyUnchecked says why CanCheck says no, and what would help, as a phrase that goes on from the definition's name.
func (a *App) WhyUnchecked(res Resolved, kind Kind) string {
	_, spec := a.checkCall(kind)
	switch {
	case spec != nil && len(spec.unmet(res.Inputs)) > 0:
		return "has no call for a credential with these inputs: it is checkable where " +
			strings.Join(spec.unmet(res.Inputs), " and ") + " are set as the notes in catalog/" + a.Definition.ID + " say"
	case a.Definition.Generic:
		return "has no call of its own that shows whether a credential of the kind " + string(kind) + " works: an " +
			"operator names it with endpoints health=<URL> on the provider"
	}
	return "has no call that shows whether a credential of the kind " + string(kind) + " works, so it is not checkable " +
		"here: an application finds out at its first use"
}

// logsIn reports whether a credential of that kind is checked by a login.
func (a *App) logsIn(kind Kind) bool { return a.Definition.Login != nil && kind.HasKey() }

// unmet are the inputs without which, as they are, the call is not made.
func (p *Probe) unmet(inputs map[string]string) (names []string) {
	for _, name := range sortedKeys(p.Inputs) {
		if matches(p.Inputs[name], inputs[name]) != nil {
			names = append(names, name)
		}
	}
	return names
}

// made reports whether a step is one that is called, with those inputs.
func (d *Definition) made(step Step, inputs map[string]string) bool {
	probe := map[Step]*Probe{StepIdentity: d.Identity, StepHealth: d.Health}[step]
	return probe == nil || len(probe.unmet(inputs)) == 0
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
	if app.logsIn(kind) {
		if failure := c.tryLogin(ctx, app, res, g); failure != nil {
			return nil, failure
		}
		return &Checked{}, nil
	}
	step, spec := app.checkCall(kind)
	if spec == nil || len(spec.unmet(res.Inputs)) > 0 {
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
