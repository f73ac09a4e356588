package providers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// kindNeeds is what must be in a definition for one kind to work.
type kindNeeds struct {
	steps []Step
	has   func(*Definition) bool // nil: nothing but the steps
	what  string                 // what has misses when it is false
}

func needsOf(kind Kind) (kindNeeds, bool) {
	hasKey := func(d *Definition) bool {
		return d.Key != nil && (d.keySend() != nil || d.Key.Signer != "" || d.Key.Login != "")
	}
	switch kind {
	case KindAuthorizationCode:
		return kindNeeds{steps: []Step{StepAuthorize, StepToken}}, true
	case KindClientCredentials:
		return kindNeeds{steps: []Step{StepToken}}, true
	case KindDeviceCode:
		return kindNeeds{steps: []Step{StepDevice, StepToken}}, true
	case KindJWTBearer:
		return kindNeeds{[]Step{StepToken}, func(d *Definition) bool { return d.Assertion != nil }, "assertion"}, true
	case KindAPIKey, KindKeyPair:
		return kindNeeds{has: hasKey, what: "key, with send or signer"}, true
	case KindBasic:
		return kindNeeds{has: func(d *Definition) bool {
			return hasKey(d) && d.keySend() != nil && d.keySend().User != ""
		}, what: "send, with basic_user"}, true
	case KindKeyHandover:
		return kindNeeds{[]Step{StepAuthorize}, func(d *Definition) bool {
			return hasKey(d) && len(d.Callback.Keys) > 0
		}, "key, and callback.keys"}, true
	case KindLogin:
		return kindNeeds{has: func(d *Definition) bool {
			return d.Key != nil && d.Key.Login != ""
		}, what: "key.login"}, true
	}
	return kindNeeds{}, false
}

// kinds holds the kinds against the sections, both ways.
func (c *checker) kinds() {
	d := c.d
	if len(d.Kinds) == 0 {
		c.add("kinds", "kinds is missing: how is a credential obtained?")
	}
	for i, kind := range d.Kinds {
		at := fmt.Sprintf("kinds[%d]", i)
		needs, known := needsOf(kind)
		if !known {
			c.add(at, "kind %q is not known", kind)
			continue
		}
		if slices.Contains(d.Kinds[:i], kind) {
			c.add(at, "kind %q is named twice", kind)
		}
		for _, step := range needs.steps {
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
	uses := func(kinds ...Kind) bool {
		return slices.ContainsFunc(kinds, func(k Kind) bool { return slices.Contains(d.Kinds, k) })
	}
	if d.Key != nil && !uses(KindAPIKey, KindBasic, KindKeyPair, KindKeyHandover, KindLogin, KindJWTBearer) {
		c.add("key", "no kind uses a key: add the kind, or drop the section")
	}
	if d.Assertion != nil {
		if !uses(KindJWTBearer) {
			c.add("assertion", "no kind uses an assertion: add the kind jwt_bearer, or drop the section")
		}
		if _, ok := d.KeyField(d.Assertion.Key); !ok {
			c.add("assertion.key", "%q is no key field", d.Assertion.Key)
		}
	}
	if d.Endpoints[StepAuthorize] != "" && !uses(KindAuthorizationCode, KindKeyHandover) {
		c.add("endpoints.authorize", "no kind opens it: add the kind authorization_code, or drop the endpoint")
	}
	for _, kind := range sortedKeys(d.Token.ByKind) {
		if !uses(kind) {
			c.add("token.by_kind."+string(kind), "kind %q is not among kinds", kind)
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
	if d.Upgrade != nil {
		c.endpoint("upgrade", StepUpgrade, "the section upgrade")
		c.tokenCall("upgrade", d.Upgrade)
	}
	if d.Refresh.Call != nil {
		c.call("refresh.call", d.Refresh.Call)
	}
	if d.Refresh.Answer != nil {
		c.answer("refresh.answer", *d.Refresh.Answer)
	}
	for step, probe := range map[Step]*Probe{
		StepIdentity: d.Identity, StepHealth: d.Health,
		StepIntrospect: d.Introspect,
	} {
		if probe != nil {
			c.endpoint(string(step), step, "the section "+string(step))
			c.call(string(step), &probe.Call)
			c.ok(string(step)+".ok", probe.OK)
		}
	}
	if r := d.Resources; r != nil {
		c.endpoint("resources", StepResources, "the section resources")
		c.call("resources", &r.Call)
		c.paths("resources.list", []string{r.List})
		c.paths("resources.where", sortedKeys(r.Where))
		c.word("resources.else", r.Else, "first", "only")
	}
	if r := d.Revoke; r != nil {
		c.endpoint("revoke", StepRevoke, "the section revoke")
		c.call("revoke", &r.Call)
		c.ok("revoke.ok", r.OK)
		c.word("revoke.token", r.Token, "refresh_token", "access_token", "both")
		c.word("revoke.reach", r.Reach, "token", "grant", "account")
	}
	for _, list := range []struct {
		at    string
		paths []string
	}{{"account.id", d.Account.ID}, {"account.label", d.Account.Label}, {"account.email", d.Account.Email}} {
		for i, path := range list.paths {
			source, rest, prefixed := strings.Cut(path, ":")
			if prefixed {
				c.word(fmt.Sprintf("%s[%d]", list.at, i), source,
					"token", "id_token", "health", "resources", "callback")
				path = rest
			}
			c.path(fmt.Sprintf("%s[%d]", list.at, i), path)
		}
	}
}

func (c *checker) call(at string, call *Call) {
	c.word(at+".method", call.Method, http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete)
	c.word(at+".auth", call.Auth, callAuthStyles()...)
	c.word(at+".body", call.Body, "form", "json", "raw")
	if (call.Body == "raw") != (call.Raw != "") {
		c.add(at, "body: raw and raw_body go together")
	}
	if call.PerMinute < 0 {
		c.add(at+".per_minute", "a limit is not negative")
	}
}

func (c *checker) tokenCall(at string, call *TokenCall) {
	c.call(at, &call.Call)
	c.answer(at+".answer", call.Answer)
	c.ok(at+".ok", call.OK)
	for _, kind := range sortedKeys(call.ByKind) {
		where, by := at+".by_kind."+string(kind), call.ByKind[kind]
		if by.Endpoint != "" && c.d.Endpoints[by.Endpoint] == "" {
			c.add(where+".endpoint", "endpoints.%s is missing", by.Endpoint)
		}
		for _, input := range sortedKeys(by.Needs) {
			if c.names[input] != "an input" {
				c.add(where+".needs."+input, "%q is no input", input)
			}
			c.pattern(where+".needs."+input, by.Needs[input])
		}
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
	classes := []string{
		string(Transient), string(Unknown), string(RateLimited), string(Rejected), string(Misconfigured),
		string(Expired), string(Forbidden), classFine,
	}
	steps := []string{"api", "key"}
	for _, step := range knownSteps() {
		steps = append(steps, string(step))
	}
	for i, rule := range c.d.Failures {
		at := fmt.Sprintf("failures[%d]", i)
		if len(rule.Step) == 0 {
			c.add(at, "step is missing: which calls does the rule look at?")
		}
		for j, step := range rule.Step {
			c.word(fmt.Sprintf("%s.step[%d]", at, j), step, steps...)
		}
		if rule.Class == "" {
			c.add(at, "class is missing: what does the failure mean?")
		}
		c.word(at+".class", rule.Class, classes...)
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
