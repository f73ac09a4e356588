package providers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// CheckInputs checks what one side sets: by is SetByProvider or SetByConnection, and kind that of the connection; a
// provider has none. It returns the values to store, with the suffixes of Input.Strip cut off. Missing ones are no
// error here, since the other side or a default may supply them; [Definition.MergeInputs] knows. Errors name the input
// and what is allowed, never the value.
func (d *Definition) CheckInputs(by string, kind Kind, values map[string]string) (map[string]string, error) {
	checked := make(map[string]string, len(values))
	for _, name := range sortedKeys(values) {
		in, ok := d.input(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("input %q is not declared by %s: allowed here are %s", name, d.ID,
				d.inputNames(by, kind))
		case !in.takes(by, kind):
			return nil, fmt.Errorf("input %q is set on the %s: allowed here are %s", name, in.SetBy,
				d.inputNames(by, kind))
		}
		value := d.clean(in, values[name])
		if err := in.check(value); err != nil {
			return nil, fmt.Errorf("input %q %w%s", name, err, in.hint())
		}
		checked[name] = value
	}
	for _, in := range d.Inputs {
		if other, missing := d.misses(in, kind, checked, checked); missing && other.setBy(kind) == by {
			return nil, incomplete(in, other, kind)
		}
	}
	return checked, nil
}

// InputsOf are those of a connection's inputs that one of that kind may have. A connection that gets a credential of
// another kind has no others from then on: what a key named for itself is no host for the operator's secret.
func (d *Definition) InputsOf(kind Kind, inputs map[string]string) map[string]string {
	if !slices.ContainsFunc(d.Inputs, func(in Input) bool { return in.alien(kind, inputs) }) {
		return inputs
	}
	kept := maps.Clone(inputs)
	maps.DeleteFunc(kept, func(name, _ string) bool {
		in, ok := d.input(name)
		return ok && in.alien(kind, inputs)
	})
	return kept
}

// NamesHost reports whether a connection of that kind has named by itself what only the provider sets for others. What
// answers there need not be the service.
func (d *Definition) NamesHost(kind Kind, inputs map[string]string) bool {
	return slices.ContainsFunc(d.Inputs, func(in Input) bool {
		_, named := inputs[in.Name]
		return named && in.ownOf(kind)
	})
}

// Overruled are a connection's inputs without those of its own that the provider sets for all. Of a connection that was
// made under this very provider both were said when either side could name them, and then the provider's word won.
func (d *Definition) Overruled(kind Kind, provider, connection map[string]string) map[string]string {
	kept := maps.Clone(connection)
	maps.DeleteFunc(kept, func(name, _ string) bool {
		in, ok := d.input(name)
		_, set := provider[name]
		return ok && set && in.ownOf(kind)
	})
	return kept
}

// ownOf reports whether a connection of that kind may set what is the provider's for others.
func (in Input) ownOf(kind Kind) bool { return in.ByKind[kind].SetBy == SetByConnection }

// setBy is who may set the input for connections of a kind.
func (in Input) setBy(kind Kind) string {
	if in.ownOf(kind) {
		return SetByEither
	}
	return in.SetBy
}

func (in Input) takes(by string, kind Kind) bool {
	who := in.setBy(kind)
	return who == by || who == SetByEither
}

// alien reports whether a connection's inputs hold one that its kind may not set.
func (in Input) alien(kind Kind, connection map[string]string) bool {
	_, set := connection[in.Name]
	return set && !in.takes(SetByConnection, kind)
}

// misses finds an input without which in, as it is set, would go with a default that belongs elsewhere.
func (d *Definition) misses(in Input, kind Kind, provider, connection map[string]string) (other Input, missing bool) {
	if value, set := in.of(kind, provider, connection); !set || value == in.Default {
		return Input{}, false
	}
	for _, name := range in.Requires {
		other, _ := d.input(name)
		if _, set := other.of(kind, provider, connection); !set {
			return other, true
		}
	}
	return Input{}, false
}

func incomplete(in, other Input, kind Kind) error {
	return fmt.Errorf("input %q needs %q beside it: set that on the %s%s", in.Name, other.Name, other.side(kind),
		other.hint())
}

// side says in words who may set an input.
func (in Input) side(kind Kind) string {
	if who := in.setBy(kind); who != SetByEither {
		return who
	}
	return "provider or the connection"
}

// of is what the two sides say of an input. Where either may set it, the provider's value wins.
func (in Input) of(kind Kind, provider, connection map[string]string) (value string, set bool) {
	value, set = provider[in.Name]
	if who := in.setBy(kind); who == SetByConnection || who == SetByEither && !set {
		value, set = connection[in.Name]
	}
	return value, set
}

