package egress

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Bounds of every client. None of them is tunable: no OAuth answer comes near them.
const (
	DefaultTimeout = 15 * time.Second // of a whole call, when [Policy] names none
	MaxBodyBytes   = 1 << 20          // of an answer's body, after decompression
	MaxHeaderBytes = 64 << 10         // of an answer's header

	connectTimeout   = 5 * time.Second
	idleTimeout      = 60 * time.Second
	idleConnsPerHost = 2
	idleConns        = 16
)

// Policy is what an operator decided about the calls of one provider. The zero value reaches any public host by https.
type Policy struct {
	Allow []string // egress_allow: host names, addresses and CIDRs that the private-address guard lets through
	// proxy_url: http or https, perhaps with a password; empty: none, whatever the environment says
	ProxyURL string
	// ca_pem: certificates that replace the system's roots, also for an https proxy; empty: the system's
	CAPEM   string
	Timeout time.Duration // of a whole call, body included; 0: [DefaultTimeout]

	Resolver *net.Resolver // nil: the system's
}

// New returns a client that keeps to p. It speaks TLS 1.2 or newer, follows no redirect (RFC 9700 section 4.12), keeps
// no cookies and ignores proxies of the environment.
//
// A connection to a loopback, private or otherwise special address is refused with a [*RefusedError], which errors.As
// finds in what [http.Client.Do] returns. The check is made on the address that is being connected to, so an answer of
// DNS that changes between check and use gains nothing. Behind a proxy it is the proxy that resolves names: then only
// literal addresses and localhost names are checked here, and the proxy has to guard the rest. Loopback hosts are
// never reached through the proxy.
//
// Reading more than [MaxBodyBytes] of a body fails with a [*http.MaxBytesError].
//
// An error names the setting to mend. Call [http.Client.CloseIdleConnections] on a client that is no longer needed.
func New(p Policy) (*http.Client, error) {
	rules, err := p.parse()
	if err != nil {
		return nil, err
	}
	guard, proxy := rules.guard(), rules.proxy
	transport := &http.Transport{
		DialContext:            guard.dial,
		ForceAttemptHTTP2:      true, // net/http gives HTTP/2 up once a dialer is set
		TLSClientConfig:        rules.tls(),
		TLSHandshakeTimeout:    connectTimeout,
		MaxResponseHeaderBytes: MaxHeaderBytes,
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idleConnsPerHost,
		IdleConnTimeout:        idleTimeout,
	}
	if proxy != nil {
		guard.proxyAddr = hostPort(proxy)
		transport.Proxy = func(r *http.Request) (*url.URL, error) {
			if isLoopbackHost(hostOf(r.URL)) {
				return nil, nil
			}
			return proxy, nil
		}
	}
	return &http.Client{
		Transport:     &roundTripper{allow: rules.allow, base: transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       rules.timeout,
	}, nil
}

// rules are a policy that was read.
type rules struct {
	allow    Allowlist
	roots    *x509.CertPool
	proxy    *url.URL // nil: none
	timeout  time.Duration
	resolver *net.Resolver
}

func (p Policy) parse() (r rules, err error) {
	if r.allow, err = ParseAllow(p.Allow); err != nil {
		return r, err
	}
	if r.roots, err = parseRoots(p.CAPEM); err != nil {
		return r, err
	}
	if r.proxy, err = parseProxy(p.ProxyURL); err != nil {
		return r, err
	}
	if p.Timeout < 0 {
		return r, fmt.Errorf("timeout %s is negative: give a positive one, or none for %s", p.Timeout, DefaultTimeout)
	}
	r.timeout, r.resolver = cmp.Or(p.Timeout, DefaultTimeout), p.Resolver
	return r, nil
}

func (r rules) guard() *guard {
	return &guard{allow: r.allow, dialer: net.Dialer{Timeout: connectTimeout, Resolver: r.resolver}}
}

func (r rules) tls() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.roots} }

// roundTripper refuses a URL before anything is dialed, and bounds what comes back.
type roundTripper struct {
	allow Allowlist
	base  *http.Transport
}

func (rt *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := rt.allow.check(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // the contract of http.RoundTripper
		}
		return nil, err
	}
	resp, err := rt.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, MaxBodyBytes)
	return resp, nil
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (rt *roundTripper) CloseIdleConnections() { rt.base.CloseIdleConnections() }

// guard dials, and looks at each address once it is known.
type guard struct {
	allow     Allowlist
	dialer    net.Dialer
	proxyAddr string // host:port that the operator named as the proxy; empty: none
}

func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := g.dialer
	// A target cannot borrow the proxy's exemption: check has already refused a special address or localhost, and
	// every other target is dialed by the proxy.
	if addr != g.proxyAddr {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, errors.New("the URL has no usable host and port")
		}
		dialer.ControlContext = g.allow.control(canonical(host))
	}
	return dialer.DialContext(ctx, network, addr)
}
