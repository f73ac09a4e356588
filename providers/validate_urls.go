package providers

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
)

// urls checks every URL of the definition, and that no person who connects an account can choose whose host it is.
func (c *checker) urls() {
	d := c.d
	var extra []Step // steps that only one kind has
	for _, by := range d.Token.ByKind {
		extra = append(extra, by.Endpoint)
	}
	var steps []string
	for _, step := range knownSteps() {
		steps = append(steps, string(step))
	}
	for _, step := range sortedKeys(d.Endpoints) {
		at := "endpoints." + string(step)
		if !slices.Contains(knownSteps(), step) && !slices.Contains(extra, step) {
			c.add(at, "step %q is not known, and no by_kind names it%s", step, suggest(string(step), steps))
		}
		c.url(at, d.Endpoints[step])
	}
	if d.APIBase != "" {
		c.url("api_base", d.APIBase)
	}
	if d.Discovery != nil {
		c.url("discovery.issuer", d.Discovery.Issuer)
	}
}

func (c *checker) url(at string, t Template) {
	if err := c.d.checkURL(t); err != nil {
		c.add(at, "%v", err)
		return
	}
	parts, _ := splitURL(t)
	names := parts.hostNames()
	for i, in := range c.d.Inputs {
		decides := slices.ContainsFunc(names, func(name string) bool {
			return name == in.Name || slices.Contains(in.sets(), name)
		})
		if !decides || c.hosts[in.Name] || c.conditional(at, in.Name) {
			continue
		}
		c.hosts[in.Name] = true // once is enough
		if !in.Required && in.Default == "" {
			c.add(fmt.Sprintf("inputs[%d]", i), "input %q stands in the host of %s and may be missing: say "+
				"required: true, or give a default", in.Name, at)
		}
		if in.Pattern != "" && matches(in.Pattern, "") == nil {
			c.add(fmt.Sprintf("inputs[%d].pattern", i), "input %q stands in the host of %s, and its pattern takes an "+
				"empty text: write + for *", in.Name, at)
		}
	}
}

// manifest checks what creates an app, with a word in the place of each value.
func (c *checker) manifest() {
	const at = "setup.manifest"
	t := c.d.Setup.Manifest
	names := t.Placeholders()
	if t != "" && !slices.Contains(names, "redirect_uri") {
		c.add(at, "{redirect_uri} is missing: an app without it sends nobody back")
	}
	values := map[string]string{}
	for _, name := range names {
		in, isInput := c.d.input(name)
		if chooser, sets := c.d.chosenBy(name); sets {
			in, isInput = chooser, true
		}
		switch {
		case isInput && in.SetBy == SetByConnection:
			c.add(at, "{%s} is the connection's, and one app serves all connections of a provider", name)
		case !isInput && name != "redirect_uri" && name != "scopes" && c.names[name] != "":
			c.add(at, "{%s} has no value before there is an app: write {redirect_uri}, {scopes} or an input", name)
		}
		values[name] = "word"
	}
	if t.isAddress() {
		c.url(at, t)
	} else if t != "" {
		if _, err := t.document(values, map[string][]string{"redirect_uri": {"x"}, "scopes": {"x"}}); err != nil {
			c.add(at, "it begins neither with https:// nor is it JSON once {redirect_uri} and {scopes} are lists; "+
				"those stand without quotes")
		}
	}
}

// checkURL holds a URL template against the rules that hold before any value is known, with the host of each variant.
func (d *Definition) checkURL(t Template) error {
	if d.tooManyVariants(t) {
		return fmt.Errorf("URL template %q: the variants of its inputs make more than %d hosts of it: let one input "+
			"decide the host", t, maxVariantHosts)
	}
	for _, name := range hostNames(t) {
		in, _ := d.chosenBy(name)
		for _, variant := range sortedKeys(in.Variants) {
			sets := map[string]string{}
			in.put(sets, variant)
			if err := checkVariantHost(t, name, sets[name]); err != nil {
				return fmt.Errorf("URL template %q: the host holds {%s}, and what the variant %q sets there is none: %w",
					t, name, variant, err)
			}
		}
	}
	for _, t := range d.eachVariant(t) {
		if err := d.checkOneURL(t); err != nil {
			return err
		}
	}
	return nil
}

