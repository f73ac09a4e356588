package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// sited is a catalogue with a service whose grants reach several sites, and with more.
func sited(t *testing.T, more ...string) Options {
	t.Helper()
	files := fstest.MapFS{
		"oauth2.yaml": {Data: []byte(document(t, "../providers/catalog/oauth2.yaml"))},
		"sites.yaml": {Data: []byte(`
id: sites
name: Sites
kinds: [authorization_code, client_credentials]
inputs:
  - {name: region, set_by: connection, pattern: '[a-z]+'}
  - {name: site, set_by: connection, pattern: '[a-z0-9-]+'}
endpoints:
  authorize: https://sites.example.com/authorize
  token: https://sites.example.com/token
  revoke: https://sites.example.com/revoke
  resources: https://sites.example.com/sites
  identity: https://sites.example.com/me
  health: https://sites.example.com/health
api_base: 'https://sites.example.com/{site}'
authorize: {optional_params: {region: '{region}'}}
refresh: {token: rotating}
revoke: {reach: token}
resources: {id: id, name: title, pick: site}
identity: {}
health: {headers: {X-Site: '{site}'}}
account: {id: [sub], label: [name]}
connection_config: [{name: site_url, from: resources, path: [url]}]
`)},
	}
	for _, text := range more {
		id := strings.Fields(text)[1]
		files[id+".yaml"] = &fstest.MapFile{Data: []byte(text)}
	}
	catalog, err := providers.NewRegistry(files)
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

// sites is the part of the service that lists what a token reaches, and that answers for each.
type sites struct {
	*fixture
	url string

	mu     sync.Mutex
	list   []string // ids
	status int      // of the list, if it is not 200
	asked  func()   // called before the list is answered
	listed int
	shown  []string // the sites at which a credential was shown
}

// withSites runs a test in process and over gRPC beside such a service, with the provider "sites".
func withSites(t *testing.T, test func(*testing.T, *sites), ids ...string) {
	t.Helper()
	for name, mount := range map[string]mounter{"in process": testenv.InProcess, "over gRPC": testenv.OverGRPC} {
		t.Run(name, func(t *testing.T) { test(t, newSites(t, newFixture(t, sited(t), mount), ids...)) })
	}
}

func newSites(t *testing.T, f *fixture, ids ...string) *sites {
	t.Helper()
	s := &sites{fixture: f, list: ids}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.url = web.URL
	u := f.provider.URL
	f.Write("providers/sites", map[string]any{
		"client_id": providertest.ClientID, "client_secret": providertest.ClientSecret,
		"redirect_uris": appRedirect, "allow_import": "all", "kinds": "authorization_code,client_credentials",
		"endpoints": map[string]any{
			"authorize": u + "/authorize", "token": u + "/token", "revoke": u + "/revoke", "identity": u + "/userinfo",
			"resources": s.url + "/sites", "health": s.url + "/health",
		},
	}).OK(t)
	return s
}

func (s *sites) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.provider.Alive(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path != "/sites" {
		s.shown = append(s.shown, r.Header.Get("X-Site"))
		_, _ = w.Write([]byte(`{}`))
		return
	}
	if s.asked != nil {
		s.asked()
	}
	if s.listed++; s.status != 0 {
		w.WriteHeader(s.status)
		return
	}
	list := []map[string]string{}
	for _, id := range s.list {
		list = append(list, map[string]string{"id": id, "title": "Site " + id, "url": "https://" + id + ".example.com"})
	}
	_ = json.NewEncoder(w).Encode(list)
}

func (s *sites) reach(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.status = ids, 0
}

func (s *sites) failList() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = http.StatusInternalServerError
}

func (s *sites) lists() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed
}

// consent connects an account of that provider.
func (s *sites) consent(t *testing.T, path string, data map[string]any, as ...testenv.Caller) testenv.Result {
	t.Helper()
	return s.Write("exchange", s.own(t, path, with(map[string]any{"provider": "sites"}, data), as...), as...)
}

// siteInputs are inputs as a client sends them.
func siteInputs(pairs ...string) map[string]any {
	inputs := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		inputs[pairs[i]] = pairs[i+1]
	}
	return map[string]any{"inputs": inputs}
}

// picked is where a connection works, as creds tells.
func (s *sites) picked(t *testing.T, path string) []any {
	t.Helper()
	config := members(t, s.Read("creds/"+path, nil).OK(t)["connection_config"])
	return []any{config["site"], config["site_url"]}
}

