package acceptance

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// The steps of the chapter, while an application reads without pause: it notices nothing.
func TestUpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	const version = "v99.0.0-upgrade"
	v := ownVault(t)
	binary := filepath.Join(filepath.Dir(v.AuditFile), "plugins", stack.PluginName+"-"+version)
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-X "+versionVariable+"="+version, "-o", binary,
		"../../cmd/"+stack.PluginName)
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	e := mountOn(t, v)
	e.write(t, "providers/openai", nil)
	e.write(t, "connections/openai", key(apiKey))
	require.NotEqual(t, version, e.read(t, "status")["version"])

	reader := e.as(t, v.Token) // who does not ask twice
	var reads, failed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			answer, err := reader.vault.Client.Logical().ReadWithContext(context.WithoutCancel(ctx), e.path+"/creds/openai")
			if reads.Add(1); err != nil || answer == nil || answer.Data["api_key"] != apiKey {
				failed.Add(1)
			}
		}
	}()
	mount := regexp.MustCompile(`([ =])connectors\b`)
	steps := mount.ReplaceAllString(commands(t, "## Upgrading under load"), "${1}"+e.path)
	e.shell(t, steps, nil, "BINARY="+binary, "VERSION="+version)
	assert.Equal(t, version, e.read(t, "status")["version"])
	stop()
	<-done
	assert.Positive(t, reads.Load())
	assert.Zero(t, failed.Load(), "of %d reads", reads.Load())
}

// What the chapter says to run: every grant is revoked at its service before the mount goes.
func TestRemovedMount(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service")
	e.write(t, "providers/service", map[string]any{"client_secret": providertest.ClientSecret, "endpoints": map[string]string{
		"authorize": s.URL + "/authorize", "token": s.URL + "/token", "identity": s.URL + "/userinfo",
		"revoke": s.URL + "/revoke",
	}})
	e.write(t, "providers/openai", nil)
	names := []string{"account", "org/acme/account", "user/u-17/account", "user/shop:42|a~b@c/account"}
	var tokens []string
	for _, name := range names {
		s.Next("identity", providertest.Respond(http.StatusOK, `{"sub":"of `+name+`"}`))
		tokens = append(tokens, s.adopt(t, name))
		e.write(t, path.Dir("connections/"+name)+"/openai", key(apiKey))
	}
	e.shell(t, strings.ReplaceAll(recipe(t, "delete-connections.sh"), "connectors", e.path), nil)
	for i, token := range tokens {
		assert.False(t, s.Alive(token), names[i])
	}
	assert.EqualValues(t, json.Number("0"), e.read(t, "status")["connections"])

	steps := commands(t, "## Removing a mount")
	run := regexp.MustCompile(`([ =])connectors\b`).ReplaceAllString(steps, "${1}"+e.path)
	e.write(t, "connections/openai", key(apiKey))
	e.shell(t, "cd ../..\n"+run, nil)
	mounts, err := e.vault.Client.Sys().ListMountsWithContext(t.Context())
	require.NoError(t, err)
	assert.NotContains(t, mounts, e.path+"/")
}

func TestMovedMount(t *testing.T) {
	t.Parallel()
	e := newKeys(t)
	e.write(t, "config", map[string]any{"public_url": e.vault.Addr})
	e.write(t, "providers/service", map[string]any{
		"definition": "oauth2", "client_id": "app", "client_secret": appSecret,
		"endpoints": map[string]string{
			"authorize": "https://service.example/authorize", "token": "https://service.example/token",
		},
	})
	e.write(t, "connections/openai", key(apiKey))
	e.write(t, "auth-code-url/pending", map[string]any{"provider": "service"})
	require.Equal(t, e.url()+"/callback/service", e.read(t, "providers/service")["callback_url"])

	moved := &engine{vault: e.vault, path: e.path + "-moved"}
	require.NoError(t, e.vault.Client.Sys().RemountWithContext(t.Context(), e.path, moved.path))
	t.Cleanup(func() { _ = e.vault.Client.Sys().UnmountWithContext(context.Background(), moved.path) })
	assert.Equal(t, apiKey, moved.read(t, "creds/openai")["api_key"])
	assert.Equal(t, moved.url()+"/callback/service", moved.read(t, "providers/service")["callback_url"])
	assert.Equal(t, "pending", moved.read(t, "connections/pending")["status"])
	assert.Equal(t, []any{"service"}, moved.read(t, "status")["moved_callbacks"])
	assert.Equal(t, http.StatusOK, get(t, moved.callback("service"), nil).Status)
}

