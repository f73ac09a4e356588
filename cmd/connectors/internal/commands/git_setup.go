package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) git() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "git",
		Short: "Use a connection from Git",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.gitSetup())
	return cmd
}

func (a *app) gitSetup() *cobra.Command {
	var global, local, remove bool
	cmd := &cobra.Command{
		Use:   "setup NAME",
		Short: "Have Git take the credential of a connection from here, for the hosts of its service",
		Long: `Have Git take the credential of a connection from here, for the hosts of its service.

This writes into Git's configuration, for each host, an empty helper and then this command: the
empty one keeps Git from handing the credential to helpers that store it. --remove takes both
away again, and needs no Vault.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(args[0])
			if err != nil {
				return err
			}
			if global && local {
				return wrongUse("--global and --local are two places: name one")
			}
			config := gitConfig{scope: "--global"}
			if local {
				config.scope = "--local"
			}
			if remove {
				return a.gitRemove(cmd.Context(), config, path)
			}
			return a.gitAdd(cmd.Context(), config, path)
		},
	}
	cmd.Flags().BoolVar(&global, "global", false, "for this user, which is the default")
	cmd.Flags().BoolVar(&local, "local", false, "for the repository of this directory alone")
	cmd.Flags().BoolVar(&remove, "remove", false, "take it away again")
	return cmd
}

func (a *app) gitAdd(ctx context.Context, config gitConfig, path string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this command for Git: %w", err)
	}
	helper, err := gitHelper(program, a.mount, path)
	if err != nil {
		return err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	credential, err := c.Credential(ctx, path, client.CredentialOptions{Include: []string{"git"}})
	if err != nil {
		return absent(ctx, c, path, err)
	}
	if credential.Git == nil || len(credential.Git.Hosts) == 0 {
		return errNoGit(path)
	}
	for _, host := range credential.Git.Hosts {
		if !gitHost.MatchString(host) {
			return fmt.Errorf("the mount answers a host for %s that is none: %q", path, host)
		}
	}
	for _, host := range credential.Git.Hosts {
		key := "credential.https://" + host + ".helper"
		if err := config.add(ctx, key, host, helper); err != nil {
			return err
		}
		if err := noOthers(ctx, host, path); err != nil {
			return err
		}
		a.Say("Git takes the credential for https://%s from %s now (git config %s)", host, path, config.scope)
	}
	return a.answer(credential.Data["git"], func() error { return nil })
}

// gitRemove needs no Vault: the connection may be gone.
func (a *app) gitRemove(ctx context.Context, config gitConfig, path string) error {
	all, err := config.helpers(ctx)
	if err != nil {
		return err
	}
	removed := []string{}
	for _, entry := range all {
		of, own := gitOwn(entry.value)
		host, https := strings.CutPrefix(strings.TrimSuffix(entry.key, ".helper"), "credential.https://")
		if !own || of != path || !https || slices.Contains(removed, host) {
			continue
		}
		before, err := config.values(ctx, entry.key)
		if err != nil {
			return err
		}
		err = config.write(ctx, entry.key, before, gitWithout(before, func(of string) bool { return of == path }))
		if err != nil {
			return err
		}
		removed = append(removed, host)
		a.Say("Git takes none for https://%s from %s any more (git config %s)", terminal.Clean(host), path, config.scope)
	}
	if len(removed) == 0 {
		a.Say("git config %s has nothing of %s", config.scope, path)
	}
	return a.answer(map[string]any{"hosts": removed}, func() error { return nil })
}

// gitHost are the hosts that can stand in Git's configuration, without a character that means something there.
var gitHost = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?$`)

// gitHelper is what Git is to run, by a shell, with the operation behind it.
func gitHelper(program, mount, path string) (string, error) {
	helper := "!" + inShell(program) + " git-credential"
	if mount != "" {
		helper += " --mount " + inShell(mount)
	}
	helper += " " + inShell(path)
	if strings.ContainsFunc(helper, unicode.IsControl) {
		return "", wrongUse("a control character cannot stand in Git's configuration: %q", helper)
	}
	return helper, nil
}

// inShell quotes a word for a shell.
func inShell(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

const shellWord = `('(?:[^']|'\\'')*')`

// ownHelper is what gitHelper writes, whatever the connection.
var ownHelper = regexp.MustCompile(
	`^!` + shellWord + ` git-credential(?: --mount ` + shellWord + `)? ` + shellWord + `$`)

// gitOwn tells of which connection a helper of ours is.
func gitOwn(helper string) (path string, own bool) {
	m := ownHelper.FindStringSubmatch(helper)
	if m == nil {
		return "", false
	}
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(m[3], "'"), "'"), `'\''`, "'"), true
}

// gitWith puts a helper of ours behind the others, in the place of one that was there. The empty one before it lets
// none of the others be asked, nor told.
func gitWith(helpers []string, helper string) []string {
	return append(gitWithout(helpers, func(string) bool { return true }), "", helper)
}

