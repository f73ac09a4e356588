package backend

import (
	"context"
	"errors"
	"maps"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
)

// checkKey asks the service whether it takes the key that a write brings, before that takes over. One that it refuses
// is not stored; where there is doubt it is, and a warning says so. Nothing is spent by asking, so it is the caller's.
func (b *backend) checkKey(ctx context.Context, w *write) error {
	if w.keys == nil || w.unchecked || w.known != nil && w.sameKey(w.known) {
		return nil
	}
	found, asked, err := b.showKey(ctx, w)
	switch {
	case !asked:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, gate.ErrClosed):
		return err
	case err != nil:
		w.warnings = append(w.warnings, "the key was stored unchecked: "+b.warningText(err))
	case found.valid == refused && w.flow != nil:
		return conflict("%s", found.advice)
	case found.valid == refused:
		return conflict("%s: nothing was changed; verify=false stores it all the same", found.advice)
	case found.valid == unknown:
		w.warnings = append(w.warnings, "the key was stored, and whether it works could not be found out: "+found.advice)
	case found.advice != takesIt:
		w.warnings = append(w.warnings, found.advice)
	}
	return b.stillThere(ctx, w)
}

// showKey asks the service about the key that a write brings. asked is false where no call of ours tells whether a key
// works.
func (b *backend) showKey(ctx context.Context, w *write) (found checked, asked bool, err error) {
	found = checked{service: notAsked, valid: unknown}
	inputs := w.inputs(w.known)
	resolved, err := b.resolve(ctx, w.provider, w.key, w.kind, inputs)
	if err == nil && !w.provider.app.CanCheck(resolved, w.kind) {
		return found, false, nil
	}
	var pass *gate.Pass
	if err == nil {
		pass, err = b.enterFor(ctx, gate.Person, w.provider.calledAt(w.kind, inputs), w.key, w.known, w.who)
	}
	if err != nil {
		found, err = b.notShown(ctx, found, err)
		return found, true, err
	}
	defer pass.Leave(gate.NotSent, 0) // what it says of one account's key holds for that account (see show)
	fields := maps.Clone(w.keys)
	maps.Copy(fields, w.provider.app.Definition.DeriveKey(fields))
	ctx = b.debugs(ctx, w.provider, w.key, w.known)
	told, err := w.provider.client.Check(ctx, w.provider.app, resolved, w.kind, presentedKey(fields))
	if told != nil {
		found.told, w.account, w.captured = *told, told.Account, told.Captured
	}
	found, err = b.judgeCheck(found, err)
	return found, true, err
}
