package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Each kind of entry has a version of its own. What an older release must not ignore raises that of its kind alone,
// with an upgrade in the decoder; what it may ignore is added as a field at the top of the entry, and an older release
// writes it back as it found it.
const (
	configVersion     = 2 // 2 freezes
	providerVersion   = 4 // 2 limits kinds, owners and imports; 3 freezes; 4 signs with its client secret
	connectionVersion = 2 // 1 stored the status; 2 stores the facts that it is derived from
	flowVersion       = 3 // 2 says whether the connection is to be private; 3 has a link
	intentVersion     = 1
	leaversVersion    = 1
	heartbeatVersion  = 1
	trialVersion      = 1
	jobVersion        = 2 // 2 has filters that the first knows nothing of
	chunkVersion      = 1
	lookupVersion     = 1
	hasherVersion     = 1
	webhookVersion    = 1
	cursorVersion     = 1
)

// What is not frozen is written as by releases that know no freezing, so that they can be run again. What is, they
// refuse: they would serve it. So it is with the flow of a link, of which they would spend a key as a code, and take
// any account.
const (
	thawedConfig    = 1
	thawedProvider  = 2
	providerFreezes = 3
	flowOfStarter   = 2
)

// formerJob is of those whose filters all releases know: one that ignored a filter would end more than was planned.
const formerJob = 1

func (c *Config) version() int {
	if c.Freezes() {
		return configVersion
	}
	return thawedConfig
}

func (p *Provider) version() int {
	switch {
	case providers.IsPrivateKey(p.ClientSecret), providers.IsPrivateKey(p.FormerSecret):
		return providerVersion // other releases would send the private key
	case p.Frozen:
		return providerFreezes
	}
	return thawedProvider
}

func (f *Flow) version() int {
	if f.Link != nil {
		return flowVersion
	}
	return flowOfStarter
}

// header is common to all entries.
type header struct {
	Version int `json:"version"`
}

// check refuses what a newer release wrote: reading half of it and writing that back would lose the rest.
func (h header) check(noun string, known int) error {
	switch {
	case h.Version > known:
		return &unusableError{newer: true, text: fmt.Sprintf(
			"this %s was written by a newer release of the engine (format %d, this one knows %d): run "+
				"that release again",
			noun, h.Version, known)}
	case h.Version < 1:
		return damaged("this %s has no format version: the entry is damaged; restore it from a snapshot", noun)
	}
	return nil
}

// unknownFields are the fields of an entry that this release does not know, kept to be written back.
type unknownFields map[string]json.RawMessage

// The records below are the entries as they are encoded. Secrets are revealed here and nowhere else in this package.

type configRecord struct {
	header
	configFields
}

type providerRecord struct {
	header
	providerFields
	ClientSecret string            `json:"client_secret,omitempty"`
	FormerSecret string            `json:"former_secret,omitempty"`
	Keys         map[string]string `json:"keys,omitempty"`
	Companions   map[string]string `json:"companions,omitempty"`
}

type connectionRecord struct {
	header
	Connection
	Disabled   disabledRecord    `json:"disabled,omitzero"`
	Switched   json.RawMessage   `json:"switched,omitempty"` // of former releases, and worth nothing once stored
	Grant      *grantRecord      `json:"grant,omitempty"`
	Key        map[string]string `json:"key,omitempty"`
	FormerKey  map[string]string `json:"former_key,omitempty"`
	Companions map[string]string `json:"companions,omitempty"`

	Captured       *capturedRecord `json:"captured,omitempty"`
	FormerCaptured *capturedRecord `json:"former_captured,omitempty"`
}

// capturedRecord is what was told of the key, or of the former one, while the credential had this generation: an older
// release that replaces the key leaves it as it is.
type capturedRecord struct {
	Generation   uint64            `json:"generation"`
	Config       map[string]string `json:"config,omitempty"`
	SecretConfig map[string]string `json:"secret_config,omitempty"`
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

	// The first connections kept the account with the grant, and imports do.
	AccountID    string `json:"account_id,omitempty"`
	AccountLabel string `json:"account_label,omitempty"`
	AccountEmail string `json:"account_email,omitempty"`
}

