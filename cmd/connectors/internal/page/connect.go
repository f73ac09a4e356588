package page

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

const (
	kindConsent = "authorization_code"
	kindDevice  = "device_code"
	maxFound    = 40 // services on a page of results
)

// found is a service of the catalogue that fits what was searched for.
type found struct {
	ID, Name, Category string
	Accounts           []entry // of the person, already there
	Here               bool    // the mount has a provider of it
}

// rank says what goes first: what the person has, then what is configured.
func (f found) rank() int {
	switch {
	case len(f.Accounts) > 0:
		return 2
	case f.Here:
		return 1
	}
	return 0
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	words := strings.TrimSpace(r.URL.Query().Get("search"))
	catalog, err := s.Client.Catalog(r.Context(), words)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	entries, err := s.entries(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	definitions := s.definitions(r.Context())
	var all []found
	for _, id := range catalog.Keys {
		about := catalog.KeyInfo[id]
		if !slices.ContainsFunc(about.Kinds, offered) {
			continue
		}
		f := found{ID: id, Name: about.Name, Category: about.Category, Here: len(about.Providers) > 0}
		for _, e := range entries {
			if e.is(id, definitions) {
				f.Accounts = append(f.Accounts, e)
			}
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b found) int { return b.rank() - a.rank() })
	more := max(0, len(all)-maxFound)
	s.render(w, r, "search", view{Title: "Connect an account", Wide: true, At: map[string]any{
		"Words": words, "Found": all[:len(all)-more], "More": more, "Command": s.line("catalog") + " WORDS",
	}})
}

// offered tells which kinds these pages can do: a consent, or a key that is typed. Device codes and what the operator's
// secret obtains are for the command line.
func offered(kind string) bool { return kind != kindDevice && kind != "client_credentials" }

// providerOf is the provider that a service of the catalogue has by default; one of a provider's own names it.
func providerOf(service string) string { return strings.TrimPrefix(service, "provider:") }

// definitions are the services of the caller's connections, by the ids of these. Where they are not told, a provider is
// taken for the service of its name.
func (s *Server) definitions(ctx context.Context) map[string]string {
	all := map[string]string{}
	inventory, err := s.Client.Inventory(ctx, "self", client.InventoryRequest{Limit: 1000})
	if err != nil {
		return all
	}
	for _, row := range inventory.Connections {
		all[row.ConnectionID] = row.Definition
	}
	return all
}

// is reports whether a connection is of a service of the catalogue.
func (e entry) is(service string, definitions map[string]string) bool {
	if known := definitions[e.ConnectionID]; known != "" && known == service {
		return true
	}
	return e.Provider == providerOf(service)
}

// form is what is asked of a person who connects.
type form struct {
	Service    string // in the catalogue
	Definition *client.Definition
	Provider   string
	Known      *client.Connection // what is connected again
	Health     health
	Accounts   []entry
	Name       string // that is proposed
	Consent    bool
	Key        bool
	Inputs     []field // what the service wants to know of whoever connects
	Fields     []field // of a key
	Groups     []group // of those fields, of which a key has one
	Asked      []field // on the form of the consent
	KeyAsked   []field // on the form of the key, before its fields
	Action     string
	Command    string
}

type field struct {
	ID, Name, Label, Help, Value string
	Secret, Lines, Required      bool
	Options                      []string
}

type group struct{ Value, Label string }

// formOf asks for what a definition wants of whoever connects.
func formOf(definition *client.Definition, kind string) form {
	f := form{Definition: definition}
	if definition == nil { // the engine knows what it is, and says what is missing
		f.Consent = true
		return f
	}
	kinds := definition.Kinds
	if kind != "" {
		kinds = []string{kind}
	}
	f.Consent = slices.Contains(kinds, kindConsent)
	fields := slices.Sorted(maps.Keys(definition.KeyFields))
	f.Key = len(fields) > 0 && slices.ContainsFunc(kinds, func(kind string) bool {
		return kind != kindConsent && offered(kind)
	})
	for _, name := range slices.Sorted(maps.Keys(definition.Inputs)) {
		input := definition.Inputs[name]
		if input.SetBy != "connection" || input.Picked {
			continue
		}
		f.Inputs = append(f.Inputs, field{
			Name: "input-" + name, Label: strings.ReplaceAll(name, "_", " "), Help: helpOf(input.Help, input.Example),
			Value:    input.Default,
			Required: input.Required && input.Default == "", Options: slices.Sorted(maps.Keys(input.Variants)),
		})
	}
	if !f.Key {
		return f
	}
	for _, name := range fields {
		key := definition.KeyFields[name]
		if key.SetBy == "provider" {
			continue
		}
		f.Fields = append(f.Fields, field{
			ID: "key-" + name, Name: "key-" + name, Label: strings.ReplaceAll(name, "_", " "),
			Help:     helpOf(key.Help, key.Example),
			Secret:   key.Secret,
			Lines:    strings.Contains(key.Example, "BEGIN") || strings.Contains(name, "private_key"),
			Required: key.Required && key.Default == "" && key.DefaultFrom == "" && len(definition.KeyOneOf) == 0,
		})
	}
	for _, names := range definition.KeyOneOf {
		f.Groups = append(f.Groups, group{Value: names, Label: strings.ReplaceAll(names, ",", ", ")})
	}
	return f
}

// ask puts together what is asked before a consent and before a key. A new account has a name, and maybe another app
// than the one that is named like its service.
func (f *form) ask() {
	asked := f.Inputs
	if f.Known == nil {
		asked = append([]field{
			{Name: "name", Label: "Name of the account here", Value: f.Name, Required: true},
			{
				Name: "provider", Label: "Provider", Value: f.Provider,
				Help: "What the operator of Vault calls this service. Change it if you were told another name.",
			},
		}, asked...)
	}
	for _, one := range asked {
		one.ID = "consent-" + one.Name
		f.Asked = append(f.Asked, one)
		one.ID = "by-key-" + one.Name
		f.KeyAsked = append(f.KeyAsked, one)
	}
}

func helpOf(help, example string) string {
	if example != "" {
		return strings.TrimSpace(sentence(help) + " For example " + example)
	}
	return help
}

func (s *Server) askConnect(w http.ResponseWriter, r *http.Request) {
	service := r.PathValue("service")
	definition, err := s.Client.Definition(r.Context(), service)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	entries, err := s.entries(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	f := formOf(definition, "")
	f.Service, f.Provider, f.Action = service, providerOf(service), s.Home()+"connect/"+service
	catalog, err := s.Client.Catalog(r.Context(), service)
	if err == nil { // else it is asked for
		if has := catalog.KeyInfo[service].Providers; len(has) > 0 && !slices.Contains(has, f.Provider) {
			f.Provider = has[0]
		}
	}
	taken, definitions := map[string]bool{}, s.definitions(r.Context())
	for _, e := range entries {
		taken[e.Name] = true
		if e.is(service, definitions) {
			f.Accounts = append(f.Accounts, e)
		}
	}
	f.Name = f.Provider
	for n := 2; taken[f.Name]; n++ {
		f.Name = f.Provider + "-" + strconv.Itoa(n)
	}
	f.Command = s.line("connect", f.Provider, "--as", f.Name)
	f.ask()
	s.render(w, r, "connect", view{Title: "Connect " + definition.Name, At: f})
}

func (s *Server) askReconnect(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c, err := s.Client.Connection(r.Context(), own(name))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	f := formOf(s.definition(r.Context(), c.Provider), c.Kind)
	f.Known, f.Provider, f.Name, f.Health = c, c.Provider, name, s.healthOf(c)
	for i, input := range f.Inputs {
		if value := c.Inputs[strings.TrimPrefix(input.Name, "input-")]; value != "" {
			f.Inputs[i].Value, f.Inputs[i].Required = value, false
		}
	}
	f.Action, f.Command = s.Home()+"account/"+name+"/reconnect", s.line("reconnect", name)
	f.ask()
	s.render(w, r, "connect", view{Title: "Connect " + titleOf(c) + " again", At: f})
}

func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	service, name := r.PathValue("service"), strings.TrimSpace(r.PostFormValue("name"))
	provider := providerOf(service)
	if named := strings.TrimSpace(r.PostFormValue("provider")); named != "" {
		provider = named
	}
	if name == "" {
		name = provider
	}
	if strings.Contains(name, "/") {
		s.fail(w, r, http.StatusBadRequest, "A name has no slash: these pages connect accounts of your own.")
		return
	}
	switch known, err := s.Client.Connection(r.Context(), own(name)); {
	case client.StatusOf(err) == http.StatusNotFound:
	case err != nil:
		s.failed(w, r, err)
		return
	case known.Exists():
		s.fail(w, r, http.StatusConflict, "There is an account named "+shown(name)+" already: choose another name, or "+
			"connect that one again.")
		return
	}
	definition, err := s.Client.Definition(r.Context(), service)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.start(w, r, &flow{
		name: name, provider: provider, command: s.line("connect", provider, "--as", name),
	}, definition)
}

func (s *Server) reconnect(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c, err := s.Client.Connection(r.Context(), own(name))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.start(w, r, &flow{
		name: name, provider: c.Provider, kind: c.Kind, command: s.line("reconnect", name),
	}, s.definition(r.Context(), c.Provider))
}

// start begins a consent, or stores a key that was typed.
func (s *Server) start(w http.ResponseWriter, r *http.Request, f *flow, definition *client.Definition) {
	asked := formOf(definition, f.kind)
	inputs := map[string]string{}
	for _, input := range asked.Inputs {
		if value := strings.TrimSpace(r.PostFormValue(input.Name)); value != "" {
			inputs[strings.TrimPrefix(input.Name, "input-")] = value
		}
	}
	if r.PostFormValue("by") != "key" {
		s.consent(w, r, f, inputs)
		return
	}
	fields := map[string]any{"provider": f.provider}
	if f.kind != "" {
		fields["kind"] = f.kind
	}
	if len(inputs) > 0 {
		fields["inputs"] = inputs
	}
	group := r.PostFormValue("group")
	for _, key := range asked.Fields {
		name := strings.TrimPrefix(key.Name, "key-")
		// text areas send line ends as mail has them, which a PEM does not survive everywhere
		value := strings.ReplaceAll(r.PostFormValue(key.Name), "\r\n", "\n")
		if value = strings.TrimSpace(value); value == "" ||
			group != "" && inSomeGroup(asked.Groups, name) && !slices.Contains(strings.Split(group, ","), name) {
			continue
		}
		fields[name] = value
	}
	stored, err := s.Client.WriteKey(r.Context(), own(f.name), fields)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	n := note{Text: "The key is stored.", Command: f.command, Bad: len(stored.Warnings) > 0}
	n.warn(stored.Warnings)
	s.leadOn(w, r, "account/"+f.name, n)
}

func inSomeGroup(groups []group, name string) bool {
	return slices.ContainsFunc(groups, func(g group) bool { return slices.Contains(strings.Split(g.Value, ","), name) })
}
