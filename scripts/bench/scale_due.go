package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// stall measures reads of valid tokens at half the rate that is possible, at rest and while a provider hangs with many
// of its tokens due.
func (s *scale) stall(ctx context.Context, out io.Writer) error {
	const life = 40 * time.Second // due after some 30 s, the least time between two refreshes by the worker
	hung, err := startProvider(-1)
	if err != nil {
		return err
	}
	defer hung.close()
	if err := s.ensureSteady(ctx); err != nil {
		return err
	}
	if err := s.provide(ctx, "hung", hung.url); err != nil {
		return err
	}
	valid := func() string { return credential(steady, rand.IntN(hotSet)) }
	most, err := s.load(ctx, after(s.leg), 0, valid)
	if err != nil {
		return err
	}
	atRest, err := s.typical(ctx, most.rate/2, valid)
	if err != nil {
		return err
	}
	if _, err := s.populate(ctx, "hung", 0, s.stalled, life); err != nil {
		return err
	}
	// Some leave the queue for a moment, when their try has failed and the next is some seconds away.
	crowd := func(c counts) bool { return c.Due+c.InFlight+c.Retrying >= s.stalled && c.InFlight > 0 }
	if err := s.eventually(ctx, 2*life, "all tokens of the hung provider are due", crowd); err != nil {
		return err
	}
	busy, err := s.typical(ctx, most.rate/2, valid)
	if err != nil {
		return err
	}
	end, err := s.status(ctx)
	if err != nil {
		return err
	}
	asked, _, _ := hung.requests()
	fmt.Fprintf(out, "\nReads of valid tokens at half the maximum of %.0f a second, %d tokens of a hanging provider "+
		"due (at the end %d due, %d in flight, %d requests made).\n\n",
		most.rate, s.stalled, end.Due, end.InFlight, asked)
	fmt.Fprintln(out, "| | reads/s | p50, ms | p99, ms | worst, ms |\n|---|---|---|---|---|")
	for _, r := range []struct {
		title string
		sample
	}{{"at rest", atRest}, {"provider hangs", busy}} {
		fmt.Fprintf(out, "| %s | %.0f | %.2f | %.2f | %.1f |\n", r.title, r.rate, milliseconds(r.p50),
			milliseconds(r.p99), milliseconds(r.worst))
	}
	fmt.Fprintf(out, "| ratio | | | %.2f | |\n", float64(busy.p99)/float64(atRest.p99))
	// With its provider changed, no token of it will be refreshed any more: what is measured next is undisturbed.
	return s.provide(ctx, "hung", "https://bench.invalid/token")
}

// typical is the load of several whose p99 is in their middle: a single one tells what else the machine did meanwhile.
func (s *scale) typical(ctx context.Context, rate float64, next func() string) (sample, error) {
	loads := make([]sample, 5)
	for i := range loads {
		var err error
		if loads[i], err = s.load(ctx, after(2*s.leg), rate, next); err != nil {
			return sample{}, err
		}
	}
	slices.SortFunc(loads, func(a, b sample) int { return cmp.Compare(a.p99, b.p99) })
	return loads[len(loads)/2], nil
}

// due lets many tokens fall due together at a provider that is 50 ms away, and looks whether each was replaced by one
// request before it expired.
func (s *scale) due(ctx context.Context, out io.Writer) error {
	const away = 50 * time.Millisecond
	far, err := startProvider(away)
	if err != nil {
		return err
	}
	defer far.close()
	if err := s.provide(ctx, "far", far.url); err != nil {
		return err
	}
	began, err := s.populate(ctx, "far", 0, s.wave, s.life)
	if err != nil {
		return err
	}
	importing := time.Since(began[0])
	before, err := usageOf(s.vault.Vault)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	var fault error
	go func() {
		defer close(done)
		fault = s.eventually(ctx, 2*s.life, "all tokens are refreshed", func(c counts) bool {
			_, _, served := far.requests()
			return len(served) >= s.wave && c.Due == 0 && c.InFlight == 0
		})
	}()
	meanwhile, err := s.load(ctx, done, seldom, func() string { return credential("far", rand.IntN(s.wave)) })
	if err != nil {
		return err
	}
	if <-done; fault != nil {
		return fault
	}
	now, err := usageOf(s.vault.Vault)
	if err != nil {
		return err
	}
	spent := now.since(before)

	total, asked, served := far.requests()
	o := judge(began, s.life, asked, served)
	fmt.Fprintf(out, "\n%d tokens of %s, imported within %.0f s, fall due together at a provider %s away.\n\n", s.wave,
		s.life, importing.Seconds(), away)
	fmt.Fprintln(out, "| refreshed | requests | asked twice | after expiry | least life left, s | from first to "+
		"last, s | refreshes/s | CPU ms each, plugin + Vault | read p99 meanwhile, ms "+
		"|\n|---|---|---|---|---|---|---|---|---|")
	fmt.Fprintf(out, "| %d | %d | %d | %d | %.1f | %.1f | %.0f | %.2f + %.2f | %.1f |\n", len(served), total,
		o.repeated, o.late, o.least.Seconds(), o.took.Seconds(),
		float64(s.wave)/o.took.Seconds(), milliseconds(spent.plugin)/float64(s.wave),
		milliseconds(spent.vault)/float64(s.wave), milliseconds(meanwhile.p99))
	return nil
}

// outcome is how a wave of refreshes went.
type outcome struct {
	late     int           // answered after the token expired
	repeated int           // asked for more than once
	least    time.Duration // that a token had yet to live when its successor came
	took     time.Duration // from the first answer to the last
}

// judge compares what the provider saw with when the tokens of its connections were imported.
func judge(began []time.Time, life time.Duration, asked map[string]int, served map[string]time.Time) outcome {
	o := outcome{least: life}
	var first, last time.Time
	for i, start := range began {
		name := imported("far", i)
		at := served[name]
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
		left := start.Add(life).Sub(at)
		if left <= 0 {
			o.late++
		}
		if asked[name] > 1 {
			o.repeated++
		}
		o.least = min(o.least, left)
	}
	o.took = last.Sub(first)
	return o
}
