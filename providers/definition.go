package providers

// Definition is what the catalogue knows of one service: data, read from catalog/<id>.yaml. Where a call goes always
// stands in Endpoints and how it is made in the section named like the step, so that an operator can move any step
// without touching the rest.
//
// Every field acts: some code beyond decoding and validation goes by it. One marked use:"shown" is there for people and
// applications, and catalog/ answers it. What words:"..." lists is all that a field may hold. Without omitempty a key
// must be there. schema.json is made of all this, comments included.
//
// A Definition is shared by everybody who asks the [Registry] for it. Do not change one.
type Definition struct {
	ID      string `yaml:"id"`                            // equals the file's name without .yaml
	Name    string `yaml:"name"`                          // as the service spells itself
	Summary string `yaml:"summary,omitempty" use:"shown"` // one sentence for people who choose from a list
	// for grouping only
	Category string `yaml:"category,omitempty" words:"ai|analytics|cloud|communication|crm|ecommerce|education|engineering|finance|generic|hr|legal|mail|marketing|productivity|social|storage"`
	// id of the definition to start from; see Registry.Decode
	Extends string `yaml:"extends,omitempty"`
	// no service of its own: the operator's `endpoints` name it
	Generic bool `yaml:"generic,omitempty"`
	// the first is what a connection gets when it names none
	Kinds []Kind `yaml:"kinds"`
	// the documentation that the facts below come from
	Sources []string `yaml:"sources,omitempty" use:"shown"`
	// the day on which they were last held against it, as 2026-11-29
	Checked string `yaml:"checked,omitempty" use:"shown"`
	Setup   Setup  `yaml:"setup,omitempty"`

	Inputs []Input `yaml:"inputs,omitempty"`
	// where applications call; no call of ours starts from it
	APIBase   Template          `yaml:"api_base,omitempty"`
	Endpoints map[Step]Template `yaml:"endpoints,omitempty"`
	Discovery *Discovery        `yaml:"discovery,omitempty"`

	Client    ClientSpec `yaml:"client,omitempty"`
	Scopes    Scopes     `yaml:"scopes,omitempty"`
	Authorize Authorize  `yaml:"authorize,omitempty"`
	Callback  Callback   `yaml:"callback,omitempty"`
	// a consent that lets the app act for itself, before it asks for its own token
	Install *Install   `yaml:"install,omitempty"`
	Device  DeviceCall `yaml:"device,omitempty"`
	Token   TokenCall  `yaml:"token,omitempty"`
	// a second exchange that trades the first access token for a better one
	Upgrade  *TokenCall `yaml:"upgrade,omitempty"`
	Refresh  Refresh    `yaml:"refresh,omitempty"`
	Lifetime Lifetime   `yaml:"lifetime,omitempty"`
	Revoke   *Revoke    `yaml:"revoke,omitempty"`

	Key *Key `yaml:"key,omitempty"`
	// what is signed with a key, for the kind jwt_bearer
	Assertion *Assertion `yaml:"assertion,omitempty"`
	Sign      *Sign      `yaml:"sign,omitempty"`
	Send      *Send      `yaml:"send,omitempty"` // absent: Authorization: Bearer {access_token} (RFC 6750 section 2.1)
	// where Git takes the credential as a password; absent: nowhere
	Git *Git `yaml:"git,omitempty"`

	Resources *Resources `yaml:"resources,omitempty"`
	// what the app itself reaches, for the operator who binds it to owners
	Reaches *Reaches `yaml:"reaches,omitempty"`
	// {}: a GET with the credential, as applications send it
	Identity   *Probe      `yaml:"identity,omitempty"`
	Health     *Probe      `yaml:"health,omitempty"` // absent: the identity call serves
	Login      *Login      `yaml:"login,omitempty"`  // in the place of both, where a server does not speak HTTP
	Account    AccountSpec `yaml:"account,omitempty"`
	Connection []Capture   `yaml:"connection_config,omitempty"`
	// none: no call of ours tells whether a key works
	Check string `yaml:"check,omitempty" use:"shown" words:"none"`
	// how often what no refresh proves is checked by itself, never included; absent: as the mount is set
	CheckInterval Duration `yaml:"check_interval,omitempty"`
	// tried in order, before the rules of RFC 6749 and HTTP
	Failures []FailureRule `yaml:"failures,omitempty"`
	// what credentials of the service look like, whichever the kind: one that is written where people read it, as in a
	// label, is refused. Those of a run-time definition count for nothing
	SecretShapes []SecretShape `yaml:"secret_shapes,omitempty"`
	// secrets that no call of ours sends, and applications ask for by name
	Companions []Companion `yaml:"companions,omitempty"`
}

