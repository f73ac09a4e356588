package backend

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// testType is the type of what webhooks/<name>/test sends.
const testType = "webhook.test"

// notification is the body of a request, as Standard Webhooks recommends it.
type notification struct {
	Type string    `json:"type"`
	Time time.Time `json:"timestamp"` // when it happened
	Data any       `json:"data"`
}

// noticeBody is what is sent of a notice. It is the same bytes however often it is sent.
func noticeBody(n store.Notice) ([]byte, error) {
	return json.Marshal(notification{typeOf(n), n.Time.UTC(), n})
}

// typeOf is what a notice is about, and what happened.
func typeOf(n store.Notice) string {
	switch {
	case n.Connection != "" || several(n):
		return "connection." + n.Kind
	case n.Provider != "":
		return "provider." + n.Kind
	}
	return "mount." + n.Kind
}

// several reports whether a notice stands for a number of them, of whatever owners: for one alone, where only one was
// counted.
func several(n store.Notice) bool { return n.Count > 0 }

// takes reports whether a webhook is sent a notice. One that stands for many may be about any owner, so no webhook
// misses it for that.
func takes(w *store.Webhook, n *store.Notice) bool {
	return (len(w.Kinds) == 0 || slices.Contains(w.Kinds, n.Kind)) &&
		(len(w.Providers) == 0 || slices.Contains(w.Providers, n.Provider)) &&
		(len(w.Owners) == 0 || several(*n) || slices.ContainsFunc(w.Owners, func(pattern string) bool {
			at := strings.LastIndexByte(n.Connection, '/')
			return at > 0 && namesOwner(pattern, n.Connection[:at])
		}))
}
