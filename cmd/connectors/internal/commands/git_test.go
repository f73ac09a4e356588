package commands

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseGit(t *testing.T) {
	const short = "protocol=https\nhost=github.com"
	const long = "capability[]=authtype\ncapability[]=state\nprotocol=http\nhost=h\nwwwauth[]=Basic realm=\"x\"\n"
	for text, want := range map[string]gitAsked{
		short: {"https", "github.com"}, short + "\n\n": {"https", "github.com"}, long: {"http", "h"},
		"protocol=https\nhost=h:8443\nusername=a=b\npath=\n\nhost=evil.com": {"https", "h:8443"},
	} {
		got, err := parseGit([]byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for text, says := range map[string]string{
		"":                                         "lacks protocol or host",
		"protocol=https\n":                         "lacks protocol or host",
		"protocol=https\nhost=\n":                  "lacks protocol or host",
		"protocol=https\nhost\n":                   "key=value",
		"=x\nprotocol=https\n":                     "key=value",
		"protocol=https\nhost=a\r":                 "CR and NUL",
		"protocol=https\nhost=a\rhost=b\n":         "CR and NUL",
		"protocol=https\nhost=a\x00b\n":            "CR and NUL",
		"protocol=https\nhost=a\nhost=b\n":         `"host" twice`,
		"protocol=https\nhost=a\nprotocol=https\n": `"protocol" twice`,
		"protocol=https\nhost=a\nusername=" + strings.Repeat("a", maxGitAsked) + "\n\n": "longer than",
	} {
		_, err := parseGit([]byte(text))
		assert.ErrorContains(t, err, says, "%.80q", text)
	}
}

// Whatever is read, it names one protocol and one host, each one line, and reads the same when it is written again.
func FuzzParseGit(f *testing.F) {
	f.Add([]byte("protocol=https\nhost=github.com\npath=a/b\nwwwauth[]=Basic\n\n"))
	f.Add([]byte("protocol=https\nhost=a\nhost=b"))
	f.Add([]byte("protocol=https\r\nhost=a\x00\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		asked, err := parseGit(text)
		if err != nil {
			assert.Empty(t, asked)
			return
		}
		assert.NotContains(t, asked.protocol+asked.host, "\n")
		assert.False(t, strings.ContainsAny(asked.protocol+asked.host, "\r\x00"))
		assert.LessOrEqual(t, len(text), maxGitAsked)
		again, err := parseGit(fmt.Appendf(nil, "protocol=%s\nhost=%s\n\n", asked.protocol, asked.host))
		require.NoError(t, err)
		assert.Equal(t, asked, again)
	})
}

// Only for the very host, and as one line each.
func TestGitShows(t *testing.T) {
	a := newApp(t)
	const git = `"git": {"hosts": ["github.com", "127.0.0.1:8443"], "username": "x-access-token"}`
	token := credential(t, `{"access_token": "t", "provider": "github", "expire_time": "2026-11-29T12:00:00Z", `+git+`}`)
	for host, want := range map[string]string{
		"github.com":     "username=x-access-token\npassword=t\npassword_expiry_utc=1795953600\n",
		"127.0.0.1:8443": "username=x-access-token\npassword=t\npassword_expiry_utc=1795953600\n",
		"GitHub.com":     "", "github.com.evil.com": "", "github.com:443": "", "127.0.0.1": "", "sub.github.com": "",
	} {
		got, err := a.gitShows("self/x", host, token)
		require.NoError(t, err, host)
		assert.Equal(t, want, got, host)
	}
	told, err := os.ReadFile(a.Err.Name())
	require.NoError(t, err)
	assert.Contains(t, string(told), "self/x is for github.com and 127.0.0.1:8443, and Git asks for sub.github.com")

	key := credential(t, `{"token": "k", "provider": "gitlab", "expire_time": "", `+git+`}`)
	got, err := a.gitShows("self/x", "github.com", key)
	require.NoError(t, err)
	assert.Equal(t, "username=x-access-token\npassword=k\n", got)
	for says, fields := range map[string]string{
		"does not say where Git": `{"access_token": "planted"}`,
		"none that Git can show": `{"access_token": "planted\nhost=evil.com", ` + git + `}`,
		"more than one line":     `{"access_token": "planted\rx", ` + git + `}`,
		"it is empty":            `{"access_token": "planted", "git": {"hosts": ["github.com"], "username": ""}}`,
		"several fields":         `{"user": "u", "password": "planted", ` + git + `}`,
	} {
		got, err := a.gitShows("self/x", "github.com", credential(t, fields))
		assert.ErrorContains(t, err, says)
		assert.Empty(t, got)
		assert.NotContains(t, err.Error(), "planted")
	}
}

// Where the credential cannot be had, Git stops, and does not ask for a password; the person learns why.
func TestGitGetStopsGit(t *testing.T) {
	status := http.StatusConflict
	mount := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"errors": ["connection self/gh must be connected again"]}`)
	}))
	defer mount.Close()
	t.Setenv("VAULT_ADDR", mount.URL)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	for code, answered := range map[int]int{
		codePerson: http.StatusConflict, codeAway: http.StatusBadGateway, codeNotAllowed: http.StatusForbidden,
	} {
		status = answered
		t.Setenv("VAULT_TOKEN", "a token")
		a := newApp(t)
		a.mount = "connectors"
		a.brings(t, "protocol=https\nhost=github.com\n\n")
		err := a.gitGet(t.Context(), "self/gh", "self/gh")
		assert.Equal(t, code, codeOf(t.Context(), err), "%v", err)
		out, readErr := os.ReadFile(a.Out.Name())
		require.NoError(t, readErr)
		assert.Equal(t, "quit=1\n", string(out))
		assert.ErrorContains(t, err, "must be connected again")
		assert.Equal(t, code == codePerson, errors.As(err, new(*stepped)))
	}
}

func TestGitHelpers(t *testing.T) {
	one, err := gitHelper("/opt/my tools/it's/connectors", "a b", "self/gh")
	require.NoError(t, err)
	assert.Equal(t, `!'/opt/my tools/it'\''s/connectors' git-credential --mount 'a b' 'self/gh'`, one)
	path, own := gitOwn(one)
	assert.True(t, own)
	assert.Equal(t, "self/gh", path)
	other, err := gitHelper("/bin/connectors", "", "org/acme/it")
	require.NoError(t, err)
	for _, helper := range []string{
		"", "store", "!/usr/bin/gh auth git-credential", "!'/bin/x' git-credential", one + " x",
	} {
		_, own := gitOwn(helper)
		assert.False(t, own, helper)
	}
	_, err = gitHelper("/bin/connectors", "a\nb", "self/gh")
	assert.Error(t, err)

	with := func(before []string, want ...string) { assert.Equal(t, want, gitWith(before, one)) }
	with(nil, "", one)
	with([]string{"", one}, "", one)
	with([]string{"", other}, "", one)
	with([]string{"store"}, "store", "", one)
	with([]string{"", "!gh", "", other}, "", "!gh", "", one)
	with([]string{"", one, "", "!gh"}, "", "!gh", "", one) // somebody else came after us
	without := func(before []string, want ...string) {
		assert.Equal(t, want, gitWithout(before, func(of string) bool { return of == "self/gh" }))
	}
	without([]string{"", "!gh", "", one}, "", "!gh")
	without([]string{"store", one}, "store")
	without([]string{"", other}, "", other)
}

// Who is told of a credential beside us, as Git reads its configuration from the first line to the last.
func TestGitOthers(t *testing.T) {
	const ours = "!'/bin/connectors' git-credential 'self/gh'"
	const all, url = "credential.helper", "credential.https://h.example.com:8443.helper"
	for _, c := range []struct {
		entries []gitEntry
		want    []string
	}{
		{nil, nil},
		{[]gitEntry{{all, "store"}}, nil}, // Git does not ask us
		{[]gitEntry{{all, "store"}, {url, ""}, {url, ours}}, nil},
		{[]gitEntry{{all, "store"}, {url, ours}}, []string{"store"}},
		{[]gitEntry{{url, ""}, {url, ours}, {all, "store"}}, []string{"store"}},
		{[]gitEntry{{url, ""}, {url, ours}, {all, "store"}, {all, ""}}, nil},
		{[]gitEntry{{url, ""}, {url, ours}, {"credential.https://h.example.com:8443/app.helper", "x"}}, []string{"x"}},
		{[]gitEntry{{url, ""}, {url, ours}, {"credential.https://me@h.example.com:8443.helper", "x"}}, []string{"x"}},
		{[]gitEntry{{url, ""}, {url, ours}, {"credential.https://*.example.com:8443.helper", "x"}}, []string{"x"}},
		{[]gitEntry{{url, ""}, {url, ours}, {"credential.h.example.com:8443.helper", "x"}}, []string{"x"}},
		{[]gitEntry{{url, ""}, {url, ours}, {"credential.https://other.example.com.helper", "x"}}, nil},
		{[]gitEntry{{all, "x"}, {all, "!connectors git-credential gh"}}, []string{"x"}},
		{[]gitEntry{{all, ours}, {url, ""}, {url, "x"}}, nil}, // nor here
	} {
		assert.Equal(t, c.want, gitOthers(c.entries, "h.example.com:8443"), "%v", c.entries)
	}
}

// What is written is read by Git as it was meant, however the words are spelled, and taken away again without a trace.
func TestGitConfig(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	config := gitConfig{scope: "--global"}
	file := filepath.Join(os.Getenv("HOME"), ".gitconfig")
	const before = "[user]\n\tname = x\n[credential \"https://a.example.com:8443\"]\n\thelper = \n\thelper = !gh\n"
	require.NoError(t, os.WriteFile(file, []byte(before), 0o600))

	folder := filepath.Join(t.TempDir(), `o'n "e" \$HOME;`)
	require.NoError(t, os.Mkdir(folder, 0o700))
	program := filepath.Join(folder, "connectors")
	const script = "#!/bin/sh\nprintf 'username=%s|' \"$@\"; echo; echo password=p\n"
	require.NoError(t, os.WriteFile(program, []byte(script), 0o700))
	helper, err := gitHelper(program, `m $(id) 'x' #`, "self/gh")
	require.NoError(t, err)
	const key, other = "credential.https://a.example.com:8443.helper", "credential.https://b.example.com.helper"
	set := func(key string, values func(before []string) []string) {
		t.Helper()
		was, err := config.values(t.Context(), key)
		require.NoError(t, err)
		require.NoError(t, config.write(t.Context(), key, was, values(was)))
	}
	add := func(helpers []string) []string { return gitWith(helpers, helper) }
	for range 2 {
		set(key, add)
		set(other, add)
		all, err := config.helpers(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []gitEntry{
			{key, ""}, {key, "!gh"}, {key, ""}, {key, helper}, {other, ""}, {other, helper},
		}, all)
	}
	fill := exec.CommandContext(t.Context(), "git", "credential", "fill")
	fill.Stdin = strings.NewReader("protocol=https\nhost=a.example.com:8443\n\n")
	out, err := fill.Output()
	require.NoError(t, err)
	assert.Contains(t, string(out),
		"username=git-credential|username=--mount|username=m $(id) 'x' #|username=self/gh|username=get|\n")

	gone := func(helpers []string) []string { return gitWithout(helpers, func(string) bool { return true }) }
	set(key, gone)
	set(other, gone)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before, string(after))
	_, err = gitConfig{scope: "--nowhere"}.values(t.Context(), key)
	assert.ErrorContains(t, err, "git config --nowhere")
}

