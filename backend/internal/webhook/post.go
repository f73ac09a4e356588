package webhook

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// drained is how much of an answer's body is read, and dropped, so that the connection can be used again. An answer
// that announces more, or does not say, costs its connection.
const drained = 4 << 10

// Outcome is what came of a request. Nothing in it was written by the receiver but the status.
type Outcome struct {
	Status int // of the answer; 0: there was none
	// Failure says why it was not delivered, in the engine's own words; empty: it was.
	Failure string
	// After is how long the receiver wants to be left alone.
	After time.Duration
}

// Delivered reports whether the receiver took the message.
func (o Outcome) Delivered() bool { return o.Failure == "" }

// Gone reports whether the receiver wants no more, ever.
func (o Outcome) Gone() bool { return o.Status == http.StatusGone }

// Refused reports whether it is this message that the receiver does not take: others may fare better. Whatever else
// fails says nothing of the message.
func (o Outcome) Refused() bool {
	switch o.Status {
	case http.StatusGone, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusInternalServerError:
		return true
	}
	return o.Status/100 == 4
}

// Post sends a message once. The client follows no redirect and bounds the time of the whole.
func Post(ctx context.Context, client *http.Client, url, agent string, m Message, now time.Time,
	secrets ...providers.Secret,
) Outcome {
	headers, err := m.Headers(now, secrets...)
	if err != nil {
		return Outcome{Failure: "its secret is damaged: write another"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.Body))
	if err != nil {
		return Outcome{Failure: "its URL is damaged: write it again"}
	}
	req.Header = headers
	req.Header.Set("User-Agent", agent)
	resp, err := client.Do(req)
	if err != nil {
		return Outcome{Failure: providers.NetworkReason(err)}
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.ContentLength > 0 && resp.ContentLength <= drained {
		_, _ = io.CopyN(io.Discard, resp.Body, drained) // what was answered stands, whatever becomes of this
	}
	return judge(resp, now)
}

func judge(resp *http.Response, now time.Time) Outcome {
	o := Outcome{Status: resp.StatusCode}
	switch o.Status / 100 {
	case 2:
		return o
	case 3:
		o.Failure = "it redirects, and no redirect is followed: write the URL that it leads to"
	default:
		o.Failure = "it answered " + strconv.Itoa(o.Status)
	}
	o.After = min(providers.RetryAfter(resp.Header.Get("Retry-After"), now), mostWait)
	return o
}
