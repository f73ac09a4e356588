package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func newApp(t *testing.T) *app {
	t.Helper()
	folder := t.TempDir()
	file := func(name string) *os.File {
		f, err := os.Create(folder + "/" + name)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	return &app{Terminal: &terminal.Terminal{In: file("in"), Out: file("out"), Err: file("err")}}
}

// brings is what comes from stdin.
func (a *app) brings(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, a.In.Truncate(0))
	_, err := a.In.WriteAt([]byte(text), 0)
	require.NoError(t, err)
	_, err = a.In.Seek(0, 0)
	require.NoError(t, err)
}

func TestPathOf(t *testing.T) {
	for name, want := range map[string]string{
		"slack": "self/slack", "org/acme/slack": "org/acme/slack", "user/U-17@x/slack": "user/U-17@x/slack",
		"/slack/": "self/slack", "self/slack": "self/slack", "shared/user/u/slack": "shared/user/u/slack",
	} {
		got, err := pathOf(name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, name := range []string{"", "..", "a/../b", "a//b", "a\x1bb"} {
		_, err := pathOf(name)
		assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), "%q", name)
	}
}

func TestCodeOf(t *testing.T) {
	for code, errs := range map[int][]error{
		0: {nil},
		1: {errors.New("any"), &client.Error{Status: 500}, &client.Error{Status: 405}, &url.Error{Err: client.ErrNotSent}},
		2: {
			&client.Error{Status: 400}, terminal.ErrNobody, io.EOF, &client.NoMount{Found: []string{"a", "b"}}, wrongUse("x"),
		},
		3: {&client.Error{Status: 404}},
		4: {&client.Error{Status: 403}, &client.Error{Status: 401}, client.ErrNoToken, &client.NoMount{}},
		5: {&client.Error{Status: 409}},
		6: {
			&client.Error{Status: 502}, &client.Error{Status: 503}, &client.Error{Status: 429}, &client.Error{Status: 473},
			&url.Error{Err: errors.New("connection refused")}, &net.OpError{Op: "dial", Err: errors.New("connection refused")},
		},
	} {
		for _, err := range errs {
			assert.Equal(t, code, codeOf(t.Context(), err), "%v", err)
			if err != nil {
				assert.Equal(t, code, codeOf(t.Context(), fmt.Errorf("more: %w", err)), "%v", err)
			}
		}
	}
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	assert.Equal(t, codeInterrupted, codeOf(interrupted, context.Canceled))
	assert.Equal(t, codeInterrupted, codeOf(interrupted, &url.Error{Err: context.Canceled}))
	assert.Equal(t, 0, codeOf(interrupted, nil))
}

func TestBelow(t *testing.T) {
	base, err := url.Parse("https://api.example.com/v1/")
	require.NoError(t, err)
	for address, want := range map[string]string{
		"/me": "https://api.example.com/v1/me", "me?a=1&b=%2F": "https://api.example.com/v1/me?a=1&b=%2F",
		"/a%2Fb": "https://api.example.com/v1/a%2Fb", "": "https://api.example.com/v1/",
		"https://other.example.com/x": "https://other.example.com/x", "//other.example.com/x": "//other.example.com/x",
	} {
		got, err := below(base, address)
		require.NoError(t, err)
		assert.Equal(t, want, got.String())
	}
}

// A service that redirects elsewhere says in the address what it was asked, with the credential.
func TestRedirectIsToldWithoutTheCredential(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://www.example.com"+r.URL.RequestURI(), http.StatusFound)
	}))
	defer service.Close()
	mount := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{
			"api_key": "planted", "api_base": service.URL, "ttl": 300,
			"send": map[string]any{"query": map[string]any{"key": "planted"}},
		}})
	}))
	defer mount.Close()
	t.Setenv("VAULT_ADDR", mount.URL)
	t.Setenv("VAULT_TOKEN", "a token")
	c, err := client.FromEnvironment(t.Context(), "connectors")
	require.NoError(t, err)
	err = newApp(t).send(t.Context(), c, "self/x", "self/x", "/me", call{method: http.MethodGet}, nil)
	require.ErrorIs(t, err, client.ErrNotSent)
	assert.Contains(t, err.Error(), "www.example.com")
	assert.NotContains(t, err.Error(), "planted")
	assert.Equal(t, codeFailed, codeOf(t.Context(), err))
}

func credential(t *testing.T, fields string) *client.Credential {
	t.Helper()
	c := &client.Credential{}
	require.NoError(t, json.Unmarshal([]byte(fields), c))
	require.NoError(t, json.Unmarshal([]byte(fields), &c.Data))
	return c
}

