package providers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A run-time definition is one that an operator writes on a provider, by the schema and the checks of the catalogue's
// files. Two things are left to the mount: whether its hosts may be called, and what is pinned to them. It may say less
// than a file of the catalogue, which is reviewed: what is shown of a connection to others than its owner cannot be
// made of its credential.

const runtimePrefix = "provider:"

// RuntimeID is the id of the run-time definition of a provider. No definition of the catalogue can have it.
func RuntimeID(provider string) string { return runtimePrefix + provider }

// RuntimeProvider tells of which provider an id names the run-time definition.
func RuntimeProvider(id string) (provider string, ok bool) {
	return strings.CutPrefix(id, runtimePrefix)
}

// Runtime reports whether d is a run-time definition.
func (d *Definition) Runtime() bool { return strings.HasPrefix(d.ID, runtimePrefix) }

// DecodeRuntime is [Registry.Decode] for the run-time definition of a provider, which may extend one of this registry.
// Errors begin with the provider's name in the place of a file's. An id, if it is written, is that name.
func (r *Registry) DecodeRuntime(provider string, data []byte) (*Definition, error) {
	text, err := read(provider, provider, data, r.open)
	if err != nil {
		return nil, err
	}
	return text.decode(func(d *Definition) (wrong string) {
		if d.ID != provider {
			wrong = fmt.Sprintf("id %q is not the provider's name: write %s, or leave the id out", d.ID, provider)
		}
		d.ID = RuntimeID(provider)
		return wrong
	})
}

// runtime checks what a file of the catalogue may say and a run-time definition may not: nothing that is shown of a
// connection to others may be read where a token stands, and no refresh token is handed out. Any answer may hold one,
// since a definition says which call is which.
func (c *checker) runtime() {
	d := c.d
	if !d.Runtime() {
		return
	}
	shown := func(at string, paths []string, what string) {
		for i, p := range paths {
			if _, in := accountSource(p); d.holdsToken(in) {
				c.add(fmt.Sprintf("%s[%d]", at, i), "%q is a token or a secret by its name, and %s are shown", in, what)
			}
		}
	}
	shown("account.id", d.Account.ID, "accounts")
	shown("account.label", d.Account.Label, "accounts")
	shown("account.email", d.Account.Email, "accounts")
	for at, answer := range d.answers() {
		shown(at+".scope", answer.Scope, "scopes")
	}
	for at, probe := range map[string]*Probe{"identity": d.Identity, "health": d.Health} {
		if probe != nil {
			shown(at+".scopes_path", probe.ScopesPath, "scopes")
			shown(at+".scopes_header", []string{probe.ScopesHeader}, "scopes")
		}
	}
	if d.Resources != nil {
		shown("resources.id", []string{d.Resources.ID}, "choices")
		shown("resources.name", []string{d.Resources.Name}, "choices")
	}
	if d.Reaches != nil {
		shown("reaches.id", []string{d.Reaches.ID}, "accounts")
		shown("reaches.name", []string{d.Reaches.Name}, "accounts")
	}
	for i, capture := range d.Connection {
		at := fmt.Sprintf("connection_config[%d]", i)
		for _, source := range capture.sources() {
			switch {
			case source.From == fromInput:
			case slices.ContainsFunc(source.Path, d.holdsRefreshToken):
				c.add(at, "entry %q holds a refresh token by its name, which is handed out to nobody", capture.Name)
			case !capture.Secret && slices.ContainsFunc(source.Path, d.holdsToken):
				c.add(at, "entry %q holds a token or a secret by its name: say secret: true", capture.Name)
			}
		}
	}
}

// answers are where things stand in the answers of token calls, by their place in the definition.
func (d *Definition) answers() map[string]Answer {
	answers := map[string]Answer{"token.answer": d.Token.Answer}
	if d.Upgrade != nil {
		answers["upgrade.answer"] = d.Upgrade.Answer
	}
	if d.Refresh.Answer != nil {
		answers["refresh.answer"] = *d.Refresh.Answer
	}
	for kind, by := range d.Token.ByKind {
		if by.Answer != nil {
			answers["token.by_kind."+string(kind)+".answer"] = *by.Answer
		}
	}
	return answers
}