func TestPickASite(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		r := s.consent(t, "x", siteInputs("region", "eu"))
		made := r.OK(t)
		assert.Equal(t, []any{"pending", "choice"}, []any{made["status"], made["status_reason"]})
		assert.Contains(t, strings.Join(r.Warnings, " "), "inputs=site=<id> on connections/org/default/x")
		assert.Equal(t, providertest.AccountID, members(t, made["account"])["id"], "whose it is needs no choice")
		choices, err := json.Marshal(made["choices"])
		require.NoError(t, err)
		assert.JSONEq(t, `[{"id":"one","name":"Site one"},{"id":"two","name":"Site two"}]`, string(choices))
		s.Read("creds/x", nil).Refused(t, http.StatusConflict, "pending (choice)", "one (Site one), two (Site two)",
			"inputs=site=<id> on connections/org/default/x")
		assert.Equal(t, map[string]any{"pending": 1.0}, members(t, s.Read("status", nil).OK(t)["by_status"]))
		info := members(t, s.List("connections/").OK(t)["key_info"])
		assert.Equal(t, "pending", members(t, info["x"])["status"])
		checked := s.Write("check/x", nil).OK(t)
		assert.Equal(t, []any{"pending", "choice", "unknown", "not_asked"}, []any{
			checked["status"], checked["status_reason"], checked["token_valid"], checked["service"],
		})

		before := s.lists()
		s.Advance(time.Minute)
		done := s.Write("connections/x", siteInputs("site", "two")).OK(t)
		assert.Equal(t, []any{"active", "", rfc3339(s.Now())}, []any{
			done["status"], done["status_reason"], done["status_since"],
		})
		assert.Equal(t, map[string]any{"region": "eu", "site": "two"}, members(t, done["inputs"]), "others stay")
		assert.Equal(t, []any{"two", "https://two.example.com"}, s.picked(t, "x"))
		s.Write("check/x", nil).OK(t)
		assert.Equal(t, []string{"two"}, s.shown, "the call that shows the credential goes to the site")

		last := s.Read("connections/x", nil).OK(t)["last_rotation"]
		s.Advance(time.Minute)
		s.Write("connections/x", siteInputs("site", "two", "region", "eu")).OK(t)
		s.Write("connections/x", siteInputs("region", "eu")).OK(t)
		s.Write("connections/x", map[string]any{"label": "L"}).OK(t)
		assert.Equal(t, last, s.Read("connections/x", nil).OK(t)["last_rotation"], "nothing was changed")
		s.Write("connections/x", siteInputs("site", "one", "region", "eu")).OK(t)
		assert.Equal(t, []any{"one", "https://one.example.com"}, s.picked(t, "x"), "of the former site nothing is left")
		assert.NotEqual(t, last, s.Read("connections/x", nil).OK(t)["last_rotation"])
		assert.Equal(t, before, s.lists(), "what was stored did")
		assert.Equal(t, 1, s.provider.Count(providers.StepToken), "no new consent")
		s.restart(t)
		assert.Equal(t, []any{"one", "https://one.example.com"}, s.picked(t, "x"))
	}, "one", "two")
}

func TestPickRefusesWhatIsNotReached(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.consent(t, "x", siteInputs("region", "eu")).OK(t)
		stored := s.written(t, "connection/org/default/x")
		for _, test := range []struct {
			data map[string]any
			text string
		}{
			{siteInputs("site", "three"), `nothing of id "three" to pick: its account reaches one (Site one), two (Site two)`},
			{siteInputs("site", "../../two"), "must match"},
			{siteInputs("site", ""), "must match"},
			{siteInputs("site", "two", "region", "us"), "inputs say where the credential belongs"},
			{siteInputs("region", "us"), "inputs say where the credential belongs"},
			{siteInputs("site", "two", "moon", "full"), "moon"},
		} {
			s.Write("connections/x", test.data).Refused(t, http.StatusBadRequest, test.text)
		}
		s.failList()
		s.Write("connections/x", siteInputs("site", "three")).Refused(t, http.StatusBadGateway, "nothing was changed")
		assert.Equal(t, stored, s.written(t, "connection/org/default/x"))

		s.reach("one", "two", "three") // the account was given more at the service
		s.Advance(2 * time.Hour)       // and the token that lists it has expired
		s.Write("connections/x", siteInputs("site", "three")).OK(t)
		assert.Equal(t, []any{"three", "https://three.example.com"}, s.picked(t, "x"))
		assert.Equal(t, 1, s.spent())
	}, "one", "two")
}

