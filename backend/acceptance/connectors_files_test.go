package acceptance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// folder writes files beside each other, and gives the path of a name.
func folder(t *testing.T, files map[string]string) func(name string) string {
	t.Helper()
	at := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(at, name), []byte(text), 0o600))
	}
	return func(name string) string { return filepath.Join(at, name) }
}

// applies runs apply with secrets in the environment.
func (e *engine) applies(t *testing.T, env []string, args ...string) printed {
	t.Helper()
	cmd := e.prepared(t, append([]string{"apply"}, args...)...)
	cmd.Env = append(cmd.Env, env...)
	return ran(t, cmd)
}

// mayReadSecrets lets somebody read what KV has for this mount.
const mayReadSecrets = `path "secret/data/PATH" { capabilities = ["read"] }`

// An operator brings a mount to what a file says, and again, without a secret in sight.
func TestConnectorsApply(t *testing.T) {
	t.Parallel()
	root := newEngine(t)
	service := root.newKeyService(t, deskKey)
	_, err := root.vault.Client.KVv2("secret").Put(t.Context(), root.path, map[string]any{"key": deskKey})
	require.NoError(t, err)
	olga := root.logIn(t, "olga", recipe(t, "policies/operator.hcl")+recipe(t, "policies/org-admin.hcl")+
		strings.ReplaceAll(mayReadSecrets, "PATH", root.path))
	env := []string{"APP_SECRET=planted-app-secret", "DESK_KEY=" + deskKey, "PARAM=planted-parameter"}
	at := folder(t, map[string]string{
		"help.yaml": strings.ReplaceAll(keysYAML, "SERVICE", service.URL),
		"app.key":   "planted-app-secret\n",
		"c.yaml": `
config: {flow_ttl: 15m, display_name: Acme}
providers:
  oauth2:
    client_id: 4711
    client_secret: env:APP_SECRET
    endpoints: {authorize: "https://a.example.com/authorize", token: "https://a.example.com/token"}
    scopes: [chat:write, read]
    token_params: {audience: env:PARAM}
  help: {definition_yaml: "file:help.yaml", rotate_after: 90d}
connections:
  org/acme/desk: {api_key: env:DESK_KEY, label: Team, tags: {tier: 1}}
  org/acme/help: {api_key: "vault:secret/data/` + root.path + `#key", provider: help}
`,
	})
	var all strings.Builder
	apply := func(exit int, args ...string) printed {
		t.Helper()
		got := olga.applies(t, env, args...)
		all.WriteString(got.out + got.complaint)
		require.Equal(t, exit, got.exit, got.complaint)
		return got
	}

	got := apply(7, "-f", at("c.yaml"), "--dry-run")
	assert.Contains(t, got.out, "+ providers/oauth2\n")
	assert.Contains(t, got.out, "    client_secret: not set → will be set\n")
	assert.Contains(t, got.out, "    flow_ttl: 600 → 900\n")
	assert.Contains(t, got.complaint, "5 changes; nothing was done")
	root.absent(t, "providers/help")
	got = apply(0, "-f", at("c.yaml"))
	assert.Contains(t, got.complaint, "connections/org/acme/help: created")
	for _, name := range []string{"desk", "help"} {
		assert.Equal(t, deskKey, root.read(t, "creds/org/acme/"+name)["api_key"], name)
	}
	assert.Equal(t, true, root.read(t, "providers/oauth2")["client_secret_set"])
	assert.Equal(t, []any{"chat:write", "read"}, root.read(t, "providers/oauth2")["scopes"])
	got = apply(0, "-f", at("c.yaml"), "--dry-run")
	assert.Empty(t, got.out, "and again it changes nothing")
	got = apply(0, "-f", at("c.yaml"))
	assert.Contains(t, got.complaint, "nothing to change")
	got = apply(7, "-f", at("c.yaml"), "--dry-run", "--secrets")
	assert.Contains(t, got.out, "client_secret: set → will be set")

	// by a pipe, of people who keep theirs in parts
	one := func(exit int, text string, args ...string) printed {
		t.Helper()
		cmd := olga.prepared(t, append([]string{"apply", "-f", "-"}, args...)...)
		cmd.Env, cmd.Stdin = append(cmd.Env, env...), strings.NewReader(text)
		got := ran(t, cmd)
		all.WriteString(got.out + got.complaint)
		require.Equal(t, exit, got.exit, got.complaint)
		return got
	}
	for says, text := range map[string]string{
		"stdin:1: \"nothing\" is none of":     "nothing: {}",
		"oauth2: clientid: there is no such":  "providers:\n  oauth2: {clientid: x, client_id: changed}",
		"a secret does not stand in the file": "providers: {oauth2: {client_id: x, client_secret: planted-literal}}",
		"api_key: a secret does not stand":    "connections: {org/acme/desk: {api_key: planted-literal, label: x}}",
		"is what the mount answers":           "connections: {org/acme/desk: {status: active, label: x}}",
		"is not set, or empty":                "config: {flow_ttl: 1m}\nproviders: {oauth2: {companions: {a: env:NO}}}",
	} {
		got := one(2, text)
		assert.Contains(t, got.complaint, says)
	}
	assert.Equal(t, "4711", root.read(t, "providers/oauth2")["client_id"])
	assert.Equal(t, json.Number("900"), root.read(t, "config")["flow_ttl"])
	one(0, "connections: {org/acme/desk: {label: Other}}")
	assert.Equal(t, "Other", root.read(t, "connections/org/acme/desk")["label"])

	// fields of a definition that the file brings are known once it is there
	got = one(2, "providers: {later: {definition_yaml: 'file:"+at("help.yaml")+"'}}\n"+
		"connections: {org/acme/later: {api_key: planted-literal}}")
	assert.Contains(t, got.complaint, "a secret does not stand in the file")
	assert.Contains(t, got.complaint, "stopped at connections/org/acme/later; done: providers/later")
	root.absent(t, "connections/org/acme/later")
	root.remove(t, "providers/later")

	// what stops it is told with what was done, and running it again goes on
	got = one(2, "config: {flow_ttl: 16m}\nproviders: {oauth2: {client_auth: nonsense}, help: {rotate_after: 30d}}")
	assert.Contains(t, got.complaint, "stopped at providers/oauth2; done: config")
	assert.Equal(t, "2160h0m0s", root.read(t, "providers/help")["rotate_after"])
	var document struct {
		Changes []map[string]any `json:"changes"`
	}
	got = one(0, "config: {flow_ttl: 16m}\nproviders: {help: {rotate_after: 30d}}", "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(got.out), &document))
	assert.Equal(t, []map[string]any{{
		"path": "providers/help", "action": "update", "done": true,
		"fields": []any{map[string]any{"field": "rotate_after", "before": 7776000.0, "after": 2592000.0}},
	}}, document.Changes)

	// what grants are bound to
	help := "providers: {help: {client_id: moved}}\nconnections: {org/acme/help: {api_key: file:" + at("desk.key") + "}}"
	require.NoError(t, os.WriteFile(at("desk.key"), []byte(deskKey+"\n"), 0o600))
	got = one(2, help)
	assert.Contains(t, got.complaint, "--allow-reconnect")
	assert.Empty(t, root.read(t, "providers/help")["client_id"])
	assert.Contains(t, one(7, help, "--dry-run").out, "(connections must be reconnected)")
	one(0, "providers: {help: {client_id: other}}", "--allow-reconnect")
	assert.Equal(t, "provider_changed", root.read(t, "connections/org/acme/help")["status_reason"])
	got = one(0, help, "--allow-reconnect")
	assert.Equal(t, "active", root.read(t, "connections/org/acme/help")["status"], "its key was written again: %s",
		got.complaint)
	assert.NotContains(t, got.complaint, "connectors reconnect", "and it works by now")
	one(0, strings.ReplaceAll(help, "moved", "again"), "--allow-reconnect")
	assert.Equal(t, "active", root.read(t, "connections/org/acme/help")["status"], "as after a change of the same run")

	// the former secret goes when it is told to
	require.NoError(t, os.WriteFile(at("new.key"), []byte("planted-new-secret"), 0o600))
	one(0, "providers: {oauth2: {client_secret: file:"+at("new.key")+"}}", "--secrets")
	assert.Equal(t, true, root.read(t, "providers/oauth2")["former_secret_set"])
	one(0, "providers: {oauth2: {client_secret: file:"+at("new.key")+", drop_former: true}}")
	assert.Equal(t, false, root.read(t, "providers/oauth2")["former_secret_set"])
	one(0, "providers: {oauth2: {drop_former: true}}", "--dry-run")

	// what is masked may have changed all the same, and the mount alone knows
	one(0, "providers: {oauth2: {authorize_params: {prompt: login}}}")
	updated := root.read(t, "providers/oauth2")["updated"]
	got = one(0, "providers: {oauth2: {authorize_params: {prompt: login}}}")
	assert.NotContains(t, got.complaint, "updated")
	assert.Equal(t, updated, root.read(t, "providers/oauth2")["updated"])
	got = one(0, "providers: {oauth2: {authorize_params: {prompt: none}}}", "--dry-run")
	assert.Contains(t, got.complaint, "authorize_params is masked, and looks the same")
	assert.Equal(t, updated, root.read(t, "providers/oauth2")["updated"])
	one(0, "providers: {oauth2: {authorize_params: {prompt: none}}}")
	flow := root.write(t, "auth-code-url/org/acme/flow", map[string]any{"provider": "oauth2"})
	assert.Contains(t, flow["url"], "prompt=none")

	// deletions are of what the file speaks of, and counted
	for _, path := range []string{"org/acme/extra", "org/acme/user/u-1/extra", "org/other/extra"} {
		root.write(t, "connections/"+path, map[string]any{"provider": "desk", "api_key": deskKey, "provision": true})
	}
	kept := "connections: {org/acme/desk: {}, org/acme/help: {}}"
	for _, flags := range [][]string{{"--prune"}, {"--prune", "--expect", "2"}, {"--expect", "1"}} {
		one(2, kept, flags...)
	}
	root.read(t, "connections/org/acme/extra")
	assert.Equal(t, "- connections/org/acme/extra\n", one(7, kept, "--prune", "--dry-run").out)
	one(0, kept, "--prune", "--expect", "1")
	root.absent(t, "connections/org/acme/extra")
	root.read(t, "connections/org/acme/user/u-1/extra")
	root.read(t, "connections/org/other/extra")
	got = one(5, "providers: {oauth2: {}, desk: {}}", "--prune", "--expect", "1")
	assert.Contains(t, got.complaint, "has connections", "a provider goes after its connections alone")

	for _, secret := range []string{deskKey, "planted-"} {
		assert.NotContains(t, all.String(), secret)
	}
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl")+
		`path "connectors/connections/user/*" { capabilities = ["read", "update", "list"] }`)
	for _, name := range []string{"a", "b", "c"} {
		alice.write(t, "connections/self/"+name, map[string]any{"provider": "desk", "api_key": deskKey})
	}
	mine := folder(t, map[string]string{
		"both.yaml":  "connections: {a: {}, user/" + alice.entity + "/b: {label: B}}",
		"late.yaml":  "providers: {late: {definition: slack, client_id: i, client_secret: env:NOBODY_SET}}",
		"twice.yaml": "connections: {a: {}, user/" + alice.entity + "/a: {label: B}}",
	})
	got = alice.applies(t, env, "-f", mine("both.yaml"), "--prune", "--expect", "1")
	assert.Zero(t, got.exit, "two spellings of an owner: %s", got.complaint)
	assert.Contains(t, got.out, "- connections/self/c\n")
	assert.Equal(t, "B", alice.read(t, "connections/self/b")["label"])
	got = alice.applies(t, nil, "-f", mine("both.yaml"), "--dry-run")
	assert.Zero(t, got.exit)
	assert.Contains(t, got.complaint, "nothing to change")
	got = olga.applies(t, nil, "-f", mine("late.yaml"), "--dry-run")
	assert.Equal(t, 2, got.exit)
	assert.Contains(t, got.complaint, "client_secret: env:NOBODY_SET: is not set")
	got = alice.applies(t, env, "-f", mine("twice.yaml"))
	assert.Equal(t, 2, got.exit)
	assert.Contains(t, got.complaint, "under another name")
	assert.Equal(t, 4, alice.applies(t, env, "-f", at("c.yaml")).exit)
	assert.Equal(t, 2, alice.applies(t, env).exit)
	assert.Equal(t, 2, alice.applies(t, env, "-f", at("absent.yaml")).exit)
}

