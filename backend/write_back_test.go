package backend

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// withEverything has a service with an input of each side, and one whose key both sides hold.
func withEverything(t *testing.T) Options {
	t.Helper()
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	generic = append(generic, `
inputs:
  - {name: shop, set_by: connection, default: one, pattern: '[a-z]+'}
  - {name: realm, set_by: provider, default: all, pattern: '[a-z]+'}
`...)
	const keys = `
id: keys
name: Keys
kinds: [api_key, basic]
sources: ['https://example.com']
inputs:
  - {name: host, set_by: connection, default: one, pattern: '[a-z]+'}
key:
  fields:
    - {name: app_key, set_by: provider, secret: true, handed_out: true}
    - {name: username}
    - {name: api_key, required: true, secret: true, derive: {data_center: '[a-z0-9]+-([a-z0-9]+)'}}
    - {name: region, default: eu}
  send: {basic_user: '{username}', basic_password: '{api_key}', optional_headers: {X-App: '{app_key}'}}
companions: [{name: signing, on: provider}, {name: hook, on: connection}]
`
	oidc, err := os.ReadFile("../providers/catalog/oidc.yaml")
	require.NoError(t, err)
	const more = "\nscopes:\n  optional_param: optional_scope\n"
	generic = []byte(strings.Replace(string(generic), "\nscopes:\n", more, 1))
	catalog, err := providers.NewRegistry(fstest.MapFS{
		"oauth2.yaml": {Data: generic}, "keys.yaml": {Data: []byte(keys)}, "oidc.yaml": {Data: oidc},
	})
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

const longKey = "0123456789abcdefghij-us7"

// written is what storage has of an entry, but for what every write raises.
func (f *fixture) written(t *testing.T, key string) map[string]any {
	t.Helper()
	entry, err := f.Storage.Get(t.Context(), key)
	require.NoError(t, err)
	require.NotNil(t, entry, key)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(entry.Value, &fields))
	delete(fields, "serial")
	return fields
}

// asClient gives an answer as a client has it: as JSON.
func asClient(t *testing.T, data map[string]any) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(data)
	require.NoError(t, err)
	var seen map[string]any
	require.NoError(t, json.Unmarshal(encoded, &seen))
	return seen
}

