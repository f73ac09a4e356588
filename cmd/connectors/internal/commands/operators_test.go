package commands

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// mounted is a client of a mount that answers so, for what a real one does not show on demand.
func mounted(t *testing.T, answer func(r *http.Request) (status int, data map[string]any)) *client.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, data := answer(r)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}))
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", "a token")
	c, err := client.FromEnvironment(t.Context(), "connectors")
	require.NoError(t, err)
	return c
}

func (a *app) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(a.Err.Name())
	require.NoError(t, err)
	return string(text)
}

func parsed(t *testing.T, args ...string) (*filters, *cobra.Command, error) {
	t.Helper()
	f, cmd := &filters{}, &cobra.Command{}
	f.register(cmd)
	return f, cmd, cmd.ParseFlags(args)
}

// Each filter of the paths is a flag of its name.
func TestFiltersAreFlags(t *testing.T) {
	var wanted, flags []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[client.Filters]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		wanted = append(wanted, strings.ReplaceAll(name, "_", "-"))
	}
	_, cmd, err := parsed(t)
	require.NoError(t, err)
	cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f.Name) })
	assert.ElementsMatch(t, wanted, flags)

	f, cmd, err := parsed(t, "--status=expired,needs_reconnect", "--status", "disabled", "--shared=false", "--archived",
		"--expires-within", "7d")
	require.NoError(t, err)
	require.NoError(t, f.judge(cmd))
	no, yes := false, true
	assert.Equal(t, client.Filters{
		Status: []string{"expired", "needs_reconnect", "disabled"}, Shared: &no, Archived: &yes, ExpiresWithin: "7d",
	}, f.Filters)
	_, _, err = parsed(t, "--shared=perhaps")
	assert.Error(t, err)
}

// A variable of a script that is not set does not widen what is meant.
func TestEmptyFiltersAreRefused(t *testing.T) {
	for _, arg := range []string{"--owner=", "--provider=", "--status=expired,", "--label=", "--expires-within="} {
		f, cmd, err := parsed(t, "--kind=api_key", arg)
		require.NoError(t, err)
		err = f.judge(cmd)
		assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), arg)
		assert.ErrorContains(t, err, strings.SplitN(arg, "=", 2)[0]+" is empty")
	}
}

func TestInventoryOf(t *testing.T) {
	for owner, want := range map[string][2]string{
		"self": {"self", ""}, "org/acme": {"org/acme", ""}, "user/u-17": {"user/u-17", ""}, "/org/acme/": {"org/acme", ""},
		"org/acme/user/u-17": {"org/acme", "org/acme/user/u-17"},
	} {
		var f client.Filters
		got, err := inventoryOf(owner, &f)
		require.NoError(t, err)
		assert.Equal(t, want, [2]string{got, f.Owner}, owner)
	}
	for _, owner := range []string{"", "acme", "org", "org/acme/self", "user/u/x", "org/a/user/b/c"} {
		_, err := inventoryOf(owner, &client.Filters{})
		assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), owner)
	}
	_, err := inventoryOf("org/acme/user/u-17", &client.Filters{Owner: "org/acme"})
	assert.ErrorContains(t, err, "two owners")
}

// All pages are one document; pages that do not end are no endless loop.
func TestPagesOf(t *testing.T) {
	var asked []string
	next := map[string]string{"": "a", "a": "b", "b": ""}
	c := mounted(t, func(r *http.Request) (int, map[string]any) {
		cursor := r.URL.Query().Get("cursor")
		asked = append(asked, r.URL.Query().Encode())
		return 200, map[string]any{
			"connections": []any{map[string]any{"path": "org/x/after-" + cursor}}, "cursor": next[cursor],
			"unreadable": len(cursor),
		}
	})
	request := client.InventoryRequest{Filters: client.Filters{Kind: []string{"a", "b"}}}
	one, err := pagesOf(t.Context(), c, "", request, false)
	require.NoError(t, err)
	assert.Equal(t, "a", one.Cursor)
	assert.Len(t, one.Connections, 1)
	all, err := pagesOf(t.Context(), c, "", request, true)
	require.NoError(t, err)
	assert.Len(t, all.Connections, 3)
	assert.Len(t, all.Data["connections"], 3)
	assert.Equal(t, []any{"", 1}, []any{all.Data["cursor"], all.Data["unreadable"]})
	assert.Equal(t, []string{
		"kind=a%2Cb", "kind=a%2Cb&limit=1000", "cursor=a&kind=a%2Cb&limit=1000", "cursor=b&kind=a%2Cb&limit=1000",
	}, asked)
	next["b"] = "b"
	_, err = pagesOf(t.Context(), c, "", request, true)
	assert.ErrorContains(t, err, "do not end")
}

func TestPublicMount(t *testing.T) {
	for public, want := range map[string]string{
		"":                                "",
		"https://vault.example.com":       "https://vault.example.com/v1/team/connectors",
		"https://vault.example.com/":      "https://vault.example.com/v1/team/connectors",
		"https://example.com/v1/x":        "https://example.com/v1/x",
		"https://connect.example.com/all": "https://connect.example.com/all",
	} {
		assert.Equal(t, want, publicMount(public, "team/connectors"), public)
	}
}

