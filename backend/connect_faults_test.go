package backend

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// linkStep is one request of a link's life, in which storage fails.
type linkStep struct {
	*fixture
	value, id string
	back      map[string]string // what the browser brings from the consent
	code      string

	send func() testenv.Result
	// after looks at what is left, once storage is well
	after func(t *testing.T, r testenv.Result)
}

// passing has the service take the next keys.
func (s *linkStep) passing() {
	for range 3 {
		s.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-mine"}`))
	}
}

func linkSteps() map[string]func(*testing.T) *linkStep {
	newStep := func(t *testing.T) *linkStep {
		s := &linkStep{fixture: newFixture(t, sited(t, pair), testenv.InProcess)}
		s.Write("providers/pair", map[string]any{"endpoints": map[string]any{"identity": s.provider.URL + "/userinfo"}}).OK(t)
		return s
	}
	nobody := func(t *testing.T, s *linkStep, name string) {
		t.Helper()
		r := s.Read("creds/"+name, nil)
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusConflict}, r.Status, "nothing is connected: %s", r.Text)
	}
	// stillWorks uses the link to its end, if it is offered; else somebody parked and nobody saw the code.
	stillWorks := func(t *testing.T, s *linkStep, name string, use func() string) {
		t.Helper()
		state := s.Read("connect-link/"+name, nil, alice).OK(t)["state"]
		if state == linkParked {
			return
		}
		s.Write("exchange", map[string]any{"flow_id": s.id, "confirmation_code": use()}, alice).OK(t)
		s.Read("creds/"+name, nil).OK(t)
	}
	return map[string]func(*testing.T) *linkStep{
		"the making": func(t *testing.T) *linkStep {
			s := newStep(t)
			s.send = func() testenv.Result {
				return s.Write("connect-link/slack", map[string]any{"provider": "acme"}, alice)
			}
			s.after = func(t *testing.T, _ testenv.Result) {
				nobody(t, s, "slack")
				s.value, s.id = s.link(t, "slack", nil, alice)
				s.Write("exchange", map[string]any{"flow_id": s.id, "confirmation_code": s.consents(t, s.value)}, alice).OK(t)
			}
			return s
		},
		"the way to the consent": func(t *testing.T) *linkStep {
			s := newStep(t)
			s.value, s.id = s.link(t, "slack", nil, alice)
			s.send = func() testenv.Result { return s.Write("connect", map[string]any{"link": s.value}, testenv.Nobody) }
			s.after = func(t *testing.T, _ testenv.Result) {
				nobody(t, s, "slack")
				stillWorks(t, s, "slack", func() string { return s.consents(t, s.value) })
			}
			return s
		},
		"the way back": func(t *testing.T) *linkStep {
			s := newStep(t)
			s.value, s.id = s.link(t, "slack", nil, alice)
			s.back = s.provider.Consent(t, s.leads(t, s.value))
			s.send = func() testenv.Result {
				return s.Read("callback/acme", map[string]any{"state": s.back["state"], "code": s.back["code"]}, testenv.Nobody)
			}
			s.after = func(t *testing.T, _ testenv.Result) {
				nobody(t, s, "slack")
				stillWorks(t, s, "slack", func() string { return codeOn(t, s.callback(t, "acme", s.back)) })
			}
			return s
		},
		"the refusal": func(t *testing.T) *linkStep {
			s := newStep(t)
			s.value, s.id = s.link(t, "slack", nil, alice)
			s.back = s.provider.Consent(t, s.leads(t, s.value))
			s.send = func() testenv.Result {
				return s.Read("callback/acme", map[string]any{"state": s.back["state"], "error": "access_denied"}, testenv.Nobody)
			}
			s.after = func(t *testing.T, _ testenv.Result) {
				stillWorks(t, s, "slack", func() string { return s.consents(t, s.value) })
			}
			return s
		},
		"the key": func(t *testing.T) *linkStep {
			s := newStep(t)
			s.value, s.id = s.keys(t, nil, alice)
			s.passing()
			s.send = func() testenv.Result {
				return s.Write("connect", map[string]any{"link": s.value, "key.key_id": "mine", "key.api_key": "key-mine"},
					testenv.Nobody)
			}
			s.after = func(t *testing.T, _ testenv.Result) {
				nobody(t, s, "x")
				stillWorks(t, s, "x", func() string {
					return codeOn(t, s.posts(t, s.value, map[string]string{"key.key_id": "mine", "key.api_key": "key-mine"}))
				})
			}
			return s
		},
		"the exchange of a key": func(t *testing.T) *linkStep {
			s := newStep(t)
			s.value, s.id = s.keys(t, nil, alice)
			s.passing()
			s.code = codeOn(t, s.posts(t, s.value, map[string]string{"key.key_id": "mine", "key.api_key": "key-mine"}))
			s.send = func() testenv.Result {
				return s.Write("exchange", map[string]any{"flow_id": s.id, "confirmation_code": s.code}, alice)
			}
			s.after = func(t *testing.T, r testenv.Result) {
				assert.NotEqual(t, http.StatusConflict, r.Status, "a key is not lost to storage: %s", r.Text)
				s.passing()
				assert.Equal(t, "active", s.send().OK(t)["status"])
				assert.Equal(t, "key-mine", s.Read("creds/x", nil).OK(t)["api_key"])
				s.saved(t)
				assert.Equal(t, "connected", s.Read("connect-link/x", nil, alice).OK(t)["state"])
			}
			return s
		},
		"the end": func(t *testing.T) *linkStep {
			s := newStep(t)
			s.value, s.id = s.link(t, "slack", nil, alice)
			s.send = func() testenv.Result { return s.Delete("connect-link/slack", nil, alice) }
			s.after = func(t *testing.T, _ testenv.Result) {
				s.Delete("connect-link/slack", nil, alice)
				assert.Equal(t, goneText(t), s.shows(t, s.value))
			}
			return s
		},
	}
}

