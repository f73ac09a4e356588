package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// The exit codes, which scripts rely on.
const (
	codeFailed      = 1   // something else
	codeWrongUse    = 2   // of a command, or a value that the engine does not take
	codeAbsent      = 3   // no such connection
	codeNotAllowed  = 4   // no token, or it may not
	codePerson      = 5   // a person must act: connect again, choose, grant what is missing
	codeAway        = 6   // the service or Vault does not answer
	codeChanges     = 7   // apply --dry-run found some
	codeInterrupted = 130 // as shells say it of Ctrl-C
)

// coded is an error with the exit code that it means.
type coded struct {
	code int
	err  error
}

func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

func withCode(code int, format string, values ...any) error {
	return &coded{code: code, err: fmt.Errorf(format, values...)}
}

func wrongUse(format string, values ...any) error { return withCode(codeWrongUse, format, values...) }

// codeOf is the exit code of how a command ended.
func codeOf(ctx context.Context, err error) int {
	var own *coded
	var lacking *client.NoMount
	var refused *url.Error
	var network net.Error
	var system syscall.Errno
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && !errors.As(err, &own):
		return codeInterrupted
	case errors.As(err, &own):
		return own.code
	case errors.Is(err, client.ErrNoToken):
		return codeNotAllowed
	case errors.As(err, &lacking):
		if len(lacking.Found) > 1 {
			return codeWrongUse
		}
		return codeNotAllowed
	case errors.Is(err, client.ErrNotSent):
		return codeFailed
	case errors.Is(err, terminal.ErrNobody), errors.Is(err, io.EOF):
		return codeWrongUse
	}
	switch status := client.StatusOf(err); {
	case status == http.StatusBadRequest:
		return codeWrongUse
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return codeNotAllowed
	case status == http.StatusNotFound:
		return codeAbsent
	case status == http.StatusConflict:
		return codePerson
	case status == http.StatusTooManyRequests, status > http.StatusInternalServerError, status == 473:
		return codeAway
	case status != 0:
		return codeFailed
	case errors.As(err, &refused):
		return codeAway
	case errors.As(err, &network) && !(errors.As(err, &system) && network == net.Error(system)): // which is of no file
		return codeAway
	}
	return codeFailed
}

// noProvider tells of an error whether it came because nobody configured a provider of that name.
func noProvider(service string, err error) error {
	if client.StatusOf(err) == http.StatusBadRequest && strings.Contains(err.Error(), "no provider ") {
		return &stepped{&coded{code: codeAbsent, err: err}, "connectors catalog " + word(service)}
	}
	return err
}

// noOffer tells the same of an offer, which the mount refuses alike whatever there is.
func noOffer(err error) error {
	if client.StatusOf(err) == http.StatusForbidden && strings.Contains(err.Error(), " is offered to ") {
		return &coded{code: codeAbsent, err: err}
	}
	return err
}

// absent tells of an error of a verb whether it came because the connection is not there.
func absent(ctx context.Context, c *client.Client, path string, err error) error {
	if err != nil && c.Missing(ctx, path, err) {
		return &coded{code: codeAbsent, err: err}
	}
	return err
}
