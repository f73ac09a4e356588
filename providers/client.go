package providers

import (
	"net/http"
	"sync"
	"time"
)

// App is a definition as one operator configured it. Zero values mean "as the definition says".
type App struct {
	Definition      *Definition
	ClientID        string
	ClientSecret    Secret
	FormerSecret    Secret // tried once, and only after the provider itself said invalid_client
	Scopes          []string
	Inputs          map[string]string // the inputs that the definition lets the operator set
	Keys            map[string]Secret // the key fields that the definition lets the operator set
	Endpoints       map[Step]string   // overrides by step
	Issuer          string
	AuthorizeParams map[string]string
	TokenParams     map[string]string
	ClientAuth      string

	// with a client secret that is a private key: how the service knows it, where it has to be told
	ClientKeyID       string
	ClientCertificate string // PEM
	// the same of FormerSecret
	FormerKeyID       string
	FormerCertificate string

	AssumedTTL     time.Duration // for access tokens that tell no expiry; 0: the definition decides
	RefreshTTL     time.Duration // life of one refresh token; 0: as the definition says
	IdleTTL        time.Duration // unused for so long, a grant dies; 0: as the definition says
	OptionalScopes []string      // asked for beside the others, and not needed; see Scopes.OptionalParam
	AddedScopes    *[]string     // which of Scopes.Added are asked for; nil: all
	ScopesIgnored  bool          // no scopes are asked for: what the app may do is set at the service
	PKCE           string        // see Definition.TakePKCE
	CAPin          string        // whatever stands for the certificates to trust; empty: they are no part of the pin
	DefinitionPin  string        // Definition.Pin of a run-time definition, as it was when it last led elsewhere
}

// Doer sends one request. *http.Client is one. Another must pass the request's context on to net/http: the client
// learns from its trace hooks whether anything was sent.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Client calls providers. It is safe for concurrent use.
type Client struct {
	http      Doer
	now       func() time.Time
	userAgent string
	hosts     hosts // which it may call; set before the first call
	wire      Wire  // for what is no HTTP; set before the first call, nil: none of that

	mu       sync.Mutex           // never held during a call
	issuers  map[string]*metadata // guarded by mu
	fetching map[string]*fetching // guarded by mu; one discovery request per issuer
}

// NewClient returns a client that sends through http and reads the time from now. An *http.Client is copied so that it
// follows no redirect: a token call that moves would carry the client secret along (RFC 9700 section 4.12).
func NewClient(doer Doer, now func() time.Time, userAgent string) *Client {
	if std, ok := doer.(*http.Client); ok {
		still := *std
		still.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		doer = &still
	}
	return &Client{
		http: doer, now: now, userAgent: userAgent, issuers: map[string]*metadata{}, fetching: map[string]*fetching{},
	}
}

// Resolved is a definition with every placeholder that is known before the first call filled in: where each step
// goes and how the client speaks. A flow stores it, so that nothing a later change of the provider says can redirect
// a code. It holds no secret.
type Resolved struct {
	Endpoints map[Step]string   `json:"endpoints"`
	Inputs    map[string]string `json:"inputs,omitempty"`
	Issuer    string            `json:"issuer,omitempty"` // expected iss; empty: unknown
	// RFC 9207: the issuer promises iss in every authorization answer
	IssAlways   bool     `json:"iss_always,omitempty"`
	ClientAuth  string   `json:"client_auth,omitempty"`  // basic, post, none ...: never probed
	OpenID      bool     `json:"openid,omitempty"`       // an id_token with our nonce is expected
	JWKS        string   `json:"jwks_uri,omitempty"`     // with OpenID: where the issuer's keys stand
	SigningAlgs []string `json:"signing_algs,omitempty"` // with OpenID: what the issuer signs id_tokens with
	FormPost    bool     `json:"-"`                      // the issuer offers response_mode=form_post
	Scopes      []string `json:"-"`                      // that the issuer says it knows; empty: it does not say
}

// AuthCodeURLRequest is what one flow adds to the app for its authorization URL.
type AuthCodeURLRequest struct {
	Resolved    Resolved
	State       string
	Nonce       string // sent when Resolved.OpenID
	Verifier    Secret // PKCE; its S256 challenge is sent, unless there is none or the definition switches PKCE off
	RedirectURI string
	Scopes      []string
	Optional    []string // scopes that the person may leave out
	LoginHint   string
	FormPost    bool // ask for the answer in the body of a POST, where the service offers that
}

// ExchangeRequest spends an authorization code (RFC 6749 section 4.1.3).
type ExchangeRequest struct {
	Resolved    Resolved
	Code        Secret
	Verifier    Secret
	Nonce       string
	RedirectURI string
	Scopes      []string          // asked for: what is granted when the answer names none (RFC 6749 section 5.1)
	Callback    map[string]string // the query or form that came back, for captures and callback checks
}
