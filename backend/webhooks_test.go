package backend

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/webhook"
)

// sent is a request that a receiver got.
type sent struct {
	id, kind string
	at       time.Time // by webhook-timestamp
	header   http.Header
	body     []byte
}

// receiver takes what webhooks send, and answers as it is told.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex
	got    []sent                                              // guarded by mu
	answer func(n int, w http.ResponseWriter, r *http.Request) // guarded by mu; nil: 204. n counts from 1
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var n struct {
			Type string `json:"type"`
		}
		_ = json.Unmarshal(body, &n)
		seconds := time.Time{}
		if at, err := time.ParseDuration(req.Header.Get("webhook-timestamp") + "s"); err == nil {
			seconds = time.Unix(int64(at.Seconds()), 0).UTC()
		}
		r.mu.Lock()
		r.got = append(r.got, sent{req.Header.Get("webhook-id"), n.Type, seconds, req.Header, body})
		count, answer := len(r.got), r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(count, w, req)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.Close)
	return r
}

// answers has the receiver answer so from now on.
func (r *receiver) answers(how func(n int, w http.ResponseWriter, req *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = how
}

func always(status int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// hangs answers nothing until release is closed, or the caller has gone.
func hangs(release chan struct{}) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, _ http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	}
}

func (r *receiver) sent() []sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// ids are the distinct ids in the order in which they came first.
func (r *receiver) ids() []string {
	var all []string
	for _, s := range r.sent() {
		if !slices.Contains(all, s.id) {
			all = append(all, s.id)
		}
	}
	return all
}

// tell puts notices into the log, in process.
func (f *fixture) tell(names ...string) {
	var all []store.Notice
	for _, name := range names {
		all = append(all, store.Notice{
			ID: name, Time: f.Now(), Kind: store.NoticeConnect, Provider: "acme", Connection: "org/default/" + name,
		})
	}
	f.Backend.(*backend).notices.offer(all...)
}

// toldBefore puts notices into the log as a former process left it.
func (f *fixture) toldBefore(t *testing.T, first uint64, names ...string) {
	t.Helper()
	chunk := &store.NoticeChunk{Written: f.Now(), Covered: f.Now()}
	for i, name := range names {
		chunk.Notices = append(chunk.Notices, store.Notice{
			Seq: first + uint64(i), ID: name, Time: f.Now(), Kind: store.NoticeConnect, Provider: "acme",
			Connection: "org/default/" + name,
		})
	}
	at := store.NoticeChunkName{First: first, Term: 1, Writer: "before"}
	require.NoError(t, store.New(f.Storage).PutNoticeChunk(t.Context(), at, chunk))
}

// soon lets a little time pass until something is so.
func (f *fixture) soon(t *testing.T, is func() bool, why string) {
	t.Helper()
	require.Eventually(t, func() bool {
		if is() {
			return true
		}
		f.Advance(time.Second)
		f.periodic(t)
		return is()
	}, 10*time.Second, 5*time.Millisecond, why)
}

// arrive waits until a receiver has got these, whatever came twice.
func (f *fixture) arrive(t *testing.T, r *receiver, names ...string) {
	t.Helper()
	f.soon(t, func() bool { return len(r.ids()) >= len(names) }, fmt.Sprint(names))
	assert.Equal(t, names, r.ids())
}

// hook makes a webhook.
func (f *fixture) hook(t *testing.T, name, url string, more map[string]any) map[string]any {
	t.Helper()
	return f.Write("webhooks/"+name, with(map[string]any{"url": url}, more)).OK(t)
}

