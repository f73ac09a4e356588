package providers

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// SecretShape is what one sort of a service's credentials looks like.
type SecretShape struct {
	Prefix string `yaml:"prefix"` // how it begins
	// what follows, whole, as RE2; nothing that is shorter than ten characters
	Rest string `yaml:"rest"`
	// whose it is, where that has no definition; absent: the definition's name
	Of string `yaml:"of,omitempty"`
}

// minSecretRest is how much must follow a prefix: a label may well begin like a key.
const minSecretRest = 10

// secretShape is one as it is looked for: alone in a text, or between characters that no credential has.
type secretShape struct {
	prefix, service string
	whole           *regexp.Regexp
}

func (s SecretShape) compile(name string) (secretShape, error) {
	whole, err := regexp.Compile(`(?:^|[^0-9A-Za-z])` + regexp.QuoteMeta(s.Prefix) + `(?:` + s.Rest + `)` +
		`(?:$|[^0-9A-Za-z_-])`)
	if s.Of != "" {
		name = s.Of
	}
	return secretShape{s.Prefix, name, whole}, err
}

// SecretIn reports whether a text holds what looks like a credential of a service that the catalogue knows: how it
// begins, and whose it is. The prefix is no secret, and the text is not told.
func (r *Registry) SecretIn(text string) (service, prefix string, found bool) {
	for _, s := range r.secrets {
		if strings.Contains(text, s.prefix) && s.whole.MatchString(text) {
			return s.service, s.prefix, true
		}
	}
	return "", "", false
}

// gatherSecrets readies what the definitions say. What one inherits its parent has said.
func (r *Registry) gatherSecrets() error {
	for _, id := range r.IDs() {
		d := r.byID[id]
		if d.Extends != "" {
			continue
		}
		for _, shape := range d.SecretShapes {
			s, err := shape.compile(d.Name)
			if err != nil {
				return err
			}
			r.secrets = append(r.secrets, s)
		}
	}
	return nil
}

// shortest is the least that an expression matches, in characters.
func shortest(re *syntax.Regexp) (n int) {
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpCapture, syntax.OpPlus:
		return shortest(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min * shortest(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			n += shortest(sub)
		}
	case syntax.OpAlternate:
		n = shortest(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			n = min(n, shortest(sub))
		}
	}
	return n
}
