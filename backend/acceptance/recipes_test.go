package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

const denied = "permission denied"

// recipe is the text of a file of scripts/recipes.
func recipe(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "scripts", "recipes", name))
	require.NoError(t, err)
	return string(content)
}

// commands are the first that a chapter of the operations has.
func commands(t *testing.T, heading string) string {
	t.Helper()
	return blocks(t, "../../scripts/operations.md", heading)[0]
}

// blocks are the commands of a chapter, as they stand there together.
func blocks(t *testing.T, page, heading string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	_, chapter, found := strings.Cut(string(text), "\n"+heading+"\n")
	require.True(t, found, "there is a chapter %q", heading)
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	var all []string
	for _, block := range regexp.MustCompile("(?s)\n```sh\n(.*?)```").FindAllStringSubmatch(chapter, -1) {
		all = append(all, block[1])
	}
	require.NotEmpty(t, all, "the chapter %q has commands", heading)
	return all
}

// shell runs a script in which vault is the command of this Vault, and gives what it prints.
func (e *engine) shell(t *testing.T, script string, args []string, environment ...string) string {
	t.Helper()
	bin := t.TempDir()
	require.NoError(t, os.Symlink(e.vault.Binary(), filepath.Join(bin, "vault")))
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-euc", script, "sh"}, args...)...)
	cmd.Env = append([]string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "VAULT_ADDR=" + e.vault.Addr,
		"VAULT_TOKEN=" + e.vault.Token,
	}, environment...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// list gives the names at a path.
func (e *engine) list(t *testing.T, path string) []any {
	t.Helper()
	answer, err := e.vault.Client.Logical().ListWithContext(t.Context(), e.path+"/"+path)
	require.NoError(t, err)
	require.NotNil(t, answer)
	return answer.Data["keys"].([]any)
}

// bites asserts of each rule of a policy that a request of this test needed it: for each of its capabilities there was
// one that Vault let pass, for a deny or for parameters that it limits one that was refused.
func (e *engine) bites(t *testing.T, name, policy string) {
	t.Helper()
	log, err := os.ReadFile(e.vault.AuditFile)
	require.NoError(t, err)
	passed, refused := map[string][]string{}, map[string][]string{} // paths by operation
	for line := range bytes.Lines(log) {
		var a audited
		if json.Unmarshal(line, &a) != nil || !slices.Contains(a.Auth.Policies, strings.ToLower(e.path+"-"+name)) {
			continue
		}
		path, ours := strings.CutPrefix(a.Request.Path, e.path+"/")
		switch {
		case !ours:
		case strings.Contains(a.Error, denied):
			refused[a.Request.Operation] = append(refused[a.Request.Operation], path)
		case a.Type == "response":
			passed[a.Request.Operation] = append(passed[a.Request.Operation], path)
			if a.Request.Operation == "list" { // rules are looked up without its last slash first
				passed["list"] = append(passed["list"], strings.TrimSuffix(path, "/"))
			}
		}
	}
	_, rules, found := strings.Cut(policy, `path "connectors/`)
	require.True(t, found)
	for _, rule := range strings.Split(rules, `path "connectors/`) {
		pattern, body, _ := strings.Cut(rule, `"`)
		like := strings.ReplaceAll(regexp.QuoteMeta(regexp.MustCompile(`{{.*?}}`).ReplaceAllString(pattern, "+")),
			`\+`, `[^/]+`)
		if rest, open := strings.CutSuffix(like, `\*`); open {
			like = rest + ".*"
		}
		matches := regexp.MustCompile("^" + like + "$").MatchString
		capabilities := regexp.MustCompile(`capabilities\s*=\s*\[(.*?)\]`).FindStringSubmatch(body)
		require.NotNil(t, capabilities, pattern)
		limited := false
		for _, c := range regexp.MustCompile(`\w+`).FindAllString(capabilities[1], -1) {
			if c == "deny" {
				assert.True(t, slices.ContainsFunc(refused["read"], matches), "%s of %s denies nothing", pattern, name)
				continue
			}
			assert.True(t, slices.ContainsFunc(passed[c], matches), "nothing needs %s on %s of %s", c, pattern, name)
			limited = limited || slices.ContainsFunc(refused[c], matches)
		}
		if strings.Contains(body, "_parameters") {
			assert.True(t, limited, "%s of %s limits no parameter", pattern, name)
		}
	}
}

func TestPolicyRecipes(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	for _, path := range []string{
		"openai", "prod", "org/acme/openai", "org/other/openai", "user/42/openai",
		"org/acme/user/42/openai",
	} {
		root.write(t, "connections/"+path, key(apiKey))
	}
	reads := func(t *testing.T, u *user, paths ...string) {
		t.Helper()
		for _, path := range paths {
			assert.Equal(t, apiKey, u.read(t, "creds/"+path)["api_key"], path)
		}
	}
	refuses := func(t *testing.T, u *user, paths ...string) {
		t.Helper()
		for _, path := range paths {
			u.refusesRead(t, http.StatusForbidden, denied, path)
		}
	}
	finds := func(t *testing.T, u *user) {
		t.Helper()
		answer, err := u.vault.Client.Logical().ReadWithDataWithContext(t.Context(), u.path+"/catalog",
			url.Values{"search": {"sendgrid mail"}})
		require.NoError(t, err)
		assert.Equal(t, []any{"sendgrid"}, answer.Data["keys"])
	}
	// shares has somebody share what is theirs, by the path that their policy has, with somebody else, and end it.
	shares := func(t *testing.T, her, him *user, mine, full string) {
		t.Helper()
		assert.Empty(t, her.read(t, "shares/"+mine)["shares"])
		her.write(t, "shares/"+mine, map[string]any{"entities": him.entity})
		assert.Len(t, her.read(t, "shares/"+mine)["shares"], 1)
		assert.Len(t, her.read(t, "inventory/self")["connections"], 1)
		assert.NotEmpty(t, her.read(t, "history/"+mine)["records"])
		refuses(t, him, "creds/shared/"+full) // that is everybody.hcl's to give
		her.remove(t, "shares/"+mine)
		assert.Empty(t, her.read(t, "shares/"+mine)["shares"])
	}
	// moves has somebody rename a connection of theirs and back, offer it and withdraw that, and take what is offered.
	moves := func(t *testing.T, her *user, mine, offered string) {
		t.Helper()
		assert.Equal(t, true, her.write(t, "transfer/"+mine+"openai", map[string]any{"to": mine + "renamed"})["moved"])
		her.absent(t, "connections/"+mine+"openai")
		reads(t, her, mine+"renamed")
		her.write(t, "transfer/"+mine+"renamed", map[string]any{"to": mine + "openai"})
		her.write(t, "transfer/"+mine+"openai", map[string]any{"to": "org/other/given"})
		assert.Equal(t, "org/other/given", her.read(t, "transfer/"+mine+"openai")["to"])
		her.remove(t, "transfer/"+mine+"openai")
		her.absent(t, "transfer/"+mine+"openai")

		person := strings.Replace(mine, "self", "user/"+her.entity, 1)
		her.refusesWrite(t, http.StatusForbidden, denied, "transfer/"+offered, map[string]any{"to": person + "taken"})
		her.refusesWrite(t, http.StatusForbidden, "is offered to", "accept/"+mine+"taken", map[string]any{"from": offered})
		root.write(t, "transfer/"+offered, map[string]any{"to": person + "taken"})
		assert.Equal(t, true, her.write(t, "accept/"+mine+"taken", map[string]any{"from": offered})["private"])
		reads(t, her, mine+"taken")
		her.remove(t, "connections/"+mine+"taken")
		root.write(t, "connections/"+offered, key(apiKey)) // as it was
	}
	tests := map[string]func(t *testing.T, policy string){
		"default-org": func(t *testing.T, policy string) {
			u := root.logIn(t, "default-org", policy)
			reads(t, u, "openai", "prod")
			u.write(t, "check/openai", nil)
			u.refusesWrite(t, http.StatusForbidden, denied, "check/org/acme/openai", nil)
			refuses(t, u, "creds/org/acme/openai", "creds/user/42/openai", "connections/openai")
		},
		"one-org": func(t *testing.T, policy string) {
			u := root.logIn(t, "one-org", policy)
			reads(t, u, "org/acme/openai")
			u.write(t, "check/org/acme/openai", nil)
			u.refusesWrite(t, http.StatusForbidden, denied, "check/openai", nil)
			refuses(t, u, "creds/openai", "creds/org/other/openai", "creds/user/42/openai", "creds/org/acme/user/42/openai")
			all := root.logIn(t, "one-org-star", strings.ReplaceAll(policy, "/+", "/*"))
			reads(t, all, "org/acme/user/42/openai") // as the recipe says
		},
		"member": func(t *testing.T, policy string) {
			u, other, nobody := root.logIn(t, "member", policy), root.logIn(t, "member-too", policy),
				root.logIn(t, "member-of-none", policy)
			for entity, org := range map[string]string{u.entity: "acme", other.entity: "other"} {
				_, err := root.vault.Client.Logical().WriteWithContext(t.Context(), "identity/entity/id/"+entity,
					map[string]any{"metadata": map[string]string{"org": org}})
				require.NoError(t, err)
			}
			const mine = "org/acme/self/openai"
			assert.Equal(t, true, u.write(t, "connections/"+mine, key(apiKey))["private"])
			other.write(t, "connections/org/other/self/openai", key(otherAPIKey))
			reads(t, u, mine)
			assert.Equal(t, otherAPIKey, other.read(t, "creds/org/other/self/openai")["api_key"])
			assert.Equal(t, []any{"openai"}, u.list(t, "connections/org/acme/self"))
			assert.Contains(t, u.list(t, "catalog"), "openai")
			finds(t, u)
			assert.Equal(t, "OpenAI", u.read(t, "catalog/openai")["name"])
			assert.Equal(t, "org/acme/user/"+u.entity, u.read(t, "connections/"+mine)["owner"])
			u.write(t, "check/"+mine, nil)
			u.refusesWrite(t, http.StatusBadRequest, "nothing to refresh", "refresh/"+mine, nil)
			u.refusesWrite(t, http.StatusBadRequest, "cannot be connected", "auth-code-url/org/acme/self/new",
				map[string]any{"provider": "openai"})
			u.refusesWrite(t, http.StatusBadRequest, "name the flow", "exchange", nil)
			for _, w := range []*user{other, nobody} {
				refuses(t, w, "creds/"+mine, "creds/org/acme/openai", "creds/org/acme/user/"+u.entity+"/openai",
					"connections/"+mine)
			}
			refuses(t, u, "creds/org/acme/openai", "creds/org/other/self/openai", "creds/org/acme/user/42/openai",
				"creds/self/openai")
			root.refusesRead(t, http.StatusForbidden, "is private", "creds/org/acme/user/"+u.entity+"/openai")
			refuses(t, other, "shares/"+mine, "transfer/"+mine)
			moves(t, u, "org/acme/self/", "org/acme/openai")
			other.refusesWrite(t, http.StatusForbidden, denied, "accept/org/acme/self/new", map[string]any{"from": mine})
			u.refusesWrite(t, http.StatusForbidden, denied, "accept/org/acme/new", map[string]any{"from": mine})
			shares(t, u, other, mine, "org/acme/user/"+u.entity+"/openai")
			u.remove(t, "connections/"+mine)
			other.remove(t, "connections/org/other/self/openai")
		},
		"own": func(t *testing.T, policy string) {
			u, other := root.logIn(t, "own", policy), root.logIn(t, "own-too", policy)
			u.write(t, "connections/self/openai", key(apiKey))
			reads(t, u, "self/openai", "user/"+u.entity+"/openai")
			assert.Equal(t, []any{"openai"}, u.list(t, "connections/self"))
			assert.Contains(t, u.list(t, "catalog"), "openai")
			finds(t, u)
			assert.Equal(t, "OpenAI", u.read(t, "catalog/openai")["name"])
			assert.Equal(t, "active", u.read(t, "connections/self/openai")["status"])
			u.write(t, "check/self/openai", nil)
			u.refusesWrite(t, http.StatusBadRequest, "nothing to refresh", "refresh/self/openai", nil)
			u.refusesWrite(t, http.StatusBadRequest, "cannot be connected", "auth-code-url/self/new",
				map[string]any{"provider": "openai"})
			u.refusesWrite(t, http.StatusBadRequest, "name the flow", "exchange", nil)
			refuses(t, other, "creds/user/"+u.entity+"/openai", "connections/user/"+u.entity+"/openai", "creds/openai",
				"connections/openai", "config", "shares/user/"+u.entity+"/openai", "transfer/user/"+u.entity+"/openai",
				"transfer/org/acme/openai")
			moves(t, u, "self/", "org/acme/openai")
			other.refusesWrite(t, http.StatusForbidden, denied, "accept/user/"+u.entity+"/new",
				map[string]any{"from": "org/acme/openai"})
			shares(t, u, other, "self/openai", "user/"+u.entity+"/openai")
			u.remove(t, "connections/self/openai")
		},
		"application-users": func(t *testing.T, policy string) {
			shop := root.logIn(t, "application-users", policy)
			shop.write(t, "connections/user/shop:42/openai", key(apiKey))
			shop.write(t, "connections/user/shop:42/openai", key(otherAPIKey))
			assert.Equal(t, "active", shop.read(t, "connections/user/shop:42/openai")["status"])
			shop.write(t, "check/user/shop:42/openai", nil)
			shop.refusesWrite(t, http.StatusBadRequest, "nothing to refresh", "refresh/user/shop:42/openai", nil)
			shop.refusesWrite(t, http.StatusBadRequest, "name the flow", "exchange", nil)
			assert.Equal(t, otherAPIKey, shop.read(t, "creds/user/shop:42/openai")["api_key"])
			assert.Equal(t, []any{"openai"}, shop.list(t, "connections/user/shop:42"))
			refuses(t, shop, "creds/user/42/openai", "creds/user/crm:42/openai", "creds/openai")
			shop.refusesWrite(t, http.StatusForbidden, denied, "connections/user/crm:42/openai", key(apiKey))
			shop.refusesWrite(t, http.StatusBadRequest, "cannot be connected", "auth-code-url/user/shop:42/new",
				map[string]any{"provider": "openai"})
			texts := root.logIn(t, "texts", strings.ReplaceAll(policy, "[]", `["true"]`))
			for i, value := range []any{"true", true, "1", 1, "T", false} {
				asked := key(apiKey)
				asked["provision"] = value
				name := fmt.Sprintf("shop:42/provisioned-%d", i)
				shop.refusesWrite(t, http.StatusForbidden, denied, "connections/user/"+name, asked)
				shop.refusesWrite(t, http.StatusForbidden, denied, "auth-code-url/user/"+name, asked)
				if value == "1" {
					texts.write(t, "connections/user/"+name, asked) // as the recipe says
				}
			}
			shop.remove(t, "connections/user/shop:42/openai")
		},
		"operator": func(t *testing.T, policy string) {
			u := root.logIn(t, "operator", policy)
			u.write(t, "providers/openai-too", map[string]any{"definition": "openai"})
			u.write(t, "providers/openai-too", map[string]any{"allowed_owners": "org/*"})
			assert.Equal(t, []any{"org/*"}, u.read(t, "providers/openai-too")["allowed_owners"])
			assert.Equal(t, []any{"openai", "openai-too"}, u.list(t, "providers"))
			u.remove(t, "providers/openai-too")
			u.write(t, "config", map[string]any{"poll_interval": "5m"})
			assert.Equal(t, json.Number("300"), u.read(t, "config")["poll_interval"])
			assert.Contains(t, u.list(t, "catalog"), "openai")
			finds(t, u)
			assert.Equal(t, "OpenAI", u.read(t, "catalog/openai")["name"])
			u.read(t, "status")
			assert.Contains(t, u.list(t, "connections"), "prod")
			u.write(t, "webhooks/siem", map[string]any{"url": "https://hooks.example.com/x", "generate_secret": true})
			u.write(t, "webhooks/siem", map[string]any{"disabled": true})
			assert.Equal(t, true, u.read(t, "webhooks/siem")["disabled"])
			assert.Equal(t, []any{"siem"}, u.list(t, "webhooks"))
			u.remove(t, "webhooks/siem")
			assert.Equal(t, map[string]any{"api_key": "****WXYZ"}, u.read(t, "connections/org/acme/openai")["key"])
			refuses(t, u, "creds/openai", "creds/org/acme/openai", "creds/user/42/openai")
			for _, path := range []string{
				"connections/openai", "auth-code-url/new", "refresh/openai", "exchange", "connections/self/openai",
			} {
				u.refusesWrite(t, http.StatusForbidden, denied, path, key(apiKey))
			}
		},
		"app-secret": func(t *testing.T, policy string) {
			u := root.logIn(t, "app-secret", policy)
			const path = "providers/openai-app/client-secret"
			root.write(t, "providers/openai-app", map[string]any{"definition": "openai"})
			assert.Equal(t, true, u.write(t, path, map[string]any{"client_secret": appSecret})["client_secret_set"])
			refuses(t, u, path, "providers/openai-app", "creds/openai", "config")
			for _, data := range []map[string]any{{"client_secret": "x"}, {"scopes": "a"}} {
				u.refusesWrite(t, http.StatusForbidden, denied, "providers/openai-app", data)
			}
			settings := root.logIn(t, "settings", `path "connectors/providers/*" {
				capabilities = ["create", "update"]
				denied_parameters = { "client_secret" = [] }
			}`) // as the recipe says
			settings.write(t, "providers/openai-app", map[string]any{"allowed_owners": "org/*"})
			for _, path := range []string{path, "providers/openai-app", "providers/openai-new"} {
				settings.refusesWrite(t, http.StatusForbidden, denied, path, map[string]any{"client_secret": "x"})
			}
			root.remove(t, "providers/openai-app")
		},
		"on-call": func(t *testing.T, policy string) {
			u := root.logIn(t, "on-call", policy)
			const path = "connections/org/other/openai"
			assert.Contains(t, u.read(t, "status"), "connections")
			assert.Equal(t, []any{"openai"}, u.list(t, "connections/org/other"))
			assert.Equal(t, "active", u.read(t, path)["status"])
			assert.Equal(t, "disabled", u.write(t, path, map[string]any{"disabled": true})["status"])
			for _, data := range []map[string]any{{"label": "x"}, {"disabled": false, "label": "x"}, key(otherAPIKey)} {
				u.refusesWrite(t, http.StatusForbidden, denied, path, data)
			}
			assert.Equal(t, "active", u.write(t, path, map[string]any{"disabled": false})["status"])
			her := root.logIn(t, "her", ownOnly)
			her.write(t, "connections/self/openai", key(apiKey))
			private := "connections/user/" + her.entity + "/openai"
			assert.Equal(t, "disabled", u.write(t, private, map[string]any{"disabled": true})["status"])
			her.write(t, "connections/self/openai", map[string]any{"disabled": false})
			her.refusesRead(t, http.StatusForbidden, "disabled", "creds/self/openai") // theirs stays
			assert.Equal(t, "active", u.write(t, private, map[string]any{"disabled": false})["status"])
			her.write(t, "connections/self/openai", map[string]any{"disabled": true})
			assert.Equal(t, "disabled", u.write(t, private, map[string]any{"disabled": false})["status"]) // and hers
			her.refusesRead(t, http.StatusForbidden, "disabled", "creds/self/openai")
			u.refusesWrite(t, http.StatusForbidden, denied, "connections/new", key(apiKey))
			refuses(t, u, "creds/org/other/openai", "config")
			_, err := u.vault.Client.Logical().DeleteWithContext(t.Context(), u.path+"/"+path)
			assertRefused(t, http.StatusForbidden, denied, nil, err)
		},
		"metrics": func(t *testing.T, policy string) {
			u := root.logIn(t, "metrics", policy)
			for _, header := range []string{"X-Vault-Token: " + u.vault.Token, "Authorization: Bearer " + u.vault.Token} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.vault.Addr+"/v1/"+u.path+"/metrics", nil)
				require.NoError(t, err)
				name, value, _ := strings.Cut(header, ": ")
				req.Header.Set(name, value)
				page := open(t, req)
				require.Equal(t, http.StatusOK, page.Status, page.Body)
				assert.Contains(t, page.Body, "\nconnectors_writable 1\n")
				assert.Contains(t, page.Body, `connectors_provider_connections{definition="openai",provider="openai"}`)
				assert.NotContains(t, page.Body, "prod", "no name of a connection")
			}
			asItCame := u.cli(t, "read", "-format=raw", "{mount}/metrics")
			assert.Contains(t, asItCame.out, "\nconnectors_writable 1\n", "%+v", asItCame)
			assert.NotZero(t, u.cli(t, "read", "{mount}/metrics").exit, "the command expects data")
			refuses(t, u, "status", "config", "creds/openai", "connections/openai")
		},
		"deny": func(t *testing.T, policy string) {
			u := root.logIn(t, "deny", policy)
			reads(t, u, "openai", "org/other/openai", "user/42/openai")
			refuses(t, u, "creds/prod", "creds/org/default/prod", "creds/org/acme/openai",
				"creds/shared/org/acme/user/42/openai")
			weak := root.logIn(t, "weak-deny", strings.Replace(policy, "connectors/creds/org/acme/*",
				"connectors/+/org/acme/*", 1))
			reads(t, weak, "org/acme/openai") // as the recipe says
		},
		"for-person": func(t *testing.T, policy string) {
			u := root.logIn(t, "for-person", policy)
			planted := key(apiKey)
			planted["provision"] = true
			root.write(t, "connections/user/"+u.entity+"/openai", planted)
			reads(t, u, "self/openai")
			u.write(t, "check/self/openai", nil)
			refuses(t, u, "creds/openai", "creds/user/42/openai", "connections/self/openai", "shares/self/openai",
				"creds/shared/user/42/openai")
			u.refusesWrite(t, http.StatusForbidden, denied, "connections/self/openai", key(otherAPIKey))
			u.refusesWrite(t, http.StatusForbidden, denied, "shares/self/openai", map[string]any{"everyone": true})
			root.remove(t, "connections/user/"+u.entity+"/openai")
		},
		"everybody": func(t *testing.T, policy string) {
			u, her := root.logIn(t, "everybody", policy), root.logIn(t, "sharer", everything)
			her.write(t, "connections/self/openai", key(apiKey))
			shared := "shared/user/" + her.entity + "/openai"
			for _, path := range []string{shared, "shared/user/42/openai", "shared/user/nobody/nothing"} {
				u.refusesRead(t, http.StatusForbidden, "is shared with you", "creds/"+path)
				u.refusesWrite(t, http.StatusForbidden, "is shared with you", "check/"+path, nil)
			}
			her.write(t, "shares/self/openai", map[string]any{"everyone": true})
			reads(t, u, shared)
			u.write(t, "check/"+shared, nil)
			assert.Equal(t, []any{"user/"}, u.list(t, "connections/shared"))
			assert.Equal(t, []any{"openai"}, u.list(t, "connections/shared/user/"+her.entity))
			refuses(t, u, "creds/user/"+her.entity+"/openai", "connections/user/"+her.entity+"/openai",
				"shares/user/"+her.entity+"/openai", "creds/openai", "creds/self/openai")
			her.remove(t, "connections/self/openai")
		},
		"org-admin": func(t *testing.T, policy string) {
			u := root.logIn(t, "org-admin", policy)
			const own = "connections/org/acme/of-the-admin"
			u.write(t, own, key(otherAPIKey))
			assert.Equal(t, "disabled", u.write(t, own, map[string]any{"disabled": true})["status"])
			assert.Equal(t, "active", u.write(t, own, map[string]any{"disabled": false, "label": "the team's"})["status"])
			assert.Equal(t, []any{"of-the-admin", "openai", "user/"}, u.list(t, "connections/org/acme"))
			assert.Contains(t, u.list(t, "catalog"), "openai")
			finds(t, u)
			assert.Equal(t, "OpenAI", u.read(t, "catalog/openai")["name"])
			u.write(t, "check/org/acme/of-the-admin", nil)
			assert.Equal(t, "found", u.write(t, "lookup/org/acme", map[string]any{"token": apiKey})["state"])
			u.absent(t, "lookup/org/acme/"+strings.Repeat("a", 26))
			u.refusesWrite(t, http.StatusBadRequest, "nothing to refresh", "refresh/org/acme/of-the-admin", nil)
			u.refusesWrite(t, http.StatusBadRequest, "cannot be connected", "auth-code-url/org/acme/new",
				map[string]any{"provider": "openai"})
			u.refusesWrite(t, http.StatusBadRequest, "name the flow", "exchange", nil)
			u.remove(t, own)
			u.write(t, "connect-link/org/acme/asked", map[string]any{"provider": "openai", "purpose": "the team's"})
			assert.Equal(t, "offered", u.read(t, "connect-link/org/acme/asked")["state"])
			u.remove(t, "connect-link/org/acme/asked")

			her := root.logIn(t, "member-of-the-admin", everything)
			her.write(t, "connections/org/acme/self/openai", key(apiKey))
			her.write(t, "shares/org/acme/self/openai", map[string]any{"everyone": true})
			hers := "org/acme/user/" + her.entity + "/openai"
			assert.Equal(t, true, u.read(t, "connections/"+hers)["private"])
			assert.Len(t, u.read(t, "shares/"+hers)["shares"], 1)
			assert.NotEmpty(t, u.read(t, "inventory/org/acme")["connections"])
			assert.NotEmpty(t, u.read(t, "history/"+hers)["records"])
			u.remove(t, "shares/"+hers)
			assert.Empty(t, u.read(t, "shares/"+hers)["shares"])
			u.refusesWrite(t, http.StatusForbidden, denied, "shares/"+hers, map[string]any{"everyone": true})
			u.write(t, "connections/"+hers, map[string]any{"archived": true, "archived_reason": "she left the team"})
			her.refusesRead(t, http.StatusForbidden, "archived", "creds/org/acme/self/openai")
			u.write(t, "connections/"+hers, map[string]any{"archived": false})
			for _, data := range []map[string]any{{"label": "x"}, {"private": false}, key(otherAPIKey)} {
				u.refusesWrite(t, http.StatusForbidden, "is private", "connections/"+hers, data)
			}
			for _, value := range []any{true, "true", "1", 1} {
				planted := key(otherAPIKey)
				planted["provision"] = value
				path := "org/acme/user/" + her.entity + "/planted"
				u.refusesWrite(t, http.StatusForbidden, denied, "connections/"+path, planted)
				u.refusesWrite(t, http.StatusForbidden, denied, "auth-code-url/"+path, planted)
				u.refusesWrite(t, http.StatusForbidden, denied, "connect-link/"+path, planted)
			}
			const offered = "org/acme/of-the-admin"
			u.write(t, "connections/"+offered, key(otherAPIKey))
			for _, to := range []any{
				"user/" + u.entity + "/mine", "self/mine", "org/acme/user/" + u.entity + "/mine", "org/acme/self/mine",
				"org/other/user/42/mine", "org/acme/user/" + her.entity + "/mine",
				[]string{"self/mine"},
			} {
				u.refusesWrite(t, http.StatusForbidden, denied, "transfer/"+offered, map[string]any{"to": to})
			}
			u.write(t, "transfer/"+offered, map[string]any{"to": "org/other/taken"})
			assert.Equal(t, "org/other/taken", u.read(t, "transfer/"+offered)["to"])
			u.refusesWrite(t, http.StatusForbidden, denied, "accept/org/other/taken", map[string]any{"from": offered})
			u.remove(t, "transfer/"+offered)
			her.write(t, "transfer/org/acme/self/openai", map[string]any{"to": "org/acme/taken"})
			u.refusesWrite(t, http.StatusForbidden, denied, "accept/org/acme/taken",
				map[string]any{"from": hers, "provision": true})
			u.write(t, "accept/org/acme/taken", map[string]any{"from": hers})
			refuses(t, u, "creds/org/acme/taken")
			assert.Equal(t, apiKey, root.read(t, "creds/org/acme/taken")["api_key"])
			u.write(t, "transfer/org/acme/taken", map[string]any{"to": "org/acme/renamed"})
			u.remove(t, "connections/org/acme/renamed")
			u.remove(t, "connections/"+offered)
			her.write(t, "connections/org/acme/self/openai", key(apiKey))

			refuses(t, u, "transfer/org/other/openai", "transfer/openai", "transfer/user/42/openai",
				"creds/org/acme/openai", "creds/"+hers, "creds/openai", "creds/shared/"+hers,
				"connections/org/other/openai", "connections/openai", "connections/user/42/openai", "config", "status",
				"providers/openai")
			u.remove(t, "connections/"+hers)
		},
		"auditor": func(t *testing.T, policy string) {
			u, her := root.logIn(t, "auditor", policy), root.logIn(t, "audited", everything)
			her.write(t, "connections/self/openai", key(apiKey))
			her.write(t, "shares/self/openai", map[string]any{"entities": u.entity})
			hers := "user/" + her.entity + "/openai"
			assert.Equal(t, map[string]any{"api_key": "****WXYZ"}, u.read(t, "connections/"+hers)["key"])
			assert.Len(t, u.read(t, "shares/"+hers)["shares"], 1)
			her.write(t, "transfer/self/openai", map[string]any{"to": "org/acme/given"})
			assert.Equal(t, "org/acme/given", u.read(t, "transfer/"+hers)["to"])
			assert.NotEmpty(t, u.read(t, "inventory")["connections"])
			assert.NotEmpty(t, u.read(t, "inventory/org/acme")["connections"])
			assert.NotEmpty(t, u.read(t, "history/"+hers)["records"])
			assert.Contains(t, u.read(t, "notices"), "cursor")
			assert.Contains(t, u.read(t, "config"), "public_url")
			assert.Contains(t, u.read(t, "status"), "connections")
			assert.Equal(t, "openai", u.read(t, "providers/openai")["definition"])
			assert.Contains(t, u.list(t, "providers"), "openai")
			assert.Contains(t, u.list(t, "connections/org/acme"), "openai")
			assert.Contains(t, u.list(t, "catalog"), "openai")
			finds(t, u)
			assert.Equal(t, "OpenAI", u.read(t, "catalog/openai")["name"])
			refuses(t, u, "creds/openai", "creds/"+hers, "creds/shared/"+hers, "creds/org/acme/openai")
			for _, path := range []string{
				"connections/openai", "connections/new", "connections/self/openai", "shares/" + hers, "config",
				"providers/openai", "providers/openai/client-secret", "auth-code-url/new", "refresh/openai", "check/openai",
				"exchange", "transfer/" + hers, "accept/org/acme/given",
			} {
				u.refusesWrite(t, http.StatusForbidden, denied, path, map[string]any{"disabled": true})
			}
			for _, path := range []string{
				"connections/" + hers, "shares/" + hers, "transfer/" + hers, "providers/openai",
			} {
				assert.False(t, u.permits(t, "delete", path), path)
			}
			her.remove(t, "connections/self/openai")
		},
		"break-glass": func(t *testing.T, policy string) {
			u, her := root.logIn(t, "break-glass", policy), root.logIn(t, "broken", everything)
			him := root.logIn(t, "shared-with", recipe(t, "policies/everybody.hcl"))
			her.write(t, "connections/self/openai", key(apiKey))
			her.write(t, "shares/self/openai", map[string]any{"entities": him.entity})
			hers := "user/" + her.entity + "/openai"
			reads(t, him, "shared/"+hers)
			assert.Equal(t, "found", u.write(t, "lookup", map[string]any{"token": apiKey})["state"])
			u.absent(t, "lookup/"+strings.Repeat("a", 26))
			assert.Contains(t, u.read(t, "status"), "connections")
			assert.Equal(t, []any{"openai"}, u.list(t, "connections/user/"+her.entity))
			assert.Equal(t, "active", u.read(t, "connections/"+hers)["status"])
			assert.Len(t, u.read(t, "shares/"+hers)["shares"], 1)
			u.remove(t, "shares/"+hers)
			him.refusesRead(t, http.StatusForbidden, "is shared with you", "creds/shared/"+hers)
			assert.Equal(t, "disabled", u.write(t, "connections/"+hers, map[string]any{"disabled": "true"})["status"])
			assert.Equal(t, "archived", u.write(t, "connections/"+hers, map[string]any{
				"archived": true, "archived_reason": "a leaked laptop",
			})["status"])
			her.refusesRead(t, http.StatusForbidden, "archived", "creds/self/openai")
			for _, value := range []any{false, "false", "0", 0, "1"} {
				u.refusesWrite(t, http.StatusForbidden, denied, "connections/"+hers, map[string]any{"disabled": value})
				u.refusesWrite(t, http.StatusForbidden, denied, "connections/"+hers, map[string]any{"archived": value})
			}
			for _, data := range []map[string]any{{"label": "x"}, {"private": false}, key(otherAPIKey)} {
				u.refusesWrite(t, http.StatusForbidden, denied, "connections/openai", data)
			}
			u.refusesWrite(t, http.StatusForbidden, denied, "shares/"+hers, map[string]any{"everyone": true})
			refuses(t, u, "creds/openai", "creds/"+hers, "creds/shared/"+hers, "creds/self/openai", "config")
			u.remove(t, "connections/"+hers)
			her.absent(t, "connections/self/openai")
		},
	}
	files, err := filepath.Glob("../../scripts/recipes/policies/*")
	require.NoError(t, err)
	assert.Len(t, files, len(tests))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			require.Contains(t, tests, name, "each recipe has a test")
			policy := recipe(t, "policies/"+name+".hcl")
			tests[name](t, policy)
			root.bites(t, name, policy)
		})
	}
	for _, manifest := range []string{"vso.yaml", "eso.yaml"} { // they say in a comment which policy they take
		policy := regexp.MustCompile(`policy write \S+ - <<<'(.*)'`).FindStringSubmatch(recipe(t, manifest))
		require.NotNil(t, policy)
		require.Contains(t, policy[1], "connectors/creds/slack")
		adapted := strings.ReplaceAll(policy[1], "creds/slack", "creds/openai")
		u := root.logIn(t, strings.TrimSuffix(manifest, ".yaml"), adapted)
		reads(t, u, "openai")
		refuses(t, u, "creds/prod", "connections/openai", "creds/org/acme/openai")
	}
}

