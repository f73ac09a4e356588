package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// mount is where the engine is on the Vault of the scale measurements.
const mount = "connectors"

// partNames are the things that are measured, in the order in which they are.
const partNames = "idle,pages,shared,end,stall,wave"

// scaleOptions choose what is measured and how much of it.
type scaleOptions struct {
	parts   []string      // of partNames
	sizes   []int         // of idle: connections, ascending
	clients int           // that read and write at once
	quiet   time.Duration // of idle: over which processor time is measured
	leg     time.Duration // of one load
	ended   int           // of end: connections that a job ends
	stalled int           // of stall: refreshes that are due
	wave    int           // of wave: tokens that fall due
	life    time.Duration // of wave: of these tokens; they fall due after four fifths of it
	out     string        // folder for the table and the plot
}

// scale is a mount on one node with raft storage that grows.
type scale struct {
	scaleOptions
	vault *stack.RaftVault
	http  *http.Client
	have  int // connections that idle has imported
}

func runScale(ctx context.Context, o scaleOptions) error {
	for _, part := range o.parts {
		if !slices.Contains(strings.Split(partNames, ","), part) {
			return fmt.Errorf("there is no part %q: there are %s", part, partNames)
		}
	}
	tools, err := stack.Locate(ctx, os.Stderr)
	if err != nil {
		return err
	}
	vault, err := stack.StartVaultRaft(ctx, tools, stack.VaultOptions{})
	if err != nil {
		return err
	}
	defer vault.Stop()
	transport := &http.Transport{MaxIdleConnsPerHost: o.clients}
	defer transport.CloseIdleConnections()
	s := &scale{scaleOptions: o, vault: vault, http: &http.Client{Transport: transport}}
	if err := vault.Mount(ctx, mount); err != nil {
		return err
	}
	if err := s.write(ctx, "config", map[string]any{"egress_allow": "127.0.0.1"}); err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var report strings.Builder
	fmt.Fprintf(&report, "machine: %s/%s, %d CPUs, %s; %d clients; single node, raft storage\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), o.clients)
	for _, part := range []struct {
		name string
		run  func(context.Context, io.Writer) error
	}{{"idle", s.idle}, {"pages", s.pages}, {"shared", s.sharing}, {"end", s.end}, {"stall", s.stall}, {"wave", s.due}} {
		if !slices.Contains(o.parts, part.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", part.name)
		if err := part.run(ctx, &report); err != nil {
			fmt.Print(report.String()) // what there is took minutes
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	fmt.Print(report.String())
	return os.WriteFile(filepath.Join(o.out, "scale.md"), []byte(report.String()), 0o644)
}

// provide configures a provider of that name whose token endpoint is at a URL. It has no other endpoint that would be
// called: importing tokens costs no request.
func (s *scale) provide(ctx context.Context, name, token string) error {
	return s.write(ctx, "providers/"+name, map[string]any{
		"definition": "oauth2", "client_id": "bench", "client_secret": "bench", "client_auth": "post",
		"endpoints": map[string]any{"authorize": "https://bench.invalid/authorize", "token": token},
	})
}

// ensureSteady makes sure that there are connections whose tokens stay valid, as many as a load of reads is about.
func (s *scale) ensureSteady(ctx context.Context) error {
	if err := s.provide(ctx, steady, "https://bench.invalid/token"); err != nil || s.have >= hotSet {
		return err
	}
	if _, err := s.populate(ctx, steady, s.have, hotSet, dayLong); err != nil {
		return err
	}
	s.have = hotSet
	return nil
}

// imported names connection i of a provider.
func imported(provider string, i int) string { return fmt.Sprintf("%s-%06d", provider, i) }

// credential is where connection i of a provider is read. A thousand share an owner.
func credential(provider string, i int) string {
	return fmt.Sprintf("%s/creds/org/o%d/%s", mount, i/1000, imported(provider, i))
}

// populate imports the connections from, from+1 ... to-1 of a provider,
// and gives the time before which each had its token.
func (s *scale) populate(ctx context.Context, provider string, from, to int, life time.Duration) ([]time.Time, error) {
	began := make([]time.Time, to-from)
	err := s.all(ctx, to-from, func(i int) error {
		name := imported(provider, from+i)
		began[i] = time.Now()
		return s.write(ctx, fmt.Sprintf("connections/org/o%d/%s", (from+i)/1000, name), map[string]any{
			"provider": provider, "access_token": accessToken(name), "refresh_token": name,
			"expires_in": int(life.Seconds()),
		})
	})
	return began, err
}

// write sends one update to the mount.
func (s *scale) write(ctx context.Context, path string, data map[string]any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = s.call(ctx, http.MethodPut, path, body)
	return err
}

// status reads the counts of the mount's status.
func (s *scale) status(ctx context.Context) (counts, error) {
	body, err := s.call(ctx, http.MethodGet, "status", nil)
	if err != nil {
		return counts{}, err
	}
	var answer struct{ Data counts }
	err = json.Unmarshal(body, &answer)
	return answer.Data, err
}

// counts are those of the engine's status that matter here.
type counts struct {
	Connections int `json:"connections"`

	Scheduled int `json:"scheduled"`
	Due       int `json:"due"`
	Overdue   int `json:"overdue"`
	InFlight  int `json:"in_flight"`
	Retrying  int `json:"retrying"`
}

// eventually asks the status every quarter of a second until it is good.
func (s *scale) eventually(ctx context.Context, limit time.Duration, what string, good func(counts) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var last counts
	for {
		c, err := s.status(ctx)
		switch {
		case err == nil && good(c):
			return nil
		case err == nil:
			last = c
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s; the status was %+v", limit, what, last)
		}
	}
}

// call sends one request to the mount, with connections that are kept:
// the client of Vault's API keeps too few of them.
func (s *scale) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.vault.Addr+"/v1/"+mount+"/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", s.vault.Token)
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, err
}