func TestOneSiteAndNone(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.reach("only")
		assert.Equal(t, "active", s.consent(t, "x", nil).OK(t)["status"], "the only one is picked by itself")
		assert.Equal(t, []any{"only", "https://only.example.com"}, s.picked(t, "x"))
		s.reach()
		assert.Equal(t, "pending", s.consent(t, "none", nil).OK(t)["status"])
		s.Read("creds/none", nil).Refused(t, http.StatusConflict, "reaches nothing", "inputs=site=<id>")
		s.reach("a", "b")
		assert.Equal(t, "active", s.consent(t, "named", siteInputs("site", "b")).OK(t)["status"], "named beforehand")
		assert.Equal(t, "b", s.picked(t, "named")[0])
		assert.Equal(t, "pending", s.consent(t, "wrong", siteInputs("site", "c")).OK(t)["status"])
	})
}

// A reconnect keeps the site while it is reached, and takes no other in its place.
func TestReconnectKeepsThePick(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.consent(t, "x", siteInputs("region", "eu")).OK(t)
		own := s.own(t, "x", map[string]any{"provider": "sites"})
		s.Write("connections/x", siteInputs("site", "two")).OK(t)
		s.Write("exchange", own).OK(t)
		assert.Equal(t, "two", s.picked(t, "x")[0], "picked while the flow was open")
		s.consent(t, "x", siteInputs("region", "us")).OK(t)
		assert.Equal(t, "two", s.picked(t, "x")[0], "other inputs were named")
		s.failList()
		s.consent(t, "x", nil).OK(t)
		assert.Equal(t, []any{"two", "https://two.example.com"}, s.picked(t, "x"), "nobody knows better")
		s.reach("one")
		again := s.consent(t, "x", nil).OK(t)
		assert.Equal(t, []any{"pending", "choice"}, []any{again["status"], again["status_reason"]})
		assert.Equal(t, map[string]any{"region": "us"}, members(t, again["inputs"]))
		s.Write("connections/x", siteInputs("site", "one")).OK(t)

		s.provider.Next(providers.StepIdentity, providertest.Respond(200, `{"sub":"somebody-else"}`))
		stored := s.written(t, "connection/org/default/x")
		s.consent(t, "x", nil).Refused(t, http.StatusConflict, "another account")
		assert.Equal(t, stored, s.written(t, "connection/org/default/x"), "refused before anything is stored")
	}, "one", "two")
}

// Picking is the owner's, where the connection is.
func TestPickOfAPrivateConnection(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.consent(t, "self/x", nil, alice).OK(t)
		s.Write("connections/user/e-alice/x", siteInputs("site", "two"), bob).Refused(t, http.StatusForbidden, "private")
		s.Write("connections/self/x", siteInputs("site", "one"), alice).OK(t)
		s.Write("connections/self/x", map[string]any{"private": false}, alice).OK(t)
		s.Write("connections/user/e-alice/x", siteInputs("site", "two"), bob).OK(t)
		s.Write("auth-code-url/self/x", nil, alice).Refused(t, http.StatusBadRequest, "set up by somebody else",
			`inputs site="two"`) // what bob picked is not taken over unseen
		s.Write("connections/self/x", siteInputs("site", "two"), alice).OK(t)
		s.Write("auth-code-url/self/x", nil, alice).OK(t) // she has said it herself
	}, "one", "two")
}

// A grant that waits for a choice is kept fresh, and goes as any other.
func TestPendingIsRefreshed(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.consent(t, "x", nil).OK(t)
		s.Advance(2 * time.Hour)
		done := s.Write("refresh/x", nil).OK(t)
		assert.Equal(t, []any{"pending", 1}, []any{done["status"], s.spent()})
		if b, ok := s.Backend.(*backend); ok { // by itself, too
			before := s.spent()
			c, _, err := b.connections.Get(t.Context(), aKey("x"))
			require.NoError(t, err)
			terms, err := b.Terms(t.Context(), aKey("x"), c)
			require.NoError(t, err)
			due := b.dueOf(aKey("x"), c, terms)
			require.False(t, due.IsZero())
			s.Advance(due.Sub(s.Now()))
			b.runConnection(t.Context(), aKey("x"))
			assert.Equal(t, before+1, s.spent())
		}
		s.Read("creds/x", nil).Refused(t, http.StatusConflict, "choice")
		s.Write("connections/x", siteInputs("site", "one")).OK(t)
		assert.True(t, s.provider.Alive(s.token(t, "x").(string)))

		s.reach("one", "three")
		assert.Equal(t, "one", members(t, s.consent(t, "x", nil).OK(t)["inputs"])["site"])
		s.reach("two", "three")
		assert.Equal(t, "pending", s.consent(t, "x", nil).OK(t)["status"])
		s.Delete("connections/x", nil)
		assert.Equal(t, http.StatusNotFound, s.Read("connections/x", nil).Status)
		assert.NotZero(t, s.provider.Count(providers.StepRevoke))
	}, "one", "two")
}

