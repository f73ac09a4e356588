package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// gitCredential speaks with Git as gitcredentials(7) and git-credential(1) say.
func (a *app) gitCredential() *cobra.Command {
	return &cobra.Command{
		Use:               "git-credential NAME get|store|erase",
		Short:             "What Git calls for a credential; connectors git setup tells it to",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(args[0])
			if err != nil {
				return err
			}
			switch args[1] {
			case "get":
				return a.gitGet(cmd.Context(), args[0], path)
			case "erase":
				return a.gitErase(cmd.Context(), args[0], path)
			}
			return nil // nothing is stored, and what later releases of Git say is none of ours
		},
	}
}

// gitGet answers Git, or has it stop where it would ask the person for a password that they do not have.
func (a *app) gitGet(ctx context.Context, name, path string) error {
	answer, err := a.gitAnswer(ctx, name, path)
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		answer = "quit=1\n"
	}
	if _, written := io.WriteString(a.Out, answer); written != nil {
		return written
	}
	var step *stepped
	if err != nil && codeOf(ctx, err) == codePerson && !errors.As(err, &step) { // Git's token may not read it
		return &stepped{err, "connectors reconnect " + word(name)}
	}
	return err
}

func (a *app) gitAnswer(ctx context.Context, name, path string) (string, error) {
	asked, err := a.gitAsks(ctx)
	if err != nil {
		return "", err
	}
	if asked.protocol != "https" {
		a.Say("connectors: %s is for https alone, and Git asks for %q", path, terminal.Clean(asked.protocol))
		return "", nil
	}
	c, err := a.dial(ctx)
	if err != nil {
		return "", err
	}
	credential, err := c.Credential(ctx, path, client.CredentialOptions{Include: []string{"git"}})
	if err != nil {
		return "", a.advised(ctx, c, name, path, err)
	}
	a.warn(credential.Warnings)
	answer, err := a.gitShows(path, asked.host, credential)
	if err != nil || answer == "" {
		return "", err
	}
	return answer, noOthers(ctx, asked.host, path)
}

// noOthers refuses what Git would hand on to a helper that may store it: one that was configured behind ours, or in
// another file.
func noOthers(ctx context.Context, host, path string) error {
	all, err := (gitConfig{}).helpers(ctx)
	if errors.Is(err, exec.ErrNotFound) { // who asks is not Git
		return nil
	}
	if err != nil {
		return err
	}
	if others := gitOthers(all, host); len(others) > 0 {
		return fmt.Errorf("no credential for %s: Git would hand it on to %q, which may store it and is configured behind "+
			"this command. Run 'connectors git setup %s', with --local where this repository configures that, or take it away",
			host, others[0], path)
	}
	return nil
}

// gitShows is the answer for a host; empty for one that the credential is not for.
func (a *app) gitShows(path, host string, credential *client.Credential) (string, error) {
	git := credential.Git
	if git == nil {
		return "", errNoGit(path)
	}
	if !slices.Contains(git.Hosts, host) {
		a.Say("connectors: %s is for %s, and Git asks for %s", path, terminal.Clean(strings.Join(git.Hosts, " and ")),
			terminal.Clean(host))
		return "", nil
	}
	password, err := valueOf(path, credential, "")
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(git.Username+password, "\r\n\x00") || git.Username == "" || password == "" {
		return "", fmt.Errorf("the credential of %s is none that Git can show: it is empty, or more than one line", path)
	}
	answer := "username=" + git.Username + "\npassword=" + password + "\n"
	if end, err := time.Parse(time.RFC3339, credential.ExpireTime); err == nil {
		answer += fmt.Sprintf("password_expiry_utc=%d\n", end.Unix())
	}
	return answer, nil
}

func errNoGit(path string) error {
	return fmt.Errorf("the mount does not say where Git takes the credential of %s", path)
}

// gitErase is told that a host did not take the credential: the service is asked once what is the matter.
func (a *app) gitErase(ctx context.Context, name, path string) error {
	asked, err := a.gitAsks(ctx)
	if err != nil || asked.protocol != "https" {
		return err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	check, err := c.Check(ctx, path)
	if err != nil {
		return a.advised(ctx, c, name, path, err)
	}
	a.warn(check.Warnings)
	if err := judged(path, check); err != nil {
		if check.Advice != "" {
			a.Say("connectors: %s", terminal.Clean(check.Advice))
		}
		return a.advised(ctx, c, name, path, err)
	}
	a.Say("connectors: %s did not take the credential of %s, which works (%s). Try again, since it may be another one "+
		"now; else it lacks a scope for repositories: connectors show %s", terminal.Clean(asked.host), path,
		terminal.Clean(beside(check.Status, accountOf(check.Account))), path)
	return nil
}

// gitAsked is what Git asks for.
type gitAsked struct{ protocol, host string }

// maxGitAsked is more than Git says, in bytes.
const maxGitAsked = 64 << 10

var errGitAsked = errors.New("what comes from Git is no description of a credential")

// gitAsks reads from Git.
func (a *app) gitAsks(ctx context.Context) (gitAsked, error) {
	type read struct {
		text []byte
		err  error
	}
	if a.Asks() {
		a.Say("This is for Git, which says protocol=https and host=... here, a line each, and then an empty one.")
	}
	done := make(chan read, 1)
	go func() { // stdin may be a terminal, where no end of it comes with Ctrl-C
		text, err := readGit(a.In)
		done <- read{text, err}
	}()
	select {
	case <-ctx.Done():
		return gitAsked{}, ctx.Err()
	case got := <-done:
		if got.err != nil {
			return gitAsked{}, got.err
		}
		asked, err := parseGit(got.text)
		if err != nil {
			return gitAsked{}, wrongUse("%w", err)
		}
		return asked, nil
	}
}

// readGit reads up to an empty line, or the end.
func readGit(r io.Reader) ([]byte, error) {
	var text []byte
	part := make([]byte, 4096)
	for {
		n, err := r.Read(part)
		text = append(text, part[:n]...)
		switch {
		case len(text) > maxGitAsked || err == io.EOF || bytes.HasPrefix(text, []byte("\n")) ||
			bytes.Contains(text, []byte("\n\n")):
			return text, nil
		case err != nil:
			return nil, fmt.Errorf("read what Git asks: %w", err)
		}
	}
}

// parseGit reads a description of a credential: key=value, one a line. What could be taken for more than one line, or
// says twice for what the credential is, is refused, so that Git and this command cannot think of two hosts.
func parseGit(text []byte) (gitAsked, error) {
	if len(text) > maxGitAsked {
		return gitAsked{}, fmt.Errorf("%w: it is longer than %d bytes", errGitAsked, maxGitAsked)
	}
	if bytes.ContainsAny(text, "\r\x00") {
		return gitAsked{}, fmt.Errorf("%w: CR and NUL do not belong in it", errGitAsked)
	}
	told := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			break
		}
		key, value, found := strings.Cut(line, "=")
		if !found || key == "" {
			return gitAsked{}, fmt.Errorf("%w: each line is key=value", errGitAsked)
		}
		if _, twice := told[key]; twice && !strings.HasSuffix(key, "[]") {
			return gitAsked{}, fmt.Errorf("%w: it names %q twice", errGitAsked, key)
		}
		told[key] = value
	}
	asked := gitAsked{protocol: told["protocol"], host: told["host"]}
	if asked.protocol == "" || asked.host == "" {
		return gitAsked{}, fmt.Errorf("%w: it lacks protocol or host", errGitAsked)
	}
	return asked, nil
}
