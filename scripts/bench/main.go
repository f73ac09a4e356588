// Command bench measures the engine in a real Vault.
//
// By default it tells what reading a valid token costs, as a ratio to what Vault and its plugin boundary cost anyway:
// all legs run in turn on one Vault in one run, so that the ratio holds whatever else the machine does.
//
// With -scale it tells what many connections cost, in six parts: idle (nothing is due), pages (the inventory is read),
// shared (people share what is theirs), end (a job revokes many), stall (a provider hangs) and wave (many tokens fall
// due together). It writes scale.md and scale.png, and needs Linux.
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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	clients := flag.Int("clients", 8, "concurrent clients")
	leg := flag.Duration("leg", 2*time.Second, "length of one leg of reads")
	pairs := flag.Int("pairs", 9, "legs of each kind; the median counts")

	atScale := flag.Bool("scale", false, "measure what many connections cost instead")
	parts := flag.String("parts", partNames, "with -scale: what to measure")
	sizes := flag.String("connections", "1000,10000,100000", "idle: numbers of connections")
	quiet := flag.Duration("quiet", time.Minute, "idle: over which processor time is measured")
	ended := flag.Int("ended", 10_000, "end: connections that a job ends")
	stalled := flag.Int("due", 1000, "stall: tokens that are due at the provider that hangs")
	wave := flag.Int("wave", 10_000, "wave: tokens that fall due")
	life := flag.Duration("life", 5*time.Minute, "wave: life of these tokens")
	out := flag.String("out", filepath.Join(os.TempDir(), "bench"), "with -scale: folder for the results")
	flag.Parse()

	var err error
	if *atScale {
		o := scaleOptions{
			parts: strings.Split(*parts, ","), clients: *clients, quiet: *quiet, leg: *leg, ended: *ended,
			stalled: *stalled, wave: *wave, life: *life, out: *out,
		}
		if o.sizes, err = numbers(*sizes); err == nil {
			err = runScale(ctx, o)
		}
	} else {
		err = run(ctx, *clients, *leg, *pairs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// numbers reads a list with commas, and puts it in order.
func numbers(list string) ([]int, error) {
	var out []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no number of connections", text)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}

// path is one thing to read.
type path struct {
	title string
	path  string
	rates []float64
}

func run(ctx context.Context, clients int, leg time.Duration, pairs int) error {
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
			rate, err := measure(ctx, vault, p.path, clients, leg)
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
	fmt.Printf("machine: %s/%s, %d CPUs; %d clients, %d legs of %s each\n", runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), clients, pairs, leg)
	for _, p := range paths {
		fmt.Printf("%-55s %8.0f reads/s (median)\n", p.title, median(p.rates))
	}
	fmt.Printf("%-55s %8.2f (median of %d pairs, from %.2f to %.2f)\n", "connectors / constant", median(ratios), pairs,
		slices.Min(ratios), slices.Max(ratios))
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
			"endpoints": map[string]any{
				"authorize": "https://bench.invalid/authorize", "token": "https://bench.invalid/token",
			},
		}),
		write("connectors/connections/bench", map[string]any{
			"access_token": "xoxp-" + fmt.Sprintf("%064d", 1), "expires_in": "24h",
		}),
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

// measure reads a path from all clients for the length of a leg, and gives the reads a second.
func measure(ctx context.Context, v *stack.Vault, path string, clients int, leg time.Duration) (float64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var (
		reads atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		fault error
	)
	start := time.Now()
	for range clients {
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