// The policies that stand in the pages themselves.
func TestPoliciesOfThePages(t *testing.T) {
	t.Parallel()
	var rules []string
	for _, page := range []string{
		"README.md", "backend/README.md", "backend/threats.md", "scripts/operations.md", "scripts/recipes/README.md",
	} {
		text, err := os.ReadFile("../../" + page)
		require.NoError(t, err)
		for _, block := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			rules = append(rules, regexp.MustCompile(`(?m)^path .*$`).FindAllString(block[1], -1)...)
		}
	}
	require.Len(t, rules, 4, "each rule that a page shows has a test here")
	root := newKeys(t)
	paths := []string{"openai", "org/acme/openai", "org/acme/user/u-17/openai", "user/u-17/openai"}
	for _, path := range paths {
		root.write(t, "connections/"+path, key(apiKey))
	}
	one, every := root.logIn(t, "the-default-organization", rules[0]), root.logIn(t, "everybody", rules[3])
	acme, member := root.logIn(t, "acme", rules[1]), root.logIn(t, "member-of-acme", rules[2])
	for _, path := range paths[1:3] {
		assert.Equal(t, apiKey, acme.read(t, "creds/"+path)["api_key"])
		member.refusesRead(t, http.StatusForbidden, denied, "creds/"+path)
	}
	acme.refusesRead(t, http.StatusForbidden, denied, "creds/openai")
	for _, path := range paths {
		assert.Equal(t, apiKey, every.read(t, "creds/"+path)["api_key"])
	}
	assert.Equal(t, apiKey, one.read(t, "creds/openai")["api_key"])
	one.refusesRead(t, http.StatusForbidden, denied, "creds/org/acme/openai")
	one.refusesRead(t, http.StatusForbidden, denied, "creds/user/u-17/openai")
}

