package providers

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// ExpandURL expands a template that is a URL. Each value is escaped for where it stands, and whatever it holds, it
// cannot move the host, leave its path segment or add a parameter: the host is computed on its own and compared with
// that of the result, and a path with a segment "." or ".." is refused. The scheme must be https, or http with a host
// of this machine. A template may begin with a placeholder that holds scheme, host and perhaps a path, such as
// {base_url}/me. Errors name the placeholder and never a value.
func ExpandURL(t Template, values map[string]string) (*url.URL, error) {
	parts, err := splitURL(t)
	if err != nil {
		return nil, err
	}
	origin, basePath, err := parts.expandOrigin(values)
	if err != nil {
		return nil, err
	}
	path, err := parts.path.expand(values, escapePath)
	if err != nil {
		return nil, err
	}
	if path = joinPath(basePath, path); path != "" && path[0] != '/' {
		return nil, fmt.Errorf("URL template %q: the path must begin with a slash", t)
	}
	query, err := parts.query.expand(values, escapeQuery)
	if err != nil {
		return nil, err
	}
	if parts.hasQuery {
		query = "?" + query
	}
	u, err := url.Parse(origin + path + query)
	if err != nil || origin != u.Scheme+"://"+u.Host || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("URL template %q with these values is no URL with the host it should have", t)
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return nil, fmt.Errorf("URL template %q with these values climbs out of its path: a segment may be "+
				"neither . nor .. itself", t)
		}
	}
	if u.Scheme != "https" && !isLoopback(u.Hostname()) {
		return nil, fmt.Errorf("URL template %q: plain http is for hosts of this machine only, use https", t)
	}
	return u, nil
}

// joinPath appends a path to that of a base URL, whose last slash is no segment.
func joinPath(base, path string) string {
	if path == "" {
		return base
	}
	return strings.TrimSuffix(base, "/") + path
}

// urlParts is a URL template taken apart where a URL is, so that every placeholder is known by its place.
type urlParts struct {
	base     string // placeholder that holds scheme, host and perhaps a path; then scheme and host are empty
	scheme   string
	host     Template
	path     Template
	query    Template
	hasQuery bool
}

// userInfo is the part of a URL that may hold a password, which no error may quote.
var userInfo = regexp.MustCompile(`//[^/@]*@`)

// splitURL also refuses what no URL of a provider needs: user information, fragments, braces that are no placeholder.
func splitURL(t Template) (urlParts, error) {
	fail := func(why string) (urlParts, error) {
		return urlParts{}, fmt.Errorf("URL template %q: %s", userInfo.ReplaceAllString(string(t), "//...@"), why)
	}
	literal := placeholderPattern.ReplaceAllString(string(t), "")
	switch {
	case strings.ContainsAny(literal, "{}"):
		return fail("a placeholder is written {name}, with a lower-case name")
	case strings.Contains(literal, "#"):
		return fail("a fragment is never sent, leave it out")
	case unfitForURL(literal):
		return fail("control characters, spaces and backslashes do not belong in a URL")
	}

	var p urlParts
	rest := string(t)
	if m := placeholderPattern.FindStringSubmatchIndex(rest); m != nil && m[0] == 0 && m[2] == m[3] {
		p.base, rest = rest[m[4]:m[5]], rest[m[1]:]
		if rest != "" && !strings.HasPrefix(rest, "/") && !strings.HasPrefix(rest, "?") &&
			!strings.HasPrefix(rest, "{+") {
			return fail("after the placeholder for the host must come a slash or {+name}")
		}
	} else {
		scheme, after, found := strings.Cut(rest, "://")
		if !found || scheme != "https" && scheme != "http" {
			return fail("it must begin with https://, or with a placeholder that does")
		}
		end := len(after)
		for _, mark := range []string{"/", "?", "{+"} {
			if i := strings.Index(after, mark); i >= 0 {
				end = min(end, i)
			}
		}
		p.scheme, p.host, rest = scheme, Template(after[:end]), after[end:]
		switch {
		case p.host == "":
			return fail("the host is missing")
		case strings.Contains(string(p.host), "@"):
			return fail("user information does not belong in a URL, name it in send or client")
		}
	}
	path, query, found := strings.Cut(rest, "?")
	p.path, p.query, p.hasQuery = Template(path), Template(query), found
	if strings.Contains(query, "{+") {
		return fail("{+name} keeps slashes and is for the path only")
	}
	return p, nil
}

// expandOrigin returns scheme and host, and the path of the base URL if the template has one.
func (p urlParts) expandOrigin(values map[string]string) (origin, path string, err error) {
	if p.base != "" {
		value, ok := values[p.base]
		if !ok {
			return "", "", fmt.Errorf("placeholder {%s} has no value: set the input of that name", p.base)
		}
		base, err := parseBaseURL(value)
		if err != nil {
			return "", "", fmt.Errorf("placeholder {%s}: %w", p.base, err)
		}
		return base.Scheme + "://" + base.Host, base.EscapedPath(), nil
	}
	alone := placeholderPattern.FindString(string(p.host)) == string(p.host)
	host, err := p.host.expand(values, func(value string, _ bool) (string, error) {
		if name, port, found := strings.Cut(value, ":"); found && alone && portPattern.MatchString(port) {
			return value, checkHost(name)
		}
		if strings.Trim(value, hostCharacters) != "" || value == "" {
			return "", errors.New("only letters, digits, dots and hyphens can stand in a host")
		}
		return value, nil
	})
	if err != nil {
		return "", "", err
	}
	if len(p.host.Placeholders()) > 0 && !alone {
		name, _, _ := strings.Cut(host, ":")
		if err := checkHost(name); err != nil {
			return "", "", fmt.Errorf("host template %q: %w", p.host, err)
		}
	}
	return p.scheme + "://" + host, "", nil
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

var (
	portPattern = regexp.MustCompile(`^[0-9]{1,5}$`)
	// hostPattern is the preferred syntax of RFC 1035 section 2.3.1, with digits first as RFC 1123 section 2.1 allows.
	hostPattern = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

func checkHost(host string) error {
	if !hostPattern.MatchString(host) {
		return errors.New("that is no host name: labels of letters, digits and inner hyphens, joined by dots")
	}
	return nil
}

// parseBaseURL reads a URL that others are built upon: scheme, host and perhaps a path, and nothing else.
func parseBaseURL(value string) (*url.URL, error) {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http" ||
		unfitForURL(value):
		return nil, errors.New("write a whole URL that begins with https://")
	case u.User != nil:
		return nil, errors.New("user information does not belong in the URL")
	case strings.ContainsAny(value, "?#"):
		return nil, errors.New("the URL must have no query and no fragment")
	}
	return u, nil
}

func unfitForURL(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f })
}

// escapePath makes a value one segment of a path, or with plus several.
func escapePath(value string, plus bool) (string, error) {
	switch {
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return "", errors.New("control characters and backslashes cannot stand in a path")
	case !plus && value == "":
		return "", errors.New("an empty value would drop a segment of the path")
	case !plus:
		return url.PathEscape(value), nil
	}
	segments := strings.Split(value, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/"), nil
}

func escapeQuery(value string, _ bool) (string, error) { return url.QueryEscape(value), nil }

// isLoopback reports whether host is this machine: the only place plain http may go to.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
