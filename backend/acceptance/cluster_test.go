package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// outage is a mount on a cluster that is about to lose its active node, with one connection, "account".
type outage struct {
	*engine
	cluster *stack.Cluster
	former  *stack.Node // active when it begins
	server  *stack.OIDC
	token   string // of the account, when it begins
}

func newOutage(t *testing.T, cluster *stack.Cluster, reuseWindow int) *outage {
	t.Helper()
	active, err := cluster.Active(t.Context())
	require.NoError(t, err)
	o := &outage{engine: mountOn(t, active.Vault), cluster: cluster, former: active}
	o.server = o.newOIDC(t, "idp", "basic", stack.OIDCOptions{
		RotateRefreshToken: "always", OIDCControl: stack.OIDCControl{ReuseWindow: reuseWindow},
	})
	o.connect(t, "account", "idp")
	o.token = o.engine.token(t, "account")
	return o
}

// spend makes a caller demand a new token, and returns when the provider has taken the refresh token. Its answer takes
// that long, those after it come at once.
func (o *outage) spend(t *testing.T, ctx context.Context, answer time.Duration, reuseWindow int) (token *string, err *error, done <-chan struct{}) {
	t.Helper()
	control := stack.OIDCControl{TokenDelayMS: int(answer.Milliseconds()), ReuseWindow: reuseWindow}
	require.NoError(t, o.server.Control(t.Context(), control))
	token, err = new(string), new(error)
	done = meanwhile(func() { *token, _, *err = o.renew(ctx, "account") })
	received(t, o.server, 1)
	control.TokenDelayMS = 0
	require.NoError(t, o.server.Control(t.Context(), control))
	return token, err, done
}

// succeeded waits for another active node, and goes on there.
func (o *outage) succeeded(t *testing.T) {
	t.Helper()
	active, err := o.cluster.Active(t.Context(), o.former)
	require.NoError(t, err)
	o.vault = active.Vault
}

// ends asserts what is left of the account, and of how many requests. The token works at the provider, or nobody says so.
func (o *outage) ends(t *testing.T, good bool, requests, answered int) {
	t.Helper()
	received(t, o.server, requests) // the last without a reader
	status, reason, token := "active", "", ""
	if good {
		token = o.serves(t, "account", func(token string) bool { return token != o.token })
	} else {
		status, reason = "needs_reconnect", "refresh_outcome_unknown"
		require.Eventually(t, func() bool { return o.read(t, "connections/account")["status"] == status }, patience, 20*time.Millisecond)
		token = o.engine.token(t, "account")
		assert.Equal(t, o.token, token)
	}
	o.stands(t, "account", status, reason)
	assert.Equal(t, good, knows(t, o.server, token))
	refreshes(t, o.server, requests, answered)
}

// returns brings the former active node back as a standby, and asserts that it changes nothing.
func (o *outage) returns(t *testing.T, how func()) {
	t.Helper()
	before, token := o.read(t, "connections/account"), o.engine.token(t, "account")
	counts, err := o.server.Counts(t.Context())
	require.NoError(t, err)
	how()
	require.NoError(t, o.former.AwaitStandby(t.Context()))

	assert.Equal(t, before, o.read(t, "connections/account"))
	assert.Equal(t, token, o.engine.token(t, "account"))
	standby := &engine{vault: o.former.Vault, path: o.path}
	assert.Equal(t, token, standby.token(t, "account"), "what it is asked, it passes on")
	after, err := o.server.Counts(t.Context())
	require.NoError(t, err)
	assert.Equal(t, counts, after)
}

