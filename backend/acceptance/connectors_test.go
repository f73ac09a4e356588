package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// commandLine is the connectors binary: the one of CONNECTORS_BIN, else one that is built once.
var commandLine = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("CONNECTORS_BIN"); bin != "" {
		return bin, nil
	}
	folder, err := os.MkdirTemp("", "connectors-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(folder, "connectors")
	out, err := exec.Command("go", "build", "-o", bin, "../../cmd/connectors").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the command line: %w: %s", err, out)
	}
	return bin, nil
})

// prepared is a run of the connectors command, by whoever holds the engine's token. The mount is found by its type
// where mine sees one alone.
func (e *engine) prepared(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := commandLine()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "VAULT_ADDR=" + e.vault.Addr, "VAULT_TOKEN=" + e.vault.Token,
		"VAULT_MAX_RETRIES=0", "TERM=xterm-256color",
	}
	return cmd
}

// ran runs it without a terminal.
func ran(t *testing.T, cmd *exec.Cmd) printed {
	t.Helper()
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		require.NoError(t, err)
	}
	return printed{out: out.String(), complaint: complaint.String(), exit: cmd.ProcessState.ExitCode()}
}

func (e *engine) connectors(t *testing.T, args ...string) printed {
	t.Helper()
	return ran(t, e.prepared(t, args...))
}

// does runs it and asserts that it succeeds.
func (e *engine) does(t *testing.T, args ...string) printed {
	t.Helper()
	got := e.connectors(t, args...)
	require.Zero(t, got.exit, "%v: %s", args, got.complaint)
	return got
}

// seat is a person at a terminal in front of a running command.
type seat struct {
	cmd    *exec.Cmd
	ends   chan error
	person *os.File // the end of the terminal that has keys and a screen
	tty    *os.File
	out    *bytes.Buffer // data, which goes to a pipe

	mu     sync.Mutex
	screen strings.Builder
	shown  chan struct{}
}

// sit starts a command whose stdin and stderr are a terminal.
func sit(t *testing.T, cmd *exec.Cmd) *seat { return sitting(t, cmd, false) }

