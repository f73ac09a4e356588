package backend

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// The browser may come back between a poll's look at its flow and its claim of it.
func TestPollThatMeetsTheCallback(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/acme", map[string]any{"confirm": false}).OK(t)
	flow := f.start(t, "slack", nil)
	back := f.provider.Consent(t, flow["url"].(string))
	id := flow["flow_id"].(string)
	poll := map[string]any{"flow_id": id}
	f.Write("exchange", poll).Refused(t, http.StatusConflict, "authorization_pending")

	looked, parked := make(chan struct{}), make(chan struct{})
	look := testenv.Nth(1, func(a testenv.Access) bool { return a == testenv.Access{Op: "get", Key: "flow/" + id} })
	f.Storage.Delay(look, func(testenv.Access) { close(looked); <-parked })
	answer := make(chan testenv.Result, 1)
	go func() { answer <- f.Write("exchange", poll) }()
	<-looked // it saw that nobody has come back yet
	f.callback(t, "acme", back)
	close(parked)
	(<-answer).OK(t)
	f.Write("exchange", poll).OK(t)
}

// Flows that are started at once are all counted, also where the provider's issuer is asked before.
func TestOpenFlowsAtOnce(t *testing.T) {
	const most, starts = 3, 40
	f := newFixture(t, Options{}, testenv.InProcess)
	f.issuer(t)
	f.Write("config", map[string]any{"max_open_flows": most, "request_timeout": "1m"}).OK(t)
	release := make(chan struct{})
	for range starts {
		f.provider.Next("discovery", providertest.HangUntil(release))
	}
	var all sync.WaitGroup
	for _, name := range f.names(starts) {
		all.Go(func() { f.Write("auth-code-url/"+name, map[string]any{"provider": "idp"}) })
	}
	assert.Eventually(t, func() bool {
		report := f.engine().gate.Report()
		return report.Inside+report.Waiting == starts
	}, time.Minute, time.Millisecond, "none of them is stored before all have begun")
	close(release)
	all.Wait()
	assert.EqualValues(t, most, number(f.Read("status", nil).OK(t)["open_flows"]))
}
