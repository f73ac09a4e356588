package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const (
	mailPassword = "the-password-of-the-mail-server"
	takesLogin   = "235 2.7.0 welcome"
	refusesLogin = "535 5.7.8 WORDS-OF-THE-SERVER"
)

// mail configures the provider smtp, for a mail server of this test.
func (f *fixture) mail(t *testing.T, answer string) *providertest.Mail {
	t.Helper()
	m := providertest.NewMail(t, providertest.MailLogin(answer)...)
	f.Write("providers/smtp", map[string]any{"ca_pem": m.CA}).OK(t)
	return m
}

// mailbox is a login at a mail server.
func mailbox(m *providertest.Mail, more map[string]any) map[string]any {
	return with(map[string]any{
		"provider": "smtp", "host": "127.0.0.1", "port": m.Port, "username": "app", "password": mailPassword,
	}, more)
}

// A login is tried before it is stored, by each check, and by itself each day; what the server wrote is told to nobody.
func TestMailLoginIsChecked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		m := f.mail(t, takesLogin)
		r := f.Write("connections/mail", mailbox(m, nil))
		r.OK(t)
		assert.Empty(t, r.Warnings)
		assert.Equal(t, 1, m.Visits())
		f.Advance(time.Minute)
		found := f.Write("check/mail", nil).OK(t)
		assert.Equal(t, []any{"active", "true", "well", takesIt}, []any{
			found["status"], found["token_valid"], found["service"], found["advice"],
		})
		assert.Equal(t, mailPassword, f.Read("creds/mail", nil).OK(t)["password"])
		f.Write("connections/mail", map[string]any{"label": "outgoing"}).OK(t)
		assert.Equal(t, 2, m.Visits(), "a label is no login")

		m.Speaks(providertest.MailLogin(refusesLogin)...)
		wrong := f.Write("connections/wrong", mailbox(m, map[string]any{"password": "another-password"}))
		wrong.Refused(t, http.StatusConflict, "the service refuses", "(535)", "nothing was changed", "verify=false")
		assert.NotContains(t, wrong.Text, "WORDS-OF-THE-SERVER")
		assert.NotContains(t, wrong.Text, "another-password")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/wrong", nil).Status)
		f.Advance(time.Minute)
		found = f.Write("check/mail", nil).OK(t)
		assert.Equal(t, []any{"failed_validation", "key_refused", "false"}, []any{
			found["status"], found["status_reason"], found["token_valid"],
		})
		m.Speaks("S: 421 WORDS-OF-THE-SERVER")
		f.Advance(time.Minute)
		found = f.Write("check/mail", nil).OK(t)
		assert.Equal(t, []any{"failed_validation", "unknown", "down"}, []any{
			found["status"], found["token_valid"], found["service"],
		})
		assert.NotContains(t, f.Logs.String(), "WORDS-OF-THE-SERVER")
		assert.NotContains(t, f.Logs.String(), mailPassword)
		assert.NotContains(t, m.Heard(), "MAIL FROM")
	})
}

// The daily check holds for logins: one that the server refuses fails, and one that it takes again is well.
func TestDailyCheckOfALogin(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	m := f.mail(t, takesLogin)
	f.Write("connections/mail", mailbox(m, nil)).OK(t)
	m.Speaks(providertest.MailLogin(refusesLogin)...)
	f.passHours(t, 48)
	assert.Equal(t, []any{"failed_validation", "key_refused"}, f.statusOf(t, "mail"))
	m.Speaks(providertest.MailLogin(takesLogin)...)
	f.passHours(t, 48)
	assert.Equal(t, []any{"active", ""}, f.statusOf(t, "mail"))
	f.Write("providers/smtp", map[string]any{"check_interval": 0}).OK(t)
	visits := m.Visits()
	f.passHours(t, 48)
	assert.Equal(t, visits, m.Visits())
}

// What cannot be found out is told, with the cause, and the key is stored.
func TestMailLoginInDoubt(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		m := f.mail(t, takesLogin)
		for name, c := range map[string]struct {
			change map[string]any
			speaks []string
			says   string
		}{
			"nobody there":   {change: map[string]any{"port": "1"}, says: "(health call failed: connection_refused)"},
			"a drop":         {speaks: []string{}, says: "(health call failed: connection_"},
			"no STARTTLS":    {speaks: []string{"S: 220 m", "C: *", "S: 250 AUTH PLAIN", "HANG"}, says: "offers no STARTTLS"},
			"another's name": {change: map[string]any{"host": "mail.example.org", "port": "587"}, says: "(health call failed: dns)"},
			"another port":   {change: map[string]any{"host": "mail.example.org", "port": "22"}, says: "port 22 is none of 25, 465, 587"},
			"this machine":   {change: map[string]any{"host": "localhost", "port": "587"}, says: "Vault server itself"},
			"the metadata":   {change: map[string]any{"host": "169.254.169.254", "port": "25"}, says: "link-local"},
			"in clear": {
				change: map[string]any{"host": "mail.example.org", "port": "587", "tls": "none"}, says: "use TLS",
			},
			"no user name": {change: map[string]any{"username": ""}, says: "no user name or no password"},
		} {
			t.Run(name, func(t *testing.T) {
				if c.speaks != nil {
					m.Next(c.speaks...)
				}
				visits := m.Visits()
				r := f.Write("connections/mail", mailbox(m, c.change))
				r.OK(t)
				said := strings.Join(r.Warnings, " ")
				assert.Contains(t, said, "whether it works could not be found out")
				assert.Contains(t, said, c.says)
				assert.Equal(t, c.speaks != nil, m.Visits() > visits)
				assert.Equal(t, "active", f.Read("connections/mail", nil).OK(t)["status"])
				f.Delete("connections/mail", nil).OK(t)
			})
		}
		f.Write("config", map[string]any{"endpoint_hosts": "*.example.com"}).OK(t)
		visits := m.Visits()
		r := f.Write("connections/mail", mailbox(m, nil))
		r.OK(t)
		assert.Contains(t, strings.Join(r.Warnings, " "), "endpoint_hosts")
		assert.Equal(t, visits, m.Visits())
	})
}

