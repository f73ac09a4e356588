package providers

import (
	"fmt"
	"slices"
)

// Where the credential is the app's own, nobody consents: the operator's secret opens whatever account a connection
// names. So what a connection names there must be bound to its owner by the operator.

// Binds reports whether what a connection says for an input decides whose account a kind reaches.
func (d *Definition) Binds(in Input) bool {
	return in.SetBy != SetByProvider && slices.ContainsFunc(d.Kinds, d.OfTheApp)
}

// CheckBound checks the values that an operator binds to an owner, and returns them as connections have them.
func (d *Definition) CheckBound(values map[string][]string) (map[string][]string, error) {
	bound := map[string][]string{}
	for _, name := range sortedKeys(values) {
		in, ok := d.input(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("input %q is not declared by %s: allowed here are %s", name, d.ID, d.boundNames())
		case in.SetBy == SetByProvider:
			return nil, fmt.Errorf("input %q is set on the provider alone, so there is nothing to bind: allowed here are %s",
				name, d.boundNames())
		case !d.Binds(in):
			return nil, fmt.Errorf("no kind of %s has a credential of the app's own, so there is nothing to bind", d.ID)
		}
		for _, value := range values[name] {
			if value = d.clean(in, value); !slices.Contains(bound[name], value) {
				bound[name] = append(bound[name], value)
			}
			if err := in.check(value); err != nil {
				return nil, fmt.Errorf("input %q %w%s", name, err, in.hint())
			}
		}
	}
	return bound, nil
}

func (d *Definition) boundNames() string {
	var names []string
	for _, in := range d.Inputs {
		if d.Binds(in) {
			names = append(names, in.Name)
		}
	}
	return orNone(names)
}

// Unbound names an input of a connection whose value the operator has not bound to its owner, of a kind that asks for
// that. What the provider says itself, and the definition's default, need not be bound.
func (d *Definition) Unbound(kind Kind, provider, connection map[string]string, bound map[string][]string) (name string,
	found bool,
) {
	if !d.OfTheApp(kind) {
		return "", false
	}
	for _, in := range d.Inputs {
		value, set := in.of(kind, nil, connection)
		if _, fixed := provider[in.Name]; !set || fixed && in.SetBy == SetByEither || value == d.clean(in, in.Default) {
			continue
		}
		if !slices.Contains(bound[in.Name], value) {
			return in.Name, true
		}
	}
	return "", false
}