func verifies(t *testing.T, secret string, s sent) bool {
	t.Helper()
	library, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return library.VerifyIgnoringTimestamp(s.body, s.header) == nil
}

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
			"no URL":           {map[string]any{"kinds": "connect"}, "url is missing"},
			"no host":          {map[string]any{"url": "https:///x"}, "url:"},
			"plain http":       {map[string]any{"url": "http://hooks.example.com"}, "https"},
			"a user":           {map[string]any{"url": "https://me:planted@hooks.example.com"}, "user name"},
			"a private host":   {map[string]any{"url": "https://10.0.0.1/x"}, "egress_allow"},
			"localhost":        {map[string]any{"url": "https://localhost/x"}, "egress_allow"},
			"a fragment":       {map[string]any{"url": good + "#x"}, "fragment"},
			"a file":           {map[string]any{"url": "file:///etc/passwd"}, "url:"},
			"a kind":           {map[string]any{"url": good, "kinds": "connect,explode"}, `no kind "explode"`},
			"a provider":       {map[string]any{"url": good, "providers": "No Such"}, "providers:"},
			"an owner":         {map[string]any{"url": good, "owners": "acme"}, "owners:"},
			"a certificate":    {map[string]any{"url": good, "ca_pem": "planted"}, "ca_pem"},
			"a short secret":   {map[string]any{"url": good, "secret": "whsec_planted"}, "openssl rand -base64 32"},
			"two secrets":      {map[string]any{"url": good, "secret": webhook.NewSecret().Reveal(), "generate_secret": true}, "exclude"},
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

func TestWebhookSecretRotates(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	first := f.hook(t, "siem", r.URL, nil)["secret"].(string)
	f.tell("a")
	f.arrive(t, r, "a")
	second := f.Write("webhooks/siem", map[string]any{"generate_secret": true}).OK(t)["secret"].(string)
	require.NotEqual(t, first, second)
	f.tell("b")
	f.arrive(t, r, "a", "b")
	got := r.sent()
	before, during := got[0], got[len(got)-1]
	assert.Equal(t, []bool{true, false, true, true}, []bool{
		verifies(t, first, before), verifies(t, second, before), verifies(t, first, during), verifies(t, second, during),
	})
	assert.NotEmpty(t, f.Read("webhooks/siem", nil).OK(t)["former_secret_until"])
	f.Advance(24 * time.Hour)
	f.tell("c")
	f.arrive(t, r, "a", "b", "c")
	got = r.sent()
	last := got[len(got)-1]
	assert.False(t, verifies(t, first, last))
	assert.True(t, verifies(t, second, last))
	f.soon(t, func() bool {
		_, there := f.written(t, "webhook/siem")["former_secret"]
		return !there
	}, "it is erased, though nobody asks")
	assert.Empty(t, f.Read("webhooks/siem", nil).OK(t)["former_secret_until"])
}

// A former secret is erased in its time though there is nothing to send.
func TestFormerSecretOfAWebhookIsErased(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.hook(t, "siem", "https://hooks.example.com", nil)
	f.Write("webhooks/siem", map[string]any{"generate_secret": true, "former_secret_ttl": "1h"}).OK(t)
	has := func() bool { _, there := f.written(t, "webhook/siem")["former_secret"]; return there }
	f.Advance(30 * time.Minute)
	f.periodic(t)
	require.True(t, has())
	f.Advance(30 * time.Minute)
	f.soon(t, func() bool { return !has() }, "it signs no more")
}

