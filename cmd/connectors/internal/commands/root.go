package commands

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// Version is the release, which the build sets.
var Version = "v0.0.0-dev"

// app is what the commands share.
type app struct {
	*terminal.Terminal

	mount, output string // flags
	token         string // VAULT_TOKEN as it was, for who asks to keep it
}

// Main runs a command line and gives its exit code.
func Main(args []string) int {
	// each leaves the terminal as it was; the second one ends what does not listen
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT}
	if !signal.Ignored(syscall.SIGHUP) { // as by nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop)
	a := &app{Terminal: &terminal.Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}}
	if err := terminal.HoldSecrets(); err != nil {
		a.Say("connectors: others of this user may read this process's memory: %v", err)
	}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := codeOf(ctx, err)
	if err != nil && code != codeInterrupted {
		a.complain(err)
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "connectors",
		Short: "Connect accounts, and use them, by the connectors engine of Vault",
		Long: `Connect accounts, and use them, by the connectors engine of Vault.

A bare name is your own: slack is self/slack. All others are spelled as in the paths of the
engine: org/acme/slack, user/u-17/slack. VAULT_ADDR and the token are those of the vault command.`,
		Version:       Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "table" && a.output != "json" {
				return wrongUse("-o takes table or json")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageOf(cmd, err) })
	root.PersistentFlags().StringVar(&a.mount, "mount", "", "where the engine is mounted; else "+client.MountVariable+
		", else found by its type")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table",
		"table, or json: one document with the paths' own fields")
	_ = root.RegisterFlagCompletionFunc("output", // the flag is there
		cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		a.accept(),
		a.api(),
		a.apply(),
		a.catalog(),
		a.check(),
		a.connect(),
		a.disconnect(),
		a.doctor(),
		a.edit(),
		a.exec(),
		a.export(),
		a.git(),
		a.gitCredential(),
		a.history(),
		a.inventory(),
		a.link(),
		a.list(),
		a.lookup(),
		a.provider(),
		a.reconnect(),
		a.revoke(),
		a.share(),
		a.show(),
		a.tokenOf(),
		a.transfer(),
		a.types(),
		a.ui(),
		a.unshare(),
	)
	root.InitDefaultCompletionCmd() // now, for its arguments to be judged as all others
	for _, cmd := range withBelow(root) {
		if cmd.Name() == "completion" { // which has none of its own, so that another shell was no error
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
		judge := cmd.Args
		cmd.Args = func(cmd *cobra.Command, args []string) error { return usageOf(cmd, judge(cmd, args)) }
	}
	return root
}

// withBelow is a command and all below it.
func withBelow(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, below := range cmd.Commands() {
		all = append(all, withBelow(below)...)
	}
	return all
}

// ofNumbers are the words of Go's library about what is no number, which say again what was written.
var ofNumbers = regexp.MustCompile(`strconv\.\w+: parsing .*: |time: `)

// usageOf makes of an error about flags and arguments a wrong use.
func usageOf(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	text := ofNumbers.ReplaceAllString(err.Error(), "")
	return wrongUse("%s; '%s --help' tells more", text, cmd.CommandPath())
}

// dial gives the client. What is started from here on does not find the token in its environment.
func (a *app) dial(ctx context.Context) (*client.Client, error) {
	server, err := a.server()
	if err != nil {
		return nil, err
	}
	return server.Client(ctx, a.mount)
}

// server gives the Vault that the environment names, whatever it is in.
func (a *app) server() (*client.Server, error) {
	server, err := client.ServerFromEnvironment()
	a.token = os.Getenv(tokenVariable)
	if err := os.Unsetenv(tokenVariable); err != nil {
		return nil, err
	}
	return server, err
}

const tokenVariable = "VAULT_TOKEN"

// pathOf spells a name as the paths do: a bare one is the caller's own.
func pathOf(name string) (string, error) {
	path := strings.Trim(name, "/")
	if !strings.Contains(path, "/") {
		path = "self/" + path
	}
	if err := client.CheckPath(path); err != nil {
		return "", wrongUse("%s", err)
	}
	return path, nil
}

// at gives the client, and the path that a name spells.
func (a *app) at(ctx context.Context, name string) (*client.Client, string, error) {
	path, err := pathOf(name)
	if err != nil {
		return nil, "", err
	}
	c, err := a.dial(ctx)
	return c, path, err
}

// oneOf refuses several flags that mean different things to do.
func oneOf(flags map[string]bool) error {
	var given []string
	for _, flag := range slices.Sorted(maps.Keys(flags)) {
		if flags[flag] {
			given = append(given, flag)
		}
	}
	if len(given) > 1 {
		return wrongUse("%s are different things to do: name one", strings.Join(given, " and "))
	}
	return nil
}

// answer writes the data of a command: the document, or what show writes for people.
func (a *app) answer(document any, show func() error) error {
	if a.output == "json" {
		return terminal.JSON(a.Out, document)
	}
	return show()
}

// warn tells what Vault warned of.
func (a *app) warn(warnings []string) {
	for _, warning := range warnings {
		a.Say("warning: %s", terminal.Clean(warning))
	}
}

func (a *app) complain(err error) {
	a.Say("connectors: %s", terminal.Clean(fmt.Sprint(err)))
	a.tellNext(err)
}
