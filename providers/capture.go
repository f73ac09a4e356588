package providers

import "slices"

const (
	maxConfig      = 64      // entries of connection_config, public and secret together
	maxConfigValue = 4 << 10 // bytes of one
)

// capture puts into g what the definition keeps from one source: "input", "callback", "token", "id_token",
// "resources", "identity". It reports whether all that the definition requires is there, from now or before. Values
// that are too long, hold control characters or do not fit their pattern are left out.
func (g *Grant) capture(captures []Capture, source string, doc any) (complete bool) {
	complete = true
	for _, want := range captures {
		if want.From != source {
			continue
		}
		value := lookupText(doc, want.Path...)
		fits := value != "" && len(value) <= maxConfigValue && !hasControl(value) &&
			(want.Pattern == "" || matchWhole(want.Pattern, value))
		_, public := g.Config[want.Name]
		_, secret := g.SecretConfig[want.Name]
		switch {
		case fits && (public || secret || len(g.Config)+len(g.SecretConfig) < maxConfig):
			g.keep(want, value)
		case want.Required && !public && !secret:
			complete = false
		}
	}
	return complete
}

func (g *Grant) keep(want Capture, value string) {
	if want.Secret {
		if g.SecretConfig == nil {
			g.SecretConfig = map[string]Secret{}
		}
		g.SecretConfig[want.Name] = NewSecret(value)
		return
	}
	if g.Config == nil {
		g.Config = map[string]string{}
	}
	g.Config[want.Name] = value
}

// asDoc makes a map of texts readable by path.
func asDoc(values map[string]string) map[string]any {
	doc := make(map[string]any, len(values))
	for name, value := range values {
		doc[name] = value
	}
	return doc
}

// captures reports whether the definition keeps anything from a source.
func (d *Definition) captures(source string) bool {
	return slices.ContainsFunc(d.Connection, func(c Capture) bool { return c.From == source })
}
