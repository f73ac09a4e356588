package backend

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const standby = consts.ReplicationPerformanceStandby

// shows gives the page that a browser gets which opens a link.
func (f *fixture) shows(t *testing.T, value string) string {
	t.Helper()
	return page(t, f.Read("connect", map[string]any{"link": value}, testenv.Nobody))
}

// posts sends the form of a link's page.
func (f *fixture) posts(t *testing.T, value string, fields map[string]string) string {
	t.Helper()
	data := map[string]any{"link": value}
	for name, v := range fields {
		data[name] = v
	}
	return page(t, f.Write("connect", data, testenv.Nobody))
}

// leads presses the button of a link's page, and gives where that leads.
func (f *fixture) leads(t *testing.T, value string) string {
	t.Helper()
	return ledTo(t, f.posts(t, value, nil))
}

func ledTo(t *testing.T, shown string) string {
	t.Helper()
	meta := regexp.MustCompile(`<meta http-equiv="refresh" content="0; url=([^"]*)">`).FindStringSubmatch(shown)
	require.NotNil(t, meta, shown)
	link := regexp.MustCompile(`<a class="action" href="([^"]*)"`).FindStringSubmatch(shown)
	require.NotNil(t, link)
	require.Equal(t, html.UnescapeString(meta[1]), html.UnescapeString(link[1]))
	return html.UnescapeString(meta[1])
}

// consents uses a link to its end, and gives the code that the page shows.
func (f *fixture) consents(t *testing.T, value string) string {
	t.Helper()
	return codeOn(t, f.callback(t, "acme", f.provider.Consent(t, f.leads(t, value))))
}

func codeOn(t *testing.T, shown string) string {
	t.Helper()
	code := shownCode.FindStringSubmatch(shown)
	require.NotNil(t, code, "the page shows no confirmation code: %s", shown)
	return code[1] + code[2]
}

// goneText is the page of links that lead nowhere.
func goneText(t *testing.T) string {
	t.Helper()
	body, err := pages.Page{Outcome: pages.Gone}.Render()
	require.NoError(t, err)
	return string(body)
}

// said is what a page says, without its markup.
func said(shown string) string {
	_, body, _ := strings.Cut(strings.ReplaceAll(shown, "</dt>", " "), "<body>")
	plain := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, "")
	return html.UnescapeString(strings.Join(strings.Fields(plain), " "))
}

// keys configures the provider "pair", whose keys have two halves and are checked, and makes a link for one.
func (f *fixture) keys(t *testing.T, data map[string]any, as ...testenv.Caller) (value, id string) {
	t.Helper()
	f.Write("providers/pair", map[string]any{"endpoints": map[string]any{"identity": f.provider.URL + "/userinfo"}}).OK(t)
	return f.link(t, "x", with(map[string]any{"provider": "pair"}, data), as...)
}

// aKeyOf is what a person types, and how the service answers that.
func (f *fixture) aKeyOf(name string) map[string]string {
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-`+name+`"}`))
	return map[string]string{"key.key_id": name, "key.api_key": "key-" + name}
}

