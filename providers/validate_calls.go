package providers

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// kindNeeds is what must be in a definition for one kind to work.
type kindNeeds struct {
	steps []Step
	has   func(*Definition) bool // nil: nothing but the steps
	what  string                 // what has misses when it is false
}

func needsOf(kind Kind) kindNeeds {
	switch kind {
	case KindAuthorizationCode:
		return kindNeeds{steps: []Step{StepAuthorize, StepToken}}
	case KindClientCredentials:
		return kindNeeds{steps: []Step{StepToken}}
	case KindJWTBearer:
		return kindNeeds{steps: []Step{StepToken}, has: func(d *Definition) bool {
			return d.Assertion != nil
		}, what: "assertion"}
	case KindKeyExchange:
		return kindNeeds{steps: []Step{StepToken}, has: func(d *Definition) bool {
			return d.Key != nil
		}, what: "key"}
	case KindBrokered:
		return kindNeeds{steps: []Step{StepToken, StepUpgrade}, has: func(d *Definition) bool {
			return d.Upgrade != nil
		}, what: "upgrade"}
	case KindDeviceCode:
		return kindNeeds{steps: []Step{StepDevice, StepToken}}
	case KindAPIKey:
		return kindNeeds{has: func(d *Definition) bool {
			return d.Key != nil && d.keySend() != nil
		}, what: "key, and send"}
	case KindBasic:
		return kindNeeds{has: func(d *Definition) bool {
			return d.Key != nil && d.keySend() != nil && d.keySend().basic()
		}, what: "send, with basic_user or basic_password"}
	}
	return kindNeeds{has: func(d *Definition) bool { // the application does with the key what is to be done
		return d.Key != nil && slices.ContainsFunc(d.Key.Fields, func(f KeyField) bool {
			return f.HandedOut && f.SetBy != SetByProvider
		})
	}, what: "key, with a field that is handed_out"}
}

// kinds holds the kinds against the sections, both ways.
func (c *checker) kinds() {
	d := c.d
	if len(d.Kinds) == 0 {
		c.add("kinds", "kinds is missing: how is a credential obtained?")
	}
	var known []string
	for _, kind := range Kinds() {
		known = append(known, string(kind))
	}
	for i, kind := range d.Kinds {
		at := fmt.Sprintf("kinds[%d]", i)
		if !slices.Contains(known, string(kind)) {
			c.word(at, string(kind), known...)
			continue
		}
		if slices.Contains(d.Kinds[:i], kind) {
			c.add(at, "kind %q is named twice", kind)
		}
		needs := needsOf(kind)
		for _, step := range needs.steps {
			if a := d.asserts(kind); a != nil && a.Credential {
				continue // nothing is asked for
			}
			own := d.Token.ByKind[kind].Endpoint
			if step == StepToken && own != "" {
				step = own
			}
			c.endpoint(at, step, "kind "+string(kind))
		}
		if needs.has != nil && !needs.has(d) {
			c.add(at, "kind %q needs the section %s", kind, needs.what)
		}
	}
	c.keyOfNoKind()
	c.assertion()
	if d.Endpoints[StepAuthorize] != "" && !slices.Contains(d.Kinds, KindAuthorizationCode) {
		c.add("endpoints.authorize", "no kind opens it: add the kind authorization_code, or drop the endpoint")
	}
	c.device()
	c.sections()
	for _, kind := range sortedKeys(d.Token.ByKind) {
		switch at := "token.by_kind." + string(kind); {
		case !slices.Contains(d.Kinds, kind):
			c.add(at, "kind %q is not among kinds", kind)
		case kind.HasKey():
			c.add(at, "kind %q asks for no token", kind)
		case kind == KindAuthorizationCode && d.Token.ByKind[kind].Grant != "":
			c.add(at+".grant_type", "write it as token.grant_type")
		case kind.Consents() && d.Token.ByKind[kind].Scopes != nil:
			c.add(at+".scopes", "what a person consents to stands in the section scopes")
		case kind.Consents() && d.Token.ByKind[kind].Inputs != nil:
			c.add(at+".inputs", "what a consent takes is the input's own pattern")
		}
	}
}