func TestQuotaRecipe(t *testing.T) {
	t.Parallel()
	e := newKeys(t)
	exact := "sys/quotas/rate-limit/" + e.path + "-exact"
	_, err := e.vault.Client.Logical().WriteWithContext(t.Context(), exact, map[string]any{
		"path": e.path + "/callback", "rate": 1, "interval": "1h",
	})
	require.NoError(t, err)
	for range 5 {
		require.Equal(t, http.StatusOK, get(t, e.callback("openai"), nil).Status, "a quota without a star limits nothing")
	}
	e.shell(t, recipe(t, "callback-quota.sh"), []string{e.path}, "RATE=2", "INTERVAL=1h")
	for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests, http.StatusTooManyRequests} {
		assert.Equal(t, want, get(t, e.callback("openai"), nil).Status)
	}
	page := strings.Replace(e.callback("openai"), "/callback/openai", "/connect", 1)
	for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		assert.Equal(t, want, get(t, page, nil).Status, "the page of links has a rate of its own")
	}
	e.write(t, "connections/openai", key(apiKey))
	for range 5 {
		assert.Equal(t, apiKey, e.read(t, "creds/openai")["api_key"], "other paths are not limited")
	}
	e.shell(t, recipe(t, "callback-quota.sh"), []string{e.path}) // as it is
	quota, err := e.vault.Client.Logical().ReadWithContext(t.Context(), "sys/quotas/rate-limit/"+e.path+"-callback")
	require.NoError(t, err)
	assert.Equal(t, e.path+"/callback/*", quota.Data["path"])
	assert.Equal(t, []any{json.Number("20"), json.Number("1")}, []any{quota.Data["rate"], quota.Data["interval"]})
	assert.Equal(t, http.StatusOK, get(t, e.callback("openai"), nil).Status, "it is not limited for an hour any more")
}

