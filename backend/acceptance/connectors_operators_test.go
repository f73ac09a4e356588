package acceptance

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// brings runs the command with a text at its stdin.
func (e *engine) brings(t *testing.T, text string, args ...string) printed {
	t.Helper()
	cmd := e.prepared(t, args...)
	cmd.Stdin = strings.NewReader(text)
	return ran(t, cmd)
}

// document reads what a command answered with -o json into a struct that knows each of its fields.
func document[T any](t *testing.T, got printed) T {
	t.Helper()
	var answer T
	decoder := json.NewDecoder(strings.NewReader(got.out))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&answer), "%s %s", got.out, got.complaint)
	return answer
}

const newAppSecret = "another-app-secret-0123456789"

// An operator lets services be connected, with a terminal and by a pipe, and no secret shows anywhere.
func TestConnectorsProviders(t *testing.T) {
	t.Parallel()
	root := newEngine(t)
	op := root.logIn(t, "op", recipe(t, "policies/operator.hcl"))
	assert.Contains(t, op.does(t, "provider", "list").complaint, "no provider yet")

	for _, keys := range []string{"\x03", "an-id\n\x03"} { // at the id, and at the secret
		at := sit(t, op.prepared(t, "provider", "add", "slack", "--name", "slack-emea"))
		at.sees(t, `Client id: `)
		at.types(t, strings.TrimSuffix(keys, "\x03"))
		if keys != "\x03" {
			at.sees(t, `Client secret .*: `)
			assert.False(t, at.echoes(t))
		}
		at.types(t, "\x03")
		assert.Equal(t, 130, at.leaves(t).exit)
		assert.True(t, at.echoes(t), "the terminal is left as it was")
		op.absent(t, "providers/slack-emea")
	}
	at := sit(t, op.prepared(t, "provider", "add", "slack", "--name", "slack-emea", "-o", "json"))
	at.sees(t, "Create New App")
	at.sees(t, "register: "+op.callback("slack-emea"))
	at.sees(t, `"redirect_urls": \[\s+"`+op.callback("slack-emea")+`"`) // of the manifest
	at.types(t, "an-id\n")
	at.sees(t, "Client secret")
	at.types(t, appSecret+"\n")
	at.sees(t, "connectors connect slack-emea --as NAME")
	got := at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.NotContains(t, got.complaint+got.out, appSecret)
	made := document[client.Provider](t, got)
	assert.Equal(t, []any{"slack", "an-id", true, op.callback("slack-emea")},
		[]any{made.Definition, made.ClientID, made.ClientSecretSet, made.CallbackURL})
	assert.Equal(t, made, document[client.Provider](t, op.does(t, "provider", "show", "slack-emea", "-o", "json")))

	credentials := `{"client_id": "id-2", "client_secret": "` + appSecret + `"}`
	got = op.brings(t, credentials, "provider", "add", "slack")
	require.Zero(t, got.exit, got.complaint)
	assert.Regexp(t, `client_secret_set +true`, got.out)
	assert.Contains(t, got.complaint, "connectors connect slack\n")
	require.Zero(t, op.brings(t, "", "provider", "add", "openai").exit, "keys need nothing of the operator")
	assert.Regexp(t, `(?m)^slack-emea +slack$`, op.does(t, "provider", "list").out)
	assert.Equal(t, []string{"openai", "slack", "slack-emea"},
		document[client.ProviderList](t, op.does(t, "provider", "list", "-o", "json")).Keys)

	// what the operator holds in several lines comes from a file
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "app.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(pair),
	}), 0o600))
	at = sit(t, op.prepared(t, "provider", "add", "github_app"))
	at.sees(t, "Client id: ")
	at.types(t, "Iv1.0123456789abcdef\n")
	at.sees(t, "private_key .* @FILE: ")
	at.types(t, "@"+file+"\n")
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Regexp(t, `key_fields_set +private_key`, got.out)

	for name, c := range map[string]struct {
		stdin string
		args  []string
		exit  int
		says  string
	}{
		"there already": {credentials, []string{"add", "slack"}, 2, "there already"},
		"unknown":       {credentials, []string{"add", "no-such"}, 3, "connectors catalog"},
		"no id":         {"", []string{"add", "slack", "--name", "x"}, 2, "client_id is missing"},
		"no object":     {appSecret, []string{"add", "slack", "--name", "x"}, 2, "no JSON object"},
		"unknown field": {
			`{"client_id": "i", "clientsecret": 1}`, []string{"add", "slack", "--name", "x"}, 2, "clientsecret",
		},
		"a secret flag": {
			"", []string{"add", "slack", "--name", "x", "--field", "client_secret=" + appSecret}, 2, "is a secret",
		},
		"no name":          {"", []string{"show", "a/b"}, 2, "is no name"},
		"show absent":      {"", []string{"show", "absent"}, 3, "nothing is there"},
		"remove absent":    {"", []string{"remove", "absent", "--yes"}, 3, "nothing is there"},
		"remove unasked":   {"", []string{"remove", "slack"}, 2, "--yes"},
		"rotate absent":    {newAppSecret, []string{"rotate", "absent"}, 3, "absent"},
		"rotate to none":   {"", []string{"rotate", "slack"}, 2, "no secret"},
		"forget unasked":   {"", []string{"rotate", "slack", "--drop-former"}, 2, "--yes"},
		"no such command":  {"", []string{"rename"}, 2, "unknown command"},
		"too few":          {"", []string{"rotate"}, 2, "connectors provider rotate --help"},
		"of another field": {`{"client_secret": "x", "scopes": "y"}`, []string{"rotate", "slack"}, 2, "the object takes"},
	} {
		got := op.brings(t, c.stdin, append([]string{"provider"}, c.args...)...)
		assert.Equal(t, c.exit, got.exit, "%s: %s", name, got.complaint)
		assert.Contains(t, got.complaint, c.says, name)
		assert.NotContains(t, got.complaint, appSecret, name)
		assert.Empty(t, got.out, name)
	}
	op.absent(t, "providers/x")
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	assert.Equal(t, 4, alice.connectors(t, "provider", "show", "slack").exit)

	// who rotates needs no other policy
	robot := root.logIn(t, "robot", recipe(t, "policies/app-secret.hcl"))
	got = robot.brings(t, newAppSecret+"\n", "provider", "rotate", "slack")
	require.Zero(t, got.exit, got.complaint)
	assert.Contains(t, got.complaint, "fallback")
	assert.Contains(t, got.complaint, "connectors provider rotate slack --drop-former")
	assert.Regexp(t, `former_secret_set +true`, got.out)
	got = robot.connectors(t, "provider", "rotate", "slack", "--drop-former", "--yes", "-o", "json")
	require.Zero(t, got.exit, got.complaint)
	assert.False(t, document[client.ClientSecretState](t, got).FormerSecretSet)
	for _, args := range [][]string{{"rotate", "slack"}, {"rotate", "slack", "--drop-former"}, {"remove", "slack"}} {
		at = sit(t, op.prepared(t, append([]string{"provider"}, args...)...))
		at.sees(t, `(not shown, or @FILE|\[y/N\])`)
		at.types(t, "\x03")
		assert.Equal(t, 130, at.leaves(t).exit, args)
		assert.True(t, at.echoes(t))
	}
	at = sit(t, robot.prepared(t, "provider", "rotate", "slack"))
	at.sees(t, "New client secret of slack")
	assert.False(t, at.echoes(t))
	at.types(t, appSecret+"\n")
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.NotContains(t, got.complaint, appSecret)
	assert.Equal(t, true, op.read(t, "providers/slack")["former_secret_set"])

	root.write(t, "connections/user/u-17/openai", key(apiKey))
	got = op.connectors(t, "provider", "remove", "openai", "--yes")
	assert.Equal(t, 5, got.exit)
	assert.Contains(t, got.complaint, "1 connection")
	assert.Contains(t, got.complaint, "--force")
	at = sit(t, op.prepared(t, "provider", "remove", "openai", "--force"))
	at.sees(t, "Delete the provider openai .*connections may remain")
	at.types(t, "no\n")
	assert.Equal(t, 1, at.leaves(t).exit)
	assert.Equal(t, "openai", op.read(t, "providers/openai")["definition"])
	op.does(t, "provider", "remove", "openai", "--force", "--yes")
	op.absent(t, "providers/openai")
	at = sit(t, op.prepared(t, "provider", "remove", "slack"))
	at.sees(t, `Delete the provider slack \(id-2\)`)
	at.types(t, "y\n")
	require.Zero(t, at.leaves(t).exit)
	op.absent(t, "providers/slack")
}