type flowRecord struct {
	header
	Flow
	Verifier         string `json:"verifier,omitempty"`
	Code             string `json:"code,omitempty"`
	ConfirmationCode string `json:"confirmation_code,omitempty"`
	DeviceCode       string `json:"device_code,omitempty"`

	Key map[string]string `json:"parked_key,omitempty"`
}

type trialRecord struct {
	header
	Trial
	Brought *grantRecord `json:"brought"`
	Given   *grantRecord `json:"given,omitempty"`
}

type intentRecord struct {
	header
	Intent
}

type leaversRecord struct {
	header
	Leavers
}

type heartbeatRecord struct {
	header
	Heartbeat
}

func encodeConfig(c *Config) ([]byte, error) {
	return encode(configRecord{header{c.version()}, configFields(*c)}, c.unknown)
}

func decodeConfig(b []byte) (*Config, error) {
	r := configRecord{configFields: configFields(*DefaultConfig())}
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	c := Config(r.configFields)
	c.unknown = unknown
	return &c, r.check("config", configVersion)
}

func encodeProvider(p *Provider) ([]byte, error) {
	return encode(providerRecord{
		header{p.version()},
		providerFields(*p), p.ClientSecret.Reveal(), p.FormerSecret.Reveal(), reveal(p.Keys),
		reveal(p.Companions),
	}, p.unknown)
}

func decodeProvider(b []byte) (*Provider, error) {
	var r providerRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	p := Provider(r.providerFields)
	p.ClientSecret, p.FormerSecret = providers.NewSecret(r.ClientSecret), providers.NewSecret(r.FormerSecret)
	p.Keys, p.Companions, p.unknown = conceal(r.Keys), conceal(r.Companions), unknown
	return &p, r.check("provider", providerVersion)
}

func encodeConnection(c *Connection) ([]byte, error) {
	return encode(connectionRecord{
		header{connectionVersion},
		*c, c.disabled(), nil, recordOf(c.Grant), reveal(c.KeyFields()), reveal(c.FormerKey), reveal(c.Companions),
		capturedOf(c.Captured, c.Generation), capturedOf(c.FormerCaptured, c.Generation),
	}, c.unknown)
}

func capturedOf(told *providers.Captured, generation uint64) *capturedRecord {
	if told == nil {
		return nil
	}
	return &capturedRecord{generation, told.Config, reveal(told.SecretConfig)}
}

// captured is what holds of the record for a credential of that generation; nil of nothing.
func (r *capturedRecord) captured(generation uint64) *providers.Captured {
	if r == nil || r.Generation != generation {
		return nil
	}
	return (&providers.Captured{Config: r.Config, SecretConfig: conceal(r.SecretConfig)}).Clone()
}

// recordOf reveals a grant. Whose account it is stands elsewhere.
func recordOf(g *providers.Grant) *grantRecord {
	if g == nil {
		return nil
	}
	return &grantRecord{
		AccessToken: g.AccessToken.Reveal(), RefreshToken: g.RefreshToken.Reveal(), TokenType: g.TokenType,
		Scopes: g.Scopes, Issued: g.Issued, Expires: g.Expires, RefreshExpires: g.RefreshExpires,
		HardLimit: g.HardLimit, Config: g.Config, SecretConfig: reveal(g.SecretConfig),
	}
}

// grant takes the secrets out of the record; nil of nil.
func (r *grantRecord) grant() *providers.Grant {
	if r == nil {
		return nil
	}
	return &providers.Grant{
		AccessToken: providers.NewSecret(r.AccessToken), RefreshToken: providers.NewSecret(r.RefreshToken),
		TokenType: r.TokenType, Scopes: r.Scopes, Issued: r.Issued, Expires: r.Expires,
		RefreshExpires: r.RefreshExpires, HardLimit: r.HardLimit,
		Config: r.Config, SecretConfig: conceal(r.SecretConfig),
	}
}

