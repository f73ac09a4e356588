package client

import (
	"context"
	"net/url"
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
