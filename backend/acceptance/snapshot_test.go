package acceptance

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// fence stops all refreshing from outside storage: a snapshot brings its own config back.
const fence = "CONNECTORS_REFRESH_PAUSED=1"

// restored is a mount whose snapshot is older than what happened at the providers.
type restored struct {
	*engine
	raft     *stack.RaftVault
	server   *stack.OIDC // of the connection "rotated": its refresh token was spent after the snapshot
	short    *service    // of the connection "dead": so was its, and its access token is dead
	cut      *service    // of the connection "cut": the snapshot was taken while it was being refreshed
	tokens   map[string]string
	snapshot []byte
}

func newRestored(t *testing.T, reuseWindow int) *restored {
	t.Helper()
	v, err := stack.StartVaultRaft(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	e := mountOn(t, v.Vault)
	r := &restored{
		engine: e, raft: v, short: e.newService(t, "short", providertest.WithLifetime(2*time.Second)),
		cut: e.newService(t, "cut"),
	}
	r.server = e.newOIDC(t, "idp", "basic", stack.OIDCOptions{
		RotateRefreshToken: "always", OIDCControl: stack.OIDCControl{ReuseWindow: reuseWindow},
	})
	e.connect(t, "rotated", "idp")
	r.tokens = map[string]string{"rotated": e.token(t, "rotated"), "cut": r.cut.adopt(t, "cut")}
	e.write(t, "providers/openai", nil)
	e.write(t, "connections/key", key("sk-acceptance-0123456789abcdef"))
	e.write(t, "connections/rotated", map[string]any{"label": "as in the snapshot"})

	e.ages(t, restless, "cut", "rotated")
	r.tokens["dead"] = r.short.adopt(t, "dead")
	kept, behavior := late()
	r.cut.Next("refresh", behavior)
	renewed := meanwhile(func() {
		_, err := e.renew(t.Context(), "cut")
		assert.NoError(t, err)
	})
	within(t, kept.made, "a refresh token is spent")
	r.snapshot, err = v.Snapshot(t.Context())
	require.NoError(t, err)
	close(kept.sent)
	within(t, renewed, "the answer is there")

	// What the snapshot does not know of.
	require.Empty(t, e.demand(t, "rotated"))
	require.NotEqual(t, r.tokens["rotated"], e.token(t, "rotated"))
	e.expires(t, "dead", r.short.Alive)
	require.True(t, r.short.Alive(e.token(t, "dead")))
	e.write(t, "connections/rotated", map[string]any{"label": "changed afterwards"})
	e.write(t, "connections/key", key("sk-acceptance-changed-afterwards"))
	e.write(t, "connections/later", key("sk-acceptance-made-afterwards-01"))
	r.requests(t, 1, 1, 1)
	return r
}

// requests asserts how many refreshes the providers of rotated, dead and cut have had.
func (r *restored) requests(t *testing.T, rotated, dead, cut int) {
	t.Helper()
	counts, err := r.server.Counts(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []int{rotated, dead, cut}, []int{
		counts.Received["refresh_token"], r.short.Count("refresh"), r.cut.Count("refresh"),
	})
}

// restore puts the snapshot in place, after everything was read once so that it could be remembered, and asserts that
// what is answered then is what it holds.
func (r *restored) restore(t *testing.T) {
	t.Helper()
	require.Equal(t, "changed afterwards", r.read(t, "connections/rotated")["label"])
	require.Equal(t, "sk-acceptance-changed-afterwards", r.read(t, "creds/key")["api_key"])
	require.Equal(t, "sk-acceptance-made-afterwards-01", r.read(t, "creds/later")["api_key"])
	require.Equal(t, json.Number("5"), r.read(t, "status")["connections"])
	require.NoError(t, r.raft.Restore(t.Context(), r.snapshot))
	require.Eventually(t, func() bool {
		answer, err := r.vault.Client.Logical().ReadWithContext(t.Context(), r.path+"/connections/rotated")
		return err == nil && answer != nil && answer.Data["label"] == "as in the snapshot"
	}, patience, 20*time.Millisecond)
	assert.Equal(t, "sk-acceptance-0123456789abcdef", r.read(t, "creds/key")["api_key"])
	r.absent(t, "connections/later")
	assert.Equal(t, json.Number("4"), r.read(t, "status")["connections"])
}

// Behind the fence a restored mount spends nothing, so it can be looked at before it is let loose.
func TestSnapshotRestoredPaused(t *testing.T) {
	t.Parallel()
	r := newRestored(t, 60)
	r.raft.SetEnv(fence)
	require.NoError(t, r.raft.Restart(t.Context()))
	r.restore(t)

	assert.Equal(t, true, r.read(t, "status")["refresh_paused"])
	assert.Equal(t, false, r.read(t, "config")["refresh_paused"], "it is not the mount's own setting")
	for _, name := range []string{"rotated", "dead", "cut"} {
		r.stands(t, name, "active", "")
	}
	token := r.token(t, "rotated")
	assert.Equal(t, r.tokens["rotated"], token)
	assert.True(t, knows(t, r.server, token), "the former access token lives on")
	assert.Equal(t, r.tokens["cut"], r.token(t, "cut"))
	r.refusesRead(t, http.StatusConflict, "paused", "creds/dead")
	r.refusesWrite(t, http.StatusConflict, "paused", "refresh/rotated", nil)
	r.requests(t, 1, 1, 1)

	// Let loose: what the providers make of tokens that were spent once is their business, and told by the status.
	r.raft.SetEnv()
	require.NoError(t, r.raft.Restart(t.Context()))
	assert.Equal(t, false, r.read(t, "status")["refresh_paused"])
	r.settles(t, "cut", "refresh_outcome_unknown")
	r.refusesRead(t, http.StatusConflict, "grant_refused", "creds/dead")
	r.stands(t, "dead", "needs_reconnect", "grant_refused")
	assert.Empty(t, r.demand(t, "rotated"))
	token = r.token(t, "rotated")
	assert.True(t, knows(t, r.server, token), "this provider has a reuse window")
	assert.NotEqual(t, r.tokens["rotated"], token)
	r.requests(t, 2, 2, 2)
}

// settles waits until a connection needs to be reconnected, and asserts why.
func (e *engine) settles(t *testing.T, name, reason string) {
	t.Helper()
	require.Eventually(t, func() bool {
		return e.read(t, "connections/"+name)["status"] == "needs_reconnect"
	}, patience, 20*time.Millisecond)
	e.stands(t, name, "needs_reconnect", reason)
}

// Without the fence the first refresh of each grant spends what was spent before. That cannot be undone; the status
// says who must consent again, and nobody is asked twice.
func TestSnapshotRestored(t *testing.T) {
	t.Parallel()
	r := newRestored(t, 0)
	r.restore(t)
	assert.Equal(t, false, r.read(t, "status")["refresh_paused"])
	r.settles(t, "cut", "refresh_outcome_unknown") // it has an intent, so nobody needs to read it
	for range 2 {
		r.refusesWrite(t, http.StatusConflict, "grant_refused", "refresh/rotated", nil)
		token, warnings, err := r.insist(t.Context(), "rotated", time.Hour)
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "needs to be reconnected (grant_refused)")
		assert.False(t, knows(t, r.server, token))
		r.refusesRead(t, http.StatusConflict, "grant_refused", "creds/dead")
	}
	r.stands(t, "rotated", "needs_reconnect", "grant_refused")
	r.stands(t, "dead", "needs_reconnect", "grant_refused")
	assert.Equal(t, json.Number("3"), r.read(t, "status")["by_status"].(map[string]any)["needs_reconnect"])
	r.requests(t, 2, 2, 2)
}
