package providertest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// A login at a server that does not speak HTTP is written down as a dialog, a line each:
//
//	connect smtp.example.com:587       plain at the end: no TLS comes
//	S: 250-PIPELINING                  what the server says
//	C: EHLO localhost                  what it wants to hear, exactly
//	TLS smtp.example.com               here TLS begins, for that name
//
// The answer that a row of failures replaces ends in {login}, which is not said.
type dialog struct {
	connect string
	lines   []string
}

const loginAnswer = " {login}"

func readDialog(text string) (*dialog, error) {
	said := lines(text)
	if len(said) == 0 || !strings.HasPrefix(said[0], "connect ") {
		return nil, errors.New("it begins with connect host:port")
	}
	for _, line := range said[1:] {
		if !strings.HasPrefix(line, "S: ") && !strings.HasPrefix(line, "C: ") && !strings.HasPrefix(line, "TLS ") {
			return nil, fmt.Errorf("%q begins with none of S:, C: and TLS", line)
		}
	}
	return &dialog{connect: strings.TrimPrefix(said[0], "connect "), lines: said[1:]}, nil
}

// server speaks a dialog with whoever dials. It implements [providers.Wire].
type server struct {
	dialog *dialog
	answer string // in the place of the one to the login
	made   bool
	wrong  []string
	ended  chan struct{} // of the last connection
}

// begin says what the next login is answered; empty: as it is written.
func (s *server) begin(answer string) { s.answer, s.wrong = answer, nil }

// Dial implements [providers.Wire].
func (s *server) Dial(_ context.Context, host, port string, ports []string, plain bool) (net.Conn, error) {
	s.made = true
	at := net.JoinHostPort(host, port)
	if plain {
		at += " plain"
	}
	if at != s.dialog.connect {
		s.wrong = append(s.wrong, fmt.Sprintf("the fixture connects to %s, the definition to %s", s.dialog.connect, at))
	}
	if !slices.Contains(ports, port) {
		s.wrong = append(s.wrong, "the port is not one of the protocol's: "+strings.Join(ports, ", "))
	}
	near, far := net.Pipe()
	ended := make(chan struct{})
	s.ended = ended
	go func() {
		defer close(ended)
		defer func() { _ = far.Close() }()
		_ = far.SetDeadline(time.Now().Add(10 * time.Second)) // of a definition that says nothing more
		if wrong := s.dialog.speak(far, s.answer, func(string) {}); wrong != "" {
			s.wrong = append(s.wrong, wrong) // read once ended is closed
		}
	}()
	return near, nil
}

// wait gives what was wrong with the last dialog, once it ended.
func (s *server) wait() []string {
	if s.ended != nil {
		<-s.ended
	}
	return s.wrong
}

// speak says and hears what is written. answer stands in the place of that to the login, where it is not empty.
func (d *dialog) speak(conn net.Conn, answer string, tell func(heard string)) (wrong string) {
	r := bufio.NewReader(conn)
	for _, line := range d.lines {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "S:":
			text, isLogin := strings.CutSuffix(rest, loginAnswer)
			if isLogin && answer != "" {
				text = answer
			}
			if _, err := conn.Write([]byte(text + "\r\n")); err != nil {
				return fmt.Sprintf("nobody hears %q", text)
			}
		case "C:":
			heard, err := r.ReadString('\n')
			heard = strings.TrimRight(heard, "\r\n")
			tell(heard)
			if heard != rest && rest != "*" || err != nil {
				return fmt.Sprintf("the fixture hears %q, said is %q", rest, heard)
			}
		case "TLS":
			certificate, err := certificateFor(rest)
			if err != nil {
				return err.Error()
			}
			secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*certificate}})
			if err := secured.Handshake(); err != nil {
				return "TLS does not come about: " + err.Error()
			}
			name, isName := secured.ConnectionState().ServerName, net.ParseIP(rest) == nil // RFC 6066: names alone
			if isName && name != rest {
				return fmt.Sprintf("TLS is for %q, in the fixture for %q", name, rest)
			}
			conn, r = secured, bufio.NewReader(secured)
			tell("TLS")
		case "WAIT": // until something is said
			_, _ = r.ReadByte()
		case "HANG": // until the other side goes away
			_, _ = io.Copy(io.Discard, conn)
		case "FLOOD": // lines without end
			for err := error(nil); err == nil; {
				_, err = io.WriteString(conn, rest+"\r\n")
			}
		case "LONG": // a line without end
			for err := error(nil); err == nil; {
				_, err = io.WriteString(conn, rest)
			}
		}
	}
	return ""
}

// TLS implements [providers.Wire].
func (s *server) TLS(host string) *tls.Config {
	roots := x509.NewCertPool()
	if own, err := authority(); err == nil {
		roots.AddCert(own.certificate)
	}
	return &tls.Config{ServerName: host, RootCAs: roots}
}

type ownAuthority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey

	mu     sync.Mutex
	issued map[string]*tls.Certificate // guarded by mu; by name
}

// authority issues the certificates of all dialogs.
var authority = sync.OnceValues(func() (*ownAuthority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fixtures"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &ownAuthority{certificate: certificate, key: key, issued: map[string]*tls.Certificate{}}, err
})

func certificateFor(name string) (*tls.Certificate, error) {
	own, err := authority()
	if err != nil {
		return nil, err
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	if known := own.issued[name]; known != nil {
		return known, nil
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(own.issued) + 2)), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, own.certificate, own.key.Public(), own.key)
	if err != nil {
		return nil, err
	}
	own.issued[name] = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own.key}
	return own.issued[name], nil
}