func TestImportReachesSites(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		import_ := map[string]any{"provider": "sites", "refresh_token": s.elsewhere(t)}
		assert.Equal(t, "pending", s.Write("connections/x", import_).OK(t)["status"])
		s.Write("connections/x", siteInputs("site", "two")).OK(t)
		again := s.Write("connections/x", with(import_, siteInputs())).OK(t)
		assert.Equal(t, "active", again["status"], "the same import sent again")
		assert.Equal(t, "two", s.picked(t, "x")[0])

		s.reach("only")
		one := s.Write("connections/z", with(map[string]any{
			"provider": "sites", "refresh_token": s.elsewhere(t),
		}, siteInputs("region", "eu"))).OK(t)
		assert.Equal(t, "active", one["status"])
		assert.Equal(t, map[string]any{"region": "eu", "site": "only"}, members(t, one["inputs"]))
		again = s.Write("connections/z", with(map[string]any{
			"refresh_token": s.elsewhere(t),
		}, siteInputs("region", "us"))).OK(t)
		assert.Equal(t, map[string]any{"region": "us", "site": "only"}, members(t, again["inputs"]))
		s.reach("one", "two")

		untried := s.Write("connections/y", with(map[string]any{
			"provider": "sites", "refresh_token": s.elsewhere(t), "verify": false,
		}, siteInputs("site", "one"))).OK(t)
		assert.Equal(t, "pending", untried["status"], "nobody knows yet what it reaches")
		s.Write("connections/y", siteInputs("site", "one")).OK(t) // which a renewal meanwhile may have found, too
		assert.Equal(t, "one", s.picked(t, "y")[0])

		app := s.Write("connections/app", map[string]any{"provider": "sites", "kind": "client_credentials"}).OK(t)
		assert.Equal(t, []any{"pending", providertest.AccountID}, []any{app["status"], members(t, app["account"])["id"]})
	}, "one", "two")
}

// A list is kept within bounds, and what it left out can be picked all the same.
func TestManySites(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		var ids []string
		for i := range 300 {
			ids = append(ids, fmt.Sprintf("site-%03d", i))
		}
		s.reach(ids...)
		made := s.consent(t, "x", nil).OK(t)
		encoded, err := json.Marshal(made["choices"])
		require.NoError(t, err)
		assert.Equal(t, 100, strings.Count(string(encoded), `"id"`))
		s.Read("creds/x", nil).Refused(t, http.StatusConflict, "and others")
		s.Write("connections/x", siteInputs("site", "site-299")).OK(t)
		assert.Equal(t, "site-299", s.picked(t, "x")[0])
		s.Write("refresh/x", nil).OK(t)
		assert.Equal(t, "site-299", s.picked(t, "x")[0], "a refresh forgets nothing")
	})
}

// Nothing of a pick is half done, whichever write storage refuses.
func TestPickWhileStorageRefuses(t *testing.T) {
	for _, mount := range []mounter{testenv.InProcess, testenv.OverGRPC} {
		n := int64(1)
		for more := true; more; n++ {
			s := newSites(t, newFixture(t, sited(t), mount), "one", "two")
			s.consent(t, "x", nil).OK(t)
			s.reach("one", "two", "three")
			s.Advance(2 * time.Hour) // so that a refresh comes first
			fired := failWrite(s.Storage, n)
			first := s.Write("connections/x", siteInputs("site", "three"))
			s.Storage.Judge(nil)
			if first.Status >= 400 {
				s.restart(t)
				assert.Contains(t, []any{"pending", "active"}, s.Read("connections/x", nil).OK(t)["status"])
				s.Write("connections/x", siteInputs("site", "three")).OK(t)
			}
			s.saved(t)
			s.restart(t)
			assert.Equal(t, "three", s.picked(t, "x")[0])
			assert.True(t, s.provider.Alive(s.token(t, "x").(string)))
			s.Advance(2 * time.Hour)
			assert.True(t, s.provider.Alive(s.token(t, "x").(string)), "the newest refresh token was kept")
			more = fired.Load()
			require.Less(t, n, int64(12))
		}
		require.Greater(t, n, int64(3), "an intent, a refresh and a pick are written")
	}
}

