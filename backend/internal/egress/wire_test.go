package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var usualPorts = []string{"25", "587"}

// listener accepts connections on loopback, and serves each.
func listener(t *testing.T, serve func(net.Conn)) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// What is refused is refused before anything is dialed, with what to do.
func TestWireRefuses(t *testing.T) {
	lan := Policy{Allow: []string{"10.0.0.0/8"}}
	listed := Policy{Allow: []string{"mail.example.com"}}
	proxied := Policy{ProxyURL: "http://proxy.example.com:3128"}
	for name, c := range map[string]struct {
		policy     Policy
		host, port string
		plain      bool
		says       string
	}{
		"another port":                      {Policy{}, "mail.example.com", "22", false, "port 22 is none of 25, 587"},
		"another port of an address":        {Policy{}, "203.0.113.5", "22", false, "port 22 is none of"},
		"another port in a range":           {lan, "10.0.0.5", "22", false, "port 22 is none of"},
		"another port of a name in a range": {lan, "mail.internal", "22", false, "port 22 is none of"},
		"no port":                           {Policy{}, "mail.example.com", "", false, "no number"},
		"port 0":                            {listed, "mail.example.com", "0", false, "no number"},
		"a large port":                      {Policy{}, "mail.example.com", "65536", false, "no number"},
		"a service's name":                  {Policy{}, "mail.example.com", "smtp", false, "no number"},
		"an address of this machine":        {Policy{}, "127.0.0.1", "587", false, "loopback"},
		"localhost":                         {Policy{}, "localhost", "587", false, "Vault server itself"},
		"a private address":                 {Policy{}, "10.0.0.5", "587", false, "private"},
		"an address that looks like IPv6":   {Policy{}, "::ffff:10.0.0.5", "587", false, "private"},
		"the metadata service":              {Policy{}, "169.254.169.254", "587", false, "link-local"},
		"an address with a zone":            {Policy{}, "fe80::1%eth0", "587", false, "zone"},
		"a short address":                   {Policy{}, "127.1", "587", false, "neither a host name nor an address"},
		"no host":                           {Policy{}, "", "587", false, "neither a host name nor an address"},
		"in clear":                          {Policy{}, "mail.example.com", "587", true, "use TLS"},
		"in clear, listed":                  {listed, "mail.example.com", "587", true, "use TLS"},
		"in clear on this machine":          {Policy{}, "127.0.0.1", "587", true, "add the host to egress_allow"},
		"past a proxy":                      {proxied, "mail.example.com", "587", false, "proxy_url"},
	} {
		t.Run(name, func(t *testing.T) {
			c.policy.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				t.Error("a name is asked for")
				return nil, io.EOF
			}}
			w, err := NewWire(c.policy)
			require.NoError(t, err)
			_, err = w.Dial(t.Context(), c.host, c.port, usualPorts, c.plain)
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.ErrorContains(t, err, c.says)
		})
	}
}

// A name is judged by the address that it has at the moment of connecting.
func TestWireLooksBehindNames(t *testing.T) {
	port := listener(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "hello\r\n") })
	for name, c := range map[string]struct {
		allow   []string
		resolve string
		says    string
	}{
		"private":        {nil, "10.1.2.3", "it resolves to a private address"},
		"loopback":       {nil, "127.0.0.1", "it resolves to a loopback"},
		"listed by name": {[]string{"mail.example.com"}, "127.0.0.1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := NewWire(Policy{Allow: c.allow, Resolver: resolveTo(c.resolve)})
			require.NoError(t, err)
			conn, err := w.Dial(t.Context(), "Mail.Example.com.", port, []string{port}, false)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			line, err := bufio.NewReader(conn).ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, "hello\r\n", line)
			require.NoError(t, conn.Close())
		})
	}
}

// A dialog ends with the time-out, whatever deadlines its user sets, and after so many bytes.
func TestWireIsBounded(t *testing.T) {
	silent := listener(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	w, err := NewWire(Policy{Allow: []string{"127.0.0.1"}, Timeout: 200 * time.Millisecond})
	require.NoError(t, err)
	for _, set := range []func(net.Conn, time.Time) error{net.Conn.SetDeadline, net.Conn.SetReadDeadline} {
		for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
			conn, err := w.Dial(t.Context(), "127.0.0.1", silent, nil, true)
			require.NoError(t, err)
			require.NoError(t, set(conn, until))
			_, err = conn.Read(make([]byte, 1))
			var timeout net.Error
			require.ErrorAs(t, err, &timeout)
			assert.True(t, timeout.Timeout())
			require.NoError(t, conn.Close())
		}
	}
	sooner, err := w.Dial(t.Context(), "127.0.0.1", silent, nil, true)
	require.NoError(t, err)
	require.NoError(t, sooner.SetDeadline(time.Now().Add(-time.Second)))
	_, err = sooner.Read(make([]byte, 1))
	require.Error(t, err, "a deadline of its user's own holds")
	require.NoError(t, sooner.Close())

	endless := listener(t, func(conn net.Conn) {
		for err := error(nil); err == nil; {
			_, err = io.WriteString(conn, strings.Repeat("x", 1000))
		}
	})
	w, err = NewWire(Policy{Allow: []string{"127.0.0.1"}})
	require.NoError(t, err)
	conn, err := w.Dial(t.Context(), "127.0.0.1", endless, nil, false)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, conn)
	require.ErrorIs(t, err, errDialogTooLong)
	assert.EqualValues(t, MaxDialogBytes, n)
	require.NoError(t, conn.Close())
}

// A server proves itself by the operator's certificates, for the name that was asked for.
func TestWireTLS(t *testing.T) {
	o := newOrigin(t, ok)
	_, port, err := net.SplitHostPort(o.Listener.Addr().String())
	require.NoError(t, err)
	for name, c := range map[string]struct{ ca, host, says string }{
		"as it should be":   {o.caPEM(), testHost, ""},
		"of another name":   {o.caPEM(), "mail.test", "not mail.test"},
		"of nobody we know": {"", testHost, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := NewWire(Policy{Allow: []string{"127.0.0.1"}, CAPEM: c.ca})
			require.NoError(t, err)
			conn, err := w.Dial(t.Context(), "127.0.0.1", port, nil, false)
			require.NoError(t, err)
			err = tls.Client(conn, w.TLS(c.host)).HandshakeContext(t.Context())
			if c.says == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.says)
			}
			require.NoError(t, conn.Close())
		})
	}
	assert.EqualValues(t, tls.VersionTLS12, (&Wire{tls: rules{}.tls()}).TLS("a").MinVersion)
}

// A policy that cannot be read makes no wire.
func TestWireOfABadPolicy(t *testing.T) {
	for _, p := range []Policy{
		{Allow: []string{"*"}}, {CAPEM: "x"}, {ProxyURL: "ftp://x"}, {Timeout: -1},
	} {
		_, err := NewWire(p)
		assert.Error(t, err)
	}
}