// everything makes one of each that can be read and written, with every field set, and gives the paths with where they
// are stored.
func (f *fixture) everything(t *testing.T) map[string]string {
	t.Helper()
	r := newRoad(t, f)
	f.Write("config", map[string]any{
		"public_url": "https://vault.example.com/v1/x/", "default_org": "acme", "egress_allow": "127.0.0.1,10.0.0.0/8",
		"endpoint_hosts": "127.0.0.1,*.example.com", "refresh_margin": "2m", "poll_interval": 77, "request_timeout": 9,
		"flow_ttl": "9m", "check_interval": "11h", "leaver_grace": "720h", "rotate_after": "2400h",
		"max_open_flows": 7, "max_ended_flows": 8, "max_flows": 9, "max_connections_per_owner": 10,
	}).OK(t)
	f.Write("providers/acme", with(r.settings(), map[string]any{
		"allowed_scopes": "read,write,admin", "optional_scopes": "admin", "inputs": map[string]any{"realm": "main"},
		"client_auth":      "basic",
		"authorize_params": map[string]any{"prompt": "consent"}, "allow_import": "all", "surplus_scopes": "warn",
		"token_params": map[string]any{"assertion": longParameter}, "require_session_binding": false,
		"kinds": "authorization_code,client_credentials", "allowed_owners": "org/*,user/*", "shared_redirect": true,
		"bound_inputs": map[string]any{"org/acme": map[string]any{"shop": []any{"two", "three"}}},
		"assumed_ttl":  "1h", "refresh_ttl": "90d", "idle_ttl": "2h", "rotate_after": "2400h0m0s",
		"check_interval": "48h0m0s", "confirm": false,
		"debug_until": "50m",
	})).OK(t)
	f.Write("providers/acme", map[string]any{"client_secret": "another"}).OK(t)
	f.provider.SetClientSecret("another")
	appKey, certificate := certifiedKey(t)
	f.Write("providers/idp", map[string]any{
		"definition": "oidc", "issuer": f.provider.URL, "client_id": providertest.ClientID, "require_iss": true,
		"require_session_binding": true, "client_secret": appKey, "client_key_id": "key-1",
		"client_certificate": certificate,
	}).OK(t)
	f.Write("providers/keys", map[string]any{
		"app_key": longKey, "scopes_ignored": true, "companions": map[string]any{"signing": longKey},
		"companions_for": "org/acme,user/u-1",
	}).OK(t)
	f.Write("providers/own", map[string]any{"definition_yaml": "name: Own\nextends: keys\n# the end"}).OK(t)

	named := map[string]any{
		"label": "Sales", "tags": map[string]any{"team": "sales"}, "required_scopes": []any{"read", "admin"},
		"debug_until":  "50m",
		"rotate_after": "0s",
	}
	f.connect(t, "slack")
	f.Write("connections/slack", with(named, map[string]any{"disabled": true})).OK(t)
	f.connect(t, "self/mine", alice)
	f.Write("connections/self/mine", with(named, map[string]any{
		"archived": true, "archived_reason": "of a former employee",
	}), alice).OK(t)
	f.Write("connections/self/open", map[string]any{
		"provider": "acme", "refresh_token": f.elsewhereAs(t, "another"), "inputs": map[string]any{"shop": "two"},
		"private": false,
	}, alice).OK(t)
	f.Write("connections/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
	f.Write("connections/key", with(named, map[string]any{
		"provider": "keys", "username": "me", "api_key": longKey, "kind": "basic", "inputs": map[string]any{"host": "two"},
		"companions": map[string]any{"hook": longKey},
	})).OK(t)
	f.Write("connections/user/u-1/key", map[string]any{"provider": "keys", "api_key": "short"}).OK(t)
	f.Write("webhooks/siem", map[string]any{
		"url": "https://hooks.example.com/x", "kinds": "connect,deleted", "providers": "acme", "owners": "org/*,user/u-1",
		"ca_pem": certificate, "disabled": true,
	}).OK(t)
	f.Write("config", map[string]any{
		"display_name": "Acme's Vault", "refresh_paused": true, "refresh_paused_reason": "restore_suspected", "restore_guard": "48h",
		"proxy_url": "http://me:a-password-of-the-proxy@127.0.0.1:3128",
	}).OK(t)
	return map[string]string{
		"config": "config", "providers/acme": "provider/acme", "providers/idp": "provider/idp",
		"providers/keys": "provider/keys", "providers/own": "provider/own", "connections/slack": "connection/org/acme/slack",
		"connections/self/mine": "connection/user/e-alice/mine", "connections/self/open": "connection/user/e-alice/open",
		"connections/app": "connection/org/acme/app", "connections/key": "connection/org/acme/key",
		"connections/user/u-1/key": "connection/user/u-1/key", "webhooks/siem": "webhook/siem",
	}
}

// What a read answers may be written back, whole, and changes nothing.
func TestWriteBack(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		paths := f.everything(t)
		for path, owners := range map[string]map[string]any{
			"providers/own": nil, "config": {"frozen_owners": "user/u-1,org/acme"},
		} {
			f.Write(path, with(map[string]any{"frozen": true, "frozen_reason": "an incident"}, owners)).OK(t)
		}
		seen := map[string]map[string]bool{"config": {}, "providers": {}, "connections": {}, "webhooks": {}}
		for path, key := range paths {
			before, read := f.written(t, key), f.Read(path, nil, alice).OK(t)
			answer := asClient(t, read)
			for field, v := range answer {
				kind, _, _ := strings.Cut(path, "/")
				seen[kind][field] = seen[kind][field] || !slices.Contains([]any{"", false, 0.0}, asScalar(v))
			}
			f.Advance(time.Minute)
			r := f.Write(path, answer, alice)
			assert.Equal(t, answer, asClient(t, r.OK(t)), path)
			for _, warning := range r.Warnings {
				assert.NotContains(t, warning, "not written", path)
			}
			assert.Equal(t, before, f.written(t, key), path)
		}
		// a field that comes to be later must be set above, or this shows nothing of it
		for kind, fields := range map[string][2]map[string]*framework.FieldSchema{
			"config": {configFields(), configFields()}, "providers": {providerFields(), providerSchema},
			"connections": {connectionFields(), connectionSchema},
		} {
			for field := range fields[0] {
				if _, answered := fields[1][field]; answered {
					assert.True(t, seen[kind][field], "no %s of this test has %s", kind, field)
				}
			}
		}
		f.restart(t)
		for path, key := range paths {
			before := f.written(t, key)
			f.Write(path, asClient(t, f.Read(path, nil, alice).OK(t)), alice)
			assert.Equal(t, before, f.written(t, key), "%s, in another process", path)
		}
	})
}

