package providertest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// How requests and answers are written in a fixture.

// lines are those of a section that say something. Comments stand on lines of their own.
func lines(text string) (said []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimRight(line, " \t"); line != "" && !strings.HasPrefix(line, "#") {
			said = append(said, line)
		}
	}
	return said
}

// readPairs reads name=value, unescaped, one a line.
func readPairs(pairs []string) (url.Values, error) {
	values := url.Values{}
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, fmt.Errorf("%q is no name=value", pair)
		}
		values.Add(name, value)
	}
	return values, nil
}

// readURL reads an address and its parameters, one a line.
func readURL(text string) (*asked, error) {
	said := lines(text)
	a := &asked{address: said[0]}
	var err error
	a.query, err = readPairs(said[1:])
	return a.splitQuery(err)
}

// splitQuery moves a query that is a part of the address to the other parameters.
func (a *asked) splitQuery(err error) (*asked, error) {
	if err != nil {
		return nil, err
	}
	address, query, found := strings.Cut(a.address, "?")
	if !found {
		return a, nil
	}
	a.address = address
	more, err := url.ParseQuery(query)
	maps.Copy(a.query, more)
	return a, err
}

func readRequest(text string) (*asked, error) {
	head, body, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n\n")
	said := lines(head)
	if len(said) == 0 {
		return nil, fmt.Errorf("it begins with METHOD URL")
	}
	method, address, found := strings.Cut(said[0], " ")
	if !found || method != strings.ToUpper(method) {
		return nil, fmt.Errorf("it begins with METHOD URL, not with %q", said[0])
	}
	a := &asked{
		method: method, address: strings.TrimSpace(address), query: url.Values{}, header: http.Header{},
		body: strings.TrimSpace(body),
	}
	for _, line := range said[1:] {
		if pair, isQuery := strings.CutPrefix(line, "?"); isQuery {
			name, value, _ := strings.Cut(pair, "=")
			a.query.Add(name, value)
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if !found {
			return nil, fmt.Errorf("%q is no header: name: value; an empty line stands before the body", line)
		}
		a.header.Add(name, encodeBasic(strings.TrimSpace(value)))
	}
	return a.splitQuery(nil)
}

// encodeBasic makes what is sent of Basic user:password.
func encodeBasic(value string) string {
	if plain, basic := strings.CutPrefix(value, "Basic "); basic && strings.Contains(plain, ":") {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(plain))
	}
	return value
}

func readResponse(text string) (*answered, error) {
	text = strings.TrimLeft(text, "\n")
	for strings.HasPrefix(text, "#") {
		_, text, _ = strings.Cut(text, "\n")
	}
	head, body, _ := strings.Cut(text, "\n\n")
	said := lines(head)
	if len(said) == 0 || !strings.HasPrefix(said[0], "HTTP ") {
		return nil, fmt.Errorf("it begins with HTTP and a status")
	}
	status, err := strconv.Atoi(strings.Fields(said[0])[1])
	if err != nil {
		return nil, fmt.Errorf("it begins with HTTP and a status: %w", err)
	}
	headers := map[string]string{}
	for _, line := range said[1:] {
		name, value, found := strings.Cut(line, ":")
		if !found {
			return nil, fmt.Errorf("%q is no header: name: value; an empty line stands before the body", line)
		}
		headers[name] = strings.TrimSpace(value)
	}
	return newAnswer(status, headers, strings.TrimSpace(body)), nil
}

// newAnswer says that a body is JSON, where it is and nobody says otherwise.
func newAnswer(status int, headers map[string]string, body string) *answered {
	a := &answered{status: status, header: http.Header{}, body: body}
	for name, value := range headers {
		a.header.Set(name, value)
	}
	if a.header.Get("Content-Type") == "" && json.Valid([]byte(body)) {
		a.header.Set("Content-Type", "application/json")
	}
	return a
}

func readUse(text string) (*use, error) {
	u := &use{query: map[string]string{}, headers: map[string]string{}}
	for i, line := range lines(text) {
		name, value, header := strings.Cut(line, ": ")
		pair, query := strings.CutPrefix(line, "?")
		switch {
		case i == 0 && strings.Contains(line, "://"):
			u.base = line
		case query:
			name, value, _ := strings.Cut(pair, "=")
			u.query[name] = value
		case strings.HasPrefix(line, "git "):
			u.git = append(u.git, strings.TrimPrefix(line, "git "))
		case strings.HasPrefix(line, "Basic "):
			u.headers["Authorization"] = encodeBasic(line)
		case strings.HasPrefix(line, "/"):
			u.path = line
		case header:
			u.headers[http.CanonicalHeaderKey(name)] = encodeBasic(value)
		default:
			return nil, fmt.Errorf(
				"%q is no address, header: value, ?name=value, /path, Basic user:password nor git user@host", line)
		}
	}
	return u, nil
}

// signed fills in {hmac}: HMAC-SHA256 over all other parameters, sorted and form-encoded.
func signed(callback url.Values, secret string) map[string]string {
	values, rest := map[string]string{}, url.Values{}
	for name := range callback {
		values[name] = callback.Get(name)
		if name != "hmac" && name != "signature" {
			rest.Set(name, values[name])
		}
	}
	for name, value := range values {
		if value == "{hmac}" {
			mac := hmac.New(sha256.New, []byte(secret))
			mac.Write([]byte(rest.Encode()))
			values[name] = hex.EncodeToString(mac.Sum(nil))
		}
	}
	return values
}
