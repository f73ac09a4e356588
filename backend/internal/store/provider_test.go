package store

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func TestCheckEvery(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		provider   *time.Duration
		definition providers.Duration
		config     time.Duration
		want       time.Duration
	}{
		"nobody said": {want: 24 * hour},
		"the mount":   {config: 2 * hour, want: 2 * hour},
		"the definition before the mount": {
			definition: providers.Duration{D: 3 * hour, Set: true}, config: 2 * hour,
			want: 3 * hour,
		},
		"never, says the definition": {definition: providers.Duration{Never: true, Set: true}},
		"never, says the mount":      {definition: providers.Duration{D: 3 * hour, Set: true}, config: -1},
		"the provider before all": {
			provider: new(4 * hour), definition: providers.Duration{D: 3 * hour, Set: true},
			config: -1, want: 4 * hour,
		},
		"never, says the provider": {provider: new(0 * hour), definition: providers.Duration{D: 3 * hour, Set: true}},
	} {
		p := &Provider{CheckInterval: test.provider}
		got := p.CheckEvery(&providers.Definition{CheckInterval: test.definition}, &Config{CheckInterval: test.config})
		assert.Equal(t, test.want, got, name)
	}
}

func TestSetClientSecret(t *testing.T) {
	p := &Provider{}
	for _, c := range []struct{ written, secret, former string }{
		{"one", "one", ""}, {"two", "two", "one"}, {"three", "three", "two"}, {"three", "three", "two"}, {
			"two", "two", "three",
		}, {"", "", ""}, {"", "", ""},
	} {
		p.SetClientSecret(providers.NewSecret(c.written))
		assert.Equal(t, c.secret, p.ClientSecret.Reveal())
		assert.Equal(t, c.former, p.FormerSecret.Reveal())
	}
	p.SetClientSecret(providers.NewSecret("one"))
	p.SetClientSecret(providers.NewSecret("two"))
	p.DropFormerSecret()
	assert.Equal(t, "two", p.ClientSecret.Reveal())
	assert.True(t, p.FormerSecret.IsZero())
}

func TestClearSecrets(t *testing.T) {
	p := &Provider{
		ClientID: "id", ClientSecret: providers.NewSecret("a"), FormerSecret: providers.NewSecret("b"),
		Keys: map[string]providers.Secret{"k": providers.NewSecret("c")},
	}
	p.ClearSecrets()
	assert.Equal(t, &Provider{ClientID: "id", SecretsCleared: true}, p)
	p.SetClientSecret(providers.Secret{})
	assert.False(t, p.SecretsCleared, "the operator says that there is none")
}

func TestPinCA(t *testing.T) {
	p := &Provider{CAPEM: "one"}
	pins := map[string]bool{"": true}
	for _, pem := range []string{"one", "two", "one", "", "one"} {
		p.CAPEM = pem
		p.PinCA()
		assert.False(t, pins[p.CAPin], "certificates that were left are not those of before")
		pins[p.CAPin] = true
	}
	again := &Provider{CAPEM: "one"}
	again.PinCA()
	assert.True(t, pins[again.CAPin], "one that is made anew as it was is the same")
}

// A release that does not pin certificates wrote this entry, and connections with the pin that it had then.
func TestPinOfAStoredProvider(t *testing.T) {
	p, err := decodeProvider(stored(t, "v1/provider"))
	require.NoError(t, err)
	require.NotEmpty(t, p.CAPEM)
	pin := p.App(&providers.Definition{ID: p.Definition}).Fingerprint()
	assert.Equal(t, "51aa24cfe6247f078a4b6876c7c69179745f9638cc78fa0c4a69cdcf5a5be797", pin)
}

func TestWhatAProviderDecidesOnSharingIsStored(t *testing.T) {
	s := New(&logical.InmemStorage{})
	p := &Provider{Definition: "oauth2", CAPin: "pin", SharedRedirect: true, RequireIss: true}
	require.NoError(t, s.PutProvider(t.Context(), "acme", p))
	got, err := s.Provider(t.Context(), "acme")
	require.NoError(t, err)
	assert.Equal(t, p, got)
}

func TestSettingsPrintNoSecrets(t *testing.T) {
	p := Provider{Definition: "oauth2", TokenParams: map[string]string{"assertion": "planted-parameter"}}
	c := Config{ProxyURL: "http://me:planted-password@proxy.example.com"}
	encoded, err := json.Marshal([]any{p, &p, c, &c})
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "p", p, "q", &p, "c", c, "d", &c)
	text := string(encoded) + log.String() + fmt.Sprintf("%v %+v %#v %v %+v %#v", p, p, p, &p, &p, &p) +
		fmt.Sprintf("%v %+v %#v %v %+v %#v", c, c, c, &c, &c, &c)
	assert.NotContains(t, text, "planted")
	assert.Contains(t, text, "provider of oauth2")
}

// That nothing is to be added to a flow is something else than that nobody said what is.
func TestAddedScopesAreKept(t *testing.T) {
	for name, added := range map[string]*[]string{"unsaid": nil, "none": {}, "one": {"openid"}} {
		t.Run(name, func(t *testing.T) {
			s := New(&logical.InmemStorage{})
			require.NoError(t, s.PutProvider(t.Context(), "idp", &Provider{Definition: "oidc", AddedScopes: added, PKCE: "off"}))
			got, err := s.Provider(t.Context(), "idp")
			require.NoError(t, err)
			assert.Equal(t, added, got.AddedScopes)
			assert.Equal(t, "off", got.PKCE)
		})
	}
}