// sitting starts one whose stdout may be the terminal too.
func sitting(t *testing.T, cmd *exec.Cmd, shows bool) *seat {
	t.Helper()
	person, tty, err := pty.Open()
	require.NoError(t, err)
	s := &seat{
		cmd: cmd, person: person, tty: tty, out: &bytes.Buffer{}, shown: make(chan struct{}, 1), ends: make(chan error, 1),
	}
	t.Cleanup(func() { person.Close(); tty.Close() })
	cmd.Stdin, cmd.Stderr, cmd.Stdout = tty, tty, s.out
	if shows {
		cmd.Stdout = tty
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	require.NoError(t, cmd.Start())
	go s.watch()
	go func() { s.ends <- cmd.Wait() }()
	return s
}

func (s *seat) watch() {
	part := make([]byte, 4096)
	for {
		n, err := s.person.Read(part)
		s.mu.Lock()
		s.screen.Write(part[:n])
		s.mu.Unlock()
		select {
		case s.shown <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (s *seat) reads() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.String()
}

// sees waits until the screen has what the pattern says, and gives its first group.
func (s *seat) sees(t *testing.T, pattern string) string {
	t.Helper()
	looks := regexp.MustCompile(pattern)
	patient := time.NewTimer(patience)
	defer patient.Stop()
	for {
		if found := looks.FindStringSubmatch(s.reads()); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-s.shown:
		case <-patient.C:
			require.FailNow(t, "the screen does not show it", "%s\n\n%s", pattern, s.reads())
		}
	}
}

func (s *seat) types(t *testing.T, text string) {
	t.Helper()
	_, err := s.person.WriteString(text)
	require.NoError(t, err)
}

// leaves waits for the end of the command.
func (s *seat) leaves(t *testing.T) printed {
	t.Helper()
	select {
	case <-s.ends:
	case <-time.After(patience):
		require.FailNow(t, "the command does not end", s.reads())
	}
	const over = "\x1e" // behind all that the command wrote, which may be on its way to the screen still
	_, err := s.tty.WriteString(over)
	require.NoError(t, err)
	s.sees(t, over)
	return printed{
		out: s.out.String(), complaint: strings.ReplaceAll(s.reads(), over, ""), exit: s.cmd.ProcessState.ExitCode(),
	}
}

// echoes reports whether the terminal shows what is typed.
func (s *seat) echoes(t *testing.T) bool {
	t.Helper()
	stty := exec.CommandContext(t.Context(), "stty", "-a")
	stty.Stdin = s.tty
	out, err := stty.Output()
	require.NoError(t, err)
	return !strings.Contains(string(out), "-echo ")
}

const authorizeAt = `(https?://\S+/auth\S*)`

// ledOn is where a callback page sends the browser.
var ledOn = regexp.MustCompile(`<a class="action" href="([^"]+)"`)

// walks takes a person's browser from an address to Vault's page.
func (e *engine) walks(t *testing.T, start, provider string) *stack.Page {
	t.Helper()
	page, err := stack.NewRobot(person).Visit(t.Context(), start, e.callback(provider))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, page.Status, page.Body)
	return page
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// commuter is a person with the policies to copy and an OpenID provider to connect.
func commuter(t *testing.T) (*signIn, *user) {
	t.Helper()
	s := newSignIn(t)
	return s, s.logIn(t, "alice", recipe(t, "policies/own.hcl"))
}

// A whole life of a connection, with a terminal and by pasting what the browser shows.
func TestConnectorsByPasting(t *testing.T) {
	t.Parallel()
	s, alice := commuter(t)
	path := "user/" + alice.entity + "/idp"

	at := sit(t, alice.prepared(t, "connect", "idp", "--no-browser"))
	code := confirmationCode(t, s.walks(t, at.sees(t, authorizeAt), "idp"))
	at.sees(t, "Type the code")
	at.types(t, "hello\n")
	at.sees(t, "eight letters")
	at.types(t, "AAAA-AAAA\n")
	at.sees(t, `does not match \(1 of 5`)
	at.types(t, code+"\n")
	got := at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Regexp(t, `connection +`+path, got.out)
	assert.Regexp(t, `status +active`, got.out)
	assert.NotContains(t, got.out, "\x1b", "data goes to a pipe here")

	got = alice.does(t, "list")
	assert.Regexp(t, `(?m)^self/idp +idp +active$`, got.out)
	assert.Empty(t, got.complaint)
	var document map[string]any
	require.NoError(t, json.Unmarshal([]byte(alice.does(t, "show", "idp", "-o", "json").out), &document))
	assert.Equal(t, alice.read(t, "connections/self/idp"), document, "one document with the path's own fields")
	assert.Contains(t, alice.does(t, "history", "idp").out, "connect")

	token := strings.TrimSpace(alice.does(t, "token", "idp").out)
	assert.True(t, knows(t, s.server, token))
	assert.Equal(t, "Authorization: Bearer "+token+"\n", alice.does(t, "token", "idp", "--header").out)
	assert.Regexp(t, `self/idp +active +true +well`, alice.does(t, "check", "idp").out)
	require.NoError(t, json.Unmarshal([]byte(alice.does(t, "check", "--all", "-o", "json").out), &document))
	assert.Equal(t, "true", document["self/idp"].(map[string]any)["token_valid"])

	got = alice.connectors(t, "connect", "idp", "--no-browser")
	assert.Equal(t, 2, got.exit)
	assert.Contains(t, got.complaint, "is there already")
	got = alice.connectors(t, "reconnect", "idp", "--no-browser")
	assert.Equal(t, 2, got.exit)
	assert.Contains(t, got.complaint, "no terminal")

	got = alice.connectors(t, "disconnect", "idp")
	assert.Equal(t, 2, got.exit)
	assert.Contains(t, got.complaint, "--yes")
	at = sit(t, alice.prepared(t, "disconnect", "idp"))
	at.sees(t, `Delete `+path)
	at.types(t, "\n")
	assert.Equal(t, 1, at.leaves(t).exit)
	assert.Equal(t, "active", alice.read(t, "connections/self/idp")["status"])
	at = sit(t, alice.prepared(t, "disconnect", "idp"))
	at.sees(t, "Delete")
	at.types(t, "y\n")
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Contains(t, got.complaint, path+" is disconnected")
	alice.absent(t, "connections/self/idp")
	assert.False(t, knows(t, s.server, token), "the grant was revoked")
	assert.Contains(t, alice.does(t, "list").complaint, "nothing is connected")
}

// The browser comes back by itself, or its address is pasted: what comes first ends it.
func TestConnectorsByLoopback(t *testing.T) {
	t.Parallel()
	s, alice := commuter(t)

	port := freePort(t)
	piped := alice.prepared(t, "connect", "idp", "--as", "work", "--port", port, "-o", "json")
	said := &seat{shown: make(chan struct{}, 1)}
	read, write, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { read.Close() })
	said.person = read
	var out bytes.Buffer
	piped.Stdout, piped.Stderr = &out, write
	require.NoError(t, piped.Start())
	write.Close()
	go said.watch()
	page := s.walks(t, said.sees(t, authorizeAt), "idp")
	to := ledOn.FindStringSubmatch(page.Body)
	require.NotNil(t, to, page.Body)
	address := html.UnescapeString(to[1])
	require.True(t, strings.HasPrefix(address, "http://127.0.0.1:"+port+"/connected?flow_id="), address)
	assert.Contains(t, page.Body, `http-equiv="refresh"`)
	back := get(t, strings.Split(address, "?")[0], nil)
	assert.Equal(t, http.StatusOK, back.Status, "a stranger gets the same page and ends nothing")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	arrived := open(t, req)
	assert.Equal(t, back.Body, arrived.Body)
	require.NoError(t, piped.Wait(), said.reads())
	var made map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &made))
	assert.Equal(t, "active", made["status"])
	assert.Equal(t, "work", made["name"])
	_, err = net.DialTimeout("tcp4", "127.0.0.1:"+port, time.Second)
	assert.Error(t, err, "nobody listens any more")

	at := sit(t, alice.prepared(t, "connect", "idp", "--as", "pasted", "--port", freePort(t)))
	page = s.walks(t, at.sees(t, authorizeAt), "idp")
	at.sees(t, "comes back here by itself")
	at.types(t, html.UnescapeString(ledOn.FindStringSubmatch(page.Body)[1])+"\n")
	got := at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Equal(t, "active", alice.read(t, "connections/self/pasted")["status"])

	// an operator switched it off: the code is typed, where there is a terminal to type it at
	s.write(t, "config", map[string]any{"loopback_return": false})
	got = alice.connectors(t, "connect", "idp", "--as", "off", "--port", freePort(t))
	assert.Equal(t, 2, got.exit)
	assert.Contains(t, got.complaint, "loopback_return=false")
	at = sit(t, alice.prepared(t, "connect", "idp", "--as", "off", "--port", freePort(t)))
	code := confirmationCode(t, s.walks(t, at.sees(t, authorizeAt), "idp"))
	at.sees(t, "Type the code")
	at.types(t, strings.ToLower(code)+"\n")
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)

	at = sit(t, alice.prepared(t, "reconnect", "off", "--no-browser"))
	code = confirmationCode(t, s.walks(t, at.sees(t, authorizeAt), "idp"))
	at.types(t, code+"\n")
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Contains(t, got.complaint, "user/"+alice.entity+"/off: active")
}

