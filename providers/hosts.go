package providers

import (
	"fmt"
	"maps"
	"net/url"
	"regexp/syntax"
	"slices"
	"strings"
)

// hosts are those that a client may call. The zero value takes any.
type hosts struct {
	fixed   []string // names that the definition itself fixes; one that begins with a dot stands for all below it
	allowed func(hosts []string) error
	// the introspection endpoint is one of those that a flow leads to
	introspects bool
}

// Confine lets the client call no hosts but those that d fixes by itself, and those to which allowed has no objection:
// hosts that an input, an endpoint of the operator's or a discovery document names. The error of allowed names those
// it refuses and how to allow them. Confine comes before the first call. What a run-time definition fixes is asked of
// allowed, too.
func (c *Client) Confine(d *Definition, allowed func(hosts []string) error) {
	c.hosts = hosts{
		fixed: d.fixedHosts(), allowed: allowed, introspects: d.Lifetime.From == lifetimeIntrospected,
	}
	if d.Runtime() {
		c.hosts.fixed = nil
	}
}

// CheckHosts reports whether the client may call all that a flow leads to, and the person's browser may be sent where
// it begins. It names every host that is refused, so that none comes up only after the consent.
func (c *Client) CheckHosts(res Resolved) error { return c.checkHosts(res, StepDevice) }

// CheckDeviceHosts is CheckHosts for a flow on another device: the browser is sent nowhere by us.
func (c *Client) CheckDeviceHosts(res Resolved) error { return c.checkHosts(res, StepAuthorize) }

// checkHosts looks at all steps but one that such a flow has no use for.
func (c *Client) checkHosts(res Resolved, but Step) error {
	var names []string
	for step, address := range res.Endpoints {
		if step == but || step == StepIntrospect && !c.hosts.introspects {
			continue
		}
		if u, err := url.Parse(address); err == nil {
			names = append(names, u.Hostname())
		}
	}
	if u, err := url.Parse(res.JWKS); err == nil && res.JWKS != "" {
		names = append(names, u.Hostname())
	}
	if failure := c.hosts.refuse(StepAuthorize, names...); failure != nil {
		return failure
	}
	return nil
}

// CheckKeyHost reports whether the client may call the host that a connection of that kind names for its key, and
// applications may be sent there. inputs are all that hold for it, as [Definition.MergeInputs] gives them.
func (c *Client) CheckKeyHost(app *App, kind Kind, inputs map[string]string) error {
	values := app.values(Resolved{Inputs: inputs}, nil)
	for step, t := range map[Step]Template{
		StepIdentity: app.endpointTemplate(StepIdentity), StepHealth: app.endpointTemplate(StepHealth),
		"": app.Definition.APIBase,
	} {
		if !app.Definition.hostIsOwn(kind, t) || !t.known(values) || !app.Definition.made(step, inputs) {
			continue
		}
		u, err := ExpandURL(t, values)
		if err != nil {
			return fmt.Errorf("the inputs do not make a usable address: %w", err)
		}
		if failure := c.hosts.refuse(StepHealth, u.Hostname()); failure != nil {
			return failure
		}
	}
	return nil
}

// hostIsOwn reports whether a connection of that kind may name the host of a URL template.
func (d *Definition) hostIsOwn(kind Kind, t Template) bool {
	names := hostNames(t)
	return slices.ContainsFunc(d.Inputs, func(in Input) bool {
		return in.ownOf(kind) && slices.ContainsFunc(names, func(name string) bool {
			return name == in.Name || slices.Contains(in.sets(), name)
		})
	})
}

// Allows reports whether the host of a URL is one that the client may call.
func (c *Client) Allows(address string) bool {
	u, err := url.Parse(address)
	return err == nil && c.hosts.refuse(StepHealth, u.Hostname()) == nil
}

// refuse makes the error for a call that would go to a host that is not allowed.
func (h *hosts) refuse(step Step, names ...string) *Error {
	if h.allowed == nil {
		return nil
	}
	open := map[string]bool{}
	for _, name := range names {
		if name = strings.ToLower(strings.TrimSuffix(name, ".")); !h.fixes(name) {
			open[name] = true
		}
	}
	if len(open) == 0 {
		return nil
	}
	if err := h.allowed(slices.Sorted(maps.Keys(open))); err != nil {
		return notSent(step, err.Error())
	}
	return nil
}

func (h *hosts) fixes(name string) bool {
	return slices.ContainsFunc(h.fixed, func(fixed string) bool {
		return fixed == name || fixed[0] == '.' && strings.HasSuffix(name, fixed)
	})
}

// fixedHosts are the hosts that the URLs of d name, those of variants among them, and the domains in which those end
// that have other placeholders.
func (d *Definition) fixedHosts() []string {
	templates := slices.Collect(maps.Values(d.Endpoints))
	if d.Discovery != nil {
		templates = append(templates, d.Discovery.Issuer)
	}
	var fixed []string
	for _, t := range templates {
		for _, t := range d.eachVariant(t) {
			fixed = append(fixed, d.fixedHost(t)...)
		}
	}
	slices.Sort(fixed)
	fixed = slices.Compact(fixed)
	return slices.DeleteFunc(slices.Clone(fixed), func(name string) bool { // what lies below another goes without saying
		return slices.ContainsFunc(fixed, func(other string) bool {
			return other != name && other[0] == '.' && name[0] == '.' && strings.HasSuffix(name, other)
		})
	})
}

// fixedHost gives what one URL fixes, for each alternative of its last placeholder; nil where one of them fixes
// nothing.
func (d *Definition) fixedHost(t Template) (fixed []string) {
	parts, err := splitURL(t)
	if err != nil {
		return nil
	}
	names, tail := parts.hostNames(), ""
	switch {
	case parts.base != "":
	case len(names) == 0:
		return []string{hostname(string(parts.host))}
	default:
		tail = string(parts.host)[strings.LastIndexByte(string(parts.host), '}')+1:]
	}
	ends := []ending{{}}
	if !fixesDomain(tail) { // else the pattern of the last value must fix it, which is matched again at each use
		pattern, _, err := d.hostValue(names[len(names)-1])
		if err != nil {
			return nil
		}
		re, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			return nil
		}
		ends = endings(re)
	}
	alone := parts.base == "" && string(parts.host) == "{"+names[0]+"}"+tail
	for _, end := range ends {
		text := end.text + tail
		host, _, _ := strings.Cut(text, ":")
		switch {
		case fixesDomain(text):
			_, domain, _ := strings.Cut(host, ".")
			if parts.base != "" {
				_, domain, _ = strings.Cut(text, ".")
			}
			fixed = append(fixed, "."+strings.ToLower(domain))
		case end.whole && alone && checkHost(host) == nil:
			fixed = append(fixed, strings.ToLower(host))
		default:
			return nil
		}
	}
	return fixed
}

// hostname is a host in small letters, without its port.
func hostname(host string) string {
	return strings.ToLower((&url.URL{Host: host}).Hostname())
}