func decodeConnection(b []byte) (*Connection, error) {
	var v header
	if json.Unmarshal(b, &v) == nil && v.Version == 1 {
		return decodeFirstConnection(b)
	}
	var r connectionRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	c := r.connection()
	c.unknown, c.oversize = unknown, len(b) > MaxEntry
	return c, r.check("connection", connectionVersion)
}

// connection takes the secrets out of the record.
func (r *connectionRecord) connection() *Connection {
	c := r.Connection
	c.readDisabled(r.Disabled)
	c.Key, c.FormerKey, c.Companions = conceal(r.Key), conceal(r.FormerKey), conceal(r.Companions)
	c.Grant = r.Grant.grant()
	if c.Grant != nil && len(c.Key) > 0 { // it bought the token, and buys the next
		c.Grant.Key, c.Key = c.Key, nil
	}
	if c.Grant == nil {
		c.Captured = r.Captured.captured(c.Generation)
	}
	if len(c.FormerKey) > 0 {
		c.FormerCaptured = r.FormerCaptured.captured(c.Generation)
	}
	if c.Grant != nil && c.Account.Pinned == c.Pinned { // else a refresh would pass it on as learnt from this provider
		c.Grant.Account = providers.Account{ID: c.Account.ID, Label: c.Account.Label, Email: c.Account.Email}
	}
	return &c
}

// firstConnection is a connection as the first release stored it: with its status, and what enabling went back to.
type firstConnection struct {
	connectionRecord
	Status       Status    `json:"status"`
	Reason       Reason    `json:"status_reason,omitempty"`
	Since        time.Time `json:"status_since"`
	DisabledFrom Status    `json:"disabled_from,omitempty"`
	FormerReason Reason    `json:"former_reason,omitempty"`
}

func decodeFirstConnection(b []byte) (*Connection, error) {
	var r firstConnection
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	if g := r.Grant; g != nil {
		r.Account = Account{ID: g.AccountID, Label: g.AccountLabel, Email: g.AccountEmail}
		if r.Account != (Account{}) {
			r.Account.Pinned = r.Pinned
		}
	}
	c := r.connection()
	c.unknown, c.oversize = unknown, len(b) > MaxEntry
	status, reason := r.Status, r.Reason
	if status == StatusDisabled {
		if reason == ReasonDeleting {
			c.Deleting = r.Since
		} else {
			c.Stops = disabledRecord{On: true, By: Actor{Time: r.Since}}.stops(Stops{})
		}
		status, reason = r.DisabledFrom, r.FormerReason
	}
	if status == StatusNeedsReconnect {
		c.Refused = Refusal{reason, r.Since}
	} else {
		c.Serving = r.Since
	}
	return c, nil
}

func encodeFlow(f *Flow) ([]byte, error) {
	r := flowRecord{header: header{f.version()}, Flow: *f, Verifier: f.Verifier.Reveal()}
	if f.Parked != nil {
		r.Code, r.ConfirmationCode = f.Parked.Code.Reveal(), f.Parked.ConfirmationCode.Reveal()
		r.Key = reveal(f.Parked.Key)
	}
	if f.Device != nil {
		r.DeviceCode = f.Device.Code.Reveal()
	}
	return encode(r, f.unknown)
}

func decodeFlow(b []byte) (*Flow, error) {
	var r flowRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	f := r.Flow
	f.Verifier, f.unknown = providers.NewSecret(r.Verifier), unknown
	if f.Parked != nil {
		f.Parked.Code, f.Parked.ConfirmationCode = providers.NewSecret(r.Code), providers.NewSecret(r.ConfirmationCode)
		f.Parked.Key = conceal(r.Key)
	}
	if f.Device != nil {
		f.Device.Code = providers.NewSecret(r.DeviceCode)
	}
	return &f, r.check("flow", flowVersion)
}

func encodeTrial(t *Trial) ([]byte, error) {
	r := trialRecord{header{trialVersion}, *t, recordOf(t.Brought), recordOf(t.Given)}
	if t.Given != nil {
		a := t.Given.Account
		r.Given.AccountID, r.Given.AccountLabel, r.Given.AccountEmail = a.ID, a.Label, a.Email
	}
	return encode(r, t.unknown)
}

