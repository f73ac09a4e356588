package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// pages reads the whole inventory, page by page, while credentials are read beside it.
func (s *scale) pages(ctx context.Context, out io.Writer) error {
	if err := s.ensureSteady(ctx); err != nil {
		return err
	}
	valid := func() string { return credential(steady, rand.IntN(hotSet)) }
	atRest, err := s.load(ctx, after(s.leg), seldom, valid)
	if err != nil {
		return err
	}
	read := make(chan struct{})
	var (
		rows, count int
		took        time.Duration
		fault       error
	)
	go func() {
		defer close(read)
		began := time.Now()
		rows, count, fault = s.inventory(ctx)
		took = time.Since(began)
	}()
	beside, err := s.load(ctx, read, seldom, valid)
	if err != nil {
		return err
	}
	if <-read; fault != nil {
		return fault
	}
	began := time.Now()
	if _, err := s.call(ctx, http.MethodGet, "inventory?count_by=status", nil); err != nil {
		return err
	}
	counted := time.Since(began)
	memory, err := residentMemory(s.vault.Vault)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe inventory: %d rows in %d pages, %.1f s; counted by status in %.0f ms; the plugin takes "+
		"%.0f MB then.\n\n", rows, count, took.Seconds(), milliseconds(counted), megabytes(memory))
	writeBeside(out, atRest, beside, "while it is read")
	return nil
}

// writeBeside writes what reads took at rest and beside something else.
func writeBeside(out io.Writer, atRest, beside sample, title string) {
	fmt.Fprintf(out, "| reads of valid tokens, %d a second | p50, ms | p99, ms | worst, ms |\n|---|---|---|---|\n", seldom)
	for _, r := range []struct {
		title string
		sample
	}{{"at rest", atRest}, {title, beside}} {
		fmt.Fprintf(out, "| %s | %.2f | %.2f | %.1f |\n", r.title, milliseconds(r.p50), milliseconds(r.p99),
			milliseconds(r.worst))
	}
}

// inventory reads all pages, and gives how many rows and pages there are.
func (s *scale) inventory(ctx context.Context) (rows, pages int, err error) {
	for cursor := ""; ; pages++ {
		body, err := s.call(ctx, http.MethodGet, "inventory?limit=1000&cursor="+cursor, nil)
		if err != nil {
			return rows, pages, err
		}
		var answer struct {
			Data struct {
				Connections []json.RawMessage
				Cursor      string
			}
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return rows, pages, err
		}
		rows += len(answer.Data.Connections)
		if cursor = answer.Data.Cursor; cursor == "" {
			return rows, pages + 1, nil
		}
	}
}