// Git gets an answer by https alone, and none that it would hand on; what it rejects is checked, once.
func TestGitCredential(t *testing.T) {
	v := newVault(t, map[string]map[string]any{
		"creds/self/gh": {
			"access_token": "planted-token", "provider": "github",
			"git": map[string]any{"hosts": []string{"h.example.com"}, "username": "x-access-token"},
		},
		"check/self/gh": {"status": "active", "token_valid": "true", "service": "well"},
	})
	home := t.TempDir()
	v.env = append(v.env, "HOME="+home, "XDG_CONFIG_HOME=", "GIT_CONFIG_NOSYSTEM=1")
	configured := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(text), 0o600))
	}
	const asks, ours = "protocol=https\nhost=h.example.com\n\n", "[credential]\n\thelper = !connectors git-credential gh\n"
	const shown = "username=x-access-token\npassword=planted-token\n"
	for _, c := range []struct {
		config, asks, out string
		code              int
		says              string
	}{
		{"", asks, shown, 0, ""},
		{ours, asks, shown, 0, ""},
		{ours + "\thelper = store\n", asks, "quit=1\n", codeFailed, `"store"`},
		{"[credential]\n\thelper = store\n\thelper =\n" + ours, asks, shown, 0, ""},
		{ours, "protocol=http\nhost=h.example.com\n\n", "", 0, "is for https alone"},
		{ours, "protocol=https\nhost=other.example.com\n\n", "", 0, "is for h.example.com"},
		{ours, "protocol=https\n\n", "quit=1\n", codeWrongUse, "lacks protocol or host"},
	} {
		configured(c.config)
		got := v.runs(t, c.asks, "git-credential", "gh", "get")
		assert.Equal(t, c.out, got.out, "%+v", c)
		assert.Equal(t, c.code, got.code, got.err)
		assert.Contains(t, got.err, c.says)
		assert.NotContains(t, got.err, "planted")
	}
	assert.Empty(t, v.changed())
	got := v.runs(t, "protocol=http\nhost=h.example.com\n\n", "git-credential", "gh", "erase")
	assert.Equal(t, 0, got.code, got.err)
	assert.Empty(t, v.changed())
	got = v.runs(t, asks, "git-credential", "gh", "erase")
	assert.Equal(t, 0, got.code, got.err)
	assert.Equal(t, []string{"check/self/gh null"}, v.changed())
	got = v.runs(t, asks+"password=planted\n", "git-credential", "gh", "store")
	assert.Equal(t, endedRun{}, got)
}

