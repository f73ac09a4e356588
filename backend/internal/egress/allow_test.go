package egress

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSpecial(t *testing.T) {
	public := []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
		"198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2606:4700::1111", "2a00:1450:4001:800::200e", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
	}
	for _, addr := range public {
		t.Run(addr, func(t *testing.T) {
			assert.Empty(t, special(netip.MustParseAddr(addr)))
		})
	}
	tests := map[string]string{
		"0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "::": "unspecified",
		"127.0.0.1": "loopback", "127.255.255.254": "loopback", "::1": "loopback",
		"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private",
		"fc00::1": "private", "fdff::1": "private", "fd00:ec2::254": "private",
		"169.254.169.254": "link-local", "169.254.0.1": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"febf::1":    "link-local",
		"100.64.0.1": "carrier", "100.100.100.200": "carrier", "100.127.255.255": "carrier",
		"168.63.129.16": "Azure",
		"224.0.0.1":     "multicast", "239.255.255.255": "multicast", "ff02::1": "multicast",
		"192.0.0.192": "reserved", "192.0.2.1": "reserved", "198.18.0.1": "reserved", "198.19.255.255": "reserved",
		"198.51.100.1": "reserved", "203.0.113.1": "reserved", "240.0.0.1": "reserved", "255.255.255.255": "reserved",
		"2001:db8::1": "reserved", "3fff::1": "reserved", "fec0::1": "reserved", "4000::1": "reserved",
		"::7f00:1": "reserved",
		"2001::1":  "reserved", "2002:7f00:1::": "tunnel", "2002:0808:0808::": "tunnel", "192.88.99.1": "tunnel",
		"::ffff:127.0.0.1": "loopback", "::ffff:10.0.0.1": "private", "::ffff:169.254.169.254": "link-local",
		"64:ff9b::127.0.0.1": "loopback", "64:ff9b::10.0.0.1": "private", "64:ff9b::169.254.169.254": "link-local",
		"64:ff9b:1::8.8.8.8": "private",
	}
	for addr, want := range tests {
		t.Run(addr, func(t *testing.T) {
			assert.Contains(t, special(netip.MustParseAddr(addr)), want)
		})
	}
}

func TestParseAllow(t *testing.T) {
	good := []string{
		"api.internal", "API.Internal.", "localhost", "my_host.corp", "xn--bcher-kva.example", "a", "1password.com",
		"10.0.0.5", "fd00::5", "::ffff:10.0.0.5", "10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::1/128",
	}
	for _, entry := range good {
		t.Run(entry, func(t *testing.T) {
			_, err := ParseAllow([]string{entry})
			assert.NoError(t, err)
		})
	}
	bad := map[string]string{
		"":                      "no host name",
		" ":                     "no host name",
		".":                     "no host name",
		"https://api.internal":  "without scheme",
		"api.internal:8443":     "port",
		"api.internal/path":     "path",
		"*.internal":            "wildcard",
		"*":                     "wildcard",
		"[::1]":                 "brackets",
		"b\u00fccher.example":   "xn--",
		"\u212aelvin.example":   "xn--", // the Kelvin sign, which Unicode folds to k
		"127.1":                 "no host name",
		"2130706433":            "no host name",
		"0x7f000001":            "no host name",
		"10.0.0.256":            "no host name",
		"-a.example":            "no host name",
		"a..b":                  "no host name",
		"a b":                   "no host name",
		"10.0.0.1/8":            "write 10.0.0.0/8",
		"10.0.0.0/33":           "no host name",
		"fe80::1%eth0":          "zone",
		"::ffff:10.0.0.0/104":   "write the IPv4 range",
		strings.Repeat("a", 64): "no host name",
	}
	for entry, want := range bad {
		t.Run("bad/"+entry, func(t *testing.T) {
			_, err := ParseAllow([]string{"10.0.0.0/8", entry})
			require.ErrorContains(t, err, want)
			assert.ErrorContains(t, err, "egress_allow")
		})
	}
	_, err := ParseAllow([]string{"fine.example", "not fine"})
	assert.ErrorContains(t, err, `"not fine"`)
}

