package refresh_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Who rests for ttl, or a second longer as Vault Agent does, never holds a dead token, however short tokens live: the
// background has replaced it, or their read does. Only those that live hardly longer than the least ttl cannot be so.
func TestReadersByTTL(t *testing.T) {
	const latency, shortest = 300 * time.Millisecond, 7 * time.Second
	lives := []time.Duration{36500 * time.Millisecond, 37500 * time.Millisecond, time.Hour}
	for s := range 80 {
		lives = append(lives, time.Duration(s+1)*time.Second)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		lives = append(lives, shortest+time.Duration(random.Int64N(int64(2*time.Minute))))
	}
	for _, life := range lives {
		for _, late := range []time.Duration{0, time.Second} {
			margin, begins := 10*time.Second<<random.IntN(8), time.Duration(random.Int64N(int64(time.Second)))
			bubble(t, fmt.Sprintf("of %s, margin %s, %s late", life, margin, late), func(t *testing.T) {
				b := given(t, time.Hour)
				b.source.life = life
				b.source.before = func(int) error { time.Sleep(latency); return nil }
				b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.Margin = margin }
				b.edit(t, func(c *store.Connection) { c.Grant.Issued, c.Grant.Expires = time.Now(), time.Now().Add(life) })
				work(t, b)
				time.Sleep(begins)
				var held time.Time
				for i := range 20 {
					a, err := b.Get(context.Background(), key, anybody, 0)
					require.NoError(t, err)
					if i > 0 && life >= shortest {
						require.False(t, time.Now().After(held), "read %d: it was dead for %s", i, time.Since(held))
					}
					held = a.Connection.Grant.Expires
					ttl, _ := a.TTL(time.Now())
					require.GreaterOrEqual(t, ttl, refresh.MinTTL)
					time.Sleep(ttl + late)
				}
				synctest.Wait()
			})
		}
	}
}

// What ttl promises is there: the background is to have replaced the token by then, or so little is left of it that a
// read waits for a newer one.
func TestPromiseOfTTL(t *testing.T) {
	bubble(t, "for any life, margin and name", func(t *testing.T) {
		b := given(t, time.Hour)
		random := rand.New(rand.NewPCG(3, 4))
		same := fingerprint
		for range 20000 {
			life := time.Second + time.Duration(random.Int64N(int64(time.Hour)))
			if random.IntN(2) == 0 {
				life = time.Second + time.Duration(random.Int64N(int64(time.Minute)))
			}
			terms := refresh.Terms{
				Fingerprint: &same, CanRefresh: true, Poll: 5 * time.Minute,
				Margin: 10*time.Second + time.Duration(random.Int64N(int64(15*time.Minute))),
			}
			now := time.Now()
			conn := &store.Connection{Credential: store.Credential{Pinned: fingerprint, Grant: &providers.Grant{
				AccessToken: providers.NewSecret("token"), Issued: now, Expires: now.Add(life),
			}}}
			k := store.Key{Owner: key.Owner, Name: fmt.Sprint("name-", random.Int())}
			ttl, period := refresh.Answer{Connection: conn, Terms: terms}.TTL(now)
			require.Equal(t, ttl, period, "of a new token")
			promised := now.Add(ttl + time.Second) // it is rounded down
			due := b.Due(k, conn, terms)
			require.True(t, !due.After(promised) || life < 35*time.Second && conn.Grant.Expires.Sub(promised) < 7*time.Second,
				"life %s, margin %s: due after %s, promised after %s", life, terms.Margin, due.Sub(now), ttl)
		}
	})
}
