package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	metadataLife  = time.Hour       // a moved endpoint is found within this; a flow keeps what it began with
	metadataGrace = 24 * time.Hour  // how long a document goes on when no newer one can be had
	metadataRetry = 5 * time.Minute // until the next try then: callers wait for it, though they have what they need
	// an issuer may hold a connection's input, so their number is not the operator's alone
	maxIssuers = 256

	maxEndpoint = 2 << 10 // bytes of an endpoint in a document: a flow keeps them
	maxAlgs     = 32      // signing algorithms in a document; there are a dozen
	maxOffered  = 4096    // scopes in a document
)

// metadata is what the engine uses of an issuer's document (OpenID Connect Discovery section 3, RFC 8414 section 2).
type metadata struct {
	Issuer       string   `json:"issuer"`
	Authorize    string   `json:"authorization_endpoint"`
	Token        string   `json:"token_endpoint"`
	Revoke       string   `json:"revocation_endpoint"`
	Introspect   string   `json:"introspection_endpoint"`
	Identity     string   `json:"userinfo_endpoint"`
	Device       string   `json:"device_authorization_endpoint"`
	JWKS         string   `json:"jwks_uri"`
	AuthMethods  []string `json:"token_endpoint_auth_methods_supported"`
	SigningAlgs  []string `json:"id_token_signing_alg_values_supported"`
	Modes        []string `json:"response_modes_supported"`
	Scopes       texts    `json:"scopes_supported"`
	IssuerAlways bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 section 3

	fetched time.Time
	due     time.Time // when a newer one is to be asked for
}

// texts is a list that is only advice: what is no list of texts, or of more than any service has, says nothing.
type texts []string

// UnmarshalJSON never fails, or the whole document would not be taken.
func (t *texts) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil && len(list) <= maxOffered {
		*t = list
	}
	return nil
}

// endpoints names the endpoints by step.
func (m *metadata) endpoints() map[Step]string {
	return map[Step]string{
		StepAuthorize: m.Authorize, StepToken: m.Token, StepRevoke: m.Revoke, StepIntrospect: m.Introspect,
		StepIdentity: m.Identity, StepDevice: m.Device,
	}
}

// discover returns the metadata of an issuer, at most an hour old unless there is no newer. address is where the
// document stands; empty means where OpenID Connect Discovery section 4 puts it. Callers that want the same issuer at
// once share one request.
func (c *Client) discover(ctx context.Context, issuer, address string) (*metadata, error) {
	if address == "" {
		address = strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	}
	key := issuer + " " + address
	for {
		known, ask, busy := c.knownMetadata(key)
		switch {
		case known != nil:
			return known, nil
		case ask:
			return c.askMetadata(ctx, key, issuer, address, busy)
		}
		select {
		case <-busy.done:
			if busy.err == nil || busy.left == nil { // else whoever asked has left: the next one asks
				return busy.found, busy.err
			}
		case <-ctx.Done():
			return nil, unanswered(StepDiscovery, ctx.Err(), false)
		}
	}
}

// fetching is one request for an issuer's document, which others wait for.
type fetching struct {
	done  chan struct{}
	found *metadata // these are set before done is closed
	err   error
	left  error // the end of the one who asked, if that is why there is nothing
}

// knownMetadata gives what is known and fresh, or else the request that is under way. ask tells the caller to make it.
func (c *Client) knownMetadata(key string) (known *metadata, ask bool, busy *fetching) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known = c.issuers[key]; known != nil && c.now().Before(known.due) {
		return known, false, nil
	}
	if busy = c.fetching[key]; busy != nil {
		return nil, false, busy
	}
	busy = &fetching{
		done: make(chan struct{}), err: &Error{Class: Transient, Step: StepDiscovery, Reason: ReasonDiscoveryRefused},
	}
	c.fetching[key] = busy
	return nil, true, busy
}

// askMetadata makes the request that busy stands for.
func (c *Client) askMetadata(ctx context.Context, key, issuer, address string, busy *fetching) (*metadata, error) {
	defer func() {
		c.mu.Lock()
		delete(c.fetching, key)
		c.mu.Unlock()
		close(busy.done)
	}()
	m, err := c.fetchMetadata(ctx, issuer, address)
	if busy.left = ctx.Err(); err != nil && busy.left != nil {
		busy.err = unanswered(StepDiscovery, busy.left, false) // it says nothing of the issuer
		return nil, busy.err
	}
	busy.found, busy.err = c.keepMetadata(key, m, err)
	return busy.found, busy.err
}