// A receiver that fails for long is tried later and later, and by another node no sooner. What is refused for a day is
// passed over.
func TestWebhookBacksOff(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	r.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { http.Error(w, "planted words", 500) })
	f.hook(t, "siem", r.URL, nil)
	f.tell("a", "b")
	f.soon(t, func() bool { return len(r.sent()) == 1 }, "the first try")
	var waits []time.Duration
	for len(waits) < 7 {
		tried := len(r.sent())
		f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["failures"]) == float64(tried) }, "noted")
		view := f.Read("webhooks/siem", nil).OK(t)
		next, err := time.Parse(time.RFC3339, view["next_try"].(string))
		require.NoError(t, err)
		waits = append(waits, next.Sub(f.Now()))
		assert.InDelta(t, 1+tried, number(view["pending"]), 0)
		failure := members(t, view["last_failure"])
		assert.Equal(t, "it answered 500", failure["failure"])
		assert.InDelta(t, 500, number(failure["status"]), 0)
		f.tell(fmt.Sprint("more", len(waits)))
		f.Advance(next.Sub(f.Now()) / 2)
		f.soonStored(t)
		if len(waits) == 3 {
			assert.Equal(t, 1, strings.Count(f.Logs.String(), "does not take a notice"), "once")
			f.restart(t)
		}
		assert.Len(t, r.sent(), tried, "it is left alone meanwhile")
		f.Advance(next.Sub(f.Now()))
		f.soon(t, func() bool { return len(r.sent()) > tried }, "the next try")
	}
	for i, want := range []time.Duration{5, 20, 80, 320, 1280, 5120, 20480} {
		assert.GreaterOrEqual(t, waits[i], want*time.Second*3/4-2*time.Second, "wait %d", i)
		assert.LessOrEqual(t, waits[i], want*time.Second, "wait %d", i)
	}
	assert.Equal(t, []string{"a"}, r.ids(), "each in its turn")
	f.Advance(24 * time.Hour)
	f.soon(t, func() bool { return len(r.ids()) == 2 }, "a is passed over")
	assert.Equal(t, []string{"a", "b"}, r.ids())
	f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["refused"]) == 1 }, "it is counted")

	r.answers(nil)
	f.Advance(24 * time.Hour)
	f.soon(t, func() bool { return slices.Contains(r.ids(), "more7") }, "the rest")
	assert.Equal(t, "b", r.ids()[1])
	f.soon(t, func() bool { return f.Read("webhooks/siem", nil).OK(t)["failing_since"] == "" }, "it is well")
	assert.NotContains(t, f.Logs.String(), "planted words")
	assert.Zero(t, strings.Count(f.Logs.String(), "does not take a notice"), "by this process: it was told before")
	assert.Equal(t, 1, strings.Count(f.Logs.String(), "takes notices again"))
}

// A receiver that is down for days loses nothing that the log has.
func TestWebhookOutageLosesNothing(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	r.answers(always(http.StatusServiceUnavailable))
	f.hook(t, "siem", r.URL, nil)
	f.tell("a", "b")
	for day := range 5 {
		f.soon(t, func() bool { return len(r.sent()) > day }, "it is tried")
		f.Advance(24 * time.Hour)
		f.periodic(t)
	}
	assert.Equal(t, []string{"a"}, r.ids())
	r.answers(nil)
	f.Write("webhooks/siem/test", nil).OK(t) // which ends the wait
	f.soon(t, func() bool { return len(r.ids()) == 3 }, "all of it")
	f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["delivered"]) == 2 }, "counted")
	view := f.Read("webhooks/siem", nil).OK(t)
	assert.InDelta(t, 0, number(view["refused"])+number(view["dropped"])+number(view["failures"]), 0)
}

func TestWebhookReceivers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	}))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		answer  func(int, http.ResponseWriter, *http.Request)
		failure string
		status  int
	}{
		"redirects": {func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "redirects", 307},
		"refuses":      {always(http.StatusUnauthorized), "401", 401},
		"breaks off":   {func(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "connection", 0},
		"endless head": {endlessHeader, "", 0},
		"slow": {func(_ int, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.(http.Flusher).Flush()
			<-r.Context().Done() // its body never ends
		}, "503", 503},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			r := newReceiver(t)
			r.answers(c.answer)
			f.hook(t, "siem", r.URL+"/planted-path", nil)
			f.tell("a")
			f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["failures"]) > 0 }, "it fails")
			failure := members(t, f.Read("webhooks/siem", nil).OK(t)["last_failure"])
			assert.Contains(t, failure["failure"], c.failure)
			assert.NotEmpty(t, failure["failure"])
			assert.InDelta(t, c.status, number(failure["status"]), 0)
			assert.NotContains(t, failure["failure"], "planted")
			assert.NotContains(t, f.Logs.String(), "planted-path")
			r.answers(nil)
			f.Advance(24 * time.Hour)
			f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["delivered"]) == 1 }, "it recovers")
			assert.Equal(t, []string{"a"}, r.ids())
		})
	}
}

