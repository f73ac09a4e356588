package providertest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What every server knows without registration.
const (
	ClientID     = "client-1"
	ClientSecret = "secret/of+client 1" // needs form-encoding in Basic credentials
	AccountID    = "account-1"
	AccountName  = "Ada Example"
)

// Server is one provider. Its steps behave as the RFCs say until a test scripts them with [Server.Next]. All methods
// are safe for concurrent use.
type Server struct {
	URL    string // also the issuer
	now    func() time.Time
	life   time.Duration
	rotate bool
	claims func(map[string]any)
	modes  []string
	silent bool // answers tell no expires_in

	key     *ecdsa.PrivateKey
	closing chan struct{}

	mu       sync.Mutex
	secret   string
	trusted  crypto.PublicKey // of assertions
	password string           // of all who log in
	serial   int
	codes    map[string]*authorization
	devices  map[string]*deviceAsked // by device code
	grants   map[string]*family      // by refresh token, spent ones included
	access   map[string]*access
	scripts  map[providers.Step][]Behavior
	requests map[providers.Step][]Request
}

// authorization is a code that was issued and not used.
type authorization struct {
	redirectURI, challenge, nonce, scope string
}

// family is what one consent gave; reusing a spent refresh token ends all of it (RFC 9700 section 4.14.2).
type family struct {
	scope   string
	current string
	dead    bool
}

type access struct {
	family  *family // nil for client credentials
	expires time.Time
}

// Request is one recorded call.
type Request struct {
	Method string
	Header http.Header
	Query  url.Values
	Form   url.Values // of a form body
	Body   string
}

// Option changes how a [Server] behaves throughout.
type Option func(*Server)

// WithClock sets the time by which tokens expire; the default is time.Now.
func WithClock(now func() time.Time) Option { return func(s *Server) { s.now = now } }

// WithLifetime sets the life of access tokens; the default is one hour. At 0 answers tell no expires_in and tokens
// live on.
func WithLifetime(life time.Duration) Option { return func(s *Server) { s.life = life } }

// WithSilentLifetime makes answers tell no expires_in, though tokens end. The introspection endpoint tells it.
func WithSilentLifetime() Option { return func(s *Server) { s.silent = true } }

// WithReusableRefreshTokens makes refreshing answer no new refresh token. By default each is good for one use.
func WithReusableRefreshTokens() Option { return func(s *Server) { s.rotate = false } }

// WithIDTokenClaims lets a test change the claims of every id_token before it is signed.
func WithIDTokenClaims(change func(claims map[string]any)) Option {
	return func(s *Server) { s.claims = change }
}

// WithResponseModes makes the metadata tell response_modes_supported.
func WithResponseModes(modes ...string) Option { return func(s *Server) { s.modes = modes } }

// New starts a server that stops when the test ends.
func New(tb testing.TB, options ...Option) *Server {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("making the id_token key: %v", err)
	}
	s := &Server{
		now: time.Now, life: time.Hour, rotate: true, claims: func(map[string]any) {},
		key: key, closing: make(chan struct{}), secret: ClientSecret,
		devices: map[string]*deviceAsked{},
		codes:   map[string]*authorization{}, grants: map[string]*family{}, access: map[string]*access{},
		scripts: map[providers.Step][]Behavior{}, requests: map[providers.Step][]Request{},
	}
	for _, option := range options {
		option(s)
	}
	mux := http.NewServeMux()
	for path, h := range map[string]struct {
		step   providers.Step
		handle http.HandlerFunc
	}{
		"/token":                            {"token", s.token},
		"/login":                            {"token", s.login},
		"/device":                           {"device", s.deviceAuthorization},
		"/revoke":                           {"revoke", s.revoke},
		"/introspect":                       {"introspect", s.introspect},
		"/userinfo":                         {"identity", s.userinfo},
		"/.well-known/openid-configuration": {"discovery", s.metadata},
		"/jwks":                             {"jwks", s.jwks},
	} {
		mux.Handle(path, s.record(h.step, h.handle))
	}
	web := httptest.NewServer(mux)
	s.URL = web.URL
	tb.Cleanup(func() {
		close(s.closing) // lets hanging calls go, for which Close would wait
		web.Close()
	})
	return s
}

