package providers

import (
	"context"
	"slices"
	"strings"
)

const maxAccountText = 512 // bytes of an account's id, label or e-mail

// Identify asks the provider what g reaches and whose account it is for, and keeps that and what the definition
// captures in g. Whose it is needs no choice of what is reached. When a call fails, g holds what was learnt before it
// and stays usable; the [*Error]'s class says what the failure means. Where that would make g larger than a grant may
// be, nothing of it is kept.
func (c *Client) Identify(ctx context.Context, app *App, res Resolved, kind Kind, g *Grant) error {
	g.Sites = app.Definition.Unlisted()
	before := g.clone()
	failure := c.identify(ctx, app, res, kind, g)
	if larger := g.tooLarge(StepIdentity); larger != nil && before.tooLarge(StepIdentity) == nil {
		*g = *before
		failure = larger
	}
	if failure == nil {
		return nil
	}
	return failure
}

func (c *Client) identify(ctx context.Context, app *App, res Resolved, kind Kind, g *Grant) *Error {
	def := app.Definition
	docs, complete := map[string]any{}, true
	learn := func(source string, doc any) { // later calls may need what earlier ones told
		docs[source] = doc
		complete = g.capture(def.Connection, source, doc) && complete
	}
	g.capture(def.Connection, fromInput, asDoc(res.Inputs)) // of an import they may be all there is
	var unlisted *Error
	if def.Resources != nil && !g.AccessToken.IsZero() {
		var found *Sites
		if found, unlisted = c.sites(ctx, app, res, g); unlisted == nil {
			g.Sites = found
		} else if unlisted.endsAsking() {
			return unlisted
		}
	}
	failure := c.askAccount(ctx, app, res, kind, g, docs, learn)
	if failure != nil && failure.Reason == ReasonSubjectMismatch {
		g.Account = Account{} // nobody knows now whose the token is
		return failure
	}
	if docs["identity"] != nil { // by what its address names; a callback or an input alone is anybody's to write
		docs[fromConfig] = asDoc(g.Config)
	}
	def.Account.read(&g.Account, docs)
	switch {
	case failure != nil:
		return failure
	case unlisted != nil:
		return unlisted
	case !complete:
		return &Error{Class: Misconfigured, Step: StepIdentity, Reason: ReasonCaptureMissing}
	case g.Account.ID == "" && len(def.Account.ID) > 0 && app.mustTell(kind, docs["identity"] != nil):
		return &Error{Class: Misconfigured, Step: StepIdentity, Reason: ReasonAccountMissing}
	}
	return nil
}

// askAccount makes the calls that may tell whose the grant is.
func (c *Client) askAccount(ctx context.Context, app *App, res Resolved, kind Kind, g *Grant, docs map[string]any,
	learn func(source string, doc any),
) *Error {
	def := app.Definition
	if app.asksIdentity(res, kind) {
		r, failure := c.probe(ctx, app, res, StepIdentity, def.Identity, g)
		if failure != nil {
			return failure
		}
		if !app.sameSubject(g.subject, r.doc) {
			return &Error{Class: Misconfigured, Step: StepIdentity, Reason: ReasonSubjectMismatch}
		}
		learn("identity", r.doc)
		if scopes := def.Identity.scopes(r, def.Scopes); len(scopes) > 0 {
			g.Scopes = scopes
		}
	}
	if def.Health.serves(kind) && (def.captures("health") || def.Account.reads("health")) {
		r, failure := c.probe(ctx, app, res, StepHealth, def.Health, g)
		if failure != nil {
			return failure
		}
		learn("health", r.doc)
	}
	return nil
}

// endsAsking reports whether the next call would fare no better: the token is dead, or the service wants to rest.
func (e *Error) endsAsking() bool {
	return e.Class == Expired || e.Class == Rejected || e.Class == RateLimited
}

// mayLack reports whether the service need not tell whose an account is: of a generic definition nobody knows.
func (a *App) mayLack() bool { return a.Definition.Generic || a.Definition.Discovery != nil }

// mustTell reports whether the service has to tell whose the account of a credential of that kind is.
func (a *App) mustTell(kind Kind, answered bool) bool {
	asks := a.Definition.Identity == nil || a.Definition.Identity.serves(kind)
	return answered || asks && !a.mayLack()
}

// asksIdentity reports whether there is a call that tells whose account it is: no endpoint, no question.
func (a *App) asksIdentity(res Resolved, kind Kind) bool {
	return a.Definition.Identity.serves(kind) && (!a.mayLack() || res.Endpoints[StepIdentity] != "")
}

