package providers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// renameable are the parameters that client.rename can give another name.
func renameable() []string {
	return []string{
		"client_id", "client_secret", "code", "code_verifier", "grant_type", "redirect_uri", "refresh_token", "token",
		"token_type_hint",
	}
}

func (c *checker) renamed() {
	elsewhere := map[string]string{"scope": "scopes.param", "state": "callback.state"}
	for _, name := range sortedKeys(c.d.Client.Rename) {
		at := "client.rename." + name
		switch {
		case elsewhere[name] != "":
			c.add(at, "that one is named by %s", elsewhere[name])
		case !slices.Contains(renameable(), name):
			c.add(at, "%q is no parameter of the engine's%s", name, suggest(name, renameable()))
		case c.d.Client.Rename[name] == "":
			c.add(at, "the service's own name of the parameter is missing")
		}
	}
}

// ownNames are the parameters of an authorization request that the engine writes, as this service calls them.
func (d *Definition) ownNames() []string {
	app := &App{Definition: d}
	names := []string{
		"response_type", app.rename("client_id"), app.rename("redirect_uri"), app.stateParam(), "code_challenge",
		"code_challenge_method", "nonce",
	}
	scopes := map[string]string{}
	app.scopeParam(scopes, []string{"any"})
	if param := d.Scopes.OptionalParam; param != "" {
		scopes[param] = "any"
	}
	return append(names, slices.Collect(maps.Keys(scopes))...)
}

func (c *checker) authorize() {
	spec := c.d.Authorize
	if spec.Only {
		c.only()
	} else {
		for section, params := range map[string]map[string]Template{
			"authorize.params.": spec.Params, "authorize.optional_params.": spec.Optional,
		} {
			c.shadows(section, params, c.d.ownNames(), "leave it out")
		}
	}
	may := []string{"login_hint", "response_mode"}
	for _, name := range c.d.ownNames() {
		if !slices.Contains(neverOmitted(c.d), name) {
			may = append(may, name)
		}
	}
	for i, name := range spec.Omit {
		at := fmt.Sprintf("authorize.omit[%d]", i)
		switch {
		case strings.HasPrefix(name, "code_challenge"):
			c.add(at, "write authorize.pkce: off, so that no verifier is sent either")
		case slices.Contains(neverOmitted(c.d), name):
			c.add(at, "without %s nobody can tell whose answer comes back", name)
		case !slices.Contains(may, name):
			c.add(at, "%q is no parameter of the engine's%s", name, suggest(name, may))
		}
	}
	ours := []string{"grant_type", "code", "redirect_uri", "code_verifier"}
	c.shadows("token.params.", c.d.Token.Params, ours, "write grant_type as token.grant_type, and leave the others out")
	for kind, by := range c.d.Token.ByKind {
		c.shadows("token.by_kind."+string(kind)+".params.", by.Params, append(ours, "scope"),
			"write grant_type and scopes beside params, and leave the others out")
	}
	if call := c.d.Refresh.Call; call == nil || len(call.Params) == 0 {
		c.shadows("refresh.params.", c.d.Refresh.Params, []string{"grant_type", "refresh_token"},
			"write all of them in refresh.call.params instead")
	}
}

func neverOmitted(d *Definition) []string {
	return []string{(&App{Definition: d}).stateParam(), "nonce", "code_challenge", "code_challenge_method"}
}

// only checks a request that has none of the engine's parameters.
func (c *checker) only() {
	spec := c.d.Authorize
	carries := slices.Contains(c.d.Endpoints[StepAuthorize].Placeholders(), "state")
	for _, value := range spec.Params {
		carries = carries || slices.Contains(value.Placeholders(), "state")
	}
	if !carries {
		c.add("authorize.only", "nothing but params is sent here, and none holds {state}: nobody could tell whose "+
			"answer comes back")
	}
	if spec.PKCE != "off" {
		c.add("authorize.only", "nothing but params is sent here, so no challenge: write pkce: off")
	}
	if spec.FormPost {
		c.add("authorize.form_post", "nothing but params is sent here: write response_mode into params")
	}
	if c.d.Scopes.OptionalParam != "" {
		c.add("scopes.optional_param", "the section authorize says only: nothing but its params is sent, drop it")
	}
	if spec.LoginHint != "" {
		c.add("authorize.login_hint", "nothing but params is sent here: drop it")
	}
	if len(spec.Omit) > 0 {
		c.add("authorize.omit", "nothing but params is sent here: leave out there what the service chokes on")
	}
}

// shadows refuses parameters that the engine's own would replace without a word.
func (c *checker) shadows(section string, params map[string]Template, ours []string, instead string) {
	for _, name := range sortedKeys(params) {
		if slices.Contains(ours, name) {
			c.add(section+name, "%q is the engine's own and is sent in its place: %s", name, instead)
		}
	}
}

// unused refuses what somebody would be asked for and nothing goes by.
func (c *checker) unused() {
	// Beside a key applications get all inputs, and the endpoints of a generic definition are the operator's.
	if !slices.ContainsFunc(c.d.Kinds, Kind.HasKey) && !c.d.Generic {
		for i, in := range c.d.Inputs {
			sets := in.sets()
			if in.Name != "" && !c.used[in.Name] && len(sets) == 0 {
				c.add(fmt.Sprintf("inputs[%d]", i), "input %q is used nowhere: write {%s} where it belongs, or drop it",
					in.Name, in.Name)
			}
			for _, name := range sets {
				if !c.used[name] {
					c.add(fmt.Sprintf("inputs[%d].variants", i), "the value %q is used nowhere: write {%s} where it "+
						"belongs, or drop it", name, name)
				}
			}
		}
	}
	if c.d.Key == nil {
		return
	}
	for i, f := range c.d.Key.Fields {
		if f.SetBy == SetByProvider && !c.used[f.Name] && !slices.ContainsFunc(sortedKeys(f.Derive),
			func(name string) bool { return c.used[name] }) {
			c.add(fmt.Sprintf("key.fields[%d]", i), "key field %q is used nowhere: write {%s} where it belongs, or "+
				"drop it", f.Name, f.Name)
		}
	}
}

// suggestName names a placeholder that was probably meant.
func suggestName(name string, names map[string]string) string {
	if best := nearest(name, sortedKeys(names)); best != "" {
		return fmt.Sprintf(", did you mean {%s}?", best)
	}
	return ""
}
