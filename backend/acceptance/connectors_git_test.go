package acceptance

import (
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// forge is a server of repositories, by TLS, that wants a credential as Git's password. On each request, and whenever
// its API is asked whether the credential works, it looks through the arguments of all processes.
type forge struct {
	*httptest.Server
	service *keyService
	ca      string // file

	mu        sync.Mutex
	refused   int
	arguments strings.Builder
}

const (
	forgeUser = "x-key"
	forgeKey  = "k-0123456789-of-the-forge" // no other test has it
)

func (e *engine) newForge(t *testing.T) *forge {
	t.Helper()
	backend, err := exec.Command("git", "--exec-path").Output()
	require.NoError(t, err)
	work, root := t.TempDir(), t.TempDir()
	for _, args := range [][]string{
		{"init", "--quiet", work},
		{"-C", work, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "--allow-empty", "-m", "one"},
		{"clone", "--quiet", "--bare", work, filepath.Join(root, "app.git")},
	} {
		out, err := exec.Command("git", args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	f := &forge{}
	serve := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	}
	f.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.look()
		user, password, given := r.BasicAuth()
		if !given || user != forgeUser || !f.service.takes(password) {
			if given {
				f.mu.Lock()
				f.refused++
				f.mu.Unlock()
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="forge"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		serve.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	f.ca = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(f.ca, pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Bytes: f.Certificate().Raw,
	}), 0o600))
	f.service = e.newKeyService(t, forgeKey)
	f.service.mu.Lock()
	f.service.seen = f.look
	f.service.mu.Unlock()
	file := filepath.Join(t.TempDir(), "forge.yaml")
	text := strings.ReplaceAll(keysYAML, "SERVICE", f.service.URL) +
		"git: {hosts: ['" + f.host() + "'], username: " + forgeUser + "}\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	made := e.cli(t, "write", "{mount}/providers/forge", "definition_yaml=@"+file)
	require.Zero(t, made.exit, made.complaint)
	return f
}

func (f *forge) host() string { return strings.TrimPrefix(f.URL, "https://") }

// look keeps what every user of the machine may read of the processes that run.
func (f *forge) look() {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range files {
		arguments, _ := os.ReadFile(file)
		f.arguments.WriteString(strings.ReplaceAll(string(arguments), "\x00", " ") + "\n")
	}
}

func (s *keyService) takes(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key == key
}

// checks is how often it was asked whose the key is.
func (s *keyService) checks() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.asked {
		if r.URL.Path == "/api/me" {
			n++
		}
	}
	return n
}

// home is a home directory with its own configuration of Git.
type home struct {
	*user
	forge  *forge
	folder string
}

func (h *home) at(cmd *exec.Cmd, folder string) *exec.Cmd {
	cmd.Dir = folder
	cmd.Env = append(cmd.Env, "HOME="+h.folder, "GIT_SSL_CAINFO="+h.forge.ca, "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_NOSYSTEM=1", "XDG_CONFIG_HOME=")
	return cmd
}

// connectors runs the command with that home.
func (h *home) connectors(t *testing.T, stdin string, args ...string) printed {
	t.Helper()
	cmd := h.at(h.prepared(t, args...), h.folder)
	cmd.Stdin = strings.NewReader(stdin)
	return ran(t, cmd)
}

// git runs Git in a folder.
func (h *home) git(t *testing.T, folder string, args ...string) printed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Env = h.prepared(t).Env
	return ran(t, h.at(cmd, folder))
}

