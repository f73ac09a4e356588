package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// by is the service as somebody else reaches it.
func (s *service) by(u *user) *service {
	return &service{engine: u.engine, Server: s.Server, provider: s.provider}
}

// accept takes a connection that is offered, and gives what the answer says and warns of.
func (e *engine) accept(t *testing.T, to, from string) (data map[string]any, warnings string) {
	t.Helper()
	answer, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/accept/"+to,
		map[string]any{"from": from})
	require.NoError(t, err)
	return answer.Data, strings.Join(answer.Warnings, "\n")
}

// A person's own connection becomes their organization's and goes back, with its grant, by the policies to copy.
func TestTransferBetweenAPersonAndAnOrganization(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	s := root.newService(t, "service")
	her := root.logIn(t, "her", recipe(t, "policies/own.hcl"))
	admin := root.logIn(t, "admin", recipe(t, "policies/org-admin.hcl"))
	app := root.logIn(t, "app", recipe(t, "policies/one-org.hcl"))
	token := s.by(her).adopt(t, "self/slack")
	hers := "user/" + her.entity + "/slack"
	before := her.read(t, "connections/self/slack")

	her.write(t, "transfer/self/slack", map[string]any{"to": "org/acme/crm"})
	assert.Equal(t, token, her.token(t, "self/slack"), "an offer changes nothing")
	app.refusesRead(t, http.StatusBadRequest, "no connection org/acme/crm", "creds/org/acme/crm")
	admin.refusesWrite(t, http.StatusForbidden, "is offered to org/acme/another", "accept/org/acme/another",
		map[string]any{"from": hers})
	got, _ := admin.accept(t, "org/acme/crm", hers)
	assert.Equal(t, []any{"active", false, before["connection_id"]},
		[]any{got["status"], got["private"], got["connection_id"]})
	assert.Equal(t, token, app.token(t, "org/acme/crm"))
	her.refusesRead(t, http.StatusBadRequest, "it was moved to another owner or name by ", "creds/self/slack")
	her.absent(t, "connections/self/slack")
	admin.refusesRead(t, http.StatusForbidden, denied, "creds/org/acme/crm")
	admin.refusesWrite(t, http.StatusForbidden, denied, "transfer/org/acme/crm", map[string]any{"to": hers})

	root.write(t, "transfer/org/acme/crm", map[string]any{"to": hers})
	got, _ = her.accept(t, "self/slack", "org/acme/crm")
	assert.Equal(t, []any{"active", true, before["connection_id"]},
		[]any{got["status"], got["private"], got["connection_id"]})
	assert.Equal(t, token, her.token(t, "self/slack"))
	assert.True(t, s.Alive(token))
	root.refusesRead(t, http.StatusForbidden, "is private", "creds/"+hers)
	app.refusesRead(t, http.StatusBadRequest, "it was moved to another owner or name by ", "creds/org/acme/crm")
	assert.Zero(t, s.Count("revoke"))
}

// What somebody else than its owner offers of a private connection is everything but what could be used.
func TestTransferOfAMembersPrivateConnection(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	s := root.newService(t, "service")
	root.write(t, "providers/service", map[string]any{
		"client_secret": providertest.ClientSecret, // which a change of endpoints asks for again
		"endpoints": map[string]string{
			"authorize": s.URL + "/authorize", "token": s.URL + "/token", "identity": s.URL + "/userinfo",
			"revoke": s.URL + "/revoke",
		},
	})
	her := root.logIn(t, "her", recipe(t, "policies/member.hcl"))
	admin := root.logIn(t, "admin", recipe(t, "policies/org-admin.hcl"))
	root.ask(t, "identity/entity/id/"+her.entity, map[string]any{"metadata": map[string]string{"org": "acme"}})
	token := s.by(her).adopt(t, "org/acme/self/slack")
	hers := "org/acme/user/" + her.entity + "/slack"
	her.write(t, "connections/org/acme/self/slack", map[string]any{"label": "Sales"})

	renamed := map[string]any{"to": "org/acme/user/" + her.entity + "/renamed"}
	root.refusesWrite(t, http.StatusForbidden, "only the entity that owns it may rename it", "transfer/"+hers, renamed)
	admin.write(t, "transfer/"+hers, map[string]any{"to": "org/acme/slack"})
	assert.Equal(t, token, her.token(t, "org/acme/self/slack"))
	got, warnings := admin.accept(t, "org/acme/slack", hers)
	assert.Equal(t, []any{"needs_reconnect", "transferred", "Sales"},
		[]any{got["status"], got["status_reason"], got["label"]})
	assert.Contains(t, warnings, "arrived without its credential")
	assert.Contains(t, warnings, "the former grant was revoked")
	assert.False(t, s.Alive(token))
	root.refusesRead(t, http.StatusConflict, "needs to be reconnected", "creds/org/acme/slack")
	her.refusesRead(t, http.StatusBadRequest, "no connection", "creds/org/acme/self/slack")

	fresh := admin.write(t, "exchange", s.by(admin).consent(t, "org/acme/slack"))
	assert.Equal(t, got["connection_id"], fresh["connection_id"])
	assert.True(t, s.Alive(root.token(t, "org/acme/slack")))
}