// checkUsed checks inputs once more when something is to be sent by them: they may have been stored when the
// definition asked less of them, and the host that one names gets secrets. What a connection named while it might, and
// may not any more, is replaced by no default: its credential belongs there.
func (d *Definition) checkUsed(kind Kind, provider, connection, merged map[string]string) *Error {
	for _, in := range d.Inputs {
		value, ok := merged[in.Name]
		if ok {
			if err := in.check(value); err != nil {
				return notSent(StepAuthorize, fmt.Sprintf("input %q as it is stored %s%s: write it again on the %s",
					in.Name, err, in.hint(), in.side(kind)))
			}
		}
		if !ok && in.alien(kind, connection) {
			return notSent(StepAuthorize, fmt.Sprintf("input %q of the connection is set on the %s: write the "+
				"credential again without it", in.Name, in.side(kind)))
		}
		if other, missing := d.misses(in, kind, provider, connection); missing {
			return notSent(StepAuthorize, incomplete(in, other, kind).Error())
		}
	}
	return nil
}

// MergeInputs joins checked values of both sides, for a connection of that kind, the defaults, and what the chosen
// variants set. Where either side may set an input, the provider's value wins; a host that a key is written for must be
// the one that it goes to. The error names a required input that nobody set, and who may set it.
func (d *Definition) MergeInputs(kind Kind, provider, connection map[string]string) (map[string]string, error) {
	merged := make(map[string]string, len(d.Inputs))
	for _, in := range d.Inputs {
		value, set := in.of(kind, provider, connection)
		own, named := connection[in.Name]
		switch {
		case set && named && in.ownOf(kind) && d.clean(in, own) != d.clean(in, value):
			return nil, fmt.Errorf("input %q is set on the provider, and holds for all: leave it out", in.Name)
		case set:
			in.put(merged, d.clean(in, value))
		case in.alien(kind, connection): // see checkUsed
		case in.Default != "":
			in.put(merged, d.clean(in, in.Default))
		case !in.Required && in.check("") == nil:
			merged[in.Name] = "" // templates need a value, and this pattern has one for "none"
		case in.Required:
			return nil, fmt.Errorf("input %q is missing: set it on the %s%s", in.Name, in.side(kind), in.hint())
		}
	}
	return merged, nil
}

// TakesInputs holds merged inputs against what one kind takes of them. The error names the input, never its value.
func (d *Definition) TakesInputs(kind Kind, merged map[string]string) error {
	patterns := d.Token.ByKind[kind].Inputs
	for _, name := range sortedKeys(patterns) {
		if err := matches(patterns[name], merged[name]); err != nil {
			in, _ := d.input(name)
			return fmt.Errorf("input %q of the kind %s %w%s", name, kind, err, in.hint())
		}
	}
	return nil
}

func (d *Definition) input(name string) (Input, bool) {
	i := slices.IndexFunc(d.Inputs, func(in Input) bool { return in.Name == name })
	if i < 0 {
		return Input{}, false
	}
	return d.Inputs[i], true
}

func (d *Definition) inputNames(by string, kind Kind) string {
	var names []string
	for _, in := range d.Inputs {
		if in.takes(by, kind) {
			names = append(names, in.Name)
		}
	}
	return orNone(names)
}

// hint tells people what an input wants.
func (in Input) hint() string {
	var s string
	if in.Help != "" {
		s += " (" + in.Help + ")"
	}
	if in.Example != "" {
		s += ", for example " + in.Example
	}
	return s
}

// clean takes off what people paste along: the suffix of Strip, and of what stands in a host, scheme and path.
func (d *Definition) clean(in Input, value string) string {
	if in.Lower {
		value = strings.ToLower(value)
	}
	if strings.Contains(value, "/") && d.inHost(in.Name) && in.check(strings.TrimSuffix(value, in.Strip)) != nil {
		if scheme, rest, found := strings.Cut(value, "://"); found && (scheme == "https" || scheme == "http") {
			value = rest
		}
		value, _, _ = strings.Cut(value, "/")
	}
	return strings.TrimSuffix(value, in.Strip)
}

// inHost reports whether an input is a part of a host, and not a whole URL.
func (d *Definition) inHost(name string) bool {
	templates := append(slices.Collect(maps.Values(d.Endpoints)), d.APIBase)
	if d.Discovery != nil {
		templates = append(templates, d.Discovery.Issuer)
	}
	return slices.ContainsFunc(templates, func(t Template) bool {
		parts, err := splitURL(t)
		return err == nil && slices.Contains(parts.host.Placeholders(), name)
	})
}

// check holds a value against what the input takes: the name of a variant, or what its pattern matches.
func (in Input) check(value string) error {
	if len(in.Variants) == 0 {
		return matches(in.Pattern, value)
	}
	if _, known := in.Variants[value]; !known {
		return fmt.Errorf("must be one of: %s", strings.Join(sortedKeys(in.Variants), ", "))
	}
	return nil
}

// matches holds a whole value against a pattern. Patterns of a definition compile: loading it saw to that.
func matches(pattern, value string) error {
	re, err := compileWhole(pattern)
	if err != nil {
		return fmt.Errorf("has a pattern that does not compile: %w", err)
	}
	if !re.MatchString(value) {
		return fmt.Errorf("must match %s", pattern)
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