// keyService takes keys and tells what it was asked.
type keyService struct {
	*httptest.Server
	mu    sync.Mutex
	key   string
	asked []*http.Request
	body  string
	seen  func() // on each request, if it is set
}

const keysYAML = `
name: Keys
kinds: [api_key]
api_base: SERVICE/api
endpoints: {identity: SERVICE/api/me}
key:
  fields: [{name: api_key, required: true, secret: true, help: made under Settings}]
  send: {headers: {X-Key: '{api_key}'}}
identity: {}
account: {id: [id]}
`

// newKeyService is one that the mount has a definition of, under the provider "desk".
func (e *engine) newKeyService(t *testing.T, key string) *keyService {
	t.Helper()
	s := &keyService{key: key}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		s.asked, s.body = append(s.asked, r), body.String()
		if s.seen != nil {
			s.seen()
		}
		switch {
		case r.Header.Get("X-Key") != s.key:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/api/away":
			http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusFound)
		case r.URL.Path == "/api/led":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
		case r.URL.Path == "/api/absent":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Path == "/api/down":
			w.WriteHeader(http.StatusBadGateway)
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{"id": "account-1"})
		}
	}))
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "desk.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(keysYAML, "SERVICE", s.URL)), 0o600))
	made := e.cli(t, "write", "{mount}/providers/desk", "definition_yaml=@"+file)
	require.Zero(t, made.exit, made.complaint)
	return s
}

