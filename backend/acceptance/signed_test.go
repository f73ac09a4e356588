package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// signingService verifies signatures of version 4 with a key of its own, as AWS and stores do, which no server of these
// tests speaks. welcome is what it says to who signs with it, and refusal what to others.
func signingService(t *testing.T, service, id, secret, welcome, refusal string) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != providertest.SigV4(r, body, id, secret, service, "us-east-1") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, refusal)
			return
		}
		_, _ = io.WriteString(w, welcome)
	}))
	t.Cleanup(web.Close)
	return web.URL
}

// TestSignedKeys has keys with which applications sign checked by a real Vault, whose clock and transport the
// signatures go by.
func TestSignedKeys(t *testing.T) {
	t.Parallel()
	const id, secret, another = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		"wJalrXUtnFEMI/K7MDENG/bPxRfiCYANOTHERKEY"
	e := newEngine(t)
	sts := signingService(t, "sts", id, secret, `{"GetCallerIdentityResponse":{"GetCallerIdentityResult":`+
		`{"Account":"123456789012","Arn":"arn:aws:iam::123456789012:user/app","UserId":"AIDA"}}}`,
		`{"Error":{"Code":"SignatureDoesNotMatch"}}`)
	store := signingService(t, "s3", id, secret, `<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>`,
		`<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code></Error>`)
	e.write(t, "providers/aws", map[string]any{"endpoints": map[string]any{"identity": sts}})
	e.write(t, "providers/s3", nil)
	key := func(secret string) map[string]any {
		return map[string]any{"access_key_id": id, "secret_access_key": secret}
	}
	inputs := map[string]any{"endpoint": store, "bucket": "reports"}
	for name, account := range map[string]string{"aws": "123456789012", "s3": ""} {
		right, wrong := key(secret), key(another)
		if name == "s3" {
			right["inputs"], wrong["inputs"] = inputs, inputs
		}
		e.write(t, "connections/"+name, right)
		found := e.write(t, "check/"+name, nil)
		assert.Equal(t, []any{"active", "true", "well"}, []any{found["status"], found["token_valid"], found["service"]},
			"%s: %v", name, found["advice"])
		assert.Equal(t, account, found["account"].(map[string]any)["id"], name)
		_, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/connections/"+name, wrong)
		require.ErrorContains(t, err, "SignatureDoesNotMatch", name)
		assert.False(t, strings.Contains(fmt.Sprint(err), another))
		assert.Equal(t, secret, e.read(t, "creds/"+name)["secret_access_key"])
	}
}
