package providers

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Exchange is one request to a service and what came of it, told so that it can be sent to somebody: no value that
// either side sent is in it. Names are those that the definition or a standard has; others are counted.
type Exchange struct {
	Step   Step
	Method string // empty: it is no HTTP
	Host   string
	Path   string // without what is in no definition: a part of it may be a secret
	Status int    // 0: there was no answer
	Took   time.Duration
	Reason string // why there was none, or why it did not arrive whole: one of the engine's own words
	Code   string // that the answer names, if it is a known one

	Sent, Got           Names
	SentForm, AnswerIsA string // in a word: what the body is
}

// Names are fields of one side.
type Names struct {
	Known  []string
	Others int
}

// maxNames is how many names of one side are told.
const maxNames = 40

// Tracer is told of exchanges.
type Tracer struct {
	tell  func(Exchange)
	words map[string]bool // that may be told; nobody's secrets
}

// NewTracer makes one for the calls of an app.
func NewTracer(app *App, tell func(Exchange)) *Tracer {
	t := &Tracer{tell: tell, words: map[string]bool{}}
	t.learn(reflect.ValueOf(app.Definition))
	for _, endpoint := range app.Endpoints { // anybody who may read the provider sees them
		t.learnText(endpoint)
	}
	t.learnText(app.Issuer)
	return t
}

type traceKey struct{}

// With gives a context whose calls are told.
func (t *Tracer) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// tracerOf is the one that calls of this context are told to; nil: none.
func tracerOf(ctx context.Context) *Tracer {
	t, _ := ctx.Value(traceKey{}).(*Tracer)
	return t
}

// learn takes the words of every text in v: a definition is public, whatever it says.
func (t *Tracer) learn(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		t.learnText(v.String())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			t.learn(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				t.learn(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			t.learn(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			t.learn(key)
			t.learn(v.MapIndex(key))
		}
	}
}

// learnText takes a text apart: parts of paths, and names within paths to a field.
func (t *Tracer) learnText(s string) {
	if strings.Contains(s, "://") {
		s, _, _ = strings.Cut(s, "?")
	}
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("/ \t\n,;:&?=\"'()", r) }) {
		if !strings.ContainsAny(part, "{}") {
			t.words[part] = true
			for _, name := range strings.FieldsFunc(part, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
				t.words[name] = true
			}
		}
	}
}

// ownWords are the names of the standards (RFC 6749, 7009, 7519, 7521, 7523, 7636, 7662, 8414, 8628, OpenID Connect),
// and what paths are mostly made of.
var ownWords = func() map[string]bool {
	words := map[string]bool{}
	for _, word := range strings.Fields(`access_token token_type expires_in refresh_token scope id_token state
		error error_description error_uri grant_type code redirect_uri client_id client_secret code_verifier
		client_assertion client_assertion_type assertion audience resource username password device_code user_code
		verification_uri verification_uri_complete verification_url interval token token_type_hint active sub exp iat nbf
		iss aud jti name email email_verified preferred_username id issuer authorization_endpoint token_endpoint
		userinfo_endpoint revocation_endpoint introspection_endpoint device_authorization_endpoint jwks_uri keys
		refresh_token_expires_in ok data message status
		Authorization Content-Type Retry-After WWW-Authenticate Location
		oauth oauth2 openid connect protocol authorize authorization revoke introspect userinfo user me device certs jwks
		jwks.json .well-known openid-configuration oauth-authorization-server api v1 v2 v3`) {
		words[word] = true
	}
	return words
}()

func (t *Tracer) knows(word string) bool { return ownWords[word] || t.words[word] }

// names sorts out what may be told.
func (t *Tracer) names(all []string) (n Names) {
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		if t.knows(name) && len(n.Known) < maxNames {
			n.Known = append(n.Known, name)
		} else {
			n.Others++
		}
	}
	return n
}

// path is that of a URL, where * stands for each part that is in no definition.
func (t *Tracer) path(u *url.URL) string {
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	if len(parts) > maxNames {
		parts = append(parts[:maxNames], "*")
	}
	for i, part := range parts {
		if part != "" && !t.knows(part) {
			parts[i] = "*"
		}
	}
	return "/" + strings.Join(parts, "/")
}

// http tells of a request and its answer, or why there is none.
func (t *Tracer) http(step Step, method string, target *url.URL, header http.Header, body []byte, took time.Duration,
	r *reply, failure *Error,
) {
	e := Exchange{Step: step, Method: method, Host: target.Host, Path: t.path(target), Took: took}
	var sent []string
	for name := range target.Query() {
		sent = append(sent, name)
	}
	for name := range header {
		if name != "User-Agent" && name != "Accept" {
			sent = append(sent, name)
		}
	}
	e.SentForm = formOf(body)
	e.Sent = t.names(append(sent, fieldsOf(decodeBody(header.Get("Content-Type"), body))...))
	if failure != nil {
		e.Reason = failure.Reason
		if failure.NotSent() { // its words name what the operator or a person set
			e.Reason = CodeNotSent
		}
	}
	if r != nil {
		e.Status, e.Reason, e.AnswerIsA = r.status, r.broken, formOf(r.body)
		e.Got = t.names(fieldsOf(r.doc))
		if doc, is := r.doc.(map[string]any); is {
			if code, is := doc["error"].(string); is && (t.words[code] || oauthCodes[code] != "") {
				e.Code = code
			}
		}
	}
	t.tell(e)
}

// fieldsOf are the names at the top of a document.
func fieldsOf(doc any) (names []string) {
	if fields, is := doc.(map[string]any); is {
		for name := range fields {
			names = append(names, name)
		}
	}
	return names
}

// formOf says what a body is, in a word.
func formOf(body []byte) string {
	trimmed := strings.TrimSpace(string(body))
	switch {
	case trimmed == "":
		return "empty"
	case json.Valid([]byte(trimmed)) && trimmed[0] == '[':
		return "list"
	case json.Valid([]byte(trimmed)):
		return "json"
	case trimmed[0] == '<':
		return "markup"
	case strings.Contains(trimmed, "=") && !strings.ContainsAny(trimmed, "\r\n"):
		return "form"
	}
	return "other"
}

// wire tells of a dialog that is no HTTP.
func (t *Tracer) wire(step Step, host string, took time.Duration, failure *Error) {
	e := Exchange{Step: step, Host: host, Took: took}
	if failure != nil {
		e.Status, e.Reason = failure.Status, failure.Reason
		if failure.NotSent() {
			e.Reason = CodeNotSent
		}
	}
	t.tell(e)
}
