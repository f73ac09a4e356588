package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const maxAnswer = 1 << 20 // bytes of body; a token answer has a few thousand

// reply is an answer that arrived, whole or not.
type reply struct {
	status int
	header http.Header
	body   []byte
	doc    any    // the body as JSON (numbers as json.Number) or as a form; nil when it is neither
	broken string // why the body did not arrive whole: a Reason, else empty
}

// do sends one request and reads the answer. Its error is about the transport alone; any answer is a reply. Whoever
// follows the calls of this context is told of it.
func (c *Client) do(ctx context.Context, step Step, method string, target *url.URL, header http.Header,
	body []byte,
) (*reply, *Error) {
	tracer := tracerOf(ctx)
	if tracer == nil {
		return c.exchange(ctx, step, method, target, header, body)
	}
	from := time.Now()
	r, failure := c.exchange(ctx, step, method, target, header, body)
	tracer.http(step, method, target, header, body, time.Since(from), r, failure)
	return r, failure
}

func (c *Client) exchange(ctx context.Context, step Step, method string, target *url.URL, header http.Header,
	body []byte,
) (*reply, *Error) {
	if !secureURL(target) {
		return nil, &Error{Class: Misconfigured, Step: step, Reason: ReasonInsecureEndpoint}
	}
	if refused := c.hosts.refuse(step, target.Hostname()); refused != nil {
		return nil, refused
	}
	var sent atomic.Bool // the transport may call the hook from a goroutine of its own
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, target.String(),
		bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Class: Misconfigured, Step: step, Reason: ReasonIncompleteCall}
	}
	req.Header = header
	if c.userAgent != "" && header.Get("User-Agent") == "" {
		header.Set("User-Agent", c.userAgent)
	}
	if header.Get("Accept") == "" {
		header.Set("Accept", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unanswered(step, err, sent.Load())
	}
	defer func() { _ = resp.Body.Close() }()

	r := &reply{status: resp.StatusCode, header: resp.Header}
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		r.broken = NetworkReason(err)
	case len(r.body) > maxAnswer:
		r.broken = ReasonAnswerTooLarge
	default:
		r.doc = decodeBody(resp.Header.Get("Content-Type"), r.body)
	}
	return r, nil
}

// holds reports whether the answer is a success. Without a predicate that is any whole 2xx.
func (o *OK) holds(r *reply) bool {
	if r.broken != "" {
		return false
	}
	if o == nil {
		return r.status >= 200 && r.status < 300
	}
	switch {
	case len(o.Status) == 0 && (r.status < 200 || r.status >= 300):
		return false
	case len(o.Status) > 0 && !slices.Contains(o.Status, r.status):
		return false
	}
	if o.Path != "" {
		value, found := lookup(r.doc, o.Path)
		text, scalar := scalarText(value)
		switch {
		case !found:
			return false
		case o.Equals != nil && (!scalar || text != *o.Equals):
			return false
		case o.Equals == nil && scalar && (text == "" || text == "false"):
			return false
		}
	}
	if _, found := lookup(r.doc, o.Absent); o.Absent != "" && found {
		return false
	}
	if _, found := lookup(r.doc, o.Present); o.Present != "" && !found {
		return false
	}
	return true
}

// unusable says why a success status brought nothing that can be used.
func (r *reply) unusable() string {
	trimmed := bytes.TrimSpace(r.body)
	switch {
	case r.broken != "":
		return r.broken
	case len(trimmed) == 0:
		return ReasonEmptyAnswer
	case trimmed[0] == '<':
		return ReasonHTMLAnswer
	case r.doc == nil:
		return ReasonUnreadable
	}
	return ReasonNoAccessToken
}

// decodeBody reads JSON, or else a form: some token endpoints answer that way whatever Accept says. The content type
// decides only what else a body that is not JSON could be, since JSON under text/html is common.
func decodeBody(contentType string, body []byte) any {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if len(body) == 0 {
		return nil
	}
	if doc, err := decodeJSON(body); err == nil {
		return doc
	}
	if strings.Contains(contentType, "json") || !bytes.ContainsRune(body, '=') || bytes.ContainsAny(body, "<{\r\n") {
		return nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil
	}
	doc := make(map[string]any, len(form))
	for name, values := range form {
		doc[name] = values[0]
	}
	return doc
}

func decodeJSON(body []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var doc any
	if err := decoder.Decode(&doc); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return doc, nil
}

// secureURL reports whether a secret may go there: https, or plain http to this machine.
func secureURL(u *url.URL) bool {
	if u.Host == "" || u.User != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}