// endlessHeader answers more of a header than anybody reads.
func endlessHeader(_ int, w http.ResponseWriter, _ *http.Request) {
	conn, out, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = out.WriteString("HTTP/1.1 200 OK\r\n")
	for err == nil {
		_, err = out.WriteString("X-Planted: " + strings.Repeat("x", 1000) + "\r\n")
	}
}

// A receiver that wants no more is sent nothing more, until an operator says otherwise.
func TestWebhookGone(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	r.answers(always(http.StatusGone))
	f.hook(t, "siem", r.URL, nil)
	f.tell("a")
	f.soon(t, func() bool { return f.Read("webhooks/siem", nil).OK(t)["disabled"] == true }, "it is disabled")
	view := f.Read("webhooks/siem", nil).OK(t)
	assert.Equal(t, "gone", view["disabled_reason"])
	f.tell("b")
	f.Advance(48 * time.Hour)
	f.periodic(t)
	f.restart(t)
	f.Advance(48 * time.Hour)
	f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["pending"]) == 2 }, "they wait")
	assert.Len(t, r.sent(), 1)
	f.Write("webhooks/siem", asClient(t, f.Read("webhooks/siem", nil).OK(t))).OK(t)
	assert.Equal(t, "gone", f.Read("webhooks/siem", nil).OK(t)["disabled_reason"])
	r.answers(nil)
	f.Write("webhooks/siem", map[string]any{"disabled": false}).OK(t)
	f.arrive(t, r, "a", "b")
	assert.Empty(t, f.Read("webhooks/siem", nil).OK(t)["disabled_reason"])
}

