package acceptance

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// TestSMTPLogin has logins of a real mail server checked by a real Vault: on each way to encrypt, right and wrong, and
// no mail is sent by that.
func TestSMTPLogin(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	server, err := stack.StartSMTP(t.Context(), suite.tools)
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	e.write(t, "providers/smtp", map[string]any{"ca_pem": server.CA})

	ports := map[string]int{"starttls": server.STARTTLS, "implicit": server.Implicit, "none": server.Plain}
	login := func(tls, password string) map[string]any {
		return map[string]any{
			"provider": "smtp", "host": "127.0.0.1", "port": strconv.Itoa(ports[tls]), "tls": tls,
			"username": stack.SMTPUser, "password": password,
		}
	}
	for tls := range ports {
		e.write(t, "connections/mail-"+tls, login(tls, stack.SMTPPassword)) // it is checked before it is stored
		found := e.write(t, "check/mail-"+tls, nil)
		assert.Equal(t, []any{"active", "true", "well"}, []any{found["status"], found["token_valid"], found["service"]},
			"%s: %v", tls, found["advice"])
		assert.Equal(t, stack.SMTPPassword, e.read(t, "creds/mail-"+tls)["password"])

		_, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/connections/wrong-"+tls,
			login(tls, "another-password"))
		require.ErrorContains(t, err, "the service refuses the credential", tls)
		assert.NotContains(t, err.Error(), "another-password")
		assert.NotContains(t, err.Error(), "credentials invalid", "nothing that the server wrote")
		absent, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/connections/wrong-"+tls)
		require.NoError(t, err)
		assert.Nil(t, absent)
	}
	wrong := login("starttls", "password-of-yesterday")
	wrong["verify"] = false
	e.write(t, "connections/stale", wrong)
	found := e.write(t, "check/stale", nil)
	assert.Equal(t, []any{"failed_validation", "key_refused", "false"}, []any{
		found["status"], found["status_reason"], found["token_valid"],
	}, "%v", found["advice"])

	e.write(t, "providers/smtp", map[string]any{"ca_pem": ""}) // its certificate is nobody's now
	e.write(t, "connections/mail-starttls", login("starttls", stack.SMTPPassword))
	found = e.write(t, "check/mail-starttls", nil)
	assert.Equal(t, []any{"unknown", "down"}, []any{found["token_valid"], found["service"]}, "%v", found["advice"])
	assert.Contains(t, found["advice"], "(health call failed: tls)")

	logins, mails, err := server.Said()
	require.NoError(t, err)
	assert.Zero(t, mails)
	methods := map[string]bool{}
	for _, l := range logins {
		methods[l.Port+" "+l.Method] = true
		assert.Equal(t, l.Port != "plain", l.Secure, "%+v", l)
	}
	assert.Equal(t, map[string]bool{"starttls PLAIN": true, "implicit PLAIN": true, "plain CRAM-MD5": true}, methods)
}