// An auditor sees what there is by every filter, in pages or as one.
func TestConnectorsInventory(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	for _, path := range []string{"user/u-17/openai", "org/acme/openai", "org/acme/user/u-3/openai", "other"} {
		root.write(t, "connections/"+path, key(apiKey))
	}
	root.write(t, "connections/org/acme/openai", map[string]any{"label": "Team", "tags": "team=sales"})
	root.write(t, "connections/other", map[string]any{"disabled": true})
	auditor := root.logIn(t, "auditor", recipe(t, "policies/auditor.hcl"))
	paths := func(args ...string) (all []string) {
		t.Helper()
		got := auditor.does(t, append([]string{"inventory", "-o", "json"}, args...)...)
		answer := document[client.Inventory](t, got)
		assert.Empty(t, answer.Cursor)
		for _, row := range answer.Connections {
			all = append(all, row.Path)
		}
		return all
	}
	every := []string{"org/acme/openai", "org/acme/user/u-3/openai", "org/default/other", "user/u-17/openai"}
	assert.ElementsMatch(t, every, paths())
	assert.ElementsMatch(t, every, paths("--all", "--limit", "1"), "four pages are one document")
	assert.ElementsMatch(t, every, paths("--provider", "openai,slack", "--definition=openai", "--category=ai",
		"--kind=api_key", "--missing-scopes=false", "--shared=false", "--scope-drift=false", "--rotation-due=false",
		"--archived=false"))
	assert.ElementsMatch(t, every[:2], paths("org/acme"))
	assert.Equal(t, every[1:2], paths("org/acme/user/u-3"))
	assert.Equal(t, every[3:], paths("user/u-17"))
	assert.Equal(t, every[2:3], paths("--status", "disabled", "--status-reason", "disabled_by_person"))
	assert.Equal(t, every[:1], paths("--owner", "org/acme", "--tag", "team=sales", "--label", "Team"))
	for _, filter := range []string{
		"--expires-within=7d", "--reconnect-within=7d", "--archived", "--account=none", "--created-by=nobody",
		"--owner-missing", "--unchecked-for=7d",
	} {
		assert.Empty(t, paths(filter), filter)
	}
	got := auditor.does(t, "inventory", "--limit", "1")
	assert.Regexp(t, `org/acme/openai +openai +active +Team`, got.out)
	cursor := strings.TrimSpace(got.complaint[strings.LastIndex(got.complaint, "--cursor ")+len("--cursor "):])
	assert.Contains(t, auditor.does(t, "inventory", "--limit", "1", "--cursor", cursor).out, every[1])
	counts := auditor.does(t, "inventory", "--count-by", "status")
	assert.Regexp(t, `(?s)active +3\ndisabled +1\ntotal +4\n$`, counts.out)
	assert.Equal(t, map[string]int{"openai": 4},
		document[client.Inventory](t, auditor.does(t, "inventory", "--count-by", "provider", "-o", "json")).Counts)
	for says, args := range map[string][]string{
		"--owner is empty": {"--owner", ""}, "answers no pages": {"--all", "--count-by", "status"},
		"OWNER is": {"acme"}, "count_by": {"--count-by", "label"}, "expires_within": {"--expires-within", "soon"},
	} {
		got := auditor.connectors(t, append([]string{"inventory"}, args...)...)
		assert.Equal(t, 2, got.exit, "%v: %s", args, got.complaint)
		assert.Contains(t, got.complaint, says)
	}
	admin := root.logIn(t, "admin", recipe(t, "policies/org-admin.hcl"))
	assert.Contains(t, admin.does(t, "inventory", "org/acme/user/u-3").out, every[1], "by the path of the organization")
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	assert.Contains(t, alice.does(t, "inventory", "self").complaint, "there is none")
	assert.Equal(t, 4, alice.connectors(t, "inventory").exit)
}

