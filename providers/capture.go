package providers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	maxConfig      = 64      // entries of connection_config, public and secret together
	maxConfigValue = 4 << 10 // bytes of one

	fromInput             = "input"
	fromConfig            = "connection_config" // what is captured already
	fromCallback          = "callback"
	fromAccessTokenClaims = "access_token_claims"
	fromUpgrade           = "upgrade"
	fromAssertion         = "assertion" // of an account: the claims of the assertion that the service took
)

// captureSources are where a value can stand, in the order in which they come to be known.
func captureSources() []string {
	return []string{
		fromInput, fromCallback, "token", "id_token", fromUpgrade, fromAccessTokenClaims, "resources", "identity", "health",
	}
}

// sources are where an entry can stand, the one that counts most first.
func (c Capture) sources() []CaptureSource {
	if len(c.AnyOf) > 0 {
		return c.AnyOf
	}
	return []CaptureSource{{From: c.From, Path: c.Path}}
}

// Sources are where the entry can stand, in words: the one that counts most first.
func (c Capture) Sources() (words []string) {
	for _, s := range c.sources() {
		words = append(words, s.From)
	}
	return words
}

// rank is the place of a source among those of an entry; below zero it is none of them.
func (c Capture) rank(source string) int {
	return slices.IndexFunc(c.sources(), func(s CaptureSource) bool { return s.From == source })
}

// last reports whether a source is the last to be known of those that an entry has.
func (c Capture) last(source string) bool {
	known := captureSources()
	at := slices.Index(known, source)
	return !slices.ContainsFunc(c.sources(), func(s CaptureSource) bool { return slices.Index(known, s.From) > at })
}

// capture puts into g what the definition keeps from one of captureSources. It reports whether all that the definition
// requires, and that no later source may yet tell, is there, from now or before. What counts more is not replaced by
// what counts less; where nobody remembers where a value is from, only the source that counts most replaces it. Values
// that are too long, hold control characters or do not fit their pattern are left out.
func (g *Grant) capture(captures []Capture, source string, doc any) (complete bool) {
	complete = true
	for _, want := range captures {
		rank := want.rank(source)
		if rank < 0 {
			continue
		}
		value := lookupText(doc, want.sources()[rank].Path...)
		fits := want.fits(value)
		_, public := g.Config[want.Name]
		_, secret := g.SecretConfig[want.Name]
		there := public || secret
		if before := g.ranks[want.Name]; there && rank > before {
			continue
		}
		switch {
		case fits && (there || len(g.Config)+len(g.SecretConfig) < maxConfig):
			g.keep(want, value)
			if g.ranks == nil {
				g.ranks = map[string]int{}
			}
			g.ranks[want.Name] = rank
		case want.Required && !there && want.last(source):
			complete = false
		}
	}
	return complete
}

// fits reports whether a value may be kept as that of the entry.
func (c Capture) fits(value string) bool {
	return value != "" && len(value) <= maxConfigValue && !hasControl(value) &&
		(c.Pattern == "" || matchWhole(c.Pattern, value))
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
	return slices.ContainsFunc(d.Connection, func(c Capture) bool { return c.rank(source) >= 0 })
}

// CallbackPaths are where the definition looks in what the browser brings back.
func (d *Definition) CallbackPaths() (paths []string) {
	for _, c := range d.Connection {
		if at := c.rank(fromCallback); at >= 0 {
			paths = append(paths, c.sources()[at].Path...)
		}
	}
	return paths
}

// MissingOfCallback are the parameters that a flow cannot be finished without and that the browser did not bring,
// beside the code. They are looked for before the code is spent.
func (d *Definition) MissingOfCallback(brought map[string]string) (missing []string) {
	if d.Callback.Signed == "hmac_query" && brought["hmac"] == "" {
		missing = append(missing, "hmac")
	}
	for _, name := range sortedKeys(d.Callback.Match) {
		if brought[name] == "" {
			missing = append(missing, name)
		}
	}
	for _, c := range d.Connection {
		if !c.Required || len(c.sources()) != 1 || c.rank(fromCallback) != 0 {
			continue
		}
		paths := c.sources()[0].Path
		if !slices.ContainsFunc(paths, func(p string) bool { return brought[p] != "" }) {
			missing = append(missing, strings.Join(paths, " or "))
		}
	}
	return missing
}

// CheckImport refuses tokens that come without what only the consent would have told, and says which input brings it.
func (d *Definition) CheckImport(res Resolved) error {
	before := &Grant{}
	before.capture(d.Connection, fromInput, asDoc(res.Inputs))
	for _, c := range d.Connection {
		later := slices.ContainsFunc(c.sources(), func(s CaptureSource) bool {
			return s.From != fromInput && s.From != fromCallback
		})
		_, public := before.Config[c.Name]
		_, secret := before.SecretConfig[c.Name]
		if !c.Required || later || public || secret {
			continue
		}
		if at := c.rank(fromInput); at >= 0 {
			return fmt.Errorf("%s: what the consent tells does not come with tokens, so name it in inputs: %s",
				c.Name, strings.Join(c.sources()[at].Path, ", "))
		}
		return errors.New(c.Name + " comes with the consent alone: connect the account with auth-code-url")
	}
	return nil
}
