package commands

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// document writes the plan for programs.
func (do *applying) document(steps, doomed []*step) error {
	changes := []files.Change{}
	for _, s := range slices.Concat(steps, doomed) {
		if s.Action != "" {
			changes = append(changes, s.Change)
		}
	}
	return terminal.JSON(do.Out, map[string]any{"changes": changes})
}

// show writes the plan for people.
func (do *applying) show(steps []*step) {
	signs := map[string]string{files.Create: "+", files.Update: "~", files.Delete: "-", files.Connect: "!"}
	for _, s := range steps {
		if s.Action == "" {
			continue
		}
		head := signs[s.Action] + " " + s.Path
		if s.Action == files.Connect {
			head += " (a person connects it)"
		}
		fmt.Fprintln(do.Out, terminal.Clean(head))
		for _, field := range s.Fields {
			line := brief(field.After)
			if field.Before != nil {
				line = brief(field.Before) + " → " + line
			}
			if slices.Contains(s.Reconnects, field.Field) {
				line += "  (connections must be reconnected)"
			}
			fmt.Fprintln(do.Out, terminal.Clean("    "+field.Field+": "+line))
		}
	}
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// brief is a value on one line.
func brief(value any) string {
	text := textOf(value)
	if lines := strings.Count(text, "\n"); lines > 0 {
		return fmt.Sprintf("%d lines", lines+1)
	}
	if text == "" {
		return `""`
	}
	return text
}