func TestCheckURL(t *testing.T) {
	const refused, malformed = "refused", "malformed"
	tests := map[string]struct {
		allow []string
		url   string
		want  string // empty: let through
		text  string
	}{
		"public":                   {nil, "https://slack.com/api/oauth.v2.access", "", ""},
		"public with port":         {nil, "https://idp.example.com:8443/token?tenant=1", "", ""},
		"public address":           {nil, "https://1.1.1.1/token", "", ""},
		"case is folded":           {[]string{"localhost"}, "HTTP://LocalHost:8200/", "", ""},
		"plain http":               {nil, "http://idp.example.com/token", refused, "use https"},
		"plain http, listed":       {[]string{"idp.example.com"}, "http://idp.example.com/token", refused, "use https"},
		"plain http, listed range": {[]string{"10.0.0.0/8"}, "http://10.0.0.5/token", refused, "use https"},
		"plain loopback":           {nil, "http://127.0.0.1:8080/", refused, "add the host to egress_allow"},
		"plain loopback, listed":   {[]string{"127.0.0.1"}, "http://127.0.0.1:8080/", "", ""},
		"plain loopback, range":    {[]string{"127.0.0.0/8"}, "http://127.0.0.9:8080/", "", ""},
		"plain loopback, other":    {[]string{"127.0.0.1"}, "http://127.0.0.2:8080/", refused, "egress_allow"},
		"plain loopback v6":        {[]string{"::1"}, "http://[::1]:8080/", "", ""},
		"plain localhost":          {[]string{"127.0.0.0/8"}, "http://localhost:8080/", refused, "egress_allow"},
		"plain sub.localhost":      {[]string{"idp.localhost"}, "http://idp.localhost/", "", ""},
		"localhost":                {nil, "https://localhost/", refused, "Vault server itself"},
		"localhost with dot":       {nil, "https://localhost./", refused, "Vault server itself"},
		"sub.localhost":            {nil, "https://a.localhost/", refused, "Vault server itself"},
		"localhost, listed":        {[]string{"localhost"}, "https://localhost/", "", ""},
		"private":                  {nil, "https://10.0.0.5/", refused, "private"},
		"private, listed":          {[]string{"10.0.0.5"}, "https://10.0.0.5/", "", ""},
		"metadata":                 {nil, "https://169.254.169.254/latest", refused, "link-local"},
		"mapped":                   {nil, "https://[::ffff:10.0.0.5]/", refused, "private"},
		"mapped, listed as v4":     {[]string{"10.0.0.0/8"}, "https://[::ffff:10.0.0.5]/", "", ""},
		"zone":                     {[]string{"fe80::/10"}, "https://[fe80::1%25eth0]/", refused, "zone"},
		"short IPv4":               {nil, "https://127.1/", refused, "neither"},
		"decimal IPv4":             {nil, "https://2130706433/", refused, "neither"},
		"hex IPv4":                 {nil, "https://0x7f.0.0.1/", refused, "neither"},
		"octal IPv4":               {nil, "https://0177.0.0.1/", refused, "neither"},
		"unicode":                  {nil, "https://b\u00fccher.example/", refused, "xn--"},
		"full-width digits":        {nil, "https://\uff11\uff10.0.0.5/", refused, "xn--"},
		"user":                     {nil, "https://user:hunter2@idp.example.com/", refused, "user name or password"},
		"other scheme":             {nil, "ftp://idp.example.com/", refused, "only https"},
		"file with host":           {nil, "file://idp.example.com/etc", refused, "only https"},
		"no scheme":                {nil, "idp.example.com/token", malformed, "names no host"},
		"scheme-relative":          {nil, "//idp.example.com/token", refused, "only https"},
		"no host":                  {nil, "https:///token", malformed, "names no host"},
		"port only":                {nil, "https://:8443/token", malformed, "names no host"},
		"empty":                    {nil, "", malformed, "names no host"},
		"placeholder":              {nil, "https://{shop}.example.com/", malformed, "cannot be read"},
		"unreadable":               {nil, "https://user:hunter2@idp.example.com:port/", malformed, "cannot be read"},
		"fragment":                 {nil, "https://idp.example.com/token#x", malformed, "fragment"},
		"empty fragment":           {nil, "https://idp.example.com/token#", malformed, "fragment"},
		"bad list":                 {[]string{"*"}, "https://idp.example.com/", malformed, `"*"`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := CheckURL(Policy{Allow: tc.allow}, tc.url)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.text)
			assert.NotContains(t, err.Error(), "hunter2")
			var r *RefusedError
			assert.Equal(t, tc.want == refused, errors.As(err, &r))
		})
	}
}

func FuzzParseAllow(f *testing.F) {
	for _, seed := range []string{
		"localhost", "API.internal.", "10.0.0.0/8", "::1", "*.x", "http://x", "127.1",
		"fe80::1%a", "\u212a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		allow, err := ParseAllow([]string{entry})
		if err != nil {
			return
		}
		host, _, isRange := strings.Cut(entry, "/")
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if isRange { // the first address of a range is in it
			prefix := netip.MustParsePrefix(entry)
			require.True(t, allow.allowsAddr(prefix.Addr()))
		}
		// Whatever is accepted is a host that a URL can name and that is then let through.
		require.NoError(t, CheckURL(Policy{Allow: []string{entry}}, "https://"+host+"/"))
	})
}

// What a dialer hands over, in forms that no DNS answer of a test can bring about.
func TestControl(t *testing.T) {
	tests := map[string]struct {
		allow   []string
		address string
		want    string // empty: let through
	}{
		"public":                  {nil, "8.8.8.8:443", ""},
		"public v6":               {nil, "[2606:4700::1111]:443", ""},
		"private v6":              {nil, "[fd00::1]:443", "private"},
		"link-local with zone":    {nil, "[fe80::1%eth0]:443", "link-local"},
		"mapped":                  {nil, "[::ffff:10.0.0.5]:443", "it resolves to a private address"},
		"mapped, listed as IPv4":  {[]string{"10.0.0.0/8"}, "[::ffff:10.0.0.5]:443", ""},
		"translated private":      {nil, "[64:ff9b::a00:5]:443", "private"},
		"a socket file's address": {nil, "/run/idp.sock", "cannot be read"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			allow, err := ParseAllow(tc.allow)
			require.NoError(t, err)
			err = allow.control("idp.example.com")(t.Context(), "tcp", tc.address, nil)
			if tc.want == "" {
				assert.NoError(t, err)
				return
			}
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, "idp.example.com", refused.Host)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}