// A host that could mean more than itself in Git's configuration is not written there; what is taken away is what was
// written for that connection, and nothing else.
func TestGitSetup(t *testing.T) {
	git := func(host string) map[string]any {
		return map[string]any{
			"access_token": "planted-token", "git": map[string]any{"hosts": []string{host}, "username": "x"},
		}
	}
	v := newVault(t, map[string]map[string]any{"creds/self/a": git("a.example.com"), "creds/self/b": git("b.example.com")})
	home := t.TempDir()
	v.env = append(v.env, "HOME="+home, "XDG_CONFIG_HOME=", "GIT_CONFIG_NOSYSTEM=1")
	file := filepath.Join(home, ".gitconfig")
	for _, host := range []string{"*.example.com", "a.example.com/x", "me@a.example.com", "a b", "a\nb", "", "A.example"} {
		v.docs["creds/self/odd"] = git(host)
		got := v.runs(t, "", "git", "setup", "odd")
		assert.Equal(t, codeFailed, got.code, host)
		assert.NoFileExists(t, file, host)
	}
	for _, name := range []string{"a", "b"} {
		got := v.runs(t, "", "git", "setup", name)
		require.Equal(t, 0, got.code, got.err)
	}
	got := v.runs(t, "", "git", "setup", "a", "--remove")
	require.Equal(t, 0, got.code, got.err)
	assert.NotContains(t, got.err, "b.example.com")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "a.example.com")
	assert.Contains(t, string(text), "b.example.com")
}
