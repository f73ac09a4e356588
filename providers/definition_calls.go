package providers

// Call is how one request of a step is made.
type Call struct {
	// absent: GET for probes and resources, else POST
	Method string `yaml:"method,omitempty" words:"GET|POST|PUT|PATCH|DELETE"`
	// client authenticates as client.auth says and client_basic always with Basic; bearer carries the access token,
	// bearer_client_secret the client secret, assertion the signed assertion; send does as applications do; aws_sigv4 and
	// jwt_per_request sign as the section sign says, and are for identity and health. Absent: client for token calls and
	// revocation, send for all others.
	Auth    string              `yaml:"auth,omitempty" words:"client|client_basic|bearer|bearer_client_secret|assertion|send|none|aws_sigv4|jwt_per_request"`
	Headers map[string]Template `yaml:"headers,omitempty"`
	// in the query of a GET, in the body of anything else
	Params map[string]Template `yaml:"params,omitempty"`
	Body   string              `yaml:"body,omitempty" words:"form|json|raw"` // absent: as client.body
	Raw    Template            `yaml:"raw_body,omitempty"`
	// how many of these calls the service bears from one app or address; nothing here counts calls
	PerMinute int `yaml:"per_minute,omitempty" use:"shown"`
}

// authAssertion is the word of Call.Auth for a call that brings the assertion as a bearer token.
const authAssertion = "assertion"

// Answer tells where things stand in a token answer, as lists of alternatives. Absent: the names of RFC 6749
// section 5.1. A path is a.b, a[0].b, or $ for the whole.
type Answer struct {
	AccessToken  []string `yaml:"access_token,omitempty"`
	RefreshToken []string `yaml:"refresh_token,omitempty"`
	ExpiresIn    []string `yaml:"expires_in,omitempty"` // seconds
	ExpiresAt    []string `yaml:"expires_at,omitempty"` // RFC 3339, or Unix seconds or milliseconds
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

// TokenCall obtains an access token: for a code, for client credentials, or with a key.
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
	Endpoint Step   `yaml:"endpoint,omitempty"` // any key of endpoints
	Grant    string `yaml:"grant_type,omitempty"`
	// all there is to ask for, whatever the provider says; []: nothing
	Scopes []Template `yaml:"scopes,omitempty"`
	// an input -> the pattern, RE2, that the whole value must match for this kind; it wants an input that is not set
	// when it takes no empty text
	Inputs map[string]string `yaml:"inputs,omitempty"`
	// how the call is made, where it differs from the others'
	Method   string              `yaml:"method,omitempty" words:"GET|POST|PUT|PATCH|DELETE"`
	Auth     string              `yaml:"auth,omitempty" words:"client|client_basic|bearer|bearer_client_secret|assertion|none"`
	Headers  map[string]Template `yaml:"headers,omitempty"`
	Params   map[string]Template `yaml:"params,omitempty"`
	Body     string              `yaml:"body,omitempty" words:"form|json"`
	Answer   *Answer             `yaml:"answer,omitempty"`
	OK       *OK                 `yaml:"ok,omitempty"`
	Lifetime Lifetime            `yaml:"lifetime,omitempty"`
}

// DeviceCall asks for the code that a person types on a device of theirs (RFC 8628 section 3.1); the scopes go along.
type DeviceCall struct {
	Call   `yaml:",inline"`
	Answer DeviceAnswer `yaml:"answer,omitempty"`
}

// DeviceAnswer tells where things stand in the answer of a [DeviceCall], as lists of alternatives. Absent: the names of
// RFC 8628 section 3.2.
type DeviceAnswer struct {
	DeviceCode []string `yaml:"device_code,omitempty"`
	UserCode   []string `yaml:"user_code,omitempty"`
	URI        []string `yaml:"verification_uri,omitempty"` // where it is typed
	WholeURI   []string `yaml:"verification_uri_complete,omitempty"`
	ExpiresIn  []string `yaml:"expires_in,omitempty"` // seconds
	Interval   []string `yaml:"interval,omitempty"`   // seconds between two polls
}

