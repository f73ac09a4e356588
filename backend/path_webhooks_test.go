package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/webhook"
)

func TestWebhook(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := newReceiver(t)
		f.toldBefore(t, 1, "a", "b", "c")
		made := f.hook(t, "siem", r.URL+"/hook", map[string]any{"from_start": true})
		secret := made["secret"].(string)
		f.arrive(t, r, "a", "b", "c")
		for _, s := range r.sent() {
			assert.True(t, verifies(t, secret, s))
			assert.Equal(t, "connection.connect", s.kind)
			assert.WithinDuration(t, f.Now(), s.at, time.Hour)
			assert.Contains(t, s.header.Get("User-Agent"), "vault-plugin-secrets-connectors/")
		}
		var body struct {
			Type, Timestamp string
			Data            map[string]any
		}
		require.NoError(t, json.Unmarshal(r.sent()[0].body, &body))
		assert.Equal(t, "2026-03-01T12:00:00Z", body.Timestamp)
		assert.Equal(t, "a", body.Data["id"])
		assert.Equal(t, "org/default/a", body.Data["connection"])
		assert.Equal(t, "acme", body.Data["provider"])

		f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["delivered"]) == 3 }, "it is counted")
		read := f.Read("webhooks/siem", nil).OK(t)
		assert.Equal(t, r.URL+"/hook", read["url"])
		assert.NotContains(t, read, "secret")
		assert.NotEmpty(t, read["last_delivered"])
		assert.InDelta(t, 0, number(read["pending"]), 0)
		list := f.List("webhooks/").OK(t)
		assert.Equal(t, []string{"siem"}, texts(t, list["keys"]))
		assert.Equal(t, map[string]any{"host": "127.0.0.1", "disabled": false}, members(t, list["key_info"])["siem"])

		f.Delete("webhooks/siem", nil).OK(t)
		assert.Equal(t, http.StatusNotFound, f.Read("webhooks/siem", nil).Status)
		f.soon(t, func() bool { return len(f.stored(t, "webhook-cursor/")) == 0 }, "nothing is left")
		assert.Empty(t, f.stored(t, "webhook/"))
		f.Delete("webhooks/siem", nil).OK(t)
		assert.NotContains(t, f.Logs.String(), secret)
		assert.Len(t, r.sent(), 3)
	})
}

func TestWebhookIsRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const good = "https://hooks.example.com/x"
		f.hook(t, "there", good, nil)
		f.Storage.Forget()
		for name, c := range map[string]struct {
			data map[string]any
			text string
		}{
			"no URL":         {map[string]any{"kinds": "connect"}, "url is missing"},
			"no host":        {map[string]any{"url": "https:///x"}, "url:"},
			"plain http":     {map[string]any{"url": "http://hooks.example.com"}, "https"},
			"a user":         {map[string]any{"url": "https://me:planted@hooks.example.com"}, "user name"},
			"a private host": {map[string]any{"url": "https://10.0.0.1/x"}, "egress_allow"},
			"localhost":      {map[string]any{"url": "https://localhost/x"}, "egress_allow"},
			"a fragment":     {map[string]any{"url": good + "#x"}, "fragment"},
			"a file":         {map[string]any{"url": "file:///etc/passwd"}, "url:"},
			"a kind":         {map[string]any{"url": good, "kinds": "connect,explode"}, `no kind "explode"`},
			"a provider":     {map[string]any{"url": good, "providers": "No Such"}, "providers:"},
			"an owner":       {map[string]any{"url": good, "owners": "acme"}, "owners:"},
			"a certificate":  {map[string]any{"url": good, "ca_pem": "planted"}, "ca_pem"},
			"a short secret": {map[string]any{"url": good, "secret": "whsec_planted"}, "openssl rand -base64 32"},
			"two secrets": {map[string]any{
				"url": good, "secret": webhook.NewSecret().Reveal(), "generate_secret": true,
			}, "exclude"},
			"a long ttl":       {map[string]any{"url": good, "former_secret_ttl": "31d"}, "30 days"},
			"an unknown field": {map[string]any{"url": good, "colour": "red"}, `unknown field "colour"`},
		} {
			r := f.Write("webhooks/new", c.data)
			r.Refused(t, http.StatusBadRequest, c.text)
			assert.NotContains(t, r.Text, "planted", name)
			if _, named := c.data["url"]; named {
				f.Write("webhooks/there", c.data).Refused(t, http.StatusBadRequest, c.text)
			}
		}
		f.Write("webhooks/there", map[string]any{"from_start": true}).Refused(t, http.StatusBadRequest, "from_start")
		f.Write("webhooks/No", map[string]any{"url": good}).Refused(t, http.StatusBadRequest, "webhook name")
		f.Write("webhooks/none/test", nil).Refused(t, http.StatusBadRequest, "no webhook")
		for _, a := range f.Storage.History() {
			assert.False(t, a.Write() && a.Under("webhook/"), "nothing was changed: %v", a)
		}
		for i := range maxWebhooks - 1 {
			f.hook(t, fmt.Sprint("w", i), good, nil)
		}
		f.Write("webhooks/one-more", map[string]any{"url": good}).Refused(t, http.StatusConflict, "32")
		f.Write("webhooks/w0", map[string]any{"kinds": "connect"}).OK(t)
	})
}

