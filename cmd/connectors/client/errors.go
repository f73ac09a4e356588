package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"
)

// Error is a refusal, with the status that the mount answered.
type Error struct {
	Status   int    // of HTTP
	Path     string // which was asked, with the mount
	Messages []string
}

// ErrNoToken says that there is no Vault token to ask with.
var ErrNoToken = errors.New("no Vault token: log in with 'vault login', or set VAULT_TOKEN")

func (e *Error) Error() string {
	text := strings.Join(e.Messages, "; ")
	if text == "" {
		text = strings.ToLower(http.StatusText(e.Status))
		if e.Status == http.StatusNotFound {
			text = "nothing is there"
		}
	}
	return fmt.Sprintf("%s: %s", e.Path, text)
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
		return fmt.Errorf("%s: %w", path, err)
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
