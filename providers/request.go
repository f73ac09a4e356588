package providers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// call is one request of a step on its way: a definition's Call, and what the engine knows to fill it in with.
type call struct {
	step   Step
	group  group
	spec   Call
	target *url.URL
	own    map[string]string // parameters of the engine's own, under the names of RFC 6749
	extra  map[string]string // the operator's; they stand over the definition's and under the engine's own
	values map[string]string // for the placeholders of spec
	style  string            // client authentication, when spec asks for it
	secret Secret            // the client secret in use
	issuer string            // of the service, if known
}

// values gathers what a placeholder may stand for in a call that uses g; g may be nil.
func (a *App) values(res Resolved, g *Grant) map[string]string {
	values := map[string]string{}
	setValue(values, "client_id", a.ClientID)
	setValue(values, "issuer", a.Issuer)
	held := map[string]string{}
	for name, key := range a.Keys {
		held[name] = key.Reveal()
	}
	maps.Copy(values, held)
	for _, f := range a.Definition.heldFields() {
		if held[f.Name] == "" {
			setValue(values, f.Name, a.Definition.defaultOf(f, held))
		}
	}
	if g != nil {
		key := map[string]string{}
		for name, value := range g.Key {
			key[name] = value.Reveal()
		}
		maps.Copy(values, key)
		if len(key) > 0 {
			maps.Copy(values, a.Definition.DeriveKey(key))
		}
		maps.Copy(values, g.Config)
		for name, value := range g.SecretConfig {
			values[name] = value.Reveal()
		}
		setValue(values, "access_token", g.AccessToken.Reveal())
		setValue(values, "refresh_token", g.RefreshToken.Reveal())
		setValue(values, "scopes", a.joinScopes(g.Scopes))
	}
	maps.Copy(values, res.Inputs) // last: what an operator or person set is not replaced by an answer
	return values
}

// setValue leaves a placeholder without a value undeclared, so that a template which needs it fails instead of sending
// nothing.
func setValue(values map[string]string, name, value string) {
	if value != "" {
		values[name] = value
	}
}

// endpoint says where a step goes: as resolved, or, when it needs what only an answer could tell, expanded now.
func (a *App) endpoint(res Resolved, step Step, values map[string]string) (*url.URL, *Error) {
	if fixed := res.Endpoints[step]; fixed != "" {
		u, err := url.Parse(fixed)
		if err != nil {
			return nil, &Error{Class: Misconfigured, Step: step, Reason: ReasonNoEndpoint}
		}
		return u, nil
	}
	template := a.endpointTemplate(step)
	if template == "" {
		return nil, &Error{Class: Misconfigured, Step: step, Reason: ReasonNoEndpoint}
	}
	u, err := ExpandURL(template, values)
	if err != nil {
		return nil, &Error{Class: Misconfigured, Step: step, Reason: ReasonIncompleteCall}
	}
	return u, nil
}

func (a *App) endpointTemplate(step Step) Template {
	if own := a.Endpoints[step]; own != "" {
		return Template(own)
	}
	return a.Definition.Endpoints[step]
}

// rename gives one of the engine's own parameters the name that the service uses.
func (a *App) rename(name string) string {
	if other := a.Definition.Client.Rename[name]; other != "" {
		return other
	}
	return name
}

func (a *App) joinScopes(scopes []string) string {
	separator := a.Definition.Scopes.Join
	if separator == "" {
		separator = " "
	}
	return strings.Join(scopes, separator)
}

// scopeParam adds the scopes under the name the service has for them, if it takes any.
func (a *App) scopeParam(params map[string]string, scopes []string) {
	name := "scope"
	if renamed := a.Definition.Scopes.Param; renamed != nil {
		name = *renamed
	}
	if name != "" && len(scopes) > 0 {
		params[name] = a.joinScopes(scopes)
	}
}

// send fills in and sends one call.
func (c *Client) send(ctx context.Context, app *App, k call) (*reply, *Error) {
	incomplete := &Error{Class: Misconfigured, Step: k.step, Reason: ReasonIncompleteCall}
	values := maps.Clone(k.values)
	if !IsPrivateKey(k.secret) { // which is never sent
		setValue(values, "client_secret", k.secret.Reveal())
	}
	setValue(values, "user_agent", c.userAgent)

	params := make(map[string]string, len(k.spec.Params)+len(k.extra)+len(k.own)+2)
	if !expandInto(params, k.spec.Params, values) {
		return nil, incomplete
	}
	maps.Copy(params, k.extra)
	for name, value := range k.own {
		params[app.rename(name)] = value
	}
	header := http.Header{}
	if err := app.authenticate(k, c.now(), values, params, header); err != nil {
		return nil, err
	}
	headers := map[string]string{}
	if !expandInto(headers, k.spec.Headers, values) {
		return nil, incomplete
	}
	for name, value := range headers {
		header.Set(name, value)
	}

	target := *k.target
	method := k.spec.Method
	finish := func(body []byte) (*reply, *Error) {
		if failure := app.sign(k, method, &target, header, body, c.now()); failure != nil {
			return nil, failure
		}
		r, failure := c.do(ctx, k.step, method, &target, header, body)
		if failure == nil && k.spec.Auth == authSigV4 && r.doc == nil && r.broken == "" {
			r.doc = decodeXML(r.body) // as such services answer, whatever Accept says
		}
		return r, failure
	}
	if method == http.MethodGet {
		addQuery(&target, params)
		return finish(nil)
	}
	form := k.spec.Body
	if form == "" {
		form = app.Definition.Client.Body
	}
	var body []byte
	switch {
	case form == "raw":
		raw, err := k.spec.Raw.Expand(values)
		if err != nil {
			return nil, incomplete
		}
		body = []byte(raw)
	case len(params) == 0: // no body: DELETE and bearer revocations have none
		return finish(nil)
	case form == "json":
		body, _ = json.Marshal(params) // a map of strings always encodes
	default:
		encoded := url.Values{}
		for name, value := range params {
			encoded.Set(name, value)
		}
		body = []byte(encoded.Encode())
		setDefault(header, "Content-Type", "application/x-www-form-urlencoded")
	}
	setDefault(header, "Content-Type", "application/json")
	return finish(body)
}

