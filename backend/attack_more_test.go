package backend

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Whoever used up what the service grants one account may have that account's calls rest, and nobody else's: else one
// application that asks for checks keeps the tokens of all others from being renewed.
func TestAttackLimitOfOneAccount(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "self/slack", alice)
	f.connect(t, "self/slack", bob)
	f.Advance(time.Minute)
	limited := providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "3600")
	f.provider.Next(providers.StepIdentity, limited)
	assert.Equal(t, "limited", f.Write("check/self/slack", nil, bob).OK(t)["service"])
	assert.Equal(t, "true", f.Write("check/self/slack", nil, alice).OK(t)["token_valid"])
	asked := f.asked()
	f.Advance(2 * time.Minute)
	assert.Equal(t, "limited", f.Write("check/self/slack", nil, bob).OK(t)["service"])
	assert.Equal(t, asked, f.asked(), "and is left alone")
	f.Advance(2 * time.Hour)
	f.Read("creds/self/slack", nil, alice).OK(t)
}

// full lets every place of acme be taken, until release.
func (f *fixture) full(t *testing.T) (release func()) { return f.fullOf(t, "acme") }

// fullOf is full for another provider.
func (f *fixture) fullOf(t *testing.T, provider string) (release func()) {
	t.Helper()
	var passes []*gate.Pass
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		pass, err := f.engine().gate.Enter(ctx, gate.Visit{
			Key: provider, Connection: fmt.Sprint("other ", i), Account: fmt.Sprint("other ", i),
		})
		cancel()
		if err != nil {
			break
		}
		passes = append(passes, pass)
	}
	return func() {
		for _, pass := range passes {
			pass.Leave(gate.NotSent, 0)
		}
	}
}

// A check may wait long for its call. Who deletes, disables or moves away meanwhile has the credential shown to nobody.
func TestAttackCheckWaitsWhilePeopleSayNo(t *testing.T) {
	elsewhere := "https://elsewhere.example.com"
	for name, no := range map[string]func(t *testing.T, f *fixture){
		"deleted": func(t *testing.T, f *fixture) { f.Delete("connections/slack", nil).OK(t) },
		"disabled": func(t *testing.T, f *fixture) {
			f.Write("connections/slack", map[string]any{"disabled": true}).OK(t)
		},
		"provider changed": func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"client_secret": "new", "endpoints": map[string]any{
				"authorize": elsewhere + "/a", "token": elsewhere + "/t", "identity": elsewhere + "/i",
			}}).OK(t)
		},
		"owner refused": func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"allowed_owners": "org/other"}).OK(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, "slack")
			f.Advance(time.Minute)
			asked := f.asked()
			release := f.full(t)
			var all sync.WaitGroup
			all.Go(func() { f.Write("check/slack", nil) })
			require.Eventually(t, func() bool { return f.engine().gate.Report().Waiting == 1 }, time.Minute,
				time.Millisecond)
			var told sync.WaitGroup
			told.Go(func() { no(t, f) }) // a deletion waits for a place too
			if name == "deleted" {
				time.Sleep(100 * time.Millisecond)
			} else {
				told.Wait()
			}
			release()
			all.Wait()
			told.Wait()
			assert.Equal(t, asked, f.asked())
		})
	}
}

// A check that was under way for the former key says nothing of the one that is written meanwhile.
func TestAttackCheckOfTheFormerKey(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.keyed(t)
	asked := make(chan struct{})
	until := make(chan struct{})
	f.provider.Next(providers.StepIdentity, func(_ *providertest.Server, w http.ResponseWriter,
		_ *http.Request, _ http.HandlerFunc,
	) {
		close(asked)
		<-until
		w.WriteHeader(http.StatusUnauthorized)
	}, providertest.Respond(http.StatusOK, `{"sub":"the account"}`))
	var all sync.WaitGroup
	all.Go(func() { f.Write("check/keys", nil) })
	<-asked
	f.Write("connections/keys", map[string]any{"api_key": "another-key-5678", "verify": false}).OK(t)
	all.Go(func() {
		found := f.Write("check/keys", nil).OK(t)
		assert.Equal(t, []any{"active", "true"}, []any{found["status"], found["token_valid"]}, found["advice"])
	})
	time.Sleep(50 * time.Millisecond)
	close(until)
	all.Wait()
}

// What a former provider says of a credential is no recent answer of the one that there is now.
func TestAttackCheckOfTheFormerProvider(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	f.Advance(time.Minute)
	asked, release := f.held(providers.StepIdentity)
	var all sync.WaitGroup
	all.Go(func() { f.Write("check/slack", nil) })
	<-asked
	acme := f.acme()
	acme["endpoints"].(map[string]any)["identity"] = f.provider.URL + "/elsewhere"
	f.Write("providers/acme", acme).OK(t)
	release()
	all.Wait()
	found := f.Write("check/slack", nil).OK(t)
	assert.Equal(t, []any{"needs_reconnect", "not_asked"}, []any{found["status"], found["service"]})
}

