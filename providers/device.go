package providers

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Consents reports whether the credential comes of a person's consent.
func (k Kind) Consents() bool { return k == KindAuthorizationCode || k == KindDeviceCode }

// grantDevice is RFC 8628 section 3.4's word for grant_type.
const grantDevice = "urn:ietf:params:oauth:grant-type:device_code"

// The codes of RFC 8628 section 3.5, by which [Error.Code] of a poll tells what to do.
const (
	CodePending  = "authorization_pending" // nobody has consented yet
	CodeSlowDown = "slow_down"             // the interval is longer by [SlowDown] from now on
	CodeDenied   = "access_denied"         // the person said no
	CodeExpired  = "expired_token"         // nobody consented in time
)

const (
	// SlowDown is by how much the interval between two polls grows when the service says so.
	SlowDown = 5 * time.Second

	usualInterval = 5 * time.Second // RFC 8628 section 3.2
	leastInterval = time.Second
	mostInterval  = time.Hour

	maxUserCode  = 128     // bytes; RFC 8628 section 6.1 has eight
	maxDeviceURI = 2 << 10 // bytes; people see it, and a QR code holds it
	maxDevice    = 16 << 10
)

// The words of a definition's failure rule that stand for those codes, where the service has others.
const (
	reasonDenied  = "denied"
	reasonExpired = "expired"
)

// Denied reports whether a poll failed because the person said no.
func (e *Error) Denied() bool { return e.Code == CodeDenied || e.Reason == reasonDenied }

// Lapsed reports whether a poll failed because nobody consented in time.
func (e *Error) Lapsed() bool { return e.Code == CodeExpired || e.Reason == reasonExpired }

// Device is what a service answers to the start of a device flow (RFC 8628 section 3.2).
type Device struct {
	Code     Secret // what is polled with
	UserCode string // what the person types
	URI      string // where
	WholeURI string // the same with the code in it; empty: the service has none
	Life     time.Duration
	Interval time.Duration // between two polls
}

// AskDevice asks for a code that a person types on another device. Nothing is spent by it. The error is an [*Error].
func (c *Client) AskDevice(ctx context.Context, app *App, res Resolved, scopes []string) (*Device, error) {
	def := app.Definition
	if failure := def.checkUsed(KindDeviceCode, nil, nil, res.Inputs); failure != nil {
		return nil, failure
	}
	values := app.values(res, nil)
	setValue(values, "scopes", app.joinScopes(scopes))
	target, failure := app.endpoint(res, StepDevice, values)
	if failure != nil {
		return nil, failure
	}
	own := map[string]string{}
	app.scopeParam(own, scopes)
	k := call{
		step: StepDevice, group: groupOf(StepDevice), spec: def.Device.Call, target: target, own: own, values: values,
		style: res.ClientAuth, secret: app.ClientSecret,
	}
	k.spec.Method = orPOST(k.spec.Method)
	d, failure := c.askDeviceOnce(ctx, app, k)
	if failure.cleanInvalidClient() && !app.FormerSecret.IsZero() && usesSecret(k.style) {
		k.secret = app.FormerSecret
		d, failure = c.askDeviceOnce(ctx, app, k)
	}
	if failure != nil {
		return nil, failure
	}
	return d, nil
}

func (c *Client) askDeviceOnce(ctx context.Context, app *App, k call) (*Device, *Error) {
	asked := c.now()
	r, failure := c.send(ctx, app, k)
	if failure != nil {
		return nil, failure
	}
	paths := app.Definition.Device.Answer
	code, _, found := firstString(r.doc, orDefault(paths.DeviceCode, "device_code"))
	if !(*OK)(nil).holds(r) || !found {
		if failure = classify(app.Definition, k, r, nil, asked); failure == nil {
			failure = unusableDevice(r)
		}
		return nil, failure
	}
	d := &Device{Code: NewSecret(code), Interval: usualInterval}
	d.UserCode, _, _ = firstString(r.doc, orDefault(paths.UserCode, "user_code"))
	d.URI, _, _ = firstString(r.doc, orDefault(paths.URI, "verification_uri"))
	d.WholeURI, _, _ = firstString(r.doc, orDefault(paths.WholeURI, "verification_uri_complete"))
	if len(code) > maxDevice || hasControl(code) || !typeable(d.UserCode) || !openable(d.URI) {
		return nil, unusableDevice(r)
	}
	if !openable(d.WholeURI) { // a person can do without
		d.WholeURI = ""
	}
	if told, readable := secondsAt(r.doc, orDefault(paths.Interval, "interval")); readable {
		d.Interval = min(max(told, leastInterval), mostInterval)
	}
	life, readable := secondsAt(r.doc, orDefault(paths.ExpiresIn, "expires_in"))
	if !readable || life <= 0 { // it is obligatory, and without it nobody knows when to stop
		return nil, unusableDevice(r)
	}
	d.Life = life
	return d, nil
}

