package backend

import (
	"context"
	"errors"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// lateLooks is how many heartbeats after a failed write of a trial storage is looked at: it may take the write late.
const lateLooks = 5

// parkedTime is how long a trial is kept that nobody may have, or whose answer never came.
const parkedTime = time.Hour

// finishImports carries on with imports that a crash cut off, and forgets what was kept for long enough.
func (b *backend) finishImports(ctx context.Context) {
	if b.standsStill() {
		return // the mount that the snapshot is of has them too
	}
	seen, left := b.trials.Load(), 0
	late := b.lateTrials.Load()
	if seen == 0 && late == 0 || !b.finishing.CompareAndSwap(false, true) {
		return
	}
	defer b.finishing.Store(false)
	if late > 0 {
		b.lateTrials.Add(-1)
	}
	err := b.store.EachTrial(ctx, func(t *store.Trial, err error) {
		left++
		if err != nil {
			b.Logger().Warn("an import cannot be read", "error", err)
			return
		}
		k, err := store.ParseKey(t.Key)
		if err != nil || b.tasks.Find(importName(k)) != nil {
			return
		}
		if b.thawed(ctx, t.Provider, k) != nil {
			return // nothing is sent for it, nor forgotten
		}
		switch now := b.now(); {
		case !now.Before(t.Time.Add(parkedTime)):
			if !t.Parked {
				b.Logger().Warn("an import that was cut off is given up: import the tokens again", "connection", t.Key)
			}
			if b.store.DeleteTrial(ctx, k, t) == nil {
				left--
			}
		case !t.Parked && !now.Before(t.Next):
			b.finishImport(ctx, k, t)
		}
	})
	switch {
	case err == nil && left == 0:
		b.trials.CompareAndSwap(seen, 0) // unless one began meanwhile
	case seen == 0:
		b.trials.Add(1)
	}
}

// finishImport carries on with one import, as far as it still may.
func (b *backend) finishImport(ctx context.Context, k store.Key, t *store.Trial) {
	w, err := b.planTrial(ctx, k, t)
	switch {
	case errors.Is(err, errUnsaved), errors.Is(err, errEnding):
		return
	case err == nil && w == nil: // the connection has it
		b.endTrial(ctx, k, t)
		return
	case err == nil:
		_, err = b.importTokens(ctx, w)
		// What was given meanwhile stands in the record by now, and must not be written over.
		if now, rerr := b.store.Trial(ctx, k, t.Brought); err != nil && (rerr != nil || now == nil || now.Parked) {
			return
		} else if now != nil {
			t = now
		}
	}
	var refused *statusError
	switch {
	case err == nil:
		b.Logger().Info("finished an import that was cut off", "connection", t.Key)
		return
	case ctx.Err() != nil:
		return
	case errors.As(err, &refused) && refused.status < 500:
		b.parkTrial(ctx, k, t) // a person must decide, if there is anything to decide about
	default:
		t.TryLater(b.now())
		b.keepGiven(ctx, k, t)
	}
	b.Logger().Warn("an import that was cut off could not be finished", "connection", t.Key, "error", err)
}

// errUnsaved is why a record stays though the connection has its token: that lives in memory only.
var errUnsaved = errors.New("the connection is not saved yet")

// errEnding is why nothing is done for a record: the end of its connection removes it.
var errEnding = errors.New("the connection is being ended")

// errSwitchedOff is why an import is left alone: a person has switched the connection off.
var errSwitchedOff = errors.New("the connection is disabled")

// planTrial is the write that a trial is from; nil when the connection has its token already. What the operator allows
// now counts, and so does what anybody did to the connection since: over that nothing is written.
func (b *backend) planTrial(ctx context.Context, k store.Key, t *store.Trial) (*write, error) {
	w := &write{
		key: k, who: caller{entity: t.By.EntityID, display: t.By.DisplayName}, now: b.now(), kind: t.Kind,
		use: changing, grant: t.Brought, settings: t.Settings,
		imported: imported{imports: true, otherAccount: t.AccountChange, class: gate.Background, resumes: t},
	}
	var err error
	var unsaved bool
	if w.known, unsaved, err = b.connections.Get(ctx, k); err != nil {
		return nil, err
	}
	if w.provider, err = b.knownProvider(ctx, t.Provider); err != nil {
		return nil, err
	}
	switch c := w.known; {
	case w.provider.fingerprint != t.Pinned:
		return nil, conflict("provider %q changed meanwhile, so the token is sent nowhere", t.Provider)
	case c == nil && !t.Creates:
		return nil, conflict("connection %s was deleted meanwhile", k)
	case c == nil:
		return w, nil
	case c.Ending.On():
		return nil, errEnding
	case w.sentAgain(c) && unsaved:
		return nil, errUnsaved
	case w.sentAgain(c):
		return nil, nil
	case t.Creates || c.Generation != t.Generation || c.Provider != t.Provider:
		return nil, conflict("connection %s was changed meanwhile", k)
	case c.Stops.On(), c.IsMoving(), c.Entity.Left != "":
		return nil, errSwitchedOff
	case c.Serial != t.Serial: // what people wrote since stands
		w.settings = store.Settings{Inputs: t.Settings.Inputs}
	}
	return w, nil
}
