package store

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Provider is a definition as the operator configured it on this mount.
type Provider struct {
	Serial     uint64 `json:"serial"`
	Definition string `json:"definition"`
	// the definition itself, where it is a run-time one, as it was written, and what stands for where it leads
	DefinitionYAML string `json:"definition_yaml,omitempty"`
	DefinitionPin  string `json:"definition_pin,omitempty"`

	ClientID     string                      `json:"client_id,omitempty"`
	ClientSecret providers.Secret            `json:"-"`
	FormerSecret providers.Secret            `json:"-"` // the one before, while the app's secret is being rotated
	Keys         map[string]providers.Secret `json:"-"` // operator-held key fields
	Companions   map[string]providers.Secret `json:"-"` // secrets that are sent nowhere

	// ClientSecret is not known to have worked: whoever made it up would know it, too
	Unproven bool `json:"unproven,omitempty"`
	// the provider was pointed elsewhere, and no secret was written since
	SecretsCleared bool `json:"secrets_cleared,omitempty"`

	Scopes                []string          `json:"scopes,omitempty"`
	AllowedScopes         []string          `json:"allowed_scopes,omitempty"`
	Inputs                map[string]string `json:"inputs,omitempty"`
	Endpoints             map[string]string `json:"endpoints,omitempty"`
	Issuer                string            `json:"issuer,omitempty"`
	AuthorizeParams       map[string]string `json:"authorize_params,omitempty"`
	TokenParams           map[string]string `json:"token_params,omitempty"`
	ClientAuth            string            `json:"client_auth,omitempty"`
	ClientKeyID           string            `json:"client_key_id,omitempty"`
	ClientCertificate     string            `json:"client_certificate,omitempty"`
	FormerKeyID           string            `json:"former_key_id,omitempty"` // of FormerSecret
	FormerCertificate     string            `json:"former_certificate,omitempty"`
	RedirectURIs          []string          `json:"redirect_uris,omitempty"`
	ReturnURLs            []string          `json:"return_urls,omitempty"`
	Confirm               bool              `json:"confirm"`
	RequireSessionBinding bool              `json:"require_session_binding,omitempty"`
	AssumedTTL            time.Duration     `json:"assumed_ttl,omitempty"`
	RefreshTTL            time.Duration     `json:"refresh_ttl,omitempty"`    // 0: as the definition says
	IdleTTL               time.Duration     `json:"idle_ttl,omitempty"`       // 0: as the definition says
	CheckInterval         *time.Duration    `json:"check_interval,omitempty"` // 0: never; nil: see CheckEvery
	OptionalScopes        []string          `json:"optional_scopes,omitempty"`
	CAPEM                 string            `json:"ca_pem,omitempty"`
	CAPin                 string            `json:"ca_pin,omitempty"` // see PinCA; empty: no part of the pin
	SharedRedirect        bool              `json:"shared_redirect,omitempty"`
	RequireIss            bool              `json:"require_iss,omitempty"`

	Kinds         []providers.Kind `json:"kinds,omitempty"`          // that may be connected; empty: see kindsOf
	AllowedOwners []string         `json:"allowed_owners,omitempty"` // such as org/acme and user/*; empty: all
	// owner, such as org/acme -> input -> what its connections may say for it, of kinds that are the app's own
	BoundInputs map[string]map[string][]string `json:"bound_inputs,omitempty"`

	CompanionsFor []string `json:"companions_for,omitempty"` // owners that get Companions; empty: none
	AllowImport   string   `json:"allow_import,omitempty"`   // none, org or all; empty: org
	SurplusScopes string   `json:"surplus_scopes,omitempty"` // refuse or warn; empty: the definition's word

	ScopesIgnored bool      `json:"scopes_ignored,omitempty"` // none are asked for, required, missed or too much
	AddedScopes   *[]string `json:"added_scopes,omitempty"`   // that the engine adds by itself; nil: all
	PKCE          string    `json:"pkce,omitempty"`           // off; empty: the definition's word
	// what the last write answered to be registered at the service
	ToldCallback string `json:"told_callback,omitempty"`

	Freeze

	Notices []Notice `json:"notices,omitempty"` // of the last write that was worth some, for when a crash cut them off

	Created Actor     `json:"created"`
	Updated time.Time `json:"updated"`

	unknown unknownFields
}

// OnlyFreezes reports whether other differs from p in nothing but whether and why it is frozen.
func (p *Provider) OnlyFreezes(other *Provider) bool {
	alike := *other
	alike.Freeze, alike.Notices = p.Freeze, p.Notices
	return p.Same(&alike)
}

