package providertest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
)

// Behavior takes one call in place of the server; behave is what the server would have done.
type Behavior func(s *Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc)

// Respond answers a status and a body, JSON unless a header says otherwise. headers are name, value pairs.
func Respond(status int, body string, headers ...string) Behavior {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Behave does what the server does by itself: for scripts whose first calls succeed.
func Behave() Behavior {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) { behave(w, r) }
}

// Hang never answers: until the client gives up or the test ends.
func Hang() Behavior {
	return func(s *Server, _ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		select {
		case <-r.Context().Done():
		case <-s.closing:
		}
	}
}

// HangUntil answers as usual once release is closed, so that a test can act while a call is under way.
func HangUntil(release <-chan struct{}) Behavior {
	return func(s *Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		select {
		case <-release:
			behave(w, r)
		case <-r.Context().Done():
		case <-s.closing:
		}
	}
}

// Reset drops the connection before anything is done.
func Reset() Behavior {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { drop(w) }
}

// ResetAfter does what was asked and drops the connection without telling: a refresh token is then spent and its
// successor lost on the way.
func ResetAfter() Behavior {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		behave(httptest.NewRecorder(), r)
		drop(w)
	}
}

// GarbageAfter does what was asked and answers 200 with a body that is no answer.
func GarbageAfter() Behavior {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		behave(httptest.NewRecorder(), r)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":`)
	}
}

// drop closes the connection with a reset.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