func TestConnectByConsent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"display_name": "Acme's <vault>"}).OK(t)
		value, id := f.link(t, "user/u-17/slack", map[string]any{
			"purpose": "The weekly <b>report</b>", "scopes": "read", "account": providertest.AccountID,
		}, alice)
		shown := f.shows(t, value)
		words := said(shown)
		for _, says := range []string{
			"You are asked to connect", "Acme's <vault> asks", "read", "Who asks userpass-e-alice",
			"What for The weekly <b>report</b>", "Whose it will be user/u-17/slack", "Which account " + providertest.AccountID,
			"1 March 2026, 13:00 UTC", "tell a code", "nobody checked them",
		} {
			assert.Contains(t, words, says)
		}
		assert.NotContains(t, shown, "<b>report")
		assert.Contains(t, shown, "form-action https://vault.example.com/v1/connectors/connect\"")

		address := f.leads(t, value)
		assert.Equal(t, "S256", query(t, address, "code_challenge_method"))
		assert.Equal(t, "https://vault.example.com/v1/connectors/callback/acme", query(t, address, "redirect_uri"))
		assert.Equal(t, "read", query(t, address, "scope"))
		assert.NotContains(t, address, value)
		back := f.provider.Consent(t, address)
		end := f.callback(t, "acme", back)
		assert.Contains(t, said(end), "Tell this code to who asked you")
		assert.NotContains(t, end, "vault write")
		assert.Zero(t, f.provider.Count(providers.StepToken), "nothing is connected by the page")
		f.Read("creds/user/u-17/slack", nil).Refused(t, http.StatusConflict, "is pending")

		x := map[string]any{"flow_id": id, "confirmation_code": codeOn(t, end)}
		f.Write("exchange", x, bob).Refused(t, http.StatusForbidden)
		answer := f.Write("exchange", x, alice).OK(t)
		assert.Equal(t, "active", answer["status"])
		assert.Equal(t, providertest.AccountID, members(t, answer["account"])["id"])
		assert.Equal(t, answer, f.Write("exchange", x, alice).OK(t), "the same again")
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
		assert.Equal(t, goneText(t), f.shows(t, value))
		assert.Equal(t, goneText(t), f.posts(t, value, nil))
	})
}

// What an application needs is handed to its return_url, and not to the person.
func TestConnectReturns(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, id := f.link(t, "slack", map[string]any{
			"return_url": "https://app.example.com/connected", "session_binding": sha256Of("her session"),
		}, alice)
		assert.Contains(t, said(f.shows(t, value)), "back at app.example.com")
		end := f.callback(t, "acme", f.provider.Consent(t, f.leads(t, value)))
		to := ledTo(t, end)
		assert.True(t, strings.HasPrefix(to, "https://app.example.com/connected?flow_id="+id), to)
		x := map[string]any{"flow_id": id, "confirmation_code": query(t, to, "confirmation_code")}
		f.Write("exchange", x, alice).Refused(t, http.StatusForbidden, "session_binding_value")
		f.Write("exchange", with(x, map[string]any{"session_binding_value": "his session"}), alice).
			Refused(t, http.StatusForbidden)
		f.Write("exchange", with(x, map[string]any{"session_binding_value": "her session"}), alice).OK(t)
	})
}

func TestConnectByKey(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, id := f.keys(t, map[string]any{"account": "of-mine"}, alice)
		shown := f.shows(t, value)
		assert.Contains(t, shown, `name="key.key_id" type="text"`)
		assert.Contains(t, shown, `name="key.api_key" type="password"`)
		assert.Contains(t, said(shown), "Check and hand over")
		end := f.posts(t, value, f.aKeyOf("mine"))
		code := codeOn(t, end)
		assert.NotContains(t, end, "key-mine")
		f.Read("creds/x", nil).Refused(t, http.StatusConflict, "is pending")
		assert.Equal(t, goneText(t), f.shows(t, value), "the first key ends it")

		x := map[string]any{"flow_id": id, "confirmation_code": code}
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-mine"}`))
		r := f.Write("exchange", x, alice)
		answer := r.OK(t)
		again := f.Write("exchange", x, alice).OK(t)
		assert.Empty(t, r.Warnings)
		assert.Equal(t, "of-mine", members(t, answer["account"])["id"])
		assert.Equal(t, "****", members(t, answer["key"])["api_key"])
		assert.Equal(t, "key-mine", f.Read("creds/x", nil).OK(t)["api_key"])
		assert.Equal(t, answer, again, "the same again")
		calls := f.provider.Count(providers.StepIdentity)
		f.Write("exchange", x, alice).OK(t)
		assert.Equal(t, calls, f.provider.Count(providers.StepIdentity))
		assert.Equal(t, "connected", f.Read("connect-link/x", nil, alice).OK(t)["state"])
		entry, err := f.Storage.Get(t.Context(), "flow/"+id)
		require.NoError(t, err)
		assert.NotContains(t, string(entry.Value), "key-mine", "the flow keeps it no longer")
		assert.Contains(t, fmt.Sprint(f.Read("history/x", nil).OK(t)), "exchange")
	})
}