const deskKey = "k-0123456789-of-the-desk"

// A key is asked for by its name and not shown, or comes by a pipe; it is used, and never an argument.
func TestConnectorsKeys(t *testing.T) {
	t.Parallel()
	root := newEngine(t)
	service := root.newKeyService(t, deskKey)
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))

	at := sit(t, alice.prepared(t, "connect", "desk"))
	at.sees(t, `api_key \(made under Settings\), not shown: `)
	assert.False(t, at.echoes(t), "nothing shows once the question does")
	at.types(t, "\x03")
	assert.Equal(t, 130, at.leaves(t).exit, "Ctrl-C")
	assert.True(t, at.echoes(t), "the terminal is left as it was")
	alice.absent(t, "connections/self/desk")

	at = sit(t, alice.prepared(t, "connect", "desk"))
	at.sees(t, `not shown: `)
	at.types(t, deskKey+"\n")
	got := at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.NotContains(t, got.complaint+got.out, deskKey)
	assert.Contains(t, got.out, "account-1")

	byPipe := func(text string, args ...string) printed {
		cmd := alice.prepared(t, args...)
		cmd.Stdin = strings.NewReader(text)
		return ran(t, cmd)
	}
	require.Zero(t, byPipe(deskKey+"\n", "connect", "desk", "--as", "piped").exit)
	require.Zero(t, byPipe(`{"api_key": "`+deskKey+`"}`, "connect", "desk", "--as", "object").exit)
	assert.Equal(t, deskKey+"\n", alice.does(t, "token", "object").out)
	assert.Equal(t, 2, byPipe("", "connect", "desk", "--as", "none").exit)
	refused := byPipe("a wrong key", "connect", "desk", "--as", "wrong")
	assert.Equal(t, 5, refused.exit, refused.complaint)
	argument := byPipe("", "connect", "desk", "--as", "none", "--field", "api_key="+deskKey)
	assert.Equal(t, 2, argument.exit)
	assert.Contains(t, argument.complaint, "is a secret")
	assert.Equal(t, "X-Key: "+deskKey+"\n", alice.does(t, "token", "desk", "--header").out)

	assert.JSONEq(t, `{"id": "account-1"}`, alice.does(t, "api", "desk", "/me", "-f", "a=b&c", "-X", "get").out)
	last := service.asked[len(service.asked)-1]
	assert.Equal(t, []string{"GET", "/api/me", "a=b%26c"}, []string{last.Method, last.URL.Path, last.URL.RawQuery})
	alice.does(t, "api", "desk", "say", "-f", "text=hi", "-f", "channel=C1", "-H", "X-More: yes")
	last = service.asked[len(service.asked)-1]
	assert.Equal(t, []string{"POST", "/api/say", "application/json", "yes"}, []string{
		last.Method, last.URL.Path, last.Header.Get("Content-Type"), last.Header.Get("X-More"),
	})
	assert.JSONEq(t, `{"text": "hi", "channel": "C1"}`, service.body)
	alice.does(t, "api", "desk", service.URL+"/api/say", "-f", "a=1", "--form")
	assert.Equal(t, "a=1", service.body)
	for address, exit := range map[string]int{
		"/absent": 1, "/down": 6, "/away": 1, "https://elsewhere.example.com/": 1, "http://127.0.0.1:1/": 1,
	} {
		got := alice.connectors(t, "api", "desk", address)
		assert.Equal(t, exit, got.exit, "%s: %s", address, got.complaint)
		assert.NotContains(t, got.complaint, deskKey)
	}
	assert.Contains(t, alice.connectors(t, "api", "desk", "/away").complaint, "was not sent to elsewhere.example.com")

	service.mu.Lock()
	service.key = "another key"
	service.mu.Unlock()
	got = alice.connectors(t, "api", "desk", "/me")
	assert.Equal(t, 5, got.exit, got.complaint)
	assert.Equal(t, "failed_validation", alice.read(t, "connections/self/desk")["status"], "the 401 had it checked")
	got = alice.connectors(t, "check", "desk")
	assert.Equal(t, 5, got.exit, got.complaint)
	assert.Equal(t, 5, alice.connectors(t, "check", "--all").exit)

	at = sit(t, alice.prepared(t, "reconnect", "--broken"))
	for n := range 3 { // each of the three, in turn
		at.sees(t, strings.Repeat(`(?s)not shown: .*`, n)+`not shown: $`)
		at.types(t, "another key\n")
	}
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Zero(t, alice.connectors(t, "check", "--all").exit)
}

