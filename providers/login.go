package providers

import (
	"context"
	"crypto/hmac"
	"crypto/md5" // of CRAM-MD5, which servers without TLS of their own still ask for
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Wire opens connections to servers that do not speak HTTP.
type Wire interface {
	// Dial connects to a host that a connection names, for a dialog that ends soon. Other ports than those listed are
	// for hosts that the operator lists. plain says that a password will go over it without TLS. What it refuses is a
	// [Refusal].
	Dial(ctx context.Context, host, port string, ports []string, plain bool) (net.Conn, error)
	// TLS says how a server of that name proves itself.
	TLS(host string) *tls.Config
}

// Dials lets the client log in at servers that do not speak HTTP. It comes before the first call.
func (c *Client) Dials(wire Wire) { c.wire = wire }

// protocol is how one sort of server is logged in at.
type protocol struct {
	ports []string // that its servers are found at
	speak func(login, net.Conn, *tls.Config) *Error
}

// protocols are the words of Login.Protocol.
func protocols() map[string]protocol { return map[string]protocol{"smtp": {smtpPorts(), login.smtp}} }

// smtpPorts are those on which mail is submitted: 25, 465 and 587 (RFC 5321, RFC 8314, RFC 6409), and the ones that
// large services offer beside them.
func smtpPorts() []string { return []string{"25", "465", "587", "2465", "2525", "2587"} }

// The words of Login.TLS.
const (
	tlsStart    = "starttls"
	tlsImplicit = "implicit"
	tlsNone     = "none"
)

const quitTime = 2 * time.Second // for the server's last word, which tells nothing

// login is a Login that is filled in.
type login struct{ host, port, tls, user, password string }

// tryLogin logs in as the key says, and leaves.
func (c *Client) tryLogin(ctx context.Context, app *App, res Resolved, g *Grant) (failure *Error) {
	spec, values := app.Definition.Login, app.values(res, g)
	to, failure := spec.fill(values)
	if failure != nil {
		return failure
	}
	if failure := c.hosts.refuse(StepHealth, to.host); failure != nil {
		return failure
	}
	speaks, known := protocols()[spec.Protocol]
	if c.wire == nil || !known {
		return notSent(StepHealth, "this client speaks HTTP alone")
	}
	if tracer := tracerOf(ctx); tracer != nil {
		from := time.Now()
		defer func() { tracer.wire(StepHealth, net.JoinHostPort(to.host, to.port), time.Since(from), failure) }()
	}
	conn, err := c.wire.Dial(ctx, to.host, to.port, speaks.ports, to.tls == tlsNone)
	if err != nil {
		var refused Refusal
		if errors.As(err, &refused) {
			return notSent(StepHealth, refused.Refused())
		}
		return unanswered(StepHealth, err, false)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	failure = speaks.speak(to, conn, c.wire.TLS(to.host))
	if failure != nil && ctx.Err() != nil && !failure.NotSent() {
		failure.Reason = NetworkReason(ctx.Err())
	}
	return failure
}

// fill puts in the key's values.
func (l *Login) fill(values map[string]string) (login, *Error) {
	parts := map[string]string{}
	if !l.User.known(values) || !l.Password.known(values) {
		return login{}, notSent(StepHealth, "the key has no user name or no password, so there is no login to try")
	}
	if !expandInto(parts, map[string]Template{
		"host": l.Host, "port": l.Port, "tls": l.TLS, "user": l.User, "password": l.Password,
	}, values) {
		return login{}, &Error{Class: Misconfigured, Step: StepHealth, Reason: ReasonIncompleteCall}
	}
	return login{
		host: strings.ToLower(parts["host"]), port: parts["port"], tls: parts["tls"],
		user: parts["user"], password: parts["password"],
	}, nil
}

// smtp logs in over a connection (RFC 5321, RFC 3207, RFC 4954). A password goes over it without TLS only where the
// key says so, and the wire let that pass.
func (l login) smtp(conn net.Conn, config *tls.Config) *Error {
	var client *smtp.Client
	switch l.tls {
	case tlsStart:
		var err error
		if client, err = smtp.NewClientStartTLS(conn, config); err != nil {
			if strings.Contains(err.Error(), "doesn't support STARTTLS") { // the library has no name for it
				return notSent(StepHealth, "the server offers no STARTTLS, and no password goes over a connection without "+
					"TLS: write tls=implicit with the port for that, or ask who runs the server")
			}
			return smtpFailure(err, false)
		}
	case tlsImplicit:
		client = smtp.NewClient(tls.Client(conn, config))
	case tlsNone:
		client = smtp.NewClient(conn)
	default:
		return notSent(StepHealth, "tls is none of starttls, implicit and none: write the key again")
	}
	if err := client.Hello("localhost"); err != nil {
		return smtpFailure(err, false)
	}
	how := l.mechanism(client)
	if how == nil {
		return notSent(StepHealth, "the server offers no login by PLAIN, LOGIN or CRAM-MD5 over this connection, and "+
			"nothing else is spoken here: look at port and tls")
	}
	err := client.Auth(how)
	client.CommandTimeout = quitTime
	_ = client.Quit() // whatever it says, all is said
	if err != nil {
		return smtpFailure(err, true)
	}
	return nil
}

// mechanism is how to log in, of what the server offers. Without TLS, what hides the password goes first.
func (l login) mechanism(client *smtp.Client) sasl.Client {
	plain, old, cram := sasl.NewPlainClient("", l.user, l.password), sasl.NewLoginClient(l.user, l.password),
		&cramMD5{l.user, l.password}
	order := []struct {
		name string
		how  sasl.Client
	}{{sasl.Plain, plain}, {sasl.Login, old}, {cramName, cram}}
	if l.tls == tlsNone {
		order = append(order[2:], order[:2]...)
	}
	for _, m := range order {
		if client.SupportsAuth(m.name) {
			return m.how
		}
	}
	return nil
}

// smtpFailure says what a failed dialog means for the key. Only the answer to a login says anything of it.
func smtpFailure(err error, loggingIn bool) *Error {
	var said *smtp.SMTPError
	if !errors.As(err, &said) {
		failure := unanswered(StepHealth, err, loggingIn)
		if errors.Is(err, smtp.ErrTooLongLine) {
			failure.Reason = ReasonAnswerTooLarge
		}
		return failure
	}
	e := &Error{Class: Transient, Step: StepHealth, Status: said.Code, Reason: ReasonUnexplained}
	switch {
	case said.Code >= 400 && said.Code < 500:
		e.Reason = ReasonServerError
	case !loggingIn:
	case said.Code == 535: // RFC 4954 section 6: authentication credentials invalid
		e.Class, e.Code, e.Reason = Rejected, "535", ReasonRefused
	case said.Code == 534: // RFC 4954 section 6: the mechanism is too weak; some say so of a password of the wrong sort
		e.Class, e.Code, e.Reason = Misconfigured, "534", ReasonOtherLogin
	case said.Code == 530, said.Code == 538: // RFC 3207 section 4, RFC 4954 section 6
		e.Class, e.Reason = Misconfigured, ReasonEncryptionWanted
	}
	return e
}

const cramName = "CRAM-MD5"

// cramMD5 is the mechanism of RFC 2195, which shows the server that the password is known, and not what it is.
type cramMD5 struct{ user, password string }

// Start implements [sasl.Client].
func (c *cramMD5) Start() (mech string, ir []byte, err error) { return cramName, nil, nil }

// Next implements [sasl.Client].
func (c *cramMD5) Next(challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(c.password))
	mac.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(mac.Sum(nil))), nil
}

// HostFields are the fields of a key that say to which server a login goes.
func (d *Definition) HostFields() (names []string) {
	if d.Login == nil {
		return nil
	}
	for _, t := range []Template{d.Login.Host, d.Login.Port, d.Login.TLS} {
		names = append(names, t.Placeholders()...)
	}
	return names
}
