package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Credential is what applications show to a service. It prints without its secrets, whatever the verb.
type Credential struct {
	Answer `json:"-"`

	AccessToken       string            `json:"access_token"` // of a key the fields are in Data
	TokenType         string            `json:"token_type"`
	ExpireTime        string            `json:"expire_time"` // empty when it does not expire
	Scopes            []string          `json:"scopes"`
	Provider          string            `json:"provider"`
	ConnectionConfig  map[string]string `json:"connection_config"`
	InstanceURL       string            `json:"instance_url"`
	APIBase           string            `json:"api_base"`
	Send              *Send             `json:"send"`
	Git               *Git              `json:"git"`
	Companions        map[string]string `json:"companions"`
	TTL               int               `json:"ttl"` // seconds until the engine hands out something newer
	RotationPeriod    int               `json:"rotation_period"`
	LastVaultRotation string            `json:"last_vault_rotation"`
}

// Send are the parts of a request that show the credential, filled in.
type Send struct {
	Headers map[string]string `json:"headers"`
	Query   map[string]string `json:"query"`
	Path    string            `json:"path"`
}

// Git is where Git takes the credential as a password, by https alone, and as whom it comes.
type Git struct {
	Hosts    []string `json:"hosts"` // host or host:port
	Username string   `json:"username"`
}

// Format keeps the credential out of logs.
func (c Credential) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, c.String())
}

// String tells of whom it is and for how long, and no more.
func (c Credential) String() string {
	return fmt.Sprintf("credential of %s, for %d s", c.Provider, c.TTL)
}

// Field is a field of a key, or of any other credential, by its name; empty where there is none.
func (c *Credential) Field(name string) string {
	switch value := c.Data[name].(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

// beside are the fields that come along with a credential and are no part of it.
var beside = []string{
	"token_type", "expire_time", "scopes", "provider", "connection_config", "instance_url", "api_base", "send",
	"git", "companions", "ttl", "rotation_period", "last_vault_rotation",
}

// Fields are the names of the credential's own fields, sorted: access_token, or those of the key.
func (c *Credential) Fields() []string {
	var names []string
	for name, value := range c.Data {
		if _, text := value.(string); text && !slices.Contains(beside, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// CredentialOptions say what is expected of a credential.
type CredentialOptions struct {
	MinTTL   time.Duration // a token that lives at least so long
	Provider string        // of this provider, or none
	Include  []string      // send, git, companions
}

// Credential reads the credential of a connection, fresh.
func (c *Client) Credential(ctx context.Context, path string, o CredentialOptions) (*Credential, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	query := url.Values{}
	if o.MinTTL > 0 {
		query.Set("min_ttl", strconv.FormatInt(int64((o.MinTTL+time.Second-1)/time.Second), 10))
	}
	if o.Provider != "" {
		query.Set("provider", o.Provider)
	}
	if len(o.Include) > 0 {
		query.Set("include", strings.Join(o.Include, ","))
	}
	credential := &Credential{}
	return credential, c.read(ctx, "creds/"+path, query, credential)
}
