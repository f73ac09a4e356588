package providers

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Presentation is how an application shows a credential to the service: the very parts of a request, filled in. It is
// as secret as the credential.
type Presentation struct {
	Headers map[string]string // Authorization among them, also that of RFC 7617
	Query   map[string]string
	Path    string // where it stands in the path of a URL
}

// Present fills in how g is shown to the service's API. For a key, g carries the key fields in SecretConfig and no
// access token. Of what the operator holds, only what the definition marks as handed_out goes along.
func (a *App) Present(inputs map[string]string, g *Grant) (*Presentation, error) {
	rule := a.Definition.sendRule(g.AccessToken.IsZero())
	values := a.values(Resolved{Inputs: inputs}, g)
	for _, f := range a.Definition.heldFields() {
		switch {
		case !rule.names(f.Name):
		case f.Secret && !f.HandedOut:
			return nil, fmt.Errorf("requests to %s need %s, which the operator alone holds", a.Definition.Name, f.Name)
		case values[f.Name] == "" && rule.always(f.Name):
			return nil, fmt.Errorf("requests to %s need %s: an operator writes it to the provider", a.Definition.Name,
				f.Name)
		}
	}
	if rule.names("client_secret") {
		return nil, fmt.Errorf("requests to %s need the client secret, which the operator alone holds", a.Definition.Name)
	}
	target, header := &url.URL{}, http.Header{}
	if !rule.apply(values, target, header) {
		return nil, fmt.Errorf("a part of the credential is missing that requests to %s need", a.Definition.Name)
	}
	p := &Presentation{Headers: map[string]string{}, Query: map[string]string{}}
	for name := range header {
		p.Headers[name] = header.Get(name)
	}
	for name, value := range target.Query() {
		p.Query[name] = value[0]
	}
	if rule.Path != "" {
		path, err := rule.Path.Expand(values)
		if err != nil {
			return nil, fmt.Errorf("a part of the credential is missing that requests to %s need", a.Definition.Name)
		}
		p.Path = path
	}
	return p, nil
}

// APIBase is where the API answers that g is for; empty when the definition does not say, or what it needs is missing.
// It may hold what a key tells of its own host, so it goes out with the credential alone.
func (a *App) APIBase(inputs map[string]string, g *Grant) string {
	template := a.Definition.APIBase
	if !strings.Contains(string(template), "{") {
		return string(template)
	}
	values := map[string]string{}
	for name, value := range inputs {
		setValue(values, name, value)
	}
	if g != nil {
		told := map[string]string{}
		maps.Copy(told, g.Config)
		for name, value := range g.SecretConfig {
			setValue(told, name, value.Reveal())
		}
		for name, value := range told {
			if _, set := values[name]; !set {
				setValue(values, name, value)
			}
		}
	}
	if slices.ContainsFunc(template.Placeholders(), func(p string) bool { return values[p] == "" }) {
		return ""
	}
	base, err := ExpandURL(template, values)
	if err != nil {
		return ""
	}
	return base.String()
}
