package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
)

// panel is one diagram, as scripts/plot reads it.
type panel struct {
	Title  string       `json:"title"`
	Limit  float64      `json:"limit,omitempty"` // what is to be kept
	Points [][2]float64 `json:"points"`          // connections, value
}

// panels are what grows with the number of connections.
func panels(rows []idleRow) []panel {
	drawn := make([]panel, 0, 6)
	for _, p := range []struct {
		title string
		limit float64
		value func(idleRow) float64
	}{
		{"Reads/s, the same thousand", 0, func(r idleRow) float64 { return r.hot.rate }},
		{"Reads/s, any connection", 0, func(r idleRow) float64 { return r.all.rate }},
		{"Idle CPU above none, s/min", 0.1, func(r idleRow) float64 {
			return (r.idle.plugin + r.idle.vault).Seconds()
		}},
		{"Memory of the plugin, MB", 150, func(r idleRow) float64 { return megabytes(r.memory) }},
		{"Unseal to first read, s", 1, func(r idleRow) float64 { return r.firstRead.Seconds() }},
		{"Unseal to full index, s", 60, func(r idleRow) float64 { return r.indexed.Seconds() }},
	} {
		points := make([][2]float64, len(rows))
		for i, r := range rows {
			points[i] = [2]float64{float64(r.connections), p.value(r)}
		}
		drawn = append(drawn, panel{Title: p.title, Limit: p.limit, Points: points})
	}
	return drawn
}

// plotIdle draws them. It is called in the project's folder.
func plotIdle(ctx context.Context, file string, rows []idleRow) error {
	input, err := json.Marshal(panels(rows))
	if err != nil {
		return err
	}
	if file, err = filepath.Abs(file); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "-C", "scripts/plot", "run", ".", file)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	return cmd.Run()
}
