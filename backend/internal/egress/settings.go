package egress

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// CheckURL tells whether a client under p would call rawURL, as far as that can be said without DNS. It is for the
// moment an operator writes an endpoint or issuer, with every placeholder filled in; the client checks again. What p
// does not let through is a [*RefusedError]; other errors say what is wrong with the URL itself or with p.
func CheckURL(p Policy, rawURL string) error {
	allow, err := ParseAllow(p.Allow)
	if err != nil {
		return err
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil: // the parser's own text repeats the URL, which may hold a password
		return errors.New("the URL cannot be read: write it as https://host/path, with " +
			"other characters percent-encoded")
	case u.Host == "" || u.Hostname() == "":
		return errors.New("the URL names no host: write it as https://host/path")
	case u.Fragment != "" || strings.Contains(rawURL, "#"): // RFC 6749 sections 3.1 and 3.2
		return errors.New("the URL has a fragment, which no endpoint may have: remove the # and what follows")
	}
	return allow.check(u)
}

// parseRoots is stricter than x509.CertPool, which skips in silence what it cannot read.
// Empty text: nil, the system's.
func parseRoots(text string) (*x509.CertPool, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	roots := x509.NewCertPool()
	rest := []byte(text)
	for n := 1; strings.TrimSpace(string(rest)) != ""; n++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil:
			return nil, fmt.Errorf("ca_pem: block %d is not PEM: give whole CERTIFICATE blocks", n)
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("ca_pem: block %d is no CERTIFICATE: give certificates only, never a key", n)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("ca_pem: block %d is no X.509 certificate: export it again", n)
		}
		roots.AddCert(cert)
	}
	return roots, nil
}

// SameRoots reports whether two texts of ca_pem name the same certificates, in whatever order and spelling.
func SameRoots(a, b string) bool {
	if a == b {
		return true
	}
	one, err1 := parseRoots(a)
	other, err2 := parseRoots(b)
	return err1 == nil && err2 == nil && one != nil && other != nil && one.Equal(other)
}

// parseProxy never repeats the URL in an error: it may hold a password.
func parseProxy(rawURL string) (*url.URL, error) {
	if rawURL == "" {
		return nil, nil
	}
	malformed := errors.New("proxy_url is no proxy: write http://host:port or https://host:port")
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, malformed
	}
	_, err = netip.ParseAddr(u.Hostname())
	if err != nil && !isHostName(hostOf(u)) || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" ||
		u.Fragment != "" {
		return nil, malformed
	}
	return u, nil
}

// hostPort spells a proxy's address as net/http dials it.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