// A key that is refused costs a try, and the fifth is the last: a link is no place to guess keys.
func TestKeyTestingStops(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, id := f.keys(t, nil, alice)
		for n := 1; n <= store.MaxLinkTries; n++ {
			f.provider.Next(providers.StepIdentity, refusal)
			shown := f.posts(t, value, map[string]string{"key.key_id": "planted-id", "key.api_key": "planted-guess"})
			assert.NotContains(t, shown, "planted")
			assert.Equal(t, n, f.provider.Count(providers.StepIdentity))
			if n == store.MaxLinkTries {
				assert.Equal(t, goneText(t), shown)
				break
			}
			assert.Contains(t, said(shown), "does not take this key")
			assert.Contains(t, said(shown), "Tries left: "+string(rune('0'+store.MaxLinkTries-n)))
			if n == 2 {
				f.restart(t)
				f.System.SetReplication(0)
			}
		}
		for range 3 {
			assert.Equal(t, goneText(t), f.posts(t, value, f.aKeyOf("right")))
		}
		assert.Equal(t, store.MaxLinkTries, f.provider.Count(providers.StepIdentity), "nobody is asked any more")
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": "AAAAAAAA"}, alice).
			Refused(t, http.StatusConflict, "authorization_pending")
		assert.Equal(t, "failed", f.Read("connect-link/x", nil, alice).OK(t)["state"])
	})
}

// What is wrong by itself is told before anybody is asked, and costs no try.
func TestMistakesCostNothing(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, _ := f.keys(t, nil, alice)
		f.Storage.Forget()
		for name, c := range map[string]struct {
			fields map[string]string
			says   string
		}{
			"nothing":        {map[string]string{"key.key_id": "", "key.api_key": ""}, "key id, api key"},
			"half":           {map[string]string{"key.key_id": "a", "key.api_key": ""}, "Look at: api key."},
			"a line's end":   {map[string]string{"key.key_id": "a\r\nb", "key.api_key": "b"}, "Look at: key id."},
			"another name":   {map[string]string{"key_id": "a", "api_key": "b", "key.x": "y"}, "key id, api key"},
			"with the label": {map[string]string{"key.key_id": "a", "key.api_key": "Bearer planted"}, "Look at: api key."},
		} {
			shown := f.posts(t, value, c.fields)
			assert.Contains(t, said(shown), c.says, name)
			assert.NotContains(t, shown, "planted")
		}
		assert.NotContains(t, said(f.posts(t, value, nil)), "not right", "an application's page posts the link alone")
		assert.Zero(t, f.Storage.Writes())
		assert.Zero(t, f.provider.Count(providers.StepIdentity))
		codeOn(t, f.posts(t, value, f.aKeyOf("mine")))
	})
}

// Programs open links. That changes nothing, nor does it cost a try.
func TestScannersChangeNothing(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, _ := f.keys(t, nil, alice)
		consent, _ := f.link(t, "slack", nil, alice)
		f.Storage.Forget()
		for range 10 {
			f.shows(t, value)
			f.shows(t, consent)
			page(t, f.Read("connect", map[string]any{"link": value, "key.key_id": "a", "key.api_key": "b"}, testenv.Nobody))
		}
		assert.Zero(t, f.Storage.Writes())
		assert.Zero(t, f.provider.Count(providers.StepIdentity))
		f.consents(t, consent)
	})
}