// A password goes to no server that its owner did not name: who changes the server must know it, and who writes it must
// name a server that somebody else named.
func TestAttackMailServerThatSomebodyElseNamed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		m := f.mail(t, takesLogin)
		f.Write("connections/mail", mailbox(m, nil), alice).OK(t)
		other := providertest.NewMail(t, providertest.MailLogin(takesLogin)...)
		f.Write("providers/smtp", map[string]any{"ca_pem": m.CA}).OK(t)
		for _, who := range []testenv.Caller{alice, bob} {
			for _, change := range []map[string]any{
				{"port": other.Port}, {"host": "mallory.example.org"}, {"tls": "implicit"}, {"tls": "none", "verify": false},
			} {
				f.Write("connections/mail", change, who).Refused(t, http.StatusBadRequest, "another host", `"password"`)
			}
		}
		assert.Zero(t, other.Visits())
		f.Write("connections/mail", map[string]any{"from": "app@example.org"}, alice).OK(t)
		f.Write("connections/mail", mailbox(other, nil), alice).OK(t)
		assert.Equal(t, 1, other.Visits())

		f.Write("connections/planted", mailbox(other, map[string]any{"password": "x", "verify": false}), bob).OK(t)
		f.Write("connections/planted", map[string]any{"password": mailPassword}, alice).
			Refused(t, http.StatusBadRequest, "somebody else named", `host="127.0.0.1"`, "port=")
		f.Write("connections/planted", map[string]any{"password": mailPassword}).
			Refused(t, http.StatusBadRequest, "somebody else named")
		f.Write("connections/planted", map[string]any{"password": "y"}, bob).OK(t)
		f.Write("connections/planted", map[string]any{"from": "b@example.org"}, alice).OK(t)
		f.Write("connections/planted", mailbox(m, nil), alice).OK(t)
		heard := other.Heard()
		assert.NotContains(t, heard, mailPassword)
	})
}

// How the servers of logins fare says nothing of the provider: they pass a gate of their own.
func TestMailServersAreNotTheService(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.mail(t, takesLogin)
	p, err := f.engine().provider(t.Context(), "smtp")
	require.NoError(t, err)
	assert.Equal(t, "smtp"+keyHosts, p.calledAt(providers.KindLogin, nil))
	slow := providertest.NewMail(t, "HANG")
	f.Write("config", map[string]any{"request_timeout": "1s"}).OK(t)
	f.Write("providers/smtp", map[string]any{"ca_pem": slow.CA}).OK(t)
	began := time.Now()
	r := f.Write("connections/slow", mailbox(slow, nil))
	r.OK(t)
	assert.Contains(t, strings.Join(r.Warnings, " "), "timeout")
	assert.Less(t, time.Since(began), 8*time.Second)
}

// What nobody can check here says so, clearly, and is stored in the right shape.
func TestFileServersAreNotChecked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for name, c := range map[string]struct{ right, wrong map[string]any }{
			"ftp": {
				map[string]any{"host": "ftp.example.org", "username": "u", "password": "p"},
				map[string]any{"host": "ftp://ftp.example.org", "username": "u", "password": "p"},
			},
			"sftp": {
				map[string]any{"host": "sftp.example.org", "username": "u", "password": "p"},
				map[string]any{"host": "sftp.example.org", "username": "u"},
			},
		} {
			f.Write("providers/"+name, nil).OK(t)
			f.Write("connections/"+name, with(c.wrong, map[string]any{"provider": name})).Refused(t, http.StatusBadRequest)
			assert.Equal(t, http.StatusNotFound, f.Read("connections/"+name, nil).Status)
			r := f.Write("connections/"+name, with(c.right, map[string]any{"provider": name}))
			r.OK(t)
			assert.Empty(t, r.Warnings)
			found := f.Write("check/"+name, nil).OK(t)
			assert.Equal(t, []any{"active", "unknown", "not_asked"}, []any{
				found["status"], found["token_valid"], found["service"],
			})
			assert.Contains(t, found["advice"], "not checkable here", name)
			assert.Equal(t, "p", f.Read("creds/"+name, nil).OK(t)["password"])
		}
		f.Write("connections/both", map[string]any{
			"provider": "sftp", "host": "h", "username": "u", "password": "p", "private_key": "k",
		}).Refused(t, http.StatusBadRequest, "only one of these")
		port := f.Read("creds/sftp", nil).OK(t)["port"]
		assert.Equal(t, "22", fmt.Sprint(port))
	})
}
