package backend

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
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
	}, time.Minute, 5*time.Millisecond, why)
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
		assert.False(t, f.Logs.Contains("does not take a notice"), "what was broken off is no failure")
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
