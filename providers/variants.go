package providers

import (
	"maps"
	"slices"
	"strings"
)

const (
	maxVariants     = 64  // of one input: as many as a reviewer can take in
	maxVariantHosts = 256 // that the variants of several inputs make of one URL
)

// sets are the names of the values that the variants of an input set.
func (in Input) sets() []string {
	var names []string
	for _, values := range in.Variants {
		names = append(names, sortedKeys(values)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// put enters a value of the input, and what the variant of that name sets.
func (in Input) put(values map[string]string, value string) {
	values[in.Name] = value
	maps.Copy(values, in.Variants[value])
}

// chosenBy is the input whose variants decide a value: its own, or one that they set.
func (d *Definition) chosenBy(name string) (Input, bool) {
	i := slices.IndexFunc(d.Inputs, func(in Input) bool {
		return slices.Contains(in.sets(), name) || in.Name == name && len(in.Variants) > 0
	})
	if i < 0 {
		return Input{}, false
	}
	return d.Inputs[i], true
}

// asked reports whether a name is that of an input, or of a value that variants set.
func (d *Definition) asked(name string) bool {
	_, is := d.input(name)
	_, chosen := d.chosenBy(name)
	return is || chosen
}

// choosers are the inputs whose variants decide the host of a URL template.
func (d *Definition) choosers(t Template) (inputs []Input) {
	for _, name := range hostNames(t) {
		in, found := d.chosenBy(name)
		if found && !slices.ContainsFunc(inputs, func(other Input) bool { return other.Name == in.Name }) {
			inputs = append(inputs, in)
		}
	}
	return inputs
}

// tooManyVariants reports whether variants make more hosts of a URL template than anybody looks at, one by one.
func (d *Definition) tooManyVariants(t Template) bool {
	hosts := 1
	for _, in := range d.choosers(t) {
		hosts = min(hosts*len(in.Variants), maxVariantHosts+1)
	}
	return hosts > maxVariantHosts
}

// eachVariant gives a URL template once for each variant that decides its host, with that host in it.
func (d *Definition) eachVariant(t Template) []Template {
	parts, err := splitURL(t)
	if err != nil {
		return []Template{t}
	}
	each := []map[string]string{{}}
	for _, in := range d.choosers(t) {
		var more []map[string]string
		for _, values := range each {
			for _, variant := range sortedKeys(in.Variants) {
				with := maps.Clone(values)
				in.put(with, variant)
				more = append(more, with)
			}
		}
		each = more
	}
	end := strings.Index(string(t), "://") + len("://") + len(parts.host)
	if parts.base != "" {
		end = len("{" + parts.base + "}")
	}
	var all []Template
	for _, values := range each {
		host := placeholderPattern.ReplaceAllStringFunc(string(t)[:end], func(placeholder string) string {
			if value, known := values[strings.Trim(placeholder, "{}")]; known {
				return value
			}
			return placeholder
		})
		all = append(all, Template(host)+t[end:])
	}
	return all
}

// hostNames are the placeholders that say where a URL goes.
func (p urlParts) hostNames() []string {
	if p.base != "" {
		return []string{p.base}
	}
	return p.host.Placeholders()
}

// settled are the inputs that no connection decides, as they are for this app, with what their variants set.
func (a *App) settled() map[string]string {
	values := map[string]string{}
	for _, in := range a.Definition.Inputs {
		switch value, set := in.of("", a.Inputs, nil); {
		case set:
			in.put(values, a.Definition.clean(in, value))
		case in.SetBy == SetByProvider:
			in.put(values, a.Definition.clean(in, in.Default))
		}
	}
	return values
}