// keepMetadata takes the outcome of a fetch. Instead of what could not be had or used, an older document goes on for a
// while: a maintenance page must not stop what works.
func (c *Client) keepMetadata(key string, m *metadata, err error) (*metadata, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, older := c.now(), c.issuers[key]
	switch {
	case err == nil:
		m.fetched, m.due = now, now.Add(metadataLife)
	case older != nil && now.Sub(older.fetched) < metadataGrace:
		kept := *older // others are reading it
		kept.due = now.Add(metadataRetry)
		m = &kept
	default:
		return nil, err
	}
	if older == nil && len(c.issuers) >= maxIssuers {
		clear(c.issuers) // crude, and enough: it costs a request an hour, and what would have gone on
	}
	c.issuers[key] = m
	return m, nil
}

// fetchMetadata refuses a document that names another issuer (RFC 8414 section 3.3: compared code point by code
// point) or an endpoint that is not https. What is no such document at all is transient, since pages of gateways come
// with 200 too. A token endpoint belongs to it: section 2 spares only servers that never answer a token call.
func (c *Client) fetchMetadata(ctx context.Context, issuer, address string) (*metadata, error) {
	refuse := func(class Class, reason string) (*metadata, error) {
		return nil, &Error{Class: class, Step: StepDiscovery, Reason: reason}
	}
	target, err := url.Parse(address)
	if err != nil {
		return refuse(Misconfigured, ReasonNoEndpoint)
	}
	r, failure := c.fetchOf(ctx, issuer, "document", target)
	if failure != nil {
		return nil, failure
	}
	var m metadata
	err = json.Unmarshal(r.body, &m)
	switch {
	case err != nil || m.Issuer == "":
		return refuse(Transient, ReasonDiscoveryRefused)
	case m.Issuer != issuer:
		return nil, otherIssuer(issuer, m.Issuer)
	case m.Token == "":
		return nil, wrongIssuer(Transient, ReasonDiscoveryRefused, "the document of %q names no token_endpoint",
			shownURL(issuer))
	}
	if len(m.SigningAlgs) > maxAlgs || slices.ContainsFunc(m.SigningAlgs, func(alg string) bool {
		return len(alg) > maxAlgs
	}) {
		return refuse(Transient, ReasonDiscoveryRefused)
	}
	addresses := m.endpoints()
	addresses["jwks"] = m.JWKS
	for _, step := range sortedKeys(addresses) {
		address := addresses[step]
		if len(address) > maxEndpoint {
			return refuse(Transient, ReasonDiscoveryRefused)
		}
		if u, err := url.Parse(address); address != "" && (err != nil || !secureURL(u)) {
			return nil, wrongIssuer(Misconfigured, ReasonInsecureEndpoint,
				"the document of %q has an address for the step %q that is not https", shownURL(issuer), step)
		}
	}
	return &m, nil
}

// fetchOf is fetch for what an issuer publishes. A status that says that there is no such thing is the issuer's.
func (c *Client) fetchOf(ctx context.Context, issuer, what string, target *url.URL) (*reply, *Error) {
	r, failure := c.fetch(ctx, StepDiscovery, target)
	if failure != nil && failure.Class == Transient &&
		slices.Contains([]int{301, 308, 400, 404, 410}, failure.Status) {
		failure.Code = CodeIssuer
		failure.Seen = fmt.Sprintf("the %s of %q was asked for, and the answer was status %d", what, shownURL(issuer),
			failure.Status)
	}
	return r, failure
}

// fetch gets a public document.
func (c *Client) fetch(ctx context.Context, step Step, target *url.URL) (*reply, *Error) {
	r, failure := c.do(ctx, step, http.MethodGet, target, http.Header{}, nil)
	switch {
	case failure.NotSent():
		return nil, failure
	case failure != nil:
		failure.Class = Transient // a GET of a public document spends nothing
		return nil, failure
	case !(*OK)(nil).holds(r):
		failure = classify(&Definition{}, call{step: step, group: groupAPI}, r, nil, c.now())
		if failure.Class != RateLimited {
			failure.Class = Transient
		}
		return nil, failure
	}
	return r, nil
}

// clientAuth picks the first of these methods that an issuer supports. RFC 8414 section 2: without a list it is basic.
func (m *metadata) clientAuth(methods ...string) (string, *Error) {
	styles := map[string]string{"client_secret_basic": "basic", "client_secret_post": "post"}
	supported := m.AuthMethods
	if len(supported) == 0 {
		supported = []string{"client_secret_basic"}
	}
	for _, method := range methods {
		switch {
		case !slices.Contains(supported, method):
		case styles[method] != "":
			return styles[method], nil
		default:
			return method, nil
		}
	}
	return "", &Error{Class: Misconfigured, Step: StepDiscovery, Reason: ReasonClientAuth}
}
