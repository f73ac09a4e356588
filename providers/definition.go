package providers

// Definition is one file of the catalogue. Every URL stands in Endpoints, under the name of the step that calls it, so
// that an operator's `endpoints` map overrides any of them alike; the steps below say how to call, never where.
type Definition struct {
	ID       string   `yaml:"id"`
	Name     string   `yaml:"name"`
	Summary  string   `yaml:"summary,omitempty"`
	Category string   `yaml:"category,omitempty"`
	Extends  string   `yaml:"extends,omitempty"` // one level: the parent is decoded first, this file over it
	Kinds    []Kind   `yaml:"kinds"`             // how a credential is obtained; the first is the default
	Sources  []string `yaml:"sources,omitempty"` // documentation links
	Setup    Setup    `yaml:"setup,omitempty"`

	Inputs    []Input           `yaml:"inputs,omitempty"`
	APIBase   string            `yaml:"api_base,omitempty"`
	Endpoints map[Step]Template `yaml:"endpoints,omitempty"`
	Client    ClientSpec        `yaml:"client,omitempty"`
	Scopes    Scopes            `yaml:"scopes,omitempty"`
	Authorize Authorize         `yaml:"authorize,omitempty"`
	Callback  Callback          `yaml:"callback,omitempty"`
	Token     TokenCall         `yaml:"token,omitempty"`   // code, client credentials, assertion
	Upgrade   *TokenCall        `yaml:"upgrade,omitempty"` // a second exchange, right after the first
	Refresh   Refresh           `yaml:"refresh,omitempty"`
	Lifetime  Lifetime          `yaml:"lifetime,omitempty"`
	Key       *Key              `yaml:"key,omitempty"`
	Assertion *Assertion        `yaml:"assertion,omitempty"`
	Send      *Send             `yaml:"send,omitempty"` // absent: Authorization: Bearer {access_token}

	Resources  *Resources    `yaml:"resources,omitempty"` // the call that tells which site, tenant or company
	Identity   *Probe        `yaml:"identity,omitempty"`
	Health     *Probe        `yaml:"health,omitempty"` // absent: identity
	Account    AccountSpec   `yaml:"account,omitempty"`
	Connection []Capture     `yaml:"connection_config,omitempty"`
	Failures   []FailureRule `yaml:"failures,omitempty"` // first match wins; RFC 6749 and HTTP defaults come after
	Revoke     *Revoke       `yaml:"revoke,omitempty"`
	Introspect *Probe        `yaml:"introspect,omitempty"`
	Discovery  *Discovery    `yaml:"discovery,omitempty"`
}

// Template is text with {placeholders}. Each must be an input, a key field, a captured value or one of the reserved
// words: client_id client_secret access_token refresh_token redirect_uri state scopes app_name user_agent. Quote it in YAML when it begins with {.
type Template string

type Step string // authorize token refresh upgrade resources identity health revoke introspect device discovery install; by_kind may name one more

// Setup is for people: where to create the app or find the key, and what will bite.
type Setup struct {
	AppURL   string   `yaml:"app_url,omitempty"`
	KeyURL   string   `yaml:"key_url,omitempty"`
	Redirect string   `yaml:"redirect,omitempty"`
	Notes    []string `yaml:"notes,omitempty"`
	Limits   []string `yaml:"limits,omitempty"`
}

// Input is a value that a URL, header or parameter needs. SetBy says who may give it: a host that the pattern leaves
// open is the operator's alone, since the engine sends it the client secret.
type Input struct {
	Name     string `yaml:"name"`
	SetBy    string `yaml:"set_by"` // provider | connection | either (the provider's value then wins)
	Required bool   `yaml:"required,omitempty"`
	Default  string `yaml:"default,omitempty"`
	Pattern  string `yaml:"pattern"`         // matched whole: the engine adds the anchors
	Strip    string `yaml:"strip,omitempty"` // suffix taken off before the pattern: .myshopify.com
	Example  string `yaml:"example,omitempty"`
	Help     string `yaml:"help,omitempty"`
}

type ClientSpec struct {
	Auth   []string          `yaml:"auth,omitempty"`   // basic basic_raw post none secret_as_user private_key_jwt from_discovery; the first is the default, never probed
	Body   string            `yaml:"body,omitempty"`   // form | json
	Rename map[string]string `yaml:"rename,omitempty"` // client_id: client_key
	Public bool              `yaml:"public,omitempty"` // works without a secret
}

type Scopes struct {
	Param    *string  `yaml:"param,omitempty"` // "" = the service takes no scope parameter
	Optional string   `yaml:"optional_param,omitempty"`
	Join     string   `yaml:"join,omitempty"`     // " " or ","
	Returned string   `yaml:"returned,omitempty"` // another separator, or "list"
	Default  []string `yaml:"default,omitempty"`
	Identity []string `yaml:"identity,omitempty"` // always added: the identity call needs them
	Offline  []string `yaml:"offline,omitempty"`  // always added: they yield the refresh token
	Allowed  []string `yaml:"allowed,omitempty"`  // closed list, where there is one
}