// asScalar makes an empty list or map a text, so that it counts as nothing set.
func asScalar(v any) any {
	switch v := v.(type) {
	case []any:
		return strings.Repeat("x", len(v))
	case map[string]any:
		return strings.Repeat("x", len(v))
	}
	return v
}

// Defaults that are written back are not written down, and "updated" stays. What somebody says is.
func TestWriteBackOfDefaults(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		for path, key := range map[string]string{
			"config": "config", "providers/openai": "provider/openai", "providers/acme": "provider/acme",
		} {
			stored, before := f.written(t, key), asClient(t, f.Read(path, nil).OK(t))
			f.Advance(time.Hour)
			f.Write(path, before).OK(t)
			assert.Equal(t, before, asClient(t, f.Read(path, nil).OK(t)), path)
			assert.Equal(t, stored, f.written(t, key), path)
		}
		f.Write("providers/openai", map[string]any{"kinds": "api_key", "allow_import": "org"}).OK(t)
		assert.Equal(t, []any{"api_key"}, f.written(t, "provider/openai")["kinds"])
		assert.Equal(t, "org", f.written(t, "provider/openai")["allow_import"])
		before := f.Read("providers/acme", nil).OK(t)["updated"]
		after := f.Write("providers/acme", map[string]any{"scopes": "read"}).OK(t)["updated"]
		assert.NotEqual(t, before, after)
	})
}

// A connection whose provider is gone can be written back too.
func TestWriteBackWithoutAProvider(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.everything(t)
		f.Delete("providers/keys", map[string]any{"force": true}).OK(t)
		before, answer := f.written(t, "connection/org/acme/key"), asClient(t, f.Read("connections/key", nil).OK(t))
		f.Write("connections/key", answer).OK(t)
		assert.Equal(t, before, f.written(t, "connection/org/acme/key"))
		f.Write("connections/key", with(answer, map[string]any{"inputs": map[string]any{"host": "three"}})).
			Refused(t, http.StatusConflict, "gone")
	})
}

// What only reads have is not written, and whoever meant it to be is told.
func TestAnsweredFieldsAreNotWritten(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		r := f.Write("connections/key", map[string]any{
			"status": "disabled", "key": map[string]any{"api_key": "x"}, "last_rotation": "", "owner": "org/default",
			"label": "L",
		})
		assert.Equal(t, "active", r.OK(t)["status"])
		assert.Equal(t, "L", r.Data["label"])
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "not written")
		assert.True(t, strings.HasSuffix(r.Warnings[0], ": key, last_rotation, status"), r.Warnings[0])

		r = f.Write("providers/acme", map[string]any{"client_secret_set": false, "callback_url": "https://else.example.com"})
		assert.Equal(t, true, r.OK(t)["client_secret_set"])
		assert.Contains(t, strings.Join(r.Warnings, "\n"), ": callback_url, client_secret_set")
		f.Write("connections/key", map[string]any{"state": "disabled"}).Refused(t, http.StatusBadRequest,
			`unknown field "state"`)
	})
}

// A client writes back what it read of an open connection: that opens nothing that the owner puts in later.
func TestWriteBackOpensNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "user/e-alice/slack", bob)
		f.Write("connections/self/slack", f.Read("connections/self/slack", nil, alice).OK(t), alice).OK(t)
		f.connect(t, "self/slack", alice)
		f.Read("creds/user/e-alice/slack", nil).Refused(t, http.StatusForbidden, "private")
	})
}

