package backend

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// A connection may become private between the look at it and the write: from then on it is its owner's.
func TestConnectionThatBecomesPrivateDuringAWrite(t *testing.T) {
	const path = "connections/user/e-alice/slack"
	for name, c := range map[string]struct {
		data map[string]any
		who  testenv.Caller
		fine bool
	}{
		"a label":              {map[string]any{"label": "theirs"}, bob, false},
		"an import":            {map[string]any{"access_token": "theirs", "verify": false}, testenv.Root, false},
		"privacy":              {map[string]any{"private": false}, bob, false},
		"a label of the owner": {map[string]any{"label": "own"}, alice, true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
				f.connect(t, "self/slack", alice)
				f.Write(path, map[string]any{"private": false, "label": "mine"}, alice).OK(t)
				token := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"]

				// The provider is read when the connection was looked at already.
				f.Backend.InvalidateKey(t.Context(), "provider/acme")
				looked, release := make(chan struct{}), make(chan struct{})
				f.Storage.Delay(testenv.Nth(1, func(a testenv.Access) bool {
					return a == testenv.Access{Op: "get", Key: "provider/acme"}
				}), func(testenv.Access) { close(looked); <-release })
				answer := make(chan testenv.Result, 1)
				go func() { answer <- f.Write(path, c.data, c.who) }()
				<-looked
				f.Write("connections/self/slack", map[string]any{"private": true}, alice).OK(t)
				close(release)
				if r := <-answer; c.fine {
					r.OK(t)
				} else {
					r.Refused(t, http.StatusForbidden, "became private meanwhile", "nothing was written")
				}
				view := f.Read("connections/self/slack", nil, alice).OK(t)
				assert.Equal(t, true, view["private"])
				assert.Equal(t, map[bool]string{false: "mine", true: "own"}[c.fine], view["label"])
				assert.Equal(t, token, f.Read("creds/self/slack", nil, alice).OK(t)["access_token"])
			})
		})
	}
}
