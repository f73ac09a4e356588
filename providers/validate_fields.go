package providers

import (
	"fmt"
	"slices"
	"strings"
)

// credentialNames are the names that creds answers with by itself, and those that consumers of credentials give a
// meaning of their own.
func credentialNames() []string {
	return []string{
		"access_token", "token_type", "expire_time", "scopes", "provider", "connection_config", "instance_url", "ttl",
		"rotation_period", "last_vault_rotation", "rotation_schedule", "certificate", "expiration", "secret_id",
		"secret_id_ttl", "metadata", "renewable", "api_base", "send", "companions", "choices", "headers", "claims",
		"id_token", "git",
	}
}

// connectionFields are the fields that every connection has: the key's own fields are written beside them.
func connectionFields() []string {
	return []string{
		"provider", "kind", "label", "tags", "inputs", "required_scopes", "disabled", "private", "refresh_token",
		"access_token", "expires_in", "verify", "allow_account_change", "org", "user", "name", "rotate_after",
	}
}

func (c *checker) inputs() {
	for i, in := range c.d.Inputs {
		at := fmt.Sprintf("inputs[%d]", i)
		for j, name := range in.Requires {
			if _, known := c.d.input(name); !known || name == in.Name {
				c.add(fmt.Sprintf("%s.requires[%d]", at, j), "%q is no other input", name)
			}
		}
		c.declare(at+".name", in.Name, "an input")
		if in.SetBy == "" {
			c.add(at, "input %q: set_by is missing, write provider, connection or either", in.Name)
		}
		if in.Required && in.Default != "" {
			c.add(at+".required", "input %q has a default and can never be missing, drop one of the two", in.Name)
		}
		c.byKind(at, in)
		if len(in.Variants) > 0 {
			c.variants(at, in)
			continue
		}
		if in.Pattern == "" {
			c.add(at, "input %q: pattern is missing", in.Name)
			continue
		}
		re := c.pattern(at+".pattern", in.Pattern)
		if re == nil {
			continue
		}
		if in.Default != "" && !re.MatchString(c.d.clean(in, in.Default)) {
			c.add(at+".default", "default of input %q does not match its pattern", in.Name)
		}
		if in.Example != "" && !re.MatchString(c.d.clean(in, in.Example)) {
			c.add(at+".example", "example of input %q does not match its pattern", in.Name)
		}
	}
}

func (c *checker) key() {
	key := c.d.Key
	if key == nil {
		return
	}
	if len(key.Fields) == 0 {
		c.add("key", "a key without fields holds nothing: name at least one")
	}
	c.groups()
	for i, f := range key.Fields {
		at := fmt.Sprintf("key.fields[%d]", i)
		c.keyName(at+".name", f.Name, "a key field")
		c.leaves(at, f)
		c.defaultFrom(at, f)
		if f.Secret && f.Default != "" {
			c.add(at+".default", "key field %q is secret, a secret has no default", f.Name)
		}
		if f.Shape != "" && f.Pattern == "" {
			c.add(at+".shape", "key field %q: shape says how sure the pattern is, and there is none", f.Name)
		}
		if f.Pattern != "" {
			if re := c.pattern(at+".pattern", f.Pattern); re != nil {
				if f.Default != "" && !re.MatchString(f.Default) {
					c.add(at+".default", "default of key field %q does not match its pattern", f.Name)
				}
				if f.Example != "" && !re.MatchString(f.Example) {
					c.add(at+".example", "example of key field %q does not match its pattern", f.Name)
				}
			}
		}
		c.keyFile(at, f)
		if len(f.Derive) > 0 && f.SetBy == SetByProvider {
			c.add(at+".derive", "key field %q is the operator's, and values are derived from a connection's key alone: "+
				"let the operator set an input or another field", f.Name)
		}
		for _, name := range sortedKeys(f.Derive) {
			where := at + ".derive." + name
			c.keyName(where, name, "a value derived from a key field")
			if re := c.pattern(where, f.Derive[name]); re != nil && re.NumSubexp() != 1 {
				c.add(where, "the pattern needs exactly one group: what to cut out")
			}
		}
	}
}

