package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// provider is an OAuth token endpoint (RFC 6749 section 6) on loopback that is some time away, or never answers.
type provider struct {
	url    string
	server *http.Server

	mu     sync.Mutex
	asked  map[string]int       // by refresh token
	served map[string]time.Time // by refresh token: when its last answer left
}

// startProvider starts one. A delay below zero hangs.
func startProvider(delay time.Duration) (*provider, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &provider{
		url: "http://" + l.Addr().String() + "/token", asked: map[string]int{}, served: map[string]time.Time{},
	}
	p.server = &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.token(w, r, delay)
		}),
	}
	go func() { _ = p.server.Serve(l) }() // until close
	return p, nil
}

// token rotates: each refresh token is spent for a new one.
func (p *provider) token(w http.ResponseWriter, r *http.Request, delay time.Duration) {
	spent := r.FormValue("refresh_token")
	p.mu.Lock()
	p.asked[spent]++
	p.mu.Unlock()
	if delay < 0 {
		<-r.Context().Done()
		return
	}
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/json")
	err := json.NewEncoder(w).Encode(map[string]any{
		"access_token": accessToken(spent + "-next"), "refresh_token": spent + "-next", "token_type": "bearer",
		"expires_in": 24 * 3600,
	})
	if err == nil {
		p.mu.Lock()
		p.served[spent] = time.Now()
		p.mu.Unlock()
	}
}

// requests gives the number of requests and copies of what is known by refresh token.
func (p *provider) requests() (total int, asked map[string]int, served map[string]time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.asked {
		total += n
	}
	return total, maps.Clone(p.asked), maps.Clone(p.served)
}

func (p *provider) close() { _ = p.server.Close() }

// accessToken is as long as tokens are that say something by themselves.
func accessToken(name string) string {
	return fmt.Sprintf("at-%s-%s", name, strings.Repeat("x", 800))
}
