package providers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// wire dials as it is told, for a time.
type wire struct {
	roots *x509.CertPool
	life  time.Duration
	plain []bool
}

func (w *wire) Dial(ctx context.Context, host, port string, _ []string, plain bool) (net.Conn, error) {
	w.plain = append(w.plain, plain)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(w.life))
	}
	return &stubborn{conn, 256 << 10}, err
}

// stubborn keeps the deadline that it has, and reads so many bytes.
type stubborn struct {
	net.Conn
	left int
}

func (s *stubborn) Read(b []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.Conn.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err
}

func (*stubborn) SetDeadline(time.Time) error { return nil }

func (w *wire) TLS(host string) *tls.Config { return &tls.Config{ServerName: host, RootCAs: w.roots} }

const mailPassword = "pass word-1"

// tryMail checks a login at a mail server.
func tryMail(t *testing.T, ctx context.Context, m *providertest.Mail, change map[string]string,
	options ...func(*wire, *providers.Client),
) error {
	t.Helper()
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	def, _ := catalog.Get("smtp")
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM([]byte(m.CA)))
	w := &wire{roots: roots, life: 10 * time.Second}
	client := providers.NewClient(&doer{}, time.Now, "")
	client.Dials(w)
	for _, option := range options {
		option(w, client)
	}
	fields := map[string]string{
		"host": "127.0.0.1", "port": m.Port, "username": "user@example.com", "password": mailPassword,
	}
	for name, value := range change {
		fields[name] = value
	}
	for name, value := range def.DeriveKey(fields) {
		fields[name] = value
	}
	app := &providers.App{Definition: def}
	res, err := client.Resolve(t.Context(), app, providers.KindLogin, nil)
	require.NoError(t, err)
	require.True(t, app.CanCheck(res, providers.KindLogin))
	_, err = client.Check(ctx, app, res, providers.KindLogin, &providers.Grant{SecretConfig: concealed(fields)})
	if err != nil {
		for _, said := range []string{
			mailPassword, base64.StdEncoding.EncodeToString([]byte(mailPassword)),
			"SECRET-OF-THE-SERVER",
		} {
			assert.NotContains(t, err.Error(), said)
		}
	}
	return err
}

// inClear is what a server heard before TLS began.
func inClear(m *providertest.Mail) string {
	before, _, _ := strings.Cut(m.Heard(), "TLS")
	return before
}

// Whatever a mail server does, the password is shown to the one that proved itself alone, and nothing is taken for a
// refusal of it but the answer to the login.
func TestLoginFaults(t *testing.T) {
	hello := []string{"S: 220 mail.test", "C: *", "S: 250-mail.test"}
	starts := slices.Concat(hello, []string{"S: 250 STARTTLS", "C: STARTTLS", "S: 220 go", "TLS 127.0.0.1"})
	inside := slices.Concat(starts, []string{"C: *", "S: 250-mail.test"})
	for name, c := range map[string]struct {
		lines  []string
		change map[string]string
		life   time.Duration
		class  providers.Class
		says   string
		shown  bool // the password, over TLS
	}{
		"hangs after the greeting": {
			lines: []string{"S: 220 mail.test", "C: *", "HANG"}, life: 300 * time.Millisecond,
			class: providers.Transient, says: "failed: timeout",
		},
		"never greets": {
			lines: []string{"HANG"}, life: 300 * time.Millisecond, class: providers.Transient, says: "timeout",
		},
		"goes away at once": {lines: []string{}, class: providers.Transient, says: "connection_"},
		"turns everybody away": {
			lines: []string{"S: 554 SECRET-OF-THE-SERVER"}, class: providers.Transient,
			says: "unexplained",
		},
		"is busy": {
			lines: []string{"S: 421 4.3.2 SECRET-OF-THE-SERVER"}, class: providers.Transient,
			says: "server_error",
		},
		"speaks no SMTP": {
			lines: []string{"S: SSH-2.0-OpenSSH SECRET-OF-THE-SERVER"}, class: providers.Transient,
			says: "connection_closed",
		},
		"drops at STARTTLS": {
			lines: slices.Concat(hello, []string{"S: 250 STARTTLS", "C: STARTTLS"}),
			class: providers.Transient, says: "connection_",
		},
		"lies about STARTTLS": {
			lines: slices.Concat(hello, []string{
				"S: 250 STARTTLS", "C: STARTTLS", "S: 220 go", "WAIT", "S: 250 AUTH PLAIN",
				"HANG",
			}),
			class: providers.Transient, says: "tls",
		},
		"refuses STARTTLS": {
			lines: slices.Concat(hello, []string{"S: 250 STARTTLS", "C: STARTTLS", "S: 454 SECRET-OF-THE-SERVER", "HANG"}),
			class: providers.Transient, says: "server_error",
		},
		"offers no STARTTLS, and AUTH before it": {
			lines: slices.Concat(hello, []string{"S: 250 AUTH PLAIN LOGIN", "C: *", "S: 235 welcome", "HANG"}),
			class: providers.Misconfigured, says: "nothing was sent: the server offers no STARTTLS",
		},
		"has a certificate of another name": {
			lines: slices.Concat(hello, []string{"S: 250 STARTTLS", "C: STARTTLS", "S: 220 go", "TLS mail.test", "HANG"}),
			class: providers.Transient, says: "tls",
		},
		"has lines without end": {
			lines: []string{"S: 220 mail.test", "C: *", "FLOOD 250-SECRET-OF-THE-SERVER"},
			class: providers.Transient, says: "health call failed",
		},
		"has a line without end": {
			lines: []string{"S: 220 mail.test", "C: *", "LONG 250-SECRET-OF-THE-SERVER"},
			class: providers.Transient, says: "answer_too_large",
		},
		"offers no login": {
			lines: slices.Concat(inside, []string{"S: 250 8BITMIME", "HANG"}),
			class: providers.Misconfigured, says: "nothing was sent: the server offers no login",
		},
		"offers a login that nobody speaks": {
			lines: slices.Concat(inside, []string{"S: 250 AUTH GSSAPI NTLM", "HANG"}),
			class: providers.Misconfigured, says: "nothing was sent: the server offers no login",
		},
		"drops after the login": {
			lines: slices.Concat(inside, []string{"S: 250 AUTH PLAIN", "C: *"}),
			class: providers.Unknown, says: "connection_", shown: true,
		},
		"hangs after the login": {
			lines: slices.Concat(inside, []string{"S: 250 AUTH PLAIN", "C: *", "HANG"}), life: 500 * time.Millisecond,
			class: providers.Unknown, says: "timeout", shown: true,
		},
		"asks without end": {
			lines: slices.Concat(inside, []string{"S: 250 AUTH PLAIN", "C: *", "S: 334 YQ==", "C: *", "S: 501 no", "HANG"}),
			class: providers.Unknown, says: "network", shown: true, life: 2 * time.Second,
		},
		"refuses the login": {
			lines: providertest.MailLogin("535 5.7.8 SECRET-OF-THE-SERVER"), class: providers.Rejected, says: "(535)",
			shown: true,
		},
		"refuses it for now": {
			lines: providertest.MailLogin("454 4.7.0 SECRET-OF-THE-SERVER"), class: providers.Transient, says: "server_error",
			shown: true,
		},
		"takes it and never says goodbye": {
			lines: slices.Concat(inside, []string{"S: 250 AUTH PLAIN", "C: *", "S: 235 ok", "HANG"}),
			life:  500 * time.Millisecond,
			shown: true,
		},
		"takes it": {lines: providertest.MailLogin("235 ok"), shown: true},
		"a key without a login": {
			change: map[string]string{"username": ""}, class: providers.Misconfigured,
			says: "no user name",
		},
		"a key without a password": {
			change: map[string]string{"password": ""}, class: providers.Misconfigured, says: "nothing was sent",
		},
		"tls of another word": {
			lines: []string{"HANG"}, change: map[string]string{"tls": "ssl"}, class: providers.Misconfigured,
			says: "nothing was sent",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := providertest.NewMail(t, c.lines...)
			err := tryMail(t, t.Context(), m, c.change, func(w *wire, _ *providers.Client) {
				if c.life > 0 {
					w.life = c.life
				}
			})
			if c.class == "" {
				require.NoError(t, err)
			} else {
				var failure *providers.Error
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, c.class, failure.Class, err)
				assert.ErrorContains(t, err, c.says)
			}
			assert.NotContains(t, inClear(m), "AUTH")
			assert.Equal(t, c.shown, strings.Contains(m.Heard(), "AUTH PLAIN"), m.Heard())
			assert.NotContains(t, m.Heard(), "MAIL")
		})
	}
}

