package webhook

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// The reference library of Standard Webhooks verifies what is sent, by either secret during a rotation.
func TestReferenceLibraryVerifies(t *testing.T) {
	one, two, other := NewSecret(), NewSecret(), NewSecret()
	m := Message{ID: "abc", Body: []byte(`{"type":"connection.connect"}`)}
	var headers http.Header
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		headers, body = r.Header, must(io.ReadAll(r.Body))
		assert.Equal(t, http.MethodPost, r.Method)
		assert.Equal(t, "/hook?a=b", r.URL.RequestURI())
	}))
	defer server.Close()
	out := Post(t.Context(), server.Client(), server.URL+"/hook?a=b", "an agent", m, time.Now(), one, two)
	require.True(t, out.Delivered(), "%+v", out)
	assert.Equal(t, "application/json", headers.Get("Content-Type"))
	assert.Equal(t, "an agent", headers.Get("User-Agent"))
	assert.Equal(t, m.ID, headers.Get(standardwebhooks.HeaderWebhookID))
	assert.Len(t, strings.Split(headers.Get(standardwebhooks.HeaderWebhookSignature), " "), 2)
	verify := func(secret providers.Secret, body []byte) error {
		library, err := standardwebhooks.NewWebhook(secret.Reveal())
		require.NoError(t, err)
		return library.Verify(body, headers)
	}
	require.NoError(t, verify(one, body))
	require.NoError(t, verify(two, body))
	require.ErrorIs(t, verify(other, body), standardwebhooks.ErrNoMatchingSignature)
	require.ErrorIs(t, verify(one, append(body, ' ')), standardwebhooks.ErrNoMatchingSignature)
	headers.Set(standardwebhooks.HeaderWebhookID, "abd")
	require.ErrorIs(t, verify(one, body), standardwebhooks.ErrNoMatchingSignature)
}

// The example of the library's own documents, so that both cannot be wrong together.
func TestKnownSignature(t *testing.T) {
	secret := providers.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	m := Message{ID: "msg_p5jXN8AQM9LWM0D4loKWxJek", Body: []byte(`{"test": 2432232314}`)}
	h, err := m.Headers(time.Unix(1614265330, 0), secret)
	require.NoError(t, err)
	assert.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", h.Get("webhook-signature"))
	assert.Equal(t, "1614265330", h.Get("webhook-timestamp"))
}

func TestSecrets(t *testing.T) {
	coded := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for text, good := range map[string]bool{
		NewSecret().Reveal(): true,
		"whsec_" + coded(24): true,
		"whsec_" + coded(64): true,
		"whsec_" + coded(23): false,
		"whsec_" + coded(65): false,
		coded(32):            false,
		"whsec_":             false,
		"":                   false,
		"whsec_" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)):                false,
		"whsec_" + coded(32) + "\n":                                                      false,
		"whsec_AAAA\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=":                           false,
		"whsec_" + strings.Repeat("A", 42) + "B=":                                        false, // bits that no byte has
		"whsec_" + base64.URLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 33))): false,
		"whpk_" + coded(32): false,
	} {
		err := CheckSecret(providers.NewSecret(text))
		if good {
			require.NoError(t, err, "%q", text)
			continue
		}
		require.Error(t, err, "%q", text)
		if len(text) > 10 {
			assert.NotContains(t, err.Error(), text[6:])
		}
	}
	assert.False(t, NewSecret().Equal(NewSecret()))
}