// Identifies reports whether asking may tell more of a credential of that kind: whose it is, or what it reaches. An
// issuer's userinfo knows people only (OpenID Connect Core section 5.3), and of a generic definition the operator names
// the call.
func (a *App) Identifies(kind Kind) bool {
	def := a.Definition
	asks := def.Identity.serves(kind)
	if a.endpointTemplate(StepIdentity) == "" {
		asks = asks && def.Discovery != nil && !kind.Issued()
	}
	return asks || def.Resources != nil || def.Health.serves(kind) && def.Account.reads("health")
}

// sameSubject compares the identity answer with the sub of the id_token (OpenID Connect Core section 5.3.2): a token
// that somebody put in the place of the person's own is found out here. The issuer's own endpoint must tell it; what a
// definition or an operator put in its place need not know the word.
func (a *App) sameSubject(subject string, doc any) bool {
	told := lookupText(doc, "sub")
	if told == "" && (a.Definition.Discovery == nil || a.endpointTemplate(StepIdentity) != "") {
		return true
	}
	return subject == "" || told == subject
}

// probe makes a call that shows the credential and changes nothing.
func (c *Client) probe(ctx context.Context, app *App, res Resolved, step Step, spec *Probe,
	g *Grant,
) (*reply, *Error) {
	return c.apiCall(ctx, app, res, step, spec.Call, spec.OK, g, nil)
}

// apiCall makes a call other than a token call: own are parameters beside those of spec.
func (c *Client) apiCall(ctx context.Context, app *App, res Resolved, step Step, spec Call, ok *OK, g *Grant,
	own map[string]string,
) (*reply, *Error) {
	values := app.values(res, g)
	target, failure := app.endpoint(res, step, values)
	if failure == nil && spec.needsAssertion() {
		failure = c.assert(app, step, values)
	}
	if failure != nil {
		return nil, failure
	}
	k := call{
		step: step, group: groupOf(step), spec: spec, target: target, own: own, values: values,
		style: res.ClientAuth, secret: app.ClientSecret, issuer: res.Issuer,
	}
	if k.group == groupAPI && g.AccessToken.IsZero() {
		k.group = groupKey
	}
	if k.spec.Auth == "" {
		k.spec.Auth = "send"
	}
	if k.spec.Method == "" {
		k.spec.Method = "GET"
	}
	r, failure := c.send(ctx, app, k)
	if failure != nil {
		return nil, failure
	}
	if ok.holds(r) && !(ok == nil && app.Definition.refusesInBody(k, r)) {
		return r, nil
	}
	if failure = classify(app.Definition, k, r, ok, c.now()); failure != nil {
		refused := failure.Class == Rejected || failure.Class == Expired
		if refused && signs(k.spec.Auth) && r.clocksDiffer(c.now()) {
			failure = &Error{Class: Misconfigured, Step: k.step, Status: r.status, Reason: ReasonClocksDiffer}
		}
		return nil, failure
	}
	return r, nil
}

// refusesInBody reports whether a failure rule finds something under a success status. Some APIs say no that way.
func (d *Definition) refusesInBody(k call, r *reply) bool {
	rule, _ := matchRule(slices.DeleteFunc(slices.Clone(d.Failures), func(f FailureRule) bool {
		return f.Path == ""
	}), k, r)
	return rule != nil
}

// read takes the account from the answers at hand. A path without a prefix reads the identity answer. A path whose
// answer is not at hand was read when it was, so what it gave stands.
func (s AccountSpec) read(account *Account, docs map[string]any) {
	account.ID = readAccount(account.ID, s.ID, false, docs)
	account.Label = readAccount(account.Label, s.Label, s.Join, docs)
	account.Email = readAccount(account.Email, s.Email, false, docs)
}

func readAccount(known string, paths []string, join bool, docs map[string]any) string {
	var parts []string
	for _, p := range paths {
		source, at := accountSource(p)
		doc, asked := docs[source]
		if !asked {
			if known != "" && source != "identity" {
				return known
			}
			continue
		}
		text := lookupText(doc, at)
		if text == "" || len(text) > maxAccountText || hasControl(text) {
			continue
		}
		if !join {
			return text
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return known
	}
	return strings.Join(parts, " ")
}

func accountSource(p string) (source, at string) {
	if source, at, prefixed := strings.Cut(p, ":"); prefixed {
		return source, at
	}
	return "identity", p
}

// reads reports whether the account is read from a source.
func (s AccountSpec) reads(source string) bool {
	return slices.ContainsFunc(slices.Concat(s.ID, s.Label, s.Email), func(p string) bool {
		from, _ := accountSource(p)
		return from == source
	})
}