// A rename is at once, and its owner's; whom it serves stays, but for those with whom it was shared.
func TestRename(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	her := root.logIn(t, "her", recipe(t, "policies/own.hcl"))
	him := root.logIn(t, "him", recipe(t, "policies/everybody.hcl"))
	her.write(t, "connections/self/openai", key(apiKey))
	her.write(t, "shares/self/openai", map[string]any{"entities": him.entity})
	of := "user/" + her.entity
	require.Equal(t, apiKey, him.read(t, "creds/shared/"+of+"/openai")["api_key"])
	root.refusesWrite(t, http.StatusForbidden, "only the entity that owns it may rename it", "transfer/"+of+"/openai",
		map[string]any{"to": of + "/crm"})

	answer, err := her.vault.Client.Logical().WriteWithContext(t.Context(), her.path+"/transfer/self/openai",
		map[string]any{"to": "self/crm"})
	require.NoError(t, err)
	assert.Equal(t, []any{true, of + "/crm"}, []any{answer.Data["moved"], answer.Data["to"]})
	assert.Contains(t, strings.Join(answer.Warnings, "\n"), "its shares have ended")
	assert.Equal(t, apiKey, her.read(t, "creds/self/crm")["api_key"])
	her.refusesRead(t, http.StatusBadRequest, "it was moved to another owner or name by ", "creds/self/openai")
	for _, name := range []string{"/openai", "/crm"} {
		him.refusesRead(t, http.StatusForbidden, "is shared with you", "creds/shared/"+of+name)
	}
	root.refusesRead(t, http.StatusBadRequest, "no connection", "creds/"+of+"/openai")
	root.refusesRead(t, http.StatusForbidden, "is private", "creds/"+of+"/crm")
	her.write(t, "connections/self/openai", key(otherAPIKey))
	her.refusesWrite(t, http.StatusConflict, "there is a connection", "transfer/self/crm",
		map[string]any{"to": "self/openai"})
	assert.Equal(t, apiKey, her.read(t, "creds/self/crm")["api_key"])
	assert.Equal(t, otherAPIKey, her.read(t, "creds/self/openai")["api_key"])
}

// What a person transfers to the entity that is to remain outlives a merge, and serves whoever logs in after it.
func TestTransferBeforeAMerge(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	home, work := root.newLogins(t, root.path+"-home"), root.newLogins(t, root.path+"-work")
	home.set(t, "alice", "a password")
	work.set(t, "alice", "a password")
	gone, remains := home.in(t, "alice", "a password"), work.in(t, "alice", "a password")
	gone.write(t, "connections/self/openai", key(apiKey))
	gone.write(t, "transfer/self/openai", map[string]any{"to": "user/" + remains.entity + "/openai"})
	got, warnings := remains.accept(t, "self/openai", "user/"+gone.entity+"/openai")
	assert.Equal(t, []any{"active", true}, []any{got["status"], got["private"]})
	assert.NotContains(t, warnings, "without its credential")
	gone.write(t, "connections/self/late", key(otherAPIKey))
	root.ask(t, "identity/entity/merge", map[string]any{
		"from_entity_ids": []string{gone.entity}, "to_entity_id": remains.entity,
	})
	later := home.in(t, "alice", "a password")
	require.Equal(t, remains.entity, later.entity)
	assert.Equal(t, apiKey, later.read(t, "creds/self/openai")["api_key"])
	root.refusesRead(t, http.StatusForbidden, "is private", "creds/user/"+remains.entity+"/openai")

	gone.write(t, "transfer/self/late", map[string]any{"to": "user/" + remains.entity + "/late"})
	later.accept(t, "self/late", "user/"+gone.entity+"/late")
	assert.Equal(t, otherAPIKey, later.read(t, "creds/self/late")["api_key"], "by a token from before, while it lives")
}

