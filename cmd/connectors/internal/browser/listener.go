package browser

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// Return is what a browser brings back: which flow, and the code that shows that it is the one that consented. The
// code is empty where the provider asks for none.
type Return struct{ FlowID, Code string }

const path = "/connected"

// Listener waits on loopback for one flow to come back.
type Listener struct {
	server *http.Server
	socket net.Listener
	host   string
	come   chan Return
}

// Listen takes a port of 127.0.0.1; 0: any that is free. Whoever comes waits until Await says for which flow.
func Listen(port int) (*Listener, error) {
	socket, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen for the browser's return: %w", err)
	}
	return &Listener{socket: socket, host: socket.Addr().String(), come: make(chan Return, 1)}, nil
}

// URL is where the callback page is to lead on to.
func (l *Listener) URL() string { return "http://" + l.host + path }

// Await hears of each return of this flow, until the listener is closed.
func (l *Listener) Await(flowID string) <-chan Return {
	l.server = &http.Server{
		Handler: l.handler(flowID), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		MaxHeaderBytes: 16 << 10,
	}
	l.server.SetKeepAlivesEnabled(false)
	go func() { _ = l.server.Serve(l.socket) }()
	return l.come
}

// Close ends it when the page that is being answered has been.
func (l *Listener) Close() {
	if l.server == nil {
		_ = l.socket.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
}

var code = regexp.MustCompile(`^[A-Z0-9]{8}$`)

// handler answers one page to everybody who asks for the one address, whether they brought the flow or not, so that
// nobody learns anything here. The host is compared too: a page of somebody else's whose name was made to mean this
// machine reaches nothing.
func (l *Listener) handler(flowID string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != l.host || r.URL.Path != path || r.Method != http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		for name, value := range map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
		} {
			w.Header().Set(name, value)
		}
		_, _ = w.Write([]byte(page))
		query := r.URL.Query()
		brought := Return{FlowID: query.Get("flow_id"), Code: query.Get("confirmation_code")}
		if brought.FlowID != flowID || brought.Code != "" && !code.MatchString(brought.Code) {
			return
		}
		select {
		case l.come <- brought:
		default: // one that came before is being looked at
		}
	})
}

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Back to the terminal</title>
<h1>Back to the terminal</h1>
<p>The command that you started there says what came of it. You may close this page.</p>
</html>
`
