package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// hostPattern is a host name of RFC 1123 section 2.1, with the underscore that some internal names carry.
var hostPattern = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

// Allowlist is a parsed egress_allow. The zero value lists nothing.
type Allowlist struct {
	hosts    map[string]bool
	prefixes []netip.Prefix
}

// ParseAllow reads entries of egress_allow: a host name (exactly that one, no wildcard, in any case), an address, or a
// CIDR. A listed name is let through wherever it resolves to; localhost names are the exception and stay on loopback.
// An error names the first bad entry and how to write it.
func ParseAllow(entries []string) (Allowlist, error) {
	allow := Allowlist{hosts: map[string]bool{}}
	for _, entry := range entries {
		if err := allow.add(entry); err != nil {
			return Allowlist{}, fmt.Errorf("egress_allow: entry %q %w", entry, err)
		}
	}
	return allow, nil
}

func (a *Allowlist) add(entry string) error {
	if prefix, err := netip.ParsePrefix(entry); err == nil {
		switch {
		case prefix.Addr().Is4In6():
			return errors.New("is IPv4 in IPv6 form: write the IPv4 range")
		case prefix != prefix.Masked():
			return fmt.Errorf("has bits set behind its mask: write %s", prefix.Masked())
		}
		a.prefixes = append(a.prefixes, prefix)
		return nil
	}
	if addr, err := netip.ParseAddr(entry); err == nil {
		if addr.Zone() != "" {
			return errors.New("has a zone: leave out the % and what follows")
		}
		addr = addr.Unmap()
		a.prefixes = append(a.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	host := canonical(entry)
	if !isHostName(host) {
		return errors.New("is no host name, address or CIDR: write it without scheme, port, path, brackets or " +
			"wildcard, and a name beyond ASCII in its xn-- form")
	}
	a.hosts[host] = true
	return nil
}

// allowsAddr reports whether an entry covers this address.
func (a Allowlist) allowsAddr(addr netip.Addr) bool {
	for _, prefix := range a.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// names reports whether an entry is this very address.
func (a Allowlist) names(addr netip.Addr) bool {
	return slices.Contains(a.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
}

// check applies every rule that needs no DNS: it is the whole of what protects a call through a proxy.
func (a Allowlist) check(u *url.URL) error {
	host := hostOf(u)
	addr, err := netip.ParseAddr(host)
	literal := err == nil
	addr = addr.Unmap()
	listed := a.hosts[host] || literal && a.allowsAddr(addr)

	switch {
	case u.User != nil:
		return refuse(host, "the URL carries a user name or password; remove it, credentials have fields of their own")
	case !literal && !isHostName(host):
		return refuse(host, "this is neither a host name nor an address; write a name beyond ASCII in its xn-- form")
	case literal && addr.Zone() != "":
		return refuse(host, "an address with a zone is local to one machine; use a host name")
	case u.Scheme == "http" && !isLoopbackHost(host):
		return refuse(host, "plain http would show secrets on the network; use https")
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse(host, "only https is spoken; use an https URL")
	case listed:
		return nil
	case u.Scheme == "http":
		return refuse(host, "plain http is for listed loopback hosts; use https, or "+listIt)
	case isLocalhostName(host):
		return refuse(host, "this is the Vault server itself; "+listItIfMeant)
	case literal:
		if what := special(addr); what != "" {
			return refuse(host, "this is "+what+"; "+listItIfMeant)
		}
	}
	return nil
}

// control returns what a dialer asks about every address that host resolved to, just before it connects.
func (a Allowlist) control(host string) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		addrPort, err := netip.ParseAddrPort(address)
		if err != nil {
			return refuse(host, "its address cannot be read; use a host that resolves to an IP address")
		}
		addr := addrPort.Addr().Unmap()
		if isLocalhostName(host) && !addr.IsLoopback() { // plain http was granted on the strength of the name
			return refuse(host, "it resolves to an address outside this machine; mend the hosts file "+
				"or use https and another name")
		}
		if what := special(addr); what != "" && !a.hosts[host] && !a.allowsAddr(addr) {
			// Which one is for whoever runs the network to know, not for whoever may name a host.
			return refuse(host, "it resolves to "+what+"; "+listItIfMeant)
		}
		return nil
	}
}

// canonical folds what DNS folds: the root's dot and ASCII letter case.
// Unicode folding would turn a Kelvin sign into k.
func canonical(host string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, strings.TrimSuffix(host, "."))
}

func hostOf(u *url.URL) string { return canonical(u.Hostname()) }

// isHostName refuses names that end in a number: resolvers of some proxies and C libraries read 127.1, 0x7f000001 or
// 2130706433 as addresses.
func isHostName(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return len(host) <= 253 && hostPattern.MatchString(host) && strings.Trim(last, "0123456789") != "" &&
		!strings.HasPrefix(last, "0x")
}

// isLocalhostName follows RFC 6761 section 6.3.
func isLocalhostName(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func isLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return isLocalhostName(host) || ip != nil && ip.IsLoopback()
}