func hostNames(t Template) []string {
	parts, err := splitURL(t)
	if err != nil {
		return nil
	}
	return parts.hostNames()
}

// checkVariantHost checks what a variant sets for a placeholder that says where a URL goes.
func checkVariantHost(t Template, name, value string) error {
	if strings.HasPrefix(string(t), "{"+name+"}") {
		_, err := parseBaseURL(value)
		return err
	}
	if strings.Trim(value, hostCharacters) != "" {
		return errors.New("only letters, digits, dots and hyphens can stand in a host")
	}
	return nil
}

func (d *Definition) checkOneURL(t Template) error {
	parts, err := splitURL(t)
	switch {
	case err != nil:
		return err
	case parts.scheme == "http" && !(d.Runtime() && isLoopbackHost(parts.host)):
		return fmt.Errorf("URL template %q: plain http shows secrets to the network, use https", t)
	}
	if parts.base != "" {
		if err := d.checkHost([]string{parts.base}, ""); err != nil {
			return fmt.Errorf("URL template %q: the host is {%s}, and %w", t, parts.base, err)
		}
		return nil
	}
	names := parts.host.Placeholders()
	if len(names) == 0 {
		_, err := ExpandURL(Template(parts.scheme+"://"+string(parts.host)), nil)
		return err
	}
	tail := string(parts.host)[strings.LastIndexByte(string(parts.host), '}')+1:]
	if err := d.checkHost(names, tail); err != nil {
		return fmt.Errorf("URL template %q: the host holds {%s}, and %w", t, strings.Join(names, "}, {"), err)
	}
	return nil
}

// checkHost checks the placeholders of a host. What the operator sets is trusted; the rest must be confined.
func (d *Definition) checkHost(names []string, tail string) error {
	whole := tail == "" && len(names) == 1
	var patterns []string
	for i, name := range names {
		pattern, trusted, err := d.hostValue(name)
		switch {
		case err != nil:
			return err
		case trusted && i == len(names)-1:
			// The host ends as the operator says; what stands before it can only name labels below.
			tail = ".of.operator"
		case !trusted:
			if whole {
				pattern = strings.TrimPrefix(strings.TrimPrefix(pattern, "^"), "https://")
			}
			patterns = append(patterns, pattern)
		}
	}
	if len(patterns) == 0 {
		return nil
	}
	return confined(patterns, tail)
}

// hostValue returns the pattern of a value that stands in a host, or says that the operator sets it.
func (d *Definition) hostValue(name string) (pattern string, trusted bool, err error) {
	if name == "issuer" {
		return "", true, nil
	}
	for _, in := range d.Inputs {
		if in.Name == name {
			return in.Pattern, in.SetBy == SetByProvider, nil
		}
	}
	for _, capture := range d.Connection {
		if capture.Name == name && capture.Pattern != "" {
			return capture.Pattern, false, nil
		}
	}
	if d.Key != nil {
		for _, f := range d.Key.Fields {
			if text, derived := f.Derive[name]; derived {
				return groupOfPattern(text), false, nil
			}
			if member := f.JSON[name]; member.Pattern != "" {
				return member.Pattern, false, nil
			}
		}
	}
	return "", false, errors.New("only an input, a value derived from a key field, or a connection_config entry with a " +
		"pattern, may say where a call goes")
}

// groupOfPattern is the pattern of what a pattern cuts out: its one group.
func groupOfPattern(pattern string) string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return pattern
	}
	var find func(re *syntax.Regexp) string
	find = func(re *syntax.Regexp) string {
		if re.Op == syntax.OpCapture {
			return re.Sub[0].String()
		}
		for _, sub := range re.Sub {
			if group := find(sub); group != "" {
				return group
			}
		}
		return ""
	}
	if group := find(re); group != "" {
		return group
	}
	return pattern
}
