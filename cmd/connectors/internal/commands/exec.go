package commands

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

func (a *app) exec() *cobra.Command {
	var variables []string
	var minTTL time.Duration
	var keepToken bool
	cmd := &cobra.Command{
		Use:   "exec --env NAME=CONNECTION [--env ...] -- PROGRAM [ARGUMENT ...]",
		Short: "Run a program with credentials in its environment",
		Long: `Run a program with credentials in its environment. The program takes the place of this command, so
signals and the exit code are its own. A key with several fields: NAME=CONNECTION#FIELD.

The program keeps the credential that it starts with: for what runs longer than a token lives, use
Vault Agent. Its environment can be read by the same user and by root.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := readVariables(variables)
			if err != nil {
				return err
			}
			program, err := exec.LookPath(args[0])
			if err != nil {
				return wrongUse("%s", err)
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			environment := os.Environ()
			if keepToken && a.token != "" {
				environment = set(environment, tokenVariable, a.token)
			}
			for _, v := range wanted {
				credential, err := c.Credential(cmd.Context(), v.path, client.CredentialOptions{MinTTL: minTTL})
				if err != nil {
					return a.advised(cmd.Context(), c, v.typed, v.path, err)
				}
				a.warn(credential.Warnings)
				value, err := valueOf(v.path, credential, v.field)
				if err != nil {
					return err
				}
				if strings.ContainsRune(value, 0) {
					return wrongUse("the credential of %s cannot stand in an environment", v.path)
				}
				environment = set(environment, v.name, value)
				a.Say("%s is %s of %s%s", v.name, v.path, credential.Provider, endOf(credential))
			}
			return syscall.Exec(program, args, environment)
		},
	}
	cmd.Flags().StringArrayVar(&variables, "env", nil, "set a variable, as SLACK_TOKEN=slack; may be repeated")
	cmd.Flags().DurationVar(&minTTL, "min-ttl", 0, "credentials that live at least so long, as 10m, refreshed if need be")
	cmd.Flags().BoolVar(&keepToken, "keep-vault-token", false, "leave VAULT_TOKEN in the environment")
	cmd.Flags().SetInterspersed(false)
	_ = cmd.RegisterFlagCompletionFunc("env", a.completeVariable) // the flag is there
	return cmd
}

// variable is one that a program gets.
type variable struct{ name, typed, path, field string }

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func readVariables(written []string) ([]variable, error) {
	if len(written) == 0 {
		return nil, wrongUse("say which credentials the program gets: --env SLACK_TOKEN=slack")
	}
	var all []variable
	for _, text := range written {
		name, connection, found := strings.Cut(text, "=")
		if !found || !variableName.MatchString(name) {
			return nil, wrongUse("--env takes NAME=CONNECTION, as SLACK_TOKEN=slack")
		}
		connection, field, _ := strings.Cut(connection, "#")
		path, err := pathOf(connection)
		if err != nil {
			return nil, err
		}
		all = append(all, variable{name: name, typed: connection, path: path, field: field})
	}
	return all, nil
}

// set puts a variable in the place of those of its name.
func set(environment []string, name, value string) []string {
	kept := make([]string, 0, len(environment)+1)
	for _, one := range environment {
		if !strings.HasPrefix(one, name+"=") {
			kept = append(kept, one)
		}
	}
	return append(kept, name+"="+value)
}