func TestAnswers(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for status, want := range map[int]struct{ delivered, gone, refused bool }{
		200: {delivered: true}, 201: {delivered: true}, 204: {delivered: true}, 299: {delivered: true},
		301: {}, 302: {}, 307: {}, 304: {},
		400: {refused: true}, 401: {refused: true}, 404: {refused: true}, 413: {refused: true},
		408: {}, 410: {gone: true}, 425: {}, 429: {},
		500: {refused: true}, 502: {}, 503: {}, 504: {}, 600: {},
	} {
		o := judge(&http.Response{StatusCode: status, Header: http.Header{}}, now)
		assert.Equal(t, want.delivered, o.Delivered(), status)
		assert.Equal(t, want.gone, o.Gone(), status)
		assert.Equal(t, want.refused, o.Refused(), status)
		assert.Equal(t, status, o.Status)
	}
	for header, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "x": 0, "999999999": 24 * time.Hour,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute,
	} {
		o := judge(&http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {header}}}, now)
		assert.Equal(t, want, o.After, header)
	}
	assert.Zero(t, judge(&http.Response{StatusCode: 200, Header: http.Header{"Retry-After": {"60"}}}, now).After)
}

// Nothing of the receiver's words, nor of its URL, is in what is told.
func TestFailuresHoldNoURL(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the end of the request is not seen before
		<-r.Context().Done()
	}))
	defer silent.Close()
	quick := &http.Client{Timeout: 50 * time.Millisecond}
	for name, o := range map[string]Outcome{
		"closed": Post(t.Context(), quick, closed.URL+"/planted", "", Message{ID: "x"}, time.Now(), NewSecret()),
		"silent": Post(t.Context(), quick, silent.URL+"/planted", "", Message{ID: "x"}, time.Now(), NewSecret()),
		"no URL": Post(t.Context(), quick, "://planted", "", Message{ID: "x"}, time.Now(), NewSecret()),
		"no key": Post(t.Context(), quick, closed.URL, "", Message{ID: "x"}, time.Now(), providers.NewSecret("planted")),
	} {
		assert.False(t, o.Delivered(), name)
		assert.NotEmpty(t, o.Failure, name)
		assert.NotContains(t, o.Failure, "planted", name)
		assert.NotContains(t, o.Failure, "127.0.0.1", name)
		assert.False(t, o.Refused(), name)
		assert.Zero(t, o.Status, name)
	}
}

// An answer stands once its header is there, however long its body is.
func TestEndlessBody(t *testing.T) {
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		for {
			if _, err := w.Write([]byte(strings.Repeat("x", 1<<16))); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	out := Post(t.Context(), server.Client(), server.URL, "", Message{ID: "x"}, time.Now(), NewSecret())
	assert.True(t, out.Delivered(), "%+v", out)
	<-ended // nobody listens any more
}

// What a receiver answers shortly is read, so that the next request need not connect anew.
func TestConnectionIsKept(t *testing.T) {
	addresses := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addresses[r.RemoteAddr] = true
		_, _ = w.Write([]byte("ok"))
	}))
	defer server.Close()
	for range 3 {
		out := Post(t.Context(), server.Client(), server.URL, "", Message{ID: "x"}, time.Now(), NewSecret())
		require.True(t, out.Delivered())
	}
	assert.Len(t, addresses, 1)
}

func TestWait(t *testing.T) {
	assert.Equal(t, 5*time.Second, Wait(1, 0, 0))
	assert.Equal(t, 20*time.Second, Wait(2, 0, 0))
	assert.Equal(t, 80*time.Second, Wait(3, 0, 0))
	assert.Equal(t, 24*time.Hour, Wait(9, 0, 0))
	assert.Equal(t, 24*time.Hour, Wait(1_000_000_000, 0, 0))
	assert.Equal(t, 18*time.Hour, Wait(9, 1, 0))
	assert.Equal(t, 15*time.Second, Wait(2, 1, 0))
	assert.Equal(t, time.Minute, Wait(2, 0.5, time.Minute), "as the receiver asked")
	assert.Equal(t, 24*time.Hour, Wait(1, 0.5, 48*time.Hour), "a day at the most")
	for n, last := 1, time.Duration(0); n < 20; n++ {
		wait := Wait(n, 0.3, 0)
		assert.GreaterOrEqual(t, wait, last)
		last = wait
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
