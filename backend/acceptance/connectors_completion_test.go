package acceptance

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the tab key offers: connections, owners and services, as far as the token sees them, and else nothing.
func TestConnectorsCompletion(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	both := recipe(t, "policies/own.hcl") + recipe(t, "policies/everybody.hcl")
	alice, bob := root.logIn(t, "alice", both), root.logIn(t, "bob", both)
	admin := root.logIn(t, "admin", recipe(t, "policies/org-admin.hcl"))
	operator := root.logIn(t, "operator", recipe(t, "policies/operator.hcl"))
	for _, name := range []string{"work", "web", "other"} {
		alice.write(t, "connections/self/"+name, key(apiKey))
	}
	alice.write(t, "shares/self/work", map[string]any{"entities": bob.entity})
	root.write(t, "connections/org/acme/team", key(apiKey))
	root.write(t, "connections/org/acme/user/42/theirs", key(apiKey))

	const noSpace, space = ":6", ":4"
	asked := func(u *user, args ...string) []string {
		t.Helper()
		got := u.does(t, append([]string{"__complete"}, args...)...)
		assert.NotContains(t, got.out+got.complaint, u.vault.Token)
		assert.NotContains(t, got.out+got.complaint, "connectors:", "no failure is told")
		return strings.Fields(got.out)
	}
	assert.Equal(t, []string{"other", "web", "work", space}, asked(alice, "show", ""))
	assert.Equal(t, []string{"web", "work", space}, asked(alice, "token", "w"))
	assert.Equal(t, []string{"self/web", "self/work", space}, asked(alice, "show", "self/w"))
	assert.Equal(t, []string{space}, asked(alice, "show", "work", ""), "one name is enough")
	assert.Equal(t, []string{"org/", "other", space}, asked(alice, "show", "o"))
	assert.Equal(t, []string{noSpace}, asked(alice, "show", "org/"), "what may not be listed")
	assert.Equal(t, []string{noSpace}, asked(alice, "show", "org/../x/"))
	assert.Equal(t, []string{"TOKEN=web", "TOKEN=work", space}, asked(alice, "exec", "--env", "TOKEN=w"))
	assert.Equal(t, []string{"user/", noSpace}, asked(alice, "transfer", "work", "u"))
	theirs := "shared/user/" + alice.entity + "/"
	assert.Equal(t, []string{"shared/", noSpace}, asked(bob, "token", "sh"))
	assert.Equal(t, []string{"shared/user/", noSpace}, asked(bob, "token", "shared/"))
	assert.Equal(t, []string{theirs, noSpace}, asked(bob, "list", "shared/user/"))
	assert.Equal(t, []string{theirs + "work", space}, asked(bob, "token", theirs))
	assert.Equal(t, []string{"org/acme/team", "org/acme/user/", space}, asked(admin, "show", "org/acme/"))
	assert.Equal(t, []string{"org/acme/user/42/theirs", space}, asked(admin, "show", "org/acme/user/42/"))
	assert.Equal(t, []string{"org/acme/user/42/", noSpace}, asked(admin, "list", "org/acme/user/"))
	assert.Equal(t, []string{"org/acme/user/", noSpace}, asked(admin, "list", "org/acme/"), "owners, and no connections")
	assert.Equal(t, []string{"org/", "self/", "shared/", "user/", noSpace}, asked(admin, "list", ""))
	assert.Equal(t, []string{"openai", space}, asked(operator, "connect", "o"), "the providers")
	assert.Equal(t, []string{"openai", space}, asked(alice, "connect", "o"), "by the catalogue, which tells their names")
	assert.Equal(t, []string{noSpace}, asked(alice, "connect", "sl"), "no provider of it is here")
	assert.Equal(t, []string{"table", "json", space}, asked(alice, "list", "-o", ""))

	// where it fails, nothing is offered, asked or told, and nobody waits
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // takes calls and answers none
	require.NoError(t, err)
	t.Cleanup(func() { deaf.Close() })
	helper := filepath.Join(t.TempDir(), "helper")
	require.NoError(t, syscall.Mkfifo(helper+".pipe", 0o600))
	silent, err := os.OpenFile(helper+".pipe", os.O_RDWR, 0) // so that its reader waits, and ends with this test
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	require.NoError(t, os.WriteFile(helper, []byte("#!/bin/sh\nexec cat '"+helper+".pipe'\n"), 0o700))
	hangs := alice.prepared(t, "__complete", "show", "w")
	settings := filepath.Join(t.TempDir(), "vault.hcl")
	require.NoError(t, os.WriteFile(settings, []byte(`token_helper = "`+helper+`"`), 0o600))
	hangs.Env = append(hangs.Env, "VAULT_TOKEN=", "VAULT_CONFIG_PATH="+settings)
	for name, cmd := range map[string]*exec.Cmd{
		"Vault is away":       with(alice.prepared(t, "__complete", "show", "w"), "VAULT_ADDR=http://127.0.0.1:1"),
		"Vault is deaf":       with(alice.prepared(t, "__complete", "show", "w"), "VAULT_ADDR=http://"+deaf.Addr().String()),
		"no token":            with(alice.prepared(t, "__complete", "show", "w"), "VAULT_TOKEN="),
		"a dead token":        with(alice.prepared(t, "__complete", "connect", "w"), "VAULT_TOKEN=nothing"),
		"no such mount":       alice.prepared(t, "__complete", "--mount", "nothing", "show", "w"),
		"a helper that hangs": hangs,
	} {
		began := time.Now()
		at := sit(t, cmd)
		got := at.leaves(t)
		assert.Zero(t, got.exit, name)
		assert.Equal(t, noSpace+"\n", got.out, name)
		assert.Equal(t, "Completion ended with directive: ShellCompDirectiveNoSpace, ShellCompDirectiveNoFileComp\r\n",
			got.complaint, name)
		assert.Less(t, time.Since(began), 5*time.Second, name)
	}
}

// The script works in a real bash, as the tab key has it run.
func TestConnectorsCompletionInBash(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash here")
	}
	root := newKeys(t)
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	for _, name := range []string{"work", "web", "other"} {
		alice.write(t, "connections/self/"+name, key(apiKey))
	}
	prepared := alice.prepared(t)
	cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", `
set -u
source <(connectors completion bash) || exit 9
complete -p connectors
# as the package bash-completion has it, for a cursor at the end
_get_comp_words_by_ref() {
	words=("${line[@]}"); cword=$((${#line[@]} - 1)); cur=${line[cword]}; prev=${line[cword - 1]}
}
compopt() { :; }
COMP_TYPE=9
tab() { line=("$@"); COMPREPLY=(); __start_connectors connectors "${line[cword - 1]}" ""; echo "${COMPREPLY[@]}"; }
cword=1
tab connectors show w
tab connectors show wo
tab connectors exec --env K=we
tab connectors unsh
`)
	cmd.Env = append(prepared.Env, "PATH="+filepath.Dir(prepared.Path)+":"+os.Getenv("PATH"))
	got := ran(t, cmd)
	require.Zero(t, got.exit, got.complaint)
	assert.Equal(t, "complete -o default -F __start_connectors connectors\nweb work\nwork\nweb\nunshare\n", got.out)
	assert.Empty(t, got.complaint)
}

// with puts a variable into a command's environment.
func with(cmd *exec.Cmd, variable string) *exec.Cmd {
	cmd.Env = append(cmd.Env, variable)
	return cmd
}