// revoker may end many connections, which no policy to copy lets anybody: it is given to few.
const revoker = `
path "connectors/revoke"   { capabilities = ["update", "list"] }
path "connectors/revoke/*" { capabilities = ["read", "update", "delete", "list"] }
`

// Many are ended by a plan and its run; nobody ends other connections than those that the plan told.
func TestConnectorsRevoke(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	services := map[string]*service{}
	for _, name := range []string{"crm", "slow"} {
		s := root.newService(t, name)
		root.write(t, "providers/"+name, map[string]any{"endpoints": map[string]string{
			"authorize": s.URL + "/authorize", "token": s.URL + "/token", "identity": s.URL + "/userinfo",
			"revoke": s.URL + "/revoke",
		}, "client_secret": providertest.ClientSecret})
		s.adopt(t, name)
		services[name] = s
	}
	root.write(t, "connections/org/acme/openai", key(apiKey))
	boss := root.logIn(t, "boss", revoker)

	for says, args := range map[string][]string{
		"name at least one filter": {}, "--owner is empty": {"--provider=crm", "--owner="},
		"without filters": {"--all", "--kind=api_key"},
	} {
		got := boss.connectors(t, append([]string{"revoke"}, args...)...)
		assert.Equal(t, 2, got.exit, "%v: %s", args, got.complaint)
		assert.Contains(t, got.complaint, says)
	}
	// who waits may go away
	plan := document[client.Revocation](t, boss.does(t, "revoke", "--provider=slow", "-o", "json"))
	held, answers := late()
	services["slow"].Next(providers.StepRevoke, answers)
	at := sit(t, boss.prepared(t, "revoke", "run", plan.Job, "--expect", "1"))
	at.sees(t, "running: 0 of 1 done")
	within(t, held.made, "the service is asked")
	at.types(t, "\x03")
	at.sees(t, "connectors revoke cancel "+plan.Job)
	assert.Equal(t, 130, at.leaves(t).exit)
	close(held.sent)
	require.Eventually(t, func() bool {
		return strings.Contains(boss.connectors(t, "revoke", "show", plan.Job).out, "revoked=1")
	}, patience, 100*time.Millisecond, "it goes on by itself")

	got := boss.does(t, "revoke", "--provider", "crm", "--status", "active", "-o", "json")
	plan = document[client.Revocation](t, got)
	assert.Equal(t, []any{"planned", 1}, []any{plan.State, plan.Count})
	assert.Contains(t, got.complaint, "connectors revoke run "+plan.Job+" --expect 1")
	assert.Equal(t, "active", root.read(t, "connections/crm")["status"], "nothing is changed")

	assert.Equal(t, 2, boss.connectors(t, "revoke", "run", plan.Job).exit, "nobody to ask")
	assert.Equal(t, 5, boss.connectors(t, "revoke", "run", plan.Job, "--expect", "2").exit)
	assert.Equal(t, 3, boss.connectors(t, "revoke", "show", "aaaaaaaaaaaaaaaaaaaaaaaaaa").exit)
	for _, keys := range []string{"\x03", "n\n"} {
		at := sit(t, boss.prepared(t, "revoke", "run", plan.Job))
		at.sees(t, `End 1 connections \(provider=\["crm"\] status=\["active"\]\)`)
		at.types(t, keys)
		assert.Equal(t, map[string]int{"\x03": 130, "n\n": 1}[keys], at.leaves(t).exit)
	}
	assert.Regexp(t, `state +planned`, boss.does(t, "revoke", "show", plan.Job).out)
	at = sit(t, boss.prepared(t, "revoke", "run", plan.Job, "--then", "archive"))
	at.sees(t, "and archive them")
	at.types(t, "y\n")
	at.sees(t, "done: 1 of 1 done")
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Regexp(t, `outcomes +revoked=1`, got.out)
	assert.Equal(t, "archived", root.read(t, "connections/crm")["status"])

	// a key is ended by people, at the service
	plan = document[client.Revocation](t, boss.does(t, "revoke", "--owner", "org/acme", "-o", "json"))
	got = boss.connectors(t, "revoke", "run", plan.Job, "--expect", "1", "--wait")
	assert.Equal(t, 5, got.exit, got.complaint)
	assert.Regexp(t, `org/acme/openai +key`, got.out)
	assert.Contains(t, got.complaint, "left to do by hand")

	plan = document[client.Revocation](t, boss.does(t, "revoke", "--all", "-o", "json"))
	assert.Regexp(t, `state +cancelled`, boss.does(t, "revoke", "cancel", plan.Job).out)
	assert.Equal(t, 5, boss.connectors(t, "revoke", "run", plan.Job, "--expect", "3").exit)
	list := document[client.Revocations](t, boss.does(t, "revoke", "list", "-o", "json"))
	assert.Len(t, list.Keys, 4)
	assert.Equal(t, "cancelled", list.KeyInfo[plan.Job].State)
	assert.Contains(t, boss.does(t, "revoke", "list").out, "cancelled")
	assert.Equal(t, 4, root.logIn(t, "op", recipe(t, "policies/operator.hcl")).connectors(t, "revoke", "--all").exit)
}