// holdsToken reports whether a path into an answer leads to what is no metadata, as far as names tell.
func (d *Definition) holdsToken(at string) bool {
	for _, answer := range d.answers() {
		if slices.ContainsFunc(answer.AccessToken, samePlace(at)) {
			return true
		}
	}
	name := strings.ToLower(at)
	return d.holdsRefreshToken(at) || strings.Contains(name, "secret") ||
		strings.Contains(strings.ReplaceAll(name, "token_type", ""), "token")
}

func (d *Definition) holdsRefreshToken(at string) bool {
	for _, answer := range d.answers() {
		if slices.ContainsFunc(answer.RefreshToken, samePlace(at)) {
			return true
		}
	}
	name := strings.ReplaceAll(strings.ToLower(at), "_", "")
	return strings.Contains(name, "refreshtoken")
}

// samePlace tells the paths that lead where one does, however they are written.
func samePlace(at string) func(other string) bool {
	one, err := parsePath(at)
	return func(other string) bool {
		another, wrong := parsePath(other)
		return err == nil && wrong == nil && slices.Equal(one, another)
	}
}

// NamedURL is where a URL of a definition leads, as far as the definition says it.
type NamedURL struct {
	At     string // where it stands: endpoints.token
	Origin string // scheme, host and port; empty where the host has placeholders
	Host   string // in small letters; where the host only ends in what is fixed, that end, with its dot
}

// NamedURLs are where the URLs of d lead, those of the service's API and of its repositories among them, which
// applications call.
func (d *Definition) NamedURLs() (named []NamedURL) {
	add := func(at string, whole Template) {
		for _, t := range d.eachVariant(whole) {
			parts, err := splitURL(t)
			if t == "" || err != nil {
				continue
			}
			for _, host := range d.fixedHost(t) { // a host that is the operator's is looked at when it is called
				u := NamedURL{At: at, Host: host}
				if parts.base == "" && len(parts.host.Placeholders()) == 0 {
					u.Origin = parts.scheme + "://" + string(parts.host)
				}
				named = append(named, u)
			}
		}
	}
	for _, step := range sortedKeys(d.Endpoints) {
		add("endpoints."+string(step), d.Endpoints[step])
	}
	if d.Discovery != nil {
		add("discovery.issuer", d.Discovery.Issuer)
	}
	add("api_base", d.APIBase)
	if d.Git != nil {
		for i, host := range d.Git.Hosts {
			add(fmt.Sprintf("git.hosts[%d]", i), host.https())
		}
	}
	return named
}

// Pin stands for all by which a definition decides where a grant goes, and what is done with it. Texts for people,
// the names of scopes, lifetimes, the meaning of failures and companions are no part of it. It is a SHA-256 in
// hexadecimal; of two releases, each may have its own.
func (d *Definition) Pin() string {
	p := *d
	p.Name, p.Summary, p.Category, p.Extends, p.Sources, p.Setup = "", "", "", "", nil, Setup{}
	p.Checked, p.Check, p.CheckInterval = "", "", Duration{}
	p.Scopes = Scopes{
		Param: d.Scopes.Param, OptionalParam: d.Scopes.OptionalParam, Join: d.Scopes.Join, Returned: d.Scopes.Returned,
	}
	p.Lifetime, p.Failures, p.Companions = Lifetime{}, nil, nil
	p.Inputs = slices.Clone(d.Inputs)
	for i := range p.Inputs {
		p.Inputs[i].Example, p.Inputs[i].Help = "", ""
	}
	if d.Key != nil {
		key := *d.Key
		key.Fields = slices.Clone(key.Fields)
		for i := range key.Fields {
			key.Fields[i].Example, key.Fields[i].Help = "", ""
		}
		p.Key = &key
	}
	encoded, _ := json.Marshal(p) // texts, numbers, lists and maps always encode, and maps in the order of their keys
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

func isLoopbackHost(host Template) bool {
	return len(host.Placeholders()) == 0 && isLoopback(hostname(string(host)))
}