// A receiver that hangs delays neither another's notices, nor a token, nor the end of the mount.
func TestWebhookHangs(t *testing.T) {
	before := goleak.IgnoreCurrent()
	f := newFixture(t, Options{}, testenv.InProcess)
	slow, quick, release := newReceiver(t), newReceiver(t), make(chan struct{})
	defer close(release)
	slow.answers(hangs(release))
	for i := range maxWebhooks - 1 {
		f.hook(t, fmt.Sprint("slow", i), slow.URL, nil)
	}
	f.hook(t, "quick", quick.URL, nil)
	f.connect(t, "slack")
	f.tell("a", "b", "c")
	f.soon(t, func() bool { return slices.Contains(quick.ids(), "c") }, "it is not delayed")
	f.soon(t, func() bool { return len(slow.sent()) == maxWebhooks-1 }, "each hangs")
	f.Advance(2 * time.Hour)
	serves("slack")(t, f)
	began := time.Now()
	f.Stop()
	assert.Less(t, time.Since(began), 3*time.Second, "what is under way is broken off, and comes again")
	goleak.VerifyNone(t, before,
		goleak.IgnoreAnyFunction("net/http.(*Server).Serve"), goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	f.restart(t)
	slow.answers(nil)
	f.soon(t, func() bool { return number(f.Read("webhooks/slow0", nil).OK(t)["pending"]) == 0 }, "they come again")
	assert.Equal(t, quick.ids(), slow.ids())
}

// Whatever access to storage fails, and wherever the process dies, each comes at least once, in order, under its id.
func TestWebhookWhileStorageFails(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	for _, dies := range []bool{false, true} {
		for n := 1; ; n++ {
			f := newFixture(t, Options{}, testenv.InProcess)
			r := newReceiver(t)
			f.hook(t, "siem", r.URL, map[string]any{"secret": webhook.NewSecret().Reveal()})
			fired := make(chan struct{})
			picked := testenv.Nth(n, func(a testenv.Access) bool {
				return a.Under("webhook") || a.Under("notice/")
			})
			f.Storage.Judge(func(a testenv.Access) error {
				if !picked(a) {
					return nil
				}
				close(fired)
				return testenv.ErrStorage
			})
			f.tell(names[:3]...)
			f.Advance(2 * time.Second)
			f.periodic(t)
			f.tell(names[3:]...)
			f.soon(t, func() bool {
				select {
				case <-fired:
					return true
				default:
					return len(r.ids()) == len(names) && n > 10
				}
			}, "the access comes")
			if dies {
				f.soonStored(t) // the log is not what dies here
				f.restart(t)
			}
			f.arrive(t, r, names...)
			f.soon(t, func() bool {
				d := f.Backend.(*backend).webhooks.find("siem")
				return d != nil && d.at() != nil && d.at().Delivered >= 5 && d.at().Failures == 0
			}, "counted")
			select {
			case <-fired:
				continue
			default:
			}
			require.Greater(t, n, 8, "accesses were made to fail")
			break
		}
	}
}

// soonStored waits until the log has what was told.
func (f *fixture) soonStored(t *testing.T) {
	t.Helper()
	f.periodic(t)
	f.soon(t, func() bool { return !f.Backend.(*backend).notices.waits() }, "the log has them")
}

// waits reports whether something is not in the log yet.
func (n *noticeLog) waits() bool {
	pending, _ := n.report()
	return pending > 0
}

// Two nodes over one storage: one sends, the other takes over where that stopped. What was delivered after the last
// write of the cursor comes again under the same id, and no more than that.
func TestWebhookFailsOver(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	f.hook(t, "siem", r.URL, nil)
	f.tell("a", "b")
	f.arrive(t, r, "a", "b")
	f.soon(t, func() bool { return f.Backend.(*backend).webhooks.find("siem").unsaved().IsZero() }, "the cursor is stored")
	former := f.Env
	f.restart(t)
	f.periodic(t)
	current := f.Env
	f.Env = former
	f.periodic(t)
	f.Env = current
	f.tell("c")
	f.arrive(t, r, "a", "b", "c")
	assert.Len(t, r.sent(), 3, "nothing came twice, and the former node sends nothing")
	former.Write("webhooks/siem/test", nil).Refused(t, http.StatusInternalServerError, "readonly")
	former.Write("webhooks/other", map[string]any{"url": r.URL}).Refused(t, http.StatusInternalServerError, "readonly")
	former.Delete("webhooks/siem", nil).Refused(t, http.StatusInternalServerError, "readonly")
	assert.Len(t, r.sent(), 3, "nor a test")
	assert.Equal(t, r.URL, former.Read("webhooks/siem", nil).OK(t)["url"])

	f.System.SetReplication(consts.ReplicationPerformanceStandby) // no warning, and no other node yet
	f.tell("d")
	for range 5 {
		f.Advance(time.Minute)
		f.periodic(t)
	}
	assert.Len(t, r.sent(), 3)
	f.System.SetReplication(0)
	f.arrive(t, r, "a", "b", "c", "d")
}

// A webhook that is deleted, changed or made anew while it sends does what was said last.
func TestWebhookIsChangedWhileItSends(t *testing.T) {
	busy := func(t *testing.T) (*fixture, *receiver) {
		f := newFixture(t, Options{}, testenv.InProcess)
		r := newReceiver(t)
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		r.answers(hangs(release))
		f.hook(t, "siem", r.URL, nil)
		f.tell("a", "b")
		f.soon(t, func() bool { return len(r.sent()) == 1 }, "it is being sent")
		return f, r
	}
	quiet := func(t *testing.T, f *fixture) {
		t.Helper()
		f.soon(t, f.idleWebhooks, "nothing is under way")
	}
	t.Run("deleted", func(t *testing.T) {
		f, r := busy(t)
		f.Delete("webhooks/siem", nil).OK(t)
		quiet(t, f)
		f.tell("c")
		f.Advance(48 * time.Hour)
		f.periodic(t)
		quiet(t, f)
		assert.Len(t, r.sent(), 1)
		assert.Empty(t, f.stored(t, "webhook/"))
		assert.Empty(t, f.stored(t, "webhook-cursor/"))
	})
	t.Run("made anew", func(t *testing.T) {
		f, r := busy(t)
		f.Delete("webhooks/siem", nil).OK(t)
		r.answers(nil)
		f.hook(t, "siem", r.URL, nil)
		f.tell("c")
		f.arrive(t, r, "a", "c")
	})
	t.Run("under another name", func(t *testing.T) {
		f, r := busy(t)
		other := newReceiver(t)
		f.hook(t, "other", other.URL, map[string]any{"from_start": true})
		f.Delete("webhooks/siem", nil).OK(t)
		f.arrive(t, other, "a", "b")
		assert.Len(t, r.sent(), 1)
	})
	t.Run("led elsewhere", func(t *testing.T) {
		f, r := busy(t)
		other := newReceiver(t)
		f.Write("webhooks/siem", map[string]any{"url": other.URL}).OK(t)
		f.arrive(t, other, "a", "b")
		assert.Len(t, r.sent(), 1)
		assert.InDelta(t, 0, number(f.Read("webhooks/siem", nil).OK(t)["failures"]), 0)
	})
	t.Run("disabled", func(t *testing.T) {
		f, r := busy(t)
		f.Write("webhooks/siem", map[string]any{"disabled": true}).OK(t)
		quiet(t, f)
		f.Advance(48 * time.Hour)
		f.periodic(t)
		quiet(t, f)
		assert.Len(t, r.sent(), 1)
		r.answers(nil)
		f.Write("webhooks/siem", map[string]any{"disabled": false}).OK(t)
		f.arrive(t, r, "a", "b")
	})
	t.Run("narrowed", func(t *testing.T) {
		f, r := busy(t)
		r.answers(nil)
		f.Write("webhooks/siem", map[string]any{"owners": "org/acme"}).OK(t)
		f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["pending"]) == 0 }, "nothing waits")
		assert.Len(t, r.sent(), 1)
	})
}