// The consent that brings several sites is as whole as any other when storage refuses a write.
func TestChoiceOutlivesRefusedWritesAndCrashes(t *testing.T) {
	n := int64(1)
	for more := true; more; n++ {
		s := newSites(t, newFixture(t, sited(t), testenv.InProcess), "one", "two")
		own := s.own(t, "x", map[string]any{"provider": "sites"})
		fired := failWrite(s.Storage, n)
		first := s.Write("exchange", own)
		s.Storage.Judge(nil)
		more = fired.Load()
		if first.Status < 300 {
			s.saved(t)
		}
		s.System.SetReplication(consts.ReplicationState(0))
		s.restart(t)
		if c := s.Read("connections/x", nil); first.Status < 300 {
			assert.Equal(t, "choice", c.OK(t)["status_reason"], "write %d", n)
			s.Read("creds/x", nil).Refused(t, http.StatusConflict, "one (Site one)")
		}
		require.Less(t, n, int64(12))
	}
	require.Greater(t, n, int64(2))
}

// A process that goes down while it asks for the list leaves the connection as it was, to be picked again.
func TestCrashDuringAPick(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.consent(t, "x", nil).OK(t)
		s.reach("one", "two", "three")
		asked, release := make(chan struct{}), make(chan struct{})
		s.mu.Lock()
		s.asked = func() { close(asked); <-release }
		s.mu.Unlock()
		crashed, gone := s.Env, make(chan struct{})
		go func() {
			defer close(gone)
			crashed.Write("connections/x", siteInputs("site", "three"))
		}()
		<-asked
		s.restart(t)
		assert.Equal(t, []any{"pending", "choice"}, s.statusOf(t, "x"))
		s.Write("connections/x", siteInputs("site", "two")).OK(t)
		refuseConnections(s.Storage) // the process that went down writes no more
		close(release)
		<-gone
		s.Storage.Judge(nil)
		assert.Equal(t, "two", s.picked(t, "x")[0])
	}, "one", "two")
}

// Nothing is asked for a connection that is switched off, and what is stored can be picked all the same.
func TestPickWhileDisabled(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.consent(t, "x", nil).OK(t)
		s.Write("connections/x", map[string]any{"disabled": true}).OK(t)
		before := s.lists()
		s.Write("connections/x", siteInputs("site", "three")).Refused(t, http.StatusForbidden, "disabled")
		assert.Equal(t, before, s.lists())
		done := s.Write("connections/x", with(siteInputs("site", "two"), map[string]any{"disabled": false})).OK(t)
		assert.Equal(t, []any{"active", "two"}, []any{done["status"], s.picked(t, "x")[0]})

		s.Write("providers/sites", map[string]any{"client_id": "another"}).OK(t)
		s.Write("connections/x", siteInputs("site", "three")).Refused(t, http.StatusConflict, "was changed")
		assert.Equal(t, before, s.lists())
	}, "one", "two")
}

// A pick and a renewal at the same time: neither loses what the other brought.
func TestPickDuringARefresh(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.consent(t, "x", nil).OK(t)
		s.Advance(time.Minute)
		asked, release := make(chan struct{}), make(chan struct{})
		s.provider.Next(providers.StepRefresh, func(p *providertest.Server, w http.ResponseWriter, r *http.Request,
			behave http.HandlerFunc,
		) {
			close(asked)
			providertest.HangUntil(release)(p, w, r, behave)
		})
		done := make(chan testenv.Result)
		go func() { done <- s.Write("refresh/x", nil) }()
		<-asked
		s.reach("one", "two", "three")
		s.Write("connections/x", siteInputs("site", "three")).OK(t)
		close(release)
		refreshed := <-done
		assert.Equal(t, "active", refreshed.OK(t)["status"])
		assert.Equal(t, []any{"three", "https://three.example.com"}, s.picked(t, "x"))
		s.Advance(2 * time.Hour)
		assert.True(t, s.provider.Alive(s.token(t, "x").(string)))
		assert.Equal(t, 2, s.spent())
	}, "one", "two")
}

// What a hostile list holds gets no further than names and ids that fit.
func TestSitesOfAHostileService(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.reach("good", "../admin", "x y", "a\nb", strings.Repeat("a", 300), "good", "also-good")
		made := s.consent(t, "x", nil).OK(t)
		encoded, err := json.Marshal(made["choices"])
		require.NoError(t, err)
		assert.JSONEq(t, `[{"id":"good","name":"Site good"},{"id":"also-good","name":"Site also-good"}]`, string(encoded))
		access, refresh := s.written(t, "connection/org/default/x")["grant"].(map[string]any), s.Read("connections/x", nil)
		refused := s.Read("creds/x", nil)
		for _, secret := range []string{access["access_token"].(string), access["refresh_token"].(string)} {
			assert.NotContains(t, fmt.Sprint(refresh.Data, refused.Text, refused.Err), secret)
			assert.NotContains(t, s.Logs.String(), secret)
		}
	})
}
