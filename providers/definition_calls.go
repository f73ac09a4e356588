package providers

// Call is how one request of a step is made.
type Call struct {
	Method  string              `yaml:"method,omitempty"` // absent: GET for probes and resources, else POST
	Auth    string              `yaml:"auth,omitempty"`   // a word of callAuthStyles
	Headers map[string]Template `yaml:"headers,omitempty"`
	Params  map[string]Template `yaml:"params,omitempty"` // in the query of a GET, in the body of anything else
	Body    string              `yaml:"body,omitempty"`   // form, json or raw; absent: as Client.Body
	Raw     Template            `yaml:"raw_body,omitempty"`
	// PerMinute is how many of these calls the service bears from one app or address. It is told to people; nothing
	// here counts calls.
	PerMinute int `yaml:"per_minute,omitempty"`
}

// callAuthStyles are the words for Call.Auth. client authenticates as Client.Auth says and client_basic always with
// Basic; bearer carries the access token, bearer_client_secret the client secret, assertion the signed assertion; send
// does as applications do. Absent: client for token calls and revocation, send for probes.
func callAuthStyles() []string {
	return []string{"client", "client_basic", "bearer", "bearer_client_secret", "send", "assertion", "none"}
}

// Answer tells where things stand in a token answer, as lists of alternatives. Absent: the names of RFC 6749
// section 5.1. A path is a.b, a[0].b, or $ for the whole.
type Answer struct {
	AccessToken  []string `yaml:"access_token,omitempty"`
	RefreshToken []string `yaml:"refresh_token,omitempty"`
	ExpiresIn    []string `yaml:"expires_in,omitempty"` // seconds
	ExpiresAt    []string `yaml:"expires_at,omitempty"` // RFC 3339
	IssuedAt     []string `yaml:"issued_at,omitempty"`  // Unix seconds; expires_in counts from there
	RefreshTTL   []string `yaml:"refresh_expires_in,omitempty"`
	HardTTL      []string `yaml:"hard_expires_in,omitempty"` // seconds until the person must consent again
	Scope        []string `yaml:"scope,omitempty"`
}

// OK tells success from failure where the HTTP status does not. All that is given must hold.
type OK struct {
	Status  []int   `yaml:"status,omitempty"` // absent: any 2xx
	Path    string  `yaml:"path,omitempty"`
	Equals  *string `yaml:"equals,omitempty"`  // what must stand at Path; absent: anything but false and empty
	Absent  string  `yaml:"absent,omitempty"`  // a path where nothing may stand
	Present string  `yaml:"present,omitempty"` // a path where something must
}

// TokenCall obtains an access token: for a code, for client credentials, for an assertion.
type TokenCall struct {
	Call     `yaml:",inline"`
	Grant    string            `yaml:"grant_type,omitempty"` // absent: as the kind's RFC says
	Answer   Answer            `yaml:"answer,omitempty"`
	OK       *OK               `yaml:"ok,omitempty"`
	Lifetime Lifetime          `yaml:"lifetime,omitempty"` // goes before the definition's
	ByKind   map[Kind]KindCall `yaml:"by_kind,omitempty"`
}

// KindCall is what one kind does differently from the rest of a [TokenCall].
type KindCall struct {
	Endpoint Step                `yaml:"endpoint,omitempty"` // any key of endpoints
	Grant    string              `yaml:"grant_type,omitempty"`
	Scope    string              `yaml:"scope,omitempty"` // the one scope to ask for, whatever the connection says
	Params   map[string]Template `yaml:"params,omitempty"`
	Needs    map[string]string   `yaml:"needs,omitempty"` // input -> pattern it must also match with this kind
	Lifetime Lifetime            `yaml:"lifetime,omitempty"`
}

// Refresh is how an access token is renewed, and for how long that goes on.
type Refresh struct {
	Call   *Call   `yaml:"call,omitempty"` // absent: RFC 6749 section 6
	Answer *Answer `yaml:"answer,omitempty"`
	Token  string  `yaml:"token,omitempty"` // a word of refreshModes; absent: may_rotate
	// for so long a spent refresh token is taken once more
	ReuseWindow Duration `yaml:"reuse_window,omitempty"`
	// renewed so long before expiry, and a fifth of its life at most; absent: as the mount is set
	Margin Duration            `yaml:"margin,omitempty"`
	MinAge Duration            `yaml:"min_age,omitempty"` // a younger access token is not renewed
	Idle   Duration            `yaml:"idle,omitempty"`    // unused for so long, the grant dies
	Each   Duration            `yaml:"each,omitempty"`    // life of one refresh token
	Hard   Duration            `yaml:"hard,omitempty"`    // life of the consent, whatever is refreshed
	Params map[string]Template `yaml:"params,omitempty"`
	// nothing tells when: not in the background, but when it is asked for or read near its end
	OnDemand bool `yaml:"on_demand,omitempty"`
}