// idleWebhooks reports whether no turn is under way, or about to be.
func (f *fixture) idleWebhooks() bool {
	x := f.Backend.(*backend).webhooks
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, d := range x.known {
		d.mu.Lock()
		busy := d.busy || d.again
		d.mu.Unlock()
		if busy {
			return false
		}
	}
	return true
}

// What leaves the log before it is delivered is counted, and the rest goes on.
func TestWebhookDrops(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.toldBefore(t, 1, "a", "b", "c")
	r := newReceiver(t)
	f.hook(t, "siem", r.URL, map[string]any{"disabled": true, "from_start": true})
	for _, name := range f.stored(t, "notice/") {
		require.NoError(t, f.Storage.Delete(t.Context(), "notice/"+name))
	}
	f.toldBefore(t, 4, "d", "e")
	assert.InDelta(t, 3, number(f.Read("webhooks/siem", nil).OK(t)["dropped"]), 0)
	f.Write("webhooks/siem", map[string]any{"disabled": false}).OK(t)
	f.arrive(t, r, "d", "e")
	f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["delivered"]) == 2 }, "the rest")
	assert.InDelta(t, 3, number(f.Read("webhooks/siem", nil).OK(t)["dropped"]), 0)
	f.restart(t)
	assert.InDelta(t, 3, number(f.Read("webhooks/siem", nil).OK(t)["dropped"]), 0)
	t.Run("in the middle", func(t *testing.T) { dropsInTheMiddle(t) })
	f.hook(t, "late", r.URL, map[string]any{"disabled": true, "from_start": true})
	view := f.Read("webhooks/late", nil).OK(t)
	assert.InDelta(t, 0, number(view["dropped"]), 0, "what was gone before it was never its")
	assert.InDelta(t, 2, number(view["pending"]), 0)
}

