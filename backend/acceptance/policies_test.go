package acceptance

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	apiKey      = "sk-acceptance-0123456789abcdefWXYZ"
	otherAPIKey = "sk-of-somebody-else-0123456789abcd"
)

// ownOnly lets a person keep connections of their own, in both spellings, and nothing else.
const ownOnly = `
path "connectors/connections/self/*" { capabilities = ["read", "update", "delete"] }
path "connectors/creds/self/*" { capabilities = ["read"] }
path "connectors/creds/user/{{identity.entity.id}}/*" { capabilities = ["read"] }
`

// everything is a policy as broad as it gets without being root.
const everything = `path "connectors/*" { capabilities = ["create", "read", "update", "delete", "list"] }`

// newKeys mounts the engine with a provider that takes keys and needs no server.
func newKeys(t *testing.T) *engine {
	t.Helper()
	e := newEngine(t)
	e.write(t, "providers/openai", map[string]any{"definition": "openai"})
	return e
}

func key(value string) map[string]any {
	// verify: the service itself is out of reach of the tests, or should be
	return map[string]any{"provider": "openai", "api_key": value, "verify": false}
}

// raw sends a path exactly as it is spelled, which the client would tidy up first.
func (e *engine) raw(t *testing.T, spelling string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.vault.Addr, nil)
	require.NoError(t, err)
	req.URL.Opaque = "//" + req.URL.Host + "/v1/" + e.path + "/" + spelling
	req.Header.Set("X-Vault-Token", e.vault.Token)
	page := open(t, req)
	return page.Status, page.Body
}

func TestPolicyByEntity(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	alice, bob := root.logIn(t, "alice", ownOnly), root.logIn(t, "bob", ownOnly)
	alice.write(t, "connections/self/openai", key(apiKey))
	bob.write(t, "connections/self/openai", key(otherAPIKey))

	hers, his := "creds/user/"+alice.entity+"/openai", "creds/user/"+bob.entity+"/openai"
	assert.Equal(t, apiKey, alice.read(t, hers)["api_key"])
	assert.Equal(t, apiKey, alice.read(t, "creds/self/openai")["api_key"], "the same under its other spelling")
	assert.Equal(t, otherAPIKey, bob.read(t, "creds/self/openai")["api_key"])
	alice.refusesRead(t, http.StatusForbidden, "permission denied", his)
	bob.refusesRead(t, http.StatusForbidden, "permission denied", hers)
	bob.refusesRead(t, http.StatusForbidden, "permission denied", "connections/user/"+alice.entity+"/openai")
}

func TestPolicyWildcards(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	paths := map[string]string{"default": "openai", "org": "org/acme/openai", "user": "user/u-17/openai"}
	for _, path := range paths {
		root.write(t, "connections/"+path, key(apiKey))
	}
	alice := root.logIn(t, "alice", ownOnly)
	alice.write(t, "connections/self/openai", key(apiKey))

	plus := root.logIn(t, "plus", `path "connectors/creds/+" { capabilities = ["read"] }`)
	star := root.logIn(t, "star", `path "connectors/creds/*" { capabilities = ["read"] }`)
	for owner, path := range paths {
		assert.Equal(t, apiKey, star.read(t, "creds/"+path)["api_key"], owner)
		if owner != "default" {
			plus.refusesRead(t, http.StatusForbidden, "permission denied", "creds/"+path)
		}
	}
	assert.Equal(t, apiKey, plus.read(t, "creds/openai")["api_key"])
	star.refusesRead(t, http.StatusForbidden, "is private", "creds/user/"+alice.entity+"/openai")
}

func TestPolicyDeny(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	root.write(t, "connections/prod", key(apiKey))
	const all = `path "connectors/creds/*" { capabilities = ["read"] }
path "connectors/creds/prod" { capabilities = ["deny"] }
`
	one := root.logIn(t, "one-spelling", all)
	both := root.logIn(t, "both-spellings", all+`path "connectors/creds/org/default/prod" { capabilities = ["deny"] }`)
	for _, u := range []*user{one, both} {
		u.refusesRead(t, http.StatusForbidden, "permission denied", "creds/prod")
		u.refusesRead(t, http.StatusBadRequest, `connection name "PROD" is not valid`, "creds/PROD")
		u.refusesRead(t, http.StatusBadRequest, `connection name "Prod" is not valid`, "creds/org/default/Prod")
		u.refusesRead(t, http.StatusBadRequest, `org name "DEFAULT" is not valid`, "creds/org/DEFAULT/prod")
		for _, spelling := range []string{
			"creds/prod/", "creds//prod", "creds/./prod", "creds/%70rod", "creds/x/../prod",
			"creds/org/default/%2e%2e/prod", "creds/prod%20",
		} {
			status, body := u.raw(t, spelling)
			assert.GreaterOrEqual(t, status, 300, "%s: %s", spelling, body)
			assert.NotContains(t, body, apiKey, spelling)
		}
	}
	assert.Equal(t, apiKey, one.read(t, "creds/org/default/prod")["api_key"],
		"a deny must name every spelling, as the README says")
	both.refusesRead(t, http.StatusForbidden, "permission denied", "creds/org/default/prod")
}

