package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vault stands in for Vault with a mount, whose documents are kept as they are written. What a real one answers is the
// acceptance tests' business.
type vault struct {
	*httptest.Server

	mu      sync.Mutex
	docs    map[string]map[string]any // by path; of others than the mount by the whole path
	status  map[string]int            // of refusals, by method and path
	refuses map[string]string         // in these words, by the same; else "refused"
	warns   map[string]string         // beside an answer, by the same
	before  func(http.ResponseWriter, *http.Request) (answered bool)
	changes []string // what was asked that changes something, with what was brought
	env     []string
}

// fieldsTold are the fields of the paths, cut down: by the sort, what is written and read of each.
var fieldsTold = map[string]map[string]string{
	"config":    {"display_name": "string"},
	"providers": {"client_id": "string", "client_secret": "secret", "definition": "string", "token_params": "kvpairs"},
	"connections": {
		"provider": "string", "label": "string", "kind": "string", "companions": "secrets", "owner": "read", "name": "read",
	},
}

func toldFields(path string) map[string]any {
	sort, _, _ := strings.Cut(path, "/")
	written, read := map[string]any{}, map[string]any{}
	for name, is := range fieldsTold[sort] {
		property := map[string]any{"type": "string"}
		if is == "kvpairs" || is == "secrets" {
			property = map[string]any{"type": "object", "format": "kvpairs"}
		}
		if is == "secret" || is == "secrets" {
			property["x-vault-displayAttrs"] = map[string]any{"sensitive": true}
		}
		if is != "read" {
			written[name] = property
		}
		if is != "secret" {
			read[name] = property
		}
	}
	content := func(properties map[string]any) map[string]any {
		return map[string]any{"content": map[string]any{
			"application/json": map[string]any{"schema": map[string]any{"properties": properties}},
		}}
	}
	return map[string]any{"openapi": map[string]any{"paths": map[string]any{"/x": map[string]any{
		"get":  map[string]any{"responses": map[string]any{"200": content(read)}},
		"post": map[string]any{"requestBody": content(written)},
	}}}}
}

func newVault(t *testing.T, docs map[string]map[string]any) *vault {
	t.Helper()
	v := &vault{docs: docs, status: map[string]int{}, refuses: map[string]string{}, warns: map[string]string{}}
	v.Server = httptest.NewServer(http.HandlerFunc(v.answer))
	t.Cleanup(v.Close)
	v.env = []string{
		asCommand + "=1", "VAULT_ADDR=" + v.URL, "VAULT_TOKEN=planted-vault-token", "CONNECTORS_MOUNT=connectors",
		"VAULT_MAX_RETRIES=0", "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + t.TempDir(),
	}
	return v
}