// Storage fails at one access, whichever it is. Nothing is half done, and what can be repeated can.
func TestLinkWhileStorageFails(t *testing.T) {
	for name, start := range linkSteps() {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", restarted: ", restarts), func(t *testing.T) {
				for n := 1; ; n++ {
					require.Less(t, n, 60)
					s := start(t)
					var failed atomic.Bool
					nth := testenv.Nth(n, func(testenv.Access) bool { return true })
					s.Storage.Judge(func(a testenv.Access) error {
						if nth(a) {
							failed.Store(true)
							return testenv.ErrStorage
						}
						return nil
					})
					r := s.send()
					s.Storage.Judge(nil)
					if restarts {
						s.endsItsWork(t)
						s.restart(t)
						s.System.SetReplication(0)
					}
					s.after(t, r)
					if !failed.Load() {
						require.Greater(t, n, 2, "a storage that failed nowhere proves nothing")
						break
					}
				}
			})
		}
	}
}

// Each use of a key writes before the service is asked, and asks nobody when that fails.
func TestTryIsCountedBeforeTheServiceIsAsked(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, _ := f.keys(t, nil, alice)
		f.Storage.FailWrites()
		r := f.Write("connect", map[string]any{"link": value, "key.key_id": "a", "key.api_key": "b"}, testenv.Nobody)
		assert.Equal(t, http.StatusInternalServerError, r.Status)
		assert.Zero(t, f.provider.Count(providers.StepIdentity))
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Write() && f.provider.Count(providers.StepIdentity) > 0 {
				return testenv.ErrStorage
			}
			return nil
		})
		r = f.Write("connect", map[string]any{"link": value, "key.key_id": "a", "key.api_key": "b"}, testenv.Nobody)
		f.Storage.Judge(nil)
		assert.Equal(t, 1, f.provider.Count(providers.StepIdentity))
		assert.Equal(t, 1.0, number(f.Read("connect-link/x", nil, alice).OK(t)["tries"]), "%d", r.Status)
	})
}

