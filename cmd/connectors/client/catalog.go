package client

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Catalog is what can be connected.
type Catalog struct {
	Answer `json:"-"`

	Keys    []string           `json:"keys"` // ids
	KeyInfo map[string]Service `json:"key_info"`
}

// Service is what the catalogue's list tells of one.
type Service struct {
	Name     string   `json:"name"`
	Category string   `json:"category"`
	Kinds    []string `json:"kinds"`

	// of this mount, by which the service can be connected; nil from an engine that does not tell
	Providers []string `json:"providers"`
}

// DefinitionOf is the service that a provider of this mount is for; empty where that is not told.
func (c *Catalog) DefinitionOf(provider string) string {
	for _, id := range c.Keys {
		if slices.Contains(c.KeyInfo[id].Providers, provider) {
			return id
		}
	}
	return ""
}

// Catalog lists the definitions in which all words occur.
func (c *Client) Catalog(ctx context.Context, words string) (*Catalog, error) {
	query := url.Values{}
	if words != "" {
		query.Set("search", words)
	}
	catalog := &Catalog{}
	return catalog, c.read(ctx, "catalog", query, catalog)
}

// Definition is what the engine knows of a service. The rest of it is in Data.
type Definition struct {
	Answer `json:"-"`

	Name      string              `json:"name"`
	Summary   string              `json:"summary"`
	Category  string              `json:"category"`
	Kinds     []string            `json:"kinds"` // the first is the default
	Inputs    map[string]Input    `json:"inputs"`
	KeyFields map[string]KeyField `json:"key_fields"`
	KeyOneOf  []string            `json:"key_one_of"` // groups, of which a key has exactly one
	APIBase   string              `json:"api_base"`
	Setup     Setup               `json:"setup"`
	Manifest  string              `json:"manifest"` // what creates the app in one step; empty where there is none

	ConnectionConfig map[string]ConfigValue `json:"connection_config"`
	Send             Sending                `json:"send"`
}

// ConfigValue is one of those that applications get beside a credential.
type ConfigValue struct {
	Required bool `json:"required"`
	Secret   bool `json:"secret"`
}

// Sending says where a credential goes in a request, with fields in braces.
type Sending struct {
	Headers         map[string]string `json:"headers"`
	OptionalHeaders map[string]string `json:"optional_headers"`
	Query           map[string]string `json:"query"`
	Path            string            `json:"path"`
	BasicUser       string            `json:"basic_user"`
	BasicPassword   string            `json:"basic_password"`
}

// Input is a value that a definition asks of the operator or of whoever connects.
type Input struct {
	SetBy    string         `json:"set_by"` // provider or connection
	Required bool           `json:"required"`
	Default  string         `json:"default"`
	Example  string         `json:"example"`
	Help     string         `json:"help"`
	Variants map[string]any `json:"variants"` // by the values to choose from
	Picked   bool           `json:"picked"`   // after the consent
}

// KeyField is one field of a key.
type KeyField struct {
	Required    bool   `json:"required"`
	Secret      bool   `json:"secret"`
	SetBy       string `json:"set_by"` // provider or connection
	Default     string `json:"default"`
	DefaultFrom string `json:"default_from"`
	Example     string `json:"example"`
	Help        string `json:"help"`
	HandedOut   bool   `json:"handed_out"`

	JSON map[string]JSONMember `json:"json"` // of a field that is a JSON file, what applications get of it
}

// JSONMember is one value in a field that is a JSON file.
type JSONMember struct {
	Required bool `json:"required"`
	Secret   bool `json:"secret"`
}

// Setup says where to create an app or a key.
type Setup struct {
	AppURL    string   `json:"app_url"`
	KeyURL    string   `json:"key_url"`
	ManageURL string   `json:"manage_url"`
	Redirect  string   `json:"redirect"` // what is to be registered as callback
	Steps     []string `json:"steps"`
	Needs     []string `json:"needs"` // besides scopes
	Notes     []string `json:"notes"`
	Limits    []string `json:"limits"`
}

// Definition reads one by its id.
func (c *Client) Definition(ctx context.Context, id string) (*Definition, error) {
	return c.DefinitionFor(ctx, id, "")
}

// DefinitionFor reads one, with the manifest that creates an app for a provider of this name, which need not exist
// yet; "" stands for one that is named like the definition.
func (c *Client) DefinitionFor(ctx context.Context, id, provider string) (*Definition, error) {
	if err := CheckPath(id); err != nil {
		return nil, err
	}
	query := url.Values{}
	if provider != "" {
		query.Set("provider", provider)
	}
	definition := &Definition{}
	return definition, c.read(ctx, "catalog/"+id, query, definition)
}

// Names reports whether a field of the credential is sent.
func (s *Sending) Names(field string) bool {
	parts := slices.Concat(slices.Collect(maps.Values(s.Headers)), slices.Collect(maps.Values(s.OptionalHeaders)),
		slices.Collect(maps.Values(s.Query)), []string{s.Path, s.BasicUser, s.BasicPassword})
	return slices.ContainsFunc(parts, func(part string) bool {
		return strings.Contains(part, "{"+field+"}") || strings.Contains(part, "{+"+field+"}")
	})
}