// Vault asks whether the object exists before it knows the entity, so a write to self is an update, always.
func TestPolicySelfNeedsUpdate(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	creates := root.logIn(t, "creates", `path "connectors/connections/self/*" { capabilities = ["create"] }`)
	updates := root.logIn(t, "updates", `path "connectors/connections/self/*" { capabilities = ["update"] }`)
	creates.refusesWrite(t, http.StatusForbidden, "permission denied", "connections/self/openai", key(apiKey))
	assert.Equal(t, true, updates.write(t, "connections/self/openai", key(apiKey))["private"])

	elsewhere := root.logIn(t, "elsewhere", `path "connectors/connections/+" { capabilities = ["create"] }`)
	elsewhere.write(t, "connections/openai", key(apiKey))
	elsewhere.refusesWrite(t, http.StatusForbidden, "permission denied", "connections/openai", key(otherAPIKey))
}

func TestPrivateConnection(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	alice := root.logIn(t, "alice", ownOnly)
	bob := root.logIn(t, "bob", everything)
	alice.write(t, "connections/self/openai", key(apiKey))
	path := "user/" + alice.entity + "/openai"

	others := map[string]*engine{"root": root, "bob": bob.engine}
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			seen := other.read(t, "connections/"+path)
			assert.Equal(t, true, seen["private"])
			assert.Equal(t, map[string]any{"api_key": "****WXYZ"}, seen["key"])
			other.refusesRead(t, http.StatusForbidden, "is private", "creds/"+path)
			other.refusesWrite(t, http.StatusForbidden, "is private", "refresh/"+path, nil)
			other.refusesWrite(t, http.StatusForbidden, "is private", "auth-code-url/"+path, nil)
			for field, value := range map[string]any{
				"api_key": otherAPIKey, "refresh_token": "of-another-account", "private": false, "label": "mine now",
			} {
				other.refusesWrite(t, http.StatusForbidden, "is private", "connections/"+path, map[string]any{field: value})
			}
			for _, spelling := range []string{
				"creds/" + path + "/", "creds/user/" + strings.ToUpper(alice.entity) + "/openai",
				"creds/user//" + alice.entity + "/openai",
				"creds/user/" + alice.entity + "%2Fopenai", "creds/user/%2e/" + alice.entity + "/openai",
				"creds/org/" + alice.entity + "/openai",
				"creds/user%2F" + alice.entity + "%2Fopenai", "creds/self/openai", "creds/" + url.PathEscape(path),
			} {
				status, body := other.raw(t, spelling)
				assert.GreaterOrEqual(t, status, 300, "%s: %s", spelling, body)
				assert.NotContains(t, body, apiKey, spelling)
			}
		})
	}
	assert.Equal(t, apiKey, alice.read(t, "creds/self/openai")["api_key"], "none of that changed it")

	root.write(t, "connections/"+path, map[string]any{"disabled": true})
	alice.write(t, "connections/self/openai", map[string]any{"disabled": false})
	alice.refusesRead(t, http.StatusForbidden, "disabled", "creds/self/openai")
	bob.write(t, "connections/"+path, map[string]any{"disabled": false}) // everybody but the owner is one side
	assert.Equal(t, apiKey, alice.read(t, "creds/self/openai")["api_key"])
	alice.write(t, "connections/self/openai", map[string]any{"disabled": true})
	for _, other := range others {
		assert.Equal(t, "disabled", other.write(t, "connections/"+path, map[string]any{"disabled": false})["status"])
	}
	alice.refusesRead(t, http.StatusForbidden, "disabled", "creds/self/openai")
	root.remove(t, "connections/"+path)
	alice.absent(t, "connections/self/openai")
}

