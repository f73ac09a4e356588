package providertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// service knows the calls of one fixture and no others. It compares each request with the one written down.
type service struct {
	f        *Fixture
	expected []string             // the calls that may be made now
	instead  map[string]*answered // answers in the place of those written down
	words    *strings.Replacer    // what the requests written down hold now; nil: as they are
	once     bool                 // each of them may be made a single time
	now      map[string]bool      // made since the last begin
	made     map[string]bool      // made at all
	nonces   map[string]bool      // that tokens for one request had
	wrong    []string
}

// begin says which calls are expected next.
func (s *service) begin(instead map[string]*answered, expected ...string) {
	s.expected, s.instead, s.words, s.once, s.now = expected, instead, nil, false, map[string]bool{}
}

// Do answers as the service would.
func (s *service) Do(r *http.Request) (*http.Response, error) {
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body) // it is in memory
	}
	header, plain, wrong := s.f.plainRequest(r, string(body))
	shown := *r
	shown.Header = header
	call, differences := s.find(&shown, plain)
	if call == "" {
		s.wrong = append(s.wrong, fmt.Sprintf("%s: a call is made that the fixture does not know: %s %s://%s%s",
			strings.Join(s.expected, ", "), r.Method, r.URL.Scheme, r.URL.Host, r.URL.EscapedPath()))
		return response(newAnswer(http.StatusTeapot, nil, ""), r), nil
	}
	s.now[call], s.made[call] = true, true
	for _, d := range append(wrong, differences...) {
		s.wrong = append(s.wrong, call+".request: "+d)
	}
	answer := s.f.calls[call].response
	if other := s.instead[call]; other != nil {
		answer = other
	}
	return response(answer, r), nil
}

func response(a *answered, r *http.Request) *http.Response {
	return &http.Response{
		StatusCode: a.status, Header: a.header.Clone(), Body: io.NopCloser(strings.NewReader(a.body)), Request: r,
	}
}

// find is the call that a request is: of those expected the one that differs least.
func (s *service) find(r *http.Request, body string) (call string, differences []string) {
	for _, name := range s.expected {
		x := s.f.calls[name]
		if x == nil {
			continue
		}
		found := s.compare(x.request, r, body)
		if s.now[name] && (s.once || len(found) > 0) { // made already, as far as anybody can tell
			continue
		}
		if call == "" || len(found) < len(differences) {
			call, differences = name, found
		}
	}
	return call, differences
}

func (s *service) compare(want *asked, r *http.Request, body string) (differences []string) {
	said := func(text string) string {
		if s.words == nil {
			return text
		}
		return s.words.Replace(text)
	}
	differ := func(what, want, got string) {
		if want != got {
			differences = append(differences, fmt.Sprintf("%s: the fixture has %q, sent is %q", what, want, got))
		}
	}
	differ("method", want.method, r.Method)
	differ("URL", said(want.address), addressOf(r.URL))
	differences = append(differences, comparePairs("query", sayAll(want.query, said), r.URL.Query())...)

	sent := r.Header.Clone()
	sent.Del("User-Agent")
	sent.Del("Content-Length")
	if want.header.Get("Accept") == "" && sent.Get("Accept") == "application/json" {
		sent.Del("Accept")
	}
	header := http.Header{}
	for name := range want.header {
		header.Set(name, said(want.header.Get(name)))
	}
	if wanted := header.Get("Authorization"); strings.HasSuffix(wanted, "}") {
		found, wrong := s.signature(wanted, r, body)
		header.Set("Authorization", found)
		differences = append(differences, wrong...)
	}
	differences = append(differences, comparePairs("header", url.Values(header), url.Values(sent))...)
	return append(differences, compareBodies(want, said(want.body), sent.Get("Content-Type"), body, said)...)
}

func sayAll(values url.Values, said func(string) string) url.Values {
	all := url.Values{}
	for name, each := range values {
		for _, value := range each {
			all.Add(name, said(value))
		}
	}
	return all
}

// addressOf is an address as people write it down.
func addressOf(u *url.URL) string {
	plain := *u
	plain.RawQuery, plain.Fragment = "", ""
	return plain.String()
}

func compareBodies(want *asked, wanted, contentType, body string, said func(string) string) []string {
	media, _, _ := mime.ParseMediaType(contentType)
	wantedMedia, _, _ := mime.ParseMediaType(want.header.Get("Content-Type"))
	switch {
	case wanted == "" && body == "":
		return nil
	case media == "application/x-www-form-urlencoded" && media == wantedMedia:
		pairs, err := readPairs(lines(want.body))
		if err != nil {
			return []string{"body: " + err.Error()}
		}
		form, err := url.ParseQuery(body)
		if err != nil {
			return []string{"body: what is sent is no form"}
		}
		return comparePairs("body", sayAll(pairs, said), form)
	case strings.HasSuffix(media, "json") && media == wantedMedia:
		var one, other any
		if err := json.Unmarshal([]byte(wanted), &one); err != nil {
			return []string{"body: the fixture's is no JSON: " + err.Error()}
		}
		if json.Unmarshal([]byte(body), &other) == nil && reflect.DeepEqual(one, other) {
			return nil
		}
	case strings.TrimSpace(body) == wanted:
		return nil
	}
	return []string{fmt.Sprintf("body: the fixture has %q, sent is %q", wanted, body)}
}

// comparePairs tells which parameters are missing, which are too many and which differ.
func comparePairs(where string, want, got url.Values) (differences []string) {
	names := slices.Collect(maps.Keys(want))
	for name := range got {
		if _, known := want[name]; !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		wanted, is := want[name]
		sent, was := got[name]
		switch {
		case !was:
			differences = append(differences, fmt.Sprintf("%s: %s=%q is not sent", where, name, wanted[0]))
		case !is:
			differences = append(differences, fmt.Sprintf("%s: %s=%q is sent, and not in the fixture", where, name, sent[0]))
		case strings.Contains(name, "scope") && slices.Equal(sortScopes(wanted), sortScopes(sent)):
		case !slices.Equal(wanted, sent):
			differences = append(differences, fmt.Sprintf("%s: %s: the fixture has %q, sent is %q", where, name,
				strings.Join(wanted, "\n"), strings.Join(sent, "\n")))
		}
	}
	return differences
}

// sortScopes orders the scopes of a parameter, whose order means nothing (RFC 6749 section 3.3).
func sortScopes(values []string) (sorted []string) {
	for _, value := range values {
		between := " "
		if strings.Contains(value, ",") {
			between = ","
		}
		scopes := strings.Split(value, between)
		slices.Sort(scopes)
		sorted = append(sorted, strings.Join(scopes, between))
	}
	return sorted
}

// fill puts words of the runner into an answer that is written down.
func (a *answered) fill(word, value string) {
	a.body = string(bytes.ReplaceAll([]byte(a.body), []byte(word), []byte(value)))
}