// unusableDevice is the failure of an answer in which nobody could be shown anything.
func unusableDevice(r *reply) *Error {
	return &Error{Class: Unknown, Step: StepDevice, Status: r.status, Reason: ReasonDeviceUnusable}
}

// secondsAt reads a number of seconds at the first path that holds anything.
func secondsAt(doc any, paths []string) (life time.Duration, readable bool) {
	for _, p := range paths {
		if value, ok := lookup(doc, p); ok {
			return seconds(value)
		}
	}
	return 0, false
}

// LacksBrowser names what an entry of connection_config wants that only a browser which comes back to us tells; empty:
// nothing, so that a device flow may do.
func (d *Definition) LacksBrowser() string {
	for _, c := range d.Connection {
		if c.Required && !slices.ContainsFunc(c.Sources(), func(from string) bool { return from != fromCallback }) {
			return c.Name
		}
	}
	return ""
}

// typeable reports whether a code can be shown to a person, and means to them what it says.
func typeable(code string) bool {
	return code != "" && len(code) <= maxUserCode && !strings.ContainsFunc(code, func(r rune) bool {
		return r == unicode.ReplacementChar || !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r)
	})
}

// openable reports whether an address can be given to a person to open.
func openable(address string) bool {
	u, err := url.Parse(address)
	return err == nil && len(address) <= maxDeviceURI && secureURL(u) && !unfitForURL(address) &&
		!strings.ContainsAny(address, "\"'`<>\\")
}

// Polled are the tokens that a poll brought, as they came. They are there once: [Client.Redeem] may be called again
// with them.
type Polled struct {
	grant *Grant
	doc   any
}

// PollDevice asks once whether a person has consented (RFC 8628 section 3.4). The error is an [*Error]; its class
// Unknown means that tokens may have been on their way.
func (c *Client) PollDevice(ctx context.Context, app *App, res Resolved, code Secret, scopes []string,
) (*Polled, error) {
	def := app.Definition
	if failure := def.checkUsed(KindDeviceCode, nil, nil, res.Inputs); failure != nil {
		return nil, failure
	}
	kept := &Grant{}
	kept.capture(def.Connection, fromInput, asDoc(res.Inputs))
	values := app.values(res, kept)
	setValue(values, "scopes", app.joinScopes(scopes))
	own := map[string]string{
		"grant_type":  grantType(def.Token.ByKind[KindDeviceCode].Grant, grantDevice),
		"device_code": code.Reveal(),
	}
	g, doc, failure := c.tokenCall(ctx, app, res, KindDeviceCode, StepToken, &def.Token, own, values)
	if failure != nil {
		return nil, failure
	}
	return &Polled{grant: g, doc: doc}, nil
}

// Discard is the grant as it came, for when nothing else can be made of it: to be revoked.
func (p *Polled) Discard() *Grant { return p.grant.clone() }

// Redeem makes of what a poll brought the grant, as [Client.Exchange] does. The error is an [*Error]; one of step
// discovery says that the issuer's keys could not be had, and Redeem may be called again. A grant beside an error is
// there to be revoked.
func (c *Client) Redeem(ctx context.Context, app *App, res Resolved, scopes []string, p *Polled) (*Grant, error) {
	def, kept, g := app.Definition, &Grant{}, p.grant.clone()
	complete := kept.capture(def.Connection, fromInput, asDoc(res.Inputs))
	if !kept.capture(def.Connection, fromCallback, nil) || !complete {
		return g, &Error{Class: Rejected, Step: StepDevice, Reason: ReasonCaptureMissing}
	}
	r := ExchangeRequest{Resolved: res, Scopes: scopes} // no nonce: nothing carried one there
	var keys *oidc.StaticKeySet
	if res.OpenID && slices.Contains(scopes, oidc.ScopeOpenID) {
		var failure *Error
		if keys, failure = c.issuerKeys(ctx, res); failure != nil {
			return g, failure
		}
	}
	return c.consented(ctx, app, r, kept, keys, g, p.doc)
}

// device checks what goes with the kind device_code. A child may do without the kind, and take over the rest.
func (c *checker) device() {
	d := c.d
	if !slices.Contains(d.Kinds, KindDeviceCode) {
		if d.Endpoints[StepDevice] != "" && d.Extends == "" {
			c.add("endpoints.device", "no kind asks there: add the kind device_code, or drop the endpoint")
		}
		return
	}
	scope := map[string]string{}
	(&App{Definition: d}).scopeParam(scope, []string{"any"})
	c.shadows("device.params.", d.Device.Params, sortedKeys(scope), "leave it out")
	c.call("device", &d.Device.Call)
	a := d.Device.Answer
	c.paths("device.answer.device_code", a.DeviceCode)
	c.paths("device.answer.user_code", a.UserCode)
	c.paths("device.answer.verification_uri", a.URI)
	c.paths("device.answer.verification_uri_complete", a.WholeURI)
	c.paths("device.answer.expires_in", a.ExpiresIn)
	c.paths("device.answer.interval", a.Interval)
}