func TestReadClientSecret(t *testing.T) {
	for text, want := range map[string]client.ClientSecret{
		"secret\n":                          {Secret: "secret"},
		"secret\r\n":                        {Secret: "secret"},
		" secret ":                          {Secret: " secret "},
		"-----BEGIN KEY-----\nx\n--END--\n": {Secret: "-----BEGIN KEY-----\nx\n--END--"},
		`{"client_secret": "s", "client_key_id": "7"}`: {Secret: "s", KeyID: "7"},
		`{"type": "a secret that is an object"}`:       {Secret: `{"type": "a secret that is an object"}`},
	} {
		got, err := readClientSecret(text)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{
		"", "\n", `{"client_secret": ""}`, `{"client_secret": 7}`, `{"client_secret": "planted", "other": "x"}`,
	} {
		_, err := readClientSecret(text)
		assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), text)
		assert.NotContains(t, err.Error(), "planted")
	}
}

// What is brought is written whole or not at all, and no error shows of it.
func FuzzReadClientSecret(f *testing.F) {
	f.Add("planted")
	f.Add(`{"client_secret": "planted", "client_key_id": "planted"}`)
	f.Add(`{"client_secret": ["planted"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readClientSecret(text)
		if err != nil {
			assert.NotContains(t, err.Error(), "planted")
			return
		}
		assert.NotEmpty(t, got.Secret)
	})
}

func TestOrFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(file, []byte("several\nlines\n"), 0o600))
	got, err := orFile("@" + file)
	require.NoError(t, err)
	assert.Equal(t, "several\nlines\n", got)
	got, err = orFile("plain")
	require.NoError(t, err)
	assert.Equal(t, "plain", got)
	_, err = orFile("@planted")
	assert.Equal(t, codeWrongUse, codeOf(t.Context(), err))
	assert.NotContains(t, err.Error(), "planted", "it may be a secret that begins so")
}

func TestReadObject(t *testing.T) {
	a := newApp(t)
	for text, want := range map[string]map[string]any{
		"": {"definition": "slack"}, " \n": {"definition": "slack"},
		`{"client_id": "i", "client_secret": "s", "assumed_ttl": 7}`: {
			"definition": "slack", "client_id": "i", "client_secret": "s", "assumed_ttl": json.Number("7"),
		},
	} {
		into := map[string]any{"definition": "slack"}
		a.brings(t, text)
		require.NoError(t, a.readObject(t.Context(), into), text)
		assert.Equal(t, want, into)
	}
	for _, text := range []string{"planted", `["planted"]`, "null", `{"a": "planted"} {}`, `{"definition": "planted"}`} {
		a.brings(t, text)
		err := a.readObject(t.Context(), map[string]any{"definition": "slack"})
		assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), text)
		assert.NotContains(t, err.Error(), "planted", text)
	}
}

func TestSecretsAreNoFlagsOfAProvider(t *testing.T) {
	d := definition(t, `{"name": "Ads", "key_fields": {
		"developer_token": {"required": true, "secret": true, "set_by": "provider"}, "manager": {"set_by": "provider"}}}`)
	for _, name := range []string{"client_secret", "developer_token", "companions"} {
		_, err := (&newProvider{fields: map[string]string{name: "planted"}}).public(d)
		assert.ErrorContains(t, err, name+" is a secret")
		assert.NotContains(t, err.Error(), "planted")
	}
	got, err := (&newProvider{service: "ads", fields: map[string]string{"manager": "7"}}).public(d)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"definition": "ads", "manager": "7"}, got)
	assert.Equal(t, []string{"developer_token", "manager"}, heldFields(d))
}

func TestEndOfRevocation(t *testing.T) {
	for code, jobs := range map[int][]client.Revocation{
		0:          {{State: "done", Count: 3, Done: 3}},
		codeFailed: {{State: "cancelled"}, {State: "expired"}},
		codePerson: {{State: "done", Failures: []client.Failure{{Path: "x"}}}, {State: "waiting", Left: 2}},
	} {
		for _, job := range jobs {
			assert.Equal(t, code, codeOf(t.Context(), endOfRevocation(&job)), job.State)
		}
	}
}

// A look-up that takes long is waited for; who does not wait is told how to read it.
func TestLookupWaits(t *testing.T) {
	states := []string{"running", "running", "found"}
	var asked []string
	ctx, stop := context.WithCancel(t.Context())
	interrupts := false
	c := mounted(t, func(r *http.Request) (int, map[string]any) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		state := states[min(len(asked), len(states))-1]
		if interrupts {
			stop()
		}
		return 200, map[string]any{"state": state, "job": "j1", "total": 9, "examined": len(asked)}
	})
	a := newApp(t)
	first, err := c.Lookup(ctx, "org/acme", client.LookupRequest{Token: "planted"})
	require.NoError(t, err)
	got, err := a.awaitLookup(ctx, c, "org/acme", first)
	require.NoError(t, err)
	assert.Equal(t, "found", got.State)
	assert.Equal(t, []string{
		"PUT /v1/connectors/lookup/org/acme", "GET /v1/connectors/lookup/org/acme/j1",
		"GET /v1/connectors/lookup/org/acme/j1",
	}, asked)
	assert.Contains(t, a.said(t), "1 of 9 connections")

	interrupts = true
	stop()
	_, err = a.awaitLookup(ctx, c, "org/acme", first)
	assert.Equal(t, codeInterrupted, codeOf(ctx, err))
	assert.Contains(t, a.said(t), "connectors lookup org/acme --job j1")
}

func TestEndOfLookup(t *testing.T) {
	for code, lookup := range map[int]client.Lookup{
		0: {State: "found", Unreadable: 1}, codeAbsent: {State: "unknown", Total: 7},
		codeFailed: {State: "unknown", Unreadable: 1},
	} {
		assert.Equal(t, code, codeOf(t.Context(), endOfLookup(&lookup)), strconv.Itoa(code))
	}
}

// readAll is what went to stdout.
func readAll(a *app) (string, error) {
	text, err := os.ReadFile(a.Out.Name())
	return string(text), err
}