// All links that lead nowhere look the same: whoever has one learns nothing of another.
func TestLinksThatLeadNowhere(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		used, _ := f.link(t, "used", nil, alice)
		f.consents(t, used)
		void, _ := f.link(t, "void", nil, alice)
		f.Delete("connect-link/void", nil, alice).OK(t)
		late, _ := f.link(t, "late", map[string]any{"ttl": "1m"}, alice)
		f.Write("providers/other", f.acme()).OK(t)
		moved, _ := f.link(t, "moved", map[string]any{"provider": "other"}, alice)
		f.Write("providers/other", map[string]any{"client_id": "another"}).OK(t)
		lost, _ := f.link(t, "lost", map[string]any{"provider": "acme"}, alice)
		f.Advance(time.Minute)
		flow := f.start(t, "flow", nil, alice)
		f.Storage.Forget()
		for name, value := range map[string]any{
			"used": used, "void": void, "expired": late, "moved": moved, "nothing": nil, "empty": "", "unknown": newState(),
			"short": lost[:42], "long": lost + "A", "twice": []any{lost, lost}, "joined": lost + "," + lost,
			"a map": map[string]any{"a": lost}, "a number": 1, "a flow's id": flow["flow_id"],
			"a state": query(t, flow["url"].(string), "state"), "blank": " " + lost, "huge": strings.Repeat("A", 1<<20),
		} {
			data := map[string]any{"link": value}
			if value == nil {
				data = nil
			}
			assert.Equal(t, goneText(t), page(t, f.Read("connect", data, testenv.Nobody)), name)
			assert.Equal(t, goneText(t), page(t, f.Write("connect", data, testenv.Nobody)), name)
		}
		many := map[string]any{"link": lost}
		for i := range maxFormValues {
			many["key."+strings.Repeat("a", i)] = "x"
		}
		for name, data := range map[string]map[string]any{
			"many": many, "huge": {"link": lost, "key.a": strings.Repeat("x", maxForm)}, "null": {"link": lost, "key.a": nil},
			"a long name": {"link": lost, strings.Repeat("x", maxFormName+1): ""},
			"a list":      {"link": lost, "x": []any{"a", "b"}},
		} {
			assert.Equal(t, goneText(t), page(t, f.Write("connect", data, testenv.Nobody)), name)
		}
		assert.Zero(t, f.Storage.Writes())
		f.consents(t, lost)
	})
}

// A state belongs to the latest try of its link.
func TestTriesOfALink(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, id := f.link(t, "slack", nil, alice)
		first := f.provider.Consent(t, f.leads(t, value))
		second := f.provider.Consent(t, f.leads(t, value))
		assert.Equal(t, neutral(t), f.callback(t, "acme", first), "a new try voids the one before")
		assert.Equal(t, neutral(t), f.callback(t, "acme", map[string]string{"state": value, "code": second["code"]}))
		assert.Equal(t, neutral(t), f.callback(t, "acme", map[string]string{"state": id, "code": second["code"]}))
		assert.Equal(t, neutral(t), f.callback(t, "acme", map[string]string{
			"state": store.LinkState(id, "guess"), "code": second["code"],
		}))
		code := codeOn(t, f.callback(t, "acme", second))
		assert.Equal(t, neutral(t), f.callback(t, "acme", second), "shown once")
		f.Write("exchange", map[string]any{"state": value, "code": second["code"]}, alice).Refused(t, http.StatusBadRequest)
		f.Write("exchange", map[string]any{"state": second["state"], "code": second["code"]}, alice).
			Refused(t, http.StatusBadRequest)
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)

		value, _ = f.link(t, "late", map[string]any{"ttl": "5m"}, alice)
		f.Advance(5*time.Minute - time.Second)
		back := f.provider.Consent(t, f.leads(t, value))
		f.Advance(10*time.Minute - time.Second)
		assert.Equal(t, goneText(t), f.shows(t, value))
		codeOn(t, f.callback(t, "acme", back))
		value, _ = f.link(t, "slow", nil, alice)
		back = f.provider.Consent(t, f.leads(t, value))
		f.Advance(10 * time.Minute)
		assert.Equal(t, neutral(t), f.callback(t, "acme", back), "ten minutes, as for others")
		f.consents(t, value)
	})
}