// keyOfNoKind refuses what a connection would write of a key where none has one: the operator's fields go along with
// any kind.
func (c *checker) keyOfNoKind() {
	key := c.d.Key
	if key == nil || slices.ContainsFunc(c.d.Kinds, func(k Kind) bool { return k.HasKey() }) {
		return
	}
	if slices.ContainsFunc(c.d.Kinds, c.d.BuysWithKey) {
		if key.Send != nil || len(key.Others) > 0 {
			c.add("key", "the key buys a token, which the section send says how to send: drop send and also")
		}
		return
	}
	if len(c.d.heldFields()) < len(key.Fields) {
		c.add("key", "no kind uses a key: add the kind, or drop the section; a field that the operator writes for all "+
			"says set_by: provider")
	}
	if key.Send != nil || len(key.Others) > 0 {
		c.add("key", "no kind uses a key, so send and also say nothing here: the section send says how tokens are sent, "+
			"and what goes along")
	}
}

// sections refuses those that no kind goes by.
func (c *checker) sections() {
	d := c.d
	code, device := slices.Contains(d.Kinds, KindAuthorizationCode), slices.Contains(d.Kinds, KindDeviceCode)
	tokens := code || device || slices.ContainsFunc(d.Kinds, Kind.Issued)
	upgraded := slices.ContainsFunc(d.Kinds, func(k Kind) bool { return !k.HasKey() && k != KindClientCredentials })
	const obtained = "authorization_code, or another that obtains a token"
	keys := slices.ContainsFunc(d.Kinds, Kind.HasKey)
	for _, section := range []struct {
		name  string
		value any
		used  bool
		kinds string
	}{
		{"authorize", d.Authorize, code, "authorization_code"},
		{"callback", d.Callback, code, "authorization_code"},
		{"device", d.Device, device || d.Extends != "", "device_code"},
		{"upgrade", d.Upgrade, upgraded, "authorization_code, or another that obtains a token with a key"},
		{"assertion", d.Assertion, slices.Contains(d.Kinds, KindJWTBearer), "jwt_bearer"},
		{"discovery", d.Discovery, tokens, obtained},
		{"client", d.Client, tokens, obtained},
		{"scopes", d.Scopes, tokens, obtained},
		{"token", d.Token, tokens, obtained},
		{"refresh", d.Refresh, tokens, obtained},
		{"revoke", d.Revoke, tokens, obtained},
		{"lifetime", d.Lifetime, tokens, obtained},
		{"sign", d.Sign, keys, "key_pair, or another that has a key"},
		{"login", d.Login, keys, "login, or another that has a key"},
	} {
		if !section.used && !reflect.ValueOf(section.value).IsZero() {
			c.add(section.name, "no kind goes by it: add the kind %s, or drop the section", section.kinds)
		}
	}
}

// endpoint checks that a step goes somewhere. Generic definitions and discovery learn that later.
func (c *checker) endpoint(at string, step Step, why string) {
	if c.d.Endpoints[step] == "" && !c.d.Generic && c.d.Discovery == nil {
		c.add(at, "%s needs endpoints.%s", why, step)
	}
}

func (c *checker) calls() {
	d := c.d
	c.tokenCall("token", &d.Token)
	c.called(StepUpgrade, d.Upgrade != nil)
	if d.Upgrade != nil {
		c.tokenCall("upgrade", d.Upgrade)
		if d.Upgrade.Grant != "" {
			c.add("upgrade.grant_type", "an upgrade has no parameters but those of params: write it there")
		}
		if len(d.Upgrade.ByKind) > 0 {
			c.add("upgrade.by_kind", "the second exchange is the same for all kinds: write it once")
		}
	}
	if d.Refresh.Call != nil {
		c.call("refresh.call", d.Refresh.Call)
	}
	if d.Refresh.Answer != nil {
		c.answer("refresh.answer", *d.Refresh.Answer)
	}
	for _, probe := range []struct {
		step Step
		spec *Probe
	}{{StepIdentity, d.Identity}, {StepHealth, d.Health}} {
		c.called(probe.step, probe.spec != nil)
		if at := string(probe.step); probe.spec != nil {
			c.call(at, &probe.spec.Call)
			c.reading(at, &probe.spec.Call)
			c.ok(at+".ok", probe.spec.OK)
			c.paths(at+".scopes_path", probe.spec.ScopesPath)
			c.madeFor(at+".kinds", probe.spec.Kinds)
			c.conditions(at, probe.spec)
		}
	}
	c.called(StepResources, d.Resources != nil)
	if r := d.Resources; r != nil {
		c.call("resources", &r.Call)
		c.reading("resources", &r.Call)
		c.paths("resources.list", []string{r.List})
		c.paths("resources.where", sortedKeys(r.Where))
		c.picked()
	}
	c.introspected()
	if r := d.Revoke; r != nil {
		c.endpoint("revoke", StepRevoke, "the section revoke")
		c.call("revoke", &r.Call)
		c.ok("revoke.ok", r.OK)
		c.madeFor("revoke.kinds", r.Kinds)
	}
	for _, list := range []struct {
		at    string
		paths []string
	}{{"account.id", d.Account.ID}, {"account.label", d.Account.Label}, {"account.email", d.Account.Email}} {
		for i, path := range list.paths {
			source, rest, prefixed := strings.Cut(path, ":")
			at := fmt.Sprintf("%s[%d]", list.at, i)
			if prefixed {
				sources := []string{
					"token", "id_token", fromUpgrade, fromAccessTokenClaims, "health", "callback", fromConfig, fromAssertion,
				}
				if c.word(at, source, sources...); !slices.Contains(sources, source) {
					continue
				}
				path = rest
			} else {
				source = "identity"
			}
			c.answered(at, source)
			c.path(at, path)
			if source == fromAssertion && d.Assertion != nil && d.Assertion.Claims[path] == "" {
				c.add(at, "the assertion has no claim %q%s", path, suggest(path, sortedKeys(d.Assertion.Claims)))
			}
			if source == fromConfig && !slices.Contains(d.Endpoints[StepIdentity].Placeholders(), path) {
				c.add(at, "the answer of identity proves only what its address names: "+
					"let endpoints.identity hold {%s}, or read the account from an answer", path)
			}
		}
	}
}