// What was not asked has no time of asking.
func TestAttackCheckedTimeOfWhatWasNotAsked(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.connect(t, "slack")
	f.Advance(time.Minute)
	acme := f.acme()
	delete(acme["endpoints"].(map[string]any), "identity")
	f.Write("providers/acme", acme).OK(t)
	found := f.Write("check/slack", nil).OK(t)
	assert.Equal(t, []any{"not_asked", ""}, []any{found["service"], found["checked_time"]})
}

// A rotation of the app's secret answers no callback URL, so whoever is to register another one was not told.
func TestAttackMovedCallbackIsForgottenByARotation(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("config", map[string]any{"public_url": "https://moved.example.com"}).OK(t)
	require.Equal(t, []string{"acme"}, texts(t, f.Read("status", nil).OK(t)["moved_callbacks"]))
	f.Write("providers/acme/client-secret", map[string]any{"client_secret": "a-new-one"}).OK(t)
	assert.Equal(t, []string{"acme"}, texts(t, f.Read("status", nil).OK(t)["moved_callbacks"]))
}

// A mask stands for what is stored at its own place, and nowhere else.
func TestAttackMasksMoveNothing(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.Write("providers/acme", map[string]any{
		"client_secret": "a-client-secret-of-length", "token_params": map[string]any{"p": "a-token-parameter-of-length"},
	}).OK(t)
	elsewhere := map[string]any{
		"authorize": "https://e.example.com/a", "token": "https://e.example.com/t", "identity": "https://e.example.com/i",
	}
	for _, m := range []string{"****", "****ngth"} {
		f.Write("providers/acme", map[string]any{"client_secret": m, "endpoints": elsewhere}).Refused(t, 400, "mask")
		f.Write("providers/acme", map[string]any{
			"token_params": map[string]any{"p": m}, "endpoints": elsewhere,
		}).Refused(t, 400, "mask")
		f.Write("providers/acme", map[string]any{"token_params": map[string]any{"q": m}}).Refused(t, 400, "mask")
		f.Write("providers/acme", map[string]any{"authorize_params": map[string]any{"p": m}}).Refused(t, 400, "mask")
		f.Write("providers/other", map[string]any{
			"definition": "oauth2", "client_id": "x", "client_secret": m, "endpoints": elsewhere,
		}).Refused(t, 400, "mask")
	}
	f.keyed(t)
	for _, m := range []string{"****", "****1234"} {
		f.Write("connections/other", map[string]any{"provider": "keys", "api_key": m}).Refused(t, 400)
		f.Write("connections/self/keys", map[string]any{"api_key": m}, bob).Refused(t, 400)
	}
}

// An issuer is a stranger: what it says of itself is cut, and never the page's or the log's own.
func TestAttackIssuerSpeaks(t *testing.T) {
	for name, body := range map[string]string{
		"text":     `{"issuer":"call +1-800 now: planted words"}`,
		"userinfo": `{"issuer":"https://user:planted@x.example.com"}`,
		"query":    `{"issuer":"https://x.example.com/?planted=1#planted"}`,
		"control":  "{\"issuer\":\"https://x.example.com/\\u001b[31mplanted\"}",
		"bidi":     "{\"issuer\":\"https://x.example.com/\\u202eplanted\"}",
		"space":    `{"issuer":"https://x.example.com/ planted words to an operator"}`,
		"huge":     `{"issuer":"https://x.example.com/` + strings.Repeat("a", 100_000) + `planted"}`,
		"number":   `{"issuer":1}`,
		"array":    `[{"issuer":"planted"}]`,
		"scopes":   `{"issuer":"https://x.example.com","scopes_supported":["planted"]}`,
		"html":     `<html>planted</html>`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.provider.Next(providers.StepDiscovery, providertest.Respond(200, body), providertest.Respond(200, body))
			r := f.Write("providers/iss-"+name, map[string]any{
				"definition": "oidc", "client_id": "x", "client_secret": "y", "issuer": f.provider.URL,
			})
			text := fmt.Sprint(r.Text, r.Warnings)
			require.NotEmpty(t, strings.Join(r.Warnings, ""), r.Text)
			assert.NotContains(t, text, "planted")
			assert.Less(t, len(text), 2000)
			assert.NotContains(t, f.Logs.String(), "planted")
		})
	}
}

