package providers

import (
	"fmt"
	"slices"
	"strings"
)

// CheckInputs checks what one side sets: by is SetByProvider or SetByConnection. It returns the values to store, with
// the suffixes of Input.Strip cut off. Missing ones are no error here, since the other side or a default may supply
// them; [Definition.MergeInputs] knows. Errors name the input and what is allowed, never the value.
func (d *Definition) CheckInputs(by string, values map[string]string) (map[string]string, error) {
	checked := make(map[string]string, len(values))
	for _, name := range sortedKeys(values) {
		in, ok := d.input(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("input %q is not declared by %s: allowed here are %s", name, d.ID, d.inputNames(by))
		case in.SetBy != by && in.SetBy != SetByEither:
			return nil, fmt.Errorf("input %q is set on the %s: allowed here are %s", name, in.SetBy, d.inputNames(by))
		}
		value := strings.TrimSuffix(values[name], in.Strip)
		if err := matches(in.Pattern, value); err != nil {
			return nil, fmt.Errorf("input %q %w%s", name, err, in.hint())
		}
		checked[name] = value
	}
	return checked, nil
}

// MergeInputs joins checked values of both sides and the defaults. Where either side may set an input, the provider's
// value wins. The error names a required input that nobody set, and who may set it.
func (d *Definition) MergeInputs(provider, connection map[string]string) (map[string]string, error) {
	merged := make(map[string]string, len(d.Inputs))
	for _, in := range d.Inputs {
		value, set := provider[in.Name]
		if in.SetBy == SetByConnection || in.SetBy == SetByEither && !set {
			value, set = connection[in.Name]
		}
		switch {
		case set:
			merged[in.Name] = value
		case in.Default != "":
			merged[in.Name] = in.Default
		case !in.Required && matches(in.Pattern, "") == nil:
			merged[in.Name] = "" // templates need a value, and this pattern has one for "none"
		case in.Required && in.SetBy == SetByEither:
			return nil, fmt.Errorf("input %q is missing: set it on the provider or the connection%s", in.Name,
				in.hint())
		case in.Required:
			return nil, fmt.Errorf("input %q is missing: set it on the %s%s", in.Name, in.SetBy, in.hint())
		}
	}
	return merged, nil
}

func (d *Definition) input(name string) (Input, bool) {
	i := slices.IndexFunc(d.Inputs, func(in Input) bool { return in.Name == name })
	if i < 0 {
		return Input{}, false
	}
	return d.Inputs[i], true
}

func (d *Definition) inputNames(by string) string {
	var names []string
	for _, in := range d.Inputs {
		if in.SetBy == by || in.SetBy == SetByEither {
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