func setDefault(header http.Header, name, value string) {
	if header.Get(name) == "" {
		header.Set(name, value)
	}
}

func addQuery(target *url.URL, params map[string]string) {
	query := target.Query()
	for name, value := range params {
		query.Set(name, value)
	}
	target.RawQuery = query.Encode()
}

// expandInto expands templates into dst and reports whether every placeholder had a value.
func expandInto(dst map[string]string, templates map[string]Template, values map[string]string) bool {
	for name, template := range templates {
		value, err := template.Expand(values)
		if err != nil {
			return false
		}
		dst[name] = value
	}
	return true
}

// expandNamed is expandInto where the names hold placeholders too.
func expandNamed(dst map[string]string, templates map[string]Template, values map[string]string) bool {
	named := map[string]string{}
	if !expandInto(named, templates, values) {
		return false
	}
	for template, value := range named {
		name, err := Template(template).Expand(values)
		if err != nil {
			return false
		}
		dst[name] = value
	}
	return true
}

// authenticate puts the credentials of a call where the call wants them.
func (a *App) authenticate(k call, now time.Time, values, params map[string]string, header http.Header) *Error {
	switch k.spec.Auth {
	case "", "client":
		return a.authenticateClient(k, now, params, header)
	case "client_basic":
		k.style = "basic"
		return a.authenticateClient(k, now, params, header)
	case "bearer":
		header.Set("Authorization", "Bearer "+values["access_token"])
	case "bearer_client_secret":
		if IsPrivateKey(k.secret) {
			return &Error{Class: Misconfigured, Step: k.step, Reason: ReasonClientAuth}
		}
		header.Set("Authorization", "Bearer "+k.secret.Reveal())
	case authAssertion:
		header.Set("Authorization", "Bearer "+values[placeholderAssertion])
	case "send":
		if !a.Definition.sendRule(k.group == groupKey).apply(values, k.target, header) {
			return &Error{Class: Misconfigured, Step: k.step, Reason: ReasonIncompleteCall}
		}
	case "none":
	case authSigV4, authRequestJWT: // once all else is there, by sign
	default:
		return &Error{Class: Misconfigured, Step: k.step, Reason: ReasonClientAuth}
	}
	return nil
}

func (a *App) authenticateClient(k call, now time.Time, params map[string]string, header http.Header) *Error {
	id, secret := a.ClientID, k.secret.Reveal()
	switch k.style = a.styleWith(k.secret, k.style); k.style {
	case "basic":
		// RFC 6749 section 2.3.1 wants both parts form-encoded first. Servers that do not decode need basic_raw.
		setBasic(header, url.QueryEscape(id), url.QueryEscape(secret))
	case "basic_raw":
		setBasic(header, id, secret)
	case "secret_as_user":
		setBasic(header, secret, "")
	case "post":
		params[a.rename("client_id")] = id
		params[a.rename("client_secret")] = secret
	case "none":
		params[a.rename("client_id")] = id
	case authPrivateKeyJWT:
		signed, failure := a.signClient(k, now)
		if failure != nil {
			return failure
		}
		params[a.rename("client_id")] = id
		params["client_assertion_type"] = clientAssertionType
		params["client_assertion"] = signed.Reveal()
	default:
		return &Error{Class: Misconfigured, Step: k.step, Reason: ReasonClientAuth}
	}
	return nil
}

func setBasic(header http.Header, user, password string) {
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// sendRule says how the service wants the credential in its own API.
func (d *Definition) sendRule(key bool) *Send {
	if key && d.keySend() != nil {
		return d.keySend()
	}
	if d.Send != nil {
		return d.Send
	}
	return &Send{Headers: map[string]Template{"Authorization": "Bearer {access_token}"}}
}

// apply puts the credential into a request and reports whether every placeholder had a value. Send.Path is left to
// the endpoint's own template, which names the same placeholder.
func (s *Send) apply(values map[string]string, target *url.URL, header http.Header) bool {
	headers, query := map[string]string{}, map[string]string{}
	if !expandNamed(headers, s.Headers, values) || !expandNamed(query, s.Query, values) {
		return false
	}
	for name, value := range headers {
		header.Set(name, value)
	}
	for name, template := range s.Optional {
		if value, err := template.Expand(values); err == nil && template.known(values) {
			header.Set(name, value)
		}
	}
	if len(query) > 0 {
		addQuery(target, query)
	}
	if !s.basic() {
		return true
	}
	user, err := s.User.Expand(values)
	if err != nil {
		return false
	}
	password := ""
	if s.Password.known(values) { // some services take a user name alone
		if password, err = s.Password.Expand(values); err != nil {
			return false
		}
	}
	setBasic(header, user, password)
	return true
}

// basic reports whether the credential goes as user and password, of which one may be empty.
func (s *Send) basic() bool { return s.User != "" || s.Password != "" }

// usesSecret reports whether a client authentication style carries the secret, so that a former one could serve.
func usesSecret(style string) bool {
	return slices.Contains([]string{"basic", "basic_raw", "post", "secret_as_user", authPrivateKeyJWT}, style)
}
