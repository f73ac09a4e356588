package backend

import (
	"context"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// sharedWarning is one text for whatever may share an account, here or on another mount, known or only possible: who
// deletes a connection learns nothing of a stranger's.
const sharedWarning = "the grant was not revoked: the account may be shared with another connection, of this " +
	"mount or another, and many providers would end both; if nothing else uses it, revoke the grant in the account's " +
	"settings at the service"

// appOf names the app at the service that a connection's grant was given to, in a way that other mounts understand:
// by its client id, since one app may be configured by several definitions. It is empty where the provider is gone, or
// has changed since.
func (b *backend) appOf(ctx context.Context, c *store.Connection) string {
	p, err := b.provider(ctx, c.Provider)
	if err != nil || p == nil || p.fingerprint != c.Pinned {
		return ""
	}
	return p.appName()
}

// appName names the app by its client id and where its tokens come from: anybody may use an id of their choice.
func (p *configured) appName() string { return p.entry.ClientID + " " + p.app.Origins()[1] }

// restsOn reports whether any connection but k may rest on an account at a provider, on this mount or another of this
// process. When that cannot be known, it may.
func (b *backend) restsOn(ctx context.Context, provider, account string, k store.Key) bool {
	p, err := b.provider(ctx, provider)
	if err != nil || p == nil {
		return true
	}
	rests, err := b.rests(ctx, p, account, k, nil)
	return err != nil || rests
}

// rests is restsOn where those that are spared do not count, since they are ended too.
func (b *backend) rests(ctx context.Context, p *configured, account string, k store.Key, spared spares) (bool, error) {
	app, unreadable := p.appName(), false
	var found []store.Key
	err := b.directory.each(ctx, func(other store.Key, r *record) {
		switch {
		case r.unreadable:
			unreadable = unreadable || other != k
		case other != k && (r.mayRest(app, account) || r.stands(account) && r.shared().provider == p.name):
			found = append(found, other)
		}
	})
	if err != nil || unreadable {
		return unreadable, err
	}
	for _, other := range found {
		if spared == nil {
			return true, nil
		}
		if spare, err := spared(ctx, other); err != nil || !spare {
			return !spare, err
		}
	}
	return b.process.restsElsewhere(b, app, account), nil
}

// stands reports whether the connection is of the account and is not about to end. It is called under the mirror's
// mutex.
func (r *record) stands(account string) bool {
	return !r.deleting && !r.ending && !r.bare && r.shared().refused != store.ReasonRevoked && r.account == account
}

// mayRest is called under the mirror's mutex.
func (r *record) mayRest(app string, account string) bool {
	mine := r.shared().app
	return r.unreadable || r.stands(account) && (mine == app || mine == "")
}

// restsElsewhere asks the other mounts whether a connection of theirs may rest on an account at an app. It learns yes
// or no, and waits for nobody: each answers from memory, and one that does not know all of its connections says yes.
func (p *Process) restsElsewhere(b *backend, app string, account string) bool {
	for _, other := range p.others(b) {
		rests := false
		all := other.directory.mirror.eachKnown(func(_ store.Key, r *record) {
			rests = rests || r.mayRest(app, account)
		})
		if rests || !all {
			return true
		}
	}
	return false
}

// others are the mounts of the process but b.
func (p *Process) others(b *backend) (others []*backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for other := range p.mounts {
		if other != b {
			others = append(others, other)
		}
	}
	return others
}
