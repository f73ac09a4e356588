package backend

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const (
	crowdProviders   = 200
	crowdConnections = 500
	crowdReaders     = 64
	crowdReads       = 72 // of each

	crowdTick  = 60 // reads, after which the clock goes on
	crowdStep  = 3 * time.Minute
	crowdLife  = time.Hour     // of most tokens: all of them fall due and die several times
	hungLife   = 4 * time.Hour // a little more than the run takes: these fall due, hang, and live
	crowdTime  = crowdReaders * crowdReads / crowdTick * crowdStep
	afterwards = 15 * time.Minute // longer than any backoff
)

// service is a server that many providers of the crowd stand for.
type service struct {
	*providertest.Server
	life    time.Duration
	rotates bool // and a spent refresh token that comes again kills the grant
	fails   bool
	hangs   bool
}

// account is one connection of the crowd.
type account struct {
	name, provider string
	service        *service
	newest         atomic.Int64 // the newest token that anybody was given
	demands        atomic.Int64
}

// crowd is a mount with many connections at many providers, some of them unwell.
type crowd struct {
	*fixture
	accounts []*account
	services []*service
	ticks    chan struct{}
	reads    atomic.Int64
	sick     atomic.Bool
	release  chan struct{} // lets hung calls go
	hung     atomic.Int64  // calls that hang
	beside   atomic.Int64  // reads that were answered while calls hung

	mu    sync.Mutex
	fails map[string][]time.Time // guarded by mu; of each grant whose provider is down
	hasty map[string]int         // guarded by mu; calls before the backoff had passed, by provider
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{
		fixture: newFixture(t, Options{}, testenv.InProcess), release: make(chan struct{}), fails: map[string][]time.Time{},
		hasty: map[string]int{}, ticks: make(chan struct{}, crowdReaders*crowdReads/crowdTick),
	}
	clock := providertest.WithClock(c.Now)
	rotating := &service{Server: c.provider, life: crowdLife, rotates: true}
	failing := &service{Server: providertest.New(t, clock), life: crowdLife, fails: true}
	hanging := &service{
		Server: providertest.New(t, clock, providertest.WithLifetime(hungLife)), life: hungLife, rotates: true, hangs: true,
	}
	reusing := &service{Server: providertest.New(t, clock, providertest.WithReusableRefreshTokens()), life: crowdLife}
	c.services = []*service{rotating, failing, hanging, reusing}
	of := []*service{failing, hanging, reusing, reusing, rotating, rotating, rotating, rotating, rotating, rotating}

	c.Write("config", map[string]any{"request_timeout": 60, "refresh_margin": "1h"}).OK(t)
	for p := range crowdProviders {
		name, at := crowdProvider(p), of[p%len(of)].URL
		c.Write("providers/"+name, with(c.acme(), map[string]any{
			"endpoints": map[string]any{"authorize": at + "/authorize", "token": at + "/token"}, "token_params": map[string]any{
				"provider": name,
			}, "redirect_uris": nil,
		})).OK(t)
	}
	for i := range crowdConnections {
		p := i % crowdProviders
		a := &account{name: fmt.Sprintf("c%03d", i), provider: crowdProvider(p), service: of[p%len(of)]}
		consent := &fixture{provider: a.service.Server}
		c.Write("connections/"+a.name, map[string]any{"provider": a.provider, "refresh_token": consent.elsewhere(t)}).OK(t)
		c.accounts = append(c.accounts, a)
	}
	c.sick.Store(true)
	for range crowdReaders * crowdReads { // more calls than there will be
		failing.Next(providers.StepRefresh, func(
			_ *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			if c.sick.Load() {
				c.failed(r.Form.Get("provider"), r.Form.Get("refresh_token"))
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			behave(w, r)
		})
		hanging.Next(providers.StepRefresh, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			c.hung.Add(1)
			defer c.hung.Add(-1)
			providertest.HangUntil(c.release)(s, w, r, behave)
		})
	}
	return c
}

// failed records a call that a provider which is down did not answer.
// It spends no grant, so each keeps its refresh token.
func (c *crowd) failed(provider, grant string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, before := c.Now(), c.fails[grant]
	if n := len(before); n > 0 {
		backoff := min(2*time.Second<<min(n-1, 9), 10*time.Minute)
		if now.Sub(before[n-1]) < backoff*3/4 { // that much is jitter
			c.hasty[provider]++
		}
	}
	c.fails[grant] = append(before, now)
}

func crowdProvider(p int) string { return fmt.Sprintf("p%03d", p) }

// read reads a credential: a healthy provider's is always there unless it is disabled, and it is never an older one
// than was given to anybody before.
func (c *crowd) read(t *testing.T, a *account) {
	t.Helper()
	newest := a.newest.Load()
	r := c.Read("creds/"+a.name, nil)
	if c.hung.Load() > 0 {
		c.beside.Add(1)
	}
	switch {
	case strings.Contains(r.Text, "dead already"): // so much time went by while it waited
		c.read(t, a)
		return
	case r.Status == http.StatusForbidden, r.Status == http.StatusBadGateway && a.service.fails:
		return
	case !assert.Equal(t, http.StatusOK, r.Status, "%s of %s: %s", a.name, a.provider, r.Text):
		return
	}
	var given int64
	_, err := fmt.Sscanf(r.Data["access_token"].(string), "access-%d-", &given) // servers count what they issue
	assert.NoError(t, err)
	assert.GreaterOrEqual(t, given, newest, "%s: an older token after a newer one", a.name)
	for seen := a.newest.Load(); given > seen && !a.newest.CompareAndSwap(seen, given); seen = a.newest.Load() {
	}
}