// A person is led through what needs one.
func TestConnectorsApplyConnects(t *testing.T) {
	t.Parallel()
	s, alice := commuter(t)
	s.newKeyService(t, deskKey)
	at := folder(t, map[string]string{"mine.yaml": "connections:\n  idp: {label: Mine}\n  desk: {label: Desk}\n"})

	got := alice.connectors(t, "apply", "-f", at("mine.yaml"))
	assert.Equal(t, 5, got.exit, got.complaint)
	assert.Contains(t, got.complaint, "connectors connect idp --as self/idp")
	assert.Equal(t, "! connections/self/idp (a person connects it)\n    label: Mine\n"+
		"! connections/self/desk (a person connects it)\n    label: Desk\n", got.out)
	assert.Equal(t, 7, alice.connectors(t, "apply", "-f", at("mine.yaml"), "--dry-run").exit)
	assert.Equal(t, 2, alice.connectors(t, "apply", "-f", at("mine.yaml"), "--connect").exit, "nobody is there")

	walk := func() *seat {
		cmd := alice.prepared(t, "apply", "-f", at("mine.yaml"), "--connect")
		cmd.Env = append(cmd.Env, "CONNECTORS_BROWSER=none")
		return sit(t, cmd)
	}
	person := walk()
	person.sees(t, "Type the code")
	person.types(t, "\x03")
	assert.Equal(t, 130, person.leaves(t).exit)
	alice.absent(t, "connections/self/desk")

	person = walk()
	code := confirmationCode(t, s.walks(t, person.sees(t, authorizeAt), "idp"))
	person.types(t, code+"\n")
	person.sees(t, `not shown: `)
	person.types(t, "\x03")
	assert.Equal(t, 130, person.leaves(t).exit, "at the second")
	assert.Equal(t, "Mine", alice.read(t, "connections/self/idp")["label"])
	person = walk()
	person.sees(t, `not shown: `)
	person.types(t, deskKey+"\n")
	got = person.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.NotContains(t, got.complaint+got.out, deskKey)
	assert.Equal(t, "Desk", alice.read(t, "connections/self/desk")["label"])
	assert.Zero(t, alice.connectors(t, "apply", "-f", at("mine.yaml"), "--dry-run").exit)

	// one that does not work any more is no change of the file, and --connect mends it
	s.write(t, "providers/idp", map[string]any{"client_id": "moved"})
	got = alice.connectors(t, "apply", "-f", at("mine.yaml"))
	assert.Zero(t, got.exit, got.complaint)
	assert.Contains(t, got.complaint, "self/idp is needs_reconnect: connectors reconnect self/idp")
	s.write(t, "providers/idp", map[string]any{"client_id": "basic", "client_secret": appSecret})
	person = walk()
	got = person.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Contains(t, got.complaint, "nothing to change", "it was taken back")
}