type Authorize struct {
	PKCE      string              `yaml:"pkce,omitempty"` // s256 (default) | off
	Params    map[string]Template `yaml:"params,omitempty"`
	Optional  map[string]Template `yaml:"optional_params,omitempty"` // sent when their placeholders have values
	Omit      []string            `yaml:"omit,omitempty"`            // response_type
	Only      bool                `yaml:"only,omitempty"`            // send Params and nothing of our own
	LoginHint string              `yaml:"login_hint,omitempty"`      // name of the parameter
}

// Callback says how the browser comes back.
type Callback struct {
	Code   string              `yaml:"code,omitempty"` // the code's parameter, when not "code"
	State  string              `yaml:"state,omitempty"`
	Trim   string              `yaml:"trim,omitempty"`   // suffix to take off the code
	Decode string              `yaml:"decode,omitempty"` // url: the code is escaped once more
	Signed string              `yaml:"signed,omitempty"` // CODE: hmac_query
	Match  map[string]Template `yaml:"match,omitempty"`  // parameter must equal
	Keys   map[string]string   `yaml:"keys,omitempty"`   // CODE: key_handover; key field -> member of the posted body
}

// Call is one HTTP request of a step. Params go to the query of a GET and to the body of anything else.
type Call struct {
	Method  string              `yaml:"method,omitempty"`
	Auth    string              `yaml:"auth,omitempty"` // client (as Client.Auth says) | client_basic | bearer | bearer_client_secret | send | assertion | none
	Headers map[string]Template `yaml:"headers,omitempty"`
	Params  map[string]Template `yaml:"params,omitempty"`
	Body    string              `yaml:"body,omitempty"`     // form | json | raw
	Raw     Template            `yaml:"raw_body,omitempty"` // with body: raw
}

// Answer tells where things stand in a reply. Each is a list of paths tried in order; a.b, a[0].b, $.
type Answer struct {
	AccessToken  []string `yaml:"access_token,omitempty"`
	RefreshToken []string `yaml:"refresh_token,omitempty"`
	ExpiresIn    []string `yaml:"expires_in,omitempty"`
	ExpiresAt    []string `yaml:"expires_at,omitempty"` // RFC 3339
	IssuedAt     []string `yaml:"issued_at,omitempty"`  // Unix seconds; with expires_in
	RefreshTTL   []string `yaml:"refresh_expires_in,omitempty"`
	HardTTL      []string `yaml:"hard_expires_in,omitempty"`
	Scope        []string `yaml:"scope,omitempty"`
}

// OK is a predicate over a reply; all that is given must hold. Without one: any 2xx.
type OK struct {
	Status  []int   `yaml:"status,omitempty"`
	Path    string  `yaml:"path,omitempty"`
	Equals  *string `yaml:"equals,omitempty"` // absent: true, or a non-empty value
	Absent  string  `yaml:"absent,omitempty"`
	Present string  `yaml:"present,omitempty"`
}

type TokenCall struct {
	Call     `yaml:",inline"`
	Grant    string   `yaml:"grant_type,omitempty"`
	Answer   Answer   `yaml:"answer,omitempty"`
	OK       *OK      `yaml:"ok,omitempty"`
	Lifetime Lifetime `yaml:"lifetime,omitempty"`
	// ByKind gives what one way of obtaining the credential adds or replaces: client_credentials, device_code, ...
	ByKind map[Kind]KindCall `yaml:"by_kind,omitempty"`
}

type KindCall struct {
	Endpoint Step                `yaml:"endpoint,omitempty"` // another key of endpoints
	Grant    string              `yaml:"grant_type,omitempty"`
	Scope    string              `yaml:"scope,omitempty"`
	Params   map[string]Template `yaml:"params,omitempty"`
	Needs    map[string]string   `yaml:"needs,omitempty"` // input -> stricter pattern
	Lifetime Lifetime            `yaml:"lifetime,omitempty"`
}

type Refresh struct {
	Call   *Call   `yaml:"call,omitempty"` // absent: POST grant_type=refresh_token to endpoints.refresh or endpoints.token
	Answer *Answer `yaml:"answer,omitempty"`
	// Token is what becomes of the refresh token: rotating | reusable | may_rotate | self | reissue | none. Rotating and
	// may_rotate store an intent first. may_rotate is the safe word for "unknown".
	Token       string              `yaml:"token,omitempty"`
	ReuseWindow Duration            `yaml:"reuse_window,omitempty"` // a spent one is still taken so long
	MinAge      Duration            `yaml:"min_age,omitempty"`      // the access token must be so old
	Idle        Duration            `yaml:"idle,omitempty"`         // refresh at least so often
	Each        Duration            `yaml:"each,omitempty"`         // life of one refresh token
	Hard        Duration            `yaml:"hard,omitempty"`         // from consent: reconnect by
	Params      map[string]Template `yaml:"params,omitempty"`
	OnDemand    bool                `yaml:"on_demand,omitempty"` // never by time: only through refresh/ (no expiry is told)
}