// Step names a call. The operator's `endpoints` map uses the same names.
type Step string

// The steps. A [KindCall] may name one more of its own.
const (
	StepAuthorize  Step = "authorize"  // RFC 6749 section 3.1; opened by the person's browser, never called
	StepInstall    Step = "install"    // see Install; opened by the person's browser, never called
	StepToken      Step = "token"      // RFC 6749 section 3.2
	StepRefresh    Step = "refresh"    // RFC 6749 section 6; absent: StepToken
	StepUpgrade    Step = "upgrade"    // see Definition.Upgrade
	StepDevice     Step = "device"     // RFC 8628 section 3.1
	StepRevoke     Step = "revoke"     // RFC 7009 section 2
	StepIntrospect Step = "introspect" // RFC 7662 section 2; see Lifetime.From
	StepDiscovery  Step = "discovery"  // RFC 8414 section 3; absent: built from the issuer
	StepResources  Step = "resources"  // see Resources
	StepReaches    Step = "reaches"    // see Reaches
	StepIdentity   Step = "identity"   // whose account it is
	StepHealth     Step = "health"     // whether the credential works
)

// knownSteps are those that something is done at.
func knownSteps() []Step {
	return []Step{
		StepAuthorize, StepInstall, StepToken, StepRefresh, StepUpgrade, StepRevoke, StepDiscovery, StepResources,
		StepReaches, StepIdentity, StepHealth, StepIntrospect, StepDevice,
	}
}

// Companion is a secret that goes along with a credential and is never sent: what a webhook is signed with.
type Companion struct {
	Name string `yaml:"name"`
	// provider: the app has one, and the operator says which owners get it; connection: each has its own
	On      string `yaml:"on" words:"provider|connection"`
	Help    string `yaml:"help,omitempty"`
	Pattern string `yaml:"pattern,omitempty"` // RE2; must match the whole value
}

// Setup is what a person must do at the service, and what will bite.
type Setup struct {
	AppURL string `yaml:"app_url,omitempty"`             // where to register an OAuth app
	KeyURL string `yaml:"key_url,omitempty" use:"shown"` // where to make a key
	// how the service matches redirect URIs, when oddly
	Redirect string `yaml:"redirect,omitempty" use:"shown"`
	// where a person ends the grant, or the key, by hand
	ManageURL string `yaml:"manage_url,omitempty"`
	// what creates the app at once: a JSON document to paste, or the https address of a form that is filled in.
	// {redirect_uri} and {scopes} stand for lists there: in JSON without quotes, in an address as a parameter that is
	// repeated. Besides them only inputs that the operator may set can stand in it
	Manifest Template `yaml:"manifest,omitempty"`
	// what to create and to click, in order
	Steps []string `yaml:"steps,omitempty" use:"shown"`
	// what is needed besides scopes: an invitation, an administrator's consent, a plan
	Needs  []string `yaml:"needs,omitempty" use:"shown"`
	Notes  []string `yaml:"notes,omitempty" use:"shown"`
	Limits []string `yaml:"limits,omitempty" use:"shown"`
}