// gitWithout takes away our helpers of those connections, each with the empty one before it.
func gitWithout(helpers []string, of func(path string) bool) []string {
	kept := []string{}
	for _, helper := range helpers {
		if path, own := gitOwn(helper); !own || !of(path) {
			kept = append(kept, helper)
		} else if n := len(kept); n > 0 && kept[n-1] == "" {
			kept = kept[:n-1]
		}
	}
	return kept
}

// gitOthers are the helpers that are told of a credential for a host beside ours; none where ours is not asked for it.
func gitOthers(all []gitEntry, host string) (others []string) {
	asked := false
	for _, entry := range all {
		of := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(entry.key, "credential."), "helper"), ".")
		may, surely := gitMeans(of, host)
		switch {
		case !may, entry.value == "" && !surely:
		case entry.value == "":
			asked, others = false, nil
		case strings.Contains(entry.value, "connectors") && strings.Contains(entry.value, " git-credential "):
			asked = true // also as somebody wrote it by hand
		default:
			others = append(others, entry.value)
		}
	}
	if !asked {
		return nil
	}
	return others
}

// gitMeans tells whether Git may take a section for one of a host, and whether it does for all of it. Git folds
// capitals and leaves out the usual port; patterns, paths and users are taken to match, and not to match always.
func gitMeans(of, host string) (may, surely bool) {
	scheme, rest, whole := strings.Cut(strings.ToLower(of), "://")
	if !whole {
		scheme, rest = "https", scheme
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	named := authority[strings.LastIndexByte(authority, '@')+1:]
	may = scheme == "https" && (named == "" || strings.ContainsAny(named, "*%") || withPort(named) == withPort(host))
	return may, may && (of == "" || whole && named == strings.TrimSuffix(rest, "/") && withPort(named) == withPort(host))
}

// withPort is a host in one spelling, with its port.
func withPort(host string) string {
	name, port, _ := strings.Cut(strings.ToLower(host), ":")
	if port = strings.TrimLeft(port, "0"); port == "" {
		port = "443"
	}
	return name + ":" + port
}

// gitConfig is one of the files of Git's configuration, or all of them as Git reads them here.
type gitConfig struct{ scope string }

// gitEntry is a helper and the key that it stands under.
type gitEntry struct{ key, value string }

// add puts our helper where none is told of the credential but ours.
func (g gitConfig) add(ctx context.Context, key, host, helper string) error {
	before, err := g.values(ctx, key)
	if err != nil {
		return err
	}
	after := gitWith(before, helper)
	if err := g.write(ctx, key, before, after); err != nil {
		return err
	}
	all, err := g.helpers(ctx)
	if err != nil || len(gitOthers(all, host)) == 0 {
		return err
	}
	// another stands behind in this file, and Git writes what is new at its end
	if err := g.write(ctx, key, after, nil); err != nil {
		return err
	}
	return g.write(ctx, key, nil, after)
}

// values are those of a key in this file, in order.
func (g gitConfig) values(ctx context.Context, key string) ([]string, error) {
	out, err := g.run(ctx, "--null", "--get-all", key)
	if err != nil {
		return nil, err
	}
	return ended(out), nil
}

// helpers are all that there are, in the order in which Git reads them.
func (g gitConfig) helpers(ctx context.Context) ([]gitEntry, error) {
	out, err := g.run(ctx, "--null", "--get-regexp", `^credential\.(.*\.)?helper$`)
	if err != nil {
		return nil, err
	}
	var all []gitEntry
	for _, one := range ended(out) {
		key, value, _ := strings.Cut(one, "\n")
		all = append(all, gitEntry{key, value})
	}
	return all, nil
}

// ended takes apart what ends in NUL, each.
func ended(out []byte) []string {
	texts := strings.Split(string(out), "\x00")
	return texts[:len(texts)-1]
}

// write puts values in the place of others. It is not cut off half-way.
func (g gitConfig) write(ctx context.Context, key string, before, after []string) error {
	if slices.Equal(before, after) {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	rest := after
	if n := len(before); n > 0 && len(after) >= n && slices.Equal(before, after[:n]) {
		rest = after[n:]
	} else if n > 0 {
		if _, err := g.run(ctx, "--unset-all", key); err != nil {
			return err
		}
	}
	for _, value := range rest {
		if _, err := g.run(ctx, "--add", key, value); err != nil {
			return err
		}
	}
	return nil
}

// run runs git config; that it finds nothing is no error.
func (g gitConfig) run(ctx context.Context, args ...string) ([]byte, error) {
	words := []string{"config"}
	if g.scope != "" {
		words = append(words, g.scope)
	}
	cmd := exec.CommandContext(ctx, "git", append(words, args...)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) && failed.ExitCode() == 1 && complaint.Len() == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.Bytes(), nil
}