// Prometheus and status tell which webhooks wait, and since when.
func TestWebhookIsCounted(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	r.answers(always(http.StatusServiceUnavailable))
	f.hook(t, "siem", r.URL, nil)
	f.hook(t, "off", r.URL, map[string]any{"disabled": true})
	f.tell("a")
	f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["failures"]) == 1 }, "it fails")
	told := f.Now()
	f.Advance(time.Hour - time.Minute)
	values, _ := f.scrape(t)
	assert.InDelta(t, time.Hour.Seconds(), values[`connectors_webhook_pending_seconds{webhook="siem"}`], 120, "%s", told)
	assert.InDelta(t, 1, values[`connectors_webhook_failures{webhook="siem"}`], 0)
	assert.InDelta(t, 0, values[`connectors_webhook_dropped{webhook="siem"}`], 0)
	assert.InDelta(t, 0, values[`connectors_webhook_refused{webhook="siem"}`], 0)
	assert.InDelta(t, 0, values[`connectors_webhook_disabled{webhook="siem"}`], 0)
	assert.InDelta(t, 1, values[`connectors_webhook_disabled{webhook="off"}`], 0)
	siem := members(t, members(t, f.Read("status", nil).OK(t)["webhooks"])["siem"])
	assert.InDelta(t, 1, number(siem["failures"]), 0)
	assert.Greater(t, number(siem["pending_age"]), 3000.0)
	r.answers(nil)
	f.Write("webhooks/siem/test", nil).OK(t)
	f.soon(t, func() bool {
		values, _ := f.scrape(t)
		return values[`connectors_webhook_pending_seconds{webhook="siem"}`] == 0
	}, "nothing waits")
	f.Delete("webhooks/siem", nil).OK(t)
	f.soon(t, func() bool {
		values, _ := f.scrape(t)
		_, there := values[`connectors_webhook_failures{webhook="siem"}`]
		return !there
	}, "nor is it told of any more")
}

// What a read answers changes nothing when it is written back, and neither does the same secret.
func TestWebhookIsWrittenBack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		secret := webhook.NewSecret().Reveal()
		f.hook(t, "siem", "https://hooks.example.com/x", map[string]any{
			"kinds": "connect,deleted", "providers": "acme", "owners": "org/*,user/u-1", "disabled": true, "secret": secret,
		})
		next := webhook.NewSecret().Reveal()
		f.Write("webhooks/siem", map[string]any{"secret": next, "former_secret_ttl": "1h"}).OK(t)
		before := f.written(t, "webhook/siem")
		assert.Equal(t, []any{next, secret}, []any{before["secret"], before["former_secret"]})
		f.Advance(time.Minute)
		read := asClient(t, f.Read("webhooks/siem", nil).OK(t))
		again := f.Write("webhooks/siem", read)
		assert.Equal(t, read, asClient(t, again.OK(t)))
		assert.Empty(t, again.Warnings)
		f.Write("webhooks/siem", map[string]any{"secret": next}).OK(t)
		assert.Equal(t, before, f.written(t, "webhook/siem"))
		f.Write("webhooks/siem", map[string]any{"drop_former": true}).OK(t)
		assert.NotContains(t, f.written(t, "webhook/siem"), "former_secret")
		f.Write("webhooks/siem", map[string]any{"kinds": ""}).OK(t)
		assert.Empty(t, f.Read("webhooks/siem", nil).OK(t)["kinds"])
		assert.NotContains(t, f.Logs.String(), secret)
		assert.NotContains(t, f.Logs.String(), next)
	})
}

func TestWebhookTest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := newReceiver(t)
		secret := webhook.NewSecret().Reveal()
		f.hook(t, "siem", r.URL, map[string]any{"secret": secret, "disabled": true})
		result := f.Write("webhooks/siem/test", nil)
		data := result.OK(t)
		assert.Equal(t, true, data["delivered"])
		assert.InDelta(t, 204, number(data["status"]), 0)
		assert.Equal(t, "", data["failure"])
		require.Len(t, r.sent(), 1)
		assert.Equal(t, "webhook.test", r.sent()[0].kind)
		assert.Equal(t, data["id"], r.sent()[0].id)
		assert.True(t, verifies(t, secret, r.sent()[0]))
		assert.Contains(t, result.Warnings[0], "disabled")

		r.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { http.Error(w, "planted words", http.StatusTeapot) })
		result = f.Write("webhooks/siem/test", nil)
		data = result.OK(t)
		assert.Equal(t, false, data["delivered"])
		assert.InDelta(t, 418, number(data["status"]), 0)
		assert.Equal(t, "it answered 418", data["failure"])
		assert.NotContains(t, fmt.Sprint(result.Response), "planted")

		r.answers(always(http.StatusGone))
		f.Write("webhooks/siem", map[string]any{"disabled": false}).OK(t)
		f.Write("webhooks/siem/test", nil).OK(t)
		assert.Equal(t, false, f.Read("webhooks/siem", nil).OK(t)["disabled"], "a test changes nothing")

		f.Write("config", map[string]any{"egress_allow": ""}).OK(t)
		data = f.Write("webhooks/siem/test", nil).OK(t)
		assert.Contains(t, data["failure"], "egress_allow", "what is called is asked each time")
		assert.InDelta(t, 0, number(data["status"]), 0)
		f.Write("webhooks/siem/test", map[string]any{"body": "x"}).Refused(t, http.StatusBadRequest, "unknown field")
		assert.Len(t, r.sent(), 3)
		assert.NotContains(t, f.Logs.String(), secret)
	})
}
