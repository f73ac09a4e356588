package providers

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// variants checks the variants of one input, and declares what they set.
func (c *checker) variants(at string, in Input) {
	names := sortedKeys(in.Variants)
	if len(names) > maxVariants {
		c.add(at+".variants", "input %q has more than %d variants", in.Name, maxVariants)
	}
	if in.Pattern != "" {
		c.add(at+".pattern", "input %q has variants, whose names are all that it takes: drop the pattern", in.Name)
	}
	if in.Strip != "" {
		c.add(at+".strip", "input %q has variants, whose names have nothing to cut off: drop it", in.Name)
	}
	for _, chosen := range []struct{ at, name string }{{"default", in.Default}, {"example", in.Example}} {
		c.word(at+"."+chosen.at, chosen.name, names...)
	}
	sets := in.sets()
	if len(sets) == 0 {
		c.add(at+".variants", "no variant sets anything: write the values, or a pattern that lists the names")
	}
	for _, name := range sets {
		c.declare(at+".variants", name, "a value that variants set")
	}
	for _, variant := range names {
		where := join(at+".variants", variant)
		if !namePattern.MatchString(variant) {
			c.add(where, "variant %q: write lower-case letters, digits, dots, underscores and hyphens", variant)
		}
		values := in.Variants[variant]
		for _, name := range sets {
			switch value, set := values[name]; {
			case !set:
				c.add(where, "it does not set %q, and another variant does: each sets all%s", name,
					suggestSpelling(name, in.onlyIn(variant)))
			case value == "" || hasControl(value):
				c.add(join(where, name), "a value is missing, or holds a control character")
			case strings.ContainsAny(value, "{}"):
				c.add(join(where, name), "a value of a variant holds no placeholder")
			}
		}
	}
}

// onlyIn are the names that no other variant sets: probably misspelled.
func (in Input) onlyIn(variant string) (names []string) {
	for _, name := range sortedKeys(in.Variants[variant]) {
		alone := true
		for other, values := range in.Variants {
			_, set := values[name]
			alone = alone && (other == variant || !set)
		}
		if alone {
			names = append(names, name)
		}
	}
	return names
}

func suggestSpelling(name string, written []string) string {
	if best := nearest(name, written); best != "" {
		return fmt.Sprintf(", is %q a slip of the pen?", best)
	}
	return ""
}

// scopes checks the placeholders of scopes: they are held against allowed_scopes before anybody connects, so only what
// the operator sets can stand there.
func (c *checker) scopes() {
	c.d.Scopes.each(func(at, scope string) {
		c.leaf(at, Template(scope))
		for _, name := range Template(scope).Placeholders() {
			in, found := c.d.input(name)
			if !found {
				in, found = c.d.chosenBy(name)
			}
			if _, known := c.names[name]; known && (!found || in.SetBy != SetByProvider) {
				c.add(at, "{%s} stands in a scope, where only an input with set_by: provider can", name)
			} else if found && !in.Required && in.Default == "" {
				c.add(at, "{%s} stands in a scope, and input %q may be missing: say required: true, or give a default",
					name, in.Name)
			}
		}
	})
}

// optionalScopes checks the parameter for scopes that a person may leave out.
func (c *checker) optionalScopes() {
	param := c.d.Scopes.OptionalParam
	if param == "" {
		return
	}
	main := "scope"
	if told := c.d.Scopes.Param; told != nil {
		main = *told
	}
	switch {
	case !slices.Contains(c.d.Kinds, KindAuthorizationCode):
		c.add("scopes.optional_param", "no person is asked: add the kind authorization_code, or drop it")
	case param == main, slices.Contains(protocolParams(), param):
		c.add("scopes.optional_param", "%q is a parameter that is sent for itself", param)
	}
}

// strangers refuses the host of one variant where every variant gets it: the secrets of all others would go there.
func (c *checker) strangers() {
	var texts []problem // what may name a host, and where it stands
	walk(reflect.ValueOf(c.d).Elem(), "", func(at string, value any) {
		if text, is := value.(Template); is {
			texts = append(texts, problem{at, string(text)})
		}
	})
	c.d.Scopes.each(func(at, scope string) { texts = append(texts, problem{at, scope}) })
	for _, in := range c.d.Inputs {
		variants := in.variantsOfHosts()
		for _, host := range sortedKeys(variants) {
			if len(variants[host]) == len(in.Variants) {
				continue
			}
			for _, text := range texts {
				if !mentions(text.text, host) {
					continue
				}
				for _, variant := range sortedKeys(variants[host]) {
					c.add(text.at, "%s is the host of the variant %q alone: write {%s} in its place", host, variant,
						variants[host][variant])
				}
			}
		}
	}
}

// variantsOfHosts are the variants that have each host, with the name of a value that holds it.
func (in Input) variantsOfHosts() map[string]map[string]string {
	variants := map[string]map[string]string{}
	for variant, values := range in.Variants {
		for _, name := range sortedKeys(values) {
			host := hostOf(values[name])
			switch _, known := variants[host][variant]; {
			case host == "" || known:
				continue
			case variants[host] == nil:
				variants[host] = map[string]string{}
			}
			variants[host][variant] = name
		}
	}
	return variants
}

// hostOf is the host that a value names, by itself or in a URL; empty when it names none.
func hostOf(value string) string {
	if u, err := url.Parse(value); err == nil && u.Host != "" {
		return strings.ToLower(u.Hostname())
	}
	if strings.Contains(value, ".") && checkHost(value) == nil {
		return strings.ToLower(value)
	}
	return ""
}

// mentions reports whether a text names a host, and not only as a part of a longer name.
func mentions(text, host string) bool {
	for text = strings.ToLower(text); ; {
		before, after, found := strings.Cut(text, host)
		if !found {
			return false
		}
		inside := before != "" && strings.ContainsRune(hostCharacters, rune(before[len(before)-1])) ||
			after != "" && strings.ContainsRune(hostCharacters, rune(after[0]))
		if !inside {
			return true
		}
		text = after
	}
}

// each visits all scopes that a definition names, with their places.
func (s *Scopes) each(visit func(at, scope string)) {
	for _, list := range []struct {
		at     string
		scopes []string
	}{
		{"default", s.Default},
		{"identity", s.Identity},
		{"offline", s.Offline},
		{"allowed", s.Allowed},
		{"silent", s.Silent},
	} {
		for i, scope := range list.scopes {
			visit(fmt.Sprintf("scopes.%s[%d]", list.at, i), scope)
		}
	}
	for at, table := range map[string]map[string][]string{"scopes.same": s.Same, "scopes.implies": s.Implies} {
		for name, others := range table {
			visit(at, name)
			for _, other := range others {
				visit(join(at, name), other)
			}
		}
	}
}
