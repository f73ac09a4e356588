package commands

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// stepped is an error with the command that mends what it is about. The engine's own words name its paths.
type stepped struct {
	error
	next string
}

func (s *stepped) Unwrap() error { return s.error }

// advised adds to an error of a verb the next step that a read of the connection tells, and the exit code that goes
// with it. name is as it was typed.
func (a *app) advised(ctx context.Context, c *client.Client, name, path string, err error) error {
	var own *coded
	switch status := client.StatusOf(err); {
	case err == nil || ctx.Err() != nil:
		return err
	case strings.HasPrefix(path, "shared/"): // it is its owner's to mend
		return absent(ctx, c, path, err)
	case status == http.StatusBadRequest, status == http.StatusForbidden, status == http.StatusNotFound,
		status == http.StatusConflict:
	case errors.As(err, &own) && own.code == codePerson:
	default:
		return err
	}
	known, unread := c.Connection(ctx, path)
	switch {
	case client.StatusOf(err) == http.StatusNotFound, client.StatusOf(unread) == http.StatusNotFound:
		return &stepped{&coded{code: codeAbsent, err: err}, "connectors connect SERVICE --as " + word(name)}
	case unread != nil: // who may use one may not see it
		return err
	}
	next := nextStep(name, known)
	if next == "" {
		return err
	}
	if !known.Exists() || !serves(known.Status) {
		err = &coded{code: codePerson, err: err}
	}
	return &stepped{err, next}
}

// nextStep is the command that has a connection serve again, and nothing where none of its user's does.
func nextStep(name string, known *client.Connection) string {
	name = word(name)
	switch {
	case !known.Exists() && known.Provider != "":
		return "connectors connect " + word(known.Provider) + " --as " + name
	case len(known.Choices) > 0 && !serves(known.Status):
		return "connectors edit " + name + " --choose ID, of: " + choicesOf(known.Choices)
	case known.Status == "disabled":
		return ownStop(known, "disabled", "connectors edit "+name+" --enable")
	case known.Status == "archived":
		return ownStop(known, "archived", "connectors edit "+name+" --unarchive")
	case needsPerson(known.Status), known.Status == "pending", len(known.MissingScopes) > 0:
		return "connectors reconnect " + name
	}
	return ""
}

// ownStop is the command that takes a stop back, if nobody but the owner set one.
func ownStop(known *client.Connection, what, command string) string {
	for _, stop := range known.DisabledBy {
		if stop["what"] == what && stop["side"] == "others" {
			return ""
		}
	}
	return command
}

// needsPerson reports whether a connection of this status has to be connected again.
func needsPerson(status string) bool {
	return status == "needs_reconnect" || status == "expired" || status == "failed_validation"
}

// tellNext says what an error has people do next.
func (a *app) tellNext(err error) {
	var step *stepped
	var away *client.Unanswered
	var lacking *client.NoMount
	switch {
	case errors.As(err, &step):
		a.Say("next: %s", terminal.Clean(step.next))
	case errors.As(err, &lacking) && len(lacking.Found) > 1:
	case errors.As(err, &away), errors.As(err, &lacking), client.Denied(err),
		client.StatusOf(err) == http.StatusServiceUnavailable:
		a.Say("next: connectors doctor tells more")
	}
}
