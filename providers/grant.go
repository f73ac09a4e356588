package providers

import (
	"slices"
	"strings"
	"time"
)

// Kind is how a credential is obtained.
type Kind string

// The kinds a definition may name.
const (
	KindAuthorizationCode Kind = "authorization_code" // RFC 6749 section 4.1
	KindClientCredentials Kind = "client_credentials" // RFC 6749 section 4.4
	KindAPIKey            Kind = "api_key"
	KindBasic             Kind = "basic"
	KindKeyPair           Kind = "key_pair" // the application itself signs with it
	KindLogin             Kind = "login"    // the application itself logs in with it, where there is no HTTP API

	// a key buys a token, with an assertion that is signed with it (RFC 7523 section 2.1), or the assertion is the token
	KindJWTBearer   Kind = "jwt_bearer"
	KindKeyExchange Kind = "key_exchange" // a key buys a token by a call of the service's own, such as a login
	KindBrokered    Kind = "brokered"     // another service holds the account, and gives its token to the operator's app
	KindDeviceCode  Kind = "device_code"  // RFC 8628
)

// Kinds are all that a definition may name. What the engine cannot do is none of them.
func Kinds() []Kind {
	return []Kind{
		KindAuthorizationCode, KindClientCredentials, KindAPIKey, KindBasic, KindKeyPair, KindLogin,
		KindDeviceCode, KindJWTBearer, KindKeyExchange, KindBrokered,
	}
}

// HasKey reports whether the credential is a key that somebody writes down, not a grant.
func (k Kind) HasKey() bool { return !k.Consents() && !k.Issued() }

// Issued reports whether the credential is a token that is asked for without a person, and asked for again when it
// ends.
func (k Kind) Issued() bool {
	return k == KindClientCredentials || k == KindJWTBearer || k == KindKeyExchange || k == KindBrokered
}

// BuysWithKey reports whether the token of a kind is bought with a key that the connection itself brings.
func (d *Definition) BuysWithKey(kind Kind) bool {
	return (kind == KindJWTBearer || kind == KindKeyExchange) && !d.OfTheApp(kind)
}

// OfTheApp reports whether the credential of a kind is the app's own, got with the operator's secret and nobody's
// consent.
func (d *Definition) OfTheApp(kind Kind) bool {
	switch kind {
	case KindClientCredentials, KindBrokered:
		return true
	case KindJWTBearer:
		return d.Assertion == nil || d.fieldOf(d.Assertion.Key).SetBy == SetByProvider
	case KindKeyExchange:
		return d.Key == nil || !slices.ContainsFunc(d.Key.Fields, func(f KeyField) bool {
			return f.Secret && f.SetBy != SetByProvider && d.isSent(kind, f)
		})
	}
	return false
}

// isSent reports whether the token calls of a kind hold a field of a key, so that no token is bought without it.
func (d *Definition) isSent(kind Kind, f KeyField) bool {
	special := d.Token.ByKind[kind]
	call, at := special.over(d.Token.Call), StepToken
	if special.Endpoint != "" {
		at = special.Endpoint
	}
	templates := append(call.templates(), d.Endpoints[at])
	if d.upgrades(kind) {
		templates = append(append(templates, d.Upgrade.templates()...), d.Endpoints[StepUpgrade])
	}
	return slices.ContainsFunc(templates, func(t Template) bool {
		return slices.ContainsFunc(t.Placeholders(), func(name string) bool { return d.fieldOf(name).Name == f.Name })
	})
}

// fieldOf is the field of a key that a value stands in or is cut out of; the zero value when there is none.
func (d *Definition) fieldOf(name string) KeyField {
	if d.Key == nil {
		return KeyField{}
	}
	for _, f := range d.Key.Fields {
		_, derived := f.Derive[name]
		_, member := f.JSON[name]
		if f.Name == name || derived || member {
			return f
		}
	}
	return KeyField{}
}

// Grant is what a provider gave for a connection. Its zero times mean "not told" except Expires, whose zero means
// that the access token does not expire by itself.
type Grant struct {
	AccessToken  Secret
	RefreshToken Secret // empty: none was issued
	// the connection's key that bought the access token, and buys the next; nil where no key does
	Key map[string]Secret

	TokenType string // as the provider spelled it; empty when it told none
	Scopes    []string
	Issued    time.Time
	Expires   time.Time

	RefreshExpires time.Time // this refresh token dies then
	HardLimit      time.Time // the person must consent again by then, whatever is refreshed

	Config       map[string]string // connection_config: public values an application needs beside the token
	SecretConfig map[string]Secret // the same, but handed out with the credential only
	Account      Account

	// what it reaches, as Identify found it; nil: there is nothing to pick. A connection keeps that beside its grant.
	Sites *Sites

	subject string         // sub of the id_token that came with it, for Identify; not kept
	ranks   map[string]int // which of the sources of its entry each value of connection_config is from; not kept
}

// Lifetime is how long the access token lives from issue to expiry; zero when it does not expire.
func (g *Grant) Lifetime() time.Duration {
	if g.Expires.IsZero() {
		return 0
	}
	return g.Expires.Sub(g.Issued)
}

// Account says whose account at the provider a connection is.
type Account struct {
	ID    string
	Label string
	Email string
}

// TokenScheme is how the access token is sent (RFC 6750, RFC 9449), whatever word the provider has for its type: many
// say user, bot or jwt-bearer.
func (d *Definition) TokenScheme(word string) string {
	if d.Send != nil {
		header := string(d.Send.Headers["Authorization"])
		if scheme, rest, ok := strings.Cut(header, " "); ok && strings.Contains(rest, "{access_token}") {
			return scheme
		}
	}
	if strings.EqualFold(word, "DPoP") {
		return "DPoP"
	}
	return "Bearer"
}
