package egress

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newProxy tunnels every CONNECT to the origin, whatever host it names.
func newProxy(t *testing.T, o *origin) (address string, asked *atomic.Value) {
	t.Helper()
	asked = &atomic.Value{}
	asked.Store("")
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization"))
		upstream, err := net.Dial("tcp", o.Listener.Addr().String())
		if !assert.NoError(t, err) {
			return
		}
		defer upstream.Close()
		client, _, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer client.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(upstream, client); _ = upstream.Close() }()
		_, _ = io.Copy(client, upstream)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, asked
}

func TestProxy(t *testing.T) {
	o := newOrigin(t, ok)
	tests := map[string]struct {
		allow   []string
		target  string
		asked   string // what reached the proxy
		refused bool
	}{
		"a public host is tunnelled":           {nil, "https://example.com/", "CONNECT example.com:443 Basic dTpw", false},
		"a private address is refused":         {nil, "https://10.0.0.5/", "", true},
		"localhost is refused":                 {nil, "https://localhost/", "", true},
		"a spelled-out address is refused":     {nil, "https://2130706433/", "", true},
		"plain http is refused":                {nil, "http://example.com/", "", true},
		"the proxy itself is no target":        {nil, "proxy", "", true},
		"listed loopback goes round the proxy": {[]string{"127.0.0.1"}, o.URL, "", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			address, asked := newProxy(t, o)
			if tc.target == "proxy" {
				u, err := url.Parse(address)
				require.NoError(t, err)
				tc.target = "https://" + u.Host
			}
			withUser := "http://u:p@" + address[len("http://"):]
			client, err := New(Policy{Allow: tc.allow, ProxyURL: withUser, CAPEM: o.caPEM()})
			require.NoError(t, err)

			resp, err := get(t, client, tc.target)
			assert.Equal(t, tc.asked, asked.Load())
			if tc.refused {
				var refused *RefusedError
				require.ErrorAs(t, err, &refused)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, resp.StatusCode)
		})
	}
}

func TestHostPort(t *testing.T) {
	tests := map[string]string{
		"http://proxy":            "proxy:80",
		"https://proxy":           "proxy:443",
		"http://proxy:3128":       "proxy:3128",
		"http://[fd00::1]:3128":   "[fd00::1]:3128",
		"https://u:p@10.0.0.1:81": "10.0.0.1:81",
	}
	for raw, want := range tests {
		t.Run(raw, func(t *testing.T) {
			u, err := parseProxy(raw)
			require.NoError(t, err)
			assert.Equal(t, want, hostPort(u))
		})
	}
}
