package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// Anybody on the network may send anything to the callback: it answers a page, repeats nothing of it, and without the
// flow's state it changes nothing.
func FuzzCallback(f *testing.F) {
	for _, seed := range []struct{ provider, state, code, failure, name, value string }{
		{"acme", "%", "code", "", "", ""},
		{"acme", "%", "", "access_denied", "error_description", "words"},
		{"acme", "", "code", "", "state", "x"},
		{"..", "%", "code", "", "provider", "acme"},
		{"ACME", "%", "<script>", "<script>", "<b>", "</html>"},
		{"acme", "\xff\x00", "\xff", "", "\xff", "\xff"},
		{"nothing", "%", "", "", "http_raw_body", "x"},
	} {
		f.Add(seed.provider, seed.state, seed.code, seed.failure, seed.name, seed.value)
	}
	fix := newFixture(f, Options{}, testenv.InProcess)
	f.Fuzz(func(t *testing.T, provider, state, code, failure, name, value string) {
		const mark = "never-to-be-repeated-"
		right := state == "%" // stands for the state of a flow that is open
		if right {
			state = query(t, fix.start(t, "fuzzed", nil)["url"].(string), "state")
		}
		data := map[string]any{name: mark + value, "state": state, "code": mark + code}
		if failure != "" {
			data["error"] = mark + failure
		}
		fix.Storage.Forget()
		r := fix.Read("callback/"+provider, data, testenv.Nobody)
		switch r.Status {
		case http.StatusOK:
			shown := page(t, r)
			assert.NotContains(t, shown, mark)
			if len(state) > 40 {
				assert.NotContains(t, shown, state)
			}
			if !right {
				assert.Equal(t, neutral(t), shown)
			}
		// no provider's name can hold a slash, so this is another path
		case http.StatusBadRequest, http.StatusMethodNotAllowed:
			assert.NotContains(t, r.Text, mark)
		default:
			require.Failf(t, "unexpected status", "%d %s", r.Status, r.Text)
		}
		if !right {
			assert.Zero(t, fix.Storage.Writes())
		}
		fix.Advance(time.Hour)
		fix.periodic(t)
	})
}