type Lifetime struct {
	Access Duration `yaml:"access,omitempty"`      // usual; for display and tests
	Absent Duration `yaml:"when_absent,omitempty"` // what to assume without expires_in; never
	Zero   Duration `yaml:"when_zero,omitempty"`
	From   string   `yaml:"from,omitempty"` // introspect: ask for exp
}

type Key struct {
	Fields       []KeyField        `yaml:"fields"`
	Send         *Send             `yaml:"send,omitempty"`
	Others       []Send            `yaml:"also,omitempty"`   // other places the service takes it
	Signer       string            `yaml:"signer,omitempty"` // CODE: aws_sigv4 | jwt_per_request
	SignerParams map[string]string `yaml:"signer_params,omitempty"`
	Login        string            `yaml:"login,omitempty"` // CODE: smtp | ftp | sftp
}

type KeyField struct {
	SetBy     string            `yaml:"set_by,omitempty"` // connection (default) | provider: a GitHub App's key is the operator's
	Name      string            `yaml:"name"`
	Required  bool              `yaml:"required,omitempty"`
	Secret    bool              `yaml:"secret,omitempty"`
	Multiline bool              `yaml:"multiline,omitempty"`
	Default   string            `yaml:"default,omitempty"`
	Pattern   string            `yaml:"pattern,omitempty"`
	Shape     string            `yaml:"shape,omitempty"`  // sure: refuse | likely: warn
	Derive    map[string]string `yaml:"derive,omitempty"` // name -> pattern with one group
	Example   string            `yaml:"example,omitempty"`
	Help      string            `yaml:"help,omitempty"`
}

// Send is where the credential goes in a request to the service; catalog/ shows it, check uses it.
type Send struct {
	Headers  map[string]Template `yaml:"headers,omitempty"`
	Query    map[string]Template `yaml:"query,omitempty"`
	Path     Template            `yaml:"path,omitempty"`
	User     Template            `yaml:"basic_user,omitempty"`
	Password Template            `yaml:"basic_password,omitempty"`
}

type Assertion struct { // CODE: jwt_bearer
	Alg    string              `yaml:"alg"`
	Key    string              `yaml:"key"` // key field that holds the private key
	Header map[string]Template `yaml:"header,omitempty"`
	Claims map[string]Template `yaml:"claims"`
	TTL    Duration            `yaml:"ttl"`
	Skew   Duration            `yaml:"skew,omitempty"`  // iat so much in the past
	Param  string              `yaml:"param,omitempty"` // body parameter; absent: bearer header
}

type Probe struct {
	Call         `yaml:",inline"`
	OK           *OK    `yaml:"ok,omitempty"`
	ScopesHeader string `yaml:"scopes_header,omitempty"`
	ExpiryHeader string `yaml:"expiry_header,omitempty"`
}

// Account says who the connection is. Read from identity unless prefixed: token:, id_token:, health:, resources:.
type AccountSpec struct {
	ID    []string `yaml:"id,omitempty"`
	Label []string `yaml:"label,omitempty"`
	Join  bool     `yaml:"join_label,omitempty"` // the label's parts make one name
	Email []string `yaml:"email,omitempty"`
}

// Capture is one entry of connection_config.
type Capture struct {
	Name     string   `yaml:"name"`
	From     string   `yaml:"from"` // input | callback | token | id_token | resources | identity | health | introspect | key
	Path     []string `yaml:"path"`
	Pattern  string   `yaml:"pattern,omitempty"` // required for callback values: they are hostile
	Required bool     `yaml:"required,omitempty"`
	Secret   bool     `yaml:"secret,omitempty"` // in creds only, never in metadata
}

type Resources struct {
	Call  `yaml:",inline"`
	List  string              `yaml:"list,omitempty"`
	Where map[string]Template `yaml:"where,omitempty"` // path -> wanted value; skipped while a placeholder is empty
	Else  string              `yaml:"else,omitempty"`  // first | only (exactly one, else fail and name the choices)
}

// FailureRule turns a reply into a class. All that is given must hold.
type FailureRule struct {
	Step   []string `yaml:"step"` // token | refresh | api | key | revoke
	Status []int    `yaml:"status,omitempty"`
	Path   string   `yaml:"path,omitempty"`
	Is     []string `yaml:"is,omitempty"` // values, compared as text
	Not    []string `yaml:"not,omitempty"`
	Match  string   `yaml:"match,omitempty"` // matched whole over the value
	Class  string   `yaml:"class"`           // rejected | misconfigured | transient | rate_limited | expired | forbidden | fine
	Reason string   `yaml:"reason,omitempty"`
}

type Revoke struct {
	Call  `yaml:",inline"`
	OK    *OK    `yaml:"ok,omitempty"`
	Token string `yaml:"token,omitempty"` // refresh_token (default, else access_token) | access_token | both
	Reach string `yaml:"reach,omitempty"` // token | grant | account: what else dies with it
}

type Discovery struct { // CODE: oidc
	Issuer Template `yaml:"issuer"`
}