// The last try counts like the others.
func TestLastTryOfALink(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, id := f.link(t, "slack", nil, alice)
		for range store.MaxLinkTries - 1 {
			f.leads(t, value)
		}
		code := f.consents(t, value)
		assert.Equal(t, goneText(t), f.posts(t, value, nil))
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)
	})
}

// Two who press the button at once: one of them is led on, or whoever is later; and one consent is parked.
func TestLinkUsedAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, id := f.link(t, "slack", nil, alice)
		shown := make([]string, store.MaxLinkTries)
		var all sync.WaitGroup
		for i := range shown {
			all.Go(func() { shown[i] = page(t, f.Write("connect", map[string]any{"link": value}, testenv.Nobody)) })
		}
		all.Wait()
		parked := 0
		for _, s := range shown {
			if s == goneText(t) {
				continue
			}
			if shownCode.MatchString(f.callback(t, "acme", f.provider.Consent(t, ledTo(t, s)))) {
				parked++
			}
		}
		assert.Equal(t, 1, parked)
		assert.Equal(t, "parked", f.Read("connect-link/slack", map[string]any{"flow_id": id}, alice).OK(t)["state"])
	})
}

func TestKeysAtOnce(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, _ := f.keys(t, nil, alice)
		for range store.MaxLinkTries {
			f.aKeyOf("a")
		}
		var mu sync.Mutex
		var all sync.WaitGroup
		parked := 0
		for range 2 * store.MaxLinkTries {
			all.Go(func() {
				s := f.posts(t, value, map[string]string{"key.key_id": "a", "key.api_key": "b"})
				mu.Lock()
				defer mu.Unlock()
				if shownCode.MatchString(s) {
					parked++
				}
			})
		}
		all.Wait()
		assert.Equal(t, 1, parked, "one wins")
		assert.LessOrEqual(t, f.provider.Count(providers.StepIdentity), store.MaxLinkTries)
	})
}

// A try that another one overtakes while the service is asked parks nothing.
func TestSlowKeyIsOvertaken(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		for name, meanwhile := range map[string]func(value string) (state string){
			"by another try": func(value string) string { codeOn(t, f.posts(t, value, f.aKeyOf("second"))); return linkParked },
			"by one that failed": func(value string) string {
				f.provider.Next(providers.StepIdentity, refusal)
				f.posts(t, value, map[string]string{"key.key_id": "wrong", "key.api_key": "k"})
				return linkOffered
			},
			"by its end": func(string) string { f.Delete("connect-link/x", nil, alice).OK(t); return "" },
		} {
			value, id := f.keys(t, nil, alice)
			asked, release := make(chan struct{}), make(chan struct{})
			f.provider.Next(providers.StepIdentity, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
				behave http.HandlerFunc,
			) {
				close(asked)
				<-release
				providertest.Respond(http.StatusOK, `{"sub":"of-first"}`)(s, w, r, behave)
			})
			slow := make(chan string)
			go func() {
				slow <- f.posts(t, value, map[string]string{"key.key_id": "first", "key.api_key": "k"})
			}()
			<-asked
			state := meanwhile(value)
			close(release)
			assert.Equal(t, goneText(t), <-slow, name)
			r := f.Read("connect-link/x", map[string]any{"flow_id": id}, alice)
			if state == "" {
				r.Refused(t, http.StatusBadRequest)
			} else {
				assert.Equal(t, state, r.OK(t)["state"], name)
				f.Delete("connect-link/x", nil, alice).OK(t)
			}
			f.Advance(time.Minute)
		}
	})
}