// The callback page cannot be framed, and behind a load balancer each browser has a rate of its own.
func TestListenerRecipe(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	config := recipe(t, "listener.hcl")
	for from, to := range map[string]string{
		"0.0.0.0:8200": address, "10.0.0.0/8": "127.0.0.1/32",
		`tls_cert_file = "/etc/vault/tls.crt"`: "tls_disable = true", `tls_key_file  = "/etc/vault/tls.key"`: "",
	} {
		require.Contains(t, config, from)
		config = strings.ReplaceAll(config, from, to)
	}
	file := filepath.Join(t.TempDir(), "listener.hcl")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	v, err := stack.StartVaultDev(t.Context(), suite.tools, stack.VaultOptions{Args: []string{"-config=" + file}})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	e := mountOn(t, v)
	e.write(t, "providers/openai", nil)
	e.shell(t, recipe(t, "callback-quota.sh"), []string{e.path}, "RATE=2", "INTERVAL=1h")
	visit := func(base, browser string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/"+e.path+"/callback/openai", nil)
		require.NoError(t, err)
		req.Header.Set("X-Forwarded-For", browser)
		answer, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer
	}
	for _, browser := range []string{"203.0.113.1", "203.0.113.2"} {
		for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
			answer := visit("http://"+address, browser)
			assert.Equal(t, want, answer.StatusCode, browser)
			assert.Equal(t, "DENY", answer.Header.Get("X-Frame-Options"))
		}
	}
	assert.Empty(t, visit(v.Addr, "").Header.Get("X-Frame-Options"), "the engine cannot do that")
}