// The program takes the command's place, with the credential and without the token of Vault; and no argument of any
// process has a secret.
func TestConnectorsExec(t *testing.T) {
	t.Parallel()
	root := newEngine(t)
	root.newKeyService(t, deskKey)
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	alice.write(t, "connections/self/desk", map[string]any{"provider": "desk", "api_key": deskKey})

	shell := func(script string, flags ...string) printed {
		return alice.does(t, append(append([]string{"exec", "--env", "KEY=desk"}, flags...), "--", "sh", "-c", script)...)
	}
	got := shell(`printf '%s|%s|%s' "$KEY" "$VAULT_TOKEN" "$VAULT_ADDR"`)
	assert.Equal(t, deskKey+"||"+alice.vault.Addr, got.out)
	assert.Contains(t, got.complaint, "KEY is self/desk of desk, which does not expire")
	got = shell(`printf '%s %s' "$OTHER" "$VAULT_TOKEN"`, "--env", "OTHER=desk#api_key", "--keep-vault-token")
	assert.Equal(t, deskKey+" "+alice.vault.Token, got.out)
	got = shell(`cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n'; true`)
	assert.Contains(t, got.out, "/proc/[0-9]*/cmdline")
	assert.NotContains(t, got.out, deskKey)
	assert.NotContains(t, got.out, alice.vault.Token)

	assert.Equal(t, 42, alice.connectors(t, "exec", "--env", "KEY=desk", "--", "sh", "-c", "exit 42").exit)
	killed := alice.prepared(t, "exec", "--env", "KEY=desk", "--", "sh", "-c", "kill -TERM $$")
	ran(t, killed)
	assert.Equal(t, syscall.SIGTERM, killed.ProcessState.Sys().(syscall.WaitStatus).Signal(), "signals are its own")
	for name, args := range map[string][]string{
		"no program": {"--env", "KEY=desk"}, "no credential": {"--", "true"}, "no name": {"--env", "=desk", "--", "true"},
		"absent program": {"--env", "KEY=desk", "--", "no-such-program-anywhere"},
		"field":          {"--env", "KEY=desk#x", "--", "true"},
	} {
		assert.Equal(t, 2, alice.connectors(t, append([]string{"exec"}, args...)...).exit, name)
	}
	assert.Equal(t, 3, alice.connectors(t, "exec", "--env", "KEY=absent", "--", "true").exit)
}

