package providers

import "slices"

// Installs reports whether a consent without a code goes before tokens of a kind.
func (d *Definition) Installs(kind Kind) bool {
	return d.Install != nil && slices.Contains(d.Install.Kinds, kind)
}

// InstallURL builds the URL that somebody opens to let the app act for itself. Of the request it takes state, redirect
// URI and scopes. The error is an [*Error].
func InstallURL(app *App, r AuthCodeURLRequest) (string, error) {
	spec := app.Definition.Install
	values := app.values(r.Resolved, nil)
	values["redirect_uri"], values["state"], values["scopes"] = r.RedirectURI, r.State, app.joinScopes(r.Scopes)
	target, failure := app.endpoint(r.Resolved, StepInstall, values)
	if failure != nil {
		return "", failure
	}
	if !secureURL(target) {
		return "", &Error{Class: Misconfigured, Step: StepInstall, Reason: ReasonInsecureEndpoint}
	}
	params := map[string]string{}
	if !expandInto(params, spec.Params, values) {
		return "", &Error{Class: Misconfigured, Step: StepInstall, Reason: ReasonIncompleteCall}
	}
	params[app.stateParam()] = r.State
	addQuery(target, params)
	target.Fragment = ""
	return target.String(), nil
}

// install holds the section against the kinds whose tokens follow.
func (c *checker) install() {
	spec := c.d.Install
	c.called(StepInstall, spec != nil)
	if spec == nil {
		return
	}
	if len(spec.Kinds) == 0 {
		c.add("install.kinds", "kinds are missing: whose token is asked for afterwards?")
	}
	for _, kind := range spec.Kinds {
		switch {
		case !slices.Contains(c.d.Kinds, kind):
			c.add("install.kinds", "kind %q is not among kinds", kind)
		case !kind.Issued() || !c.d.OfTheApp(kind):
			c.add("install.kinds", "kind %q is not got with what is the operator's: nobody has to let the app act", kind)
		}
	}
	for _, name := range sortedKeys(spec.Params) {
		if name == (&App{Definition: c.d}).stateParam() {
			c.add("install.params."+name, "the engine sets it: drop it")
		}
	}
}
