package providers

import (
	"fmt"
	"slices"
	"strings"
)

// picked checks that a grant which reaches several sites is of use before one is picked: it is refreshed and revoked,
// and whose it is can be told.
func (c *checker) picked() {
	d, r := c.d, c.d.Resources
	for _, path := range []struct{ at, value, what string }{
		{"resources.id", r.ID, "what tells one from the others"},
		{"resources.pick", r.Pick, "the connection's input that takes the id of the one to work with"},
	} {
		if path.value == "" {
			c.add("resources", "%s is missing: %s", strings.TrimPrefix(path.at, "resources."), path.what)
		}
	}
	c.paths("resources", []string{r.ID, r.Name})
	if in, declared := d.input(r.Pick); r.Pick != "" {
		c.used[r.Pick] = true
		switch {
		case !declared:
			c.add("resources.pick", "%q is no input%s", r.Pick, suggest(r.Pick, d.names()))
		case len(in.Variants) > 0:
			c.add("resources.pick", "input %q has variants, and the service says what there is to pick: give a pattern",
				r.Pick)
		case in.SetBy != SetByConnection || in.Required || in.Default != "":
			c.add("resources.pick", "input %q is picked after consent: say set_by: connection, without required and "+
				"default", r.Pick)
		case in.Pattern != "" && matches(in.Pattern, "") == nil:
			c.add("resources.pick", "the pattern of input %q takes an empty text, which picks nothing: write + for *",
				r.Pick)
		}
	}
	if d.Send != nil && slices.ContainsFunc(d.siteNames(), func(name string) bool { return d.Send.names(name) }) {
		for _, call := range []struct {
			at   string
			auth string
		}{{"resources.auth", r.Auth}, {"identity.auth", d.identityAuth()}} {
			if call.auth == "" || call.auth == "send" {
				c.add(call.at, "send names what is picked, and this is called before: say auth: bearer")
			}
		}
	}
	for _, list := range []struct {
		at    string
		paths []string
	}{{"account.id", d.Account.ID}, {"account.label", d.Account.Label}, {"account.email", d.Account.Email}} {
		for i, path := range list.paths {
			if source, _ := accountSource(path); source == "health" {
				c.add(fmt.Sprintf("%s[%d]", list.at, i), "whose account it is must be known before one is picked: read "+
					"it from the token answer or the identity call")
			}
		}
	}
	for i, capture := range d.Connection {
		at := fmt.Sprintf("connection_config[%d]", i)
		for _, source := range capture.sources() {
			switch {
			case source.From == "resources" && capture.Secret:
				c.add(at+".secret", "what is told of each that could be picked is shown, so it is no secret")
			case source.From == "resources" && len(capture.AnyOf) > 1:
				c.add(at+".any_of", "what is told of each that could be picked has no other source")
			case source.From == "health":
				c.add(at, "health is asked of the one that is picked, which is later: capture it from resources")
			case source.From == fromInput && slices.Contains(source.Path, r.Pick):
				c.add(at, "what is picked stands in connection_config by itself: drop the entry")
			}
		}
	}
}

// siteNames are the placeholders that have no value before one is picked.
func (d *Definition) siteNames() []string {
	if d.Resources == nil {
		return nil
	}
	names := []string{d.Resources.Pick}
	for _, capture := range d.Connection {
		if capture.rank("resources") >= 0 {
			names = append(names, capture.Name)
		}
	}
	return names
}

// afterPick reports whether a template is used only once one is picked.
func afterPick(at string) bool {
	return at == "api_base" || at == "endpoints.health" || strings.HasPrefix(at, "health.") ||
		strings.HasPrefix(at, "send.")
}

func (d *Definition) identityAuth() string {
	if d.Identity == nil {
		return "none"
	}
	return d.Identity.Auth
}

func (d *Definition) names() []string {
	names := make([]string, len(d.Inputs))
	for i, in := range d.Inputs {
		names[i] = in.Name
	}
	return names
}
