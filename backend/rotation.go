package backend

import (
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// A credential that only people can replace grows old: a connection's key, and a provider's client secret. After how
// long it is to be replaced is its own word (rotate_after), else the definition's, else the mount's. Nothing is done
// about it here but to tell: by when that is, what is due, and how many are. All of it is derived when somebody asks.

// The bounds of rotate_after.
const (
	shortestRotation = 24 * time.Hour
	longestRotation  = 10 * 365 * 24 * time.Hour
)

func rotateAfterField(what string) *framework.FieldSchema {
	return str("After how long " + what + " is to be replaced, such as 90d; 0: never; empty (default): as the " +
		"definition says, else as config says. What is due is shown, and serves on.")
}

// takeRotateAfter reads after how long a credential is to be replaced, as it is stored; see [store.RotationDue].
func takeRotateAfter(d *framework.FieldData) (after time.Duration, named bool, err error) {
	v, named := d.GetOk("rotate_after")
	if !named || v.(string) == "" {
		return 0, named, nil
	}
	after, err = parseutil.ParseDurationSecond(v)
	if err != nil || after != 0 && (after < shortestRotation || after > longestRotation) {
		return 0, true, badRequest("rotate_after must lie between one day and ten years, or be 0 for never, or be empty " +
			"for what the definition or config says")
	}
	if after == 0 {
		after = -1
	}
	return after, true, nil
}

// rotateAfterWord spells it as a write takes it; empty: nobody said.
func rotateAfterWord(after time.Duration) string {
	switch {
	case after < 0:
		return "0s"
	case after == 0:
		return ""
	}
	return after.String()
}

// keyDue is when a connection's key is to be replaced; zero: never, or nobody knows how old it is. p is its provider,
// nil when that is gone.
func keyDue(c *store.Connection, p *configured, config *store.Config) time.Time {
	return store.RotationDue(c.KeySince(), c.RotateAfter, p.keysAfter(), config.RotateAfter)
}

// keysAfter is after how long the definition would have keys replaced.
func (p *configured) keysAfter() time.Duration {
	if p == nil || p.app.Definition.Key == nil {
		return 0
	}
	return p.app.Definition.Key.RotateAfter.D
}

// secretDue is keyDue for a provider's client secret.
func (p *configured) secretDue() time.Time {
	return store.RotationDue(p.entry.SecretSince(), p.entry.RotateAfter, p.app.Definition.Client.RotateAfter.D,
		p.mount.RotateAfter)
}

// keyDue is that of a record's key. It is called under the mirror's mutex.
func (p providerStates) keyDue(r *record) time.Time {
	c := r.shared()
	return store.RotationDue(timeOf(r.keyed), c.rotate, p.about[c.provider].keysAfter, p.config.RotateAfter)
}

// isDue reports whether something that falls due at a time is due now; zero is never.
func isDue(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }
