package providertest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/oauth2"
	"golang.org/x/tools/txtar"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Fixture is what one kind of one service must do, written down by hand from the service's own documentation, as
// testdata/README.md says. It is read once, and played as often as one likes.
type Fixture struct {
	Name string // google/authorization_code, as its file stands; discord/authorization_code.webhook is a further case
	ID   string
	Kind providers.Kind

	given     given
	authorize *asked
	install   *asked
	reached   []providers.Choice
	callback  url.Values
	calls     map[string]*exchange // by what stands before .request and .response
	jwt       *tokenSaid           // {jwt} of a request
	login     *dialog
	wrong     *answered // health.wrong
	forbidden *answered // health.forbidden
	device    *device
	grant     *granted
	refreshed *granted
	checked   *granted // what the check tells beside the account
	choices   []providers.Choice
	covers    []cover
	idToken   map[string]any
	assertion *assertion
	terms     *terms
	failures  []failing
	otherwise []variation
	accept    samples
	refuse    samples
	use       *use
	people    *people
}

type given struct {
	Inputs     map[string]string           `yaml:"inputs"`
	Provider   map[string]string           `yaml:"provider_inputs"`
	Connection map[string]string           `yaml:"connection_inputs"`
	Client     struct{ ID, Secret string } `yaml:"client"`
	ClientAuth string                      `yaml:"client_auth"`
	Redirect   string                      `yaml:"redirect_uri"`
	Scopes     []string                    `yaml:"scopes"`
	Optional   []string                    `yaml:"optional_scopes"`
	Key        map[string]string           `yaml:"key"`
	Secrets    []string                    `yaml:"secrets"` // of key
	Pick       string                      `yaml:"pick"`
	LoginHint  string                      `yaml:"login_hint"`
	FormPost   bool                        `yaml:"form_post"`
	Issuer     string                      `yaml:"issuer"`
	Endpoints  map[providers.Step]string   `yaml:"endpoints"`
}

type granted struct {
	Access         string   `yaml:"access_token"`
	Refresh        string   `yaml:"refresh_token"`
	Expires        string   `yaml:"expires_in"`
	RefreshExpires string   `yaml:"refresh_expires_in"`
	HardExpires    string   `yaml:"hard_expires_in"`
	Scopes         []string `yaml:"scopes"`
	Account        struct {
		ID    string `yaml:"id"`
		Label string `yaml:"label"`
		Email string `yaml:"email"`
	} `yaml:"account"`
	Config map[string]string `yaml:"connection_config"`
	Secret map[string]string `yaml:"secret_config"`
	Key    map[string]string `yaml:"key"`
	Inputs map[string]string `yaml:"inputs"`
}

// cover says what scopes an answer may leave out when it names others.
type cover struct {
	Granted []string `yaml:"granted"`
	Covers  []string `yaml:"covers"`
	Lacks   []string `yaml:"lacks"`
}

type terms struct {
	CanRefresh *bool  `yaml:"can_refresh"`
	MayRotate  *bool  `yaml:"may_rotate"`
	Idle       string `yaml:"idle"`
	Each       string `yaml:"each"`
	Hard       string `yaml:"hard"`
	MinAge     string `yaml:"min_age"`
	Reach      string `yaml:"reach"`
	Adds       *bool  `yaml:"accumulates"`
	OnDemand   *bool  `yaml:"on_demand"`

	RotateSecret string `yaml:"rotate_secret"`
	RotateKey    string `yaml:"rotate_key"`
}

type failing struct {
	Step    string            `yaml:"step"`
	Status  int               `yaml:"status"`
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
	Class   string            `yaml:"class"`
	Code    string            `yaml:"code"`   // what of it may be repeated to people
	Reason  string            `yaml:"reason"` // our word for it
	Source  string            `yaml:"source"`
}

type samples struct {
	Inputs     map[string][]string `yaml:"inputs"`
	Key        map[string][]string `yaml:"key"`
	Callback   map[string][]string `yaml:"callback"`
	Companions map[string][]string `yaml:"companions"`
	Without    []string            `yaml:"without"` // inputs that nobody sets
}

type people struct {
	ScopesAbout []string `yaml:"scopes_about"`
	ManageURL   string   `yaml:"manage_url"`
	AppURL      string   `yaml:"app_url"`
	KeyURL      string   `yaml:"key_url"`
	Category    string   `yaml:"category"`
	// each secret that is never sent, and who has one
	Companions map[string]string `yaml:"companions"`
}

// use is what an application makes of the credential.
type use struct {
	base    string
	path    string
	query   map[string]string
	headers map[string]string
	git     []string // username@host, of each host that takes it from Git
}

// asked is one request.
type asked struct {
	method  string
	address string // without its query
	query   url.Values
	header  http.Header
	body    string
}

type answered struct {
	status int
	header http.Header
	body   string
}

type exchange struct {
	request  *asked
	response *answered
}

// What the placeholders of fixtures stand for.
const (
	fixtureState    = "state-1"
	fixtureNonce    = "nonce-1"
	fixtureVerifier = "verifier-0123456789-0123456789-0123456789-01"
)

var fixtureWords = strings.NewReplacer(
	"{state}", fixtureState, "{nonce}", fixtureNonce, "{code_verifier}", fixtureVerifier,
	"{code_challenge}", oauth2.S256ChallengeFromVerifier(fixtureVerifier), "{assertion}", fixtureAssertion,
)

// callNames are the calls that have a request and a response in a fixture.
func callNames() []string {
	return []string{
		"discovery", "jwks", "token", "upgrade", "resources", "identity", "health", "refresh", "revoke", "revoke2",
		"introspect", "reaches", "device",
	}
}

func sectionNames() []string {
	names := []string{
		"parent", "given", "authorize", "install", "reached", "callback", "health.wrong", "health.forbidden", "grant",
		"refreshed", "checked", "choices", "scopes", "id_token", "assertion", "jwt", "login", "terms", "failures",
		"otherwise", "accept", "refuse", "use", "people", "device",
	}
	for _, call := range callNames() {
		names = append(names, call+".request", call+".response")
	}
	return names
}