// keyFile checks a key field that is a JSON file.
func (c *checker) keyFile(at string, f KeyField) {
	at += ".json"
	switch {
	case f.JSON == nil:
		return
	case len(f.JSON) == 0:
		c.add(at, "key field %q is a JSON file of which nothing is read: name a member, or say multiline: true in the "+
			"place of json", f.Name)
	case f.SetBy == SetByProvider:
		c.add(at, "key field %q is the operator's, and members are read of a connection's key alone: let the operator "+
			"set an input or another field", f.Name)
	case f.Pattern != "", f.Multiline, f.Default != "", f.DefaultFrom != "", len(f.Derive) > 0:
		c.add(at, "key field %q is a JSON file: drop pattern, multiline, default, default_from and derive, and say of a "+
			"member what it looks like", f.Name)
	}
	for _, name := range sortedKeys(f.JSON) {
		where, member := at+"."+name, f.JSON[name]
		c.keyName(where, name, "a member of a key field")
		if member.Secret && !f.Secret {
			c.add(where+".secret", "%q is secret, so the file %q is too: say secret: true there", name, f.Name)
		}
		if member.Pattern != "" {
			c.pattern(where+".pattern", member.Pattern)
		}
	}
}

// defaultFrom checks what is taken for a field that is left out.
func (c *checker) defaultFrom(at string, f KeyField) {
	other, known := c.d.KeyField(f.DefaultFrom)
	switch at := at + ".default_from"; {
	case f.DefaultFrom == "":
	case !known || other.Name == f.Name:
		var names []string
		for _, field := range c.d.Key.Fields {
			if field.Name != f.Name {
				names = append(names, field.Name)
			}
		}
		c.add(at, "%q is no other field of the key%s", f.DefaultFrom, suggest(f.DefaultFrom, names))
	case f.Default != "" || f.Required:
		c.add(at, "key field %q takes what is left out from %q: drop default and required", f.Name, other.Name)
	case other.DefaultFrom != "":
		c.add(at, "%q takes its own from %q: name that", other.Name, other.DefaultFrom)
	case other.setBy() != f.setBy():
		c.add(at, "%q is set on the %s, and %q on the %s", other.Name, other.setBy(), f.Name, f.setBy())
	case other.Secret && !f.Secret:
		c.add(at, "%q is secret, so %q is too: say secret: true", other.Name, f.Name)
	}
}

// groups checks the groups of fields of which a key has exactly one.
func (c *checker) groups() {
	key, seen := c.d.Key, map[string]bool{}
	if len(key.OneOf) == 1 {
		c.add("key.one_of", "one group is no choice: say required: true for its fields")
	}
	var names []string
	for _, f := range key.Fields {
		names = append(names, f.Name)
	}
	for i, group := range key.OneOf {
		at := fmt.Sprintf("key.one_of[%d]", i)
		if len(group) == 0 {
			c.add(at, "a group without fields says nothing")
		}
		for j, name := range group {
			where := fmt.Sprintf("%s[%d]", at, j)
			f, known := c.d.KeyField(name)
			switch {
			case !known:
				c.add(where, "%q is no field of the key%s", name, suggest(name, names))
			case seen[name]:
				c.add(where, "%q is named twice: a field is in one group only", name)
			case f.setBy() != SetByConnection:
				c.add(where, "%q is set on the provider, and a key is written on the connection", name)
			case f.Required || f.Default != "" || f.DefaultFrom != "":
				c.add(where, "%q may be left out with its group: drop required, default and default_from", name)
			case c.alwaysSent(name):
				c.add(where, "%q may be left out with its group, and send always names it: write it in optional_headers",
					name)
			}
			seen[name] = true
		}
	}
}

// alwaysSent reports whether nothing can be sent without a value of that name.
func (c *checker) alwaysSent(name string) bool {
	send := c.d.keySend()
	return send != nil && send.always(name)
}

// leaves holds a key field against how it gets to the service: creds hands out what send names, and else only what the
// definition says is handed out.
func (c *checker) leaves(at string, f KeyField) {
	byOperator := f.SetBy == SetByProvider
	sent := c.d.Send.names(f.Name) || c.d.keySend().names(f.Name)
	switch {
	case f.HandedOut && !f.Secret:
		c.add(at+".handed_out", "key field %q is not secret and is handed out anyway", f.Name)
	case f.HandedOut && byOperator && !sent:
		c.add(at+".handed_out", "key field %q is the operator's and no send names it: name it there, or drop handed_out",
			f.Name)
	case f.Secret && byOperator && sent && !f.HandedOut:
		c.add(at, "key field %q is the operator's secret and applications would send it: say handed_out: true where "+
			"every reader of a credential may have it, or name it in our own calls alone", f.Name)
	case f.Secret && !byOperator && !c.d.HandsOut(f.Name) && !c.d.buys(f) &&
		!slices.ContainsFunc(sortedKeys(f.JSON), c.d.keySend().names):
		c.add(at, "key field %q is secret and no send names it: name it there, or say handed_out: true where the "+
			"application itself signs or logs in with it", f.Name)
	}
}

