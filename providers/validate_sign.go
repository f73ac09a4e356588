package providers

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const maxTokenLife = time.Hour // of a token for one request

// signing checks the section sign, and that what it says is used.
func (c *checker) signing() {
	spec := c.d.Sign
	if spec == nil {
		return
	}
	for _, signer := range []struct {
		name string
		set  bool
	}{{authSigV4, spec.SigV4 != nil}, {authRequestJWT, spec.JWT != nil}} {
		if signer.set && !c.d.Identity.signedBy(signer.name) && !c.d.Health.signedBy(signer.name) {
			c.add("sign."+signer.name, "no call is signed by it: say auth: %s in health or identity, or drop it", signer.name)
		}
	}
	if spec.SigV4 == nil && spec.JWT == nil {
		c.add("sign", "the section says nothing: add %s or %s, or drop it", authSigV4, authRequestJWT)
	}
	c.sigV4(spec.SigV4)
	c.requestJWT(spec.JWT)
}

func (c *checker) sigV4(s *SigV4) {
	if s == nil {
		return
	}
	for _, part := range []struct{ name, value string }{
		{"service", s.Service},
		{"region", string(s.Region)},
		{"access_key_id", string(s.AccessKeyID)},
	} {
		if part.value == "" {
			c.add("sign.aws_sigv4."+part.name, "%s is missing", part.name)
		}
	}
	c.secretField("sign.aws_sigv4.secret_access_key", s.SecretAccessKey)
	c.shownIn("sign.aws_sigv4.region", s.Region)
	c.shownIn("sign.aws_sigv4.access_key_id", s.AccessKeyID)
}

func (c *checker) requestJWT(j *RequestJWT) {
	if j == nil {
		return
	}
	const at = "sign.jwt_per_request"
	c.secretField(at+".key", j.Key)
	if len(j.Algs) == 0 {
		c.add(at+".algs", "algs is missing: by which algorithms does the service let requests be signed?")
	}
	for i, alg := range j.Algs {
		if slices.Contains(j.Algs[:i], alg) {
			c.add(fmt.Sprintf("%s.algs[%d]", at, i), "%q is named twice", alg)
		}
	}
	if j.Life.D < time.Second || j.Life.D > maxTokenLife {
		c.add(at+".life", "a token for one request lives from 1s to 1h")
	}
	ours := map[string][]string{"header": {"alg", "typ"}, "claims": {"nbf", "exp"}}
	if j.Nonce != "" {
		ours["header"] = append(ours["header"], j.Nonce)
	}
	if j.URI != "" {
		ours["claims"] = append(ours["claims"], j.URI)
	}
	if slices.Contains([]string{"alg", "typ"}, j.Nonce) {
		c.add(at+".nonce", "%q is the engine's own, choose another", j.Nonce)
	}
	if slices.Contains([]string{"nbf", "exp"}, j.URI) {
		c.add(at+".uri", "%q is the engine's own, choose another", j.URI)
	}
	for part, members := range map[string]map[string]Template{"header": j.Header, "claims": j.Claims} {
		for _, name := range sortedKeys(members) {
			where := at + "." + part + "." + name
			if slices.Contains(ours[part], name) {
				c.add(where, "%q is the engine's own: leave it out", name)
			}
			c.shownIn(where, members[name])
		}
	}
}

// secretField refuses what is no secret of the key, whole.
func (c *checker) secretField(at string, t Template) {
	names := t.Placeholders()
	if len(names) != 1 || string(t) != "{"+names[0]+"}" || !c.d.IsSecretField(names[0]) {
		c.add(at, "write {field}, with a key field that is secret")
	}
}

// shownIn refuses what is secret in what is sent as it is.
func (c *checker) shownIn(at string, t Template) {
	for _, name := range t.Placeholders() {
		if c.secret(name) {
			c.add(at, "{%s} is secret, and this is sent as it is", name)
		}
	}
}

// signedBy reports whether the call is there, and signed so.
func (p *Probe) signedBy(signer string) bool { return p != nil && p.Auth == signer }

// signedCall holds a call that is signed against the section that says how.
func (c *checker) signedCall(at string, call *Call) {
	if !signs(call.Auth) {
		return
	}
	probe := map[string]*Probe{"identity": c.d.Identity, "health": c.d.Health}[at]
	has := c.d.Sign != nil &&
		(call.Auth == authSigV4 && c.d.Sign.SigV4 != nil || call.Auth == authRequestJWT && c.d.Sign.JWT != nil)
	switch {
	case probe == nil:
		c.add(at+".auth", "%s is for health and identity", call.Auth)
	case !has:
		c.add(at+".auth", "sign.%s is missing: with which fields is it signed?", call.Auth)
	case slices.ContainsFunc(c.d.Kinds, func(k Kind) bool { return !k.HasKey() && probe.serves(k) }):
		c.add(at+".auth", "only a key signs: name the kinds that have one in kinds of this call")
	}
}

// login checks the section login.
func (c *checker) login() {
	l := c.d.Login
	if l == nil {
		return
	}
	if c.d.Identity != nil || c.d.Health != nil {
		c.add("login", "a key is tried by one or the other: drop login, or the sections health and identity")
	}
	if l.Protocol == "" {
		c.add("login.protocol", "protocol is missing, write smtp")
	}
	for _, part := range []struct {
		name string
		t    Template
	}{{"host", l.Host}, {"port", l.Port}, {"tls", l.TLS}, {"user", l.User}, {"password", l.Password}} {
		at := "login." + part.name
		if part.t == "" {
			c.add(at, "%s is missing", part.name)
		}
		for _, name := range part.t.Placeholders() {
			if f, known := c.d.KeyField(name); !known || f.setBy() != SetByConnection {
				c.add(at, "{%s} is no field of a connection's key: whoever writes the key names the server, and nothing else "+
					"goes there", name)
			}
		}
		if part.name == "host" || part.name == "port" || part.name == "tls" {
			c.shownIn(at, part.t)
		}
	}
}

// onlyOfTheKey reports whether what stands there is made of inputs and key fields alone.
func onlyOfTheKey(at string) bool {
	return strings.HasPrefix(at, "sign.") || strings.HasPrefix(at, "login.")
}

// ofTheKey reports whether a placeholder is an input or a field of a key, or follows from one.
func (c *checker) ofTheKey(name string) bool {
	_, isField := c.d.KeyField(name)
	return isField || c.d.asked(name) || c.d.Key != nil && slices.ContainsFunc(c.d.Key.Fields, func(f KeyField) bool {
		_, derived := f.Derive[name]
		_, member := f.JSON[name]
		return derived || member
	})
}

// conditions checks the inputs that a call depends on.
func (c *checker) conditions(at string, probe *Probe) {
	for _, name := range sortedKeys(probe.Inputs) {
		c.used[name] = true
		c.pattern(at+".inputs."+name, probe.Inputs[name])
		if _, known := c.d.input(name); !known {
			c.add(at+".inputs."+name, "%q is no input%s", name, suggestInput(name, c.d))
		}
	}
}

// conditional reports whether a URL is for a call that is not made while an input is not set.
func (c *checker) conditional(at, input string) bool {
	probe := map[string]*Probe{"endpoints.identity": c.d.Identity, "endpoints.health": c.d.Health}[at]
	if probe == nil {
		return false
	}
	pattern, depends := probe.Inputs[input]
	return depends && matches(pattern, "") != nil
}
