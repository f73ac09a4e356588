package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// away is how far the provider is that revokes.
const away = 50 * time.Millisecond

// aJob is what the engine tells of a job.
type aJob struct {
	Job      string
	State    string
	Count    int
	Done     int
	Outcomes map[string]int
}

// end plans and runs the end of many connections of one provider, while credentials of another are read.
func (s *scale) end(ctx context.Context, out io.Writer) error {
	if err := s.ensureSteady(ctx); err != nil {
		return err
	}
	url, asked, stop, err := startRevocation()
	if err != nil {
		return err
	}
	defer stop()
	if err := s.write(ctx, "providers/leaked", map[string]any{
		"definition": "oauth2", "client_id": "bench", "client_secret": "bench", "client_auth": "post",
		"endpoints": map[string]any{
			"authorize": "https://bench.invalid/authorize", "token": "https://bench.invalid/token", "revoke": url,
		},
	}); err != nil {
		return err
	}
	if _, err := s.populate(ctx, "leaked", 0, s.ended, dayLong); err != nil {
		return err
	}
	valid := func() string { return credential(steady, rand.IntN(hotSet)) }
	atRest, err := s.load(ctx, after(s.leg), seldom, valid)
	if err != nil {
		return err
	}
	began := time.Now()
	plan, err := s.job(ctx, http.MethodPut, "revoke", map[string]any{"provider": "leaked"})
	if err != nil {
		return err
	}
	planned := time.Since(began)
	over := make(chan struct{})
	var (
		last  aJob
		took  time.Duration
		fault error
	)
	go func() {
		defer close(over)
		began := time.Now()
		last, fault = s.carryOut(ctx, plan)
		took = time.Since(began)
	}()
	beside, err := s.load(ctx, over, seldom, valid)
	if err != nil {
		return err
	}
	if <-over; fault != nil {
		return fault
	}
	if last.Outcomes["revoked"] != s.ended || int(asked.Load()) < s.ended {
		return fmt.Errorf("of %d connections, with %d requests, the outcomes are %v", s.ended, asked.Load(), last.Outcomes)
	}
	fmt.Fprintf(out, "\nThe end of %d connections, whose provider is %d ms away: planned in %.1f s, revoked in %.0f s "+
		"(%.0f a second, %.2f requests each).\n\n", s.ended, away.Milliseconds(), planned.Seconds(), took.Seconds(),
		float64(s.ended)/took.Seconds(), float64(asked.Load())/float64(s.ended))
	writeBeside(out, atRest, beside, "while they end")
	return nil
}

// carryOut runs a plan, and waits for its end.
func (s *scale) carryOut(ctx context.Context, plan aJob) (aJob, error) {
	path := "revoke/" + plan.Job
	if _, err := s.job(ctx, http.MethodPut, path, map[string]any{"run": true, "expect": plan.Count}); err != nil {
		return aJob{}, err
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		j, err := s.job(ctx, http.MethodGet, path, nil)
		if err != nil || j.State == "done" {
			return j, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return j, ctx.Err()
		}
	}
}

// job sends a request about a job.
func (s *scale) job(ctx context.Context, method, path string, data map[string]any) (aJob, error) {
	var body []byte
	if data != nil {
		var err error
		if body, err = json.Marshal(data); err != nil {
			return aJob{}, err
		}
	}
	text, err := s.call(ctx, method, path, body)
	if err != nil {
		return aJob{}, err
	}
	var answer struct{ Data aJob }
	err = json.Unmarshal(text, &answer)
	return answer.Data, err
}

// startRevocation starts a revocation endpoint (RFC 7009 section 2) that counts.
func startRevocation() (url string, asked *atomic.Int64, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, nil, err
	}
	asked = new(atomic.Int64)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(away):
			case <-r.Context().Done():
				return
			}
			if strings.Contains(r.FormValue("token"), "leaked-") {
				asked.Add(1)
			}
			w.WriteHeader(http.StatusOK)
		}),
	}
	go func() { _ = server.Serve(l) }() // until stop
	return "http://" + l.Addr().String() + "/revoke", asked, func() { _ = server.Close() }, nil
}