// buys reports whether a token is bought with a field: it signs the assertion, or stands in the token call.
func (d *Definition) buys(f KeyField) bool {
	if d.Assertion != nil && d.fieldOf(d.Assertion.Key).Name == f.Name {
		return true
	}
	call := d.Token.Call
	for _, kind := range sortedKeys(d.Token.ByKind) {
		if d.BuysWithKey(kind) {
			call = d.Token.ByKind[kind].over(call)
		}
	}
	return slices.ContainsFunc(call.templates(), func(t Template) bool {
		return slices.ContainsFunc(t.Placeholders(), func(name string) bool { return d.fieldOf(name).Name == f.Name })
	})
}

func (c *checker) companions() {
	seen := map[string]bool{}
	for i, companion := range c.d.Companions {
		at := fmt.Sprintf("companions[%d]", i)
		switch {
		case !fieldPattern.MatchString(companion.Name):
			c.add(at+".name", "name %q: write lower-case letters, digits and underscores, beginning with a letter",
				companion.Name)
		case seen[companion.Name]:
			c.add(at+".name", "name %q is there twice", companion.Name)
		}
		seen[companion.Name] = true
		if companion.On == "" {
			c.add(at, "companion %q: on is missing, write provider or connection", companion.Name)
		}
		if companion.Pattern != "" {
			c.pattern(at+".pattern", companion.Pattern)
		}
	}
}

func (c *checker) keyName(at, name, what string) {
	switch {
	case slices.Contains(credentialNames(), name), strings.HasSuffix(name, "_raw"):
		c.add(at, "name %q has a meaning of its own in a credential, choose another", name)
	case slices.Contains(connectionFields(), name):
		c.add(at, "name %q is a field of every connection, choose another", name)
	}
	c.declare(at, name, what)
}

func (c *checker) captures() {
	for i, capture := range c.d.Connection {
		at := fmt.Sprintf("connection_config[%d]", i)
		shown := len(capture.AnyOf) == 0 && capture.From == fromInput
		if !shown || !c.d.asked(capture.Name) { // else it shows the input under its own name
			c.declare(at+".name", capture.Name, "a connection_config entry")
		}
		switch {
		case len(capture.AnyOf) == 0:
			if capture.From == "" {
				c.add(at, "entry %q: from is missing", capture.Name)
			}
			if len(capture.Path) == 0 {
				c.add(at, "entry %q: path is missing", capture.Name)
			}
			c.captured(at, CaptureSource{From: capture.From, Path: capture.Path})
		case capture.From != "" || len(capture.Path) > 0:
			c.add(at, "entry %q: any_of stands in the place of from and path, write these as its first", capture.Name)
		}
		for j, source := range capture.AnyOf {
			where := fmt.Sprintf("%s.any_of[%d]", at, j)
			if source.From == "" || len(source.Path) == 0 {
				c.add(where, "entry %q: from and path belong together", capture.Name)
			}
			if capture.rank(source.From) < j {
				c.add(where+".from", "%s is named twice: write both paths into one list", source.From)
			}
			c.captured(where, source)
		}
		c.sentWithKey(at, capture)
		if capture.Pattern != "" {
			c.pattern(at+".pattern", capture.Pattern)
		} else if capture.rank(fromCallback) >= 0 {
			c.add(at, "entry %q: a value from the callback needs a pattern, anybody can write one", capture.Name)
		}
	}
}

// sentWithKey refuses what no key can be sent without, and what is known of a key only once one was sent.
func (c *checker) sentWithKey(at string, capture Capture) {
	if capture.rank(fromInput) >= 0 || !c.alwaysSent(capture.Name) {
		return
	}
	app := &App{Definition: c.d}
	for _, kind := range c.d.Kinds {
		step, probe := app.checkCall(kind)
		sentOtherwise := probe != nil && probe.Auth != "" && probe.Auth != "send" && capture.rank(string(step)) >= 0
		if kind.HasKey() && !sentOtherwise {
			c.add(at, "entry %q is known of a key only once one was sent, and send always names it: write it in "+
				"optional_headers, or let it come from an input", capture.Name)
			return
		}
	}
}

// captured checks one place where an entry of connection_config may stand.
func (c *checker) captured(at string, source CaptureSource) {
	c.paths(at+".path", source.Path)
	if source.From == fromInput {
		for j, name := range source.Path {
			c.used[name] = true
			if !c.d.asked(name) {
				c.add(fmt.Sprintf("%s.path[%d]", at, j), "%q is no input%s", name, suggestInput(name, c.d))
			}
		}
	}
	c.answered(at+".from", source.From)
}

func suggestInput(name string, d *Definition) string {
	var names []string
	for _, in := range d.Inputs {
		names = append(append(names, in.Name), in.sets()...)
	}
	if best := nearest(name, names); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	return ""
}

func sortedKeys[M ~map[K]V, K ~string, V any](m M) []K {
	keys := make([]K, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
