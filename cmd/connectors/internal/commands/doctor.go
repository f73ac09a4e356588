package commands

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) doctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong: with the way to Vault, the token, the mount, its address and its providers",
		Long: `Look for what is wrong: with the way to Vault, the token, the mount and its version, the clocks, the address
that browsers reach it at, its providers, and what its status tells. Each line is ok, a warning or a failure,
with the next step. It changes nothing. The exit code is 1 where something failed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			found := a.examine(ctx)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if err := a.answer(found, func() error { return a.showFindings(found) }); err != nil {
				return err
			}
			failures := 0
			for _, one := range found {
				if one.Result == failure {
					failures++
				}
			}
			if failures > 0 {
				return withCode(codeFailed, "%d of %d checks failed", failures, len(found))
			}
			return nil
		},
	}
}

// What a check comes to.
const (
	well    = "ok"
	warning = "warning"
	failure = "failure"
)

// finding is what one check found.
type finding struct {
	Check    string `json:"check"`
	Result   string `json:"result"`
	Found    string `json:"found"`
	NextStep string `json:"next_step"` // empty where all is well
}

func (a *app) showFindings(found []finding) error {
	var rows [][]string
	for _, one := range found {
		rows = append(rows, []string{one.Result, one.Check, one.Found})
		if one.NextStep != "" {
			rows = append(rows, []string{"", "", "next: " + one.NextStep})
		}
	}
	return terminal.Table(a.Out, []string{"RESULT", "CHECK", "FOUND"}, rows)
}

// answers is how long one question may take before it counts as not answered.
const answers = 10 * time.Second

// examine checks one thing after the other. What rests on something that failed is left out.
func (a *app) examine(ctx context.Context) (found []finding) {
	server, err := a.server()
	if err != nil {
		return []finding{{"address", failure, err.Error(), "set the variable right that this names"}}
	}
	asking, cancel := context.WithTimeout(ctx, answers)
	health, err := server.Health(asking)
	cancel()
	found = append(found, judgeAddress(server.Address(), health, err))
	if err != nil {
		return found
	}
	found = append(found, judgeTLS(server.Address(), health, time.Now()), judgeClock(health))
	if health.Sealed || !health.Initialized {
		return found
	}
	if !server.HasToken() {
		return append(found, finding{
			"token", failure, "there is none, in VAULT_TOKEN or in the token helper", "log in with 'vault login'",
		})
	}
	token, err := server.Token(ctx)
	found = append(found, judgeToken(token, err))
	if client.StatusOf(err) == http.StatusForbidden {
		return found
	}
	c, err := server.Client(ctx, a.mount)
	if err != nil {
		return append(found, finding{"mount", failure, err.Error(), "vault secrets enable -path=connectors " +
			client.PluginName + ", or ask an operator for a policy"})
	}
	mount, err := server.Mount(ctx, c.Mount())
	found = append(found, judgeMount(c.Mount(), mount, err))
	if err != nil || mount.Type != client.PluginName {
		return found
	}
	status, statusErr := c.Status(ctx)
	engine := mount.RunningVersion
	if statusErr == nil {
		engine = status.Version
	}
	found = append(found, judgeVersions(engine, Version))
	providers, consents := checkProviders(ctx, c)
	found = append(found, checkPages(ctx, server, c, consents)...)
	found = append(found, providers...)
	found = append(found, judgeStatus(c.Mount(), status, statusErr)...)
	return append(found, checkAbilities(ctx, c)...)
}
