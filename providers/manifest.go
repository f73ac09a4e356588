package providers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Manifest renders what creates an app at the service (setup.manifest): a document to paste, indented JSON, or the
// address of a form that is filled in. The app takes these redirect URIs, and may ask for these scopes. It is empty
// where the definition has none, or where nobody can know a redirect URI yet.
//
// An error names the operator's input that is missing.
func (a *App) Manifest(redirectURIs, scopes []string) (string, error) {
	t := a.Definition.Setup.Manifest
	if t == "" || len(redirectURIs) == 0 {
		return "", nil
	}
	values := map[string]string{}
	for _, in := range a.Definition.Inputs {
		if value, set := in.of("", a.Inputs, nil); set {
			in.put(values, a.Definition.clean(in, value))
		} else if in.Default != "" {
			in.put(values, a.Definition.clean(in, in.Default))
		}
	}
	lists := map[string][]string{"redirect_uri": redirectURIs, "scopes": scopes}
	if t.isAddress() {
		return t.address(values, lists)
	}
	return t.document(values, lists)
}

func (t Template) isAddress() bool { return strings.HasPrefix(string(t), "https://") }

// address repeats the parameter whose value is a list for each member.
func (t Template) address(values map[string]string, lists map[string][]string) (string, error) {
	page, query, _ := strings.Cut(string(t), "?")
	var params []string
	for param := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(param, "=")
		list, isList := lists[strings.Trim(value, "{}")]
		if !isList {
			params = append(params, param)
		}
		for i, member := range list {
			key := fmt.Sprintf("%s_%d", strings.Trim(value, "{}"), i)
			values[key] = member
			params = append(params, name+"={"+key+"}")
		}
	}
	u, err := ExpandURL(Template(page+"?"+strings.Join(params, "&")), values)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// document writes a list as JSON, and a text as what stands between the quotes of JSON.
func (t Template) document(values map[string]string, lists map[string][]string) (string, error) {
	encoded := map[string]string{}
	for name, value := range values {
		text := plainJSON(value)
		encoded[name] = text[1 : len(text)-1]
	}
	for name, list := range lists {
		encoded[name] = plainJSON(append([]string{}, list...))
	}
	text, err := t.Expand(encoded)
	if err != nil {
		return "", err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(strings.TrimSpace(text)), "", "  "); err != nil {
		return "", fmt.Errorf("the manifest is no JSON: %w", err)
	}
	return indented.String(), nil
}

// plainJSON encodes texts and lists of texts, which always encode, and leaves & as it is.
func plainJSON(value any) string {
	var text bytes.Buffer
	encode := json.NewEncoder(&text)
	encode.SetEscapeHTML(false)
	_ = encode.Encode(value)
	return strings.TrimSpace(text.String())
}

// ManifestScopes are the scopes that an app must be allowed to ask for: the usual ones, those that a person may leave
// out, and what allowed adds.
func (a *App) ManifestScopes(allowed []string) []string {
	scopes := a.RequestScopes(nil, nil)
	for _, s := range slices.Concat(a.OptionalScopes, allowed) {
		if s != "*" && !slices.Contains(scopes, s) && !a.ScopesIgnored {
			scopes = append(scopes, s)
		}
	}
	return scopes
}
