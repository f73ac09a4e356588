package acceptance

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logins is an auth method with passwords.
type logins struct {
	*engine
	path, accessor string
}

func (e *engine) newLogins(t *testing.T, path string) *logins {
	t.Helper()
	sys := e.vault.Client.Sys()
	require.NoError(t, sys.EnableAuthWithOptionsWithContext(t.Context(), path, &api.EnableAuthOptions{Type: "userpass"}))
	methods, err := sys.ListAuthWithContext(t.Context())
	require.NoError(t, err)
	return &logins{engine: e, path: path, accessor: methods[path+"/"].Accessor}
}

// ask writes to Vault itself.
func (e *engine) ask(t *testing.T, path string, data map[string]any) *api.Secret {
	t.Helper()
	answer, err := e.vault.Client.Logical().WriteWithContext(t.Context(), path, data)
	require.NoError(t, err)
	return answer
}

// set makes a login, or gives it another password.
func (l *logins) set(t *testing.T, name, password string) {
	t.Helper()
	l.ask(t, "auth/"+l.path+"/users/"+name, map[string]any{
		"password": password, "token_policies": l.addPolicy(t, "becoming", everything),
	})
}

func (l *logins) in(t *testing.T, name, password string) *user {
	t.Helper()
	login := l.ask(t, "auth/"+l.path+"/login/"+name, map[string]any{"password": password})
	return &user{engine: l.as(t, login.Auth.ClientToken), entity: login.Auth.EntityID}
}

func (l *logins) remove(t *testing.T, path string) {
	t.Helper()
	_, err := l.vault.Client.Logical().DeleteWithContext(t.Context(), path)
	require.NoError(t, err)
}