// dropsInTheMiddle has a part of the log damaged behind what can be read, and a receiver that fails before it.
func dropsInTheMiddle(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	f.toldBefore(t, 1, "a", "b")
	f.toldBefore(t, 3, "c", "d", "e")
	f.toldBefore(t, 6, "f")
	names := f.stored(t, "notice/")
	require.Len(t, names, 3)
	f.undecodable(t, "notice/"+names[1])
	r.answers(always(http.StatusServiceUnavailable))
	f.hook(t, "siem", r.URL, map[string]any{"from_start": true})
	f.soon(t, func() bool { return len(r.sent()) > 1 }, "it fails")
	r.answers(nil)
	f.Write("webhooks/siem/test", nil).OK(t)
	f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["delivered"]) == 3 }, "what there is")
	view := f.Read("webhooks/siem", nil).OK(t)
	assert.InDelta(t, 3, number(view["dropped"]), 0)
	assert.Equal(t, []string{"a", "b", "f"}, slices.DeleteFunc(r.ids(), func(id string) bool {
		return strings.HasPrefix(id, "test_")
	}))
}

// A log that ends before the cursor, as after a restore of an older snapshot of it, goes on being followed.
func TestWebhookBeyondTheLog(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	f.hook(t, "siem", r.URL, nil)
	id := f.written(t, "webhook/siem")["id"].(string)
	require.NoError(t, store.New(f.Storage).PutCursor(t.Context(), "siem", &store.Cursor{Webhook: id, Seq: 500}))
	f.restart(t)
	f.soon(t, func() bool {
		d := f.Backend.(*backend).webhooks.find("siem")
		return d != nil && d.at() != nil && d.at().Seq < 500
	}, "it goes back")
	f.tell("a")
	f.arrive(t, r, "a")
}

// What the filter does not take moves the cursor, costs no request, and no write for each.
func TestWebhookFilters(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	f.hook(t, "siem", r.URL, map[string]any{"owners": "org/acme"})
	f.Storage.Forget()
	for range 20 {
		f.tell("a", "b")
		f.Advance(2 * time.Second)
		f.soonStored(t)
	}
	f.soon(t, func() bool { return f.Backend.(*backend).webhooks.find("siem").at().Seq == 40 }, "passed over")
	assert.Empty(t, r.sent())
	writes := 0
	for _, a := range f.Storage.History() {
		if a.Write() && a.Under("webhook-cursor/") {
			writes++
		}
	}
	assert.LessOrEqual(t, writes, 2)
}

func TestWebhookTakes(t *testing.T) {
	acme := store.Notice{Kind: "connect", Provider: "slack", Connection: "org/acme/x"}
	member := store.Notice{Kind: "connect", Provider: "slack", Connection: "org/acme/user/u1/x"}
	person := store.Notice{Kind: "deleted", Provider: "github", Connection: "user/u1/x"}
	app := store.Notice{Kind: "rotation_due", Provider: "slack"}
	mount := store.Notice{Kind: "frozen"}
	many := store.Notice{Kind: "needs_reconnect", Provider: "slack", Count: 5000}
	for name, c := range map[string]struct {
		w    store.Webhook
		want []store.Notice
	}{
		"all":         {store.Webhook{}, []store.Notice{acme, member, person, app, mount, many}},
		"a kind":      {store.Webhook{Kinds: []string{"deleted", "frozen"}}, []store.Notice{person, mount}},
		"a provider":  {store.Webhook{Providers: []string{"slack"}}, []store.Notice{acme, member, app, many}},
		"an owner":    {store.Webhook{Owners: []string{"org/acme"}}, []store.Notice{acme, many}},
		"members":     {store.Webhook{Owners: []string{"org/*/user/*"}}, []store.Notice{member, many}},
		"users":       {store.Webhook{Owners: []string{"user/*", "org/acme"}}, []store.Notice{acme, person, many}},
		"all of them": {store.Webhook{Kinds: []string{"connect"}, Providers: []string{"slack"}, Owners: []string{"org/*"}}, []store.Notice{acme}},
	} {
		var got []store.Notice
		for _, n := range []store.Notice{acme, member, person, app, mount, many} {
			if takes(&c.w, &n) {
				got = append(got, n)
			}
		}
		assert.Equal(t, c.want, got, name)
	}
	assert.Equal(t, []string{"connection.connect", "provider.rotation_due", "mount.frozen", "connection.needs_reconnect"},
		[]string{typeOf(acme), typeOf(app), typeOf(mount), typeOf(many)})
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

		r.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { http.Error(w, "planted words", 418) })
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