// Git clones with a credential that is nowhere else: in no file of a helper that stores, and in no arguments. When it
// is refused it is checked once, and Git's user learns what to do.
func TestConnectorsGit(t *testing.T) {
	t.Parallel()
	root := newEngine(t)
	f := root.newForge(t)
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	alice.write(t, "connections/self/forge", map[string]any{"provider": "forge", "api_key": forgeKey})
	alice.write(t, "connections/self/desk", map[string]any{"provider": "desk", "api_key": forgeKey})
	newHome := func() (h *home, stored string) {
		h = &home{user: alice, forge: f, folder: t.TempDir()}
		stored = filepath.Join(h.folder, "stored")
		set := h.git(t, h.folder, "config", "--global", "credential.helper", "store --file="+stored)
		require.Zero(t, set.exit, set.complaint)
		return h, stored
	}
	h, stored := newHome()
	const app = "/app.git"
	assert.NotZero(t, h.git(t, h.folder, "clone", f.URL+app, "before").exit, "it wants a credential")

	for range 2 { // the second time changes nothing
		got := h.connectors(t, "", "git", "setup", "forge", "-o", "json")
		require.Zero(t, got.exit, got.complaint)
		assert.JSONEq(t, `{"hosts": ["`+f.host()+`"], "username": "`+forgeUser+`"}`, got.out)
		assert.Contains(t, got.complaint, "for "+f.URL+" from self/forge now")
	}
	helpers := h.git(t, h.folder, "config", "--global", "--get-all", "credential."+f.URL+".helper").out
	assert.Regexp(t, `^\n!'/.*/connectors' git-credential 'self/forge'\n$`, helpers)
	got := h.git(t, h.folder, "clone", f.URL+app, "clone")
	require.Zero(t, got.exit, got.complaint)
	assert.NotContains(t, got.out+got.complaint, forgeKey)
	assert.NoFileExists(t, stored)
	got = h.git(t, filepath.Join(h.folder, "clone"), "fetch")
	require.Zero(t, got.exit, got.complaint)
	assert.NoFileExists(t, stored)

	// a helper that stores and is configured behind would be told by Git, as it is told of the answer of any other
	weak, kept := newHome()
	helper := "credential." + f.URL + ".helper"
	set := func(h *home, name, value string) {
		added := h.git(t, h.folder, "config", "--global", "--add", name, value)
		require.Zero(t, added.exit, added.complaint)
	}
	set(weak, helper, "!printf 'username="+forgeUser+"\\npassword="+forgeKey+"\\n' #")
	require.Zero(t, weak.git(t, weak.folder, "clone", f.URL+app, "told").exit)
	content, err := os.ReadFile(kept)
	require.NoError(t, err)
	assert.Contains(t, string(content), forgeKey)

	late, kept := newHome()
	require.Zero(t, late.connectors(t, "", "git", "setup", "forge").exit)
	set(late, "credential.helper", "store --file="+kept) // after which both sections are there, and this one is first
	require.Zero(t, late.git(t, late.folder, "clone", f.URL+app, "first").exit)
	moved := late.git(t, late.folder, "config", "--global", "--unset-all", "credential.helper")
	require.Zero(t, moved.exit, moved.complaint)
	set(late, "credential.helper", "store --file="+kept)
	got = late.git(t, late.folder, "clone", f.URL+app, "second")
	assert.NotZero(t, got.exit)
	assert.Contains(t, got.complaint, "git setup self/forge")
	require.Zero(t, late.connectors(t, "", "git", "setup", "forge").exit)
	require.Zero(t, late.git(t, late.folder, "clone", f.URL+app, "third").exit)
	assert.NoFileExists(t, kept)

	asks := func(text string) printed { return h.connectors(t, text, "git-credential", "forge", "get") }
	got = asks("protocol=https\nhost=" + f.host() + "\nusername=somebody\n\n")
	require.Zero(t, got.exit, got.complaint)
	assert.Equal(t, "username="+forgeUser+"\npassword="+forgeKey+"\n", got.out)
	for text, says := range map[string]string{
		"protocol=http\nhost=" + f.host() + "\n":             "https alone",
		"protocol=https\nhost=127.0.0.1\n":                   "Git asks for 127.0.0.1",
		"protocol=https\nhost=" + f.host() + ".evil.com\n\n": "evil.com",
	} {
		got = asks(text)
		assert.Zero(t, got.exit, got.complaint)
		assert.Empty(t, got.out)
		assert.Contains(t, got.complaint, says)
	}
	got = asks("protocol=https\nhost=" + f.host() + "\rhost=evil.com\n")
	assert.Equal(t, 2, got.exit)
	assert.Equal(t, "quit=1\n", got.out)
	for _, operation := range []string{"store", "capability"} {
		got = h.connectors(t, "protocol=https\nhost="+f.host()+"\npassword=x\n", "git-credential", "forge", operation)
		assert.Equal(t, printed{}, got, operation)
	}
	for exit, args := range map[int][]string{
		2: {"git", "setup", "desk"}, 3: {"git", "setup", "absent"}, 1: {"git", "setup", "forge", "--local"},
	} {
		got = h.connectors(t, "", args...)
		assert.Equal(t, exit, got.exit, got.complaint)
		assert.Empty(t, got.out)
	}
	s := sit(t, h.at(h.prepared(t, "git-credential", "forge", "get"), h.folder))
	s.sees(t, "This is for Git")
	s.types(t, "\x03")
	got = s.leaves(t)
	assert.Equal(t, 130, got.exit)
	assert.Empty(t, got.out)
	assert.Equal(t, 2, h.connectors(t, "", "git", "setup", "forge", "--local", "--global").exit)
	assert.Equal(t, 2, h.connectors(t, "", "git", "stup").exit)

	// a refusal that is the host's own whim: the credential works
	before := f.service.checks()
	got = h.connectors(t, "protocol=https\nhost="+f.host()+"\npassword=x\n", "git-credential", "forge", "erase")
	assert.Zero(t, got.exit, got.complaint)
	assert.Contains(t, got.complaint, "which works")
	assert.Equal(t, before+1, f.service.checks())

	f.service.mu.Lock()
	f.service.key = "another key"
	f.service.mu.Unlock()
	alice.write(t, "connections/self/other", map[string]any{"provider": "forge", "api_key": forgeKey, "verify": false})
	local := h.at(h.prepared(t, "git", "setup", "other", "--local"), filepath.Join(h.folder, "clone"))
	require.Zero(t, ran(t, local).exit)
	before, f.refused = f.service.checks(), 0
	got = h.git(t, filepath.Join(h.folder, "clone"), "fetch")
	assert.NotZero(t, got.exit)
	assert.Equal(t, 1, f.refused)
	assert.Equal(t, before+1, f.service.checks(), "one check")
	assert.Contains(t, got.complaint, "self/other does not work (failed_validation", "this repository has its own")
	assert.NotContains(t, got.complaint, forgeKey)
	alice.write(t, "connections/self/other", map[string]any{"disabled": true})
	got = h.git(t, filepath.Join(h.folder, "clone"), "fetch")
	assert.NotZero(t, got.exit)
	assert.Contains(t, got.complaint, "disabled")
	assert.Contains(t, got.complaint, "told us to quit", "nobody is asked for a password")
	assert.NoFileExists(t, stored)

	got = h.connectors(t, "", "git", "setup", "forge", "--remove", "-o", "json")
	require.Zero(t, got.exit, got.complaint)
	assert.JSONEq(t, `{"hosts": ["`+f.host()+`"]}`, got.out)
	assert.Empty(t, h.git(t, h.folder, "config", "--global", "--get-regexp", "credential.https").out)
	again := h.connectors(t, "", "git", "setup", "forge", "--remove")
	assert.Zero(t, again.exit)
	assert.Contains(t, again.complaint, "has nothing of self/forge")

	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.arguments.String()
	has := func(text string) bool { return strings.Contains(seen, text) } // what others run here is shown to nobody
	for _, program := range []string{"remote-https", "git-credential forge erase", "git-credential self/other erase"} {
		assert.True(t, has(program), "%s was running when the arguments were read", program)
	}
	assert.False(t, has(forgeKey), "the key is in no arguments")
	assert.False(t, has(alice.vault.Token), "nor is the token of Vault")
}
