package providers

// Definition is what the catalogue knows of one service: data, read from catalog/<id>.yaml. Where a call goes always
// stands in Endpoints and how it is made in the section named like the step, so that an operator can move any step
// without touching the rest.
//
// A Definition is shared by everybody who asks the [Registry] for it. Do not change one.
type Definition struct {
	ID       string   `yaml:"id"`                 // equals the file's name without .yaml
	Name     string   `yaml:"name"`               // as the service spells itself
	Summary  string   `yaml:"summary,omitempty"`  // one sentence for people who choose from a list
	Category string   `yaml:"category,omitempty"` // for grouping only; free text
	Extends  string   `yaml:"extends,omitempty"`  // id of a definition to start from; see Registry.Decode
	Generic  bool     `yaml:"generic,omitempty"`  // no service of its own: the operator's `endpoints` name it
	Kinds    []Kind   `yaml:"kinds"`              // the first is what a connection gets when it names none
	Sources  []string `yaml:"sources,omitempty"`  // the documentation that the facts below come from
	Setup    Setup    `yaml:"setup,omitempty"`

	Inputs    []Input           `yaml:"inputs,omitempty"`
	APIBase   Template          `yaml:"api_base,omitempty"` // shown to applications; no call of ours starts from it
	Endpoints map[Step]Template `yaml:"endpoints,omitempty"`
	Discovery *Discovery        `yaml:"discovery,omitempty"`

	Client    ClientSpec `yaml:"client,omitempty"`
	Scopes    Scopes     `yaml:"scopes,omitempty"`
	Authorize Authorize  `yaml:"authorize,omitempty"`
	Callback  Callback   `yaml:"callback,omitempty"`
	Token     TokenCall  `yaml:"token,omitempty"`
	// a second exchange that trades the first access token for a better one
	Upgrade  *TokenCall `yaml:"upgrade,omitempty"`
	Refresh  Refresh    `yaml:"refresh,omitempty"`
	Lifetime Lifetime   `yaml:"lifetime,omitempty"`
	Revoke   *Revoke    `yaml:"revoke,omitempty"`

	Key       *Key       `yaml:"key,omitempty"`
	Assertion *Assertion `yaml:"assertion,omitempty"`
	Send      *Send      `yaml:"send,omitempty"` // absent: Authorization: Bearer {access_token} (RFC 6750 section 2.1)

	Resources  *Resources    `yaml:"resources,omitempty"`
	Identity   *Probe        `yaml:"identity,omitempty"`
	Health     *Probe        `yaml:"health,omitempty"` // absent: the identity call serves
	Introspect *Probe        `yaml:"introspect,omitempty"`
	Account    AccountSpec   `yaml:"account,omitempty"`
	Connection []Capture     `yaml:"connection_config,omitempty"`
	Failures   []FailureRule `yaml:"failures,omitempty"` // tried in order, before the rules of RFC 6749 and HTTP
}

// Step names a call. The operator's `endpoints` map uses the same names.
type Step string

// The steps. A [KindCall] may name one more of its own.
const (
	StepAuthorize  Step = "authorize"  // RFC 6749 section 3.1; opened by the person's browser, never called
	StepToken      Step = "token"      // RFC 6749 section 3.2
	StepRefresh    Step = "refresh"    // RFC 6749 section 6; absent: StepToken
	StepUpgrade    Step = "upgrade"    // see Definition.Upgrade
	StepDevice     Step = "device"     // RFC 8628 section 3.1
	StepRevoke     Step = "revoke"     // RFC 7009 section 2
	StepIntrospect Step = "introspect" // RFC 7662 section 2
	StepDiscovery  Step = "discovery"  // RFC 8414 section 3; absent: built from the issuer
	StepResources  Step = "resources"  // see Resources
	StepIdentity   Step = "identity"   // whose account it is
	StepHealth     Step = "health"     // whether the credential works
	StepInstall    Step = "install"    // where a person installs the app, when that is not StepAuthorize
)