// A caller who gives up is not waited for, and a dialog is ended by that.
func TestLoginGivenUp(t *testing.T) {
	m := providertest.NewMail(t, "S: 220 mail.test", "C: *", "HANG")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tryMail(t, ctx, m, nil) }()
	require.Eventually(t, func() bool { return strings.Contains(m.Heard(), "EHLO") }, time.Minute, time.Millisecond)
	cancel()
	assert.ErrorContains(t, <-done, "canceled")
}

// Without TLS the wire is told, and what hides the password goes first.
func TestLoginWithoutTLS(t *testing.T) {
	m := providertest.NewMail(t, "S: 220 mail.test", "C: *", "S: 250-mail.test", "S: 250 AUTH LOGIN PLAIN", "C: *",
		"S: 235 ok",
		"C: QUIT", "S: 221 bye")
	var told *wire
	require.NoError(t, tryMail(t, t.Context(), m, map[string]string{"tls": "none"},
		func(w *wire, _ *providers.Client) { told = w }))
	assert.Equal(t, []bool{true}, told.plain)
	assert.Contains(t, m.Heard(), "AUTH PLAIN")
}

// Where the operator allows no such host, and where a client speaks HTTP alone, nobody is called.
func TestLoginIsConfined(t *testing.T) {
	m := providertest.NewMail(t, "HANG")
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	def, _ := catalog.Get("smtp")
	err = tryMail(t, t.Context(), m, nil, func(_ *wire, c *providers.Client) {
		c.Confine(def, func(hosts []string) error {
			return &net.AddrError{Err: "not allowed", Addr: strings.Join(hosts, ",")}
		})
	})
	require.ErrorContains(t, err, "nothing was sent: address 127.0.0.1: not allowed")
	err = tryMail(t, t.Context(), m, nil, func(_ *wire, c *providers.Client) { c.Dials(nil) })
	require.ErrorContains(t, err, "speaks HTTP alone")
	assert.Zero(t, m.Visits())
}

// Whoever changes the server that a login goes to moves the key.
func TestLoginMovesTheKey(t *testing.T) {
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	def, _ := catalog.Get("smtp")
	key := map[string]string{"host": "a.example.com", "username": "u", "password": "p"}
	for field, value := range map[string]string{"host": "b.example.com", "port": "465", "tls": "none"} {
		moved := map[string]string{"host": "a.example.com", "username": "u", "password": "p"}
		moved[field] = value
		assert.True(t, def.MovesKey(key, moved), field)
	}
	for field, value := range map[string]string{"port": "587", "tls": "starttls", "username": "v", "from": "x@y"} {
		same := map[string]string{"host": "a.example.com", "username": "u", "password": "p"}
		same[field] = value
		assert.False(t, def.MovesKey(key, same), field)
	}
}
