package acceptance

import (
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// permits reports whether Vault's policy lets a request pass, whatever the engine then says of it.
func (u *user) permits(t *testing.T, operation, path string) bool {
	t.Helper()
	logical, full := u.vault.Client.Logical(), u.path+"/"+path
	var err error
	switch operation {
	case "read":
		var answer *api.Response // as it came, since metrics are no data
		if answer, err = logical.ReadRawWithContext(t.Context(), full); answer != nil {
			_ = answer.Body.Close()
		}
	case "list":
		_, err = logical.ListWithContext(t.Context(), full)
	case "delete":
		_, err = logical.DeleteWithContext(t.Context(), full)
	default: // Vault asks the engine whether it creates or updates
		_, err = logical.WriteWithContext(t.Context(), full, nil)
	}
	var refused *api.ResponseError
	if err != nil {
		require.ErrorAs(t, err, &refused)
		require.Less(t, refused.StatusCode, http.StatusInternalServerError, "%s %s: %v", operation, path, err)
		return !slices.ContainsFunc(refused.Errors, func(text string) bool { return strings.Contains(text, denied) })
	}
	return true
}

// spellings are the ways to name an owner: the default organization has two, a person up to three in each organization.
var spellings = []string{
	"", "org/default", "org/acme", "org/other", "user/42", "user/shop:42", "user/me", "self",
	"org/acme/user/42", "org/acme/user/me", "org/acme/self", "org/other/self", "org/default/self",
	"shared/user/42", "shared/org/acme/user/42",
}

// reach is what each policy opens: of verbs that have an owner, the owners ("all", or all "but" some); of others, yes.
// What is not here is denied.
var reach = map[string]map[string]string{
	"default-org": {"read creds": "bare", "update check": "bare"},
	"one-org":     {"read creds": "org/acme", "update check": "org/acme"},
	"own": {
		"read creds": "user/me self", "update check": "self", "update refresh": "self", "update auth-code-url": "self",
		"create connections": "self", "update connections": "self", "read connections": "self",
		"delete connections": "self", "list connections": "self",
		"read shares": "self", "update shares": "self", "delete shares": "self", "read history": "self",
		"read transfer": "self", "update transfer": "self", "delete transfer": "self", "update accept": "self",
		"read inventory/self": "yes",
		"list catalog":        "yes", "read catalog": "yes", "read catalog/openai": "yes", "update exchange": "yes",
	},
	"member": {
		"read creds": "org/acme/self", "update check": "org/acme/self", "update refresh": "org/acme/self",
		"update auth-code-url": "org/acme/self", "create connections": "org/acme/self", "update connections": "org/acme/self",
		"read connections": "org/acme/self", "delete connections": "org/acme/self", "list connections": "org/acme/self",
		"read shares": "org/acme/self", "update shares": "org/acme/self", "delete shares": "org/acme/self",
		"read transfer": "org/acme/self", "update transfer": "org/acme/self", "delete transfer": "org/acme/self",
		"update accept": "org/acme/self",
		"read history":  "org/acme/self", "read inventory/self": "yes",
		"list catalog": "yes", "read catalog": "yes", "read catalog/openai": "yes", "update exchange": "yes",
	},
	"for-person": {"read creds": "self", "update check": "self"},
	"application-users": {
		"read creds": "user/shop:42", "update check": "user/shop:42", "update refresh": "user/shop:42",
		"update auth-code-url": "user/shop:42", "create connections": "user/shop:42", "update connections": "user/shop:42",
		"read connections": "user/shop:42", "delete connections": "user/shop:42", "list connections": "user/shop:42",
		"update exchange": "yes",
	},
	"everybody": {
		"read creds":       "shared/user/42 shared/org/acme/user/42",
		"update check":     "shared/user/42 shared/org/acme/user/42",
		"list connections": "shared/user/42 shared/org/acme/user/42",
	},
	"org-admin": {
		"create connections":      "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"read connections":        "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"update connections":      "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"delete connections":      "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"list connections":        "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"update auth-code-url":    "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"read connect-link":       "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"update connect-link":     "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"delete connect-link":     "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"read shares":             "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"delete shares":           "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"read transfer":           "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"update transfer":         "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"delete transfer":         "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"update accept":           "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"read history":            "org/acme org/acme/user/42 org/acme/user/me org/acme/self",
		"read inventory/org/acme": "yes", "update lookup/org/acme": "yes", "read lookup/org/acme/absent": "yes",
		"update refresh": "org/acme", "update check": "org/acme", "update exchange": "yes",
		"list catalog": "yes", "read catalog": "yes", "read catalog/openai": "yes",
	},
	"operator": {
		"read connections": "all", "list connections": "all",
		"read config": "yes", "update config": "yes", "read status": "yes",
		"list catalog": "yes", "read catalog": "yes", "read catalog/openai": "yes",
		"list providers": "yes", "read providers/openai": "yes", "update providers/openai": "yes",
		"create providers/absent": "yes", "delete providers/absent": "yes", "update providers/openai/client-secret": "yes",
	},
	"metrics":    {"read metrics": "yes"},
	"app-secret": {"update providers/openai/client-secret": "yes"},
	"on-call": {
		// a write to self is an update, always, and on-call.hcl lets nothing into it that creates
		"create connections": "self org/acme/self org/other/self org/default/self",
		"read connections":   "all", "update connections": "all", "list connections": "all", "read status": "yes",
	},
	"break-glass": {
		"create connections": "self org/acme/self org/other/self org/default/self",
		"read connections":   "all", "update connections": "all", "delete connections": "all", "list connections": "all",
		"read shares": "all", "delete shares": "all", "read status": "yes", "update lookup": "yes", "read lookup/absent": "yes",
	},
	"auditor": {
		"read connections": "all", "list connections": "all", "read shares": "all", "read history": "all",
		"read transfer":  "all",
		"read inventory": "yes", "read inventory/self": "yes", "read inventory/org/acme": "yes",
		"read inventory/org/other": "yes", "read inventory/user/42": "yes",
		"read config": "yes", "read status": "yes", "list providers": "yes", "read providers/openai": "yes",
		"list catalog": "yes", "read catalog": "yes", "read catalog/openai": "yes",
	},
	"deny": {
		"read creds": "bare org/default org/other user/42 user/shop:42 user/me self org/other/self org/default/self " +
			"shared/user/42",
	},
}

// What a policy opens and what it does not, for each verb in each spelling of each owner.
func TestPolicyReach(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	for _, owner := range spellings {
		if !regexp.MustCompile(`\b(me|self|shared)\b`).MatchString(owner) {
			root.write(t, "connections/"+strings.TrimPrefix(owner+"/openai", "/"), key(apiKey))
		}
	}
	files, err := filepath.Glob("../../scripts/recipes/policies/*")
	require.NoError(t, err)
	assert.Len(t, files, len(reach))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			require.Contains(t, reach, name)
			me := root.logIn(t, name, recipe(t, "policies/"+name+".hcl"))
			root.ask(t, "identity/entity/id/"+me.entity, map[string]any{"metadata": map[string]string{"org": "acme"}})
			for _, owner := range []string{"user/", "org/acme/user/"} {
				planted := key(apiKey)
				planted["provision"] = true
				root.write(t, "connections/"+owner+me.entity+"/openai", planted)
			}
			opened := map[string]string{} // as reach says it
			say := func(verb, owner string) { opened[verb] = strings.TrimSpace(opened[verb] + " " + owner) }
			for _, verb := range []string{
				"read creds", "update check", "update refresh", "update auth-code-url", "create connections",
				"read connections", "update connections", "delete connections", "list connections", "read shares",
				"update shares", "delete shares", "read history", "read transfer", "update transfer", "delete transfer",
				"update accept", "read connect-link", "update connect-link", "delete connect-link",
			} {
				operation, noun, _ := strings.Cut(verb, " ")
				asked := 0
				for _, owner := range spellings {
					if strings.HasPrefix(owner, "shared/") && !slices.Contains([]string{
						"read creds", "update check", "list connections",
					}, verb) {
						continue
					}
					asked++
					path := strings.Trim(noun+"/"+owner, "/")
					switch {
					case operation == "list":
					case verb == "update connections":
						path += "/openai"
					default: // of what is not there nothing is changed
						path += "/absent"
					}
					if me.permits(t, operation, strings.Replace(path, "/me", "/"+me.entity, 1)) {
						say(verb, owner)
						if owner == "" {
							say(verb, "bare")
						}
					}
				}
				if len(strings.Fields(opened[verb])) == asked {
					opened[verb] = "all"
				}
			}
			for _, verb := range []string{
				"read config", "update config", "read status", "list catalog", "read catalog", "read catalog/openai",
				"list providers", "read providers/openai", "update providers/openai", "create providers/absent",
				"delete providers/absent", "update providers/openai/client-secret", "update exchange",
				"read inventory", "read inventory/self", "read inventory/org/acme", "read inventory/org/other",
				"read inventory/user/42", "read metrics", "update lookup", "read lookup/absent", "update lookup/org/acme",
				"read lookup/org/acme/absent", "update lookup/org/other", "read lookup/org/other/absent",
			} {
				if operation, path, _ := strings.Cut(verb, " "); me.permits(t, operation, path) {
					say(verb, "yes")
				}
			}
			assert.Equal(t, reach[name], opened)
		})
	}
}

