package providers

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
)

// namePattern is the name rule of definitions, providers, orgs and connections;
// two dots in a row are refused beside it.
var namePattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?$`)

// fieldPattern is what placeholders can name.
var fieldPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// problem is one broken rule, and where in the file it was broken: client.auth[0].
type problem struct{ at, text string }

// Validate checks every rule of a definition and returns all that are broken, each with its place in the file. What
// [Registry] and [Decode] return has passed.
func (d *Definition) Validate() error {
	var errs []error
	for _, p := range d.problems() {
		errs = append(errs, fmt.Errorf("%s: %s", p.at, p.text))
	}
	return errors.Join(errs...)
}

func (d *Definition) problems() []problem {
	c := &checker{d: d, names: map[string]string{}, used: map[string]bool{}, hosts: map[string]bool{}}
	for _, word := range reservedPlaceholders() {
		c.names[word] = "a reserved word"
	}
	c.head()
	c.inputs()
	c.key()
	c.captures()
	c.companions()
	c.kinds()
	c.client()
	c.secretShapes()
	c.calls()
	c.install()
	c.reaches()
	c.signing()
	c.login()
	c.git()
	c.failures()
	c.urls()
	c.manifest()
	c.scopes()
	c.strangers()
	c.runtime()
	walk(reflect.ValueOf(d).Elem(), "", c.leaf) // by now all names are known,
	c.unused()                                  // and by now all that are used
	return c.found
}

// checker gathers problems on its way through one definition.
type checker struct {
	d     *Definition
	names map[string]string // every placeholder that may be used, and what it is
	used  map[string]bool   // every placeholder that is
	hosts map[string]bool   // inputs that were looked at because a host holds them
	found []problem
}

func (c *checker) add(at, format string, args ...any) {
	c.found = append(c.found, problem{at: at, text: fmt.Sprintf(format, args...)})
}

// word checks a value that comes from a fixed list; empty passes.
func (c *checker) word(at, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		c.add(at, "%q is not known here%s", value, suggest(value, allowed))
	}
}

// declare makes a name known to templates.
func (c *checker) declare(at, name, what string) {
	switch other, taken := c.names[name]; {
	case !fieldPattern.MatchString(name):
		c.add(at, "name %q: write lower-case letters, digits and underscores, beginning with a letter", name)
	case taken:
		c.add(at, "name %q is taken by %s, choose another", name, other)
	default:
		c.names[name] = what
	}
}

// pattern compiles a pattern that must match whole values. It returns nil after reporting one that does not compile, or
// that would take long to match: time grows with the length of a value, and with that of the pattern once its
// repetitions are written out.
func (c *checker) pattern(at, pattern string) *regexp.Regexp {
	re, err := compileWhole(pattern)
	if err != nil {
		c.add(at, "pattern does not compile: %v", err)
		return nil
	}
	if tree, err := syntax.Parse(pattern, syntax.Perl); err == nil {
		if program, err := syntax.Compile(tree.Simplify()); err == nil && len(program.Inst) > maxProgram {
			c.add(at, "the pattern repeats too much: let it count less exactly, with + for {1,1000}")
			return nil
		}
	}
	return re
}

const (
	maxPattern = 1000 // bytes
	maxProgram = 3000 // steps
)

func compileWhole(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("it is longer than %d bytes", maxPattern)
	}
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

func (c *checker) head() {
	d := c.d
	id := strings.TrimPrefix(d.ID, runtimePrefix)
	if !namePattern.MatchString(id) || strings.Contains(id, "..") {
		c.add("id", "id %q: write 1 to 64 of a-z 0-9 . _ @ -, beginning and ending in a letter or "+
			"digit, without two dots in a row", d.ID)
	}
	if d.Name == "" {
		c.add("name", "name is missing: how the service spells itself")
	}
	for i, link := range d.Sources {
		c.link(fmt.Sprintf("sources[%d]", i), link)
	}
	c.link("setup.app_url", d.Setup.AppURL)
	c.link("setup.key_url", d.Setup.KeyURL)
	c.link("setup.manage_url", d.Setup.ManageURL)
	if _, err := time.Parse(time.DateOnly, d.Checked); err != nil && d.Checked != "" {
		c.add("checked", "write the day as 2026-11-29")
	}
	if every := d.CheckInterval.D; every != 0 && (every < time.Hour || every > 30*24*time.Hour) {
		c.add("check_interval", "must lie between one hour and 30 days, or be never")
	}
	c.rotation("client.rotate_after", d.Client.RotateAfter)
	if d.Key != nil {
		c.rotation("key.rotate_after", d.Key.RotateAfter)
	}
	if d.Check == "none" && (d.Health != nil || d.Identity != nil || d.Login != nil) {
		c.add("check", "none is for a definition without the sections health, identity and login")
	}
}

// rotation checks after how long something is to be replaced.
func (c *checker) rotation(at string, after Duration) {
	if after.Never || after.Set && (after.D < 24*time.Hour || after.D > 10*365*24*time.Hour) {
		c.add(at, "must lie between one day and ten years")
	}
}

func (c *checker) link(at, link string) {
	if u, err := url.Parse(link); link != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		c.add(at, "%q is no https:// link", link)
	}
}

func (c *checker) client() {
	d := c.d
	for i, style := range d.Client.Auth {
		if style == authFromDiscovery && d.Discovery == nil {
			c.add(fmt.Sprintf("client.auth[%d]", i), "%s needs the section discovery", authFromDiscovery)
		}
	}
	c.renamed()
	c.optionalScopes()
	if d.Scopes.Accumulates && d.Scopes.Surplus == "refuse" {
		c.add("scopes.surplus", "refuse does not go with accumulates: answers name what earlier consents granted")
	}
	for name, others := range d.Scopes.Same {
		if name == "" || len(others) == 0 || slices.Contains(others, "") || slices.Contains(others, name) {
			c.add("scopes.same", "%q: write a scope and the other spellings of it", name)
		}
	}
	for name, others := range d.Scopes.Implies {
		star := strings.HasSuffix(name, "*")
		if name == "" || len(others) == 0 || strings.Contains(strings.TrimSuffix(name, "*"), "*") ||
			slices.ContainsFunc(others, func(o string) bool {
				return o == "" || o == name || strings.Contains(strings.TrimSuffix(o, "*"), "*") ||
					strings.HasSuffix(o, "*") && !star
			}) {
			c.add("scopes.implies", "%q: write a scope and others that it includes; * stands at the end only, and in "+
				"those only where the scope has it", name)
		}
	}
	if len(d.Scopes.Allowed) > 0 {
		for i, scope := range d.Scopes.Default {
			c.word(fmt.Sprintf("scopes.default[%d]", i), scope, d.Scopes.Allowed...)
		}
	}
	c.authorize()
	if d.Refresh.Token == "self" && d.Refresh.Call == nil {
		c.add("refresh.token", "a token that renews itself needs refresh.call to say how")
	}
}

// worded is a text that must be one of a field's words.
type worded struct {
	text  string
	words []string
}

// leaf checks what may stand anywhere: words, the placeholders of templates, and durations.
func (c *checker) leaf(at string, value any) {
	switch value := value.(type) {
	case worded:
		c.word(at, value.text, value.words...)
	case Duration:
		if value.bad != "" {
			c.add(at, "duration %q: write a whole number and s, m, h or d (at most 100 years), or the word never",
				value.bad)
		}
	case Template:
		for _, name := range value.Placeholders() {
			c.used[name] = true
			if _, known := c.names[name]; !known {
				c.add(at, "placeholder {%s} is not declared: add an input, key field or "+
					"connection_config entry of that name%s", name, suggestName(name, c.names))
			}
			if _, known := c.names[name]; known && onlyOfTheKey(at) && !c.ofTheKey(name) {
				c.add(at, "{%s} is neither an input nor a field of the key, and nothing else stands here", name)
			}
			if c.byApplications(at) && (name == "client_secret" || name == "refresh_token" ||
				name == placeholderAssertion) {
				c.add(at, "{%s} never leaves the engine, and applications send this", name)
			}
			c.placed(at, name)
			if f, _ := c.d.KeyField(name); f.SetBy == SetByProvider && at == "api_base" {
				c.add(at, "{%s} is a key field of the operator's, and this is answered beside every credential: let it be "+
					"an input", name)
			}
			if slices.Contains(c.d.siteNames(), name) && !afterPick(at) {
				c.add(at, "{%s} has no value before one of resources is picked: it is for health, send and api_base", name)
			}
			if strings.HasPrefix(at, "token.by_kind.") && strings.Contains(at, ".scopes[") && c.secret(name) {
				c.add(at, "{%s} is secret, and scopes are shown", name)
			}
			if c.inBrowser(at) && c.secret(name) {
				c.add(at, "{%s} is secret and this goes through the person's browser", name)
			}
		}
		if strings.Contains(string(value), "{+") && !strings.HasPrefix(at, "endpoints.") && at != "api_base" {
			for _, m := range placeholderPattern.FindAllStringSubmatch(string(value), -1) {
				if m[1] != "" {
					c.add(at, "{+%s} keeps slashes and is for the paths of endpoints only", m[2])
				}
			}
		}
	case Send:
		for _, name := range sortedKeys(value.Headers) {
			c.leaf(at+".headers."+name, Template(name))
		}
		for _, name := range sortedKeys(value.Query) {
			c.leaf(at+".query."+name, Template(name))
		}
	}
}

func (c *checker) inBrowser(at string) bool {
	return at == "endpoints.authorize" || at == "endpoints.install" || strings.HasPrefix(at, "authorize.") ||
		strings.HasPrefix(at, "install.")
}

// byApplications reports whether what stands there is for applications to send.
func (c *checker) byApplications(at string) bool {
	return at == "api_base" || strings.HasPrefix(at, "send.") || strings.HasPrefix(at, "key.send.") ||
		strings.HasPrefix(at, "key.also[")
}

func (c *checker) secret(placeholder string) bool {
	switch placeholder {
	case "client_secret", "access_token", "refresh_token", placeholderAssertion:
		return true
	}
	return c.d.IsSecretField(placeholder) ||
		slices.ContainsFunc(c.d.Connection, func(k Capture) bool { return k.Name == placeholder && k.Secret })
}

// walk shows visit every Template, Duration, Send and worded text under v with its place in the file. It goes by
// reflection so that no field added later can be forgotten.
func walk(v reflect.Value, at string, visit func(at string, value any)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), at, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), fmt.Sprintf("%s[%d]", at, i), visit)
		}
	case reflect.Map:
		for _, key := range sortedMapKeys(v) {
			walk(v.MapIndex(key), join(at, key.String()), visit)
		}
	case reflect.String:
		if value, ok := v.Interface().(Template); ok {
			visit(at, value)
		}
	case reflect.Struct:
		switch value := v.Interface().(type) {
		case Duration:
			visit(at, value)
			return
		case Send:
			visit(at, value)
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name, option, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			if option == "inline" {
				walk(v.Field(i), at, visit)
				continue
			}
			if words := field.Tag.Get("words"); words != "" {
				visitWords(v.Field(i), join(at, name), strings.Split(words, "|"), visit)
			}
			walk(v.Field(i), join(at, name), visit)
		}
	}
}

func visitWords(v reflect.Value, at string, words []string, visit func(at string, value any)) {
	if v.Kind() != reflect.Slice {
		visit(at, worded{v.String(), words})
		return
	}
	for i := range v.Len() {
		visit(fmt.Sprintf("%s[%d]", at, i), worded{v.Index(i).String(), words})
	}
}

func sortedMapKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
