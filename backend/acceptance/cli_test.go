package acceptance

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// The vault command ends with this when the server refuses or has nothing.
const exitRefused = 2

func TestCLI(t *testing.T) {
	t.Parallel()
	e := newKeys(t)
	e.write(t, "connections/openai", map[string]any{
		"api_key": apiKey, "label": "the team's key", "verify": false,
	})

	t.Run("read", func(t *testing.T) {
		read := e.cli(t, "read", "-field=api_key", "{mount}/creds/openai")
		assert.Zero(t, read.exit, read.complaint)
		assert.Equal(t, apiKey, strings.TrimSpace(read.out))
		table := e.cli(t, "read", "{mount}/creds/openai")
		assert.Regexp(t, `(?m)^ttl +5m$`, table.out)
		assert.Regexp(t, `(?m)^provider +openai$`, table.out)
		assert.NotContains(t, table.out, "lease_id")
	})
	t.Run("list", func(t *testing.T) {
		e.write(t, "connections/org/acme/openai", key(apiKey))
		list := e.cli(t, "list", "-detailed", "{mount}/connections")
		assert.Zero(t, list.exit, list.complaint)
		assert.Regexp(t, `(?m)^openai +the team's key +openai +active$`, list.out)
		assert.Regexp(t, `(?m)^org/$`, list.out)
		assert.Equal(t, "Keys\n----\nacme/\ndefault/\n", e.cli(t, "list", "{mount}/connections/org").out)
		page, err := e.vault.Client.Logical().ReadWithDataWithContext(t.Context(), e.path+"/connections/org", url.Values{
			"list": {"true"}, "after": {"acme/"}, "limit": {"1"},
		})
		require.NoError(t, err)
		assert.Equal(t, []any{"default/"}, page.Data["keys"])
	})
	t.Run("write", func(t *testing.T) {
		write := e.cli(t, "write", "{mount}/connections/tagged", "provider=openai", "api_key="+apiKey, "verify=false", "tags=team=payments",
			"tags=tier=1")
		assert.Zero(t, write.exit, write.complaint)
		assert.Regexp(t, `(?m)^tags +map\[team:payments tier:1\]$`, write.out)
		assert.NotContains(t, write.out, apiKey)
		assert.Zero(t, e.cli(t, "delete", "{mount}/connections/tagged").exit)
	})
	t.Run("help", func(t *testing.T) {
		for path, words := range map[string]string{
			"creds/openai":             "The credential of a connection, fresh.",
			"connections/openai":       "masked metadata",
			"auth-code-url/self/slack": "Start to connect an account.",
			"callback/slack":           "Unauthenticated.",
			"":                         "creds/",
		} {
			help := e.cli(t, "path-help", "{mount}/"+path)
			assert.Zero(t, help.exit, help.complaint)
			assert.Contains(t, help.out, words, path)
		}
	})
}

func TestCLIConnect(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	write := s.cli(t, "write", "-format=json", "{mount}/auth-code-url/account", "provider=idp")
	require.Zero(t, write.exit, write.complaint)
	var started struct{ Data map[string]any }
	require.NoError(t, json.Unmarshal([]byte(write.out), &started))
	code := s.arrive(t, person, started.Data)
	next := strings.Replace(started.Data["next_step"].(string), "confirmation_code=...", "confirmation_code="+code, 1)
	_, command, found := strings.Cut(next, "vault write ")
	require.True(t, found, next)
	exchange := s.cli(t, append([]string{"write"}, strings.Fields(command)...)...)
	require.Zero(t, exchange.exit, exchange.complaint)
	assert.Regexp(t, `(?m)^status +active$`, exchange.out)
	token := s.cli(t, "read", "-field=access_token", "{mount}/creds/account")
	assert.True(t, knows(t, s.server, strings.TrimSpace(token.out)))
}

