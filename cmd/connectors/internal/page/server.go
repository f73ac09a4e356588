package page

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// Why the pages ended.
var (
	ErrMisses = errors.New("three times other characters than the page shows: ended, so that nobody can go on guessing")
	ErrIdle   = errors.New("nobody used the pages for fifteen minutes: ended")
	ErrToken  = errors.New("the Vault token is no longer valid: log in with 'vault login', then start again")
)

const idleTime = 15 * time.Minute

// Options are what the pages are made from.
type Options struct {
	Client  *client.Client
	Command string // how the command line is called, for the commands that the pages show
	// Definition finds what a provider is. nil: nobody knows.
	Definition func(ctx context.Context, provider string) (*client.Definition, error)
}

// Server shows the pages until it ends.
type Server struct {
	Options

	host  string // all that a request may name
	guard *http.CrossOriginProtection
	app   http.Handler
	idle  *time.Timer

	mu     sync.Mutex
	guests map[string]*guest // by the first segment of their paths
	paired *guest            // the one browser that is let in
	misses int
	flows  map[string]*flow // by id
	notes  []note
	tried  map[string]bool // keys that their service took here

	end    sync.Once
	ended  chan struct{}
	reason error
}

// New makes the pages of a host, such as 127.0.0.1:8080. The time that nobody uses them is counted from now on.
func New(host string, o Options) *Server {
	s := &Server{
		Options: o, host: host, guard: http.NewCrossOriginProtection(), guests: map[string]*guest{},
		flows: map[string]*flow{}, tried: map[string]bool{}, ended: make(chan struct{}),
	}
	s.app = s.routes()
	s.idle = time.AfterFunc(idleTime, func() { s.stop(ErrIdle) })
	return s
}

// Listen takes a port of 127.0.0.1; 0: any that is free.
func Listen(port int) (net.Listener, error) {
	socket, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen for the browser: %w", err)
	}
	return socket, nil
}

// Serve answers until the context or the pages end, and says why.
func (s *Server) Serve(ctx context.Context, socket net.Listener) error {
	server := &http.Server{
		// no ReadTimeout: that would end the request by which a browser waits to be let in
		Handler: s, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(socket) }()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.ended:
		err = s.reason
	case err = <-failed:
	}
	s.stop(err)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // the page that says so is sent yet
	defer cancel()
	if server.Shutdown(last) != nil {
		_ = server.Close()
	}
	return err
}

// Ended is closed when the pages have ended by themselves.
func (s *Server) Ended() <-chan struct{} { return s.ended }

func (s *Server) stop(reason error) {
	s.end.Do(func() {
		s.idle.Stop()
		s.reason = reason
		close(s.ended)
	})
}

// ServeHTTP lets a request through to who it is from: everybody sees the way in and the return of a consent, and the
// paired browser the rest.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	// A page of somebody else's whose name was made to mean this machine has another host.
	if r.Host != s.host {
		s.refuse(w, http.StatusMisdirectedRequest, "This is not the address of these pages.")
		return
	}
	select {
	case <-s.ended:
		s.refuse(w, http.StatusGone, "These pages have ended. Start them again in the terminal.")
		return
	default:
	}
	// Of what changes something, browsers say where it comes from.
	if s.guard.Check(r) != nil {
		s.refuse(w, http.StatusForbidden, "This was sent by a page of another origin, and nothing was done.")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		s.refuse(w, http.StatusMethodNotAllowed, "Nothing here answers that.")
		return
	}
	switch {
	case r.URL.Path == "/" && r.Method == http.MethodGet:
		if !looksAt(r) {
			s.refuse(w, http.StatusForbidden, "Open this address in a window of its own.")
			return
		}
		s.admit(w)
		return
	case r.URL.Path == "/connected" && r.Method == http.MethodGet:
		s.connected(w, r)
		return
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	g := s.known(first, r)
	switch {
	case g == nil:
		s.refuse(w, http.StatusNotFound, "There is nothing for this browser here. The address that the terminal "+
			"shows leads in.")
	case !s.isPaired(g):
		s.wait(w, r, g, rest)
	default:
		s.idle.Reset(idleTime)
		if r.Body = http.MaxBytesReader(w, r.Body, maxForm); r.ParseForm() != nil {
			s.fail(w, r, http.StatusBadRequest, "What was sent cannot be read, or is more than a key has: nothing was done.")
			return
		}
		http.StripPrefix("/"+g.path, s.app).ServeHTTP(w, r)
	}
}

const maxForm = 1 << 20 // more than any key has

var headers = map[string]string{
	"Content-Type":  "text/html; charset=utf-8",
	"Cache-Control": "no-store",
	"Content-Security-Policy": "default-src 'none'; style-src '" + hashOf(css) + "'; form-action 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
}

func hashOf(css string) string {
	sum := sha256.Sum256([]byte(css))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