func TestValueOf(t *testing.T) {
	token := credential(t, `{"access_token": "t", "provider": "slack", "expire_time": "x"}`)
	one := credential(t, `{"api_key": "k", "provider": "openai", "api_base": "https://x", "connection_config": {}}`)
	two := credential(t, `{"username": "u", "password": "p", "provider": "mail"}`)
	for _, c := range []struct {
		credential  *client.Credential
		field, want string
	}{{token, "", "t"}, {token, "access_token", "t"}, {one, "", "k"}, {two, "password", "p"}} {
		got, err := valueOf("self/x", c.credential, c.field)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	_, err := valueOf("self/x", two, "")
	assert.ErrorContains(t, err, "password, username")
	assert.NotContains(t, err.Error(), `"p"`)
	_, err = valueOf("self/x", token, "no_such")
	assert.ErrorContains(t, err, "access_token")
}

// What would be more than one header, or is not in headers alone, is not written for curl.
func TestWriteHeaders(t *testing.T) {
	for says, fields := range map[string]string{
		"not in headers alone": `{"send": {"headers": {"A": "b"}, "query": {"key": "k"}}}`,
		"address":              `{"send": {"path": "/bot1"}}`,
		"more than one line":   `{"send": {"headers": {"A": "b\r\nX-Evil: 1"}}}`, "does not say": `{}`,
	} {
		var out strings.Builder
		assert.ErrorContains(t, writeHeaders(&out, "self/x", credential(t, fields)), says)
		assert.Empty(t, out.String())
	}
}

func definition(t *testing.T, text string) *client.Definition {
	t.Helper()
	d := &client.Definition{}
	require.NoError(t, json.Unmarshal([]byte(text), d))
	return d
}

func TestReadKey(t *testing.T) {
	one := definition(t, `{"name": "One", "key_fields": {
		"api_key": {"required": true, "secret": true, "set_by": "connection"}, "organization": {"set_by": "connection"},
		"app_key": {"secret": true, "required": true, "set_by": "provider"}}}`)
	two := definition(t, `{"name": "Two", "key_fields": {
		"user": {"required": true, "secret": true, "set_by": "connection"},
		"password": {"required": true, "secret": true, "set_by": "connection"}}}`)
	file := definition(t, `{"name": "File", "key_fields": {
		"service_account": {"required": true, "secret": true, "set_by": "connection", "json": {"type": {}}}}}`)
	a := newApp(t)
	for _, c := range []struct {
		definition *client.Definition
		stdin      string
		want       map[string]string
	}{
		{one, "k\n", map[string]string{"api_key": "k"}},
		{one, "k\r\n", map[string]string{"api_key": "k"}},
		{one, `{"api_key": "k", "organization": "o"}`, map[string]string{"api_key": "k", "organization": "o"}},
		{two, `{"user": "u", "password": "p"}`, map[string]string{"user": "u", "password": "p"}},
		{file, `{"type": "service_account"}`, map[string]string{"service_account": `{"type": "service_account"}`}},
	} {
		fields := map[string]string{}
		a.brings(t, c.stdin)
		require.NoError(t, a.readKey(t.Context(), c.definition, fields), c.stdin)
		assert.Equal(t, c.want, fields)
	}
	for stdin, says := range map[string]string{
		"": "stdin is empty", "\n": "stdin is empty", "both": "one JSON object with password, user",
	} {
		a.brings(t, stdin)
		err := a.readKey(t.Context(), two, map[string]string{})
		assert.ErrorContains(t, err, says)
		assert.Equal(t, codeWrongUse, codeOf(t.Context(), err))
	}
	a.brings(t, strings.Repeat("k", maxKey+1))
	assert.ErrorContains(t, a.readKey(t.Context(), one, map[string]string{}), "more than a key")

	_, err := (&way{fields: map[string]string{"api_key": "k"}}).public(one)
	assert.ErrorContains(t, err, "is a secret")
	_, err = (&way{fields: map[string]string{"app_key": "k"}}).public(one)
	assert.ErrorContains(t, err, "has no field")
	assert.Equal(t, []string{"api_key"}, needed(one, map[string]string{}, nil))
	assert.Equal(t, []string{"user"}, needed(two, map[string]string{"password": "p"}, nil))
}

func TestRefusesASecretInAHeader(t *testing.T) {
	for _, header := range []string{"Authorization: Bearer x", "authorization:x", "nothing"} {
		err := (&call{headers: []string{header}}).judge()
		assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), header)
		assert.NotContains(t, err.Error(), "Bearer x")
	}
}

func TestSession(t *testing.T) {
	one, other := sessionValue(), sessionValue()
	assert.NotEqual(t, one, other)
	assert.Len(t, bindingOf(one), 43)
	assert.NotEqual(t, bindingOf(one), bindingOf(other))
}

// The page for people has each command and each flag, and none that does not exist.
func TestEverythingIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	page := string(text)
	cell := func(heading string) (all []string) {
		_, rest, found := strings.Cut(page, "\n| "+heading+" |")
		require.True(t, found, heading)
		table, _, _ := strings.Cut(rest, "\n\n")
		for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(table, -1) {
			for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
				all = append(all, name[1])
			}
		}
		return all
	}
	var commands, flags, documented []string
	root := newApp(t).root()
	long := func(f *pflag.Flag) {
		name := "--" + f.Name
		if f.Shorthand != "" && slices.Contains([]string{"method", "field", "header"}, f.Name) { // known by their short form
			name = "-" + f.Shorthand
		}
		flags = append(flags, name)
	}
	root.PersistentFlags().VisitAll(long)
	flags = append(flags, "-o")
	for _, cmd := range withBelow(root)[1:] {
		path := strings.TrimPrefix(cmd.CommandPath(), "connectors ")
		if strings.HasPrefix(path, "completion ") {
			continue
		}
		if path != "provider" && path != "git" { // which only have others below them
			commands = append(commands, path)
		}
		if path != "completion" {
			cmd.LocalNonPersistentFlags().VisitAll(long)
		}
	}
	for _, written := range append(cell("command"), cell("operator's command")...) {
		documented = append(documented, regexp.MustCompile(`^[a-z-]+( [a-z]+)*`).FindString(written))
	}
	slices.Sort(commands)
	slices.Sort(flags)
	slices.Sort(documented)
	assert.Equal(t, slices.Compact(commands), slices.Compact(documented))
	documented = nil
	for _, written := range cell("flag") {
		documented = append(documented, strings.Fields(written)[0])
	}
	slices.Sort(documented)
	assert.Equal(t, slices.Compact(flags), slices.Compact(documented))
}
