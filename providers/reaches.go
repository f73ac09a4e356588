package providers

import (
	"context"
	"slices"
)

// Reached asks the service which accounts the app's own credential opens: at most a hundred, and more tells that there
// may be others. The error is an [*Error].
func (c *Client) Reached(ctx context.Context, app *App) (found []Choice, more bool, err error) {
	spec := app.Definition.Reaches
	if spec == nil {
		return nil, false, &Error{Class: Misconfigured, Step: StepReaches, Reason: ReasonNoEndpoint}
	}
	style, failure := app.clientAuth(nil)
	if failure != nil {
		return nil, false, failure
	}
	res := Resolved{Inputs: app.settled(), ClientAuth: style}
	r, failure := c.apiCall(ctx, app, res, StepReaches, spec.Call, nil, &Grant{}, nil)
	if failure != nil {
		return nil, false, failure
	}
	list := spec.List
	if list == "" {
		list = "$"
	}
	value, _ := lookup(r.doc, list)
	listed, many := value.([]any)
	if !many {
		return nil, false, &Error{Class: Misconfigured, Step: StepReaches, Reason: ReasonResourcesUnread}
	}
	in, _ := app.Definition.input(spec.Input)
	for _, doc := range listed {
		id := lookupText(doc, spec.ID)
		if id == "" || len(id) > maxChoiceID || matches(in.Pattern, id) != nil {
			continue
		}
		found = append(found, Choice{ID: id, Name: plainName(lookupText(doc, spec.Name))})
	}
	if len(found) > maxChoices {
		found, more = found[:maxChoices], true
	}
	return found, more || r.header.Get("Link") != "", nil
}

// reaches holds the section against the kinds and the input that it is for.
func (c *checker) reaches() {
	spec := c.d.Reaches
	c.called(StepReaches, spec != nil)
	if spec == nil {
		return
	}
	c.call("reaches", &spec.Call)
	c.reading("reaches", &spec.Call)
	c.paths("reaches.list", []string{spec.List})
	c.paths("reaches.id", []string{spec.ID})
	c.paths("reaches.name", []string{spec.Name})
	if !slices.ContainsFunc(c.d.Kinds, c.d.OfTheApp) {
		c.add("reaches", "no kind has a credential of the app's own: drop the section")
	}
	if spec.Auth == "" || spec.Auth == "send" || spec.Auth == "bearer" {
		c.add("reaches.auth", "there is no token yet: write assertion, client, client_basic or bearer_client_secret")
	}
	in, known := c.d.input(spec.Input)
	switch {
	case spec.Input == "":
		c.add("reaches.input", "input is missing: which one takes the id?")
	case !known:
		c.add("reaches.input", "%q is no input%s", spec.Input, suggest(spec.Input, c.d.names()))
	case !c.d.Binds(in):
		c.add("reaches.input", "input %q is not one that is bound to owners", spec.Input)
	}
	if spec.ID == "" {
		c.add("reaches.id", "id is missing: what tells one from the others?")
	}
}
