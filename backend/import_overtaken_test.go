package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// What is left of an import gives way to what people did to the connection since.
func TestImportLeftBehindIsOvertaken(t *testing.T) {
	overtaken := map[string]func(*testing.T, *fixture) (holds func()){
		"by a reconnect": func(t *testing.T, f *fixture) func() {
			f.connect(t, "x")
			token := f.token(t, "x")
			return func() { assert.Equal(t, token, f.token(t, "x"), "the reconnect came later") }
		},
		"by another import": func(t *testing.T, f *fixture) func() {
			f.account(providertest.AccountID)
			f.Write("connections/x", map[string]any{"access_token": "later"}).OK(t)
			return func() { assert.Equal(t, "later", f.token(t, "x"), "the other import came later") }
		},
		"by who switches it off": func(t *testing.T, f *fixture) func() {
			f.Write("connections/x", map[string]any{"disabled": true, "label": "stolen"}).OK(t)
			return func() {
				c := f.Read("connections/x", nil).OK(t)
				assert.Equal(t, "disabled", c["status"])
				assert.Equal(t, "stolen", c["label"])
			}
		},
	}
	left := map[string]func(*testing.T, *fixture, map[string]any){
		"that was adopted, and storage keeps its record": func(t *testing.T, f *fixture, import_ map[string]any) {
			f.keepTrials()
			f.Write("connections/x", import_).OK(t)
			require.NotEmpty(t, f.stored(t, "import/"))
		},
		"whose answer never came": func(t *testing.T, f *fixture, import_ map[string]any) {
			f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
			f.Write("connections/x", import_).Refused(t, http.StatusBadGateway, "may be spent")
		},
	}
	for how, leave := range left {
		for by, overtake := range overtaken {
			t.Run(how+", "+by, func(t *testing.T) {
				f := newFixture(t, Options{}, testenv.InProcess)
				f.connect(t, "x")
				leave(t, f, map[string]any{"refresh_token": f.elsewhere(t), "label": "mine", "disabled": false})
				holds := overtake(t, f)
				f.Storage.Judge(nil)
				f.beats(t)
				holds()
				f.restart(t)
				f.System.SetReplication(0)
				f.beats(t)
				holds()
			})
		}
	}
}

// Nobody brings back what a person deleted, whether or not it was there already.
func TestImportWithoutAnswerIsDeleted(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
	f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).
		Refused(t, http.StatusBadGateway, "may be spent")
	f.Delete("connections/x", nil).OK(t)
	f.beats(t)
	assert.Equal(t, http.StatusNotFound, f.Read("connections/x", nil).Status)
	assert.Empty(t, f.stored(t, "import/"))
}

// An import sent again keeps to what it was found to be: if the connection has another credential by the time that it
// lands, that one stays.
func TestImportSentAgainMeetsAReconnect(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
	f.Write("connections/x", import_).OK(t)
	own := f.own(t, "x", nil)
	writing, release := make(chan struct{}), make(chan struct{})
	f.Storage.Block(testenv.Nth(1, func(a testenv.Access) bool { return a.Op == "put" && a.Under("connection/") }),
		func(testenv.Access) { close(writing); <-release })
	label, reconnect, again := make(chan testenv.Result, 1), make(chan testenv.Result, 1), make(chan testenv.Result, 1)
	go func() { label <- f.Write("connections/x", map[string]any{"label": "first in the queue"}) }()
	<-writing
	identified := f.provider.Count(providers.StepIdentity)
	go func() { reconnect <- f.Write("exchange", own) }()
	require.Eventually(t, func() bool { return f.provider.Count(providers.StepIdentity) > identified },
		time.Minute, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // it waits for the connection's lock
	go func() { again <- f.Write("connections/x", import_) }()
	time.Sleep(100 * time.Millisecond) // so does this
	close(release)
	(<-label).OK(t)
	(<-reconnect).OK(t)
	<-again
	f.Storage.Block(nil, nil)
	assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
	assert.Equal(t, 1, f.spent(), "no token was spent twice")
	f.Advance(2 * time.Hour)
	assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
}

// Nothing is left of an import whose connection is deleted while its provider is asked, whatever the heartbeat finds
// meanwhile.
func TestImportBesideADeletionLeavesNothing(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "x")
	begun, release := f.blocked()
	answer := make(chan testenv.Result, 1)
	go func() { answer <- f.Write("connections/x", map[string]any{"refresh_token": f.elsewhere(t)}) }()
	<-begun
	f.Delete("connections/x", nil).OK(t)
	for range 2 {
		f.periodic(t)
		require.Eventually(t, func() bool { return !f.engine().beating.Load() }, time.Minute, time.Millisecond)
	}
	close(release)
	(<-answer).Refused(t, http.StatusConflict, "deleted meanwhile")
	for range 3 {
		f.Advance(2 * time.Hour)
		f.beats(t)
	}
	assert.Empty(t, f.stored(t, "import/"), "it holds a token that lives")
}

// A record that storage took late is found all the same.
func TestImportThatLandsLateIsFound(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	land, landed := make(chan struct{}), make(chan struct{})
	f.Storage.Hang(testenv.Nth(1, func(a testenv.Access) bool { return a.Op == "put" && a.Under("import/") }),
		func(testenv.Access) { <-land; close(landed) })
	r := f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)})
	assert.GreaterOrEqual(t, r.Status, http.StatusInternalServerError)
	f.Storage.Hang(nil, nil)
	f.beats(t)
	close(land)
	<-landed
	require.Eventually(t, func() bool { return len(f.stored(t, "import/")) == 1 }, time.Minute, time.Millisecond)
	for range 3 {
		f.Advance(2 * time.Hour)
		f.beats(t)
	}
	assert.Empty(t, f.stored(t, "import/"), "it holds a token that lives")
}

// A provider that answers nothing holds up the imports that wait for it, and not the heartbeat.
func TestHeartbeatBesideAnImportThatHangs(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
	f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).
		Refused(t, http.StatusBadGateway)
	begun, release := f.blocked()
	defer close(release)
	f.periodic(t)
	<-begun
	assert.Eventually(t, func() bool { return !f.engine().beating.Load() }, time.Minute, time.Millisecond)
}

// A record that nobody can decode is told of, and does not stay for ever.
func TestDamagedImportIsForgotten(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.undecodable(t, "import/abc/def")
	f.restart(t)
	for range 3 {
		f.Advance(2 * time.Hour)
		f.beats(t)
	}
	assert.Empty(t, f.stored(t, "import/"))
}