// What the recipes say of policies, so that nobody learns it in production.
func TestWhatTripsAuthorsOfPolicies(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	for _, path := range []string{"openai", "org/acme/openai", "org/acme/user/42/openai", "org/other/openai"} {
		root.write(t, "connections/"+path, key(apiKey))
	}
	lists := func(t *testing.T, u *user, path string) bool { return u.permits(t, "list", path) }

	t.Run("a deny with a leading plus", func(t *testing.T) {
		const all = `path "connectors/creds/*" { capabilities = ["read"] }` + "\n"
		u := root.logIn(t, "leading-plus", all+`path "connectors/+/org/acme/*" { capabilities = ["deny"] }`)
		assert.Equal(t, apiKey, u.read(t, "creds/org/acme/openai")["api_key"])
		u = root.logIn(t, "as-exact", all+`path "connectors/creds/org/acme/*" { capabilities = ["deny"] }`)
		u.refusesRead(t, http.StatusForbidden, denied, "creds/org/acme/openai")
	})
	t.Run("a list without its slash", func(t *testing.T) {
		const all = `path "connectors/connections/*" { capabilities = ["list"] }` + "\n"
		u := root.logIn(t, "slash", all+`path "connectors/connections/org/acme" { capabilities = ["deny"] }`)
		assert.False(t, lists(t, u, "connections/org/acme"), "the rule without a slash decides")
		assert.True(t, lists(t, u, "connections/org/other"))
		assert.True(t, lists(t, u, "connections/org/acme/user/42"), "and about nothing below")
		u = root.logIn(t, "plus", `path "connectors/connections/org/+" { capabilities = ["list"] }`)
		assert.True(t, lists(t, u, "connections/org/acme"), "what ends in + lists what is in each organization")
		u = root.logIn(t, "default", `path "connectors/connections/+" { capabilities = ["read", "list"] }`)
		assert.Contains(t, u.list(t, "connections"), "openai", "a + stands for nothing too")
		assert.Equal(t, []any{"acme/", "default/", "other/"}, u.list(t, "connections/org"),
			"and for org, whose list is all their names")
		assert.False(t, lists(t, u, "connections/org/acme"))
	})
	t.Run("everyone is taken from those who share", func(t *testing.T) {
		policy := strings.Replace(recipe(t, "policies/own.hcl"),
			`path "connectors/shares/self/+"        { capabilities = ["read", "update", "delete"] }`,
			`path "connectors/shares/self/+" {
  capabilities      = ["read", "update", "delete"]
  denied_parameters = { "everyone" = [] }
}`, 1)
		require.Contains(t, policy, "denied_parameters")
		her, him := root.logIn(t, "sharer", policy), root.logIn(t, "reader", recipe(t, "policies/everybody.hcl"))
		her.write(t, "connections/self/openai", key(apiKey))
		for _, value := range []any{true, "true", "1", 1, false} {
			her.refusesWrite(t, http.StatusForbidden, denied, "shares/self/openai", map[string]any{
				"entities": him.entity, "everyone": value,
			})
		}
		shared := "creds/shared/user/" + her.entity + "/openai"
		him.refusesRead(t, http.StatusForbidden, "is shared with you", shared)
		her.write(t, "shares/self/openai", map[string]any{"entities": him.entity})
		assert.Equal(t, apiKey, him.read(t, shared)["api_key"])
	})
	t.Run("a plus for the organization", func(t *testing.T) {
		const every = `path "connectors/%/org/+/self/*" { capabilities = ["read", "update"] }` + "\n"
		u := root.logIn(t, "anybody", strings.ReplaceAll(every, "%", "connections")+strings.ReplaceAll(every, "%", "creds"))
		for _, org := range []string{"acme", "other", "one-that-nobody-made"} {
			path := "org/" + org + "/self/mine"
			u.write(t, "connections/"+path, key(otherAPIKey))
			assert.Equal(t, otherAPIKey, u.read(t, "creds/"+path)["api_key"])
		}
		member := root.logIn(t, "member", recipe(t, "policies/member.hcl"))
		root.ask(t, "identity/entity/id/"+member.entity, map[string]any{"metadata": map[string]string{"org": "acme"}})
		assert.True(t, member.permits(t, "update", "connections/org/acme/self/mine"))
		for _, org := range []string{"other", "+", "*", "acme/user"} {
			assert.False(t, member.permits(t, "update", "connections/org/"+org+"/self/mine"), org)
		}
		member.refusesRead(t, http.StatusForbidden, denied, "creds/org/other/self/mine")
	})
	t.Run("a share has a spelling of its own", func(t *testing.T) {
		her := root.logIn(t, "acme-member", recipe(t, "policies/member.hcl"))
		root.ask(t, "identity/entity/id/"+her.entity, map[string]any{"metadata": map[string]string{"org": "acme"}})
		her.write(t, "connections/org/acme/self/openai", key(apiKey))
		her.write(t, "shares/org/acme/self/openai", map[string]any{"everyone": true})
		shared := "creds/shared/org/acme/user/" + her.entity + "/openai"
		policy := recipe(t, "policies/deny.hcl")
		root.logIn(t, "denied", policy).refusesRead(t, http.StatusForbidden, denied, shared)
		without := strings.Replace(policy, `path "connectors/creds/shared/org/acme/*" { capabilities = ["deny"] }`, "", 1)
		require.NotEqual(t, policy, without)
		assert.Equal(t, apiKey, root.logIn(t, "not-denied", without).read(t, shared)["api_key"])
	})
}