// serving tells under which of two keys a connection is served, the one it goes to first: what serves there and then
// where it came from serves in two places.
func (e *engine) serving(t *testing.T, to, from, token string) (where []string) {
	t.Helper()
	for _, path := range []string{to, from} {
		answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/creds/"+path)
		var refused *api.ResponseError
		switch {
		case err == nil:
			assert.Equal(t, token, answer.Data["access_token"], path)
			where = append(where, path)
		default:
			require.ErrorAs(t, err, &refused)
		}
	}
	return where
}

// A move that the plugin's end cut off serves in one place, now or soon, whether or not somebody asks again.
func TestPluginKilledDuringTransfer(t *testing.T) {
	t.Parallel()
	v := newFragile(t)
	e := mountOn(t, v.Vault)
	s := e.newService(t, "service")
	token := s.adopt(t, "org/acme/slack")
	id := e.read(t, "connections/org/acme/slack")["connection_id"]
	from, to := "org/acme/slack", "org/umbrella/crm"
	arrives := func(t *testing.T) {
		t.Helper()
		require.Eventually(t, func() bool {
			where := e.serving(t, to, from, token)
			require.LessOrEqual(t, len(where), 1, "%v", where)
			left, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/connections/"+from)
			require.NoError(t, err)
			return len(where) == 1 && where[0] == to && left == nil // what is left there goes a moment later
		}, patience, 20*time.Millisecond)
		assert.Equal(t, id, e.read(t, "connections/"+to)["connection_id"])
		assert.True(t, s.Alive(token))
		from, to = to, from
	}
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("after its mark, asked again: %v", again), func(t *testing.T) {
			e.write(t, "transfer/"+from, map[string]any{"to": to})
			lift := v.refuse(t, e, "connection/"+to[:strings.LastIndex(to, "/")])
			asked := e.as(t, v.Token)
			asked.refusesWrite(t, http.StatusServiceUnavailable, "is on its way", "accept/"+to, map[string]any{"from": from})
			require.Empty(t, e.serving(t, to, from, token))
			stands := e.read(t, "connections/"+from)
			assert.Equal(t, []any{"disabled", "moving", to},
				[]any{stands["status"], stands["status_reason"], stands["transfer_to"]})
			killPlugin(t, v.Vault)
			lift()
			if again {
				e.accept(t, to, from)
				require.Equal(t, []string{to}, e.serving(t, to, from, token))
			}
			arrives(t)
		})
	}
	for round := range 6 {
		t.Run(fmt.Sprintf("at any time, %d", round), func(t *testing.T) {
			e.write(t, "transfer/"+from, map[string]any{"to": to})
			asked := e.as(t, v.Token)
			path, data := e.path+"/accept/"+to, map[string]any{"from": from}
			done := meanwhile(func() { _, _ = asked.vault.Client.Logical().WriteWithContext(t.Context(), path, data) })
			for range round { // so that it has come a little further each time
				e.serving(t, to, from, token)
			}
			killPlugin(t, v.Vault)
			within(t, done, "the caller has an answer")
			where := e.serving(t, to, from, token)
			require.LessOrEqual(t, len(where), 1, "%v", where)
			if _, err := e.vault.Client.Logical().WriteWithContext(t.Context(), path, data); err != nil {
				// the offer is taken: it had arrived
				var refused *api.ResponseError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, http.StatusForbidden, refused.StatusCode, "%v", err)
			}
			arrives(t)
		})
	}
	assert.Zero(t, s.Count("revoke"))
	assert.Zero(t, s.Count("refresh"))
}

// An entity that is disabled has no token; what is left of it is there for administrators, and for itself afterwards.
func TestDisabledEntity(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	her := root.logIn(t, "her", recipe(t, "policies/own.hcl"))
	her.write(t, "connections/self/openai", key(apiKey))
	hers := "user/" + her.entity + "/openai"
	root.ask(t, "identity/entity/id/"+her.entity, map[string]any{"disabled": true})
	her.refusesRead(t, http.StatusForbidden, denied, "creds/self/openai")
	root.refusesRead(t, http.StatusForbidden, "is private", "creds/"+hers)
	assert.Equal(t, "active", root.read(t, "connections/"+hers)["status"], "until the daily look")
	assert.Equal(t, "disabled", root.write(t, "connections/"+hers, map[string]any{"disabled": true})["status"])
	root.write(t, "connections/"+hers, map[string]any{"disabled": false})
	root.ask(t, "identity/entity/id/"+her.entity, map[string]any{"disabled": false})
	assert.Equal(t, apiKey, her.read(t, "creds/self/openai")["api_key"])
}

