package client

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"
)

// Error is a refusal, with the status that the mount answered.
type Error struct {
	Status   int    // of HTTP
	Path     string // which was asked, with the mount
	Messages []string
	Needs    string // the capability on Path that it takes; empty where that is not known
}

// Unanswered says that no Vault answered a request.
type Unanswered struct {
	Path string // which was asked, with the mount
	Err  error
}

func (u *Unanswered) Error() string { return u.Path + ": " + u.Err.Error() }

// Unwrap gives what kept it from being answered.
func (u *Unanswered) Unwrap() error { return u.Err }

// ErrNoToken says that there is no Vault token to ask with.
var ErrNoToken = errors.New("no Vault token: log in with 'vault login', or set VAULT_TOKEN")

func (e *Error) Error() string {
	text := strings.Join(e.Messages, "; ")
	if text == denied && e.Needs != "" {
		text += ": a policy has to allow " + e.Needs + " on that path"
	}
	if text == "" {
		text = strings.ToLower(http.StatusText(e.Status))
		if e.Status == http.StatusNotFound {
			text = "nothing is there"
		}
	}
	return fmt.Sprintf("%s: %s", e.Path, text)
}

// denied is what Vault says of a path that no policy of the token allows, and nothing more.
const denied = "permission denied"

// Denied reports whether Vault itself refused the token, before the mount was asked.
func Denied(err error) bool {
	var refusal *Error
	return errors.As(err, &refusal) && refusal.Status == http.StatusForbidden && slices.Contains(refusal.Messages, denied)
}

// needing notes which capability a request takes.
func needing(capability string, err error) error {
	var refusal *Error
	if errors.As(err, &refusal) {
		refusal.Needs = capability
	}
	return err
}

// StatusOf is the status of a refusal, and 0 of any other error.
func StatusOf(err error) int {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.Status
	}
	return 0
}

// asError tells a refusal from what kept the request from being answered.
func asError(path string, err error) error {
	var refused *api.ResponseError
	if !errors.As(err, &refused) {
		return &Unanswered{Path: path, Err: err}
	}
	e := &Error{Status: refused.StatusCode, Path: path}
	for _, message := range refused.Errors {
		e.Messages = append(e.Messages, plain(message)...)
	}
	return e
}

// plain takes a list of errors apart that Vault made a text of: "2 errors occurred:\n\t* one\n\t* two".
func plain(message string) []string {
	head, rest, several := strings.Cut(message, ":\n")
	if !several || !strings.HasSuffix(head, "occurred") {
		return []string{strings.TrimSpace(message)}
	}
	var all []string
	for line := range strings.Lines(rest) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "* "); line != "" {
			all = append(all, line)
		}
	}
	return all
}
