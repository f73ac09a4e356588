package backend

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// unproven is the generic definition of a service that takes no PKCE: a code of its is good in any flow of the app.
func unproven(t *testing.T, more string) Options {
	t.Helper()
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	definition := append(bytes.Replace(generic, []byte("pkce: s256"), []byte("pkce: off"), 1), more...)
	catalog, err := providers.NewRegistry(fstest.MapFS{"oauth2.yaml": {Data: definition}})
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

// trap is a flow of somebody who has got hold of another person's code.
type trap struct {
	flow     string // its id
	state    string
	provider string
	confirm  string // once its page was shown
}

// trap starts a flow of bob's.
func (f *fixture) trap(t *testing.T, provider string, data map[string]any) *trap {
	t.Helper()
	flow := f.start(t, "trap", with(map[string]any{"provider": provider}, data), bob)
	return &trap{flow: flow["flow_id"].(string), state: query(t, flow["url"].(string), "state"), provider: provider}
}

// springs brings a code to Vault's callback, and reports whether the page gave anything.
func (x *trap) springs(t *testing.T, f *fixture, code string) bool {
	t.Helper()
	shown := f.callback(t, x.provider, map[string]string{"state": x.state, "code": code})
	if found := shownCode.FindStringSubmatch(shown); found != nil {
		x.confirm = found[1] + found[2]
		return true
	}
	assert.Equal(t, neutral(t), shown)
	return false
}

// finish tries to connect with it.
func (x *trap) finish(f *fixture) testenv.Result {
	return f.Write("exchange", map[string]any{"flow_id": x.flow, "confirmation_code": x.confirm}, bob)
}

const disputed = "another flow brought the same authorization code"

// victim lets alice start a flow and consent. It gives the flow and what her browser is about to bring.
func (f *fixture) victim(t *testing.T) (flow map[string]any, back map[string]string) {
	t.Helper()
	flow = f.start(t, "mine", nil, alice)
	return flow, f.provider.Consent(t, flow["url"].(string))
}

// A code that two flows brought is sent nowhere.
func TestCodeOfTwoFlows(t *testing.T) {
	nothingSpent := func(t *testing.T, f *fixture) {
		t.Helper()
		assert.Zero(t, f.provider.Count(providers.StepToken))
	}
	ended := func(t *testing.T, r testenv.Result) {
		t.Helper()
		r.Refused(t, http.StatusConflict, disputed, "nothing was connected", "start again with auth-code-url/")
	}
	for name, test := range map[string]func(*testing.T, *fixture){
		"the thief is second": func(t *testing.T, f *fixture) {
			x := f.trap(t, "acme", nil)
			flow, back := f.victim(t)
			code := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
			require.NotNil(t, code)
			f.restart(t)
			assert.False(t, x.springs(t, f, back["code"]))
			x.finish(f).Refused(t, http.StatusConflict, "authorization_pending")
			mine := map[string]any{"flow_id": flow["flow_id"], "confirmation_code": code[1] + code[2]}
			ended(t, f.Write("exchange", mine, alice))
			f.restart(t)
			ended(t, f.Write("exchange", mine, alice))
			assert.False(t, x.springs(t, f, back["code"]), "nor does the thief get it afterwards")
			nothingSpent(t, f)
		},
		"the thief is first": func(t *testing.T, f *fixture) {
			x := f.trap(t, "acme", nil)
			_, back := f.victim(t)
			require.True(t, x.springs(t, f, back["code"]))
			f.restart(t)
			assert.Equal(t, neutral(t), f.callback(t, "acme", back))
			f.restart(t)
			ended(t, x.finish(f))
			ended(t, x.finish(f))
			nothingSpent(t, f)
		},
		"the thief brings it to exchange": func(t *testing.T, f *fixture) {
			x := f.trap(t, "acme", map[string]any{"redirect_uri": appRedirect})
			flow, back := f.victim(t)
			code := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
			require.NotNil(t, code)
			ended(t, f.Write("exchange", map[string]any{"state": x.state, "code": back["code"]}, bob))
			ended(t, f.Write("exchange", map[string]any{
				"flow_id": flow["flow_id"], "confirmation_code": code[1] + code[2],
			}, alice))
			nothingSpent(t, f)
		},
		"both bring it to exchange": func(t *testing.T, f *fixture) {
			x := f.trap(t, "acme", map[string]any{"redirect_uri": appRedirect})
			own := f.own(t, "mine", nil, alice)
			f.Write("exchange", own, alice).OK(t)
			ended(t, f.Write("exchange", map[string]any{"state": x.state, "code": own["code"]}, bob))
			f.Write("exchange", own, alice).OK(t)
			assert.Equal(t, 1, f.provider.Count(providers.StepToken))
		},
		"at another provider of the same app": func(t *testing.T, f *fixture) {
			f.Write("providers/twin", f.acme()).OK(t)
			x := f.trap(t, "twin", nil)
			_, back := f.victim(t)
			require.NotEqual(t, neutral(t), f.callback(t, "acme", back))
			assert.False(t, x.springs(t, f, back["code"]))
		},
		"at another app it is another code": func(t *testing.T, f *fixture) {
			f.Write("providers/stranger", with(f.acme(), map[string]any{"client_id": "another"})).OK(t)
			x := f.trap(t, "stranger", nil)
			_, back := f.victim(t)
			require.NotEqual(t, neutral(t), f.callback(t, "acme", back))
			assert.True(t, x.springs(t, f, back["code"]))
		},
		"the thief brings another code afterwards": func(t *testing.T, f *fixture) {
			x := f.trap(t, "acme", nil)
			_, back := f.victim(t)
			require.NotEqual(t, neutral(t), f.callback(t, "acme", back))
			assert.False(t, x.springs(t, f, back["code"]))
			assert.True(t, x.springs(t, f, "a code of its own"), "a refused code leaves a flow as it was")
		},
	} {
		t.Run(name, func(t *testing.T) { eachWith(t, unproven(t, ""), test) })
	}
}

// A service that decorates its codes gives one code several spellings.
func TestSpellingsOfACode(t *testing.T) {
	f := newFixture(t, unproven(t, "callback: {trim: '#_', decode: url}\n"), testenv.InProcess)
	for _, spelt := range []string{"%s#_", "%s ", "\n%s", "%%63%s"} {
		_, back := f.victim(t)
		require.NotEqual(t, neutral(t), f.callback(t, "acme", back))
		x := f.trap(t, "acme", nil)
		code := back["code"]
		if strings.HasPrefix(spelt, "%%") {
			code = code[1:] // its c is escaped
		}
		code = strings.NewReplacer("%%", "%", "%s", code).Replace(spelt)
		require.NotEqual(t, back["code"], code)
		assert.False(t, x.springs(t, f, code), "%q", code)
	}
}

// What is remembered outlives the flow that it is about, and is forgotten in the end.
func TestCodesAreForgotten(t *testing.T) {
	eachWith(t, unproven(t, ""), func(t *testing.T, f *fixture) {
		_, back := f.victim(t)
		require.NotEqual(t, neutral(t), f.callback(t, "acme", back))
		assert.Len(t, f.stored(t, "code/"), 1)
		f.Advance(69 * time.Minute)
		f.periodic(t)
		assert.Empty(t, f.stored(t, "flow/"))
		f.restart(t)
		f.periodic(t)
		assert.False(t, f.trap(t, "acme", nil).springs(t, f, back["code"]), "though the flow is gone")

		f.Storage.Forget()
		f.periodic(t)
		for _, a := range f.Storage.History() {
			assert.False(t, a.Under("code/"), "what is known is not looked for each minute: %s %s", a.Op, a.Key)
		}
		f.Advance(time.Minute)
		f.periodic(t)
		assert.Empty(t, f.stored(t, "code/"))

		// What cannot be decoded goes when any would that is written now.
		f.undecodable(t, "code/"+strings.Repeat("ab", 32))
		for _, name := range []string{strings.Repeat("ab", 32), strings.Repeat("cd", 32)} { // the other is gone already
			f.Backend.InvalidateKey(t.Context(), "code/"+name)
		}
		f.periodic(t)
		f.Advance(2*time.Hour - time.Second)
		f.periodic(t)
		assert.Len(t, f.stored(t, "code/"), 1)
		f.Advance(time.Second)
		f.periodic(t)
		assert.Empty(t, f.stored(t, "code/"))

		_, back = f.victim(t) // what comes once all is known is noted as it comes
		require.NotEqual(t, neutral(t), f.callback(t, "acme", back))
		f.Advance(70*time.Minute - time.Second)
		f.periodic(t)
		assert.Len(t, f.stored(t, "code/"), 1)
		f.Advance(time.Second)
		f.periodic(t)
		assert.Empty(t, f.stored(t, "code/"))
	})
}

// The name of an entry is not encrypted, and its content is small whatever was brought.
func TestEntryOfACode(t *testing.T) {
	f := newFixture(t, unproven(t, ""), testenv.InProcess)
	flow := f.start(t, "slack", nil)
	code := strings.Repeat("planted ", maxCallbackValue/8)
	f.Storage.Forget()
	f.callback(t, "acme", map[string]string{"state": query(t, flow["url"].(string), "state"), "code": code})
	var written []string
	for _, a := range f.Storage.History() {
		if a.Write() {
			written = append(written, a.Key)
		}
	}
	require.Len(t, written, 2)
	assert.Regexp(t, `^code/[0-9a-f]{64}$`, written[0], "before anything of it is kept")
	assert.Equal(t, "flow/"+flow["flow_id"].(string), written[1])
	entry, err := f.Storage.Get(t.Context(), written[0])
	require.NoError(t, err)
	assert.Less(t, len(entry.Value), 200)
	assert.NotContains(t, string(entry.Value), "planted")
}

// Of many who bring one code at once, at most one is shown a page, and then it is disputed.
func TestCodeAtTheCallbackAtOnce(t *testing.T) {
	eachWith(t, unproven(t, ""), func(t *testing.T, f *fixture) {
		_, back := f.victim(t)
		traps := make([]*trap, 8)
		for i := range traps {
			traps[i] = f.trap(t, "acme", nil)
		}
		var all sync.WaitGroup
		for _, x := range traps {
			all.Go(func() { x.springs(t, f, back["code"]) })
		}
		all.Wait()
		shown := 0
		for _, x := range traps {
			if x.confirm != "" {
				shown++
				x.finish(f).Refused(t, http.StatusConflict, disputed)
			}
		}
		assert.Equal(t, 1, shown)
		assert.Len(t, f.stored(t, "code/"), 1)
		assert.Zero(t, f.provider.Count(providers.StepToken))
	})
}

func TestCodeAtTheExchangeAtOnce(t *testing.T) {
	eachWith(t, unproven(t, ""), func(t *testing.T, f *fixture) {
		own := f.own(t, "mine", nil, alice)
		requests := []map[string]any{own}
		for range 7 {
			x := f.trap(t, "acme", map[string]any{"redirect_uri": appRedirect})
			requests = append(requests, map[string]any{"state": x.state, "code": own["code"]})
		}
		var all sync.WaitGroup
		answers := make([]testenv.Result, len(requests))
		for i, request := range requests {
			who := bob
			if i == 0 {
				who = alice
			}
			all.Go(func() { answers[i] = f.Write("exchange", request, who) })
		}
		all.Wait()
		assert.Equal(t, 1, f.provider.Count(providers.StepToken), "the first of them")
		refused := 0
		for _, r := range answers {
			if r.Status == http.StatusConflict && strings.Contains(r.Text, disputed) {
				refused++
			}
		}
		assert.Equal(t, len(requests)-1, refused)
	})
}

// Whatever storage refuses, nothing is shown that is not stored, and a code is spent by nobody it does not belong to.
func TestStorageFailsWhenACodeComes(t *testing.T) {
	eachWith(t, unproven(t, ""), func(t *testing.T, f *fixture) {
		for n := 1; n <= 2; n++ {
			flow, back := f.victim(t)
			f.Storage.FailWrite(n)
			r := f.Read("callback/acme", map[string]any{"state": back["state"], "code": back["code"]}, testenv.Nobody)
			r.Refused(t, http.StatusInternalServerError)
			assert.Nil(t, r.Response, "write %d", n)
			f.Storage.Judge(nil)
			f.restart(t)
			shown := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
			require.NotNil(t, shown, "nobody saw the page yet, write %d", n)
			assert.Equal(t, neutral(t), f.callback(t, "acme", back))
			f.Write("exchange", map[string]any{
				"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2],
			}, alice).OK(t)
		}
	})
	t.Run("the dispute is not stored", func(t *testing.T) {
		eachWith(t, unproven(t, ""), func(t *testing.T, f *fixture) {
			x := f.trap(t, "acme", nil)
			_, back := f.victim(t)
			require.NotEqual(t, neutral(t), f.callback(t, "acme", back))
			f.Storage.FailWrite(1)
			r := f.Read("callback/acme", map[string]any{"state": x.state, "code": back["code"]}, testenv.Nobody)
			r.Refused(t, http.StatusInternalServerError)
			f.Storage.Judge(nil)
			x.finish(f).Refused(t, http.StatusConflict, "authorization_pending")
			assert.False(t, x.springs(t, f, back["code"]))
		})
	})
	t.Run("whose it is cannot be read", func(t *testing.T) {
		eachWith(t, unproven(t, ""), func(t *testing.T, f *fixture) {
			flow, back := f.victim(t)
			shown := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
			require.NotNil(t, shown)
			x := f.trap(t, "acme", nil)
			f.loses("code/" + f.stored(t, "code/")[0])
			exchange := map[string]any{"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2]}
			f.Write("exchange", exchange, alice).Refused(t, http.StatusInternalServerError)
			f.Read("callback/acme", map[string]any{"state": x.state, "code": back["code"]}, testenv.Nobody).
				Refused(t, http.StatusInternalServerError)
			f.Storage.Judge(nil)
			assert.Zero(t, f.provider.Count(providers.StepToken))
			f.Write("exchange", exchange, alice).OK(t)
		})
	})
	t.Run("the claim is not stored", func(t *testing.T) {
		eachWith(t, unproven(t, ""), func(t *testing.T, f *fixture) {
			for n := 1; n <= 2; n++ { // whose the code is, and the claim
				own := f.own(t, "mine", nil, alice)
				f.Storage.FailWrite(n)
				f.Write("exchange", own, alice).Refused(t, http.StatusInternalServerError)
				f.Storage.Judge(nil)
				assert.Equal(t, n-1, f.provider.Count(providers.StepToken))
				f.restart(t)
				f.Write("exchange", own, alice).OK(t)
			}
		})
	})
}

// The browser is gone, and what it brought arrives in storage late.
func TestBrowserHangsUp(t *testing.T) {
	for _, noun := range []string{"code/", "flow/"} {
		t.Run(noun, func(t *testing.T) {
			f := newFixture(t, unproven(t, ""), testenv.InProcess)
			flow, back := f.victim(t)
			begun, landed := make(chan struct{}), make(chan struct{})
			picked := testenv.Nth(1, func(a testenv.Access) bool { return a.Op == "put" && a.Under(noun) })
			f.Storage.Hang(func(a testenv.Access) bool {
				if !picked(a) {
					return false
				}
				close(begun)
				return true
			}, func(testenv.Access) { <-landed })
			t.Cleanup(func() { close(landed) })
			ctx, hangUp := context.WithCancel(t.Context())
			data := map[string]any{"state": back["state"], "code": back["code"]}
			answer := make(chan testenv.Result, 1)
			go func() { answer <- f.ReadCtx(ctx, "callback/acme", data, testenv.Nobody) }()
			<-begun
			hangUp()
			assert.GreaterOrEqual(t, (<-answer).Status, 500)
			shown := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
			require.NotNil(t, shown, "nobody saw the page")
			assert.Equal(t, neutral(t), f.callback(t, "acme", back))
			f.Write("exchange", map[string]any{
				"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2],
			}, alice).OK(t)
		})
	}
}

// An older release parks codes without a word of whose they are.
func TestCodeParkedByAnOlderRelease(t *testing.T) {
	eachWith(t, unproven(t, ""), func(t *testing.T, f *fixture) {
		x := f.trap(t, "acme", nil)
		flow, back := f.victim(t)
		shown := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
		require.NotNil(t, shown)
		require.NoError(t, f.Storage.Delete(t.Context(), "code/"+f.stored(t, "code/")[0]))
		f.restart(t)
		f.Write("exchange", map[string]any{
			"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2],
		}, alice).OK(t)
		assert.False(t, x.springs(t, f, back["code"]))
	})
}