func TestCLIRefusals(t *testing.T) {
	t.Parallel()
	e := newKeys(t)
	e.write(t, "connections/openai", key(apiKey))
	e.write(t, "connections/off", key(apiKey))
	e.write(t, "connections/off", map[string]any{"disabled": true})
	e.write(t, "providers/service", map[string]any{
		"definition": "oauth2", "client_id": "app", "client_secret": appSecret,
		"endpoints": map[string]string{
			"authorize": "https://service.example/authorize", "token": "https://service.example/token",
		},
	})
	e.write(t, "auth-code-url/pending", map[string]any{"provider": "service"})
	alice := e.logIn(t, "alice", ownOnly)
	alice.write(t, "connections/self/openai", key(apiKey))

	tests := map[string]struct {
		args  string
		code  string // none: the command does not print one
		words string
	}{
		"400 no such connection": {
			"read {mount}/creds/nothing", "400", "no connection org/default/nothing: start one with auth-code-url/",
		},
		"400 self without entity": {"read {mount}/creds/self/openai", "400", "this token has no entity"},
		"400 unknown field":       {"write {mount}/connections/openai colour=red", "400", `unknown field "colour"`},
		"400 name":                {"read {mount}/creds/OpenAI", "400", `connection name "OpenAI" is not valid`},
		"403 private": {
			"read {mount}/creds/user/" + alice.entity + "/openai", "403", "is private: only the entity that owns it may use it",
		},
		"403 disabled":        {"read {mount}/creds/off", "403", "is disabled (disabled_by_person)"},
		"409 pending":         {"read {mount}/creds/pending", "409", "is pending: its flow is open until"},
		"409 provider in use": {"delete {mount}/providers/openai", "409", "has connections"},
		"404 connection":      {"read {mount}/connections/nothing", "", "No value found at {mount}/connections/nothing"},
		"404 provider":        {"read {mount}/providers/nothing", "", "No value found at {mount}/providers/nothing"},
		"404 definition":      {"read {mount}/catalog/nothing", "", "No value found at {mount}/catalog/nothing"},
		"404 list": {
			"list {mount}/connections/org/nobody", "", "No value found at {mount}/connections/org/nobody",
		},

		"advice: no name":      {"read {mount}/creds/org/acme", "400", "creds needs a connection's name"},
		"advice: slash":        {"read {mount}/creds/a/b", "400", "names hold no slash"},
		"advice: credentials":  {"read {mount}/credentials/openai", "400", "credentials are read at creds/<name>"},
		"advice: connection":   {"read {mount}/connection/openai", "400", "did you mean connections/?"},
		"advice: authorize":    {"write -force {mount}/authorize/slack", "400", "a flow is started at auth-code-url/<name>"},
		"advice: anything":     {"list {mount}/stuff", "400", "there are catalog/, providers/"},
		"wrong verb":           {"write {mount}/creds/openai a=b", "405", "unsupported operation"},
		"unlisted path of all": {"read {mount}/", "400", "no such path"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := e.cli(t, strings.Fields(tc.args)...)
			assert.Equal(t, exitRefused, got.exit)
			assert.Empty(t, got.out)
			assert.Contains(t, got.complaint, strings.ReplaceAll(tc.words, "{mount}", e.path))
			if tc.code != "" {
				assert.Contains(t, got.complaint, "Code: "+tc.code+". Errors:")
			}
		})
	}
}

// Its own Vault: a reload replaces the process of every mount.
func TestCLIPlugin(t *testing.T) {
	t.Parallel()
	vault, err := stack.StartVaultDev(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(vault.Stop)
	e := mountOn(t, vault)
	e.write(t, "providers/openai", map[string]any{})
	e.write(t, "connections/openai", key(apiKey))

	version := e.read(t, "status")["version"].(string)
	assert.Regexp(t, `^v\d+\.\d+\.\d+`, version)
	assert.Regexp(t, `(?m)^`+stack.PluginName+` +`+version+`$`, e.cli(t, "plugin", "list", "secret").out)
	assert.Regexp(t, `(?m)^{mount}/ .*\b`+version+`\b`, strings.ReplaceAll(e.cli(t, "secrets", "list", "-detailed").out,
		e.path, "{mount}"))

	before, err := vault.PluginPIDs()
	require.NoError(t, err)
	reload := e.cli(t, "plugin", "reload", "-plugin="+stack.PluginName)
	assert.Zero(t, reload.exit, reload.complaint)
	assert.Equal(t, apiKey, e.read(t, "creds/openai")["api_key"])
	after, err := vault.PluginPIDs()
	require.NoError(t, err)
	assert.NotEqual(t, before, after)
	assert.Equal(t, http.StatusOK, get(t, e.callback("openai"), nil).Status, "the callback still needs no token")
}
