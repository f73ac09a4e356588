package backend

import (
	"context"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// keepGiven stores what the provider gave. Where storage refuses, the connection may still take it.
func (b *backend) keepGiven(ctx context.Context, k store.Key, t *store.Trial) {
	if err := b.putTrial(ctx, k, t); err != nil {
		b.Logger().Warn("what came of an import could not be stored", "connection", k.String(), "error", err)
	}
}

// The most trials of one connection, and the most connections that may have some.
const (
	maxTrials           = 8
	maxTrialConnections = 1000
)

// openTrial stores the record of a token that is about to be spent.
func (b *backend) openTrial(ctx context.Context, k store.Key, t *store.Trial, resumed bool) error {
	if !resumed {
		own, connections, err := b.store.CountTrials(ctx, k)
		switch {
		case err != nil:
			return err
		case own >= maxTrials, own == 0 && connections >= maxTrialConnections:
			return conflict("too many imports wait for a person's word, or for their provider: "+
				"finish or delete those of "+
				"%s, or wait for an hour", k)
		}
	}
	return b.putTrial(ctx, k, t)
}

func (b *backend) putTrial(ctx context.Context, k store.Key, t *store.Trial) error {
	b.trials.Add(1)
	err := b.store.PutTrial(ctx, k, t)
	if err != nil {
		b.lateTrials.Store(lateLooks)
	}
	return err
}

// trial is the record of the tokens, before they are spent.
func (w *write) trial(known *store.Connection) *store.Trial {
	t := store.TrialOf(w.key, w.grant)
	t.Provider, t.Pinned, t.Kind = w.provider.name, w.provider.fingerprint, w.kind
	t.Inputs, t.Settings, t.AccountChange = w.inputs(known), w.settings, w.otherAccount
	t.By, t.Caller, t.Time, t.Creates = w.who.actor(w.now), w.who.id(), w.now, known == nil
	if known != nil {
		t.Generation, t.Serial = known.Generation, known.Serial
	}
	return t
}

// parkTrial notes that a trial waits for a person, so that nobody else adopts it. Where the provider did not replace
// the token nothing is lost by forgetting it.
func (b *backend) parkTrial(ctx context.Context, k store.Key, t *store.Trial) {
	ctx = context.WithoutCancel(ctx)
	if !t.Rotated() {
		b.endTrial(ctx, k, t)
		return
	}
	t.Parked = true
	b.keepGiven(ctx, k, t)
}

// endTrial forgets a trial. One that storage keeps is found again by the next look.
func (b *backend) endTrial(ctx context.Context, k store.Key, t *store.Trial) {
	if err := b.store.DeleteTrial(context.WithoutCancel(ctx), k, t); err != nil {
		b.Logger().Warn("the record of an import could not be removed", "connection", k.String(), "error", err)
	}
}