// Input is a value that URLs, headers or parameters need besides the credential: a shop, a region, a host.
type Input struct {
	Name string `yaml:"name"`
	// who may; of either, the provider's value wins
	SetBy string `yaml:"set_by" words:"provider|connection|either"`
	// of what the provider sets: the kinds whose key, with all that is secret, is the connection's own
	ByKind   map[Kind]KindInput `yaml:"by_kind,omitempty"`
	Required bool               `yaml:"required,omitempty"`
	Default  string             `yaml:"default,omitempty"`
	// RE2; must match the whole value. It must be there unless there are variants
	Pattern string `yaml:"pattern,omitempty"`
	// the values that may be chosen, and the further values that each sets, which are placeholders too
	Variants map[string]map[string]string `yaml:"variants,omitempty"`
	// a suffix people paste along, such as .myshopify.com; cut before matching
	Strip string `yaml:"strip,omitempty"`
	// capital letters mean the same, and become small ones before matching
	Lower bool `yaml:"lower,omitempty"`
	// inputs that must be set too when this one is set to anything but its default
	Requires []string `yaml:"requires,omitempty"`
	Example  string   `yaml:"example,omitempty"`
	Help     string   `yaml:"help,omitempty"`
}

// KindInput is who else may set an input for one kind.
type KindInput struct {
	// the key goes where the same write says, unless the provider says it for all
	SetBy string `yaml:"set_by" words:"connection"`
}

// Who may set an input or a key field. A host that the pattern leaves open is the operator's alone, since the client
// secret goes there; but for keys that Input.ByKind names, with which nothing of the operator's is sent.
const (
	SetByProvider   = "provider"
	SetByConnection = "connection"
	SetByEither     = "either" // the provider's value wins
)

// ClientSpec says how the engine authenticates as the operator's app (RFC 6749 section 2.3).
type ClientSpec struct {
	// the first is used unless the operator picks another; absent: basic
	Auth []string `yaml:"auth,omitempty" words:"basic|basic_raw|post|none|secret_as_user|private_key_jwt|from_discovery"`
	Body string   `yaml:"body,omitempty" words:"form|json"` // absent: form
	// standard parameter name -> the service's own
	Rename map[string]string `yaml:"rename,omitempty"`
	// what private_key_jwt signs, where that differs from RFC 7523 section 3
	Assertion *ClientAssertion `yaml:"assertion,omitempty"`
	// after how long its secret is to be replaced, where the service ends secrets or says so
	RotateAfter Duration `yaml:"rotate_after,omitempty"`
	// an app without a secret is accepted (RFC 6749 section 2.1)
	Public bool `yaml:"public,omitempty"`
}

// authFromDiscovery is the one style that is not final: the issuer's metadata replaces it (RFC 8414 section 2).
const authFromDiscovery = "from_discovery"

// clientAuthStyles are the words for ClientSpec.Auth and App.ClientAuth. basic form-encodes both parts as RFC 6749
// section 2.3.1 says, basic_raw does not; secret_as_user is Basic with the secret as user and no password;
// private_key_jwt signs with the app's own key (RFC 7523 section 2.2).
func clientAuthStyles() []string {
	return []string{"basic", "basic_raw", "post", "none", "secret_as_user", authPrivateKeyJWT}
}

// Scopes says how the service takes scopes and tells which it granted (RFC 6749 section 3.3).
type Scopes struct {
	Param *string `yaml:"param,omitempty"` // absent: scope; "": the service takes none
	// the parameter for scopes that a person may leave out; absent: the service takes none
	OptionalParam string `yaml:"optional_param,omitempty"`
	// between two scopes in a request; absent: a blank
	Join     string `yaml:"join,omitempty" words:" |,"`
	Returned string `yaml:"returned,omitempty" words:" |,|list"` // between two in an answer; absent: as join
	// asked for when neither operator nor person names any
	Default  []string `yaml:"default,omitempty"`
	Identity []string `yaml:"identity,omitempty"` // always added: the identity call needs them
	// always added: without them comes no refresh token
	Offline []string `yaml:"offline,omitempty"`
	// all there are, where the service has a closed list
	Allowed []string `yaml:"allowed,omitempty"`

	// a scope's name -> other spellings that answers use for it
	Same map[string][]string `yaml:"same,omitempty"`
	// what becomes of scopes that nobody allowed; absent: warn
	Surplus string `yaml:"surplus,omitempty" words:"refuse|warn"`
	// a scope -> others that it includes, which answers may leave out; * at the end of both stands for the same text
	Implies map[string][]string `yaml:"implies,omitempty"`
	// never named in an answer, so never missing
	Silent []string `yaml:"silent,omitempty"`
	// an answer names what earlier consents to the same app granted, too
	Accumulates bool `yaml:"accumulates,omitempty"`
	// a scope -> one sentence on what it lets an application do
	About map[string]string `yaml:"about,omitempty"`
}

