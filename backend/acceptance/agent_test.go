package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// needed are the rules that a recipe says its token needs.
var needed = regexp.MustCompile(`(?m)^# +(path "connectors/.*)$`)

// runAgent runs a recipe against this mount, with a token that may do what the recipe says it needs, or else read
// credentials only. Of the recipe's text the mount, the token's file and what else the test names are changed.
func (e *engine) runAgent(t *testing.T, config string, changes map[string]string) *stack.Agent {
	t.Helper()
	rules := `path "connectors/creds/*" { capabilities = ["read"] }`
	if said := needed.FindAllStringSubmatch(config, -1); said != nil {
		rules = ""
		for _, rule := range said {
			rules += rule[1] + "\n"
		}
	}
	policy := e.addPolicy(t, "agent", rules)
	token, err := e.vault.Client.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{
		Policies: []string{policy},
	})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token.Auth.ClientToken), 0o600))
	for from, to := range map[string]string{`"connectors/`: `"` + e.path + "/", "/etc/vault/token": file} {
		require.Contains(t, config, from)
		config = strings.ReplaceAll(config, from, to)
	}
	for from, to := range changes {
		require.Contains(t, config, from)
		config = strings.ReplaceAll(config, from, to)
	}
	agent, err := e.vault.StartAgent(config)
	require.NoError(t, err)
	t.Cleanup(agent.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(agent.Log())
		}
	})
	return agent
}

// audited is one answer as the audit log has it.
type audited struct {
	Time  time.Time `json:"time"`
	Type  string    `json:"type"`
	Error string    `json:"error"`
	Auth  struct {
		Policies []string `json:"policies"`
	} `json:"auth"`
	Request struct {
		Operation string `json:"operation"`
		Path      string `json:"path"`
	} `json:"request"`
}

// answers gives what was answered to requests for a path of this mount, in order.
func (e *engine) answers(t *testing.T, path string) []audited {
	t.Helper()
	log, err := os.ReadFile(e.vault.AuditFile)
	require.NoError(t, err)
	var found []audited
	for line := range bytes.Lines(log) {
		var a audited
		if !bytes.Contains(line, []byte(e.path+"/"+path)) || json.Unmarshal(line, &a) != nil {
			continue // the last line may still be written
		}
		if a.Type == "response" && a.Request.Path == e.path+"/"+path {
			found = append(found, a)
		}
	}
	return found
}

// becomes waits until a file holds what good accepts.
func becomes(t *testing.T, file string, limit time.Duration, good func(content string) bool) string {
	t.Helper()
	var content string
	require.Eventually(t, func() bool {
		read, err := os.ReadFile(file)
		content = string(read)
		return err == nil && good(content)
	}, limit, 20*time.Millisecond, "%s does not come to hold what is expected", file)
	return content
}

// A token of 40 s is replaced in the background before its ttl of 32 s is over, so that the agent's one read finds the
// new one.
func TestAgentTemplate(t *testing.T) {
	t.Parallel()
	const life, ttl = 40 * time.Second, 32 * time.Second
	e := newEngine(t)
	s := e.newService(t, "service", providertest.WithLifetime(life))
	s.adopt(t, "slack")
	before := len(e.answers(t, "creds/slack"))
	file := filepath.Join(t.TempDir(), "token")
	e.runAgent(t, recipe(t, "agent-template.hcl"), map[string]string{"/run/secrets/slack-token": file})

	first := becomes(t, file, patience, s.Alive)
	second := becomes(t, file, life, func(token string) bool { return token != first })
	changed := time.Now()
	assert.True(t, s.Alive(second))
	assert.True(t, s.Alive(first), "it was replaced in time")
	assert.Equal(t, 1, s.Count("refresh"))
	rotated, err := time.Parse(time.RFC3339, e.read(t, "connections/slack")["last_rotation"].(string))
	require.NoError(t, err)
	assert.Less(t, changed.Sub(rotated), 6*time.Second, "from the rotation to the file")

	reads := e.answers(t, "creds/slack")[before:]
	require.Len(t, reads, 2, "one read for each token, and no polling")
	assert.InDelta(t, (ttl + time.Second).Seconds(), reads[1].Time.Sub(reads[0].Time).Seconds(), 2.5)
}

