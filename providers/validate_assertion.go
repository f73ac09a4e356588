package providers

import (
	"slices"
	"strings"
	"time"
)

// assertion holds what is signed against the key that signs it.
func (c *checker) assertion() {
	c.clientAssertion()
	a := c.d.Assertion
	if a == nil {
		return
	}
	if a.Alg == "" {
		c.add("assertion.alg", "alg is missing: which algorithm signs?")
	}
	switch f := c.d.fieldOf(a.Key); {
	case f.Name == "":
		c.add("assertion.key", "%q is no key field: name the one that holds the private key", a.Key)
	case !c.d.IsSecretField(a.Key):
		c.add("assertion.key", "key field %q holds a private key and is not secret", a.Key)
	case f.Name == a.Key && !f.Multiline:
		c.add("assertion.key", "key field %q takes no line breaks, which PEM has: say multiline: true", a.Key)
	}
	if a.Key != "" {
		c.used[a.Key] = true
	}
	switch ttl := a.TTL.D; {
	case ttl <= 0:
		c.add("assertion.ttl", "ttl is missing: how long is it good for?")
	case ttl > maxAssertionTTL:
		c.add("assertion.ttl", "must be a year at most")
	case a.Credential && ttl <= a.Skew.D:
		c.add("assertion.skew", "must be shorter than ttl")
	}
	if len(a.Claims) == 0 {
		c.add("assertion.claims", "claims are missing: who signs, and for what?")
	}
	own := []string{"iat", "exp", "jti", "nbf"}
	for _, name := range append(sortedKeys(a.Claims), sortedKeys(a.Lists)...) {
		if slices.Contains(own, name) {
			c.add("assertion.claims."+name, "the engine sets it: drop it, or say ttl, skew, jti or nbf")
		}
	}
	for _, name := range sortedKeys(a.Lists) {
		if _, twice := a.Claims[name]; twice {
			c.add("assertion.claim_lists."+name, "it stands in claims too: it is either a text or a list")
		}
	}
	for _, name := range sortedKeys(a.Header) {
		if slices.Contains([]string{"alg", "typ", "crit", "b64"}, name) {
			c.add("assertion.header."+name, "the engine sets it: drop it")
		}
	}
	if a.Credential {
		if by := c.d.Token.ByKind[KindJWTBearer]; by.Endpoint != "" || by.Grant != "" || by.Auth != "" {
			c.add("assertion.credential", "the assertion is the token, so token.by_kind.jwt_bearer calls nothing: drop it")
		}
	}
}

// clientAssertion holds what the client signs against the styles that it may use.
func (c *checker) clientAssertion() {
	own := c.d.Client.Assertion
	if own == nil {
		return
	}
	if !c.d.takesClientAuth(authPrivateKeyJWT) {
		c.add("client.assertion", "nothing is signed: add private_key_jwt to client.auth, or drop the section")
	}
	for _, name := range sortedKeys(own.Claims) {
		if slices.Contains([]string{"iat", "exp", "jti", "nbf"}, name) {
			c.add("client.assertion.claims."+name, "the engine sets it: drop it, or say ttl or nbf")
		}
	}
	for _, name := range sortedKeys(own.Header) {
		if slices.Contains([]string{"alg", "typ", "crit", "b64"}, name) {
			c.add("client.assertion.header."+name, "the engine sets it: drop it")
		}
	}
	if own.TTL.Set && (own.TTL.D <= 0 || own.TTL.D > time.Hour) {
		c.add("client.assertion.ttl", "must be an hour at most: it is made for each call")
	}
}

// asserted refuses the assertion in calls that are made without it.
func (c *checker) asserted(at, what string) {
	own := "token.by_kind." + string(KindJWTBearer) + "."
	switch {
	case c.d.Assertion == nil:
		c.add(at, "%s has no value without the section assertion", what)
	case c.byApplications(at): // which is refused for all that is secret
	case !slices.ContainsFunc([]string{own, "identity.", "health.", "resources.", "reaches.", "revoke."}, func(section string) bool {
		return strings.HasPrefix(at, section)
	}):
		c.add(at, "%s has no value there: it is for %s and the calls identity, health, resources, reaches and revoke", what,
			strings.TrimSuffix(own, "."))
	}
}

// placed refuses placeholders of the assertion where they have no value.
func (c *checker) placed(at, name string) {
	inside := strings.HasPrefix(at, "assertion.")
	ofClient := strings.HasPrefix(at, "client.assertion.")
	known := []string{
		"client_id", "issuer", "scopes", placeholderTokenEndpoint, placeholderAudience, placeholderKeyID,
		placeholderThumbprint, placeholderFingerprint,
	}
	switch {
	case ofClient && !slices.Contains(known, name):
		c.add(at, "{%s} has no value where the client signs: there are %s", name, strings.Join(known, ", "))
		return
	case ofClient:
		return
	case slices.Contains(known[3:7], name):
		c.add(at, "{%s} is for what the client signs, in client.assertion", name)
		return
	}
	switch {
	case name == placeholderFingerprint && !inside:
		c.add(at, "{%s} is for the claims and the header of the assertion", name)
	case name == placeholderAssertion && inside:
		c.add(at, "{%s} is what is being signed", name)
	case name == placeholderAssertion:
		c.asserted(at, "{"+name+"}")
	case inside && c.secret(name):
		c.add(at, "{%s} is secret, and an assertion can be read by whoever gets it", name)
	}
}