// A link for one account connects no other, by whichever way.
func TestLinkOfAnotherAccount(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, id := f.link(t, "slack", map[string]any{"account": "somebody else"}, alice)
		x := map[string]any{"flow_id": id, "confirmation_code": f.consents(t, value), "allow_account_change": true}
		f.Write("exchange", x, alice).Refused(t, http.StatusConflict, "another account than the link was for",
			"start again with connect-link/org/default/slack")
		assert.Equal(t, 1, f.provider.Count(providers.StepRevoke), "what was granted is given back")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)

		value, id = f.keys(t, map[string]any{"account": "of-mine"}, alice)
		shown := f.posts(t, value, f.aKeyOf("theirs"))
		assert.Contains(t, said(shown), "another account")
		assert.NotContains(t, shown, "theirs")
		f.provider.Next(providers.StepIdentity, outage)
		shown = f.posts(t, value, map[string]string{"key.key_id": "a", "key.api_key": "b"})
		assert.Contains(t, said(shown), "cannot be asked now")
		x = map[string]any{"flow_id": id, "confirmation_code": codeOn(t, f.posts(t, value, f.aKeyOf("mine")))}
		f.provider.Next(providers.StepIdentity, outage)
		f.Write("exchange", x, alice).Refused(t, http.StatusBadGateway, "could not be found out now")
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-theirs"}`))
		f.Write("exchange", x, alice).Refused(t, http.StatusConflict, "another account than the link was for")
		assert.Equal(t, http.StatusBadRequest, f.Read("creds/x", nil).Status)
	})
}

// The key is written by the rules of one that the starter writes.
func TestParkedKeyByTheRules(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"check_interval": 0}).OK(t) // which would take the answers for what is written here
		parked := func(data map[string]any, path string, as testenv.Caller) map[string]any {
			t.Helper()
			endpoints := map[string]any{"identity": f.provider.URL + "/userinfo"}
			f.Write("providers/pair", map[string]any{"endpoints": endpoints}).OK(t)
			value, id := f.link(t, path, with(map[string]any{"provider": "pair"}, data), as)
			f.Advance(time.Minute)
			return map[string]any{"flow_id": id, "confirmation_code": codeOn(t, f.posts(t, value, f.aKeyOf("mine")))}
		}
		x := parked(nil, "a", alice)
		f.provider.Next(providers.StepIdentity, refusal)
		f.Write("exchange", x, alice).Refused(t, http.StatusConflict, "the service refuses the credential")
		f.Write("exchange", x, alice).Refused(t, http.StatusConflict, "the service refuses the credential")
		assert.Equal(t, http.StatusBadRequest, f.Read("creds/a", nil).Status)

		passes := func() {
			f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-mine"}`))
		}
		x = parked(nil, "self/b", alice)
		passes()
		assert.Equal(t, true, f.Write("exchange", x, alice).OK(t)["private"], "its owner's")
		f.Read("creds/user/e-alice/b", nil, bob).Refused(t, http.StatusForbidden, "is private")

		x = parked(nil, "c", alice)
		f.Write("config", map[string]any{"max_connections_per_owner": 1}).OK(t)
		f.connect(t, "d")
		f.Write("exchange", x, alice).Refused(t, http.StatusConflict, "max_connections_per_owner")
		f.Write("config", map[string]any{"max_connections_per_owner": 0}).OK(t)

		x = parked(nil, "e", alice)
		f.Write("providers/pair", map[string]any{"allowed_owners": "org/other"}).OK(t)
		f.Write("exchange", x, alice).Refused(t, http.StatusForbidden, "allowed_owners")
		f.Write("providers/pair", map[string]any{"allowed_owners": "", "frozen": true}).OK(t)
		f.Write("exchange", x, alice).Refused(t, http.StatusForbidden, "frozen")
		f.Write("providers/pair", map[string]any{"frozen": false}).OK(t)
		passes()
		f.Write("exchange", x, alice).OK(t)

		f.System.AddEntity("e-1")
		x = parked(map[string]any{"provision": true}, "user/e-1/f", alice)
		passes()
		assert.Equal(t, false, f.Write("exchange", x, alice).OK(t)["private"])

		x = parked(nil, "g", alice)
		f.Write("exchange", with(x, map[string]any{"confirmation_code": "AAAAAAAA"}), alice).
			Refused(t, http.StatusBadRequest, "1 of 5")
		f.Write("providers/pair", map[string]any{"endpoints": map[string]any{"identity": f.provider.URL + "/me"}}).OK(t)
		f.Write("exchange", x, alice).Refused(t, http.StatusConflict, "changed since the flow was started")
	})
}