// uncommented takes the references of an export in.
var uncommented = regexp.MustCompile(`(?m)^( +)# ([a-z_]+:)`)

// variables are those that an export names.
var variables = regexp.MustCompile(`env:([A-Z0-9_]+)`)

// What is exported is what is there: applied it changes nothing, and elsewhere it makes the same.
func TestConnectorsExport(t *testing.T) {
	t.Parallel()
	root := newEngine(t)
	service := root.newKeyService(t, deskKey)
	for name, fields := range map[string]map[string]any{
		"slack": {
			"client_id": "1.2", "client_secret": "planted-secret", "scopes": "chat:write,users:read", "confirm": false,
			"allowed_scopes": "*", "allowed_owners": "org/acme,org/acme/user/*", "assumed_ttl": "2h", "check_interval": "12h",
			"redirect_uris": "https://app.example.com/cb", "rotate_after": "90d", "surplus_scopes": "warn",
		},
		"generic": {
			"definition": "oauth2", "client_id": " 4711", "client_secret": "planted-secret",
			"endpoints":        map[string]string{"authorize": "https://a.example.com/a", "token": "https://a.example.com/t"},
			"authorize_params": map[string]string{"a": "b", "key: x": "planted-long-parameter-of-somebody"},
			"token_params":     map[string]string{"audience": "planted"}, "client_auth": "post", "pkce": "off",
			"frozen": true, "frozen_reason": "on: \"purpose\"",
		},
		"shopify": {
			"client_id": "x", "client_secret": "planted-secret", "kinds": "authorization_code,client_credentials",
			"bound_inputs": map[string]any{"org/acme": map[string]any{"shop": []string{"one", "two"}}}, "added_scopes": "",
		},
		"openai": {},
	} {
		root.write(t, "providers/"+name, fields)
	}
	root.write(t, "config", map[string]any{
		"refresh_margin": "5m", "loopback_return": false, "frozen_owners": "org/cold", "display_name": "Ácme: #1",
		"proxy_url": "http://me:planted-password-of-mine@127.0.0.1:1",
	})
	for path, fields := range map[string]map[string]any{
		"org/acme/desk": {
			"api_key": deskKey, "label": "yes: # \"no\"", "tags": map[string]any{"tier": 1, "on": true, "null": "- c"},
			"rotate_after": "30d", "required_scopes": "a:b c", "verify": false,
		},
		"org/acme/off": {
			"provider": "desk", "api_key": deskKey, "disabled": true, "archived": true, "archived_reason": "old",
			"verify": false,
		},
		"org/acme/openai": {
			"api_key": "planted-0123456789", "organization": "org-1", "verify": false,
		},
		"user/u-1/desk": {"api_key": deskKey, "verify": false},
	} {
		root.write(t, "connections/"+path, fields)
	}
	owners := []string{"org/acme", "user/u-1"}
	on := func(e *engine, args ...string) *exec.Cmd {
		return e.prepared(t, append([]string{"--mount", e.path}, args...)...)
	}
	export := func(e *engine, flags ...string) string {
		got := ran(t, on(e, append(append([]string{"export", "--providers", "--config"}, owners...), flags...)...))
		require.Zero(t, got.exit, got.complaint)
		return got.out
	}
	text := export(root)
	assert.Equal(t, text, export(root))
	assert.NotContains(t, text, "planted")
	assert.NotContains(t, text, deskKey)
	apply := func(e *engine, text string, args ...string) printed {
		cmd := on(e, append([]string{"apply", "-f", "-"}, args...)...)
		cmd.Stdin = strings.NewReader(text)
		for _, found := range variables.FindAllStringSubmatch(text, -1) {
			cmd.Env = append(cmd.Env, found[1]+"=planted-"+strings.ToLower(found[1])+"-0123456789")
		}
		cmd.Env = append(cmd.Env, "PROXY_URL=http://me:planted-password-of-mine@127.0.0.1:1")
		return ran(t, cmd)
	}
	got := apply(root, text, "--dry-run", "-o", "json")
	require.Zero(t, got.exit, got.out+got.complaint)
	assert.JSONEq(t, `{"changes": []}`, got.out)
	got = apply(root, export(root, "-o", "json"), "--dry-run")
	require.Zero(t, got.exit, got.out+got.complaint)
	got = apply(root, uncommented.ReplaceAllString(text, "$1$2"), "--dry-run")
	require.Zero(t, got.exit, "the secrets are set: %s", got.out+got.complaint)

	second := &engine{vault: root.vault, path: root.path + "-second"}
	require.NoError(t, second.vault.Mount(t.Context(), second.path))
	t.Cleanup(func() { _ = second.vault.Client.Sys().Unmount(second.path) })
	text = uncommented.ReplaceAllString(text, "$1$2")
	text = strings.ReplaceAll(text, "api_key: env", "verify: false\n    api_key: env")
	got = apply(second, text)
	require.Zero(t, got.exit, got.complaint)
	assert.Equal(t, export(root), export(second))
	assert.NotContains(t, got.complaint+got.out, "planted")
	assert.NotContains(t, got.complaint, "another form")
	assert.Empty(t, service.asked, "no key was shown")

	assert.Contains(t, ran(t, on(root, "export", "--providers")).out, "providers:")
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	alice.write(t, "connections/self/desk", map[string]any{"api_key": deskKey})
	assert.Equal(t, "connections:\n  self/desk:\n    kind: api_key\n    private: true\n    provider: desk\n"+
		"    # api_key: env:SELF_DESK_API_KEY\n", alice.does(t, "export").out)
	assert.Equal(t, 4, alice.connectors(t, "export", "--providers").exit)
}