// Behind the fence nothing is sent: what was restored may be somebody else's.
func TestWebhookBehindTheFence(t *testing.T) {
	f := newFixture(t, Options{Paused: true}, testenv.InProcess)
	r := newReceiver(t)
	f.toldBefore(t, 1, "a")
	f.hook(t, "siem", r.URL, map[string]any{"from_start": true})
	for range 5 {
		f.Advance(time.Minute)
		f.periodic(t)
	}
	f.Write("webhooks/siem/test", nil).Refused(t, http.StatusConflict, "CONNECTORS_REFRESH_PAUSED")
	assert.Empty(t, r.sent())
}

// Many notices at once cost few writes, and each comes once, in order.
func TestWebhookUnderLoad(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	f.hook(t, "siem", r.URL, nil)
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprint("n", i))
	}
	f.Storage.Forget()
	f.tell(names...)
	f.arrive(t, r, names...)
	f.soon(t, func() bool { return number(f.Read("webhooks/siem", nil).OK(t)["delivered"]) == 1000 }, "counted")
	assert.Len(t, r.sent(), 1000)
	writes := 0
	for _, a := range f.Storage.History() {
		if a.Write() && a.Under("webhook-cursor/") {
			writes++
		}
	}
	// the clock of this test may run a second in each look, of which there are some
	assert.Less(t, writes, 400)
}

// A cursor that a deletion left is removed, and that of a former webhook of the name is not taken for the new one's.
func TestWebhookCursorOfAnother(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	put := func(name string) {
		require.NoError(t, store.New(f.Storage).PutCursor(t.Context(), name, &store.Cursor{Webhook: "former", Seq: 99}))
	}
	put("left")
	put("siem")
	f.toldBefore(t, 1, "a", "b")
	f.hook(t, "siem", r.URL, map[string]any{"from_start": true})
	f.arrive(t, r, "a", "b")
	f.soon(t, func() bool { return f.Backend.(*backend).webhooks.find("siem").unsaved().IsZero() }, "the cursor is stored")
	f.restart(t)
	f.soon(t, func() bool { return len(f.stored(t, "webhook-cursor/")) == 1 }, "it is tidied")
	assert.Equal(t, []string{"siem"}, f.stored(t, "webhook-cursor/"))
	f.undecodable(t, "webhook-cursor/siem")
	f.restart(t)
	f.soon(t, func() bool { return len(r.sent()) == 4 }, "what it had sent is not known any more")
	assert.Equal(t, []string{"a", "b"}, r.ids())
}

// An entry that cannot be read is left alone, and told of; others go on.
func TestWebhookThatCannotBeRead(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	r := newReceiver(t)
	f.hook(t, "well", r.URL, nil)
	f.undecodable(t, "webhook/ill")
	f.restart(t)
	f.tell("a")
	f.arrive(t, r, "a")
	f.soon(t, func() bool { return f.Logs.Contains("a webhook cannot be read") }, "it is told")
	f.Read("webhooks/ill", nil).Refused(t, http.StatusInternalServerError)
	f.Write("webhooks/ill", map[string]any{"url": r.URL}).Refused(t, http.StatusInternalServerError)
	assert.Equal(t, []string{"ill", "well"}, texts(t, f.List("webhooks/").OK(t)["keys"]))
	f.Delete("webhooks/ill", nil).OK(t)
	assert.Equal(t, []string{"well"}, texts(t, f.List("webhooks/").OK(t)["keys"]))
}
