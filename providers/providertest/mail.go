package providertest

import (
	"encoding/pem"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Mail is a mail server of a test, on 127.0.0.1.
type Mail struct {
	Port string
	CA   string // PEM: who certifies it

	mu      sync.Mutex
	dialogs []*dialog // guarded by mu; of the next connections, the last of which goes on
	heard   []string  // guarded by mu
	visits  int       // guarded by mu
}

// NewMail starts a mail server that speaks a dialog with each who connects: lines as in the section login of fixtures,
// without connect, and WAIT (until something is said), HANG, FLOOD text (as a line, without end) and LONG text (without
// a line's end). C: * hears anything. Where the dialog ends, or is left, the connection does.
func NewMail(tb testing.TB, lines ...string) *Mail {
	tb.Helper()
	own, err := authority()
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	m := &Mail{
		Port: strconv.Itoa(listener.Addr().(*net.TCPAddr).Port),
		CA:   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.certificate.Raw})),
	}
	m.Speaks(lines...)
	var all sync.WaitGroup
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			open[conn] = true
			d := m.dialogs[0]
			if len(m.dialogs) > 1 {
				m.dialogs = m.dialogs[1:]
			}
			m.visits++
			m.mu.Unlock()
			all.Go(func() {
				d.speak(conn, "", m.tell)
				_ = conn.Close()
			})
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close()
		m.mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		m.mu.Unlock()
		all.Wait()
	})
	return m
}

// Speaks says what is spoken from now on.
func (m *Mail) Speaks(lines ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dialogs = []*dialog{{lines: lines}}
}

// Next says what is spoken with who connects next, and then again what was.
func (m *Mail) Next(lines ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := len(m.dialogs) - 1
	m.dialogs = append(m.dialogs[:last:last], &dialog{lines: lines}, m.dialogs[last])
}

func (m *Mail) tell(heard string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = append(m.heard, heard)
}

// Heard is all that was said to it, a line each, with TLS where that begins.
func (m *Mail) Heard() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.heard, "\n")
}

// Visits counts the connections.
func (m *Mail) Visits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.visits
}

// MailLogin is the dialog of a login with STARTTLS and PLAIN, which is answered so.
func MailLogin(answer string) []string {
	return []string{
		"S: 220 mail.test ESMTP", "C: *", "S: 250-mail.test", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go ahead",
		"TLS 127.0.0.1", "C: *", "S: 250-mail.test", "S: 250 AUTH PLAIN", "C: *", "S: " + answer, "C: QUIT", "S: 221 bye",
	}
}