// Each exit code, and that stdout has nothing where there is no answer.
func TestConnectorsExitCodes(t *testing.T) {
	t.Parallel()
	s, alice := commuter(t)
	alice.write(t, "auth-code-url/self/open", map[string]any{"provider": "idp"})
	without := func(name string, cmd *exec.Cmd) *exec.Cmd {
		kept := cmd.Env[:0]
		for _, one := range cmd.Env {
			if !strings.HasPrefix(one, name+"=") {
				kept = append(kept, one)
			}
		}
		cmd.Env = kept
		return cmd
	}
	away := alice.prepared(t, "list")
	away.Env = append(away.Env, "VAULT_ADDR=http://127.0.0.1:1")
	several := s.prepared(t, "list")
	second := s.path + "-second"
	require.NoError(t, s.vault.Mount(t.Context(), second))
	t.Cleanup(func() { _ = s.vault.Client.Sys().UnmountWithContext(context.Background(), second) })
	both := s.prepared(t, "--mount", second, "catalog", "slack")
	for name, c := range map[string]struct {
		cmd  *exec.Cmd
		exit int
		says string
	}{
		"done":                {alice.prepared(t, "catalog", "slack"), 0, ""},
		"unknown command":     {alice.prepared(t, "lsit"), 2, "unknown command"},
		"unknown flag":        {alice.prepared(t, "list", "--nothing"), 2, "unknown flag"},
		"no name":             {alice.prepared(t, "token"), 2, "arg"},
		"output":              {alice.prepared(t, "list", "-o", "xml"), 2, "table or json"},
		"a name out of reach": {alice.prepared(t, "token", "self/../x"), 2, "does not name a connection"},
		"a name of no form":   {alice.prepared(t, "token", "PROD"), 2, "is not valid"},
		"show absent":         {alice.prepared(t, "show", "absent"), 3, "nothing is there"},
		"token absent":        {alice.prepared(t, "token", "absent"), 3, "no connection"},
		"check absent":        {alice.prepared(t, "check", "absent"), 3, "no connection"},
		"api absent":          {alice.prepared(t, "api", "absent", "/"), 3, "no connection"},
		"history absent":      {alice.prepared(t, "history", "absent"), 3, "nothing is there"},
		"disconnect absent":   {alice.prepared(t, "disconnect", "absent", "--yes"), 3, "nothing is there"},
		"no token":            {without("VAULT_TOKEN", alice.prepared(t, "list")), 4, "vault login"},
		"not allowed":         {alice.prepared(t, "list", "org/acme"), 4, denied},
		"not allowed to read": {alice.prepared(t, "token", "org/acme/x"), 4, denied},
		"pending":             {alice.prepared(t, "token", "open"), 5, "is pending"},
		"Vault is away":       {away, 6, "refused"},
		"several mounts":      {several, 2, "several mounts"},
		"one of several":      {both, 0, ""},
	} {
		got := ran(t, c.cmd)
		assert.Equal(t, c.exit, got.exit, "%s: %s", name, got.complaint)
		assert.Contains(t, got.complaint, c.says, name)
		assert.NotContains(t, got.complaint, alice.vault.Token, name)
		if c.exit != 0 {
			assert.Empty(t, got.out, name)
		}
	}

	at := sit(t, alice.prepared(t, "connect", "idp", "--no-browser"))
	at.sees(t, "Type the code")
	at.types(t, "\x03")
	assert.Equal(t, 130, at.leaves(t).exit)
	at = sit(t, alice.prepared(t, "connect", "idp", "--port", freePort(t)))
	at.sees(t, "comes back here by itself")
	at.types(t, "\x03")
	assert.Equal(t, 130, at.leaves(t).exit)
}

// A service that is down is told from one that wants a person.
func TestConnectorsOfAFailingService(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "crm")
	s.adopt(t, "crm")
	s.RevokeAll()
	got := e.connectors(t, "--mount", e.path, "check", "org/default/crm")
	assert.Equal(t, 5, got.exit, got.complaint)
	assert.Contains(t, got.out, "needs_reconnect")
	second := e.newService(t, "erp")
	second.adopt(t, "erp")
	second.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, "{}"))
	got = e.connectors(t, "--mount", e.path, "check", "org/default/erp")
	assert.Equal(t, 6, got.exit, got.complaint)
	assert.Contains(t, got.out, "down")
}

// While it holds a secret, others of the same user cannot look into it.
func TestConnectorsIsNotDumpable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run it as somebody else and see whose its files are")
	}
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("there is no /proc here")
	}
	_, alice := commuter(t)
	bin, err := commandLine()
	require.NoError(t, err)
	content, err := os.ReadFile(bin)
	require.NoError(t, err)
	folder, err := os.MkdirTemp("", "connectors-of-nobody-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	require.NoError(t, os.Chmod(folder, 0o755))
	copied := filepath.Join(folder, "connectors")
	require.NoError(t, os.WriteFile(copied, content, 0o755))

	const nobody = 65534
	owner := func(pid int) uint32 {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", pid))
		require.NoError(t, err)
		return info.Sys().(*syscall.Stat_t).Uid
	}
	cmd := alice.prepared(t, "connect", "idp", "--no-browser")
	cmd.Path = copied
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	s := sit(t, cmd)
	s.sees(t, "Type the code")
	assert.Zero(t, owner(cmd.Process.Pid), "its files in /proc are root's, and not of the user who runs it")
	s.types(t, "\x03")
	assert.Equal(t, 130, s.leaves(t).exit)

	plain := exec.CommandContext(t.Context(), "sleep", "60")
	plain.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	require.NoError(t, plain.Start())
	assert.Equal(t, uint32(nobody), owner(plain.Process.Pid), "as of any other program")
	require.NoError(t, plain.Process.Kill())
	_ = plain.Wait()
}