// An operator freezes a provider: nothing of it is handed out, browsers that come back park their codes, and what
// Prometheus scrapes tells of it. Afterwards all goes on.
func TestFrozenProvider(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	s := root.newService(t, "service")
	scraper := root.logIn(t, "scraper", recipe(t, "policies/metrics.hcl"))
	operator := root.logIn(t, "operator", recipe(t, "policies/operator.hcl"))
	token := s.adopt(t, "org/acme/slack")
	root.write(t, "connections/openai", key(apiKey))
	root.write(t, "providers/service", map[string]any{"redirect_uris": ""}) // the mount's own callback
	flow := root.write(t, "auth-code-url/new", map[string]any{"provider": "service"})
	back := s.Consent(t, flow["url"].(string))

	frozen := func() float64 {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scraper.url()+"/metrics", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+scraper.vault.Token)
		page := open(t, req)
		require.Equal(t, http.StatusOK, page.Status, page.Body)
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(page.Body))
		require.NoError(t, err)
		require.Contains(t, families, "connectors_frozen_connections")
		return families["connectors_frozen_connections"].GetMetric()[0].GetGauge().GetValue()
	}
	operator.write(t, "providers/service", map[string]any{"frozen": true, "frozen_reason": "leak at the service"})
	for _, path := range []string{"creds/org/acme/slack", "creds/org/acme/slack?min_ttl=1h"} {
		status, body := root.raw(t, path)
		assert.Equal(t, http.StatusForbidden, status)
		assert.Contains(t, body, `provider \"service\" is frozen (leak at the service)`)
		assert.NotContains(t, body, token)
	}
	assert.Equal(t, apiKey, root.read(t, "creds/openai")["api_key"], "of another provider")
	root.stands(t, "org/acme/slack", "disabled", "frozen")
	require.Eventually(t, func() bool { return frozen() == 1 }, patience, 100*time.Millisecond)
	asked := s.Count("token")
	shown := shownCode.FindStringSubmatch(get(t, root.callback("service"), map[string][]string{
		"code": {back["code"]}, "state": {back["state"]},
	}).Body)
	require.NotNil(t, shown, "the callback shows no confirmation code")
	exchange := map[string]any{"flow_id": flow["flow_id"], "confirmation_code": shown[1]}
	root.refusesWrite(t, http.StatusForbidden, "is frozen", "exchange", exchange)
	assert.Equal(t, asked, s.Count("token"))

	operator.write(t, "providers/service", map[string]any{"frozen": false})
	assert.Equal(t, token, root.token(t, "org/acme/slack"))
	assert.Equal(t, "active", root.write(t, "exchange", exchange)["status"])
	assert.Equal(t, asked+1, s.Count("token"))
	root.stands(t, "org/acme/slack", "active", "")
	require.Eventually(t, func() bool { return frozen() == 0 }, patience, 100*time.Millisecond)
}

// A freeze holds on every node of a cluster, and on whichever leads next.
func TestFreezeOfACluster(t *testing.T) {
	t.Parallel()
	cluster, err := stack.StartCluster(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(cluster.Stop)
	active, err := cluster.Settled(t.Context())
	require.NoError(t, err)
	e := mountOn(t, active.Vault)
	e.write(t, "providers/openai", map[string]any{"definition": "openai"})
	e.write(t, "connections/openai", key(apiKey))
	on := func(n *stack.Node) *engine { return &engine{vault: n.Vault, path: e.path} }
	all := func(t *testing.T, holds func(*engine) bool) {
		t.Helper()
		for _, n := range cluster.Nodes {
			require.Eventually(t, func() bool { return holds(on(n)) }, patience, 20*time.Millisecond)
		}
	}
	served := func(e *engine) bool {
		answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/creds/openai")
		return err == nil && answer.Data["api_key"] == apiKey
	}
	all(t, served)
	e.write(t, "config", map[string]any{"frozen": true, "frozen_reason": "an incident"})
	for _, n := range cluster.Nodes {
		on(n).refusesRead(t, http.StatusForbidden, "this mount is frozen (an incident)", "creds/openai")
	}
	require.NoError(t, active.Client.Sys().StepDownWithContext(t.Context()))
	next, err := cluster.Active(t.Context(), active)
	require.NoError(t, err)
	on(next).refusesRead(t, http.StatusForbidden, "this mount is frozen (an incident)", "creds/openai")
	on(next).write(t, "config", map[string]any{"frozen": false})
	all(t, served)
}