// Definition describes this server the way a catalogue file would, without discovery.
func (s *Server) Definition() *providers.Definition {
	refresh := "rotating"
	if !s.rotate {
		refresh = "reusable"
	}
	return &providers.Definition{
		ID: "test", Name: "Test",
		Kinds: []providers.Kind{providers.KindAuthorizationCode, providers.KindClientCredentials},
		Endpoints: map[providers.Step]providers.Template{
			"authorize": s.at("/authorize"), "token": s.at("/token"), "revoke": s.at("/revoke"),
			"identity": s.at("/userinfo"),
		},
		Client:   providers.ClientSpec{Auth: []string{"basic", "post"}},
		Refresh:  providers.Refresh{Token: refresh},
		Identity: &providers.Probe{},
		Account:  providers.AccountSpec{ID: []string{"sub"}, Label: []string{"name"}, Email: []string{"email"}},
	}
}

func (s *Server) at(path string) providers.Template { return providers.Template(s.URL + path) }

// App is [Server.Definition] with the client that the server knows.
func (s *Server) App() *providers.App {
	return &providers.App{
		Definition: s.Definition(), ClientID: ClientID, ClientSecret: providers.NewSecret(ClientSecret),
	}
}

// SetClientSecret changes the secret the server takes, as an operator would at the provider.
func (s *Server) SetClientSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = secret
}

// Trust makes the server take assertions that are signed with the key's private part; nil: none.
func (s *Server) Trust(key crypto.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trusted = key
}

// SetPassword changes the password with which one logs in; empty: nobody does.
func (s *Server) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// Next scripts the coming calls of a step, one behavior each; after them the server behaves again. Refreshes are calls
// of the step "refresh", and polls of a device flow of [StepPoll]; of "token" are all other token calls.
func (s *Server) Next(step providers.Step, behaviors ...Behavior) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[step] = append(s.scripts[step], behaviors...)
}

// Requests returns what was asked of a step so far, scripted calls included.
func (s *Server) Requests(step providers.Step) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests[step]...)
}

// Count is the number of calls of a step so far.
func (s *Server) Count(step providers.Step) int { return len(s.Requests(step)) }

// Consent plays the person who opens an authorization URL and agrees. It returns the parameters that the browser
// brings back.
func (s *Server) Consent(tb testing.TB, authorizationURL string) map[string]string {
	tb.Helper()
	u, err := url.Parse(authorizationURL)
	if err != nil {
		tb.Fatalf("authorization URL: %v", err)
	}
	asked := u.Query()
	if asked.Get("client_id") != ClientID || asked.Get("response_type") != "code" || asked.Get("state") == "" {
		tb.Fatalf("authorization URL without client_id, response_type=code or state")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	code := s.mint("code")
	s.codes[code] = &authorization{
		redirectURI: asked.Get("redirect_uri"), challenge: asked.Get("code_challenge"),
		nonce: asked.Get("nonce"), scope: asked.Get("scope"),
	}
	return map[string]string{"code": code, "state": asked.Get("state"), "iss": s.URL}
}

// RevokeAll ends every grant, as a person does in the provider's settings.
func (s *Server) RevokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.grants {
		f.dead = true
	}
}

// Alive reports whether an access token would be accepted now.
func (s *Server) Alive(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.access[token]
	if a == nil || a.family != nil && a.family.dead {
		return false
	}
	return a.expires.IsZero() || s.now().Before(a.expires)
}

// mint makes a value that never repeats. The caller holds mu.
func (s *Server) mint(kind string) string {
	s.serial++
	return fmt.Sprintf("%s-%06d-%s", kind, s.serial, rand.Text())
}

// record counts a call, and lets a scripted behavior take it.
func (s *Server) record(step providers.Step, behave http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		form, _ := url.ParseQuery(string(body)) // another kind of body leaves the form empty
		step := step
		switch grant := form.Get("grant_type"); {
		case step == "token" && grant == "refresh_token":
			step = "refresh"
		case step == "token" && grant == grantDevice:
			step = StepPoll
		}
		r.Form = form
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.mu.Lock()
		s.requests[step] = append(s.requests[step], Request{
			Method: r.Method, Header: r.Header.Clone(), Query: r.URL.Query(), Form: form, Body: string(body),
		})
		var scripted Behavior
		if queue := s.scripts[step]; len(queue) > 0 {
			scripted, s.scripts[step] = queue[0], queue[1:]
		}
		s.mu.Unlock()
		if scripted == nil {
			behave(w, r)
			return
		}
		scripted(s, w, r, behave)
	})
}
