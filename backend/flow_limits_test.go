package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// tokenOf is a caller without an entity, of a token of its own.
func tokenOf(accessor string) testenv.Caller {
	return func(r *logical.Request) {
		r.EntityID, r.DisplayName, r.ClientTokenAccessor = "", "token", accessor
	}
}

// endings are the ways in which a flow ends before it expires. Each gives the flow's id, and the request that ended
// it.
func endings() map[string]func(t *testing.T, f *fixture, name string) (id string, again map[string]any) {
	finish := func(t *testing.T, f *fixture, name string) (string, map[string]any) {
		t.Helper()
		own := f.own(t, "self/"+name, nil, alice)
		f.Write("exchange", own, alice)
		return flowOfState(own["state"].(string)), own
	}
	return map[string]func(*testing.T, *fixture, string) (string, map[string]any){
		"connected": finish,
		"failed": func(t *testing.T, f *fixture, name string) (string, map[string]any) {
			f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
			return finish(t, f, name)
		},
		"void": func(t *testing.T, f *fixture, name string) (string, map[string]any) {
			id, _, _ := f.parked(t, "self/"+name, nil, alice)
			wrong := map[string]any{"flow_id": id, "confirmation_code": "AAAAAAAA"}
			for range store.MaxConfirmationTries {
				f.Write("exchange", wrong, alice)
			}
			return id, wrong
		},
		"void with its connection": func(t *testing.T, f *fixture, name string) (string, map[string]any) {
			own := f.own(t, "self/"+name, nil, alice)
			f.Delete("connections/self/"+name, nil, alice).OK(t)
			return flowOfState(own["state"].(string)), own
		},
		"denied": func(t *testing.T, f *fixture, name string) (string, map[string]any) {
			flow := f.start(t, "self/"+name, nil, alice)
			f.callback(t, "acme", map[string]string{
				"state": query(t, flow["url"].(string), "state"), "error": "access_denied",
			})
			id := flow["flow_id"].(string)
			return id, map[string]any{"flow_id": id, "confirmation_code": "AAAAAAAA"}
		},
	}
}

// Flows that ended count by themselves: as many as may be kept are started, and no more until the first expires.
func TestMaxEndedFlows(t *testing.T) {
	for name, end := range endings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.Write("config", map[string]any{"max_ended_flows": 2, "max_open_flows": 1}).OK(t)
				end(t, f, "a")
				f.Advance(time.Minute)
				end(t, f, "b")
				full := func() {
					t.Helper()
					f.Write("auth-code-url/self/c", map[string]any{"provider": "acme"}, alice).
						Refused(t, http.StatusConflict, "you have 2 flows", "max_ended_flows", "2026-03-01T12:10:00Z")
				}
				full()
				f.restart(t)
				full()
				f.start(t, "self/c", nil, bob)
				f.Advance(9 * time.Minute)
				f.start(t, "self/c", nil, alice)
			})
		})
	}
}

// What is kept of a flow that ended is little, holds nothing that could be spent, and answers as before.
func TestEndedFlowsAreSmall(t *testing.T) {
	for name, end := range endings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				scopes := strings.TrimSuffix(strings.Repeat("a-scope-of-some-length,", 100), ",")
				f.Write("providers/acme", map[string]any{"scopes": scopes, "allowed_scopes": "*"}).OK(t)
				id, again := end(t, f, strings.Repeat("n", 64))
				entry, err := f.Storage.Get(t.Context(), "flow/"+id)
				require.NoError(t, err)
				assert.LessOrEqual(t, len(entry.Value), 1<<10, "%s", entry.Value)
				for _, kept := range []string{f.provider.URL, `"verifier"`, `"code"`, `"nonce"`, "a-scope-of-some-length\",\""} {
					assert.NotContains(t, string(entry.Value), kept)
				}
				answer := func() (int, string) {
					r := f.Write("exchange", again, alice)
					return r.Status, r.Text
				}
				status, text := answer()
				f.restart(t)
				restarted, same := answer()
				assert.Equal(t, status, restarted)
				assert.Equal(t, text, same)
				assert.Equal(t, name == "connected", status == http.StatusOK, "%d %s", status, text)
				assert.LessOrEqual(t, f.provider.Count(providers.StepToken), 1)
			})
		})
	}
}

// Child tokens multiply accessors, so whoever has no entity shares one allowance.
func TestFlowsWithoutAnEntity(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"max_open_flows": 2, "max_ended_flows": 1}).OK(t)
		f.start(t, "a", nil, tokenOf("one"))
		own := f.own(t, "b", nil, tokenOf("two"))
		start := func(who testenv.Caller) testenv.Result {
			return f.Write("auth-code-url/c", map[string]any{"provider": "acme"}, who)
		}
		start(tokenOf("three")).Refused(t, http.StatusConflict, "callers without an entity together have 2",
			"max_open_flows", "log in by an auth method")
		start(alice).OK(t)
		f.Write("exchange", own, tokenOf("two")).OK(t)
		start(tokenOf("three")).Refused(t, http.StatusConflict, "callers without an entity together have 1",
			"max_ended_flows", "log in by an auth method")
		start(bob).OK(t)
	})
}

// A full mount keeps no entity from its first flows.
func TestMaxFlows(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"max_flows": 3}).OK(t)
		for _, name := range []string{"a", "b"} {
			f.start(t, name, nil, tokenOf(name))
		}
		f.connect(t, "c", tokenOf("c"))
		start := func(who testenv.Caller) testenv.Result {
			return f.Write("auth-code-url/d", map[string]any{"provider": "acme"}, who)
		}
		start(tokenOf("d")).Refused(t, http.StatusConflict, "this mount has 3 flows", "max_flows")
		for range fewFlows - 1 {
			start(alice).OK(t)
		}
		f.connect(t, "self/e", alice)
		start(alice).Refused(t, http.StatusConflict, fmt.Sprintf("this mount has %d flows", 3+fewFlows), "max_flows")
		start(bob).OK(t)
		f.Advance(10 * time.Minute)
		f.periodic(t)
		start(tokenOf("d")).OK(t)
	})
}

// A flow that storage does not give is nobody's, but it is there.
func TestLostFlowsCount(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"max_flows": 2, "max_open_flows": 1, "max_ended_flows": 1}).OK(t)
		lost := f.start(t, "a", nil)
		f.loses("flow/" + lost["flow_id"].(string))
		f.restart(t)
		start := func() testenv.Result { return f.Write("auth-code-url/b", map[string]any{"provider": "acme"}) }
		start().OK(t)
		f.Write("config", map[string]any{"max_open_flows": 9}).OK(t)
		start().Refused(t, http.StatusConflict, "max_flows")
	})
}

// Counting goes by what memory knows.
func TestFlowsAreCountedWithoutStorage(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, name := range f.names(5) {
			f.connect(t, name, alice)
		}
		f.Storage.Forget()
		f.start(t, "more", nil, alice)
		for _, a := range f.Storage.History() {
			assert.NotEqual(t, "list", a.Op, a.Key)
			assert.False(t, a.Op == "get" && a.Under("flow/"), a.Key)
		}
	})
}
