package store

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// The entries that testdata/v1 holds. A release that changes an encoding adds a folder and leaves this one alone.
var (
	firstConfig = Config{
		PublicURL: "https://vault.example.com", DefaultOrg: "acme", EgressAllow: []string{"10.0.0.0/8"}, EndpointHosts: []string{"*.example.com"},
		ProxyURL: "http://proxy.example.com:3128", RefreshPaused: true, RefreshMargin: time.Minute, PollInterval: 2 * time.Minute,
		RequestTimeout: 3 * time.Second, FlowTTL: 4 * time.Minute, MaxOpenFlows: 5,
	}
	firstActor    = Actor{EntityID: "e-1", DisplayName: "userpass-ann", Time: noon}
	firstProvider = Provider{
		Serial: 3, Definition: "oauth2", ClientID: "client-1", ClientSecret: providers.NewSecret("client secret"),
		FormerSecret: providers.NewSecret("former secret"), Keys: map[string]providers.Secret{"app_key": providers.NewSecret("app key")},
		Scopes: []string{"a"}, AllowedScopes: []string{"a", "b"}, Inputs: map[string]string{"host": "example.com"},
		Endpoints: map[string]string{"token": "https://id.example.com/token"}, Issuer: "https://id.example.com",
		AuthorizeParams: map[string]string{"prompt": "consent"}, TokenParams: map[string]string{"audience": "x"}, ClientAuth: "post",
		RedirectURIs: []string{"https://app.example.com/cb"}, ReturnURLs: []string{"https://app.example.com/"}, Confirm: true,
		RequireSessionBinding: true, AssumedTTL: time.Hour, CAPEM: "pem", Created: firstActor, Updated: noon.Add(time.Hour),
	}
	firstConnection = Connection{
		Serial: 4, Generation: 2, Provider: "acme", Kind: providers.KindAuthorizationCode, Label: "Sales", Tags: map[string]string{"team": "sales"},
		Inputs: map[string]string{"shop": "one"}, RequiredScopes: []string{"a"}, Private: true, Created: firstActor, Pinned: "pin", FlowID: "flow",
		Status: StatusDisabled, Reason: ReasonDisabledByPerson, Since: noon, DisabledFrom: StatusNeedsReconnect, FormerReason: ReasonGrantRefused,
		Grant: &providers.Grant{
			AccessToken: providers.NewSecret("access token"), RefreshToken: providers.NewSecret("refresh token"), TokenType: "Bearer",
			Scopes: []string{"a"}, Issued: noon, Expires: noon.Add(time.Hour), RefreshExpires: noon.Add(24 * time.Hour), HardLimit: noon.Add(48 * time.Hour),
			Config: map[string]string{"instance": "one"}, SecretConfig: map[string]providers.Secret{"session": providers.NewSecret("secret config")},
			Account: providers.Account{ID: "1", Label: "Ann", Email: "ann@example.com"},
		},
		Rotated: noon, LastRefresh: noon.Add(time.Minute),
		Attempt: Attempt{
			Failures: 2, Last: noon, Next: noon.Add(time.Minute), Class: providers.Transient, Code: "c", Why: "server_error", Unknown: true, ProviderSerial: 3,
		},
	}
	firstKey = Connection{
		Serial: 1, Generation: 1, Provider: "openai", Kind: providers.KindAPIKey, Created: firstActor, Pinned: "pin", Status: StatusActive, Since: noon,
		Key: map[string]providers.Secret{"api_key": providers.NewSecret("the key"), "organization": providers.NewSecret("org-1")}, Rotated: noon,
	}
	firstImport = Connection{
		Serial: 1, Generation: 3, Provider: "acme", Kind: providers.KindAuthorizationCode, Created: firstActor, Pinned: "pin", Status: StatusActive, Since: noon,
		Imported: Import{Digest: digest(providers.NewSecret("imported token")), Generation: 2},
		Grant:    &providers.Grant{AccessToken: providers.NewSecret("access token"), RefreshToken: providers.NewSecret("refresh token"), Issued: noon}, Rotated: noon,
	}
	firstFlow = Flow{
		ID: "id", Key: "org/acme/slack", Provider: "acme", Kind: providers.KindAuthorizationCode, Pinned: "pin", Created: firstActor,
		Caller: "entity:e-1", Expires: noon.Add(10 * time.Minute),
		Resolved: providers.Resolved{
			Endpoints: map[providers.Step]string{"token": "https://id.example.com/token"}, Inputs: map[string]string{"shop": "one"},
			Issuer: "https://id.example.com", IssAlways: true, ClientAuth: "post", OpenID: true, JWKS: "https://id.example.com/jwks", SigningAlgs: []string{"ES256"},
		},
		Scopes: []string{"a"}, RequiredScopes: []string{"b"}, Inputs: map[string]string{"shop": "one"}, RedirectURI: "https://vault.example.com/cb",
		OwnRedirect: true, ReturnURL: "https://app.example.com/", Confirm: true, SessionBinding: "binding", Nonce: "nonce", Verifier: providers.NewSecret("verifier"),
		Parked: &Parked{
			Time: noon, Denied: "access_denied", Issuer: "https://id.example.com", Callback: map[string]string{"shop": "one"},
			Code: providers.NewSecret("code"), ConfirmationCode: providers.NewSecret("ABCDEFGH"),
		},
		Tries: 2, Void: true, Claimed: "digest", Outcome: &Outcome{Connected: true, Failure: "f", Warnings: []string{"w"}},
	}
	firstIntent = Intent{Key: "org/acme/slack", Generation: 2, Time: noon}
)