func knownSteps() []Step {
	return []Step{
		StepAuthorize, StepToken, StepRefresh, StepUpgrade, StepDevice, StepRevoke, StepIntrospect, StepDiscovery,
		StepResources, StepIdentity, StepHealth, StepInstall,
	}
}

// Setup is what a person must do at the service, and what will bite.
type Setup struct {
	AppURL   string   `yaml:"app_url,omitempty"`  // where to register an OAuth app
	KeyURL   string   `yaml:"key_url,omitempty"`  // where to make a key
	Redirect string   `yaml:"redirect,omitempty"` // how the service matches redirect URIs, when oddly
	Notes    []string `yaml:"notes,omitempty"`
	Limits   []string `yaml:"limits,omitempty"`
}

// Input is a value that URLs, headers or parameters need besides the credential: a shop, a region, a host.
type Input struct {
	Name     string `yaml:"name"`
	SetBy    string `yaml:"set_by"` // SetByProvider, SetByConnection or SetByEither
	Required bool   `yaml:"required,omitempty"`
	Default  string `yaml:"default,omitempty"`
	Pattern  string `yaml:"pattern"` // RE2; must match the whole value
	// a suffix people paste along, such as .myshopify.com; cut before matching
	Strip string `yaml:"strip,omitempty"`
	// inputs that must be set too when this one is set to anything but its default
	Requires []string `yaml:"requires,omitempty"`
	Example  string   `yaml:"example,omitempty"`
	Help     string   `yaml:"help,omitempty"`
}

// Who may set an input or a key field. A host that the pattern leaves open is the operator's alone: the client secret
// goes there.
const (
	SetByProvider   = "provider"
	SetByConnection = "connection"
	SetByEither     = "either" // the provider's value wins
)

// ClientSpec says how the engine authenticates as the operator's app (RFC 6749 section 2.3).
type ClientSpec struct {
	// words of clientAuthStyles; the first is used unless the operator picks another; absent: basic
	Auth   []string          `yaml:"auth,omitempty"`
	Body   string            `yaml:"body,omitempty"`   // form (default) or json
	Rename map[string]string `yaml:"rename,omitempty"` // standard parameter name -> the service's own
	Public bool              `yaml:"public,omitempty"` // an app without a secret is accepted (RFC 6749 section 2.1)
}

// authFromDiscovery is the one style that is not final: the issuer's metadata replaces it (RFC 8414 section 2).
const authFromDiscovery = "from_discovery"

// clientAuthStyles are the words for ClientSpec.Auth and App.ClientAuth. basic form-encodes both parts as RFC 6749
// section 2.3.1 says, basic_raw does not; secret_as_user is Basic with the secret as user and no password.
func clientAuthStyles() []string {
	return []string{"basic", "basic_raw", "post", "none", "secret_as_user", "private_key_jwt"}
}

// Scopes says how the service takes scopes and tells which it granted (RFC 6749 section 3.3).
type Scopes struct {
	Param    *string  `yaml:"param,omitempty"`          // absent: scope; "": the service takes none
	Optional string   `yaml:"optional_param,omitempty"` // a second parameter, for scopes the person may decline
	Join     string   `yaml:"join,omitempty"`           // between two scopes in a request: " " (default) or ","
	Returned string   `yaml:"returned,omitempty"`       // between two in an answer: " ", "," or list; absent: as Join
	Default  []string `yaml:"default,omitempty"`        // asked for when neither operator nor person names any
	Identity []string `yaml:"identity,omitempty"`       // always added: the identity call needs them
	Offline  []string `yaml:"offline,omitempty"`        // always added: without them comes no refresh token
	Allowed  []string `yaml:"allowed,omitempty"`        // all there are, where the service has a closed list

	Same    map[string][]string `yaml:"same,omitempty"`    // a scope's name -> other spellings that answers use for it
	Surplus string              `yaml:"surplus,omitempty"` // refuse or warn (default) of scopes that nobody allowed
	// a scope -> others that it includes, which answers may leave out; * at the end of both stands for the same text
	Implies map[string][]string `yaml:"implies,omitempty"`
	Silent  []string            `yaml:"silent,omitempty"` // never named in an answer, so never missing
	// an answer names what earlier consents to the same app granted, too
	Accumulates bool `yaml:"accumulates,omitempty"`
}