// Authorize adds to the authorization request (RFC 6749 section 4.1.1).
type Authorize struct {
	// RFC 7636; off is for services that refuse it; absent: s256
	PKCE   string              `yaml:"pkce,omitempty" words:"s256|off"`
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

// Install is a consent without a code: an administrator lets the app act for itself, and the browser brings back our
// state. What else it brings is anybody's to write, so that it tells nothing but that somebody consented: whose account
// the app acts for is what the operator set, or bound to the connection's owner.
type Install struct {
	// whose token is asked for afterwards, with what is the operator's
	Kinds []Kind `yaml:"kinds"`
	// beside the state: client_id and redirect_uri, where the service wants them, and what else it does
	Params map[string]Template `yaml:"params,omitempty"`
}

// Callback says how the browser comes back (RFC 6749 section 4.1.2), where that differs.
type Callback struct {
	// parameter that holds the code; absent: code
	Code string `yaml:"code,omitempty"`
	// parameter that holds the state; absent: state
	State string `yaml:"state,omitempty"`
	Trim  string `yaml:"trim,omitempty"` // suffix to cut off the code
	// url: the code is escaped once too often
	Decode string `yaml:"decode,omitempty" words:"url"`
	// hmac_query: signed with the client secret
	Signed string `yaml:"signed,omitempty" words:"hmac_query"`
	// a parameter that must equal what was asked for
	Match map[string]Template `yaml:"match,omitempty"`
}

// Discovery says that the service publishes metadata (RFC 8414, OpenID Connect Discovery 1.0) and signs id_tokens.
// What it publishes fills in the endpoints that neither this definition nor the operator names.
type Discovery struct {
	Issuer Template `yaml:"issuer"` // {issuer} is the operator's `issuer`
}

// Lifetime is what to believe about expiry when the service is silent.
type Lifetime struct {
	// introspect: asked at the introspection endpoint when an answer tells no expires_in (RFC 7662)
	From   string   `yaml:"from,omitempty" words:"introspect"`
	Access Duration `yaml:"access,omitempty" use:"shown"` // the usual
	Absent Duration `yaml:"when_absent,omitempty"`        // taken when an answer tells no expires_in
	Zero   Duration `yaml:"when_zero,omitempty"`          // taken when expires_in is 0
}

// AccountSpec tells where it stands whose account a connection is. Paths lead into the identity answer unless they
// begin with token:, id_token:, upgrade:, access_token_claims:, health:, callback:, assertion: (a claim of it, which
// the service took) or connection_config:, which is an entry that the identity call's address names, so that its answer
// proves it.
type AccountSpec struct {
	ID    []string `yaml:"id,omitempty"`
	Label []string `yaml:"label,omitempty"`
	Join  bool     `yaml:"join_label,omitempty"` // the label's paths are parts of one name, not alternatives
	Email []string `yaml:"email,omitempty"`
}

// Capture keeps one value for applications as an entry of connection_config.
type Capture struct {
	Name string `yaml:"name"`
	// which answer it stands in; access_token_claims are those of a JWT, as its endpoint sent it and unverified
	From string   `yaml:"from,omitempty" words:"input|callback|token|id_token|upgrade|access_token_claims|resources|identity|health"`
	Path []string `yaml:"path,omitempty"` // alternatives, in order
	// in the place of from and path: several answers it may stand in, the one that counts most first
	AnyOf []CaptureSource `yaml:"any_of,omitempty"`
	// must match the whole value; obligatory with callback, where anybody may write
	Pattern  string `yaml:"pattern,omitempty"`
	Required bool   `yaml:"required,omitempty"`
	Secret   bool   `yaml:"secret,omitempty"` // handed out with the credential, never shown as metadata
}

// CaptureSource is one of several places where a value of connection_config may stand.
type CaptureSource struct {
	From string   `yaml:"from" words:"input|callback|token|id_token|upgrade|access_token_claims|resources|identity|health"`
	Path []string `yaml:"path"` // alternatives, in order
}