// entry is one kind of entry: where it lies, and how it is read and written.
type entry struct {
	key   string
	read  func(context.Context, Store) (any, error)
	write func(context.Context, Store) error
	want  any
}

func entries() map[string]entry {
	slack := Key{Owner{Org, "acme"}, "slack"}
	connection := func(c *Connection) entry {
		return entry{
			slack.storage(), func(ctx context.Context, s Store) (any, error) { return s.Connection(ctx, slack) },
			func(ctx context.Context, s Store) error {
				former := c.Clone()
				former.Serial--
				return s.PutConnection(ctx, slack, former)
			}, c,
		}
	}
	return map[string]entry{
		"config": {
			configKey, func(ctx context.Context, s Store) (any, error) { return s.Config(ctx) },
			func(ctx context.Context, s Store) error { return s.PutConfig(ctx, &firstConfig) }, &firstConfig,
		},
		"provider": {
			providerPrefix + "acme", func(ctx context.Context, s Store) (any, error) { return s.Provider(ctx, "acme") },
			func(ctx context.Context, s Store) error {
				former := firstProvider
				former.Serial--
				return s.PutProvider(ctx, "acme", &former)
			}, &firstProvider,
		},
		"connection": connection(&firstConnection),
		"key":        connection(&firstKey),
		"import":     connection(&firstImport),
		"flow": {
			flowPrefix + "id", func(ctx context.Context, s Store) (any, error) { return s.Flow(ctx, "id") },
			func(ctx context.Context, s Store) error { return s.PutFlow(ctx, &firstFlow) }, &firstFlow,
		},
		"intent": {
			intentPrefix + slack.hash(), func(ctx context.Context, s Store) (any, error) { return s.Intent(ctx, slack) },
			func(ctx context.Context, s Store) error { return s.PutIntent(ctx, slack, &firstIntent) }, &firstIntent,
		},
	}
}

func stored(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "v1", name+".json"))
	require.NoError(t, err)
	return b
}

// An engine that is upgraded finds what the first release wrote.
func TestUpgradeFromTheFirstRelease(t *testing.T) {
	for name, e := range entries() {
		t.Run(name, func(t *testing.T) {
			storage := &logical.InmemStorage{}
			require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: e.key, Value: stored(t, name)}))
			got, err := e.read(t.Context(), New(storage))
			require.NoError(t, err)
			assert.Equal(t, e.want, got)
		})
	}
}

func TestEntriesComeBackWhole(t *testing.T) {
	for name, e := range entries() {
		t.Run(name, func(t *testing.T) {
			storage := &logical.InmemStorage{}
			s := New(storage)
			require.NoError(t, e.write(t.Context(), s))
			got, err := e.read(t.Context(), s)
			require.NoError(t, err)
			assert.Equal(t, e.want, got)
			raw, err := storage.Get(t.Context(), e.key)
			require.NoError(t, err)
			assert.JSONEq(t, string(stored(t, name)), string(raw.Value), "this release writes what the first one did")
		})
	}
}

// What a newer release wrote is refused, and stays as it is.
func TestNewerVersionIsRefused(t *testing.T) {
	for name, e := range entries() {
		t.Run(name, func(t *testing.T) {
			storage := &logical.InmemStorage{}
			newer := []byte(strings.Replace(string(stored(t, name)), `"version":1`, `"version":2,"new_in_two":true`, 1))
			require.Contains(t, string(newer), "new_in_two")
			require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: e.key, Value: newer}))
			_, err := e.read(t.Context(), New(storage))
			assert.ErrorContains(t, err, "newer release")
			after, err := storage.Get(t.Context(), e.key)
			require.NoError(t, err)
			assert.Equal(t, newer, after.Value)
		})
	}
}

// An entry that cannot be read says so, and quotes nothing of what may be a secret.
func TestDamagedEntries(t *testing.T) {
	for name, e := range entries() {
		for _, damaged := range []string{
			`{"version":1,"access_token":planted`, `{"version":"planted"}`, `["planted"]`, `{"verifier":"planted"}`, `{"version":-1,"client_secret":"planted"}`, ``,
		} {
			storage := &logical.InmemStorage{}
			require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: e.key, Value: []byte(damaged)}))
			_, err := e.read(t.Context(), New(storage))
			require.ErrorContains(t, err, "damaged", "%s: %s", name, damaged)
			assert.NotContains(t, err.Error(), "planted")
		}
	}
}

// An entry holds its secrets in the open, or they would be lost: each is there, and none as a redaction.
func TestSecretsAreStored(t *testing.T) {
	for name, secrets := range map[string][]string{
		"provider": {"client secret", "former secret", "app key"}, "connection": {"access token", "refresh token", "secret config"},
		"key": {"the key", "org-1"}, "flow": {"verifier", "code", "ABCDEFGH"},
	} {
		var doc any
		require.NoError(t, json.Unmarshal(stored(t, name), &doc))
		for _, secret := range secrets {
			assert.Contains(t, string(stored(t, name)), `"`+secret+`"`)
		}
		assert.NotContains(t, string(stored(t, name)), "[redacted]")
	}
}
