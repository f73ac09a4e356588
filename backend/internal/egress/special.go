package egress

import "net/netip"

type specialRange struct {
	prefix netip.Prefix
	what   string
}

const (
	aLoopback  = "a loopback address"
	aPrivate   = "a private address"
	aLinkLocal = "a link-local address, where clouds keep their metadata service"
	aMulticast = "a multicast address"
	aReserved  = "a reserved address"
	aTunnel    = "an address that tunnels to an IPv4 one"
)

// special says what makes addr unfit for a provider, in words that finish "it is"; empty: it is public. Of IPv6 only
// global unicast counts as public, so a range that is assigned one day is refused until it is added here.
//
// The ranges are those of the IANA special-purpose registries (RFC 6890) that are not globally reachable.
func special(addr netip.Addr) string {
	addr = addr.WithZone("").Unmap()
	for _, r := range specialRanges {
		if r.prefix.Contains(addr) {
			return r.what
		}
	}
	switch {
	case addr.Is4(), globalUnicast.Contains(addr):
		return ""
	case nat64.Contains(addr): // how a network without IPv4 reaches public IPv4 hosts, so only what lies inside counts
		b := addr.As16()
		return special(netip.AddrFrom4([4]byte(b[12:])))
	}
	return aReserved
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 section 2.1

	specialRanges = []specialRange{
		{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"},
		{netip.MustParsePrefix("10.0.0.0/8"), aPrivate},
		{netip.MustParsePrefix("100.64.0.0/10"), "a carrier-internal address"}, // RFC 6598
		{netip.MustParsePrefix("127.0.0.0/8"), aLoopback},
		{netip.MustParsePrefix("168.63.129.16/32"), "Azure's platform address"}, // public by number, not by reach
		{netip.MustParsePrefix("169.254.0.0/16"), aLinkLocal},
		{netip.MustParsePrefix("172.16.0.0/12"), aPrivate},
		{netip.MustParsePrefix("192.0.0.0/24"), aReserved},
		{netip.MustParsePrefix("192.0.2.0/24"), aReserved},
		{netip.MustParsePrefix("192.88.99.0/24"), aTunnel},
		{netip.MustParsePrefix("192.168.0.0/16"), aPrivate},
		{netip.MustParsePrefix("198.18.0.0/15"), aReserved},
		{netip.MustParsePrefix("198.51.100.0/24"), aReserved},
		{netip.MustParsePrefix("203.0.113.0/24"), aReserved},
		{netip.MustParsePrefix("224.0.0.0/4"), aMulticast},
		{netip.MustParsePrefix("240.0.0.0/4"), aReserved}, // broadcast with it

		{netip.MustParsePrefix("::/128"), "an unspecified address"},
		{netip.MustParsePrefix("::1/128"), aLoopback},
		{netip.MustParsePrefix("64:ff9b:1::/48"), aPrivate}, // RFC 8215: translated however the network likes
		{netip.MustParsePrefix("2001::/23"), aReserved},     // Teredo with it
		{netip.MustParsePrefix("2001:db8::/32"), aReserved},
		{netip.MustParsePrefix("2002::/16"), aTunnel}, // 6to4, given up by RFC 7526
		{netip.MustParsePrefix("3fff::/20"), aReserved},
		{netip.MustParsePrefix("fc00::/7"), aPrivate}, // RFC 4193
		{netip.MustParsePrefix("fe80::/10"), aLinkLocal},
		{netip.MustParsePrefix("ff00::/8"), aMulticast},
	}
)
