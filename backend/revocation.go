package backend

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// revokeTime is how long an end waits for the provider.
const revokeTime = 15 * time.Second

const mayLiveOn = "the grant may live on"

// asked is what came of asking a provider to forget a grant.
type asked struct {
	word  store.EndWord
	err   error // with EndFailed
	again bool  // with EndFailed: it passes by itself, so asking again may help
	page  string
}

// spares tells which other connections of an account are ended too, so that they do not rest on it.
type spares func(context.Context, store.Key) (bool, error)

// ask has the provider forget the grant, and says how that went. The error is that of the mount's end, or storage's:
// then nothing was asked.
func (b *backend) ask(ctx context.Context, k store.Key, conn *store.Connection, class gate.Class,
	spared spares,
) (asked, error) {
	p, err := b.provider(ctx, conn.Provider)
	if err != nil && !store.Unusable(err) && class == gate.Background { // nobody waits, and it passes
		return asked{}, err
	}
	out := asked{page: pageOfService(p)}
	g := conn.Grant
	switch {
	case g == nil && len(conn.Key) > 0: // keys are made and ended at the provider by people
		out.word = store.EndKey
		return out, nil
	case g == nil, g.AccessToken.IsZero() && g.RefreshToken.IsZero():
		out.word = store.EndNothing
		if len(conn.KeyFields()) > 0 {
			out.word = store.EndKey
		}
		return out, nil
	case err != nil || p == nil || p.fingerprint != conn.Pinned:
		out.word, out.err = store.EndFailed, errProviderChanged
		return out, nil
	}
	if id := conn.Account.ID; id != "" {
		rests, err := b.rests(ctx, p, id, k, spared)
		if err != nil && class == gate.Background {
			return asked{}, err
		}
		if rests || err != nil {
			out.word = store.EndShared
			return out, nil
		}
	}
	pass, err := b.gate.Enter(ctx, visit(class, p.name, k, conn)) // a revocation goes out though it is frozen
	switch {
	case err == nil:
		defer pass.Leave(gate.NotSent, 0)
		err = revokeGrant(b.debugs(ctx, p, k, conn), p, conn.Kind, conn.Inputs, g)
		pass.Tell(aside(err))
	case errors.Is(err, gate.ErrClosed), ctx.Err() != nil:
		return asked{}, gate.ErrClosed
	}
	var call *providers.Error
	switch {
	case len(g.Key) > 0 && (err == nil || !passes(err)): // the token is gone, or soon; the key is ended by people
		out.word = store.EndKey
	case err == nil:
		out.word = store.EndRevoked
	case errors.As(err, &call) && call.Reason == providers.ReasonNoRevocationEndpoint:
		out.word, out.err = store.EndNotSupported, err
	default:
		out.word, out.err, out.again = store.EndFailed, err, passes(err)
	}
	return out, nil
}

// errProviderChanged is why a provider is not asked to forget a grant.
var errProviderChanged = errors.New("its provider is gone or has changed since")

// passes reports whether a provider that was asked in vain may answer later. One that refused has answered.
func passes(err error) bool {
	var call *providers.Error
	switch {
	case errors.As(err, new(*gate.Refused)), errors.Is(err, context.DeadlineExceeded):
		return true
	case errors.As(err, &call):
		refused := call.Status >= http.StatusBadRequest && call.Status < http.StatusInternalServerError &&
			call.Status != http.StatusRequestTimeout && call.Class != providers.RateLimited
		return !refused && (call.Class == providers.Transient || call.Class == providers.Unknown ||
			call.Class == providers.RateLimited)
	}
	return false
}

// pageOfService is where at the service a person ends what was granted or made there; empty where nobody told.
func pageOfService(p *configured) string {
	if p == nil {
		return ""
	}
	return p.app.Definition.Setup.ManageURL
}

// byHand adds the page at the service to a text that ends with what is to be done there.
func byHand(text, page string) string {
	if page == "" {
		return text
	}
	return text + ": " + page
}

// revoke is ask for a deletion. The warning says what is left to do; it is empty when nothing is.
func (b *backend) revoke(ctx context.Context, k store.Key, conn *store.Connection,
	class gate.Class,
) (warning string, err error) {
	out, err := b.ask(ctx, k, conn, class, nil)
	if err != nil {
		return "", err
	}
	switch {
	case out.word == store.EndKey && out.page != "":
		warning = "the key lives on at the service until somebody ends it there"
	case out.word == store.EndShared:
		warning = sharedWarning
	case errors.Is(out.err, errProviderChanged):
		warning = "the grant was not revoked: its provider is gone or has changed since; revoke it in the account's " +
			"settings at the service"
	case out.err != nil:
		warning = mayLiveOn + " at the provider (" + b.warningText(out.err) +
			"): revoke it in the account's settings at the service"
	default:
		return "", nil
	}
	return byHand(warning, out.page), nil
}

// whyNot says of one of many that were ended what is left to do; empty when nothing is.
func (b *backend) whyNot(out asked) (why string) {
	switch out.word {
	case store.EndKey:
		why = "a key lives on at the service until somebody ends it there"
	case store.EndNotSupported:
		why = "the provider cannot be asked to forget a grant; revoke it in the account's settings at the service"
	case store.EndShared:
		why = "another connection of this mount or another may rest on the same account, so the provider was not asked; " +
			"if nothing else uses it, revoke the grant in the account's settings at the service"
	case store.EndUnreachable:
		why = "not revoked, provider unreachable (" + b.warningText(out.err) + "); revoke the grant in the account's " +
			"settings at the service"
	case store.EndFailed:
		cause := errProviderChanged.Error()
		if !errors.Is(out.err, errProviderChanged) {
			cause = b.warningText(out.err)
		}
		why = "not revoked (" + cause + "); revoke the grant in the account's settings at the service"
	default:
		return ""
	}
	return byHand(why, out.page)
}

func revokeGrant(ctx context.Context, p *configured, kind providers.Kind, inputs map[string]string,
	g *providers.Grant,
) error {
	ctx, cancel := context.WithTimeout(ctx, revokeTime)
	defer cancel()
	resolved, err := p.client.Resolve(ctx, p.app, kind, inputs)
	if err != nil {
		return err
	}
	return p.client.Revoke(ctx, p.app, resolved, kind, g)
}