func TestAgentAndFailingProvider(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service", providertest.WithLifetime(10*time.Second))
	s.adopt(t, "slack")
	var down atomic.Bool
	unless := func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		if down.Load() {
			providertest.Respond(http.StatusServiceUnavailable, "")(s, w, r, behave)
			return
		}
		behave(w, r)
	}
	s.Next("refresh", slices.Repeat([]providertest.Behavior{unless}, 1000)...)
	file := filepath.Join(t.TempDir(), "token")
	agent := e.runAgent(t, recipe(t, "agent-template.hcl"), map[string]string{"/run/secrets/slack-token": file})
	token := becomes(t, file, patience, s.Alive)

	down.Store(true)
	require.Eventually(t, func() bool {
		refused := func(a audited) bool { return a.Error != "" }
		return !s.Alive(token) && slices.ContainsFunc(e.answers(t, "creds/slack"), refused)
	}, 2*patience, 50*time.Millisecond, "the token dies, and the agent is refused")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, token, string(content), "the old file stays")
	assert.True(t, agent.Running())
	assert.LessOrEqual(t, s.Count("refresh"), 6, "the engine's backoff keeps the agent's tries from the provider")

	down.Store(false)
	becomes(t, file, 3*patience, s.Alive)
	assert.True(t, agent.Running())
	e.stands(t, "slack", "active", "")
}

func TestAgentExec(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service", providertest.WithLifetime(10*time.Second))
	first := s.adopt(t, "slack")
	out := filepath.Join(t.TempDir(), "out")
	app := filepath.Join(t.TempDir(), "app")
	script := fmt.Sprintf("#!/bin/sh\ntrap 'echo ended >>%[1]s; exit 0' TERM\necho \"$SLACK_TOKEN\" "+
		">>%[1]s\nsleep 600 &\nwait\n", out)
	require.NoError(t, os.WriteFile(app, []byte(script), 0o700))
	agent := e.runAgent(t, recipe(t, "agent-exec.hcl"), map[string]string{"/usr/local/bin/app": app})

	told := strings.Fields(becomes(t, out, 2*patience, func(out string) bool { return strings.Count(out, "\n") >= 3 }))
	assert.Equal(t, []string{first, "ended"}, told[:2], "the application is asked to end")
	assert.NotEqual(t, first, told[2])
	assert.True(t, s.Alive(told[2]), "and gets the new token")
	assert.True(t, agent.Running())
}

// One file for several connections is there when all of them can be read, and is written again when one changes.
func TestAgentSeveral(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service", providertest.WithLifetime(20*time.Second))
	file := filepath.Join(t.TempDir(), "credentials.json")
	e.runAgent(t, recipe(t, "agent-several.hcl"), map[string]string{"/run/secrets/credentials.json": file})
	first := s.adopt(t, "slack")
	require.NoFileExists(t, file, "one of the two is not there yet")
	e.write(t, "providers/openai", nil)
	e.write(t, "connections/openai", key(apiKey))

	type credential struct {
		Token   string     `json:"token"`
		Expires *time.Time `json:"expires"`
	}
	var have map[string]credential
	holds := func(good func() bool) func(string) bool {
		return func(content string) bool {
			have = nil
			return json.Unmarshal([]byte(content), &have) == nil && good()
		}
	}
	becomes(t, file, 3*patience, holds(func() bool { return s.Alive(have["slack"].Token) }))
	assert.Equal(t, credential{Token: apiKey}, have["openai"], "a key does not expire")
	require.NotNil(t, have["slack"].Expires)
	assert.WithinDuration(t, time.Now(), *have["slack"].Expires, 30*time.Second)
	becomes(t, file, 2*patience, holds(func() bool { return have["slack"].Token != first && s.Alive(have["slack"].Token) }))
	assert.Equal(t, apiKey, have["openai"].Token)

	forever := e.newService(t, "forever", providertest.WithLifetime(0))
	e.remove(t, "connections/slack")
	token := forever.adopt(t, "slack")
	becomes(t, file, 3*patience, holds(func() bool { return have["slack"].Token == token }))
	assert.Nil(t, have["slack"].Expires, "its expire_time is empty")
}

// A list of connections is followed, and one that does not serve holds up nothing.
func TestAgentList(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service")
	e.write(t, "providers/openai", nil)
	tokens := map[string]string{}
	for _, name := range []string{"a", "b"} {
		tokens[name] = s.adopt(t, "org/acme/"+name)
	}
	e.write(t, "connections/org/acme/key", key(apiKey))
	file := filepath.Join(t.TempDir(), "tokens")
	agent := e.runAgent(t, recipe(t, "agent-list.hcl"), map[string]string{"/run/secrets/tokens": file, `"1m"`: `"2s"`})
	lists := func(names ...string) {
		t.Helper()
		var want string
		for _, name := range names {
			want += name + " " + tokens[name] + "\n"
		}
		becomes(t, file, 3*patience, func(content string) bool { return content == want })
	}
	lists("a", "b")
	e.write(t, "connections/org/acme/a", map[string]any{"disabled": true})
	lists("b")
	tokens["c"] = s.adopt(t, "org/acme/c")
	lists("b", "c")
	e.write(t, "connections/org/acme/a", map[string]any{"disabled": false})
	lists("a", "b", "c")
	assert.True(t, agent.Running())
}
