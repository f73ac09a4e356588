package egress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// testHost is a name that the certificate of httptest covers.
const testHost = "example.com"

// origin is a TLS server on loopback that counts what reaches it.
type origin struct {
	*httptest.Server
	requests    atomic.Int32
	connections atomic.Int32
}

func newOrigin(t *testing.T, handler http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{}
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.requests.Add(1)
		handler(w, r)
	}))
	o.EnableHTTP2 = true
	o.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			o.connections.Add(1)
		}
	}
	o.StartTLS()
	t.Cleanup(o.Close)
	return o
}

func (o *origin) caPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.Certificate().Raw}))
}

// named is the origin's URL under another host.
func (o *origin) named(t *testing.T, host string) string {
	t.Helper()
	u, err := url.Parse(o.URL)
	require.NoError(t, err)
	return "https://" + net.JoinHostPort(host, u.Port())
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

// resolveTo is a DNS that answers every question for an IPv4 address with addr.
func resolveTo(addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go answerDNS(server, netip.MustParseAddr(addr))
		return client, nil
	}}
}

// answerDNS speaks DNS as over TCP (RFC 1035 section 4.2.2), which is what the resolver uses on a stream.
func answerDNS(conn net.Conn, addr netip.Addr) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		packet := make([]byte, int(size[0])<<8|int(size[1]))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(packet); err != nil {
			return
		}
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}
			m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}}}
		}
		answer, err := m.Pack()
		if err != nil {
			return
		}
		if _, err := conn.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...)); err != nil {
			return
		}
	}
}

func get(t *testing.T, client *http.Client, address string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	if err == nil {
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
	t.Cleanup(client.CloseIdleConnections)
	return resp, err
}

// A name that anyone may point anywhere is judged by the address that it has at the moment of connecting.
func TestGuardLooksBehindNames(t *testing.T) {
	tests := map[string]struct {
		host    string
		resolve string
		allow   []string
		refused string // empty: the origin is reached
	}{
		"name of a loopback address":   {testHost, "127.0.0.1", nil, "loopback"},
		"name listed":                  {testHost, "127.0.0.1", []string{testHost}, ""},
		"name listed in other case":    {testHost, "127.0.0.1", []string{"EXAMPLE.com."}, ""},
		"address listed":               {testHost, "127.0.0.1", []string{"127.0.0.1"}, ""},
		"range listed":                 {testHost, "127.0.0.1", []string{"127.0.0.0/8"}, ""},
		"another name listed":          {testHost, "127.0.0.1", []string{"www.example.com"}, "loopback"},
		"name of the metadata service": {testHost, "169.254.169.254", nil, "link-local"},
		"name of a private address":    {testHost, "10.1.2.3", []string{"10.1.2.4"}, "private"},
		"localhost that points outside": {
			"a.localhost", "10.1.2.3", []string{"a.localhost", "10.0.0.0/8"}, "outside this machine",
		},
		"name with the dot of DNS' root": {testHost + ".", "127.0.0.1", nil, "loopback"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, ok)
			client, err := New(Policy{Allow: tc.allow, CAPEM: o.caPEM(), Resolver: resolveTo(tc.resolve)})
			require.NoError(t, err)

			resp, err := get(t, client, o.named(t, tc.host))
			if tc.refused == "" {
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, resp.StatusCode)
				return
			}
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, strings.TrimSuffix(tc.host, "."), refused.Host)
			assert.Contains(t, refused.Error(), tc.refused)
			assert.NotContains(t, refused.Error(), tc.resolve, "what a name stands for inside is not told")
			assert.Zero(t, o.connections.Load())
		})
	}
}

func TestRefusesBeforeConnecting(t *testing.T) {
	o := newOrigin(t, ok)
	plain := httptest.NewServer(http.HandlerFunc(ok))
	defer plain.Close()
	tests := map[string]struct{ url, want string }{
		"literal loopback":     {o.URL, "loopback"},
		"plain http, unlisted": {plain.URL, "plain http"},
		"plain http elsewhere": {"http://example.com/", "use https"},
		"credentials in URL":   {"https://user:hunter2@example.com/", "user name or password"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			client, err := New(Policy{CAPEM: o.caPEM(), Resolver: resolveTo("127.0.0.1")})
			require.NoError(t, err)
			body := &closeRecorder{Reader: strings.NewReader("grant_type=refresh_token")}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tc.url, body)
			require.NoError(t, err)
			_, err = client.Do(req)
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Contains(t, refused.Error(), tc.want)
			assert.NotContains(t, refused.Error(), "hunter2")
			assert.True(t, body.closed)
			assert.Zero(t, o.connections.Load())
		})
	}
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error { c.closed = true; return nil }

func TestPlainHTTPToListedLoopback(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(ok))
	defer plain.Close()
	client, err := New(Policy{Allow: []string{"127.0.0.1"}})
	require.NoError(t, err)
	resp, err := get(t, client, plain.URL)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestFollowsNoRedirectAndKeepsNoCookie(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Cookies())
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	client := o.client(t, Policy{})
	for range 2 {
		resp, err := get(t, client, o.URL)
		require.NoError(t, err)
		assert.Equal(t, http.StatusTemporaryRedirect, resp.StatusCode)
	}
	assert.EqualValues(t, 2, o.requests.Load())
}

// client lists the origin in p and makes a client.
func (o *origin) client(t *testing.T, p Policy) *http.Client {
	t.Helper()
	p.Allow, p.CAPEM = []string{"127.0.0.1"}, o.caPEM()
	client, err := New(p)
	require.NoError(t, err)
	return client
}