// A socket's path has a length that it cannot exceed, and the temporary folder is most of it.
func TestSocketPaths(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	longest := 90
	if runtime.GOOS == "darwin" {
		longest = 86
	}
	long := dir + "/" + strings.Repeat("x", longest-len(dir))
	require.NoError(t, os.Mkdir(long, 0o700))
	require.NoError(t, os.Mkdir(long[:longest], 0o700))
	start := func(environment ...string) error {
		v, err := stack.StartVaultDev(t.Context(), suite.tools, stack.VaultOptions{Env: environment})
		if err != nil {
			return err
		}
		defer v.Stop()
		if err := v.Mount(t.Context(), "connectors"); err != nil {
			log, lerr := os.ReadFile(v.LogFile)
			require.NoError(t, lerr)
			assert.Contains(t, string(log), "bind: invalid argument")
			return err
		}
		return nil
	}
	assert.Error(t, start("TMPDIR="+long))
	assert.NoError(t, start("TMPDIR="+long[:longest]), "as long as it can be")
}

// What the chapter on restoring warns of.
func TestRestoringUndoes(t *testing.T) {
	t.Parallel()
	v, err := stack.StartVaultRaft(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	root := mountOn(t, v.Vault)
	root.write(t, "providers/openai", map[string]any{"definition": "openai"})
	alice := root.logIn(t, "alice", everything)
	alice.write(t, "connections/self/openai", key(apiKey))
	alice.write(t, "connections/self/openai", map[string]any{"private": false})
	for _, name := range []string{"off", "gone", "latest"} {
		root.write(t, "connections/"+name, key(apiKey))
	}
	snapshot, err := v.Snapshot(t.Context())
	require.NoError(t, err)

	hers := "creds/user/" + alice.entity + "/openai"
	alice.write(t, "connections/self/openai", map[string]any{"private": true})
	root.write(t, "connections/off", map[string]any{"disabled": true})
	root.remove(t, "connections/gone")
	root.remove(t, "connections/latest")
	root.refusesRead(t, http.StatusForbidden, "is private", hers)
	require.NoError(t, v.Restore(t.Context(), snapshot))
	require.Eventually(t, func() bool {
		answer, err := v.Client.Logical().ReadWithContext(t.Context(), root.path+"/creds/latest")
		return err == nil && answer != nil
	}, patience, 100*time.Millisecond, "the snapshot is in place")
	for _, path := range []string{hers, "creds/off", "creds/gone"} {
		assert.Equal(t, apiKey, root.read(t, path)["api_key"], path)
	}
}

// What the chapter on debug mode says to write.
func TestDebugCommands(t *testing.T) {
	t.Parallel()
	e := newKeys(t)
	e.write(t, "connections/openai", key(apiKey))
	mount := regexp.MustCompile(`([ =])connectors\b`)
	steps := commands(t, "## Debug mode")
	e.shell(t, mount.ReplaceAllString(strings.ReplaceAll(steps, "vault write -f connectors/check/openai\n", ""), "${1}"+e.path), nil)
	for _, path := range []string{"connections/openai", "providers/openai"} {
		assert.NotEmpty(t, e.read(t, path)["debug_until"], path)
	}
}

// What the chapter on restoring says to write and to read.
func TestRestoreGuardCommands(t *testing.T) {
	t.Parallel()
	e := newKeys(t)
	e.write(t, "config", map[string]any{"refresh_paused": true, "refresh_paused_reason": "restore_suspected"})
	mount := regexp.MustCompile(`([ =])connectors\b`)
	out := e.shell(t, mount.ReplaceAllString(commands(t, "## Restoring a snapshot"), "${1}"+e.path), nil)
	assert.Regexp(t, `refresh_paused_reason +restore_suspected`, out)
	assert.Regexp(t, `restored_gap +0`, out)
	config := e.read(t, "config")
	assert.Equal(t, []any{false, "", json.Number("604800")}, []any{
		config["refresh_paused"], config["refresh_paused_reason"], config["restore_guard"],
	})
}