// An application that is written against the types, with what they refuse.
const usesTypes = `
import type { ConnectorConnection, ConnectorRegistry, ConnectorService, GetConnection } from "./connectors";

declare const getConnection: GetConnection;

export async function uses(): Promise<string> {
  const services: ConnectorService[] = ["desk", "slack", "salesforce"];
  const slack = await getConnection("slack");
  const desk = await getConnection("desk");
  const salesforce: ConnectorConnection<"salesforce"> = await getConnection("salesforce");
  const kind: ConnectorRegistry["desk"]["kind"] = "api_key";
  return services.join() + slack.access_token + desk.api_key + salesforce.connection_config.instance_url + kind;
}
// @ts-expect-error there is no such service
export const none = (): unknown => getConnection("slakc");
// @ts-expect-error a key has no token
export const noToken = async (): Promise<number> => (await getConnection("desk")).access_token.length;
// @ts-expect-error this need not be there
export const team = async (): Promise<string> => (await getConnection("slack")).connection_config.team_id;
`

// The compiler takes what types writes, whatever operators wrote, and refuses what is not so.
func TestConnectorsTypes(t *testing.T) {
	t.Parallel()
	root := newEngine(t)
	root.newKeyService(t, deskKey)
	for _, name := range []string{"slack", "salesforce", "google", "aws", "smtp"} {
		root.write(t, "providers/"+name, map[string]any{"client_id": providertest.ClientID})
	}
	const odd = "name: \"*/ `${x}` '\\\" \\u2028\"\nkinds: [api_key]\napi_base: https://api.example.com\ncheck: none\n" +
		"key:\n  fields: [{name: api_key, required: true, secret: true}]\n  send: {headers: {X-Key: '{api_key}'}}\n"
	root.write(t, "providers/1.odd@name-x", map[string]any{"definition_yaml": odd})
	olga := root.logIn(t, "olga", recipe(t, "policies/operator.hcl"))
	text := olga.does(t, "types").out
	assert.Equal(t, text, olga.does(t, "types").out)
	var document map[string]map[string]any
	require.NoError(t, json.Unmarshal([]byte(olga.does(t, "types", "-o", "json").out), &document))
	assert.Equal(t, map[string]any{
		"definition": "provider:desk", "kinds": []any{"api_key"}, "key_fields": map[string]any{"api_key": true},
	}, document["desk"])
	at := folder(t, map[string]string{"connectors.ts": text, "uses.ts": usesTypes})
	compiler := filepath.Join(suite.tools.ServersDir, "node_modules", "typescript", "bin", "tsc")
	out, err := exec.CommandContext(t.Context(), suite.tools.Node, compiler, "--strict", "--noEmit", "--target", "es2022",
		at("uses.ts")).CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, text)

	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	assert.Equal(t, 4, alice.connectors(t, "types").exit)
}