// Whoever plants a connection in Alice's name must not be served what she puts in it.
func TestPlantedConnection(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	s := root.newService(t, "service")
	root.write(t, "providers/service", map[string]any{"allow_import": "all"})
	alice := root.logIn(t, "alice", ownOnly+`
path "connectors/auth-code-url/self/*" { capabilities = ["update"] }
path "connectors/exchange" { capabilities = ["update"] }
`)
	bob := root.logIn(t, "bob", everything)
	hers := &service{engine: alice.engine, Server: s.Server, provider: s.provider}

	for name, c := range map[string]struct {
		planted  map[string]any
		connects func() (path string, request map[string]any)
		field    string // of what is served
	}{
		"key": {
			planted:  key("sk-planted-by-root-0123456789abcdef"),
			connects: func() (string, map[string]any) { return "connections/self/key", key(apiKey) },
			field:    "api_key",
		},
		"token": {
			planted: map[string]any{"provider": "service", "access_token": "bogus", "verify": false},
			connects: func() (string, map[string]any) {
				return "exchange", hers.consent(t, "self/token")
			},
			field: "access_token",
		},
		"import": {
			planted: map[string]any{"provider": "service", "refresh_token": "bogus", "verify": false},
			connects: func() (string, map[string]any) {
				return "connections/self/import", map[string]any{"provider": "service", "refresh_token": s.elsewhere(t)}
			},
			field: "access_token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := "user/" + alice.entity + "/" + name
			planted := maps.Clone(c.planted)
			planted["provision"] = true
			require.Equal(t, false, root.write(t, "connections/"+path, planted)["private"])
			at, request := c.connects()
			answer, err := alice.vault.Client.Logical().WriteWithContext(t.Context(), alice.path+"/"+at, request)
			require.NoError(t, err)
			assert.Equal(t, "active", answer.Data["status"])
			assert.Equal(t, true, answer.Data["private"])
			assert.Contains(t, strings.Join(answer.Warnings, "\n"), "only entity "+alice.entity+" is served")

			served := alice.read(t, "creds/self/"+name)[c.field]
			assert.NotContains(t, []any{nil, "bogus", c.planted["api_key"]}, served)
			for _, other := range []*engine{root, bob.engine} {
				assert.Equal(t, true, other.read(t, "connections/"+path)["private"])
				other.refusesRead(t, http.StatusForbidden, "is private", "creds/"+path)
				other.refusesWrite(t, http.StatusForbidden, "is private", "refresh/"+path, nil)
				other.refusesWrite(t, http.StatusForbidden, "is private", "connections/"+path, map[string]any{"private": false})
				planted["provision"] = true
				other.refusesWrite(t, http.StatusForbidden, "is private", "connections/"+path, planted)
			}
			assert.Equal(t, served, alice.read(t, "creds/self/"+name)[c.field])
		})
	}
}

func TestProvision(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	alice := root.logIn(t, "alice", ownOnly)
	path := "connections/user/" + alice.entity + "/openai"

	root.refusesWrite(t, http.StatusForbidden, "set provision=true", path, key(apiKey))
	root.refusesWrite(t, http.StatusForbidden, "set provision=true", "auth-code-url/user/"+alice.entity+"/openai", nil)
	root.absent(t, path)
	made := key(apiKey)
	made["provision"] = true
	assert.Equal(t, false, root.write(t, path, made)["private"])
	assert.Equal(t, apiKey, alice.read(t, "creds/self/openai")["api_key"])
	assert.Equal(t, false, root.write(t, "connections/user/u-17/openai", key(apiKey))["private"],
		"nobody's entity: no leave is needed")
}

func TestSelfWithoutEntity(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	token, err := root.vault.Client.Logical().WriteWithContext(t.Context(), "auth/token/create", map[string]any{
		"type": "batch", "policies": root.addPolicy(t, "everything", everything),
	})
	require.NoError(t, err)
	batch := root.as(t, token.Auth.ClientToken)
	batch.write(t, "connections/openai", key(apiKey))
	batch.refusesWrite(t, http.StatusBadRequest, "neither an entity nor an accessor", "auth-code-url/account",
		map[string]any{
			"provider": "openai",
		})
	for name, e := range map[string]*engine{"root": root, "batch": batch} {
		t.Run(name, func(t *testing.T) {
			const words = "this token has no entity, so 'self' means nobody"
			for _, path := range []string{"creds/self/openai", "connections/self/openai"} {
				e.refusesRead(t, http.StatusBadRequest, words, path)
			}
			for _, path := range []string{"connections/self/openai", "auth-code-url/self/openai", "refresh/self/openai"} {
				e.refusesWrite(t, http.StatusBadRequest, words, path, nil)
			}
			_, err := e.vault.Client.Logical().ListWithContext(t.Context(), e.path+"/connections/self")
			assert.ErrorContains(t, err, words)
		})
	}
}

func TestNamesWithDots(t *testing.T) {
	t.Parallel()
	e := newKeys(t)
	tests := map[string]string{
		"creds/%2e%2e":                   `connection name \"..\" is not valid`,
		"creds/org/%2e%2e/openai":        `org name \"..\" is not valid`,
		"creds/user/%2e%2e/openai":       `user id \"..\" is not valid`,
		"connections/org/acme/a%2e%2eb":  `connection name \"a..b\" is not valid`,
		"providers/%2e%2e":               `provider name \"..\" is not valid`,
		"catalog/%2e%2e":                 `definition name \"..\" is not valid`,
		"connections/user/u-17/self":     `connection name \"self\" is reserved`,
		"connections/org/acme/-openai":   `connection name \"-openai\" is not valid`,
		"connections/org/acme/%C3%A9col": `connection name \"écol\" is not valid`,
	}
	for spelling, words := range tests {
		t.Run(spelling, func(t *testing.T) {
			status, body := e.raw(t, spelling)
			assert.Equal(t, http.StatusBadRequest, status)
			assert.Contains(t, body, words)
		})
	}
}
