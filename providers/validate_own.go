package providers

import (
	"fmt"
	"slices"
)

// byKind checks what a connection of some kind may set in the operator's place: where its calls go. With them goes
// nothing then that the operator holds, for whoever connects names who receives it.
func (c *checker) byKind(at string, in Input) {
	for _, kind := range sortedKeys(in.ByKind) {
		switch at := at + ".by_kind." + string(kind); {
		case !slices.Contains(c.d.Kinds, kind):
			c.add(at, "kind %q is not among kinds", kind)
		case !kind.HasKey():
			c.add(at, "what kind %q obtains is given to the operator's app, whose secret would go where a connection "+
				"says: only a key can come with its host", kind)
		case in.SetBy != SetByProvider && in.SetBy != "":
			c.add(at, "whoever connects may set input %q anyway: say set_by: provider for all others, or drop by_kind",
				in.Name)
		case in.ByKind[kind].SetBy == "":
			c.add(at, "set_by is missing, write connection")
		}
	}
	if len(in.ByKind) == 0 {
		return
	}
	if c.d.Key != nil {
		for i, f := range c.d.Key.Fields {
			if f.SetBy == SetByProvider {
				c.add(fmt.Sprintf("key.fields[%d].set_by", i), "key field %q is the operator's, and would go where a "+
					"connection says: by_kind of input %q is for keys that are the connection's alone", f.Name, in.Name)
			}
		}
	}
	for _, call := range []struct {
		at    string
		probe *Probe
	}{{"identity", c.d.Identity}, {"health", c.d.Health}} {
		if slices.ContainsFunc(sortedKeys(in.ByKind), call.probe.serves) && call.probe.bringsSecret() {
			c.add(call.at, "the call brings the client secret, and would go where a connection says: by_kind of "+
				"input %q is for calls with the key alone", in.Name)
		}
	}
	if c.d.Discovery != nil && slices.ContainsFunc(hostNames(c.d.Discovery.Issuer), func(name string) bool {
		return name == in.Name || slices.Contains(in.sets(), name)
	}) {
		c.add("discovery.issuer", "a connection may set input %q for its key, and the issuer is the operator's",
			in.Name)
	}
}

// bringsSecret reports whether the client secret goes along with the call.
func (p *Probe) bringsSecret() bool {
	if slices.Contains([]string{"client", "client_basic", "bearer_client_secret"}, p.Auth) {
		return true
	}
	return slices.ContainsFunc(p.templates(), func(t Template) bool {
		return slices.Contains(t.Placeholders(), "client_secret")
	})
}

// templates are all that a call sends, but for where it goes.
func (c *Call) templates() []Template {
	all := []Template{c.Raw}
	for _, part := range []map[string]Template{c.Headers, c.Params} {
		for _, name := range sortedKeys(part) {
			all = append(all, part[name])
		}
	}
	return all
}