// Nothing of a key that is there becomes part of one that a person brings.
func TestParkedKeyIsWhole(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, id := f.keys(t, nil, alice)
		f.aKeyOf("old")
		f.Write("connections/x", map[string]any{"provider": "pair", "key_id": "old", "api_key": "key-old"}, alice).OK(t)
		code := codeOn(t, f.posts(t, value, f.aKeyOf("new")))
		assert.Equal(t, "key-old", f.Read("creds/x", nil).OK(t)["api_key"], "it goes on serving")
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-new"}`))
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)
		got := f.Read("creds/x", nil).OK(t)
		assert.Equal(t, []any{"new", "key-new"}, []any{got["key_id"], got["api_key"]})
	})
}

const team = `
id: team
name: Team
kinds: [api_key]
key: {fields: [{name: api_key, required: true, secret: true}, {name: team}]}
send: {headers: {X-Key: '{api_key}'}}
`

// Not even what may be left out is taken from a key that is there.
func TestParkedKeyTakesNoFieldOver(t *testing.T) {
	eachWith(t, sited(t, team), func(t *testing.T, f *fixture) {
		f.Write("providers/team", nil).OK(t)
		f.Write("connections/x", map[string]any{"provider": "team", "api_key": "old", "team": "theirs"}, alice).OK(t)
		value, id := f.link(t, "x", map[string]any{"provider": "team"}, alice)
		code := codeOn(t, f.posts(t, value, map[string]string{"key.api_key": "new", "key.team": ""}))
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)
		got := f.Read("creds/x", nil).OK(t)
		assert.Equal(t, "new", got["api_key"])
		assert.NotContains(t, got, "team")
	})
}

const signer = `
id: signer
name: Signer
kinds: [key_pair]
key: {fields: [{name: private_key, required: true, secret: true, multiline: true, handed_out: true}]}
`

// Browsers end lines with CR and LF; a key of several lines is kept as it was copied.
func TestKeyOfSeveralLines(t *testing.T) {
	eachWith(t, sited(t, signer), func(t *testing.T, f *fixture) {
		f.Write("providers/signer", nil).OK(t)
		value, id := f.link(t, "s", map[string]any{"provider": "signer"}, alice)
		assert.Contains(t, f.shows(t, value), `<textarea id="field-0" name="key.private_key"`)
		const pem = "-----BEGIN PRIVATE KEY-----\nMIIB\nAAAA\n-----END PRIVATE KEY-----\n"
		code := codeOn(t, f.posts(t, value, map[string]string{"key.private_key": strings.ReplaceAll(pem, "\n", "\r\n")}))
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)
		assert.Equal(t, pem, f.Read("creds/s", nil).OK(t)["private_key"])
	})
}

const shop = `
id: shop
name: Shop
kinds: [authorization_code]
inputs: [{name: shop, set_by: connection, required: true, pattern: '[a-z]+', strip: .example.com, help: The name}]
endpoints:
  authorize: https://{shop}.example.com/a
  token: https://{shop}.example.com/t
  identity: https://{shop}.example.com/me
authorize: {params: {shop: '{shop}'}}
scopes: {default: [orders], about: {orders: See what was ordered.}}
account: {id: [sub]}
identity: {}
`