// The process dies, or another node takes over, between each two steps.
func TestLinkAcrossRestarts(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		again := func() {
			t.Helper()
			f.restart(t)
			f.System.SetReplication(0)
		}
		value, id := f.link(t, "slack", nil, alice)
		again()
		address := f.leads(t, value)
		again()
		code := codeOn(t, f.callback(t, "acme", f.provider.Consent(t, address)))
		again()
		x := map[string]any{"flow_id": id, "confirmation_code": code}
		f.Write("exchange", x, alice).OK(t)
		again()
		f.Write("exchange", x, alice).OK(t)
		assert.Equal(t, "connected", f.Read("connect-link/slack", nil, alice).OK(t)["state"])

		value, id = f.keys(t, nil, alice)
		again()
		code = codeOn(t, f.posts(t, value, f.aKeyOf("mine")))
		again()
		assert.Equal(t, goneText(t), f.posts(t, value, f.aKeyOf("mine")))
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)
		again()
		assert.Equal(t, "key-mine", f.Read("creds/x", nil).OK(t)["api_key"])
	})
}

// Two nodes over one storage: what one parked the other finishes, and one that lost the lead parks nothing.
func TestLinkOfTwoNodes(t *testing.T) {
	f := newFixture(t, sited(t, pair), testenv.InProcess)
	value, id := f.keys(t, nil, alice)
	first := f.Env
	asked, release := make(chan struct{}), make(chan struct{})
	f.provider.Next(providers.StepIdentity, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
		behave http.HandlerFunc,
	) {
		close(asked)
		<-release
		providertest.Respond(http.StatusOK, `{"sub":"of-first"}`)(s, w, r, behave)
	})
	slow := make(chan testenv.Result)
	go func() {
		slow <- first.Write("connect", map[string]any{"link": value, "key.key_id": "first", "key.api_key": "k"},
			testenv.Nobody)
	}()
	<-asked
	f.restart(t) // the other node takes over
	code := codeOn(t, f.posts(t, value, f.aKeyOf("mine")))
	close(release)
	assert.Equal(t, goneText(t), page(t, <-slow))
	f.takesMine()
	f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)
	assert.Equal(t, "key-mine", f.Read("creds/x", nil).OK(t)["api_key"])
}

func (f *fixture) takesMine() {
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-mine"}`))
}

// A link that its starter ends while its key is written connects nothing.
func TestLinkEndedDuringTheExchangeOfAKey(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, id := f.keys(t, nil, alice)
		x := map[string]any{"flow_id": id, "confirmation_code": codeOn(t, f.posts(t, value, f.aKeyOf("mine")))}
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepIdentity, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
			behave http.HandlerFunc,
		) {
			close(asked)
			<-release
			providertest.Respond(http.StatusOK, `{"sub":"of-mine"}`)(s, w, r, behave)
		})
		answer := make(chan testenv.Result)
		go func() { answer <- f.Write("exchange", x, alice) }()
		<-asked
		f.Delete("connect-link/x", nil, alice).OK(t)
		close(release)
		r := <-answer
		r.Refused(t, http.StatusConflict, "the flow was ended meanwhile")
		assert.Equal(t, http.StatusBadRequest, f.Read("creds/x", nil).Status)
	})
}

// The process dies after the claim and before the key is written. A key is not spent by that: the same request goes on.
func TestCrashDuringTheExchangeOfAKey(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, id := f.keys(t, nil, alice)
		x := map[string]any{"flow_id": id, "confirmation_code": codeOn(t, f.posts(t, value, f.aKeyOf("mine")))}
		asked, release, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepIdentity, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
			behave http.HandlerFunc,
		) {
			close(asked)
			<-release
			outage(s, w, r, behave)
		})
		crashed := f.Env
		go func() {
			defer close(over)
			crashed.Write("exchange", x, alice)
		}()
		<-asked
		f.restart(t)
		f.takesMine()
		f.Write("exchange", with(x, map[string]any{"confirmation_code": "AAAAAAAA"}), alice).Refused(t, http.StatusBadRequest)
		assert.Equal(t, "active", f.Write("exchange", x, alice).OK(t)["status"])
		assert.Equal(t, "key-mine", f.Read("creds/x", nil).OK(t)["api_key"])
		close(release)
		<-over
	})
}
