package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// TestActiveNodeLost has one cluster lose its active node again and again while refreshes are in flight.
func TestActiveNodeLost(t *testing.T) {
	t.Parallel()
	cluster, err := stack.StartCluster(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(cluster.Stop)

	t.Run("killed", func(t *testing.T) {
		o := newOutage(t, cluster)
		forgiven, unforgiven := o.account(t, "forgiven", 60), o.account(t, "unforgiven", 0)
		for _, a := range []*account{forgiven, unforgiven} {
			a.spend(t, t.Context(), time.Hour) // no answer leaves before the node is dead
		}
		o.former.Kill()
		o.succeeded(t)
		forgiven.recovers(t, 2, 1)
		unforgiven.isLost(t, 2, 0)
		require.Eventually(t, func() bool {
			orphans, err := o.former.Orphans()
			return err == nil && len(orphans) == 0
		}, patience, 20*time.Millisecond, "the orphaned plugin lives on")
		o.returns(t, func() { require.NoError(t, o.former.Restart(t.Context())) })
	})

	// A poll for a device code is under way as the node dies: the next one asks when that is due, and gets the tokens.
	t.Run("killed during a device poll", func(t *testing.T) {
		o := newOutage(t, cluster)
		s, flow := o.types(t)
		asked := make(chan struct{})
		s.Next(providertest.StepPoll, func(_ *providertest.Server, _ http.ResponseWriter, r *http.Request,
			_ http.HandlerFunc,
		) {
			close(asked)
			<-r.Context().Done()
		})
		within(t, asked, "the code is asked about")
		o.former.Kill()
		s.Agree(t, flow["user_code"].(string))
		o.succeeded(t)
		require.Equal(t, "connected", o.deviceState(t, "tv")["state"])
		assert.True(t, s.Alive(o.token(t, "tv")))
		o.returns(t, func() { require.NoError(t, o.former.Restart(t.Context())) })
	})

	// A node that was deposed and cannot know asks nobody: it could not store what it got.
	t.Run("paused during a device flow", func(t *testing.T) {
		o := newOutage(t, cluster)
		s, flow := o.types(t)
		require.Eventually(t, func() bool { return s.Count(providertest.StepPoll) > 0 }, patience, 20*time.Millisecond)
		o.former.Pause()
		s.Agree(t, flow["user_code"].(string))
		o.succeeded(t)
		require.Equal(t, "connected", o.deviceState(t, "tv")["state"])
		assert.True(t, s.Alive(o.token(t, "tv")))
		o.returns(t, o.former.Continue)
		assert.Equal(t, "connected", o.read(t, "device-code/tv")["state"])
		assert.True(t, s.Alive(o.token(t, "tv")))
	})

	// What is picked while the node dies is not picked: the grant stands, and the next node takes the word again.
	t.Run("killed during a choice", func(t *testing.T) {
		o := newOutage(t, cluster)
		var state atomic.Int32 // of the list of sites: away, hanging, there
		asked := make(chan struct{})
		s := o.own(t, func(w http.ResponseWriter, r *http.Request) bool {
			switch state.Load() {
			case 0:
				w.WriteHeader(http.StatusServiceUnavailable)
			case 1:
				close(asked)
				<-r.Context().Done()
			}
			return state.Load() != 2
		})
		made := o.write(t, "exchange", s.consent(t, "x"))
		require.Equal(t, []any{"pending", "choice"}, []any{made["status"], made["status_reason"]})
		state.Store(1)
		pick := map[string]any{"inputs": map[string]any{"site": "two"}}
		former := o.engine.vault
		picked := meanwhile(func() {
			_, err := former.Client.Logical().WriteWithContext(t.Context(), o.path+"/connections/x", pick)
			assert.Error(t, err)
		})
		within(t, asked, "the service is asked which sites there are")
		o.former.Kill()
		within(t, picked, "the caller hears of it")
		state.Store(2)
		o.succeeded(t)
		made = o.read(t, "connections/x")
		assert.Equal(t, []any{"pending", "choice"}, []any{made["status"], made["status_reason"]})
		assert.Equal(t, "active", o.write(t, "connections/x", pick)["status"])
		creds := o.read(t, "creds/x")
		assert.Equal(t, map[string]any{"site": "two", "site_url": "https://two.example.com"}, creds["connection_config"])
		assert.True(t, s.Alive(creds["access_token"].(string)))
		o.returns(t, func() { require.NoError(t, o.former.Restart(t.Context())) })
	})

	// What a person brought by a link is parked in storage: the next node connects it.
	t.Run("killed before a link is finished", func(t *testing.T) {
		o := newOutage(t, cluster)
		desk := o.newKeyService(t, deskKey)
		link := o.write(t, "connect-link/desk", map[string]any{"provider": "desk"})
		code := shownCode.FindStringSubmatch(presses(t, link["url"].(string), map[string]string{"key.api_key": deskKey}).Body)
		require.NotNil(t, code)
		o.former.Kill()
		o.succeeded(t)
		made := o.write(t, "exchange", map[string]any{"flow_id": link["flow_id"], "confirmation_code": code[1]})
		assert.Equal(t, "active", made["status"])
		assert.Equal(t, deskKey, o.read(t, "creds/desk")["api_key"])
		assert.NotEmpty(t, desk.asked)
		o.returns(t, func() { require.NoError(t, o.former.Restart(t.Context())) })
	})

	// The answers reach a plugin that was deposed and cannot know: its storage is silent. Its successor asks meanwhile.
	t.Run("paused", func(t *testing.T) {
		o := newOutage(t, cluster)
		forgiven, unforgiven := o.account(t, "forgiven", 60), o.account(t, "unforgiven", 0)
		// An answer that does not come is asked for once more, at once, but not by a node that was deposed.
		silent := o.newService(t, "silent")
		former := silent.adopt(t, "silent")
		spent, left := make(chan struct{}), make(chan struct{})
		silent.Next("refresh", func(
			_ *providertest.Server, _ http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			behave(httptest.NewRecorder(), r)
			close(spent)
			<-r.Context().Done()
			close(left)
		})
		o.write(t, "config", map[string]any{"request_timeout": 5})
		o.ages(t, restless, "silent", "forgiven", "unforgiven")

		ctx, hangUp := context.WithCancel(t.Context())
		defer hangUp()
		silently := meanwhile(func() { _, _ = o.renew(ctx, "silent") })
		within(t, spent, "the refresh token is spent")
		asked := []*demand{forgiven.spend(t, ctx, 4*time.Second), unforgiven.spend(t, ctx, 4*time.Second)}
		o.former.Pause()
		hangUp() // else the clients would repeat what is cut off
		for _, d := range asked {
			within(t, d.done, "the caller is gone")
		}
		within(t, silently, "the caller is gone")
		o.succeeded(t)
		within(t, left, "the deposed node gives the silent provider up")
		forgiven.answered(t, 2)
		unforgiven.answered(t, 1)
		forgiven.recovers(t, 2, 2)
		unforgiven.isLost(t, 2, 1)
		o.settles(t, "silent", "refresh_outcome_unknown")
		o.returns(t, o.former.Continue)
		o.stands(t, "silent", "needs_reconnect", "refresh_outcome_unknown")
		assert.False(t, silent.Alive(former))
		assert.Equal(t, 2, silent.Count("refresh"))
	})

	// The node goes on running and finds that the others do not answer: it may not write what it gets to hear.
	t.Run("cut off", func(t *testing.T) {
		o := newOutage(t, cluster)
		forgiven, unforgiven := o.account(t, "forgiven", 60), o.account(t, "unforgiven", 0)
		ctx, hangUp := context.WithCancel(t.Context())
		defer hangUp()
		asked := []*demand{forgiven.spend(t, ctx, 4*time.Second), unforgiven.spend(t, ctx, 4*time.Second)}
		others := func(do func(*stack.Node)) {
			for _, n := range cluster.Nodes {
				if n != o.former {
					do(n)
				}
			}
		}
		others((*stack.Node).Pause)
		hangUp()
		for _, d := range asked {
			within(t, d.done, "the caller is gone")
		}
		forgiven.answered(t, 1)
		unforgiven.answered(t, 1)
		require.NoError(t, o.former.AwaitStandby(t.Context()))
		others((*stack.Node).Continue)
		active, err := cluster.Active(t.Context()) // perhaps the same
		require.NoError(t, err)
		o.vault = active.Vault
		forgiven.recovers(t, 2, 2)
		unforgiven.isLost(t, 2, 1)
	})

	// Who gives leadership up in good order waits for what is in flight. Stepping down comes last: for ten seconds that
	// node would not lead, even if the others chose it.
	for _, way := range []struct {
		name        string
		leave, back func(*stack.Node) error
	}{
		{
			name:  "sealed",
			leave: func(n *stack.Node) error { return n.Client.Sys().SealWithContext(t.Context()) },
			back:  func(n *stack.Node) error { return n.Unseal(t.Context()) },
		},
		{
			name:  "stepped down",
			leave: func(n *stack.Node) error { return n.Client.Sys().StepDownWithContext(t.Context()) },
			back:  func(*stack.Node) error { return nil },
		},
	} {
		t.Run(way.name, func(t *testing.T) {
			o := newOutage(t, cluster)
			stays, left := o.account(t, "stays", 0), o.account(t, "left", 0)
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			// Vault waits for the caller who stays; of the other one only the plugin knows.
			gone := left.spend(t, ctx, 4*time.Second)
			waits := stays.spend(t, t.Context(), 2*time.Second)
			hangUp()
			within(t, gone.done, "the caller is gone")
			require.ErrorIs(t, gone.err, context.Canceled)
			refreshes(t, left.server, 1, 0)

			gives := meanwhile(func() { assert.NoError(t, way.leave(o.former)) })
			within(t, waits.done, "the caller has an answer")
			within(t, gives, "the node gives its place up")
			require.NoError(t, waits.err)
			o.succeeded(t)
			for _, a := range []*account{stays, left} {
				a.recovers(t, 1, 1)
			}
			assert.Equal(t, o.read(t, "connections/stays")["last_rotation"], waits.answer.Data["last_rotation"])
			o.returns(t, func() { require.NoError(t, way.back(o.former)) })
		})
	}
}

// outage is a mount on a cluster that is about to lose its active node.
type outage struct {
	*engine
	cluster  *stack.Cluster
	former   *stack.Node // active when it begins
	accounts []*account
}

func newOutage(t *testing.T, cluster *stack.Cluster) *outage {
	t.Helper()
	active, err := cluster.Active(t.Context())
	require.NoError(t, err)
	return &outage{engine: mountOn(t, active.Vault), cluster: cluster, former: active}
}

// succeeded waits for another active node, and goes on there.
func (o *outage) succeeded(t *testing.T) {
	t.Helper()
	active, err := o.cluster.Active(t.Context(), o.former)
	require.NoError(t, err)
	o.vault = active.Vault
}

// returns brings the former active node back as a standby, and asserts that this changes nothing and asks nobody.
func (o *outage) returns(t *testing.T, how func()) {
	t.Helper()
	state := func() (all []any) {
		for _, a := range o.accounts {
			counts, err := a.server.Counts(t.Context())
			require.NoError(t, err)
			metadata := o.read(t, "connections/"+a.name)
			delete(metadata, "last_used") // which this very look may change
			delete(metadata, "readers")
			all = append(all, metadata, o.token(t, a.name), counts)
		}
		return all
	}
	before := state()
	how()
	require.NoError(t, o.former.AwaitStandby(t.Context()))
	assert.Equal(t, before, state())
	require.Eventually(t, func() bool {
		for _, a := range o.accounts {
			answer, err := o.former.Client.Logical().ReadWithContext(t.Context(), o.path+"/creds/"+a.name)
			if err != nil || answer.Data["access_token"] != o.token(t, a.name) {
				return false
			}
		}
		return true
	}, patience, 20*time.Millisecond, "the standby does not pass on what it is asked")
}

// account is a connection of an outage, at a provider of the same name that rotates each refresh token.
type account struct {
	*outage
	name   string
	window int // seconds in which its provider takes a spent refresh token again
	server *stack.OIDC
	former string // access token when the outage begins
}

func (o *outage) account(t *testing.T, name string, reuseWindow int) *account {
	t.Helper()
	a := &account{outage: o, name: name, window: reuseWindow}
	a.server = o.newOIDC(t, name, "basic", stack.OIDCOptions{RotateRefreshToken: "always"})
	o.connect(t, name, name)
	a.former = o.token(t, name)
	o.accounts = append(o.accounts, a)
	return a
}

// demand is a caller's demand for a new token. The other fields are set when done is closed.
type demand struct {
	done   <-chan struct{}
	answer *api.Secret
	err    error
}

// spend demands a new token, and returns when the provider has taken the refresh token. Its answer takes that long;
// later ones come at once.
func (a *account) spend(t *testing.T, ctx context.Context, answer time.Duration) *demand {
	t.Helper()
	a.ages(t, restless, a.name)
	control := stack.OIDCControl{TokenDelayMS: int(answer.Milliseconds()), ReuseWindow: a.window}
	require.NoError(t, a.server.Control(t.Context(), control))
	d := &demand{}
	d.done = meanwhile(func() { d.answer, d.err = a.renew(ctx, a.name) })
	received(t, a.server, 1)
	control.TokenDelayMS = 0
	require.NoError(t, a.server.Control(t.Context(), control))
	return d
}

// answered waits until so many refreshes were answered with tokens, whoever was there to hear it. A first try by a
// successor may fail, and the next one waits.
func (a *account) answered(t *testing.T, refreshes int) {
	t.Helper()
	require.Eventually(t, func() bool {
		counts, err := a.server.Counts(t.Context())
		return err == nil && counts.Answered["refresh_token"] == refreshes
	}, 3*patience, 20*time.Millisecond, "%s does not answer %d refreshes", a.name, refreshes)
}

// recovers asserts that the account has a new token, which works at its provider, and how many requests that took. The
// last of them needed no reader.
func (a *account) recovers(t *testing.T, requests, answered int) {
	t.Helper()
	received(t, a.server, requests)
	token := a.serves(t, a.name, func(token string) bool { return token != a.former })
	assert.True(t, knows(t, a.server, token))
	a.stands(t, a.name, "active", "")
	refreshes(t, a.server, requests, answered)
}

// isLost asserts that the account says itself that its provider's answer was lost, and how many requests there were.
func (a *account) isLost(t *testing.T, requests, answered int) {
	t.Helper()
	received(t, a.server, requests)
	a.settles(t, a.name, "refresh_outcome_unknown")
	assert.Equal(t, a.former, a.token(t, a.name))
	assert.False(t, knows(t, a.server, a.former), "the provider ends what was granted")
	refreshes(t, a.server, requests, answered)
}

// types begins a device flow at a service of the test's own.
func (o *outage) types(t *testing.T) (s *service, flow map[string]any) {
	t.Helper()
	s = o.newService(t, "tv")
	o.write(t, "providers/tv", map[string]any{
		"client_secret": providertest.ClientSecret, "kinds": "device_code",
		"endpoints": map[string]string{"device": s.URL + "/device", "token": s.URL + "/token", "identity": s.URL + "/userinfo"},
	})
	return s, o.write(t, "device-code/tv", map[string]any{"provider": "tv"})
}
