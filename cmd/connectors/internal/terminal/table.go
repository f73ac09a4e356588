package terminal

import (
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
)

var (
	header = lipgloss.NewStyle().Bold(true).PaddingRight(2)
	plain  = lipgloss.NewStyle().PaddingRight(2)
	good   = plain.Foreground(lipgloss.Green)
	so     = plain.Foreground(lipgloss.Yellow)
	bad    = plain.Foreground(lipgloss.Red)
)

// tones are the words that are coloured, wherever they stand by themselves.
var tones = map[string]lipgloss.Style{
	"active": good, "true": good, "well": good, "ok": good,
	"warning":         so,
	"needs_reconnect": bad, "failed_validation": bad, "expired": bad, "false": bad, "down": bad,
	"failure": bad,
}

// Table writes rows below their headers, cleaned. Colours are for terminals alone, and not where NO_COLOR is set.
func Table(w io.Writer, headers []string, rows [][]string) error {
	for _, row := range rows {
		for i := range row {
			row[i] = Clean(row[i])
		}
	}
	colours := os.Getenv("NO_COLOR") == ""
	t := table.New().Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).
		BorderRight(false).BorderColumn(false).BorderHeader(false).BorderRow(false).Wrap(false).
		Rows(rows...).
		StyleFunc(func(row, column int) lipgloss.Style {
			if !colours { // nor bold, which lipgloss would leave with its ends
				return plain
			}
			if row == table.HeaderRow {
				return header
			}
			if tone, ok := tones[rows[row][column]]; ok {
				return tone
			}
			return plain
		})
	if len(headers) > 0 {
		t = t.Headers(headers...)
	}
	for line := range strings.Lines(t.Render()) {
		if _, err := lipgloss.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// Pairs writes names and what they stand for, without those that stand for nothing.
func Pairs(w io.Writer, pairs [][2]string) error {
	var rows [][]string
	for _, pair := range pairs {
		if pair[1] != "" {
			rows = append(rows, []string{pair[0], pair[1]})
		}
	}
	return Table(w, nil, rows)
}
