package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// entryVersion is the version of every encoding below. Raise it with the first change an older release cannot read, and
// add the upgrade to the decoder of that entry.
const entryVersion = 1

// header is common to all entries.
type header struct {
	Version int `json:"version"`
}

// check refuses what a newer release wrote: reading half of it and writing that back would lose the rest.
func (h header) check(noun string) error {
	switch {
	case h.Version > entryVersion:
		return unusable("this %s was written by a newer release of the engine (format %d, this one knows %d): run that release again", noun, h.Version, entryVersion)
	case h.Version < 1:
		return unusable("this %s has no format version: the entry is damaged; restore it from a snapshot", noun)
	}
	return nil
}

// The records below are the entries as they are encoded. Secrets are revealed here and nowhere else in this package.

type configRecord struct {
	header
	Config
}

type providerRecord struct {
	header
	Provider
	ClientSecret string            `json:"client_secret,omitempty"`
	FormerSecret string            `json:"former_secret,omitempty"`
	Keys         map[string]string `json:"keys,omitempty"`
}

type connectionRecord struct {
	header
	Connection
	Grant *grantRecord      `json:"grant,omitempty"`
	Key   map[string]string `json:"key,omitempty"`
}

type grantRecord struct {
	AccessToken    string            `json:"access_token"`
	RefreshToken   string            `json:"refresh_token,omitempty"`
	TokenType      string            `json:"token_type,omitempty"`
	Scopes         []string          `json:"scopes,omitempty"`
	Issued         time.Time         `json:"issued"`
	Expires        time.Time         `json:"expires,omitzero"`
	RefreshExpires time.Time         `json:"refresh_expires,omitzero"`
	HardLimit      time.Time         `json:"hard_limit,omitzero"`
	Config         map[string]string `json:"config,omitempty"`
	SecretConfig   map[string]string `json:"secret_config,omitempty"`
	AccountID      string            `json:"account_id,omitempty"`
	AccountLabel   string            `json:"account_label,omitempty"`
	AccountEmail   string            `json:"account_email,omitempty"`
}

type flowRecord struct {
	header
	Flow
	Verifier         string `json:"verifier,omitempty"`
	Code             string `json:"code,omitempty"`
	ConfirmationCode string `json:"confirmation_code,omitempty"`
}

type intentRecord struct {
	header
	Intent
}

func encodeConfig(c *Config) ([]byte, error) {
	return json.Marshal(configRecord{header{entryVersion}, *c})
}

func decodeConfig(b []byte) (*Config, error) {
	r := configRecord{Config: *DefaultConfig()}
	if err := decode(b, &r); err != nil {
		return nil, err
	}
	return &r.Config, r.check("config")
}

func encodeProvider(p *Provider) ([]byte, error) {
	return json.Marshal(providerRecord{
		header{entryVersion}, *p, p.ClientSecret.Reveal(), p.FormerSecret.Reveal(), reveal(p.Keys),
	})
}

func decodeProvider(b []byte) (*Provider, error) {
	var r providerRecord
	if err := decode(b, &r); err != nil {
		return nil, err
	}
	p := r.Provider
	p.ClientSecret, p.FormerSecret, p.Keys = providers.NewSecret(r.ClientSecret), providers.NewSecret(r.FormerSecret), conceal(r.Keys)
	return &p, r.check("provider")
}

func encodeConnection(c *Connection) ([]byte, error) {
	r := connectionRecord{header: header{entryVersion}, Connection: *c, Key: reveal(c.Key)}
	if g := c.Grant; g != nil {
		r.Grant = &grantRecord{
			AccessToken: g.AccessToken.Reveal(), RefreshToken: g.RefreshToken.Reveal(), TokenType: g.TokenType,
			Scopes: g.Scopes, Issued: g.Issued, Expires: g.Expires, RefreshExpires: g.RefreshExpires, HardLimit: g.HardLimit,
			Config: g.Config, SecretConfig: reveal(g.SecretConfig),
			AccountID: g.Account.ID, AccountLabel: g.Account.Label, AccountEmail: g.Account.Email,
		}
	}
	return json.Marshal(r)
}

func decodeConnection(b []byte) (*Connection, error) {
	var r connectionRecord
	if err := decode(b, &r); err != nil {
		return nil, err
	}
	c := r.Connection
	c.Key = conceal(r.Key)
	if g := r.Grant; g != nil {
		c.Grant = &providers.Grant{
			AccessToken: providers.NewSecret(g.AccessToken), RefreshToken: providers.NewSecret(g.RefreshToken), TokenType: g.TokenType,
			Scopes: g.Scopes, Issued: g.Issued, Expires: g.Expires, RefreshExpires: g.RefreshExpires, HardLimit: g.HardLimit,
			Config: g.Config, SecretConfig: conceal(g.SecretConfig),
			Account: providers.Account{ID: g.AccountID, Label: g.AccountLabel, Email: g.AccountEmail},
		}
	}
	return &c, r.check("connection")
}

func encodeFlow(f *Flow) ([]byte, error) {
	r := flowRecord{header: header{entryVersion}, Flow: *f, Verifier: f.Verifier.Reveal()}
	if f.Parked != nil {
		r.Code, r.ConfirmationCode = f.Parked.Code.Reveal(), f.Parked.ConfirmationCode.Reveal()
	}
	return json.Marshal(r)
}

func decodeFlow(b []byte) (*Flow, error) {
	var r flowRecord
	if err := decode(b, &r); err != nil {
		return nil, err
	}
	f := r.Flow
	f.Verifier = providers.NewSecret(r.Verifier)
	if f.Parked != nil {
		f.Parked.Code, f.Parked.ConfirmationCode = providers.NewSecret(r.Code), providers.NewSecret(r.ConfirmationCode)
	}
	return &f, r.check("flow")
}

func encodeIntent(i *Intent) ([]byte, error) {
	return json.Marshal(intentRecord{header{entryVersion}, *i})
}

func decodeIntent(b []byte) (*Intent, error) {
	var r intentRecord
	if err := decode(b, &r); err != nil {
		return nil, err
	}
	return &r.Intent, r.check("intent")
}

// decode hides what the JSON decoder would quote of an entry.
func decode(b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return unusable("the stored entry is damaged (%T): restore it from a snapshot", err)
	}
	return nil
}

// unusableError is what reading an entry gives that is there and cannot be decoded.
type unusableError struct{ text string }

func (e *unusableError) Error() string { return e.text }

func unusable(format string, args ...any) error { return &unusableError{fmt.Sprintf(format, args...)} }

// Unusable reports whether an entry could be read and not decoded: it is damaged, or of a newer release. Whoever goes over
// many entries passes over it, or it would hide the others.
func Unusable(err error) bool { return errors.As(err, new(*unusableError)) }

func reveal(m map[string]providers.Secret) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = v.Reveal()
	}
	return out
}

func conceal(m map[string]string) map[string]providers.Secret {
	if m == nil {
		return nil
	}
	out := make(map[string]providers.Secret, len(m))
	for k, v := range m {
		out[k] = providers.NewSecret(v)
	}
	return out
}