// refreshModes are the words for Refresh.Token: what a refresh does to the refresh token. self renews the access token
// with itself, reissue asks again with the same key or client credentials, none cannot. Before a rotating or
// may_rotate token is spent an intent is stored, so may_rotate is the safe word when nobody knows.
func refreshModes() []string {
	return []string{"rotating", "may_rotate", "reusable", "self", "reissue", "none"}
}

// Key describes credentials that a person copies from the service.
type Key struct {
	Fields []KeyField `yaml:"fields"`
	// absent: the definition's send, which a definition with tokens too keeps for those
	Send *Send `yaml:"send,omitempty"`
	// other ways the service accepts; for people to read
	Others []Send `yaml:"also,omitempty"`
	// aws_sigv4 or jwt_per_request: requests are signed
	Signer       string            `yaml:"signer,omitempty"`
	SignerParams map[string]string `yaml:"signer_params,omitempty"` // what the signer needs to know of the service
	Login        string            `yaml:"login,omitempty"`         // smtp, ftp or sftp: the key opens no HTTP API
}

// KeyField is one field of a key. Applications get it from creds under its own name.
type KeyField struct {
	Name string `yaml:"name"`
	// SetByConnection (default) or SetByProvider: an app's own key
	SetBy     string            `yaml:"set_by,omitempty"`
	Required  bool              `yaml:"required,omitempty"`
	Secret    bool              `yaml:"secret,omitempty"`    // masked wherever it is not handed out
	Multiline bool              `yaml:"multiline,omitempty"` // line breaks and tabs belong in it, as in PEM
	Default   string            `yaml:"default,omitempty"`
	Pattern   string            `yaml:"pattern,omitempty"` // RE2; must match the whole value
	Shape     string            `yaml:"shape,omitempty"`   // sure: refuse what does not match; likely (default): warn
	Derive    map[string]string `yaml:"derive,omitempty"`  // further value -> pattern whose one group cuts it out
	Example   string            `yaml:"example,omitempty"`
	Help      string            `yaml:"help,omitempty"`
}

// Send is where a credential goes in a request to the service.
type Send struct {
	Headers map[string]Template `yaml:"headers,omitempty"` // a header's name may hold placeholders too
	// each is left out while a placeholder of it has no value
	Optional map[string]Template `yaml:"optional_headers,omitempty"`
	Query    map[string]Template `yaml:"query,omitempty"`
	Path     Template            `yaml:"path,omitempty"`
	User     Template            `yaml:"basic_user,omitempty"` // RFC 7617
	Password Template            `yaml:"basic_password,omitempty"`
}

// Assertion is a signed JWT that takes the place of a code or of a client secret (RFC 7523).
type Assertion struct {
	Alg    string              `yaml:"alg"` // RFC 7518 section 3.1
	Key    string              `yaml:"key"` // the key field with the private key
	Header map[string]Template `yaml:"header,omitempty"`
	Claims map[string]Template `yaml:"claims"` // beside iat and exp
	TTL    Duration            `yaml:"ttl"`
	Skew   Duration            `yaml:"skew,omitempty"`  // iat lies so far in the past, for clocks that run late
	Param  string              `yaml:"param,omitempty"` // the body parameter that carries it; absent: a bearer header
}

// Probe is a call that only reads: identity, health, introspection.
type Probe struct {
	Call         `yaml:",inline"`
	OK           *OK    `yaml:"ok,omitempty"`
	ScopesHeader string `yaml:"scopes_header,omitempty"` // response header with the scopes that count
	ExpiryHeader string `yaml:"expiry_header,omitempty"` // response header with the credential's end
}

// Resources is the call that lists the sites, tenants or companies a grant reaches, and the rule that picks one.
type Resources struct {
	Call `yaml:",inline"`
	List string `yaml:"list,omitempty"` // path of the list; absent: $
	// path -> wanted value; not applied while a placeholder is empty
	Where map[string]Template `yaml:"where,omitempty"`
	// when Where does not decide: first, or only (default): fail unless there is one
	Else string `yaml:"else,omitempty"`
}

// FailureRule gives a failed answer its class. All that is given must hold.
type FailureRule struct {
	Step   []string `yaml:"step"` // token, refresh, revoke, key (probes with a key), api (all probes), or one step
	Status []int    `yaml:"status,omitempty"`
	Path   string   `yaml:"path,omitempty"` // where the value stands that Is, Not and Match look at
	Is     []string `yaml:"is,omitempty"`   // compared as text; what is listed here may be repeated to people
	Not    []string `yaml:"not,omitempty"`
	Match  string   `yaml:"match,omitempty"`  // RE2; must match the whole value
	Class  string   `yaml:"class"`            // a Class, or fine: no failure after all
	Reason string   `yaml:"reason,omitempty"` // a word of ours for the operator
}

// Revoke is how a grant is given back (RFC 7009, where nothing else is said).
type Revoke struct {
	Call `yaml:",inline"`
	OK   *OK `yaml:"ok,omitempty"`
	// refresh_token (default; the access token where there is none), access_token or both
	Token string `yaml:"token,omitempty"`
	// what dies with the token: token (nothing else), grant or account; absent: unknown, so as with account
	Reach string `yaml:"reach,omitempty"`
}