// CheckEvery is how often what no refresh proves is checked; 0: never. The provider's word goes before the
// definition's, and that before the mount's, but for a mount where nothing is to be checked.
func (p *Provider) CheckEvery(d *providers.Definition, c *Config) time.Duration {
	switch mount := c.CheckEvery(); {
	case p.CheckInterval != nil:
		return *p.CheckInterval
	case d.CheckInterval.Set && mount != 0:
		return d.CheckInterval.D
	default:
		return mount
	}
}

// App joins the definition with what the operator set.
func (p *Provider) App(d *providers.Definition) *providers.App {
	endpoints := make(map[providers.Step]string, len(p.Endpoints))
	for step, u := range p.Endpoints {
		endpoints[providers.Step(step)] = u
	}
	return &providers.App{
		Definition: d, ClientID: p.ClientID, ClientSecret: p.ClientSecret, FormerSecret: p.FormerSecret,
		Scopes: p.Scopes, Inputs: p.Inputs, Keys: p.Keys, Endpoints: endpoints, Issuer: p.Issuer,
		AuthorizeParams: p.AuthorizeParams, TokenParams: p.TokenParams, ClientAuth: p.ClientAuth,
		AssumedTTL: p.AssumedTTL, CAPin: p.CAPin, DefinitionPin: p.DefinitionPin, AddedScopes: p.AddedScopes, PKCE: p.PKCE,
		ScopesIgnored: p.ScopesIgnored, ClientKeyID: p.ClientKeyID, ClientCertificate: p.ClientCertificate,
		FormerKeyID: p.FormerKeyID, FormerCertificate: p.FormerCertificate,
		RefreshTTL: p.RefreshTTL, IdleTTL: p.IdleTTL, OptionalScopes: p.OptionalScopes,
	}
}

// PinCA makes the certificates part of what grants are pinned to. Each call gives another pin, even when they are
// certificates of an earlier one: those may have been replaced because nobody trusts them any more.
func (p *Provider) PinCA() {
	sum := sha256.Sum256([]byte(p.CAPin + "\n" + p.CAPEM))
	p.CAPin = hex.EncodeToString(sum[:])
}

// SetClientSecret makes secret the app's secret and keeps the former one as the fallback for the time in which the
// provider knows both. The same secret written again changes nothing; an empty one forgets both.
func (p *Provider) SetClientSecret(secret providers.Secret) {
	p.SecretsCleared = false
	switch {
	case secret.IsZero():
		p.ClientSecret = secret
		p.DropFormerSecret()
	case !secret.Equal(p.ClientSecret):
		p.FormerSecret, p.ClientSecret, p.Unproven = p.ClientSecret, secret, true
	}
}

// KeepFormerKey notes how the service knows the private key that this write replaced: as before says it.
func (p *Provider) KeepFormerKey(before *Provider) {
	if !p.ClientSecret.Equal(before.ClientSecret) && p.FormerSecret.Equal(before.ClientSecret) {
		p.FormerKeyID, p.FormerCertificate = before.ClientKeyID, before.ClientCertificate
	}
}

// DropFormerSecret ends the time in which the provider knows both.
func (p *Provider) DropFormerSecret() {
	p.FormerSecret, p.FormerKeyID, p.FormerCertificate = providers.Secret{}, "", ""
}

// Same reports whether two are stored alike, but for their serials and when they were written.
func (p *Provider) Same(other *Provider) bool {
	a, b := *p, *other
	a.Serial, a.Updated = b.Serial, b.Updated
	one, err1 := encodeProvider(&a)
	two, err2 := encodeProvider(&b)
	return err1 == nil && err2 == nil && subtle.ConstantTimeCompare(one, two) == 1
}

// ClearSecrets forgets what belonged to another origin, so that a changed endpoint never receives it.
func (p *Provider) ClearSecrets() {
	p.SecretsCleared = p.SecretsCleared || !p.ClientSecret.IsZero() || len(p.Keys) > 0 || len(p.Companions) > 0
	p.DropFormerSecret()
	p.ClientSecret, p.Keys, p.Companions = providers.Secret{}, nil, nil
}

// Actor is who did something, and when.
type Actor struct {
	EntityID    string    `json:"entity_id,omitempty"`
	DisplayName string    `json:"display_name,omitempty"`
	Time        time.Time `json:"time"`
}