func (v *vault) answer(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.before != nil && v.before(w, r) {
		return
	}
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v1/"), "connectors/")
	listed := r.URL.Query().Get("list") != ""
	own := strings.Replace(strings.TrimSuffix(path, "/"), "connections/self", "connections/user/u1", 1)
	body, _ := io.ReadAll(r.Body)
	if status := v.status[r.Method+" "+path]; status != 0 {
		w.WriteHeader(status)
		words := v.refuses[r.Method+" "+path]
		if words == "" {
			words = "refused"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{words}})
		return
	}
	says := func(data any) {
		answer := map[string]any{"data": data}
		if warning := v.warns[r.Method+" "+path]; warning != "" {
			answer["warnings"] = []string{warning}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
	doc := v.docs[own]
	switch {
	case r.URL.Query().Get("help") != "":
		_ = json.NewEncoder(w).Encode(toldFields(path))
	case listed:
		below := map[string]bool{}
		for at := range v.docs {
			if rest, is := strings.CutPrefix(at, own+"/"); is {
				name, _, deeper := strings.Cut(rest, "/")
				if deeper {
					name += "/"
				}
				below[name] = true
			}
		}
		says(map[string]any{"keys": slices.Sorted(maps.Keys(below))})
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		v.changes = append(v.changes, path+" "+strings.TrimSpace(string(body)))
		after := maps.Clone(doc)
		if after == nil {
			after = map[string]any{"created_time": "2026-01-01T00:00:00Z"}
		}
		if sort, _, _ := strings.Cut(path, "/"); fieldsTold[sort] != nil { // others' answers are as they are
			_ = json.Unmarshal(body, &after)
			v.docs[own] = after
		}
		says(after)
	case r.Method == http.MethodDelete:
		v.changes = append(v.changes, "delete "+path)
		delete(v.docs, own)
		w.WriteHeader(http.StatusNoContent)
	case doc != nil:
		says(doc)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"errors": []}`)
	}
}

// changed is what was changed since this was asked last.
func (v *vault) changed() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	changes := v.changes
	v.changes = nil
	return changes
}

// ended is how a process did.
type endedRun struct {
	code     int
	out, err string
}

// settles orders what a test does to the documents, and what was answered by them.
func (v *vault) settles() {
	v.mu.Lock()
	defer v.mu.Unlock()
}

func (v *vault) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	v.settles()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env, cmd.Dir = slices.Clone(v.env), t.TempDir()
	return cmd
}

// runs runs a command line as a process of its own.
func (v *vault) runs(t *testing.T, stdin string, args ...string) endedRun {
	t.Helper()
	defer v.settles()
	return ran(t, v.command(t, args...), stdin)
}

func ran(t *testing.T, cmd *exec.Cmd, stdin string) endedRun {
	t.Helper()
	var out, told bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &told
	err := cmd.Run()
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		require.NoError(t, err)
	}
	return endedRun{cmd.ProcessState.ExitCode(), out.String(), told.String()}
}

// atTerminal runs it with somebody who types.
func (v *vault) atTerminal(t *testing.T, typed string, args ...string) endedRun {
	t.Helper()
	defer v.settles()
	cmd := v.command(t, args...)
	screen, err := pty.Start(cmd)
	require.NoError(t, err)
	defer screen.Close()
	_, err = io.WriteString(screen, typed)
	require.NoError(t, err)
	shown, _ := io.ReadAll(screen) // which ends in an error where the terminal is gone
	_ = cmd.Wait()
	return endedRun{code: cmd.ProcessState.ExitCode(), out: string(shown)}
}

func desk() map[string]map[string]any {
	return map[string]map[string]any{
		"config":         {"display_name": "Acme"},
		"providers/desk": {"definition": "desk", "client_id": "1", "client_secret_set": true, "kinds": []any{"api_key"}},
		"catalog/desk": {"name": "Desk", "kinds": []any{"api_key"}, "key_fields": map[string]any{
			"api_key": map[string]any{"required": true, "secret": true, "set_by": "connection"},
		}},
		"catalog/oauth2": {"name": "OAuth", "kinds": []any{kindConsent}},
		"connections/user/u1/one": {
			"owner": "user/u1", "name": "one", "provider": "desk", "kind": "api_key", "label": "A", "status": "active",
			"key": map[string]any{"api_key": "****"}, "created_time": "2026-01-01T00:00:00Z",
		},
		"connections/user/u1/two": {
			"owner": "user/u1", "name": "two", "provider": "desk", "kind": "api_key", "label": "B", "status": "active",
			"key": map[string]any{"api_key": "****"}, "created_time": "2026-01-01T00:00:00Z",
		},
		"connections/user/u1/below/three": {"name": "three"},
	}
}

const asIs = `
config: {display_name: Acme}
providers: {desk: {client_id: 1}}
connections: {self/one: {label: A}, user/u1/two: {label: B}}
`

// What is said of a plan, and what is done, is as the flags say.
func TestApplyDoesWhatItMay(t *testing.T) {
	gone := "connections: {self/one: {label: A}}\nproviders: {desk: {client_id: 1}}\n"
	for name, c := range map[string]struct {
		file    string
		flags   []string
		code    int
		says    string
		changes []string
	}{
		"nothing to do":    {asIs, nil, 0, "nothing to change", nil},
		"nothing would be": {asIs, []string{"--dry-run"}, 0, "", nil},
		"nothing to prune": {asIs, []string{"--prune", "--expect", "0"}, 0, "", nil},
		"a change":         {"config: {display_name: B}", nil, 0, "config: updated", []string{`config {"display_name":"B"}`}},
		"a change, tried": {
			"config: {display_name: B}", []string{"--dry-run"}, codeChanges, "1 change; nothing was done", nil,
		},
		"what is not named":   {gone, nil, 0, "nothing to change", nil},
		"pruned unexpectedly": {gone, []string{"--prune"}, codeWrongUse, "--expect is not given", nil},
		"none were expected":  {gone, []string{"--prune", "--expect", "0"}, codeWrongUse, "1 would be deleted", nil},
		"more were expected":  {gone, []string{"--prune", "--expect", "2"}, codeWrongUse, "--expect says 2", nil},
		"pruned":              {gone, []string{"--prune", "--expect", "1"}, 0, "", []string{"delete connections/self/two"}},
		"pruned, tried":       {gone, []string{"--prune", "--dry-run"}, codeChanges, "1 change", nil},
		"an owner in two spellings": {
			"connections: {self/one: {label: A}, user/u1/one-more: {api_key: env:KEY, provider: desk}}",
			[]string{"--prune", "--expect", "1"},
			0, "",
			[]string{`connections/user/u1/one-more {"api_key":"planted-key","provider":"desk"}`, "delete connections/self/two"},
		},
		"expected without a prune": {asIs, []string{"--expect", "0"}, codeWrongUse, "goes with --prune", nil},
		"grants are bound to it":   {"providers: {desk: {client_id: 2}}", nil, codeWrongUse, "--allow-reconnect", nil},
		"and that is meant": {
			"providers: {desk: {client_id: 2}}",
			[]string{"--allow-reconnect"},
			0, "",
			[]string{`providers/desk {"client_id":"2"}`},
		},
		"a secret that is set": {"providers: {desk: {client_secret: env:KEY}}", nil, 0, "nothing to change", nil},
		"a secret, written": {
			"providers: {desk: {client_secret: env:KEY}}",
			[]string{"--secrets"},
			0, "",
			[]string{`providers/desk {"client_secret":"planted-key"}`},
		},
		"a secret of a file": {
			"providers: {desk: {client_secret: \"file:key.txt\"}}",
			[]string{"--secrets"},
			0, "",
			[]string{`providers/desk {"client_secret":"planted-key"}`},
		},
		"a secret of KV": {
			"providers: {desk: {client_secret: \"vault:secret/data/x#key\"}}",
			[]string{"--secrets"},
			0, "",
			[]string{`providers/desk {"client_secret":"planted-key"}`},
		},
		"a secret that is not there": {
			"config: {display_name: B}\nproviders: {desk: {client_secret: env:ABSENT}}",
			[]string{"--secrets"},
			codeWrongUse,
			"is not set, or empty", nil,
		},
		"a secret that is too long": {
			"providers: {desk: {client_secret: \"file:long.txt\"}}", []string{"--secrets"}, codeWrongUse, "has more than", nil,
		},
		"one path twice": {"connections: {one: {label: A}, self/one: {label: A}}", nil, codeWrongUse, "stands twice", nil},
		"one by two ways": {
			"connections: {one: {label: C}, user/u1/one: {label: D}}", nil, codeWrongUse, "under another name", nil,
		},
		"of others":   {"connections: {shared/user/u2/x: {label: A}}", nil, codeWrongUse, "shares with you", nil},
		"no provider": {"providers: {desk/x: {client_id: 1}}", nil, codeWrongUse, "is no name of a provider", nil},
		"climbing":    {"connections: {self/../x: {label: A}}", nil, codeWrongUse, "does not name a connection", nil},
		"needs a person": {
			"connections: {self/new: {provider: desk}}", nil, codePerson, "connectors connect desk --as self/new", nil,
		},
		"a masked map, the same": {
			"providers: {desk: {token_params: {a: b}}}", nil, 0, "", []string{`providers/desk {"token_params":{"a":"b"}}`},
		},
		"refused":                   {"config: {display_name: refused}", nil, codeNotAllowed, "stopped at", nil},
		"to connect, and only said": {asIs, []string{"--connect", "--dry-run"}, codeWrongUse, "name one of them", nil},
		"to connect by nobody":      {asIs, []string{"--connect"}, codeWrongUse, "needs a terminal", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t, desk())
			v.env = append(v.env, "KEY=planted-key")
			v.docs["providers/desk"]["token_params"] = map[string]any{"a": "****"}
			v.docs["secret/data/x"] = map[string]any{"data": map[string]any{"key": "planted-key"}}
			if name == "refused" {
				v.status["PUT config"] = http.StatusForbidden
			}
			at := t.TempDir()
			for file, text := range map[string]string{
				"c.yaml": c.file, "key.txt": "planted-key\r\n", "long.txt": strings.Repeat("x", maxKey+1),
			} {
				require.NoError(t, os.WriteFile(filepath.Join(at, file), []byte(text), 0o600))
			}
			got := v.runs(t, "", append([]string{"apply", "-f", filepath.Join(at, "c.yaml")}, c.flags...)...)
			assert.Equal(t, c.code, got.code, got.err)
			assert.Contains(t, got.err, c.says)
			assert.Equal(t, c.changes, v.changed())
			assert.NotContains(t, got.out+got.err, "planted")
		})
	}
}

// What only the mount knows to be another is told by what it answers.
func TestApplyTellsWhatWasMasked(t *testing.T) {
	for told, updated := range map[string]bool{"providers/desk: updated": true, "nothing to change": false} {
		v := newVault(t, desk())
		v.docs["providers/desk"]["token_params"] = map[string]any{"a": "****"}
		v.docs["providers/desk"]["updated"] = "2026-01-01T00:00:00Z"
		v.before = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && updated {
				v.docs["providers/desk"]["updated"] = "2026-01-02T00:00:00Z"
			}
			return false
		}
		got := v.runs(t, "providers: {desk: {token_params: {a: b}}}", "apply", "-f", "-")
		assert.Equal(t, 0, got.code)
		assert.Contains(t, got.err, told)
		assert.Equal(t, updated, strings.Contains(got.err, "providers/desk: updated"))
		assert.Len(t, v.changed(), 1)
	}
}

// What is ended, and how it went, is as it was said; nothing is when nothing is said.
func TestRevoke(t *testing.T) {
	for name, c := range map[string]struct {
		args    []string
		state   string // of the job
		code    int
		says    string
		changes []string
	}{
		"by a filter": {
			[]string{"--provider", "desk"}, "planned", 0, "--expect 3", []string{`revoke {"provider":["desk"]}`},
		},
		"all":             {[]string{"--all"}, "planned", 0, "--expect 3", []string{`revoke {"all":true}`}},
		"by an empty one": {[]string{"--all", "--provider="}, "planned", codeWrongUse, "--provider is empty", nil},
		"by nobody":       {[]string{"run", "j1"}, "planned", codeWrongUse, "say --expect", nil},
		"run": {
			[]string{"run", "j1", "--expect", "3", "--then", "archive"},
			"running", 0, "goes on in the background",
			[]string{`revoke/j1 {"expect":3,"run":true,"then":"archive"}`},
		},
		"to its end": {
			[]string{"run", "j1", "--expect", "3", "--wait"},
			"done", 0, "done: 0 of 3",
			[]string{`revoke/j1 {"expect":3,"run":true}`},
		},
		"too late": {
			[]string{"run", "j1", "--expect", "3", "--wait"},
			"expired", codeFailed, "the job is expired",
			[]string{`revoke/j1 {"expect":3,"run":true}`},
		},
		"for a day": {
			[]string{"run", "j1", "--expect", "3", "--wait"},
			"waiting", codePerson, "a day has passed",
			[]string{`revoke/j1 {"expect":3,"run":true}`},
		},
		"a job that is none": {[]string{"run", "../x", "--expect", "3"}, "planned", codeWrongUse, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := map[string]any{"job": "j1", "state": c.state, "count": 3}
			if c.state == "done" {
				job["ended"] = "2026-01-01T00:00:00Z"
			}
			v := newVault(t, map[string]map[string]any{"revoke": job, "revoke/j1": job})
			got := v.runs(t, "", append([]string{"revoke"}, c.args...)...)
			assert.Equal(t, c.code, got.code, got.err)
			assert.Contains(t, got.err, c.says)
			assert.Equal(t, c.changes, v.changed())
		})
	}
}

// A person who is asked ends nothing but by a yes.
func TestRevokeAsks(t *testing.T) {
	for typed, begins := range map[string]bool{"y\n": true, "Yes\n": true, "\n": false, "n\n": false, "maybe\n": false} {
		job := map[string]any{"job": "j1", "state": "done", "count": 3, "ended": "2026-01-01T00:00:00Z"}
		v := newVault(t, map[string]map[string]any{"revoke/j1": job})
		got := v.atTerminal(t, typed, "revoke", "run", "j1")
		assert.Contains(t, got.out, "End 3 connections")
		if begins {
			assert.Equal(t, 0, got.code, "%q: %s", typed, got.out)
			assert.Equal(t, []string{`revoke/j1 {"expect":3,"run":true}`}, v.changed())
		} else {
			assert.Equal(t, codeFailed, got.code, "%q: %s", typed, got.out)
			assert.Empty(t, v.changed(), "%q", typed)
		}
	}
}

// A program gets the credentials that were named, each once, and the token of Vault only where that was said.
func TestExec(t *testing.T) {
	env, err := exec.LookPath("env")
	require.NoError(t, err)
	v := newVault(t, map[string]map[string]any{
		"creds/self/one":         {"access_token": "planted-token", "provider": "desk", "ttl": 300},
		"creds/self/two":         {"user": "u", "password": "p", "provider": "mail", "ttl": 300},
		"creds/self/nul":         {"access_token": "a\x00B=c", "provider": "desk", "ttl": 300},
		"connections/user/u1/x1": {"name": "x1"},
	})
	v.env = append(v.env, "ONE=before", "ONE=again", "ONE_MORE=stays")
	got := v.runs(t, "", "exec", "--env", "ONE=one", "--env", "PASS=two#password", "--", env)
	require.Equal(t, 0, got.code, got.err)
	lines := strings.Split(got.out, "\n")
	assert.Contains(t, lines, "ONE=planted-token")
	assert.Contains(t, lines, "PASS=p")
	assert.Contains(t, lines, "ONE_MORE=stays")
	assert.NotContains(t, got.out, "before")
	assert.NotContains(t, got.out, "again")
	assert.NotContains(t, got.out, "VAULT_TOKEN")
	assert.NotContains(t, got.err, "planted")
	got = v.runs(t, "", "exec", "--keep-vault-token", "--env", "ONE=one", "--", env)
	assert.Contains(t, strings.Split(got.out, "\n"), "VAULT_TOKEN=planted-vault-token")
	got = v.runs(t, "", "exec", "--env", "ONE=one", "--", "sh", "-c", "exit 42")
	assert.Equal(t, 42, got.code, "the exit code is the program's")
	for says, args := range map[string][]string{
		"say which credentials": {"--", env}, "takes NAME=CONNECTION": {"--env", "ONE-X=one", "--", env},
		"as SLACK_TOKEN=slack": {"--env", "one", "--", env}, "several fields": {"--env", "A=two", "--", env},
		"cannot stand in": {"--env", "A=nul", "--", env},
		"does not name":   {"--env", "A=../x", "--", env},
		"executable":      {"--env", "A=one", "--", "no-such-program"},
	} {
		got := v.runs(t, "", append([]string{"exec"}, args...)...)
		assert.Equal(t, codeWrongUse, got.code, says)
		assert.Contains(t, got.err, says)
		assert.Empty(t, got.out)
	}
	got = v.runs(t, "", "exec", "--env", "A=absent", "--", env)
	assert.Equal(t, codeAbsent, got.code)
	assert.Empty(t, got.out)
}

// The exit code says how a service answered, and its body does nothing to a terminal.
func TestAPI(t *testing.T) {
	var status int
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(status)
		if status != http.StatusNotModified {
			_, _ = io.WriteString(w, r.Method+" "+r.URL.RequestURI()+" "+string(body)+"\x1b[2J\r\u202e")
		}
	}))
	defer service.Close()
	v := newVault(t, map[string]map[string]any{
		"creds/self/one": {
			"access_token": "planted-token", "api_base": service.URL, "ttl": 300, "last_vault_rotation": "t",
			"send": map[string]any{"headers": map[string]any{"Authorization": "Bearer planted-token"}},
		},
		"check/self/one": {"status": "active"},
	})
	for code, statuses := range map[int][]int{
		0: {200, 204, 299}, codePerson: {401}, codeAway: {429, 502, 503}, codeFailed: {300, 304, 403, 404, 500},
	} {
		for _, status = range statuses {
			got := v.runs(t, "", "api", "one", "/me")
			assert.Equal(t, code, got.code, "%d: %s", status, got.err)
		}
	}
	status = 200
	for want, args := range map[string][]string{
		"GET /me?a=1&b=2&b=3 ":     {"/me?a=1", "-X", "get", "-f", "b=2", "-f", "b=3"},
		`POST /me {"b":"2=3"}`:     {"/me", "-f", "b=2=3"},
		"POST /me b=2%263":         {"/me", "--form", "-f", "b=2&3"},
		"POST /me what is brought": {"/me", "--input", "-"},
	} {
		got := v.runs(t, "what is brought", append([]string{"api", "one"}, args...)...)
		assert.Equal(t, 0, got.code, got.err)
		assert.Equal(t, want+"\x1b[2J\r\u202e", got.out, "a program gets what was answered")
	}
	got := v.atTerminal(t, "", "api", "one", "/me")
	assert.Contains(t, got.out, `GET /me \x1b[2J\x0d\u202e`)
	status = 500
	assert.Contains(t, v.atTerminal(t, "", "api", "one", "/me").out, "\r\nconnectors: the service answers 500")
	status = 200
	v.changed()
	for says, args := range map[string][]string{
		"--input is the whole body": {"/me", "--input", "-", "-f", "a=b"}, "-f takes": {"/me", "-f", "=b"},
		"no credential": {"/me", "-H", "Authorization : x"},
	} {
		got := v.runs(t, "x", append([]string{"api", "one"}, args...)...)
		assert.Equal(t, codeWrongUse, got.code, says)
		assert.Contains(t, got.err, says)
	}
	got = v.runs(t, "", "api", "one", "https://elsewhere.example.com/")
	assert.Equal(t, codeFailed, got.code)
	assert.Contains(t, got.err, "the credential was not sent")
	got = v.runs(t, "", "token", "one", "--header", "--field", "access_token")
	assert.Equal(t, codeWrongUse, got.code)
	assert.Empty(t, got.out)
}

// What others wrote does nothing to a terminal, in errors and warnings too.
func TestWhatIsToldIsHarmless(t *testing.T) {
	a := newApp(t)
	a.complain(errors.New("a\x1b[2Jb"))
	a.warn([]string{"c\u202ed"})
	assert.Equal(t, "connectors: a\\x1b[2Jb\nwarning: c\\u202ed\n", a.said(t))
}