// madeFor holds the kinds that a call is made for against those of the definition.
func (c *checker) madeFor(at string, kinds []Kind) {
	if c.d.Extends != "" && !slices.Contains(c.d.Kinds, KindDeviceCode) { // a child may do without it
		kinds = slices.DeleteFunc(slices.Clone(kinds), func(kind Kind) bool { return kind == KindDeviceCode })
	}
	for i, kind := range kinds {
		switch {
		case !slices.Contains(c.d.Kinds, kind):
			c.add(fmt.Sprintf("%s[%d]", at, i), "kind %q is not among kinds", kind)
		case slices.Contains(kinds[:i], kind):
			c.add(fmt.Sprintf("%s[%d]", at, i), "kind %q is named twice", kind)
		}
	}
	if len(kinds) > 0 && len(kinds) == len(c.d.Kinds) {
		c.add(at, "these are all that there are: leave it out")
	}
}

// called holds the section of a step that is optional against its endpoint, both ways.
func (c *checker) called(step Step, section bool) {
	switch {
	case section:
		c.endpoint(string(step), step, "the section "+string(step))
	case c.d.Endpoints[step] != "":
		c.add("endpoints."+string(step), "nothing calls it: add the section %s, which may be {}", step)
	}
}

// answered reports a source from which nothing can be read.
func (c *checker) answered(at, source string) {
	d := c.d
	consent := slices.ContainsFunc(d.Kinds, Kind.Consents)
	missing := ""
	switch source {
	case "identity", "health", "resources":
		sections := map[string]bool{
			"identity": d.Identity != nil, "health": d.Health != nil, "resources": d.Resources != nil,
		}
		if !sections[source] {
			missing = "the section " + source
		}
	case "callback":
		if !slices.Contains(d.Kinds, KindAuthorizationCode) {
			missing = "the kind authorization_code"
		}
	case "id_token":
		if !consent {
			missing = "the kind authorization_code"
		}
	case fromUpgrade:
		if d.Upgrade == nil {
			missing = "the section upgrade"
		}
	case fromAssertion:
		if d.Assertion == nil {
			missing = "the section assertion"
		}
	case "token", fromAccessTokenClaims:
		if !consent && !slices.ContainsFunc(d.Kinds, Kind.Issued) {
			missing = "a kind that obtains a token"
		}
	}
	if missing != "" {
		c.add(at, "it is read from %s, and there is none: add %s", source, missing)
	}
}

// reading checks a call that is a GET unless it says otherwise.
func (c *checker) reading(at string, call *Call) {
	if call.Method == "" && call.Body != "" {
		c.add(at+".body", "the call is a GET, which has no body: say method: POST, or drop it")
	}
}

