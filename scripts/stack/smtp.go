package stack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed smtp.mjs
var smtpScript []byte

// The login that an [SMTP] takes.
const (
	SMTPUser     = "app@mail.test"
	SMTPPassword = "password-of-the-mail-server"
)

// smtpSettings are what the script gets.
type smtpSettings struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Key      string `json:"key"`
	Cert     string `json:"cert"`
}

// SMTP is a running mail server, on a port of 127.0.0.1 for each way to encrypt.
type SMTP struct {
	STARTTLS int    // as on 587
	Implicit int    // as on 465
	Plain    int    // without TLS
	CA       string // PEM of the certificate that it proves itself by

	log     string
	process *process
	dir     string
}

// SMTPLogin is one login that was tried.
type SMTPLogin struct {
	Port     string `json:"port"` // starttls, implicit or plain
	Method   string `json:"method"`
	Secure   bool   `json:"secure"`
	Accepted bool   `json:"accepted"`
}

// StartSMTP starts a mail server on loopback, with a certificate of its own for 127.0.0.1.
func StartSMTP(ctx context.Context, tools Tools) (*SMTP, error) {
	key, cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	settings, err := json.Marshal(smtpSettings{Username: SMTPUser, Password: SMTPPassword, Key: key, Cert: cert})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "smtp-")
	if err != nil {
		return nil, err
	}
	s := &SMTP{CA: cert, dir: dir, log: filepath.Join(dir, "log")}
	cmd := exec.Command(tools.Node, "--input-type=module", "-", string(settings))
	cmd.Dir = tools.ServersDir
	cmd.Env = environment(dir)
	cmd.Stdin = bytes.NewReader(smtpScript)
	if s.process, err = start("the mail server", cmd, s.log); err == nil {
		err = s.process.ready(ctx, func(context.Context) error { return s.announced() })
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// announced looks for the ports that the script prints when it listens.
func (s *SMTP) announced() error {
	var said struct {
		Ports *struct{ STARTTLS, Implicit, Plain int }
	}
	err := s.each(func(line []byte) {
		if said.Ports == nil {
			_ = json.Unmarshal(line, &said) // other lines are not for this
		}
	})
	switch {
	case err != nil:
		return err
	case said.Ports == nil:
		return errors.New("it has not announced its ports")
	}
	s.STARTTLS, s.Implicit, s.Plain = said.Ports.STARTTLS, said.Ports.Implicit, said.Ports.Plain
	return nil
}

// Said are the logins that were tried so far, and how many mails were begun.
func (s *SMTP) Said() (logins []SMTPLogin, mails int, err error) {
	err = s.each(func(line []byte) {
		var said struct {
			Login *SMTPLogin
			Mail  *struct{}
		}
		if json.Unmarshal(line, &said) != nil {
			return
		}
		if said.Login != nil {
			logins = append(logins, *said.Login)
		}
		if said.Mail != nil {
			mails++
		}
	})
	return logins, mails, err
}

func (s *SMTP) each(visit func(line []byte)) error {
	text, err := os.ReadFile(s.log)
	for line := range bytes.Lines(text) {
		visit(line)
	}
	return err
}

// Stop ends the server.
func (s *SMTP) Stop() {
	s.process.stop()
	_ = os.RemoveAll(s.dir)
}

// selfSigned makes a key and a certificate for 127.0.0.1, as PEM.
func selfSigned() (key, cert string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a mail server for tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}
