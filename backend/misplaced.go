package backend

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// Label, tags and inputs are shown to whoever may list, and stand in histories and logs. People paste credentials
// there. What has the shape of a credential that the catalogue knows is refused; what merely looks random is warned of,
// since an id may. What is stored already may be written back: a rule that came later makes no write fail.

// shown is what a connection or a provider has in these fields.
type shown struct {
	label        string
	tags, inputs map[string]string
}

func shownOf(c *store.Connection) (s shown) {
	if c != nil {
		s = shown{c.Label, c.Tags, c.Inputs}
	}
	return s
}

// misplaced looks for credentials in what a request writes to these fields. The error says in which, and never what.
func (b *backend) misplaced(d *framework.FieldData, stored shown) (warnings []string, err error) {
	look := func(where, text string) error {
		service, prefix, found := b.catalog.SecretIn(text)
		switch {
		case found:
			return badRequest("%s looks like a credential of %s, which begin with %s: label, tags and inputs are shown and "+
				"logged, so nothing was changed; write it in a field for keys or tokens, and if it is real, replace it at the "+
				"service, since it was sent in the clear", where, service, prefix)
		case looksRandom(text):
			warnings = append(warnings, where+" looks random, as credentials do: it is shown and logged; if it is one, "+
				"take it out here and replace it at the service")
		}
		return nil
	}
	if v, named := given(d, "label"); named && v != stored.label {
		err = look("label", v.(string))
	}
	pairs := func(field string, before map[string]string) {
		v, _ := given(d, field)
		written, _ := v.(map[string]string)
		for _, name := range slices.Sorted(maps.Keys(written)) {
			was, there := before[name]
			if err == nil && !there {
				err = look("a name in "+field, name)
			}
			if err == nil && (!there || was != written[name]) {
				err = look(fmt.Sprintf("%q in %s", clipText(name), field), written[name])
			}
		}
	}
	pairs("tags", stored.tags)
	pairs("inputs", stored.inputs)
	return warnings, err
}

// given is a field of the request, where its path has one of that name.
func given(d *framework.FieldData, field string) (any, bool) {
	if _, declared := d.Schema[field]; !declared {
		return nil, false
	}
	return d.GetOk(field)
}

// What looks random is a word of so many characters, few of which come twice.
const (
	minRandom  = 24
	minEntropy = 3.5 // bits a character
)

// looksRandom reports whether a text holds what looks like a key of nobody knows which service: a long word of capital
// and small letters and digits, or of very many hexadecimal ones. Ids of services, addresses and names are shorter, or
// of fewer sorts of characters.
func looksRandom(text string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(text, func(r rune) bool {
		return r > 0x7e || !strings.ContainsRune("+/=_-", r) && !isAlphanumeric(r)
	}), func(word string) bool {
		if len(word) < minRandom || strings.ContainsAny(word, "/") && strings.Count(word, "/") > 2 {
			return false // a path
		}
		var upper, lower, digit, hex int
		for _, r := range word {
			switch {
			case r >= '0' && r <= '9':
				digit++
				hex++
			case r >= 'a' && r <= 'f':
				lower++
				hex++
			case r >= 'a' && r <= 'z':
				lower++
			case r >= 'A' && r <= 'Z':
				upper++
			}
		}
		if hex == len(word) {
			return len(word) >= 40 && digit > 0 && lower > 0
		}
		return upper > 1 && lower > 1 && digit > 1 && entropy(word) >= minEntropy
	})
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// entropy is Shannon's, of the characters of a text.
func entropy(text string) (bits float64) {
	counts := map[rune]int{}
	for _, r := range text {
		counts[r]++
	}
	for _, n := range counts {
		p := float64(n) / float64(len(text))
		bits -= p * math.Log2(p)
	}
	return bits
}