// Whoever writes back what the owner set does not become the one who set it; the owner takes over what others set by
// naming it.
func TestWriteBackSetsNobody(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.everything(t)
		open := f.Read("connections/self/open", nil, alice).OK(t)
		before := f.written(t, "connection/user/e-alice/open")
		require.Equal(t, "e-alice", before["set_by"])
		f.Write("connections/user/e-alice/open", open, bob).OK(t)
		assert.Equal(t, before, f.written(t, "connection/user/e-alice/open"))

		f.Write("connections/user/e-alice/open", map[string]any{"required_scopes": "write"}, bob).OK(t)
		require.Equal(t, "e-bob", f.written(t, "connection/user/e-alice/open")["required_by"])
		f.Write("connections/self/open", map[string]any{"required_scopes": "write"}, alice).OK(t)
		assert.Equal(t, "e-alice", f.written(t, "connection/user/e-alice/open")["required_by"])
	})
}

// Masks of secret fields, wherever one may be written: that of what is stored keeps it, any other is refused.
func TestMasksOfSecretFields(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.everything(t)
		f.Write("providers/acme", map[string]any{"client_secret": longParameter, "ca_pem": ""}).OK(t)
		for _, c := range []struct{ path, field, key, mask string }{
			{"connections/key", "api_key", "connection/org/acme/key", "****-us7"},
			{"connections/user/u-1/key", "api_key", "connection/user/u-1/key", "****"},
			{"providers/keys", "app_key", "provider/keys", "****-us7"},
			{"providers/acme", "client_secret", "provider/acme", "****WXYZ"},
			{"providers/acme/client-secret", "client_secret", "provider/acme", "****WXYZ"},
		} {
			before := f.written(t, c.key)
			f.Write(c.path, map[string]any{c.field: c.mask}).OK(t)
			assert.Equal(t, before, f.written(t, c.key), c.path)
			for _, wrong := range []string{"****ABCD", "****" + c.mask[4:] + "x"} {
				if isMask(wrong) {
					f.Write(c.path, map[string]any{c.field: wrong}).Refused(t, http.StatusBadRequest, c.field, "mask")
				}
			}
			assert.Equal(t, before, f.written(t, c.key), c.path)
		}
		f.Write("connections/new", map[string]any{"provider": "keys", "api_key": "****"}).Refused(t, http.StatusBadRequest,
			"mask")
		f.Write("connections/key", map[string]any{"api_key": "****-us7", "inputs": map[string]any{"host": "three"}}).
			Refused(t, http.StatusBadRequest, "inputs")
		f.Write("connections/key", map[string]any{"api_key": "****-us7", "username": "you"}).OK(t)
		creds := f.Read("creds/key", nil).OK(t)
		assert.Equal(t, []any{longKey, "you"}, []any{creds["api_key"], creds["username"]})
	})
}

// JSON's null may mean two things, so it means neither, on any path and in any field.
func TestNull(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		paths := f.everything(t)
		fields := map[string]map[string]*framework.FieldSchema{
			"config": configFields(), "providers/acme": providerFields(), "connections/slack": connectionFields(),
			"connections/key":     {"api_key": nil, "username": nil, "label": nil, "status": nil},
			"providers/keys":      {"app_key": nil},
			"auth-code-url/slack": {"scopes": nil, "inputs": nil, "redirect_uri": nil},
			"exchange":            {"state": nil, "flow_id": nil}, "refresh/slack": {"name": nil},
			"providers/acme/client-secret": {"client_secret": nil, "drop_former": nil},
		}
		before := map[string]map[string]any{}
		for _, key := range paths {
			before[key] = f.written(t, key)
		}
		for path, names := range fields {
			for name := range names {
				for _, null := range []any{nil, []any{"a", nil}, map[string]any{"a": nil}, []any{map[string]any{"a": nil}}} {
					f.Write(path, map[string]any{name: null}).Refused(t, http.StatusBadRequest, `"`+name+`" is null`)
				}
			}
		}
		for _, key := range paths {
			assert.Equal(t, before[key], f.written(t, key))
		}
		assert.Equal(t, neutral(t), page(t, f.Write("callback/acme", map[string]any{"state": nil}, testenv.Nobody)))
	})
}