// meddle is what others do meanwhile, by the number of the reader that does it.
func (c *crowd) meddle(t *testing.T, reader, round int, a *account) {
	t.Helper()
	ok := func(r testenv.Result) { assert.Less(t, r.Status, 300, "%s: %s", a.name, r.Text) }
	switch reader % 10 {
	case 0:
		if a.service.hangs {
			return // whoever demands a token there waits for it
		}
		for {
			a.demands.Add(1)
			r := c.Write("refresh/"+a.name, nil)
			if strings.Contains(r.Text, "dead already") { // so much time went by while it waited
				continue
			}
			if r.Status != http.StatusForbidden && !a.service.fails {
				ok(r)
			}
			break
		}
	case 1:
		ok(c.Write("connections/"+a.name, map[string]any{"label": fmt.Sprint("label ", reader, " ", round)}))
	case 2:
		ok(c.Write("connections/"+a.name, map[string]any{"disabled": true}))
		ok(c.Write("connections/"+a.name, map[string]any{"disabled": false}))
	case 3:
		ok(c.Write("providers/"+a.provider, map[string]any{
			"return_urls": fmt.Sprintf("https://app.example.com/%d/%d", reader, round),
		}))
	case 4:
		switch round / 10 % 3 {
		case 0:
			ok(c.Read("status", nil))
		case 1:
			ok(c.List("connections/"))
		case 2:
			ok(c.List("providers/"))
		}
	}
}

// run lets all readers make their reads, while time passes as they do.
func (c *crowd) run(t *testing.T) {
	t.Helper()
	var readers sync.WaitGroup
	for reader := range crowdReaders {
		rng := rand.New(rand.NewPCG(1, uint64(reader)))
		readers.Go(func() {
			for round := range crowdReads {
				a := c.accounts[rng.IntN(len(c.accounts))]
				c.read(t, a)
				if c.reads.Add(1)%crowdTick == 0 {
					c.ticks <- struct{}{}
				}
				if round%10 == 0 {
					c.meddle(t, reader, round, a)
				}
			}
		})
	}
	go func() { readers.Wait(); close(c.ticks) }()
	for range c.ticks {
		c.Advance(crowdStep)
		c.periodic(t)
	}
}

// A crowd of readers gets what is there, whatever else is going on and whoever is down.
func TestCrowd(t *testing.T) {
	c := newCrowd(t)
	imports := map[*service]int{}
	for _, s := range c.services {
		imports[s] = s.Count(providers.StepRefresh)
	}
	c.run(t)
	assert.EqualValues(t, crowdReaders*crowdReads, c.reads.Load())
	assert.NotZero(t, c.hung.Load(), "no answer that hung was let go, and nobody waited for one")
	assert.Greater(t, c.beside.Load(), int64(crowdTick))
	for _, a := range c.accounts {
		view := c.Read("connections/"+a.name, nil).OK(t)
		require.Equal(t, "active", view["status"], "%s of %s: %s", a.name, a.provider, view["status_reason"])
	}

	c.sick.Store(false)
	close(c.release)
	require.Eventually(t, func() bool { // a call that fails after the clock went on would begin another backoff
		view := c.Read("status", nil).OK(t)
		return fmt.Sprint(view["calls"], view["calls_waiting"]) == "0 0"
	}, time.Minute, time.Millisecond)
	c.Advance(afterwards)
	c.periodic(t)
	for _, a := range c.accounts {
		c.read(t, a)
		require.EventuallyWithT(t, func(t *assert.CollectT) { // while a provider that was down is probed, it is down
			r := c.Read("creds/"+a.name, nil)
			require.Equal(t, http.StatusOK, r.Status, "%s of %s: %s", a.name, a.provider, r.Text)
			require.True(t, a.service.Alive(r.Data["access_token"].(string)), a.name)
		}, time.Minute, time.Millisecond)
		require.Equal(t, "active", c.Read("connections/"+a.name, nil).OK(t)["status"])
	}
	c.spentOnce(t)
	c.bounded(t, imports)
}

// spentOnce checks that no refresh token that rotates was sent twice.
func (c *crowd) spentOnce(t *testing.T) {
	t.Helper()
	for _, s := range c.services {
		sent := map[string]int{}
		for _, r := range s.Requests(providers.StepRefresh) {
			token := r.Form.Get("refresh_token")
			if sent[token]++; s.rotates {
				require.Equal(t, 1, sent[token], "%s of %s", token, r.Form.Get("provider"))
			}
		}
	}
}

// bounded checks that each provider heard of its connections once for each life and each demand, and while it was down
// not before the backoff had passed unless somebody demanded it.
func (c *crowd) bounded(t *testing.T, imports map[*service]int) {
	t.Helper()
	most, demands := map[string]int{}, map[string]int{}
	for _, a := range c.accounts {
		least := a.service.life * 3 / 4 // a fifth of its life is the margin, and a quarter of that the spread
		demands[a.provider] += int(a.demands.Load())
		most[a.provider] += int((crowdTime+afterwards)/least) + 1 + int(a.demands.Load())
	}
	for _, s := range c.services {
		heard := map[string]int{}
		for _, r := range s.Requests(providers.StepRefresh)[imports[s]:] {
			heard[r.Form.Get("provider")]++
		}
		require.NotEmpty(t, heard)
		for provider, n := range heard {
			if s.fails {
				assert.LessOrEqual(t, c.hasty[provider], demands[provider], provider)
				continue
			}
			assert.LessOrEqual(t, n, most[provider], provider)
		}
	}
}