// What is missing is asked of the person; what they typed stands there again.
func TestPersonNamesTheShop(t *testing.T) {
	eachWith(t, sited(t, shop), func(t *testing.T, f *fixture) {
		f.Write("providers/shop", map[string]any{
			"client_id": providertest.ClientID, "client_secret": providertest.ClientSecret, "shared_redirect": true,
			"endpoints": map[string]any{
				"authorize": f.provider.URL + "/authorize", "token": f.provider.URL + "/token",
				"identity": f.provider.URL + "/userinfo",
			},
		}).OK(t)
		value, id := f.link(t, "s", map[string]any{"provider": "shop"}, alice)
		assert.Contains(t, said(f.shows(t, value)), "See what was ordered. orders")
		assert.Contains(t, f.shows(t, value), `name="input.shop"`)
		f.Storage.Forget()
		wrong := f.posts(t, value, map[string]string{"input.shop": "NOT a <shop>"})
		assert.Contains(t, said(wrong), "Look at: shop.")
		assert.Contains(t, wrong, `value="NOT a &lt;shop&gt;"`)
		assert.Zero(t, f.Storage.Writes())
		address := ledTo(t, f.posts(t, value, map[string]string{"input.shop": "one"}))
		assert.Equal(t, "one", query(t, address, "shop"))
		address = ledTo(t, f.posts(t, value, map[string]string{"input.shop": "two.example.com"}))
		assert.Equal(t, "two", query(t, address, "shop"))
		code := codeOn(t, f.callback(t, "shop", f.provider.Consent(t, address)))
		answer := f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)
		assert.Equal(t, map[string]any{"shop": "two"}, members(t, answer["inputs"]))

		value, _ = f.link(t, "fixed", map[string]any{"provider": "shop", "inputs": "shop=three"}, alice)
		assert.NotContains(t, f.shows(t, value), `name="input.shop"`)
		assert.Contains(t, said(f.shows(t, value)), "shop three")
		address = ledTo(t, f.posts(t, value, map[string]string{"input.shop": "evil"}))
		assert.Equal(t, "three", query(t, address, "shop"), "what the starter named is not the person's")
	})
}

// Where a key goes says who has it: the page asks for the host, and shows none of the starter's.
func TestPersonNamesTheHostOfTheirKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		f.Write("config", map[string]any{"endpoint_hosts": "*"}).OK(t)
		value, id := f.link(t, "g", map[string]any{"provider": "git", "kind": "api_key"}, alice)
		assert.Contains(t, f.shows(t, value), `name="input.base"`)
		for range 2 {
			f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"ann"}`))
		}
		code := codeOn(t, f.posts(t, value, map[string]string{
			"input.base": f.provider.URL, "key.login": "ann", "key.token": "of-hers",
		}))
		answer := f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).OK(t)
		assert.Equal(t, map[string]any{"base": f.provider.URL}, members(t, answer["inputs"]))
	})
}

// Headers for mounts that let them through; the page's own policy is in it.
func TestHeadersOfPages(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, _ := f.link(t, "slack", nil, alice)
		for what, r := range map[string]testenv.Result{
			"link":     f.Read("connect", map[string]any{"link": value}, testenv.Nobody),
			"gone":     f.Read("connect", nil, testenv.Nobody),
			"use":      f.Write("connect", map[string]any{"link": value}, testenv.Nobody),
			"callback": f.Read("callback/acme", nil, testenv.Nobody),
		} {
			page(t, r)
			assert.Equal(t, map[string][]string{
				"Content-Security-Policy": {"frame-ancestors 'none'"}, "X-Frame-Options": {"DENY"},
				"Referrer-Policy": {"no-referrer"}, "Cache-Control": {"no-store"},
			}, r.Headers, what)
		}
	})
}

// While something keeps a link from leading anywhere, it costs no try; and the log says why.
func TestLinkThatCannotLead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, _ := f.link(t, "slack", nil, alice)
		f.Write("providers/acme", map[string]any{"frozen": true}).OK(t)
		assert.Contains(t, said(f.posts(t, value, nil)), "cannot be asked now")
		f.Write("providers/acme", map[string]any{"frozen": false, "kinds": "client_credentials"}).OK(t)
		assert.Contains(t, said(f.posts(t, value, nil)), "leads nowhere as it is")
		assert.True(t, f.Logs.Contains("a connect link led nowhere"))
		f.Write("providers/acme", map[string]any{"kinds": ""}).OK(t)
		assert.Zero(t, number(f.Read("connect-link/slack", nil, alice).OK(t)["tries"]))
		f.consents(t, value)
	})
}