// Refresh is how an access token is renewed, and for how long that goes on.
type Refresh struct {
	Call   *Call   `yaml:"call,omitempty"` // absent: RFC 6749 section 6
	Answer *Answer `yaml:"answer,omitempty"`
	// what a refresh does to the refresh token: self renews the access token with itself, reissue asks again with the
	// same client credentials, none cannot. Before a rotating or may_rotate token is spent an intent is stored, so
	// may_rotate is the safe word when nobody knows, and what an absent one means.
	Token string `yaml:"token,omitempty" words:"rotating|may_rotate|reusable|self|reissue|none"`
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

// Key describes credentials that a person copies from the service, and what an operator copies for all connections, of
// whatever kind.
type Key struct {
	Fields []KeyField `yaml:"fields"`
	// groups of fields of which a key has exactly one, whole
	OneOf [][]string `yaml:"one_of,omitempty"`
	// after how long one is to be replaced, where the service ends keys or says so
	RotateAfter Duration `yaml:"rotate_after,omitempty"`
	// absent: the definition's send, which a definition with tokens too keeps for those
	Send *Send `yaml:"send,omitempty"`
	// other ways the service accepts
	Others []Send `yaml:"also,omitempty" use:"shown"`
}

// KeyField is one field of a key. Applications get it from creds under its own name.
type KeyField struct {
	Name string `yaml:"name"`
	// provider: an app's own key; absent: connection
	SetBy    string `yaml:"set_by,omitempty" words:"connection|provider"`
	Required bool   `yaml:"required,omitempty"`
	Secret   bool   `yaml:"secret,omitempty"` // masked wherever it is not handed out
	// a secret that no send names leaves only so: the application itself signs, or logs in, with it; and so does one of
	// the operator's that send names, which every reader of a credential gets then
	HandedOut bool   `yaml:"handed_out,omitempty"`
	Multiline bool   `yaml:"multiline,omitempty"` // line breaks and tabs belong in it, as in PEM
	Default   string `yaml:"default,omitempty"`
	// the field whose value is taken when this one is left out
	DefaultFrom string `yaml:"default_from,omitempty"`
	Pattern     string `yaml:"pattern,omitempty"` // RE2; must match the whole value
	// sure: what does not match the pattern is refused; absent, or likely: it is warned of
	Shape string `yaml:"shape,omitempty" words:"sure|likely"`
	// further value -> pattern whose one group cuts it out; not of a field that the operator sets
	Derive map[string]string `yaml:"derive,omitempty"`
	// it is a JSON file, of which these members are further values; not of a field that the operator sets
	JSON    map[string]KeyMember `yaml:"json,omitempty"`
	Example string               `yaml:"example,omitempty"`
	Help    string               `yaml:"help,omitempty"`
}

// KeyMember is a text in a key field that is a JSON file.
type KeyMember struct {
	Required bool `yaml:"required,omitempty"`
	// masked wherever it is not handed out, as the file is; what is not secret is shown although the file is
	Secret  bool   `yaml:"secret,omitempty"`
	Pattern string `yaml:"pattern,omitempty"` // RE2; must match the whole value, or the file is refused
}

// Send is where a credential goes in a request to the service.
type Send struct {
	Headers map[string]Template `yaml:"headers,omitempty"` // a header's name may hold placeholders too
	// each is left out while a placeholder of it has no value
	Optional map[string]Template `yaml:"optional_headers,omitempty"`
	Query    map[string]Template `yaml:"query,omitempty"` // so may a parameter's
	// where it stands in the path of a URL; calls of ours have it in their endpoint
	Path     Template `yaml:"path,omitempty"`
	User     Template `yaml:"basic_user,omitempty"`     // RFC 7617; absent beside a password: empty
	Password Template `yaml:"basic_password,omitempty"` // absent beside a user: empty
}

// Git is where the service's repositories are, and as whom Git comes. The password is the access token, or the one
// field of the key. It goes by https alone.
type Git struct {
	// host, or host:port, each exactly as Git is to know it; of placeholders those inputs that stand in the host of an
	// endpoint or of api_base
	Hosts    []Template `yaml:"hosts"`
	Username string     `yaml:"username"` // the same for all connections
}

// Probe is a call that only reads: identity, health.
type Probe struct {
	Call `yaml:",inline"`
	// those whose credentials it is made with, where the service answers only them; absent: all
	Kinds []Kind `yaml:"kinds,omitempty"`
	// an input -> the pattern, RE2, that its whole value must match: the call is made where all do, and elsewhere
	// nothing tells whether a credential works; an input that is not set is an empty text
	Inputs       map[string]string `yaml:"inputs,omitempty"`
	OK           *OK               `yaml:"ok,omitempty"`
	ScopesHeader string            `yaml:"scopes_header,omitempty"` // response header with the scopes that count
	// where they stand in the answer, as alternatives, when no header tells them
	ScopesPath []string `yaml:"scopes_path,omitempty"`
	// response header with the end of the credential
	ExpiryHeader string `yaml:"expiry_header,omitempty"`
}

// Resources is the call that lists the sites, tenants or companies a grant reaches. A person picks one of several.
type Resources struct {
	Call `yaml:",inline"`
	List string `yaml:"list,omitempty"` // path of the list; absent: $
	ID   string `yaml:"id"`             // path of what tells one from the others
	Name string `yaml:"name,omitempty"` // path of what people call it
	// path -> wanted value, of those that count; not applied while a placeholder is empty
	Where map[string]Template `yaml:"where,omitempty"`
	// the connection's input that takes the id of the one to work with, for health, send and api_base alone
	Pick string `yaml:"pick"`
}

// Reaches is the call that lists the accounts that the app's own credential opens: tenants, installations.
type Reaches struct {
	Call `yaml:",inline"`
	List string `yaml:"list,omitempty"` // path of the list; absent: $
	ID   string `yaml:"id"`             // path of what tells one from the others
	Name string `yaml:"name,omitempty"` // path of what people call it
	// the input that takes the id, which the operator binds to the owner who is to have it
	Input string `yaml:"input"`
}

// FailureRule gives a failed answer its class. All that is given must hold.
type FailureRule struct {
	// token, refresh, revoke, api (all other calls), key (such calls with a key), or one step
	Step   []string `yaml:"step" words:"token|refresh|revoke|api|key|upgrade|resources|identity|health"`
	Status []int    `yaml:"status,omitempty"`
	Path   string   `yaml:"path,omitempty"` // where the value stands that Is, Not and Match look at
	Is     []string `yaml:"is,omitempty"`   // compared as text; what is listed here may be repeated to people
	Not    []string `yaml:"not,omitempty"`
	Match  string   `yaml:"match,omitempty"` // RE2; must match the whole value
	// what it means; fine: no failure after all
	Class  string `yaml:"class" words:"transient|unknown|rate_limited|rejected|misconfigured|expired|forbidden|fine"`
	Reason string `yaml:"reason,omitempty"` // a word of ours for the operator
}

// Revoke is how a grant is given back (RFC 7009, where nothing else is said). Where params are absent the token goes
// along with its token_type_hint.
type Revoke struct {
	Call `yaml:",inline"`
	// those whose grants are given back, where the service takes only them; absent: all
	Kinds []Kind `yaml:"kinds,omitempty"`
	OK    *OK    `yaml:"ok,omitempty"`
	// absent: refresh_token, or the access token where there is none
	Token string `yaml:"token,omitempty" words:"refresh_token|access_token|both"`
	// what dies with the token: token (nothing else), grant or account; absent: unknown, so as with account
	Reach string `yaml:"reach,omitempty" words:"token|grant|account"`
}
