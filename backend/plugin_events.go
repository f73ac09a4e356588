package backend

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

const (
	// eventPrefix begins the types of the events.
	eventPrefix = "connectors/"

	eventTime = 5 * time.Second // that one may take

	// eventRest is how long no events are sent after one could not be.
	eventRest = time.Hour
)

// pluginEvents hands what the log of notices gets on to Vault's event notifications, where Vault has them: Enterprise.
// It begins at the end of the log with each start and does not try again: who must miss nothing has a webhook.
type pluginEvents struct {
	tasks.Following
	b     *backend
	never atomic.Bool // this Vault delivers none

	started atomic.Bool // it is known where to go on

	// These are Run's alone.
	asked bool   // what Vault this is
	at    uint64 // the last notice that was handed on
}

// wake is told that the log has something new. It does not wait.
func (e *pluginEvents) wake() {
	if !e.never.Load() {
		e.b.tasks.Sooner(e, e.b.now())
	}
}

// Lane implements [tasks.Task].
func (e *pluginEvents) Lane() tasks.Lane { return tasks.Lane{Kind: laneEvent} }

// Name implements [tasks.Task].
func (e *pluginEvents) Name() string { return "events" }

// Run implements [tasks.Task].
func (e *pluginEvents) Run(ctx context.Context) (next time.Time) {
	if !e.b.mayWrite() {
		e.started.Store(false)
		return next
	}
	if err := e.send(ctx); err != nil {
		e.started.Store(false)
		e.b.Logger().Debug("events could not be sent; none are for an hour", "error", err)
		return e.b.now().Add(eventRest)
	}
	return next
}

func (e *pluginEvents) send(ctx context.Context) error {
	if !e.asked {
		env, err := e.b.System().PluginEnv(ctx)
		if err != nil {
			return err
		}
		e.asked = true
		e.never.Store(!strings.Contains(env.GetVaultVersionMetadata(), "ent"))
	}
	if e.never.Load() {
		return nil
	}
	if !e.started.Load() {
		newest, err := e.b.notices.newest(ctx)
		if err != nil {
			return err
		}
		e.at = newest
		e.started.Store(true)
		return nil
	}
	for {
		found, last, _, err := e.b.notices.read(ctx, e.at, noticesAtOnce, nil)
		if err != nil {
			return err
		}
		for _, n := range found {
			if err := e.sendOne(ctx, n); err != nil {
				return err
			}
		}
		if e.at = last; len(found) < noticesAtOnce {
			return nil
		}
	}
}

// sendOne hands one notice on. Whoever may subscribe to its path hears of it.
func (e *pluginEvents) sendOne(ctx context.Context, n store.Notice) error {
	ctx, cancel := context.WithTimeout(ctx, eventTime)
	defer cancel()
	path := "notices"
	switch {
	case n.Connection != "":
		path = "connections/" + n.Connection
	case n.Provider != "" && !several(n):
		path = "providers/" + n.Provider
	}
	facts := []string{
		logical.EventMetadataPath, path, logical.EventMetadataDataPath, path, logical.EventMetadataOperation, n.Verb,
		"notice_id", n.ID, "kind", n.Kind, "provider", n.Provider, "connection", n.Connection,
		"connection_id", n.ConnectionID, "reason", n.Reason, "time", rfc3339(n.Time),
	}
	if several(n) {
		facts = append(facts, "count", strconv.Itoa(n.Count))
	}
	return logical.SendEvent(ctx, e.b.Backend, eventPrefix+n.Kind, facts...)
}