// Inputs that come back say where the former key belonged. They must not move one that was written meanwhile.
func TestAttackInputsComeBackLate(t *testing.T) {
	f := newFixture(t, placed(t), testenv.InProcess)
	f.Write("providers/pair", nil).OK(t)
	f.Write("connections/pair", map[string]any{"username": "u", "password": "first", "inputs": mallorysShop}).OK(t)
	read := f.Read("connections/pair", nil).OK(t)
	writing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.Storage.Delay(testenv.Nth(1, func(a testenv.Access) bool { return a.Write() && a.Under("connection/") }),
		func(testenv.Access) {
			once.Do(func() { close(writing) })
			<-goOn
		})
	var all sync.WaitGroup
	all.Go(func() {
		f.Write("connections/pair", map[string]any{
			"username": "u", "password": "second", "inputs": map[string]any{"shop": "mine"},
		}).OK(t)
	})
	<-writing
	all.Go(func() {
		f.Write("connections/pair", map[string]any{"inputs": read["inputs"], "label": "x"}).Refused(t, http.StatusConflict,
			"meanwhile")
	})
	time.Sleep(50 * time.Millisecond)
	close(goOn)
	all.Wait()
	assert.Equal(t, map[string]string{"shop": "mine"}, f.Read("connections/pair", nil).OK(t)["inputs"])
}

// paired is a service whose keys have a public half, with one connection.
func paired(t *testing.T) *fixture {
	t.Helper()
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	catalog, err := providers.NewRegistry(fstest.MapFS{"oauth2.yaml": {Data: generic}, "pair.yaml": {Data: []byte(`
id: pair
name: Pair
kinds: [basic]
sources: ['https://example.com']
endpoints: {identity: 'https://pair.example.com/me'}
key: {fields: [{name: username, required: true}, {name: password, required: true, secret: true}]}
send: {basic_user: '{username}', basic_password: '{password}'}
identity: {method: GET}
account: {id: [sub]}
`)}})
	require.NoError(t, err)
	f := newFixture(t, Options{Catalog: catalog}, testenv.InProcess)
	f.Write("providers/pair", map[string]any{"endpoints": map[string]any{"identity": f.provider.URL + "/userinfo"}}).OK(t)
	f.Write("connections/pair", map[string]any{"username": "u", "password": "first", "verify": false}).OK(t)
	return f
}

// A provider that was pointed elsewhere gets no key that was made before, not by one who names its public half.
func TestAttackKeyFollowsItsProvider(t *testing.T) {
	f := paired(t)
	f.Write("providers/pair", map[string]any{"endpoints": map[string]any{"identity": f.provider.URL + "/token"}}).OK(t)
	f.Write("connections/pair", map[string]any{"username": "v"}).Refused(t, http.StatusBadRequest, "password")
	assert.Zero(t, f.provider.Count(providers.StepToken), "nobody is shown the password")
	assert.Equal(t, []any{"needs_reconnect", "provider_changed"}, f.statusOf(t, "pair"))
	f.Write("connections/pair", map[string]any{"username": "v", "verify": false}).Refused(t, http.StatusBadRequest, "password")
	f.Write("connections/pair", map[string]any{"username": "v", "password": "second", "verify": false}).OK(t)
	assert.Equal(t, []any{"active", ""}, f.statusOf(t, "pair"))
}

// Who writes one half of a key does not bring back another half that was replaced meanwhile.
func TestAttackHalfOfAKeyComesBack(t *testing.T) {
	f := paired(t)
	asked, until := make(chan struct{}), make(chan struct{})
	f.provider.Next(providers.StepIdentity, func(_ *providertest.Server, w http.ResponseWriter,
		_ *http.Request, _ http.HandlerFunc,
	) {
		close(asked)
		<-until
		_, _ = w.Write([]byte(`{"sub":"the account"}`))
	})
	var all sync.WaitGroup
	all.Go(func() {
		f.Write("connections/pair", map[string]any{"username": "v"}).Refused(t, http.StatusConflict, "meanwhile")
	})
	<-asked
	f.Write("connections/pair", map[string]any{"username": "u", "password": "second", "verify": false}).OK(t)
	close(until)
	all.Wait()
	assert.Equal(t, "second", f.Read("creds/pair", nil).OK(t)["password"])
}

// Nor is a token that somebody brings and that the service limits.
func TestAttackLimitOfAnImport(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
	f.connect(t, "slack")
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "3600"))
	f.Write("connections/self/x", map[string]any{"provider": "acme", "access_token": "bob's"}, bob).OK(t)
	f.Advance(time.Minute)
	f.Write("refresh/slack", nil).OK(t)
}

// A key that the service limits is no reason to leave others' tokens to die.
func TestAttackLimitOfAWrittenKey(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.keyed(t)
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "3600"))
	f.Write("connections/self/keys", map[string]any{"api_key": "another-key-5678"}, bob).OK(t)
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"the account"}`))
	assert.Equal(t, "true", f.Write("check/keys", nil).OK(t)["token_valid"])
}