// TestActiveNodeLost has one cluster lose its active node again and again while a refresh is in flight.
func TestActiveNodeLost(t *testing.T) {
	t.Parallel()
	cluster, err := stack.StartCluster(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(cluster.Stop)

	const never = time.Hour
	windows := map[string]struct {
		seconds int
		good    bool // whether the account survives the loss of an answer
	}{
		"with a reuse window":    {60, true},
		"without a reuse window": {0, false},
	}

	for name, w := range windows {
		t.Run("killed "+name, func(t *testing.T) {
			o := newOutage(t, cluster, w.seconds)
			_, _, asked := o.spend(t, t.Context(), never, w.seconds)
			o.former.Kill()
			within(t, asked, "the caller has an answer")
			o.succeeded(t)
			answered := 0
			if w.good {
				answered = 1
			}
			o.ends(t, w.good, 2, answered)
			require.Eventually(t, func() bool {
				orphans, err := o.former.Orphans()
				return err == nil && len(orphans) == 0
			}, patience, 20*time.Millisecond, "the orphaned plugin lives on")
			o.returns(t, func() { require.NoError(t, o.former.Restart(t.Context())) })
		})
	}

	// Who gives leadership up in good order waits for what is in flight.
	for name, way := range map[string]struct {
		leave, back func(*stack.Node) error
	}{
		"stepped down": {
			leave: func(n *stack.Node) error { return n.Client.Sys().StepDownWithContext(t.Context()) },
			back:  func(*stack.Node) error { return nil },
		},
		"sealed": {
			leave: func(n *stack.Node) error { return n.Client.Sys().SealWithContext(t.Context()) },
			back:  func(n *stack.Node) error { return n.Unseal(t.Context()) },
		},
	} {
		for caller, stays := range map[string]bool{"its caller waits": true, "its caller is gone": false} {
			t.Run(name+" while "+caller, func(t *testing.T) {
				o := newOutage(t, cluster, 0)
				ctx, hangUp := context.WithCancel(t.Context())
				defer hangUp()
				token, err, asked := o.spend(t, ctx, 1500*time.Millisecond, 0)
				if !stays {
					hangUp()
					within(t, asked, "the caller is gone")
					require.ErrorIs(t, *err, context.Canceled)
				}
				refreshes(t, o.server, 1, 0)
				require.NoError(t, way.leave(o.former))
				o.succeeded(t)
				o.ends(t, true, 1, 1)
				if stays {
					within(t, asked, "the caller has an answer")
					require.NoError(t, *err)
					assert.Equal(t, o.engine.token(t, "account"), *token)
				}
				o.returns(t, func() { require.NoError(t, way.back(o.former)) })
			})
		}
	}

	// The answer reaches a plugin that was deposed and cannot know: its storage is silent. Its successor has asked meanwhile.
	for name, w := range windows {
		t.Run("paused "+name, func(t *testing.T) {
			o := newOutage(t, cluster, w.seconds)
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			_, _, asked := o.spend(t, ctx, 4*time.Second, w.seconds)
			o.former.Pause()
			hangUp() // or its client would repeat what was cut off
			within(t, asked, "the caller is gone")
			o.succeeded(t)
			received(t, o.server, 2)
			late := 1
			if w.good {
				late = 2
			}
			require.Eventually(t, func() bool {
				counts, err := o.server.Counts(t.Context())
				return err == nil && counts.Answered["refresh_token"] == late
			}, patience, 20*time.Millisecond, "the deposed node has its answer")
			o.ends(t, w.good, 2, late)
			o.returns(t, o.former.Continue)
		})
	}

	// A request that was sent and not answered is made once more, at once, but not by a node that was deposed.
	t.Run("paused until it gives up the provider", func(t *testing.T) {
		o := newOutage(t, cluster, 0)
		o.write(t, "config", map[string]any{"request_timeout": 2})
		s := o.newService(t, "service")
		former := s.adopt(t, "other")
		spent, left := make(chan struct{}), make(chan struct{})
		s.Next("refresh", func(_ *providertest.Server, _ http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
			behave(httptest.NewRecorder(), r)
			close(spent)
			<-r.Context().Done()
			close(left)
		})
		ctx, hangUp := context.WithCancel(t.Context())
		defer hangUp()
		asked := meanwhile(func() { _, _, _ = o.renew(ctx, "other") })
		within(t, spent, "the refresh token is spent")
		o.former.Pause()
		hangUp()
		within(t, asked, "the caller is gone")
		within(t, left, "the deposed node gives the provider up")
		o.succeeded(t)
		require.Eventually(t, func() bool { return o.read(t, "connections/other")["status"] == "needs_reconnect" }, patience, 20*time.Millisecond)
		o.stands(t, "other", "needs_reconnect", "refresh_outcome_unknown")
		o.returns(t, o.former.Continue)
		o.stands(t, "other", "needs_reconnect", "refresh_outcome_unknown")
		assert.False(t, s.Alive(former))
		assert.Equal(t, 2, s.Count("refresh"))
	})
}
