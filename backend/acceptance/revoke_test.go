package acceptance

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// introspect asks the server whether a token is active (RFC 7662).
func (s *signIn) introspect(t *testing.T, token any) bool {
	t.Helper()
	form := url.Values{"token": {token.(string)}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.server.Issuer+"/token/introspection",
		strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("basic", appSecret)
	page := open(t, req)
	require.Equal(t, http.StatusOK, page.Status, page.Body)
	var answer struct{ Active bool }
	require.NoError(t, json.Unmarshal([]byte(page.Body), &answer))
	return answer.Active
}

func TestRevokeOnDelete(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	s.connect(t, "one", "idp")
	s.connect(t, "org/acme/two", "idp")
	one, two := s.read(t, "creds/one")["access_token"], s.read(t, "creds/org/acme/two")["access_token"]
	require.True(t, s.introspect(t, one))
	require.True(t, s.introspect(t, two))

	warnings := s.remove(t, "connections/one")
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "the account may be shared with another connection")
	assert.True(t, s.introspect(t, one))
	assert.True(t, s.introspect(t, two))

	assert.Empty(t, s.remove(t, "connections/org/acme/two"))
	assert.False(t, s.introspect(t, two))
	s.absent(t, "connections/org/acme/two")

	t.Run("provider down", func(t *testing.T) {
		s.connect(t, "three", "idp")
		s.server.Stop()
		warnings := s.remove(t, "connections/three")
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "the connection is deleted, but the grant may live on at the provider")
		s.absent(t, "connections/three")
		assert.Empty(t, s.remove(t, "connections/three"), "deleting what is gone is no error")
	})
}
