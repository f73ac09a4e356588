package backend

import (
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// grantees knows what is shared with whom, so that a list of it costs what it holds and not what the mount does. It
// follows the directory, and what it names is looked at before it is told.
type grantees struct {
	mu   sync.Mutex
	with map[string]map[store.Key]uint32 // guarded by mu; by grantee, and until when in Unix seconds; 0: without an end
	of   map[store.Key][]string          // guarded by mu; the grantees of each connection that has some
}

func newGrantees() *grantees {
	return &grantees{with: map[string]map[store.Key]uint32{}, of: map[store.Key][]string{}}
}

// set notes with whom a connection is shared now.
func (g *grantees) set(k store.Key, conn *store.Connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(k)
	if !conn.Private || len(conn.Shares) == 0 {
		return
	}
	for _, s := range conn.Shares {
		name := s.Grantee()
		if g.with[name] == nil {
			g.with[name] = map[store.Key]uint32{}
		}
		g.with[name][k] = unixOf(s.Expires)
		g.of[k] = append(g.of[k], name)
	}
}

// gone forgets a connection.
func (g *grantees) gone(k store.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(k)
}

// drop is called under mu.
func (g *grantees) drop(k store.Key) {
	for _, name := range g.of[k] {
		if delete(g.with[name], k); len(g.with[name]) == 0 {
			delete(g.with, name)
		}
	}
	delete(g.of, k)
}

// keys are the connections that are shared with any of those, each once.
func (g *grantees) keys(names []string, now time.Time) map[store.Key]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := map[store.Key]bool{}
	for _, name := range names {
		for k, until := range g.with[name] {
			if until == 0 || now.Before(timeOf(until)) {
				found[k] = true
			}
		}
	}
	return found
}
