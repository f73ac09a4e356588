// Command bench measures what reading a valid token costs, as a ratio to what Vault and its plugin boundary cost anyway.
// All legs run in turn on one Vault in one run, so that the ratio holds whatever else the machine does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	connections := flag.Int("connections", 8, "concurrent clients")
	leg := flag.Duration("leg", 2*time.Second, "length of one leg")
	pairs := flag.Int("pairs", 9, "legs of each kind; the median counts")
	flag.Parse()
	if err := run(ctx, *connections, *leg, *pairs); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// path is one thing to read.
type path struct {
	title string
	path  string
	rates []float64
}

func run(ctx context.Context, connections int, leg time.Duration, pairs int) error {
	tools, err := stack.Locate(ctx, os.Stderr)
	if err != nil {
		return err
	}
	vault, err := stack.StartVaultDev(ctx, tools, stack.VaultOptions{})
	if err != nil {
		return err
	}
	defer vault.Stop()
	if err := prepare(ctx, vault); err != nil {
		return err
	}
	paths := []*path{
		{title: "connectors/creds, valid token", path: "connectors/creds/bench"},
		{title: "external plugin, constant answer of the same fields", path: "constant/creds/bench"},
		{title: "KV v1", path: "kv/bench"},
	}
	for range pairs {
		for _, p := range paths {
			rate, err := measure(ctx, vault, p.path, connections, leg)
			if err != nil {
				return fmt.Errorf("%s: %w", p.path, err)
			}
			p.rates = append(p.rates, rate)
		}
	}
	ratios := make([]float64, pairs)
	for i := range ratios {
		ratios[i] = paths[0].rates[i] / paths[1].rates[i]
	}
	fmt.Printf("machine: %s/%s, %d CPUs; %d connections, %d legs of %s each\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), connections, pairs, leg)
	for _, p := range paths {
		fmt.Printf("%-55s %8.0f reads/s (median)\n", p.title, median(p.rates))
	}
	fmt.Printf("%-55s %8.2f (median of %d pairs, from %.2f to %.2f)\n", "connectors / constant", median(ratios), pairs, slices.Min(ratios), slices.Max(ratios))
	return nil
}

// prepare mounts all three and makes them answer the same.
func prepare(ctx context.Context, v *stack.Vault) error {
	if err := v.Mount(ctx, "connectors"); err != nil {
		return err
	}
	write := func(path string, data map[string]any) error {
		_, err := v.Client.Logical().WriteWithContext(ctx, path, data)
		return err
	}
	err := errors.Join(
		write("connectors/providers/bench", map[string]any{
			"definition": "oauth2", "client_id": "bench", "client_secret": "bench",
			"endpoints": map[string]any{"authorize": "https://bench.invalid/authorize", "token": "https://bench.invalid/token"},
		}),
		write("connectors/connections/bench", map[string]any{"access_token": "xoxp-" + fmt.Sprintf("%064d", 1), "expires_in": "24h"}),
	)
	if err != nil {
		return err
	}
	answer, err := v.Client.Logical().ReadWithContext(ctx, "connectors/creds/bench")
	if err != nil {
		return err
	}
	binary, err := buildConstant(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(binary))
	if err := v.MountOther(ctx, binary, "constant"); err != nil {
		return err
	}
	if err := v.MountBuiltin(ctx, "kv", "kv"); err != nil {
		return err
	}
	return errors.Join(write("constant/creds/bench", answer.Data), write("kv/bench", answer.Data))
}

func buildConstant(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "constant")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "./scripts/bench/constant")
	cmd.Stderr = os.Stderr
	return out, cmd.Run()
}

// measure reads a path from all connections for the length of a leg, and gives the reads a second.
func measure(ctx context.Context, v *stack.Vault, path string, connections int, leg time.Duration) (float64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var (
		reads atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		fault error
	)
	start := time.Now()
	for range connections {
		wg.Go(func() {
			for time.Since(start) < leg && ctx.Err() == nil {
				if err := read(ctx, client, v, path); err != nil {
					once.Do(func() { fault = err })
					return
				}
				reads.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(reads.Load()) / time.Since(start).Seconds(), errors.Join(fault, ctx.Err())
}

func read(ctx context.Context, client *http.Client, v *stack.Vault, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.Addr+"/v1/"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", v.Token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func median(v []float64) float64 {
	sorted := slices.Sorted(slices.Values(v))
	return sorted[len(sorted)/2]
}