// Whose a leaked secret is, is asked without it being an argument, or shown.
func TestConnectorsLookup(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	root.write(t, "connections/org/acme/openai", key(apiKey))
	finder := root.logIn(t, "finder", recipe(t, "policies/break-glass.hcl"))

	got := finder.brings(t, "Bearer "+apiKey+"\n", "lookup", "-o", "json")
	require.Zero(t, got.exit, got.complaint)
	match := document[client.Lookup](t, got).Matches[0]
	assert.Equal(t, []any{"connection", "living", "api_key", "org/acme/openai"},
		[]any{match.Of, match.Standing, match.Field, match.Path})
	at := sit(t, finder.prepared(t, "lookup", "--provider", "openai"))
	at.sees(t, "not shown: ")
	assert.False(t, at.echoes(t))
	at.types(t, "\x03")
	assert.Equal(t, 130, at.leaves(t).exit)
	assert.True(t, at.echoes(t))
	at = sit(t, finder.prepared(t, "lookup", "--provider", "openai"))
	at.sees(t, "not shown: ")
	at.types(t, apiKey+"\n")
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.NotContains(t, got.complaint+got.out, apiKey)
	assert.Regexp(t, `connection +org/acme/openai\nof +connection \(living\)`, got.out)
	assert.Regexp(t, `next_step +make a new one`, got.out)

	admin := root.logIn(t, "admin", recipe(t, "policies/org-admin.hcl"))
	require.Zero(t, admin.brings(t, apiKey, "lookup", "org/acme").exit)
	for name, c := range map[string]struct {
		stdin string
		args  []string
		exit  int
		says  string
	}{
		"unknown":        {otherAPIKey, nil, 3, "it is nobody's of the 1 connections"},
		"other provider": {apiKey, []string{"--provider", "slack"}, 2, "no provider"},
		"nothing":        {" \n", nil, 2, "nothing to look up"},
		"too short":      {"short", nil, 2, "20 characters"},
		"an argument":    {"", []string{apiKey}, 2, "no argument"},
		"no such job":    {"", []string{"--job", "aaaaaaaaaaaaaaaaaaaaaaaaaa"}, 3, "nothing is there"},
		"not allowed":    {apiKey, []string{"org/beta"}, 4, denied},
	} {
		who := finder
		if name == "not allowed" {
			who = admin
		}
		got := who.brings(t, c.stdin, append([]string{"lookup"}, c.args...)...)
		assert.Equal(t, c.exit, got.exit, "%s: %s", name, got.complaint)
		assert.Contains(t, got.complaint, c.says, name)
		assert.NotContains(t, got.complaint, apiKey, name)
	}
}

