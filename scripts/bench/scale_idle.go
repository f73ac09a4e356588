package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const (
	steady   = "bench"        // the provider whose tokens are valid throughout
	dayLong  = 24 * time.Hour // their life: nothing falls due
	hotSet   = 1000           // connections that one load of reads is about
	seldom   = 100            // reads a second that disturb nothing
	settling = time.Minute    // how long a Vault may take to come to rest
)

// idleRow is one line of the table.
type idleRow struct {
	connections int
	imports     float64       // a second
	firstRead   time.Duration // after unseal
	indexed     time.Duration // after unseal
	filling     sample        // reads meanwhile
	idle        usage         // a minute, above that of no connections
	memory      int64         // bytes
	hot, all    sample        // reads of few connections over and over, and of any
}

// idle measures what connections cost while nothing is due, and what reads of them do.
func (s *scale) idle(ctx context.Context, out io.Writer) error {
	if err := s.provide(ctx, steady, "https://bench.invalid/token"); err != nil {
		return err
	}
	if _, err := s.restart(ctx, nil); err != nil {
		return err
	}
	none, err := s.rest(ctx)
	if err != nil {
		return err
	}
	var rows []idleRow
	for _, n := range s.sizes {
		row, err := s.grow(ctx, n)
		if err != nil {
			return fmt.Errorf("%d connections: %w", n, err)
		}
		row.idle = row.idle.since(none)
		rows = append(rows, row)
		fmt.Fprintf(os.Stderr, "bench: %+v\n", row)
	}
	writeIdle(out, none, rows)
	file := filepath.Join(s.out, "scale.png")
	fmt.Fprintf(out, "\nplot: %s\n", file)
	return plotIdle(ctx, file, rows)
}

// grow imports connections until there are n, and measures.
func (s *scale) grow(ctx context.Context, n int) (row idleRow, err error) {
	row.connections = n
	start := time.Now()
	if _, err = s.populate(ctx, steady, s.have, n, dayLong); err != nil {
		return row, err
	}
	row.imports = float64(n-s.have) / time.Since(start).Seconds()
	s.have = n
	unsealed, err := s.restart(ctx, &row)
	if err != nil {
		return row, err
	}
	filled := make(chan struct{})
	var fault error
	go func() {
		defer close(filled)
		fault = s.eventually(ctx, 5*time.Minute, "all connections are in the index", func(c counts) bool {
			return c.Scheduled == n
		})
		row.indexed = time.Since(unsealed)
	}()
	if row.filling, err = s.load(ctx, filled, seldom, s.any(n)); err != nil {
		return row, err
	}
	if <-filled; fault != nil {
		return row, fault
	}
	if row.idle, err = s.rest(ctx); err != nil {
		return row, err
	}
	if row.hot, err = s.load(ctx, after(s.leg), 0, s.any(min(n, hotSet))); err != nil {
		return row, err
	}
	if row.all, err = s.load(ctx, after(s.leg), 0, s.any(n)); err != nil {
		return row, err
	}
	row.memory, err = residentMemory(s.vault.Vault)
	return row, err
}

// any names one of the first n steady connections.
func (s *scale) any(n int) func() string {
	return func() string { return credential(steady, rand.IntN(n)) }
}

// restart restarts Vault and gives the time of the unsealing. For a row it also waits for the first credential.
func (s *scale) restart(ctx context.Context, row *idleRow) (time.Time, error) {
	s.http.CloseIdleConnections()
	if err := s.vault.RestartSealed(ctx); err != nil {
		return time.Time{}, err
	}
	unsealed := time.Now()
	if err := s.vault.Unseal(ctx); err != nil || row == nil {
		return unsealed, err
	}
	for {
		err := read(ctx, s.http, s.vault.Vault, credential(steady, 0))
		if err == nil {
			row.firstRead = time.Since(unsealed)
			return unsealed, nil
		}
		if time.Since(unsealed) > settling {
			return unsealed, fmt.Errorf("no credential could be read: %w", err)
		}
	}
}

// rest waits until Vault has come to rest, and gives the processor time that it uses in a minute from then on.
func (s *scale) rest(ctx context.Context) (usage, error) {
	const window, little = 2 * time.Second, 100 * time.Millisecond
	for began := time.Now(); ; {
		used, err := s.use(ctx, window)
		if err != nil {
			return usage{}, err
		}
		if used.vault+used.plugin <= little || time.Since(began) > settling {
			break
		}
	}
	used, err := s.use(ctx, s.quiet)
	perMinute := float64(time.Minute) / float64(s.quiet)
	return usage{
		vault: time.Duration(float64(used.vault) * perMinute), plugin: time.Duration(float64(used.plugin) * perMinute),
	}, err
}

// use gives the processor time that is used in the coming time.
func (s *scale) use(ctx context.Context, during time.Duration) (usage, error) {
	before, err := usageOf(s.vault.Vault)
	if err != nil {
		return usage{}, err
	}
	select {
	case <-time.After(during):
	case <-ctx.Done():
		return usage{}, ctx.Err()
	}
	now, err := usageOf(s.vault.Vault)
	return now.since(before), err
}

func writeIdle(out io.Writer, none usage, rows []idleRow) {
	fmt.Fprintf(out, "\nNothing due. CPU is above that of the same Vault without connections (plugin %.2f s, Vault "+
		"%.2f s a minute).\n\n", none.plugin.Seconds(), none.vault.Seconds())
	fmt.Fprintln(out, "| connections | CPU s/min, plugin | CPU s/min, Vault | plugin memory, MB | unseal to first "+
		"read, s | to full index, s | p99 meanwhile, ms | reads/s, 1k of them | p50 / p99, ms | reads/s, any | p50 "+
		"/ p99, ms | imports/s |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Fprintf(out, "| %d | %+.2f | %+.2f | %.0f | %.2f | %.1f | %.1f | %.0f | %.2f / %.2f | "+
			"%.0f | %.2f / %.2f | %.0f |\n",
			r.connections, r.idle.plugin.Seconds(), r.idle.vault.Seconds(), megabytes(r.memory), r.firstRead.Seconds(),
			r.indexed.Seconds(),
			milliseconds(r.filling.p99), r.hot.rate, milliseconds(r.hot.p50), milliseconds(r.hot.p99),
			r.all.rate, milliseconds(r.all.p50), milliseconds(r.all.p99), r.imports)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func megabytes(n int64) float64 { return float64(n) / 1e6 }
