package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Transport shows the credential of a connection to its service, as the service's definition says: in headers, in the
// query or in the path. It is an [http.RoundTripper] for many goroutines.
//
// The credential goes to the hosts of the answer's api_base and instance_url alone, and by https but for loopback;
// any other request fails before it is sent, also one that a redirect leads to. After a 401 the service is asked
// once, by check, whether the credential works, which may renew it: the caller gets the 401 and decides whether to
// send again.
type Transport struct {
	// Base sends the requests; http.DefaultTransport if it is nil.
	Base http.RoundTripper

	client *Client
	path   string

	mu      sync.Mutex
	held    *Credential
	until   time.Time
	checked string // the last_vault_rotation of what was checked
}

// Transport makes one for a connection.
func (c *Client) Transport(path string) *Transport {
	return &Transport{client: c, path: path}
}

// ErrNotSent says that a credential was not sent, since the address is none of its service's.
var ErrNotSent = errors.New("the credential was not sent")

var errNoHosts = fmt.Errorf("%w: the definition of its service names no address of an API", ErrNotSent)

// BaseURL is where the API of the connection answers: what relative addresses are below.
func (t *Transport) BaseURL(ctx context.Context) (*url.URL, error) {
	credential, err := t.credential(ctx)
	if err != nil {
		return nil, err
	}
	bases := credential.bases()
	if len(bases) == 0 {
		return nil, errNoHosts
	}
	return bases[0], nil
}

// RoundTrip sends a request with the credential in it.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	credential, err := t.credential(request.Context())
	if err == nil {
		err = credential.mayGoTo(request.URL)
	}
	if err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, err
	}
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	response, err := base.RoundTrip(credential.show(request))
	if err != nil {
		return nil, withoutURL(err)
	}
	if response.StatusCode == http.StatusUnauthorized {
		t.refused(request.Context(), credential)
	}
	response.Request = request // without the credential
	return response, nil
}

// credential gives the one that is held until the engine hands out a newer one.
func (t *Transport) credential(ctx context.Context) (*Credential, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held != nil && time.Now().Before(t.until) {
		return t.held, nil
	}
	asked := time.Now()
	credential, err := t.client.Credential(ctx, t.path, CredentialOptions{Include: []string{"send"}})
	if err != nil {
		return nil, err
	}
	if credential.Send == nil {
		return nil, fmt.Errorf("the mount does not say how the credential of %s is sent", t.path)
	}
	t.held, t.until = credential, asked.Add(seconds(credential.TTL))
	return credential, nil
}

// refused has a credential checked that the service did not take, once, and forgets it.
func (t *Transport) refused(ctx context.Context, credential *Credential) {
	t.mu.Lock()
	known := t.checked == credential.LastVaultRotation && t.checked != ""
	t.checked = credential.LastVaultRotation
	t.held = nil
	t.mu.Unlock()
	if !known {
		_, _ = t.client.Check(ctx, t.path) // what came of it, the next read tells
	}
}

// bases are the addresses of the service's API, the first of which is what others are relative to.
func (c *Credential) bases() []*url.URL {
	var all []*url.URL
	for _, address := range []string{c.APIBase, c.InstanceURL} {
		if u, err := url.Parse(address); err == nil && u.Host != "" && u.User == nil {
			all = append(all, u)
		}
	}
	return all
}

// mayGoTo refuses an address that is not the service's own.
func (c *Credential) mayGoTo(to *url.URL) error {
	bases := c.bases()
	if len(bases) == 0 {
		return errNoHosts
	}
	var hosts []string
	for _, base := range bases {
		if origin(base) == origin(to) {
			if to.Scheme == "https" || to.Scheme == "http" && isLoopback(to.Hostname()) {
				return nil
			}
			return fmt.Errorf("%w to %s: use https", ErrNotSent, to.Host)
		}
		hosts = append(hosts, base.Host)
	}
	return fmt.Errorf("%w to %s: this connection is for %s", ErrNotSent, to.Host, strings.Join(hosts, " and "))
}

// origin is the host and port of an address. The scheme is judged by itself.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) + " " + port
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// show gives the request with the credential in it. The caller's own stays as it is.
func (c *Credential) show(request *http.Request) *http.Request {
	out := request.Clone(request.Context())
	for name, value := range c.Send.Headers {
		out.Header.Set(name, value)
	}
	if len(c.Send.Query) > 0 {
		query := out.URL.Query()
		for name, value := range c.Send.Query {
			query.Set(name, value)
		}
		out.URL.RawQuery = query.Encode()
	}
	if c.Send.Path != "" { // in front of what is asked for, behind the base
		base := strings.TrimSuffix(c.bases()[0].EscapedPath(), "/")
		rest, below := strings.CutPrefix(out.URL.EscapedPath(), base+"/")
		if !below {
			rest = strings.TrimPrefix(out.URL.EscapedPath(), "/")
		}
		whole := base + "/" + strings.Trim(c.Send.Path, "/") + "/" + rest
		if plain, err := url.PathUnescape(whole); err == nil {
			out.URL.Path, out.URL.RawPath = plain, whole
		}
	}
	return out
}

// withoutURL drops the address from an error, which may have the credential in it.
func withoutURL(err error) error {
	var about *url.Error
	if errors.As(err, &about) {
		return about.Err
	}
	return err
}
