package commands

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) show() *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "What is known of a connection; nothing in it can be used at the service",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(args[0])
			if err != nil {
				return err
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			connection, err := c.Connection(cmd.Context(), path)
			if err != nil {
				return a.advised(cmd.Context(), c, args[0], path, err)
			}
			a.warn(connection.Warnings)
			if err := a.answer(connection.Data, func() error { return a.showConnection(connection) }); err != nil {
				return err
			}
			if next := nextStep(args[0], connection); next != "" {
				a.Say("next: %s", terminal.Clean(next))
			}
			return nil
		},
	}
}

// showConnection writes what people look for, in the order in which they do.
func (a *app) showConnection(c *client.Connection) error {
	pairs := [][2]string{
		{"connection", c.Path()},
		{"provider", c.Provider},
		{"kind", c.Kind},
		{"status", statusWords(c.Status, c.StatusReason)},
		{"status_since", c.StatusSince},
		{"account", accountOf(c.Account)},
		{"label", c.Label},
		{"tags", named(c.Tags)},
		{"inputs", named(c.Inputs)},
		{"scopes", strings.Join(c.Scopes, " ")},
		{"required_scopes", strings.Join(c.RequiredScopes, " ")},
		{"missing_scopes", strings.Join(c.MissingScopes, " ")},
		{"surplus_scopes", strings.Join(c.SurplusScopes, " ")},
		{"choices", choicesOf(c.Choices)},
		{"connection_config", named(c.ConnectionConfig)},
		{"key", named(c.Key)},
		{"former_key", formerKey(c)},
		{"expire_time", c.ExpireTime},
		{"reconnect_by", c.ReconnectBy},
		{"rotate_after", c.RotateAfter},
		{"rotate_by", c.RotateBy},
		{"last_refresh", c.LastRefresh},
		{"last_error", anyNamed(c.LastError)},
		{"debug_until", c.DebugUntil},
		{"private", onlyTrue(c.Private)},
		{"shared_with", c.SharedWith},
		{"transfer_to", beside(c.TransferTo, c.TransferUntil)},
		{"disabled", onlyTrue(c.Disabled)},
		{"archived", onlyTrue(c.Archived)},
		{"archived_reason", c.ArchivedReason},
		{"created_by", c.CreatedBy},
		{"created_time", c.CreatedTime},
		{"connection_id", c.ConnectionID},
		{"open_flow_until", c.OpenFlowUntil},
	}
	return terminal.Pairs(a.Out, pairs)
}

// statusWords are a status and why it is so, if that is more than the status says.
func statusWords(status, reason string) string {
	if status == "disabled" && reason == "disabled_by_person" {
		return status
	}
	return beside(status, reason)
}

func formerKey(c *client.Connection) string {
	if len(c.FormerKey) == 0 || c.FormerKeyUntil == "" {
		return named(c.FormerKey)
	}
	return named(c.FormerKey) + ", until " + until(c.FormerKeyUntil)
}

func beside(word, reason string) string {
	if word != "" && reason != "" {
		return word + " (" + reason + ")"
	}
	return word
}

func accountOf(account client.Account) string {
	var parts []string
	for _, part := range []string{account.Label, account.Email, account.ID} {
		if part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

func choicesOf(choices []client.Choice) string {
	var all []string
	for _, choice := range choices {
		all = append(all, beside(choice.ID, choice.Name))
	}
	return strings.Join(all, ", ")
}

func named(values map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, name+"="+values[name])
	}
	return strings.Join(all, " ")
}

func anyNamed(values map[string]any) string {
	texts := map[string]string{}
	for name, value := range values {
		if text := textOf(value); text != "" {
			texts[name] = text
		}
	}
	return named(texts)
}

// textOf writes a value as people read it: a text as it is, others as JSON.
func textOf(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

func onlyTrue(is bool) string {
	if is {
		return "true"
	}
	return ""
}

// until tells when something ends, and how long that is.
func until(rfc3339 string) string {
	at, err := time.Parse(time.RFC3339, rfc3339)
	if err != nil {
		return rfc3339
	}
	return fmt.Sprintf("%s (in %s)", rfc3339, time.Until(at).Round(time.Second))
}