// Authorize adds to the authorization request (RFC 6749 section 4.1.1).
type Authorize struct {
	// s256 (default) or off, for services that refuse it (RFC 7636)
	PKCE   string              `yaml:"pkce,omitempty"`
	Params map[string]Template `yaml:"params,omitempty"`
	// each is left out while a placeholder of it has no value
	Optional  map[string]Template `yaml:"optional_params,omitempty"`
	Omit      []string            `yaml:"omit,omitempty"`       // standard parameters the service chokes on
	Only      bool                `yaml:"only,omitempty"`       // send Params and nothing else
	LoginHint string              `yaml:"login_hint,omitempty"` // the parameter that takes a login hint
	// it takes response_mode=form_post; metadata may say so too,
	// and response_mode among the parameters goes before both
	FormPost bool `yaml:"form_post,omitempty"`
}

// Callback says how the browser comes back (RFC 6749 section 4.1.2), where that differs.
type Callback struct {
	Code   string              `yaml:"code,omitempty"`   // parameter that holds the code; absent: code
	State  string              `yaml:"state,omitempty"`  // parameter that holds the state; absent: state
	Trim   string              `yaml:"trim,omitempty"`   // suffix to cut off the code
	Decode string              `yaml:"decode,omitempty"` // url: the code is escaped once too often
	Signed string              `yaml:"signed,omitempty"` // hmac_query: signed with the client secret
	Match  map[string]Template `yaml:"match,omitempty"`  // a parameter that must equal what was asked for
	Keys   map[string]string   `yaml:"keys,omitempty"`   // kind key_handover: key field -> member of the posted body
}

// Discovery says that the service publishes metadata (RFC 8414, OpenID Connect Discovery 1.0) and signs id_tokens.
// What it publishes fills in the endpoints that neither this definition nor the operator names.
type Discovery struct {
	Issuer Template `yaml:"issuer"` // {issuer} is the operator's `issuer`
}

// Lifetime is what to believe about expiry when the service is silent.
type Lifetime struct {
	Access Duration `yaml:"access,omitempty"`      // the usual; shown to people, and used for nothing else
	Absent Duration `yaml:"when_absent,omitempty"` // taken when an answer tells no expires_in
	Zero   Duration `yaml:"when_zero,omitempty"`   // taken when expires_in is 0
	From   string   `yaml:"from,omitempty"`        // introspect: ask for exp (RFC 7662 section 2.2)
}

// AccountSpec tells where it stands whose account a connection is. Paths lead into the identity answer unless they
// begin with token:, id_token:, health:, resources: or callback:.
type AccountSpec struct {
	ID    []string `yaml:"id,omitempty"`
	Label []string `yaml:"label,omitempty"`
	Join  bool     `yaml:"join_label,omitempty"` // the label's paths are parts of one name, not alternatives
	Email []string `yaml:"email,omitempty"`
}

// Capture keeps one value for applications as an entry of connection_config.
type Capture struct {
	Name string `yaml:"name"`
	// input callback token id_token resources identity health introspect key
	From string   `yaml:"from"`
	Path []string `yaml:"path"` // alternatives, in order
	// must match the whole value; obligatory with callback, where anybody may write
	Pattern  string `yaml:"pattern,omitempty"`
	Required bool   `yaml:"required,omitempty"`
	Secret   bool   `yaml:"secret,omitempty"` // handed out with the credential, never shown as metadata
}