type found struct {
	Check    string `json:"check"`
	Result   string `json:"result"`
	Found    string `json:"found"`
	NextStep string `json:"next_step"`
}

// examined runs the doctor and gives what each check came to.
func examined(t *testing.T, cmd *exec.Cmd) (map[string]found, int) {
	t.Helper()
	cmd.Args = append(cmd.Args, "-o", "json")
	got := ran(t, cmd)
	checks := map[string]found{}
	for _, one := range document[[]found](t, got) {
		checks[one.Check] = one
		assert.Equal(t, one.Result == "ok", one.NextStep == "", "%+v", one)
	}
	return checks, got.exit
}

// through is Vault behind something that changes its answers, by https.
func through(t *testing.T, e *engine, change func(http.Header)) *httptest.Server {
	t.Helper()
	target, err := url.Parse(e.vault.Addr)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		change(r.Header)
		return nil
	}
	server := httptest.NewUnstartedServer(proxy)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of those who do not know its certificate
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// The doctor finds each fault that it looks for, and none where there is none.
func TestConnectorsDoctor(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	op := root.logIn(t, "op", recipe(t, "policies/operator.hcl"))
	doctor := func(e *engine, env ...string) (map[string]found, int) {
		t.Helper()
		cmd := e.prepared(t, "doctor")
		cmd.Env = append(cmd.Env, env...)
		return examined(t, cmd)
	}
	results := func(checks map[string]found) map[string]string {
		all := map[string]string{}
		for name, one := range checks {
			all[name] = one.Result
		}
		return all
	}
	sound := map[string]string{
		"address": "ok", "tls": "ok", "clock": "ok", "token": "ok", "mount": "ok", "version": "ok", "public_url": "ok",
		"framing": "warning", "providers": "ok", "status": "ok", "may connect": "warning", "may configure": "ok",
		"may see all": "ok", "may look up": "ok", "may end many": "ok",
	}
	checks, exit := doctor(op.engine)
	assert.Zero(t, exit)
	assert.Equal(t, sound, results(checks))
	assert.Contains(t, checks["framing"].NextStep, "vault secrets tune -allowed-response-headers=")
	assert.Equal(t, "yes", checks["may configure"].Found)
	got := op.does(t, "doctor")
	assert.Regexp(t, `(?m)^ok +address +`+op.vault.Addr, got.out)
	assert.Regexp(t, `(?m)^ +next: vault secrets tune`, got.out)

	tuned := root.cli(t, strings.Fields(strings.TrimPrefix(checks["framing"].NextStep, "vault "))...)
	require.Zero(t, tuned.exit, tuned.complaint)
	checks, _ = doctor(op.engine)
	assert.Equal(t, "ok", checks["framing"].Result, "what it said helps")

	root.write(t, "providers/crm", map[string]any{"definition": "slack", "client_id": "i"})
	checks, exit = doctor(op.engine)
	assert.Zero(t, exit)
	assert.Equal(t, "warning", checks["provider crm"].Result)
	assert.Contains(t, checks["provider crm"].NextStep, "connectors provider rotate crm")
	root.write(t, "config", map[string]any{"refresh_paused": true})
	checks, _ = doctor(op.engine)
	assert.Equal(t, "warning", checks["status"].Result)

	for public, words := range map[string]string{
		op.vault.Addr + "/v1/nowhere":      "does not lead to the page of this mount: it answers 403",
		"http://127.0.0.1:1/v1/" + op.path: "connection refused",
		"":                                 "not set",
	} {
		root.write(t, "config", map[string]any{"public_url": public})
		checks, exit = doctor(op.engine)
		assert.Equal(t, 1, exit, public)
		assert.Equal(t, "failure", checks["public_url"].Result, public)
		assert.Contains(t, checks["public_url"].Found, words)
	}
	assert.Contains(t, op.connectors(t, "doctor").complaint, "checks failed")
	root.write(t, "config", map[string]any{"public_url": op.url()})

	// what a token may not look at is no fault
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	checks, exit = doctor(alice.engine)
	assert.Zero(t, exit)
	for _, check := range []string{"public_url", "providers", "status"} {
		assert.Equal(t, "warning", checks[check].Result, check)
		assert.Contains(t, checks[check].Found, "may not read", check)
	}
	assert.Equal(t, "yes", checks["may connect"].Found)
	assert.Equal(t, "ok", checks["may configure"].Result)
	nobody := root.logIn(t, "nobody", `path "connectors/none" { capabilities = ["read"] }`)
	checks, exit = doctor(nobody.engine)
	assert.Equal(t, 1, exit)
	assert.Equal(t, "failure", checks["policies"].Result)

	for name, c := range map[string]struct {
		env    []string
		failed string
		words  string
	}{
		"away": {[]string{"VAULT_ADDR=http://127.0.0.1:1"}, "address", "refused"},
		"https": {
			[]string{"VAULT_ADDR=" + strings.Replace(op.vault.Addr, "http:", "https:", 1)}, "address", "VAULT_ADDR",
		},
		"no token":  {[]string{"VAULT_TOKEN="}, "token", "vault login"},
		"bad token": {[]string{"VAULT_TOKEN=hvs.planted"}, "token", "vault login"},
		"no mount":  {[]string{"CONNECTORS_MOUNT=secret"}, "mount", "secret/"},
	} {
		checks, exit := doctor(op.engine, c.env...)
		assert.Equal(t, 1, exit, name)
		assert.Equal(t, "failure", checks[c.failed].Result, "%s: %+v", name, checks)
		assert.Contains(t, checks[c.failed].Found+checks[c.failed].NextStep, c.words, name)
		assert.NotContains(t, checks["status"].Found, "connections", "%s: what rests on it is left out", name)
	}

	// through a proxy whose clock is not Vault's, and whose certificate nobody knows at first
	var skew atomic.Int64
	proxy := through(t, root, func(h http.Header) {
		h.Set("Date", time.Now().Add(time.Duration(skew.Load())).UTC().Format(http.TimeFormat))
	})
	checks, exit = doctor(op.engine, "VAULT_ADDR="+proxy.URL)
	assert.Equal(t, 1, exit)
	assert.Contains(t, checks["address"].NextStep, "VAULT_CACERT")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	var text bytes.Buffer
	require.NoError(t, pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw}))
	require.NoError(t, os.WriteFile(ca, text.Bytes(), 0o600))
	for _, c := range []struct {
		skew   time.Duration
		result string
		exit   int
	}{{0, "ok", 0}, {30 * time.Second, "warning", 0}, {-time.Hour, "failure", 1}} {
		skew.Store(int64(c.skew))
		checks, exit = doctor(op.engine, "VAULT_ADDR="+proxy.URL, "VAULT_CACERT="+ca)
		assert.Equal(t, c.exit, exit, "%s: %+v", c.skew, checks)
		assert.Equal(t, c.result, checks["clock"].Result, c.skew)
		assert.Equal(t, "ok", checks["tls"].Result)
		assert.Equal(t, "ok", checks["public_url"].Result, "%+v", checks["public_url"])
	}
}