// The same key written again is no rotation, whoever writes it, and with whatever beside it.
func TestSameKeyWrittenAgain(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.everything(t)
		f.Write("config", map[string]any{"refresh_paused": false, "proxy_url": ""}).OK(t)
		all := map[string]any{
			"provider": "keys", "username": "me", "api_key": longKey, "inputs": map[string]any{"host": "two"}, "label": "Other",
		}
		rotation := func(path string) any { return f.Read("creds/"+path, nil).OK(t)["last_vault_rotation"] }
		before := rotation("key")
		stays := func(why string, data map[string]any) {
			t.Helper()
			f.Advance(time.Minute)
			f.Write("connections/key", data).OK(t)
			assert.Equal(t, before, rotation("key"), why)
		}
		stays("a tool sends all fields when a label changes", all)
		assert.Equal(t, "Other", f.Read("connections/key", nil).OK(t)["label"])
		stays("the secret alone", map[string]any{"api_key": longKey})
		stays("under its kind", map[string]any{"api_key": longKey, "kind": "basic"})
		stays("an optional field that is empty", map[string]any{"api_key": longKey, "region": ""})
		assert.Equal(t, "basic", f.Read("connections/key", nil).OK(t)["kind"], "the kind is not guessed anew")

		for _, other := range []map[string]any{
			{"api_key": longKey + "8"},
			{"username": "you"},
			{"username": ""},
			{"api_key": longKey + "8", "inputs": map[string]any{"host": "three"}},
			{"api_key": longKey + "8", "kind": "api_key"},
		} {
			f.Advance(time.Minute)
			f.Write("connections/key", other).OK(t)
			assert.NotEqual(t, before, rotation("key"), "%v", other)
			before = rotation("key")
		}
	})
}

// A key that belongs elsewhere by now is taken anew: so a provider that changed is mended.
func TestSameKeyUnderAnotherPin(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.Write("providers/keys", map[string]any{"client_id": "one"}).OK(t)
		f.Write("connections/key", map[string]any{"provider": "keys", "api_key": longKey}).OK(t)
		f.Write("providers/keys", map[string]any{"client_id": "two"}).OK(t)
		require.Equal(t, "provider_changed", f.Read("connections/key", nil).OK(t)["status_reason"])
		f.Write("connections/key", map[string]any{"api_key": longKey}).OK(t)
		assert.Equal(t, "active", f.Read("connections/key", nil).OK(t)["status"])
	})
}

// A key that its owner's entity writes becomes private, also where somebody else had written the same one.
func TestSameKeyOfTheOwner(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "user/e-alice/key", bob)
		before := f.Read("creds/user/e-alice/key", nil).OK(t)["last_vault_rotation"]
		f.Advance(time.Minute)
		r := f.Write("connections/self/key", map[string]any{"provider": "openai", "api_key": openaiKey}, alice)
		assert.Equal(t, true, r.OK(t)["private"])
		assert.Contains(t, strings.Join(r.Warnings, "\n"), "is private now")
		assert.Equal(t, before, f.Read("creds/self/key", nil, alice).OK(t)["last_vault_rotation"])
		f.Read("creds/user/e-alice/key", nil, bob).Refused(t, http.StatusForbidden, "private")
		assert.Equal(t, "e-alice", f.written(t, "connection/user/e-alice/key")["set_by"])
	})
}

// The client secret's own path changes the secret, and nothing beside it.
func TestClientSecretPath(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const path = "providers/acme/client-secret"
		f.connect(t, "slack")
		before := f.written(t, "provider/acme")
		f.provider.SetClientSecret("another")
		r := f.Write(path, map[string]any{"client_secret": "another\n"})
		assert.Equal(t, map[string]any{
			"client_key_id": "", "client_secret_set": true, "former_secret_set": true,
			"updated":   rfc3339(f.Now()),
			"rotate_by": "",
		}, asClient(t, r.OK(t)))
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).OK(t)
		after := f.written(t, "provider/acme")
		assert.Equal(t, []any{"another", providertest.ClientSecret}, []any{after["client_secret"], after["former_secret"]})
		for _, field := range []string{"client_secret", "former_secret", "updated", "unproven", "secret_age"} {
			delete(before, field)
			delete(after, field)
		}
		assert.Equal(t, before, after)

		stored := f.written(t, "provider/acme")
		for name, c := range map[string]struct {
			path string
			data map[string]any
			code int
			says string
		}{
			"nothing":         {path, nil, 400, "client_secret"},
			"nothing to drop": {path, map[string]any{"drop_former": false}, 400, "client_secret"},
			"another field":   {path, map[string]any{"client_secret": "x", "client_id": "y"}, 400, `unknown field "client_id"`},
			"no such":         {"providers/none/client-secret", map[string]any{"client_secret": "x"}, 400, "no provider"},
			"bad name":        {"providers/NONE/client-secret", map[string]any{"client_secret": "x"}, 400, "provider name"},
			"bad character":   {path, map[string]any{"client_secret": "a\nb"}, 400, "client_secret"},
		} {
			r := f.Write(c.path, c.data)
			r.Refused(t, c.code, c.says)
			assert.Equal(t, stored, f.written(t, "provider/acme"), name)
		}
		assert.Equal(t, http.StatusMethodNotAllowed, f.Read(path, nil).Status)
		assert.Equal(t, http.StatusMethodNotAllowed, f.Delete(path, nil).Status)
	})
}

