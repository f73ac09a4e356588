package acceptance

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// user is somebody who logged in: the mount, as their token reaches it.
type user struct {
	*engine
	entity string
}

// as is the mount as a token reaches it whose holder asks once, and not again after a 5xx.
func (e *engine) as(t *testing.T, token string) *engine {
	t.Helper()
	client, err := e.vault.Client.Clone()
	require.NoError(t, err)
	client.SetToken(token)
	client.SetMaxRetries(0)
	vault := *e.vault
	vault.Client, vault.Token = client, token
	return &engine{vault: &vault, path: e.path}
}

// logIn makes a user with a policy of their own and logs them in.
func (e *engine) logIn(t *testing.T, name, policy string) *user {
	t.Helper()
	sys, logical := e.vault.Client.Sys(), e.vault.Client.Logical()
	method := e.path + "-userpass"
	err := sys.EnableAuthWithOptionsWithContext(t.Context(), method, &api.EnableAuthOptions{Type: "userpass"})
	if err != nil { // another one who logged in before, or logs in now, has enabled it
		require.ErrorContains(t, err, "path is already in use")
	}
	_, err = logical.WriteWithContext(t.Context(), "auth/"+method+"/users/"+name, map[string]any{
		"password": "any", "token_policies": e.addPolicy(t, name, policy),
	})
	require.NoError(t, err)
	login, err := logical.WriteWithContext(t.Context(), "auth/"+method+"/login/"+name, map[string]any{"password": "any"})
	require.NoError(t, err)
	return &user{engine: e.as(t, login.Auth.ClientToken), entity: login.Auth.EntityID}
}

// addPolicy makes a policy for this mount, which its text calls connectors/, and gives the name it has in Vault.
func (e *engine) addPolicy(t *testing.T, name, policy string) string {
	t.Helper()
	name = e.path + "-" + name
	policy = strings.ReplaceAll(policy, `"connectors/`, `"`+e.path+"/")
	require.NoError(t, e.vault.Client.Sys().PutPolicyWithContext(t.Context(), name, policy))
	return name
}

// refusesRead asserts that reading a path is answered with this status and a text that has these words in it.
func (e *engine) refusesRead(t *testing.T, status int, words, path string) {
	t.Helper()
	answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/"+path)
	assertRefused(t, status, words, answer, err)
}

// refusesWrite asserts the same of writing.
func (e *engine) refusesWrite(t *testing.T, status int, words, path string, data map[string]any) {
	t.Helper()
	answer, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/"+path, data)
	assertRefused(t, status, words, answer, err)
}

func assertRefused(t *testing.T, status int, words string, answer *api.Secret, err error) {
	t.Helper()
	var refused *api.ResponseError
	if !assert.ErrorAs(t, err, &refused, "it is answered with %+v", answer) {
		return
	}
	assert.Equal(t, status, refused.StatusCode, "%v", refused.Errors)
	assert.Contains(t, strings.Join(refused.Errors, "\n"), words)
}

// absent asserts that nothing is at a path: a plain 404, which the client turns into no answer.
func (e *engine) absent(t *testing.T, path string) {
	t.Helper()
	answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/"+path)
	assert.NoError(t, err)
	assert.Nil(t, answer)
}

// remove deletes, and returns the warnings.
func (e *engine) remove(t *testing.T, path string) []string {
	t.Helper()
	answer, err := e.vault.Client.Logical().DeleteWithContext(t.Context(), e.path+"/"+path)
	require.NoError(t, err)
	if answer == nil {
		return nil
	}
	return answer.Warnings
}

// printed is what a command left behind.
type printed struct {
	out, complaint string
	exit           int
}

// cli runs the vault command with the token of whoever asks. {mount} in an argument is the mount's path.
func (e *engine) cli(t *testing.T, args ...string) printed {
	t.Helper()
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "{mount}", e.path)
	}
	var out, complaint strings.Builder
	cmd := exec.CommandContext(t.Context(), e.vault.Binary(), args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "VAULT_ADDR=" + e.vault.Addr, "VAULT_TOKEN=" + e.vault.Token,
	}
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		require.NoError(t, err)
	}
	return printed{out: out.String(), complaint: complaint.String(), exit: cmd.ProcessState.ExitCode()}
}

// application is a program of somebody else that receives browsers.
type application struct {
	url     string // its redirect URI
	visitor chan url.Values
}

func newApplication(t *testing.T) *application {
	a := &application{visitor: make(chan url.Values, 1)}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		a.visitor <- r.URL.Query()
	}))
	t.Cleanup(server.Close)
	a.url = server.URL + "/landing"
	return a
}

// receive sends a person's browser through the provider's pages and gives what it brings.
func (a *application) receive(t *testing.T, robot *stack.Robot, start any) url.Values {
	t.Helper()
	page, err := robot.Visit(t.Context(), start.(string), a.url)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, page.Status)
	return <-a.visitor
}

// open sends one request as a browser without a Vault token would.
func open(t *testing.T, req *http.Request) *stack.Page {
	t.Helper()
	page, err := stack.NewRobot(person).Open(req.WithContext(t.Context()))
	require.NoError(t, err)
	return page
}

// get opens an address.
func get(t *testing.T, address string, query url.Values) *stack.Page {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"?"+query.Encode(), nil)
	require.NoError(t, err)
	return open(t, req)
}

// Whoever logs in after a merge is the entity that remains. What was private to the other is nobody's, and says so.
func TestMergedEntities(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	home, work := root.newLogins(t, root.path+"-home"), root.newLogins(t, root.path+"-work")
	home.set(t, "alice", "a password")
	work.set(t, "alice", "a password")
	gone, remains := home.in(t, "alice", "a password"), work.in(t, "alice", "a password")
	gone.write(t, "connections/self/openai", key(apiKey))
	remains.write(t, "connections/self/openai", key(otherAPIKey))
	root.ask(t, "identity/entity/merge", map[string]any{
		"from_entity_ids": []string{gone.entity}, "to_entity_id": remains.entity,
	})

	orphan := "user/" + gone.entity + "/openai"
	assert.Equal(t, apiKey, gone.read(t, "creds/self/openai")["api_key"], "a token from before, until it ends")
	later := home.in(t, "alice", "a password")
	require.Equal(t, remains.entity, later.entity)
	for name, u := range map[string]*engine{"later": later.engine, "remains": remains.engine, "root": root} {
		u.refusesRead(t, http.StatusForbidden, "is private", "creds/"+orphan)
		u.refusesWrite(t, http.StatusForbidden, "is private", "refresh/"+orphan, nil)
		u.refusesWrite(t, http.StatusForbidden, "is private", "connections/"+orphan, map[string]any{"private": false})
		u.refusesWrite(t, http.StatusForbidden, "is private", "connections/"+orphan, key(otherAPIKey))
		seen := u.read(t, "connections/"+orphan)
		assert.Equal(t, []any{"active", ""}, []any{seen["status"], seen["status_reason"]}, "%s: once the daily look missed "+
			"the owner twice, it is owner_missing", name)
	}
	assert.Equal(t, otherAPIKey, later.read(t, "creds/self/openai")["api_key"])
	root.remove(t, "connections/"+orphan)
	root.absent(t, "connections/"+orphan)
	assert.Equal(t, otherAPIKey, later.read(t, "creds/self/openai")["api_key"])
}
