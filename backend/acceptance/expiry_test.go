package acceptance

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// The server ends the grant when a refresh token is spent twice: one request too many, and no token would be good.
func TestManyAtTheMomentOfExpiry(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	server := e.newOIDC(t, "idp", "basic", stack.OIDCOptions{AccessTokenTTL: 5, RotateRefreshToken: "always"})
	e.connect(t, "account", "idp")
	former := e.token(t, "account")
	for round := 1; round <= 2; round++ {
		require.Eventually(t, func() bool { return !knows(t, server, former) }, patience, 20*time.Millisecond)

		tokens := make([]any, 50)
		var callers sync.WaitGroup
		for i := range tokens {
			callers.Go(func() {
				answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/creds/account")
				if assert.NoError(t, err) {
					tokens[i] = answer.Data["access_token"]
				}
			})
		}
		for range 10 {
			callers.Go(func() {
				_, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/refresh/account", nil)
				assert.NoError(t, err)
			})
		}
		callers.Wait()

		next := tokens[0].(string)
		assert.NotEqual(t, former, next)
		assert.True(t, knows(t, server, next))
		for _, token := range tokens {
			assert.Equal(t, next, token)
		}
		refreshes(t, server, round, round)
		e.stands(t, "account", "active", "")
		former = next
	}
}

func TestCallerHangsUpDuringRefresh(t *testing.T) {
	t.Parallel()
	for verb, call := range map[string]func(ctx context.Context, e *engine) error{
		"creds": func(ctx context.Context, e *engine) error {
			_, _, err := e.insist(ctx, "account", replaceable)
			return err
		},
		"expired creds": func(ctx context.Context, e *engine) error {
			_, err := e.vault.Client.Logical().ReadWithContext(ctx, e.path+"/creds/account")
			return err
		},
		"refresh": func(ctx context.Context, e *engine) error {
			_, err := e.renew(ctx, "account")
			return err
		},
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			o := stack.OIDCOptions{RotateRefreshToken: "always", AccessTokenTTL: int(replaceable.Seconds())}
			if verb != "creds" {
				o.AccessTokenTTL = 3 // a token just issued is not replaced on demand, unless it is dead
			}
			server := e.newOIDC(t, "idp", "basic", o)
			e.connect(t, "account", "idp")
			former := e.token(t, "account")
			if verb == "creds" {
				e.ages(t, soonest, "account")
			} else {
				e.expires(t, "account", func(token string) bool { return knows(t, server, token) })
			}
			require.NoError(t, server.Control(t.Context(), stack.OIDCControl{TokenDelayMS: 1000}))

			ctx, hangUp := context.WithCancel(t.Context())
			left := meanwhile(func() { assert.ErrorIs(t, call(ctx, e), context.Canceled) })
			received(t, server, 1)
			hangUp()
			within(t, left, "the caller is gone")

			token := e.serves(t, "account", func(token string) bool { return token != former })
			assert.True(t, knows(t, server, token))
			refreshes(t, server, 1, 1)
			e.stands(t, "account", "active", "")
		})
	}
}

func TestCallerHangsUpDuringExchange(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service")
	request := s.consent(t, "account")
	kept, behavior := late()
	s.Next("token", behavior)

	ctx, hangUp := context.WithCancel(t.Context())
	left := meanwhile(func() {
		_, err := e.vault.Client.Logical().WriteWithContext(ctx, e.path+"/exchange", request)
		assert.ErrorIs(t, err, context.Canceled)
	})
	within(t, kept.made, "the code is spent")
	hangUp()
	within(t, left, "the caller is gone")
	close(kept.sent)

	token := e.serves(t, "account", s.Alive)
	for range 2 {
		assert.Equal(t, "active", e.write(t, "exchange", request)["status"])
	}
	assert.Equal(t, token, e.token(t, "account"))
	assert.Equal(t, 1, s.Count("token"))
	assert.Zero(t, s.Count("refresh"))
}
