package client

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// Provider is a definition as an operator configured it. Secrets are not told, only which there are.
type Provider struct {
	Answer `json:"-"`

	Definition            string                         `json:"definition"`
	DefinitionYAML        string                         `json:"definition_yaml"` // of its own
	ClientID              string                         `json:"client_id"`
	ClientAuth            string                         `json:"client_auth"` // empty: the definition's
	ClientKeyID           string                         `json:"client_key_id"`
	ClientCertificate     string                         `json:"client_certificate"`
	ClientSecretSet       bool                           `json:"client_secret_set"`
	FormerSecretSet       bool                           `json:"former_secret_set"` // the fallback
	KeyFieldsSet          []string                       `json:"key_fields_set"`
	CallbackURL           string                         `json:"callback_url"` // empty: config has no public_url
	Manifest              string                         `json:"manifest"`
	Kinds                 []string                       `json:"kinds"`
	Scopes                []string                       `json:"scopes"`
	AllowedScopes         []string                       `json:"allowed_scopes"`
	OptionalScopes        []string                       `json:"optional_scopes"`
	AddedScopes           []string                       `json:"added_scopes"`
	ScopesIgnored         bool                           `json:"scopes_ignored"`
	SurplusScopes         string                         `json:"surplus_scopes"`
	Inputs                map[string]string              `json:"inputs"`
	BoundInputs           map[string]map[string][]string `json:"bound_inputs"` // by owner and input
	Endpoints             map[string]string              `json:"endpoints"`
	Issuer                string                         `json:"issuer"`
	AuthorizeParams       map[string]string              `json:"authorize_params"` // masked
	TokenParams           map[string]string              `json:"token_params"`     // masked
	PKCE                  string                         `json:"pkce"`
	RedirectURIs          []string                       `json:"redirect_uris"`
	ReturnURLs            []string                       `json:"return_urls"`
	Confirm               bool                           `json:"confirm"`
	RequireSessionBinding bool                           `json:"require_session_binding"`
	RequireISS            bool                           `json:"require_iss"`
	SharedRedirect        bool                           `json:"shared_redirect"`
	AllowedOwners         []string                       `json:"allowed_owners"`
	AllowImport           string                         `json:"allow_import"`
	Companions            map[string]string              `json:"companions"` // masked
	CompanionsFor         []string                       `json:"companions_for"`
	AssumedTTL            int                            `json:"assumed_ttl"`    // seconds
	RefreshTTL            int                            `json:"refresh_ttl"`    // seconds
	IdleTTL               int                            `json:"idle_ttl"`       // seconds
	CheckInterval         string                         `json:"check_interval"` // a duration
	RotateAfter           string                         `json:"rotate_after"`   // a duration
	RotateBy              string                         `json:"rotate_by"`
	DebugUntil            string                         `json:"debug_until"`
	CAPEM                 string                         `json:"ca_pem"`
	Frozen                bool                           `json:"frozen"`
	FrozenReason          string                         `json:"frozen_reason"`
	Circuit               Circuit                        `json:"circuit"`
	Updated               string                         `json:"updated"`
}

// Circuit says for how long a provider is left alone. Its State is empty where it is not.
type Circuit struct {
	State string `json:"state"` // limited, open or refused
	Until string `json:"until"`
}

// ProviderList are the providers of a mount.
type ProviderList struct {
	Answer `json:"-"`

	Keys    []string                 `json:"keys"`
	KeyInfo map[string]ProviderEntry `json:"key_info"` // of up to a thousand names
}

// ProviderEntry is what the list tells of one.
type ProviderEntry struct {
	Definition string `json:"definition"`
}

// ClientSecret are the fields that write the client secret of a provider. The former one stays as the fallback.
type ClientSecret struct {
	Secret      string `json:"client_secret,omitempty"`
	KeyID       string `json:"client_key_id,omitempty"`
	Certificate string `json:"client_certificate,omitempty"`
	DropFormer  bool   `json:"drop_former,omitempty"` // forget the fallback; it may come alone
}

// ClientSecretState is what is told of a client secret after it was written.
type ClientSecretState struct {
	Answer `json:"-"`

	ClientKeyID     string `json:"client_key_id"`
	ClientSecretSet bool   `json:"client_secret_set"`
	FormerSecretSet bool   `json:"former_secret_set"`
	RotateBy        string `json:"rotate_by"`
	Updated         string `json:"updated"`
}

// CheckName refuses what is no single name, before it could name another path.
func CheckName(what, name string) error {
	if strings.Contains(name, "/") || CheckPath(name) != nil {
		return fmt.Errorf("%q is no name of a %s", name, what)
	}
	return nil
}

// Providers lists them. None is no error.
func (c *Client) Providers(ctx context.Context) (*ProviderList, error) {
	list := &ProviderList{}
	return list, c.list(ctx, "providers/", nil, list)
}

// Provider reads one, which is for operators. None there is an [Error] of status 404.
func (c *Client) Provider(ctx context.Context, name string) (*Provider, error) {
	if err := CheckName("provider", name); err != nil {
		return nil, err
	}
	provider := &Provider{}
	return provider, c.read(ctx, "providers/"+name, nil, provider)
}

// WriteProvider makes or changes one by the fields of its path, of which those that are not named stay as they are, and
// gives what a read answers then.
func (c *Client) WriteProvider(ctx context.Context, name string, fields map[string]any) (*Provider, error) {
	if err := CheckName("provider", name); err != nil {
		return nil, err
	}
	provider := &Provider{}
	return provider, c.write(ctx, "providers/"+name, fields, provider)
}

// WriteClientSecret writes the client secret of a provider and nothing else.
func (c *Client) WriteClientSecret(ctx context.Context, name string, secret ClientSecret) (*ClientSecretState, error) {
	if err := CheckName("provider", name); err != nil {
		return nil, err
	}
	state := &ClientSecretState{}
	return state, c.write(ctx, "providers/"+name+"/client-secret", secret, state)
}

// DeleteProvider removes one. While connections use it that is an [Error] of status 409, unless force leaves them
// without a provider.
func (c *Client) DeleteProvider(ctx context.Context, name string, force bool) (warnings []string, err error) {
	if err := CheckName("provider", name); err != nil {
		return nil, err
	}
	query := url.Values{}
	if force {
		query.Set("force", "true")
	}
	return c.delete(ctx, "providers/"+name, query)
}
