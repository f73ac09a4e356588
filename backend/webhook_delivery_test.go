package backend

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/webhook"
)

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
	f.soon(t, func() bool { return len(r.sent()) == 6 && f.idleWebhooks() }, "it waits")
	assert.Equal(t, []string{"a"}, r.ids())
	r.answers(nil)
	next, err := time.Parse(time.RFC3339, f.Read("webhooks/siem", nil).OK(t)["next_try"].(string))
	require.NoError(t, err)
	f.Write("webhooks/siem/test", nil).OK(t) // which ends the wait
	f.soon(t, func() bool { return len(r.ids()) == 3 }, "all of it")
	assert.True(t, f.Now().Before(next), "and before its time")
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
	f.soonStored(t)
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
