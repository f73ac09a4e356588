package backend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Where Git takes a credential is told with it, as the provider's inputs make it, and nowhere else.
func TestWhereGitTakesACredential(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/work", map[string]any{
			"definition": "github", "client_id": "id", "client_secret": "secret", "allow_import": "all",
			"inputs": map[string]any{"host": "one.ghe.com", "api_url": "https://api.one.ghe.com"},
		}).OK(t)
		f.Write("connections/work", map[string]any{
			"provider": "work", "access_token": "tok", "expires_in": 3600, "verify": false,
		}).OK(t)
		git := map[string]any{"include": "git"}
		read := f.Read("creds/work", git).OK(t)
		told := members(t, read["git"])
		assert.Equal(t, []string{"one.ghe.com"}, texts(t, told["hosts"]))
		assert.Equal(t, "x-access-token", told["username"])
		assert.NotContains(t, read, "send")
		assert.NotContains(t, f.Read("creds/work", nil).OK(t), "git")
		both := f.Read("creds/work", map[string]any{"include": "git,send"}).OK(t)
		assert.Contains(t, both, "git")
		assert.Contains(t, both, "send")

		known := members(t, f.Read("catalog/github", nil).OK(t)["git"])
		assert.Equal(t, []string{"{host}"}, texts(t, known["hosts"]))
		assert.Equal(t, "x-access-token", known["username"])
		assert.Empty(t, texts(t, members(t, f.Read("catalog/slack", nil).OK(t)["git"])["hosts"]))

		f.connect(t, "acme")
		f.Read("creds/acme", git).Refused(t, http.StatusBadRequest, "include=git", "names no host")

		f.Write("providers/work", map[string]any{
			"client_secret": "secret", "inputs": map[string]any{"host": "two.ghe.com", "api_url": "https://api.two.ghe.com"},
		}).OK(t)
		f.Read("creds/work", git).Refused(t, http.StatusConflict, "include=git", "changed since")
	})
}

// The operator of the mount says which hosts a definition of a provider's own, or a key that brings its host, may name.
func TestGitHostsAreAllowed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
		definition := mine(f.provider.URL) + "git: {hosts: ['code.example.com:8443'], username: git}\n"
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1"}).OK(t)
		f.Write("providers/mine", map[string]any{"client_id": "id", "definition_yaml": definition}).
			Refused(t, http.StatusBadRequest, "git.hosts[0]", `does not allow "code.example.com"`)
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1,*.example.com"}).OK(t)
		f.ours(t, map[string]any{"definition_yaml": definition})
		f.Write("exchange", f.own(t, "a", map[string]any{"provider": "mine"})).OK(t)
		git := map[string]any{"include": "git"}
		told := members(t, f.Read("creds/a", git).OK(t)["git"])
		assert.Equal(t, []string{"code.example.com:8443"}, texts(t, told["hosts"]))
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1,gitlab.example.org,gitlab.com"}).OK(t)
		f.Read("creds/a", git).Refused(t, http.StatusConflict, "include=git", "endpoint_hosts", "code.example.com")

		f.Write("providers/gitlab", map[string]any{}).OK(t)
		key := map[string]any{
			"provider": "gitlab", "kind": "api_key", "token": "glpat-" + strings.Repeat("a", 20), "verify": false,
			"inputs": map[string]any{"host": "gitlab.example.org"},
		}
		f.Write("connections/key", key).OK(t)
		told = members(t, f.Read("creds/key", git).OK(t)["git"])
		assert.Equal(t, []string{"gitlab.example.org"}, texts(t, told["hosts"]))
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1"}).OK(t)
		f.Read("creds/key", git).Refused(t, http.StatusConflict, "include=git", "endpoint_hosts", "gitlab.example.org")
	})
}