func TestDisabledIsReadable(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		assert.Equal(t, false, f.Read("connections/slack", nil).OK(t)["disabled"])
		assert.Equal(t, true, f.Write("connections/slack", map[string]any{"disabled": "true"}).OK(t)["disabled"])
		assert.Equal(t, true, f.Read("connections/slack", nil).OK(t)["disabled"])
	})
}

// A key may have a field of the name of one that only reads have: then it is written, and by nobody who may not.
func TestKeyFieldNamedLikeAnAnswer(t *testing.T) {
	const definition = `
id: keys
name: Keys
kinds: [api_key]
sources: ['https://example.com']
key:
  fields: [{name: account, required: true}, {name: updated, set_by: provider}]
  send: {headers: {Authorization: 'Bearer {account}'}, optional_headers: {X-Updated: '{updated}'}}
`
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	catalog, err := providers.NewRegistry(fstest.MapFS{
		"keys.yaml": {Data: []byte(definition)}, "oauth2.yaml": {Data: generic},
	})
	require.NoError(t, err)
	eachWith(t, Options{Catalog: catalog}, func(t *testing.T, f *fixture) {
		made := f.Write("providers/keys", map[string]any{"updated": "x"}).OK(t)
		assert.Equal(t, []string{"updated"}, texts(t, made["key_fields_set"]))
		f.Write("connections/self/key", map[string]any{"provider": "keys", "account": "one"}, alice).OK(t)
		assert.Equal(t, "one", f.Read("creds/self/key", nil, alice).OK(t)["account"])
		f.Write("connections/user/e-alice/key", map[string]any{"disabled": true, "account": "two"}, bob).
			Refused(t, http.StatusForbidden, "private")
		f.Write("connections/self/key", map[string]any{"account": "two", "status": "active"}, alice).OK(t)
		assert.Equal(t, "two", f.Read("creds/self/key", nil, alice).OK(t)["account"])
	})
}

// Redirect URIs that were stored before a rule came can be written back: they change nothing.
func TestWriteBackOfRedirects(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/other", with(f.acme(), map[string]any{"shared_redirect": true, "redirect_uris": nil})).OK(t)
		for _, name := range []string{"acme", "other"} {
			entry, err := f.Storage.Get(t.Context(), "provider/"+name)
			require.NoError(t, err)
			uris := `"redirect_uris":["https://app.example.com/a/../b"]`
			value := strings.Replace(string(entry.Value), `"confirm":true`, `"confirm":true,`+uris, 1)
			if name == "acme" {
				stored := regexp.MustCompile(`"redirect_uris":\[[^\]]*\]`)
				value = stored.ReplaceAllString(string(entry.Value), uris)
			}
			entry.Value = []byte(strings.ReplaceAll(value, "/token", "/token-of-"+name))
			require.NoError(t, f.Storage.Put(t.Context(), entry))
		}
		f.restart(t)
		before := f.written(t, "provider/acme")
		f.Write("providers/acme", f.Read("providers/acme", nil).OK(t)).OK(t)
		assert.Equal(t, before, f.written(t, "provider/acme"))
		f.Write("providers/acme", map[string]any{"redirect_uris": "https://app.example.com/a/../c"}).
			Refused(t, http.StatusBadRequest, "redirect_uris")
	})
}
