package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

const (
	sharedWithMe = 1000   // connections that one person shares with the one who reads
	crowd        = 10_000 // entities in the group, with the reader: Vault takes no longer list
	mostLists    = 50     // lists of what is shared, of which the median counts
)

// person is somebody with a Vault entity and a token.
type person struct{ id, token string }

// sharing measures reads of connections that are shared with a person and with a large group, and lists of what is
// shared with somebody, beside as many connections as there are.
func (s *scale) sharing(ctx context.Context, out io.Writer) error {
	if err := s.write(ctx, "providers/share", map[string]any{
		"definition": "oauth2", "client_id": "bench", "client_secret": "bench", "client_auth": "post",
		"allow_import": "all",
		"endpoints": map[string]any{
			"authorize": "https://bench.invalid/authorize", "token": "https://bench.invalid/token",
		},
	}); err != nil {
		return err
	}
	owner, reader, group, err := s.people(ctx)
	if err != nil {
		return err
	}
	if err := s.share(ctx, owner, reader, group); err != nil {
		return err
	}
	total, err := s.status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOf %d connections %d are shared with the reader; the group has %d entities.\n\n",
		total.Connections, sharedWithMe, crowd)
	fmt.Fprintln(out, "| | reads/s | p50, ms | p99, ms |\n|---|---|---|---|")
	for _, one := range []struct {
		title string
		by    person
		path  string
	}{
		{"one's own", owner, "creds/self/shared-0000"},
		{"shared with me", reader, "creds/shared/user/" + owner.id + "/shared-0000"},
		{"shared with a group of mine", reader, "creds/shared/user/" + owner.id + "/group"},
	} {
		found, err := s.as(one.by).load(ctx, after(s.leg), 0, func() string { return mount + "/" + one.path })
		if err != nil {
			return fmt.Errorf("%s: %w", one.title, err)
		}
		fmt.Fprintf(out, "| %s | %.0f | %.2f | %.2f |\n", one.title, found.rate, milliseconds(found.p50),
			milliseconds(found.p99))
	}
	fmt.Fprintln(out, "\n| list of what is shared with me | median, ms |\n|---|---|")
	for _, one := range []struct{ title, path string }{
		{"its first level", "connections/shared/"},
		{"its thousand names, described", "connections/shared/user/" + owner.id + "/"},
	} {
		var taken []float64
		for range mostLists {
			began := time.Now()
			if _, err := s.as(reader).call(ctx, "LIST", one.path, nil); err != nil {
				return err
			}
			taken = append(taken, milliseconds(time.Since(began)))
		}
		fmt.Fprintf(out, "| %s | %.2f |\n", one.title, median(taken))
	}
	return nil
}

// as is the same mount, asked by somebody else than root.
func (s *scale) as(who person) *scale {
	v := *s.vault.Vault
	v.Token = who.token
	other := *s
	other.vault = &stack.RaftVault{Vault: &v}
	return &other
}

// people makes an owner, a reader, and a group with the reader and a crowd in it.
func (s *scale) people(ctx context.Context) (owner, reader person, group string, err error) {
	sys := func(method, path string, body any) (answer map[string]any, err error) {
		sent, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, method, s.vault.Addr+"/v1/"+path, bytes.NewReader(sent))
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-Vault-Token", s.vault.Token)
		resp, err := s.http.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= http.StatusMultipleChoices {
			return nil, fmt.Errorf("%s: %s: %s: %w", path, resp.Status, text, err)
		}
		if len(text) > 0 {
			err = json.Unmarshal(text, &answer)
		}
		return answer, err
	}
	if _, err = sys(http.MethodPost, "sys/auth/bench", map[string]any{"type": "userpass"}); err != nil {
		return owner, reader, group, err
	}
	if _, err = sys(http.MethodPost, "sys/policies/acl/bench", map[string]any{
		"policy": `path "` + mount + `/*" { capabilities = ["create", "read", "update", "delete", "list"] }`,
	}); err != nil {
		return owner, reader, group, err
	}
	enter := func(name string) (p person, err error) {
		if _, err = sys(http.MethodPost, "auth/bench/users/"+name, map[string]any{
			"password": name, "token_policies": "bench",
		}); err != nil {
			return p, err
		}
		answer, err := sys(http.MethodPost, "auth/bench/login/"+name, map[string]any{"password": name})
		if err != nil {
			return p, err
		}
		auth, _ := answer["auth"].(map[string]any)
		p.id, _ = auth["entity_id"].(string)
		p.token, _ = auth["client_token"].(string)
		return p, nil
	}
	if owner, err = enter("owner"); err != nil {
		return owner, reader, group, err
	}
	if reader, err = enter("reader"); err != nil {
		return owner, reader, group, err
	}
	ids := make([]string, crowd-1)
	err = s.all(ctx, crowd-1, func(i int) error {
		answer, err := sys(http.MethodPost, "identity/entity", map[string]any{"name": fmt.Sprintf("crowd-%d", i)})
		data, _ := answer["data"].(map[string]any)
		ids[i], _ = data["id"].(string)
		return err
	})
	if err != nil {
		return owner, reader, group, err
	}
	answer, err := sys(http.MethodPost, "identity/group", map[string]any{
		"name": "crowd", "member_entity_ids": append(ids, reader.id),
	})
	data, _ := answer["data"].(map[string]any)
	group, _ = data["id"].(string)
	return owner, reader, group, err
}

// share has the owner import connections and share them.
func (s *scale) share(ctx context.Context, owner, reader person, group string) error {
	mine := s.as(owner)
	bring := func(name string, with map[string]any) error {
		err := mine.write(ctx, "connections/self/"+name, map[string]any{
			"provider": "share", "access_token": accessToken(name), "refresh_token": name,
			"expires_in": int(dayLong.Seconds()),
			"verify":     false,
		})
		if err != nil {
			return err
		}
		return mine.write(ctx, "shares/self/"+name, with)
	}
	if err := bring("group", map[string]any{"groups": group}); err != nil {
		return err
	}
	return s.all(ctx, sharedWithMe, func(i int) error {
		return bring(fmt.Sprintf("shared-%04d", i), map[string]any{"entities": reader.id})
	})
}

// all does something n times, by all clients at once.
func (s *scale) all(ctx context.Context, n int, do func(int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range s.clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