func TestBodyLimit(t *testing.T) {
	tests := map[string]struct {
		size    int
		tooLong bool
	}{
		"empty":        {0, false},
		"at the limit": {MaxBodyBytes, false},
		"one over":     {MaxBodyBytes + 1, true},
		"far over":     {4 * MaxBodyBytes, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(make([]byte, tc.size))
			})
			resp, err := get(t, o.client(t, Policy{}), o.URL)
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			if !tc.tooLong {
				require.NoError(t, err)
				assert.Len(t, got, tc.size)
				return
			}
			var tooLong *http.MaxBytesError
			require.ErrorAs(t, err, &tooLong)
			assert.LessOrEqual(t, len(got), MaxBodyBytes)
			_, err = resp.Body.Read(make([]byte, 1))
			assert.ErrorAs(t, err, &tooLong, "the verdict must not wear off")
		})
	}
}

func TestHeaderLimit(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Padding", strings.Repeat("x", 2*MaxHeaderBytes))
	})
	_, err := get(t, o.client(t, Policy{}), o.URL)
	assert.Error(t, err)
}

func TestTimeout(t *testing.T) {
	tests := map[string]func(http.ResponseWriter, *http.Request){
		"before the header": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"amid the body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, handler)
			resp, err := get(t, o.client(t, Policy{Timeout: 300 * time.Millisecond}), o.URL)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
			}
			var timeout net.Error
			require.ErrorAs(t, err, &timeout)
			assert.True(t, timeout.Timeout())
		})
	}
}

func TestSpeaksHTTP2AndReusesConnections(t *testing.T) {
	o := newOrigin(t, ok)
	client := o.client(t, Policy{})
	for range 3 {
		resp, err := get(t, client, o.URL)
		require.NoError(t, err)
		assert.Equal(t, 2, resp.ProtoMajor)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, o.connections.Load())
}

func TestRoots(t *testing.T) {
	o := newOrigin(t, ok)
	client, err := New(Policy{Allow: []string{"127.0.0.1"}})
	require.NoError(t, err)
	_, err = get(t, client, o.URL)
	assert.ErrorContains(t, err, "certificate", "the system knows no such root")

	resp, err := get(t, o.client(t, Policy{}), o.URL)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestDefaults(t *testing.T) {
	client, err := New(Policy{})
	require.NoError(t, err)
	assert.Equal(t, DefaultTimeout, client.Timeout)
	assert.Nil(t, client.Jar)
	transport := client.Transport.(*roundTripper).base
	assert.Nil(t, transport.Proxy, "proxies of the environment must not count")
	assert.Nil(t, transport.TLSClientConfig.RootCAs, "without ca_pem the system's roots count")
	assert.NotZero(t, transport.MaxIdleConnsPerHost)
}

func TestNewRefusesBadPolicies(t *testing.T) {
	cert := newOrigin(t, ok).caPEM()
	const key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
	tests := map[string]struct {
		policy Policy
		want   string
	}{
		"allow":            {Policy{Allow: []string{"*.x"}}, `egress_allow: entry "*.x"`},
		"negative timeout": {Policy{Timeout: -time.Second}, "negative"},
		"ca without PEM":   {Policy{CAPEM: "hunter2"}, "block 1 is not PEM"},
		"ca with a key":    {Policy{CAPEM: cert + key}, "block 2 is no CERTIFICATE"},
		"ca with a broken cert": {
			Policy{CAPEM: strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE")}, "block 1 is no X.509",
		},
		"ca with a tail":       {Policy{CAPEM: cert + "hunter2"}, "block 2 is not PEM"},
		"proxy scheme":         {Policy{ProxyURL: "socks5://user:hunter2@proxy:1080"}, "proxy_url"},
		"proxy without scheme": {Policy{ProxyURL: "proxy:3128"}, "proxy_url"},
		"proxy without host":   {Policy{ProxyURL: "http://"}, "proxy_url"},
		"proxy with a path":    {Policy{ProxyURL: "http://user:hunter2@proxy/path"}, "proxy_url"},
		"proxy unreadable":     {Policy{ProxyURL: "http://user:hunter2@proxy:x"}, "proxy_url"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			client, err := New(tc.policy)
			require.ErrorContains(t, err, tc.want)
			assert.Nil(t, client)
			assert.NotContains(t, err.Error(), "hunter2")
			assert.False(t, errors.As(err, new(*RefusedError)))
		})
	}
}

func TestSameRoots(t *testing.T) {
	one, other := selfSigned(t), selfSigned(t)
	for name, c := range map[string]struct {
		a, b string
		same bool
	}{
		"none":                    {"", "", true},
		"one":                     {one, one, true},
		"one, with a line's end":  {one, one + "\n\n", true},
		"two in another order":    {one + other, other + one, true},
		"one and the other":       {one, other, false},
		"one more":                {one, one + other, false},
		"one and the system's":    {one, "", false},
		"what cannot be read":     {"x", "x", true},
		"what cannot be read, or": {"x", one, false},
		"what neither can":        {"x", "y", false},
	} {
		assert.Equal(t, c.same, SameRoots(c.a, c.b), name)
		assert.Equal(t, c.same, SameRoots(c.b, c.a), name)
	}
}

// selfSigned is a certificate of its own.
func selfSigned(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

func TestPolicyPrintsNoPassword(t *testing.T) {
	p := Policy{ProxyURL: "http://me:hunter2@proxy.example.com"}
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v %v", p, p, p, &p), "hunter2")
}