// ReadFixtures reads all <id>/<kind>.txtar of a directory.
func ReadFixtures(files fs.FS) ([]*Fixture, error) {
	names, err := fs.Glob(files, "*/*.txtar")
	if err != nil {
		return nil, err
	}
	var all []*Fixture
	for _, name := range names {
		f, err := ReadFixture(files, strings.TrimSuffix(name, ".txtar"))
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// ReadFixture reads one fixture, and what it takes over from its parent. Errors name the file and the section.
func ReadFixture(files fs.FS, name string) (*Fixture, error) {
	sections, err := readSections(files, name, maxParents)
	if err != nil {
		return nil, err
	}
	kind, _, _ := strings.Cut(path.Base(name), ".")
	f := &Fixture{Name: name, ID: path.Dir(name), Kind: providers.Kind(kind), calls: map[string]*exchange{}}
	if !slices.Contains(providers.Kinds(), f.Kind) {
		return nil, fmt.Errorf("%s.txtar: %q is no kind: the file's name is one of %v, and may go on with .case", name,
			f.Kind,
			providers.Kinds())
	}
	for _, section := range slices.Sorted(maps.Keys(sections)) {
		if err := f.read(section, sections[section]); err != nil {
			return nil, fmt.Errorf("%s.txtar: %s: %w", name, section, err)
		}
	}
	for call, x := range f.calls {
		if x.request == nil || x.response == nil {
			return nil, fmt.Errorf("%s.txtar: %s: a request and a response belong together", name, call)
		}
	}
	if err := f.sign(); err != nil {
		return nil, fmt.Errorf("%s.txtar: id_token: %w", name, err)
	}
	return f, nil
}

// maxParents lets a case start from its kind's own fixture, and that one from another service's.
const maxParents = 2

// readSections gives the sections of a file, and those of its parent that it does not have itself. An empty section
// takes the parent's away.
func readSections(files fs.FS, name string, parents int) (map[string]string, error) {
	data, err := fs.ReadFile(files, name+".txtar")
	if err != nil {
		return nil, err
	}
	sections, known := map[string]string{}, sectionNames()
	for _, section := range txtar.Parse(data).Files {
		if !slices.Contains(known, section.Name) {
			return nil, fmt.Errorf("%s.txtar: %s: there is no such section, there are %s", name, section.Name,
				strings.Join(known, ", "))
		}
		if _, twice := sections[section.Name]; twice {
			return nil, fmt.Errorf("%s.txtar: %s: the section stands here twice", name, section.Name)
		}
		sections[section.Name] = string(section.Data)
	}
	if parent, extends := sections["parent"]; extends {
		if parents == 0 {
			return nil, fmt.Errorf("%s.txtar: parent: a parent's parent has none itself", name)
		}
		inherited, err := readSections(files, strings.TrimSpace(parent), parents-1)
		if err != nil {
			return nil, fmt.Errorf("%s.txtar: parent: %w", name, err)
		}
		delete(sections, "parent")
		maps.Copy(inherited, sections)
		sections = inherited
	}
	maps.DeleteFunc(sections, func(_, text string) bool { return strings.TrimSpace(text) == "" })
	return sections, nil
}

func (f *Fixture) read(section, text string) (err error) {
	strict := func(into any) error { return yaml.UnmarshalWithOptions([]byte(text), into, yaml.Strict()) }
	text = withKeys(fixtureWords.Replace(text))
	if call, part, isCall := strings.Cut(section, "."); isCall && slices.Contains(callNames(), call) {
		switch part {
		case "request", "response":
			if f.calls[call] == nil {
				f.calls[call] = &exchange{}
			}
			if part == "request" {
				f.calls[call].request, err = readRequest(text)
				return err
			}
			f.calls[call].response, err = readResponse(text)
			return err
		case "wrong":
			f.wrong, err = readResponse(text)
			return err
		case "forbidden":
			f.forbidden, err = readResponse(text)
			return err
		}
	}
	switch section {
	case "given":
		err = strict(&f.given)
	case "authorize":
		f.authorize, err = readURL(text)
	case "install":
		f.install, err = readURL(text)
	case "reached":
		err = yaml.Unmarshal([]byte(text), &f.reached)
	case "callback":
		f.callback, err = readPairs(lines(text))
	case "device":
		f.device = &device{}
		err = strict(f.device)
	case "grant":
		f.grant = &granted{}
		err = strict(f.grant)
	case "refreshed":
		f.refreshed = &granted{}
		err = strict(f.refreshed)
	case "checked":
		f.checked = &granted{}
		err = strict(f.checked)
	case "choices":
		err = yaml.Unmarshal([]byte(text), &f.choices)
	case "scopes":
		err = strict(&f.covers)
	case "assertion":
		f.assertion = &assertion{}
		err = json.Unmarshal([]byte(text), f.assertion)
	case "jwt":
		f.jwt = &tokenSaid{}
		err = strict(f.jwt)
	case "login":
		f.login, err = readDialog(text)
	case "id_token":
		err = json.Unmarshal([]byte(text), &f.idToken)
	case "terms":
		f.terms = &terms{}
		err = strict(f.terms)
	case "failures":
		if err = strict(&f.failures); err == nil {
			err = f.checkFailures()
		}
	case "otherwise":
		err = strict(&f.otherwise)
	case "accept":
		err = strict(&f.accept)
	case "refuse":
		err = strict(&f.refuse)
	case "use":
		f.use, err = readUse(text)
	case "people":
		f.people = &people{}
		err = strict(f.people)
	}
	return err
}

// checkFailures refuses words that could never be met.
func (f *Fixture) checkFailures() error {
	steps := []string{
		"token", "refresh", "revoke", "upgrade", "resources", "reaches", "identity", "health", "api", "key", "login",
		"device",
	}
	classes := []string{
		"transient", "rate_limited", "rejected", "misconfigured", "expired", "forbidden", "fine", "unknown",
	}
	for i, row := range f.failures {
		switch {
		case !slices.Contains(steps, row.Step):
			return fmt.Errorf("row %d: step %q is none of %v", i+1, row.Step, steps)
		case !slices.Contains(classes, row.Class):
			return fmt.Errorf("row %d: class %q is none of %v", i+1, row.Class, classes)
		case row.Status < 100:
			return fmt.Errorf("row %d: it has no status", i+1)
		}
	}
	return nil
}
