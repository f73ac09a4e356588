package acceptance

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// TestActiveNodePartitioned has one cluster whose active node goes on running, with its clients and its providers,
// while its peers do not hear it, or it does not hear them, or both. They elect another.
func TestActiveNodePartitioned(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the network is cut by who holds a connection, which only Linux tells")
	}
	t.Parallel()
	cluster, err := stack.StartCluster(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(cluster.Stop)

	t.Run("in both directions", func(t *testing.T) {
		o := newOutage(t, cluster)
		forgiven, unforgiven := o.account(t, "forgiven", 60), o.account(t, "unforgiven", 0)
		unspent := o.account(t, "unspent", 0)
		former := o.alone(t)
		o.ages(t, restless, "unspent")
		ctx, hangUp := context.WithCancel(t.Context())
		defer hangUp()
		asked := []*demand{forgiven.spend(t, ctx, 4*time.Second), unforgiven.spend(t, ctx, 4*time.Second)}
		t.Cleanup(cluster.Heal)
		require.NoError(t, cluster.Isolate(o.former))
		// For half a second it does not know that it leads no more, and tries. Later it refuses, which is as good.
		_, err := former.renew(ctx, "unspent")
		var refused *api.ResponseError
		require.ErrorAs(t, err, &refused)
		if words := strings.Join(refused.Errors, "\n"); strings.Contains(words, "org/default/unspent") {
			assert.Contains(t, words, "storage refuses the intent")
		}
		hangUp()
		for _, d := range asked {
			within(t, d.done, "the caller is gone")
		}
		o.succeeded(t)
		forgiven.answered(t, 2)
		unforgiven.answered(t, 1)
		forgiven.recovers(t, 2, 2)
		unforgiven.isLost(t, 2, 1)
		require.NoError(t, o.former.AwaitStandby(t.Context()))
		refreshes(t, unspent.server, 0, 0)
		o.returns(t, cluster.Heal)
		_, err = o.renew(t.Context(), "unspent")
		require.NoError(t, err)
		unspent.recovers(t, 1, 1) // nothing is left of the refresh that came to nothing
	})

	for name, cut := range map[string]func(*stack.Node) error{"mute": cluster.Mute, "deaf": cluster.Deafen} {
		t.Run(name, func(t *testing.T) {
			o := newOutage(t, cluster)
			forgiven, unforgiven := o.account(t, "forgiven", 60), o.account(t, "unforgiven", 0)
			prompt := o.newService(t, "prompt")
			all := []*spent{forgiven.spent(t), unforgiven.spent(t), prompt.spent(t)}
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			kept, behavior := late()
			prompt.Next("refresh", behavior)
			o.ages(t, restless, "forgiven", "unforgiven", "prompt")
			asked := []<-chan struct{}{
				forgiven.spend(t, ctx, 4*time.Second).done,
				unforgiven.spend(t, ctx, 4*time.Second).done,
				meanwhile(func() { _, _ = o.renew(ctx, "prompt") }),
			}
			within(t, kept.made, "the refresh token is spent")
			t.Cleanup(cluster.Heal)
			require.NoError(t, cut(o.former))
			close(kept.sent) // while the node believes that it leads: its peers may get to know this token, or not
			hangUp()
			for _, done := range asked {
				within(t, done, "the caller is gone")
			}
			o.succeeded(t)
			for _, s := range all {
				s.settles(t, o)
			}
			cluster.Heal() // the former node still has tokens that it could not save
			active, err := cluster.Settled(t.Context())
			require.NoError(t, err)
			o.vault = active.Vault
			for _, s := range all {
				assert.Equal(t, s.latest, o.token(t, s.name), "an older token has taken the place of a newer")
				s.settles(t, o)
				assert.LessOrEqual(t, s.requests(), len(cluster.Nodes), "each node may ask once, at most, when it begins to lead")
			}
			o.stands(t, "forgiven", "active", "")
		})
	}
}

// alone is the mount as the former node answers for it by itself, without leaving anything to the one that leads.
func (o *outage) alone(t *testing.T) *engine {
	t.Helper()
	config := o.former.Client.CloneConfig()
	config.DisableRedirects, config.MaxRetries = true, 0
	client, err := api.NewClient(config)
	require.NoError(t, err)
	client.ClearNamespace()
	client.SetToken(o.former.Token)
	vault := *o.former.Vault
	vault.Client = client
	return &engine{vault: &vault, path: o.path}
}

// spent is a connection whose refresh token is spent when the network fails.
type spent struct {
	name           string
	former, latest string // access tokens
	alive          func(token string) bool
	requests       func() int
}

func (a *account) spent(t *testing.T) *spent {
	return &spent{
		name: a.name, former: a.former,
		alive: func(token string) bool { return knows(t, a.server, token) },
		requests: func() int {
			counts, err := a.server.Counts(t.Context())
			require.NoError(t, err)
			return counts.Received["refresh_token"]
		},
	}
}

func (s *service) spent(t *testing.T) *spent {
	return &spent{
		name: s.provider, former: s.adopt(t, s.provider),
		alive: s.Alive, requests: func() int { return s.Count("refresh") },
	}
}

// settles waits until the connection has a token that came of the refresh, or says that it was lost.
func (s *spent) settles(t *testing.T, o *outage) {
	t.Helper()
	require.Eventually(t, func() bool {
		return o.token(t, s.name) != s.former || o.read(t, "connections/"+s.name)["status"] != "active"
	}, patience, 20*time.Millisecond)
	if s.latest = o.token(t, s.name); s.latest == s.former {
		o.stands(t, s.name, "needs_reconnect", "refresh_outcome_unknown")
	} else {
		o.stands(t, s.name, "active", "")
		assert.True(t, s.alive(s.latest))
	}
}
