package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MaxDialogBytes bounds what is read from a server that does not speak HTTP, TLS included.
const MaxDialogBytes = 256 << 10

// Wire opens connections for protocols other than HTTP, by the rules of the clients that [New] makes.
type Wire struct {
	allow   Allowlist
	guard   *guard
	tls     *tls.Config
	proxied bool
	timeout time.Duration
}

// NewWire returns a wire that keeps to p. Its connections end with p's time-out, whatever is done with them, and after
// [MaxDialogBytes]. There is no way through a proxy: under one only hosts of this machine are reached.
func NewWire(p Policy) (*Wire, error) {
	r, err := p.parse()
	if err != nil {
		return nil, err
	}
	return &Wire{allow: r.allow, guard: r.guard(), tls: r.tls(), proxied: r.proxy != nil, timeout: r.timeout}, nil
}

// TLS says how a server of that name proves itself: by TLS 1.2 or newer, and a certificate for the name.
func (w *Wire) TLS(host string) *tls.Config {
	config := w.tls.Clone()
	config.ServerName = host
	return config
}

// Dial connects to a port of a host. A port that is not among those given is for hosts that the operator listed in
// egress_allow one by one, by name or address, so that nobody tries the ports of others. plain says that secrets will
// go over the connection as they are, which is for listed hosts of this machine, as plain http is. What is refused is a
// [*RefusedError].
func (w *Wire) Dial(ctx context.Context, host, port string, ports []string, plain bool) (net.Conn, error) {
	host = canonical(host)
	if err := w.check(host, port, ports, plain); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(w.timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := w.guard.dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	bounded := &boundedConn{Conn: conn, until: deadline, left: MaxDialogBytes}
	if err := bounded.SetDeadline(deadline); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return bounded, nil
}

// check applies every rule that needs no DNS.
func (w *Wire) check(host, port string, ports []string, plain bool) error {
	addr, err := netip.ParseAddr(host)
	literal := err == nil
	addr = addr.Unmap()
	listed := w.allow.hosts[host] || literal && w.allow.allowsAddr(addr)
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case !literal && !isHostName(host):
		return refuse(host, "this is neither a host name nor an address; write a name beyond ASCII in its xn-- form")
	case literal && addr.Zone() != "":
		return refuse(host, "an address with a zone is local to one machine; use a host name")
	case err != nil || n == 0:
		return refuse(host, "the port is no number from 1 to 65535")
	case !slices.Contains(ports, port) && !w.allow.hosts[host] && !(literal && w.allow.names(addr)):
		return refuse(host, "port "+strconv.FormatUint(n, 10)+" is none of "+strings.Join(ports, ", ")+
			"; for another, "+listIt+", by its name or address")
	case plain && !isLoopbackHost(host):
		return refuse(host, "a login without TLS would show secrets on the network; use TLS")
	case plain && !listed:
		return refuse(host, "a login without TLS is for listed loopback hosts; use TLS, or "+listIt)
	case w.proxied && !isLoopbackHost(host):
		return refuse(host, "proxy_url is set in config, and only HTTP goes through that; the login cannot be tried")
	case listed:
		return nil
	case isLocalhostName(host):
		return refuse(host, "this is the Vault server itself; "+listItIfMeant)
	case literal:
		if what := special(addr); what != "" {
			return refuse(host, "this is "+what+"; "+listItIfMeant)
		}
	}
	return nil
}

// boundedConn is a connection that ends at a moment, and after so many bytes, whatever deadlines its user sets.
type boundedConn struct {
	net.Conn
	until time.Time

	mu   sync.Mutex
	left int // guarded by mu
}

var errDialogTooLong = errors.New("the server says more than a login needs")

func (c *boundedConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	left := c.left
	c.mu.Unlock()
	if left <= 0 {
		return 0, errDialogTooLong
	}
	n, err := c.Conn.Read(b[:min(len(b), left)])
	c.mu.Lock()
	c.left -= n
	c.mu.Unlock()
	return n, err
}

// sooner is a deadline that its user wants, but not after the end.
func (c *boundedConn) sooner(t time.Time) time.Time {
	if t.IsZero() || t.After(c.until) {
		return c.until
	}
	return t
}

func (c *boundedConn) SetDeadline(t time.Time) error     { return c.Conn.SetDeadline(c.sooner(t)) }
func (c *boundedConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.sooner(t)) }

func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	return c.Conn.SetWriteDeadline(c.sooner(t))
}