// The ways to another's private connection that no secrets engine can close, and that the audit log tells of each.
// Its own Vault: they change identities and plugins.
func TestBecomingSomebody(t *testing.T) {
	t.Parallel()
	e := mountOn(t, ownVault(t))
	e.write(t, "providers/openai", map[string]any{"definition": "openai"})
	staff, others := e.newLogins(t, "corp/staff"), e.newLogins(t, "others")
	var alerts []string // what the alert is to say from here on
	victim := func(t *testing.T, name string) *user {
		t.Helper()
		staff.set(t, name, "her own")
		alerts = append(alerts, "done: create auth/corp/staff/users/"+name)
		u := staff.in(t, name, "her own")
		u.write(t, "connections/self/openai", key(apiKey))
		e.refusesRead(t, http.StatusForbidden, "is private", "creds/user/"+u.entity+"/openai")
		return u
	}
	mallory := func(t *testing.T, name string) {
		t.Helper()
		others.set(t, name, "his own")
		alerts = append(alerts, "done: create auth/others/users/"+name)
	}
	told := func(what string) { alerts = append(alerts, what) }
	becomes := func(t *testing.T, u *user, her *user) {
		t.Helper()
		assert.Equal(t, her.entity, u.entity)
		assert.Equal(t, apiKey, u.read(t, "creds/user/"+her.entity+"/openai")["api_key"])
	}
	before, err := os.ReadFile(e.vault.AuditFile)
	require.NoError(t, err)

	t.Run("an alias", func(t *testing.T) {
		her := victim(t, "alias")
		mallory(t, "m-alias")
		e.ask(t, "identity/entity-alias", map[string]any{
			"name": "m-alias", "canonical_id": her.entity, "mount_accessor": others.accessor,
		})
		told("done: update identity/entity-alias")
		becomes(t, others.in(t, "m-alias", "his own"), her)
	})
	t.Run("a merge", func(t *testing.T) {
		her := victim(t, "merge")
		mallory(t, "m-merge")
		his := others.in(t, "m-merge", "his own")
		his.refusesRead(t, http.StatusForbidden, "is private", "creds/user/"+her.entity+"/openai")
		e.ask(t, "identity/entity/merge", map[string]any{
			"from_entity_ids": []string{his.entity}, "to_entity_id": her.entity,
		})
		told("done: update identity/entity/merge")
		becomes(t, others.in(t, "m-merge", "his own"), her)
	})
	t.Run("a token role", func(t *testing.T) {
		her := victim(t, "role")
		methods, err := e.vault.Client.Sys().ListAuthWithContext(t.Context())
		require.NoError(t, err)
		e.ask(t, "identity/entity-alias", map[string]any{
			"name": "her-script", "canonical_id": her.entity, "mount_accessor": methods["token/"].Accessor,
		})
		told("done: update identity/entity-alias")
		e.ask(t, "auth/token/roles/any", map[string]any{
			"allowed_entity_aliases": "her-script", "allowed_policies": e.addPolicy(t, "becoming", everything),
		})
		told("done: create auth/token/roles/any")
		token := e.ask(t, "auth/token/create/any", map[string]any{
			"entity_alias": "her-script", "policies": []string{e.addPolicy(t, "becoming", everything)},
		})
		told("done: update auth/token/create/any")
		becomes(t, &user{engine: e.as(t, token.Auth.ClientToken), entity: token.Auth.EntityID}, her)
	})
	t.Run("a reset", func(t *testing.T) {
		her := victim(t, "reset")
		staff.set(t, "reset", "his own")
		told("done: update auth/corp/staff/users/reset")
		becomes(t, staff.in(t, "reset", "his own"), her)
	})
	t.Run("a login that is made anew", func(t *testing.T) {
		her := victim(t, "anew")
		staff.remove(t, "auth/corp/staff/users/anew")
		told("done: delete auth/corp/staff/users/anew")
		staff.set(t, "anew", "of a namesake")
		told("done: create auth/corp/staff/users/anew")
		becomes(t, staff.in(t, "anew", "of a namesake"), her)

		staff.remove(t, "identity/entity/id/"+her.entity)
		namesake := staff.in(t, "anew", "of a namesake")
		assert.NotEqual(t, her.entity, namesake.entity, "with the entity goes what is private to it")
		namesake.refusesRead(t, http.StatusForbidden, "is private", "creds/user/"+her.entity+"/openai")
	})
	t.Run("what else is told of", func(t *testing.T) {
		e.ask(t, "identity/group", map[string]any{"name": "admins"})
		told("done: update identity/group")
		require.NoError(t, e.vault.Client.Sys().EnableAuthWithOptionsWithContext(t.Context(), "jwt",
			&api.EnableAuthOptions{Type: "jwt"}))
		told("done: update sys/auth/jwt")
		e.ask(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": newIssuer(t).publicKey(t)})
		told("done: update auth/jwt/config")
		e.ask(t, "auth/jwt/role/app", map[string]any{"role_type": "jwt", "user_claim": "email", "bound_audiences": "vault"})
		told("done: create auth/jwt/role/app")
		require.NoError(t, e.vault.Client.Sys().RegisterPluginWithContext(t.Context(), &api.RegisterPluginInput{
			Name: "other", Type: api.PluginTypeSecrets, Command: "vault-plugin-secrets-connectors", Version: "v1.0.0",
			SHA256: "0000000000000000000000000000000000000000000000000000000000000000",
		}))
		told("done: update sys/plugins/catalog/secret/other")
		e.write(t, "config", map[string]any{"proxy_url": "http://127.0.0.1:9"})
		told("done: update " + e.path + "/config")
		e.refusesWrite(t, http.StatusBadRequest, "ca_pem", "providers/openai", map[string]any{"ca_pem": "none"})
		told("refused: update " + e.path + "/providers/openai")
		weak := e.logIn(t, "weak", `path "connectors/creds/+" { capabilities = ["read"] }`)
		told("done: update sys/auth/" + e.path + "-userpass")
		told("done: create auth/" + e.path + "-userpass/users/weak")
		_, err := weak.vault.Client.Logical().WriteWithContext(t.Context(), "identity/entity-alias", map[string]any{
			"name": "weak", "canonical_id": "any", "mount_accessor": "any",
		})
		assertRefused(t, http.StatusForbidden, denied, nil, err)
		told("refused: update identity/entity-alias")
	})
	t.Run("what is not", func(t *testing.T) {
		e.write(t, "config", map[string]any{"poll_interval": "5m"})
		e.write(t, "providers/openai", map[string]any{"scopes": ""})
		e.write(t, "connections/openai", key(apiKey))
		e.read(t, "creds/openai")
		e.read(t, "config")
		e.ask(t, "auth/token/create", map[string]any{"policies": "default"})
		_, err := e.vault.Client.Logical().ListWithContext(t.Context(), "auth/corp/staff/users")
		require.NoError(t, err)
	})
	require.NoError(t, e.vault.Client.Sys().DisableAuditWithContext(t.Context(), "file"))
	told("asked for: delete sys/audit/file")

	program := filepath.Join(t.TempDir(), "auditalert")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../scripts/recipes/auditalert")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	log, err := os.Open(e.vault.AuditFile)
	require.NoError(t, err)
	defer log.Close()
	_, err = log.Seek(int64(len(before)), 0)
	require.NoError(t, err)
	alert := exec.CommandContext(t.Context(), program)
	alert.Stdin = log
	printed, err := alert.Output()
	require.NoError(t, err)
	var said []string
	line := regexp.MustCompile(`(?m)^\S+ ((?:done|refused|asked for): \w+ \S+) by `)
	for _, line := range line.FindAllStringSubmatch(string(printed), -1) {
		said = append(said, line[1])
	}
	assert.Equal(t, alerts, said, "%s", printed)
	assert.NotContains(t, string(printed), apiKey)
}