func decodeTrial(b []byte) (*Trial, error) {
	var r trialRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	if r.Brought == nil {
		return nil, damaged("this import brought nothing: the entry is damaged")
	}
	t := r.Trial
	t.Brought, t.Given, t.unknown = r.Brought.grant(), r.Given.grant(), unknown
	if t.Given != nil {
		t.Given.Account = providers.Account{
			ID: r.Given.AccountID, Label: r.Given.AccountLabel, Email: r.Given.AccountEmail,
		}
	}
	return &t, r.check("import", trialVersion)
}

func encodeIntent(i *Intent) ([]byte, error) {
	return encode(intentRecord{header{intentVersion}, *i}, nil) // an intent is written anew each time
}

func decodeIntent(b []byte) (*Intent, error) {
	var r intentRecord
	if _, err := decode(b, &r); err != nil {
		return nil, err
	}
	return &r.Intent, r.check("intent", intentVersion)
}

func encodeLeavers(l *Leavers) ([]byte, error) {
	return encode(leaversRecord{header{leaversVersion}, *l}, l.unknown)
}

func decodeLeavers(b []byte) (*Leavers, error) {
	var r leaversRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	l := r.Leavers
	l.unknown = unknown
	return &l, r.check("leavers", leaversVersion)
}

func encodeHeartbeat(h *Heartbeat) ([]byte, error) {
	return encode(heartbeatRecord{header{heartbeatVersion}, *h}, h.unknown)
}

func decodeHeartbeat(b []byte) (*Heartbeat, error) {
	var r heartbeatRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	h := r.Heartbeat
	h.unknown = unknown
	return &h, r.check("heartbeat", heartbeatVersion)
}

// encode writes a record, with the fields that this release does not know beside those it does.
func encode(record any, unknown unknownFields) ([]byte, error) {
	b, err := json.Marshal(record)
	if err != nil || len(unknown) == 0 {
		return b, err
	}
	fields := maps.Clone(unknown)
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// decode reads a record and gives the fields that it has no place for. It hides what the JSON decoder would quote of
// the entry.
func decode(b []byte, record any) (unknownFields, error) {
	strict := json.NewDecoder(bytes.NewReader(b))
	strict.DisallowUnknownFields()
	if strict.Decode(record) == nil {
		if _, err := strict.Token(); errors.Is(err, io.EOF) {
			return nil, nil
		}
	}
	if err := json.Unmarshal(b, record); err != nil {
		return nil, damaged("the stored entry is damaged (%T): restore it from a snapshot", err)
	}
	var all unknownFields
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, damaged("the stored entry is damaged (%T): restore it from a snapshot", err)
	}
	known := fieldNames(reflect.TypeOf(record).Elem())
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool {
		for field := range known {
			if strings.EqualFold(field, name) { // as the JSON decoder compares them
				return true
			}
		}
		return false
	})
	return all, nil
}

var namesOf sync.Map // of reflect.Type: the names of its fields in JSON, which never change

// fieldNames are the names of a record's fields in JSON, embedded ones too.
func fieldNames(record reflect.Type) map[string]bool {
	if names, ok := namesOf.Load(record); ok {
		return names.(map[string]bool)
	}
	names := map[string]bool{}
	for i := range record.NumField() {
		f := record.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			maps.Copy(names, fieldNames(f.Type))
		case name != "" && name != "-":
			names[name] = true
		}
	}
	namesOf.Store(record, names)
	return names
}

// unusableError is what reading an entry gives that is there and cannot be decoded.
type unusableError struct {
	text  string
	newer bool
}

func (e *unusableError) Error() string { return e.text }

func damaged(format string, args ...any) error {
	return &unusableError{text: fmt.Sprintf(format, args...)}
}

// Unusable reports whether an entry could be read and not decoded: it is damaged, or of a newer release. Whoever goes
// over many entries passes over it, or it would hide the others.
func Unusable(err error) bool { return errors.As(err, new(*unusableError)) }

// Damaged is Unusable for entries that no release can decode: nothing is lost by replacing or deleting one.
func Damaged(err error) bool {
	var e *unusableError
	return errors.As(err, &e) && !e.newer
}

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