// introspected holds what asks for lifetimes against its endpoint, both ways.
func (c *checker) introspected() {
	d := c.d
	switch asks := d.Lifetime.From == lifetimeIntrospected; {
	case asks && d.Lifetime.Absent.Set:
		c.add("lifetime.when_absent", "the introspection endpoint tells it: drop when_absent, or from")
	case asks:
		c.endpoint("lifetime.from", StepIntrospect, "from: introspect")
	case d.Endpoints[StepIntrospect] != "":
		c.add("endpoints.introspect", "nothing calls it: say lifetime: {from: introspect}, or drop the endpoint")
	}
}

// access refuses what is told of a lifetime where nobody would see it.
func (c *checker) access(at string, l Lifetime) {
	if l.Access.Set {
		c.add(at+".access", "the usual lifetime is told once, in the section lifetime")
	}
	if l.From != "" {
		c.add(at+".from", "where a lifetime comes from is told once, in the section lifetime")
	}
}

func (c *checker) call(at string, call *Call) {
	c.signedCall(at, call)
	if (call.Body == "raw") != (call.Raw != "") {
		c.add(at, "body: raw and raw_body go together")
	}
	switch {
	case call.Raw != "" && len(call.Params) > 0:
		c.add(at+".params", "raw_body is all that is sent: write them into it")
	case call.Method == http.MethodGet && call.Body != "":
		c.add(at+".body", "a GET has no body: say method: POST, or drop it")
	}
	if call.Auth == authAssertion {
		c.asserted(at+".auth", "assertion")
	}
	if call.PerMinute < 0 {
		c.add(at+".per_minute", "a limit is not negative")
	}
}

func (c *checker) tokenCall(at string, call *TokenCall) {
	c.call(at, &call.Call)
	c.answer(at+".answer", call.Answer)
	c.ok(at+".ok", call.OK)
	c.access(at+".lifetime", call.Lifetime)
	for _, kind := range sortedKeys(call.ByKind) {
		where, by := at+".by_kind."+string(kind), call.ByKind[kind]
		if by.Endpoint != "" && c.d.Endpoints[by.Endpoint] == "" {
			c.add(where+".endpoint", "endpoints.%s is missing", by.Endpoint)
		}
		if by.Answer != nil {
			c.answer(where+".answer", *by.Answer)
		}
		c.ok(where+".ok", by.OK)
		c.call(where, &Call{Method: by.Method, Auth: by.Auth, Body: by.Body})
		for _, name := range sortedKeys(by.Inputs) {
			c.pattern(where+".inputs."+name, by.Inputs[name])
			if _, known := c.d.input(name); !known {
				c.add(where+".inputs."+name, "%q is no input%s", name, suggest(name, c.d.names()))
			}
		}
		c.access(where+".lifetime", by.Lifetime)
	}
}

func (c *checker) answer(at string, a Answer) {
	c.paths(at+".access_token", a.AccessToken)
	c.paths(at+".refresh_token", a.RefreshToken)
	c.paths(at+".expires_in", a.ExpiresIn)
	c.paths(at+".expires_at", a.ExpiresAt)
	c.paths(at+".issued_at", a.IssuedAt)
	c.paths(at+".refresh_expires_in", a.RefreshTTL)
	c.paths(at+".hard_expires_in", a.HardTTL)
	c.paths(at+".scope", a.Scope)
}

func (c *checker) ok(at string, ok *OK) {
	if ok == nil {
		return
	}
	c.paths(at, []string{ok.Path, ok.Absent, ok.Present})
	if ok.Equals != nil && ok.Path == "" {
		c.add(at+".equals", "equals looks at path, and there is none")
	}
}

func (c *checker) paths(at string, paths []string) {
	for i, path := range paths {
		c.path(fmt.Sprintf("%s[%d]", at, i), path)
	}
}

func (c *checker) path(at, path string) {
	if _, err := parsePath(path); path != "" && err != nil {
		c.add(at, "%v", err)
	}
}

func (c *checker) failures() {
	for i, rule := range c.d.Failures {
		at := fmt.Sprintf("failures[%d]", i)
		if len(rule.Step) == 0 {
			c.add(at, "step is missing: which calls does the rule look at?")
		}
		if rule.Class == "" {
			c.add(at, "class is missing: what does the failure mean?")
		}
		c.path(at+".path", rule.Path)
		looks := len(rule.Is) > 0 || len(rule.Not) > 0 || rule.Match != ""
		switch {
		case looks && rule.Path == "":
			c.add(at, "is, not and match look at path, and there is none")
		case len(rule.Status) == 0 && rule.Path == "":
			c.add(at, "a rule without status and path would catch every failure")
		}
		c.pattern(at+".match", rule.Match)
	}
}
