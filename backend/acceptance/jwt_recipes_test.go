package acceptance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const issuerURL = "https://login.example.com"

// issuer is who vouches for people: what it signs, Vault believes.
type issuer struct{ private *ecdsa.PrivateKey }

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return &issuer{private}
}

func (i *issuer) publicKey(t *testing.T) string {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(i.private.Public())
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

// vouches signs that its bearer is that person, for that audience.
func (i *issuer) vouches(t *testing.T, subject, audience string, otherwise map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.private}, nil)
	require.NoError(t, err)
	claims := map[string]any{
		"iss": issuerURL, "sub": subject, "aud": audience, "iat": time.Now().Unix(),
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(claims, otherwise)
	signed, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(t, err)
	return signed
}

// desk is where somebody runs the commands of the recipes as they stand there: on a Vault of its own, whose mount has
// the name that they say.
type desk struct {
	*engine
	*issuer
	dir string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	v := ownVault(t)
	require.NoError(t, v.Mount(t.Context(), "connectors"))
	d := &desk{engine: &engine{vault: v, path: "connectors"}, issuer: newIssuer(t), dir: t.TempDir()}
	d.write(t, "config", map[string]any{"public_url": d.url(), "egress_allow": "127.0.0.1"})
	d.write(t, "providers/openai", nil)
	scripts, err := filepath.Abs("../../scripts")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(scripts, filepath.Join(d.dir, "scripts")))
	d.put(t, "issuer.pem", d.publicKey(t))
	d.put(t, "alice.key", apiKey)
	return d
}

func (d *desk) put(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600))
}

// run runs the commands of a chapter with the token of whoever asks, and gives the last line that they print.
func (d *desk) run(t *testing.T, commands string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(d.shell(t, "cd \"$DESK\"\n"+commands, nil, "DESK="+d.dir)), "\n")
	return lines[len(lines)-1]
}

// logs somebody in by what the issuer signed for them.
func (d *desk) logs(t *testing.T, mount, role, signed string) *user {
	t.Helper()
	login := d.ask(t, "auth/"+mount+"/login", map[string]any{"role": role, "jwt": signed})
	return &user{engine: d.as(t, login.Auth.ClientToken), entity: login.Auth.EntityID}
}

func (d *desk) turnsAway(t *testing.T, mount, role, signed, words string) {
	t.Helper()
	answer, err := d.vault.Client.Logical().WriteWithContext(t.Context(), "auth/"+mount+"/login", map[string]any{
		"role": role, "jwt": signed,
	})
	assertRefused(t, http.StatusBadRequest, words, answer, err)
}

// reading is who an audit log says read something.
type reading struct{ Display, Entity string }

func (d *desk) readings(t *testing.T, path string) (who []reading) {
	t.Helper()
	log, err := os.ReadFile(d.vault.AuditFile)
	require.NoError(t, err)
	for line := range bytes.Lines(log) {
		var entry struct {
			Type, Error string
			Auth        struct {
				Display string `json:"display_name"`
				Entity  string `json:"entity_id"`
			}
			Request struct{ Path, Operation string }
		}
		require.NoError(t, json.Unmarshal(line, &entry))
		if entry.Type == "response" && entry.Error == "" && entry.Request.Operation == "read" &&
			entry.Request.Path == d.path+"/"+path {
			who = append(who, reading{entry.Auth.Display, entry.Auth.Entity})
		}
	}
	return who
}

// The chapters about logins by JWT, in their order, as they are written.
func TestJWTRecipes(t *testing.T) {
	t.Parallel()
	const page = "../../scripts/recipes/README.md"
	d := newDesk(t)
	d.put(t, "alice.jwt", d.vouches(t, "alice", "vault", nil))
	var alice, bob *user

	t.Run("people", func(t *testing.T) {
		steps := blocks(t, page, "## People who log in by JWT")
		require.Len(t, steps, 2)
		d.run(t, steps[0])
		assert.Equal(t, apiKey, d.run(t, steps[1]))
		alice = d.logs(t, "jwt", "people", d.vouches(t, "alice", "vault", nil))
		bob = d.logs(t, "jwt", "people", d.vouches(t, "bob", "vault", nil))
		assert.NotEqual(t, alice.entity, bob.entity)
		assert.Equal(t, apiKey, alice.read(t, "creds/self/openai")["api_key"], "after another login")
		assert.Equal(t, true, alice.read(t, "connections/self/openai")["private"])
		bob.absent(t, "connections/self/openai")
		bob.refusesRead(t, http.StatusForbidden, denied, "creds/user/"+alice.entity+"/openai")
		d.refusesRead(t, http.StatusForbidden, "is private", "creds/user/"+alice.entity+"/openai")

		shared := "creds/shared/user/" + alice.entity + "/openai"
		bob.refusesRead(t, http.StatusForbidden, "is shared with you", shared)
		alice.write(t, "shares/self/openai", map[string]any{"entities": bob.entity})
		assert.Equal(t, apiKey, bob.read(t, shared)["api_key"])
		alice.remove(t, "shares/self/openai")
		bob.write(t, "connections/self/openai", key(otherAPIKey))
	})
	require.False(t, t.Failed())

	t.Run("who is turned away", func(t *testing.T) {
		d.turnsAway(t, "jwt", "people", newIssuer(t).vouches(t, "alice", "vault", nil), "no known key")
		d.turnsAway(t, "jwt", "people", d.vouches(t, "alice", "another", nil), "aud")
		d.turnsAway(t, "jwt", "people", d.vouches(t, "alice", "vault", map[string]any{"iss": "https://evil.example"}), "iss")
		d.turnsAway(t, "jwt", "people", d.vouches(t, "alice", "vault", map[string]any{
			"exp": time.Now().Add(-time.Hour).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix(),
		}), "expired")
	})

	t.Run("an application with its user's JWT", func(t *testing.T) {
		steps := blocks(t, page, "## An application that passes its user's JWT")
		require.Len(t, steps, 2)
		d.run(t, steps[0])
		for person, own := range map[string]string{"alice": apiKey, "bob": otherAPIKey} {
			d.put(t, "alice-at-the-shop.jwt", d.vouches(t, person, "shop", nil))
			assert.Equal(t, own, d.run(t, steps[1]), person)
		}
		shop := d.logs(t, "jwt", "shop", d.vouches(t, "alice", "shop", nil))
		assert.Equal(t, alice.entity, shop.entity)
		for _, path := range []string{"creds/user/" + bob.entity + "/openai", "connections/self/openai", "shares/self/openai"} {
			shop.refusesRead(t, http.StatusForbidden, denied, path)
		}
		shop.refusesWrite(t, http.StatusForbidden, denied, "shares/self/openai", map[string]any{"everyone": true})
		d.turnsAway(t, "jwt", "people", d.vouches(t, "alice", "shop", nil), "aud") // what the shop has is not the person's
	})

	t.Run("which agent for which person", func(t *testing.T) {
		d.run(t, blocks(t, page, "## Which agent read for which person")[0])
		before := len(d.readings(t, "creds/self/openai"))
		for _, agent := range []string{"writer", "planner"} {
			u := d.logs(t, "jwt-"+agent, "people", d.vouches(t, "alice", agent, nil))
			require.Equal(t, alice.entity, u.entity)
			assert.Equal(t, apiKey, u.read(t, "creds/self/openai")["api_key"], agent)
		}
		assert.Equal(t, []reading{
			{"jwt-writer-alice", alice.entity}, {"jwt-planner-alice", alice.entity},
		}, d.readings(t, "creds/self/openai")[before:])
		d.turnsAway(t, "jwt-writer", "people", d.vouches(t, "alice", "planner", nil), "aud")

		stranger := d.logs(t, "jwt-writer", "people", d.vouches(t, "bob", "writer", nil))
		assert.NotEqual(t, bob.entity, stranger.entity, "without an alias, the login is somebody new")
		stranger.refusesRead(t, http.StatusBadRequest, "no connection", "creds/self/openai")
	})
}

func TestWrappingRecipe(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.write(t, "connections/openai", key(apiKey))
	steps := blocks(t, "../../scripts/recipes/README.md", "## Handing a credential on, once")[0]
	assert.Equal(t, apiKey, d.run(t, steps))

	// whoever comes second
	lines := strings.SplitAfter(strings.TrimSpace(steps), "\n")
	require.Len(t, lines, 2)
	wrapped := d.run(t, lines[0]+`echo "$wrapped"`)
	holder := d.as(t, wrapped)
	first := holder.cli(t, "unwrap", "-field=api_key")
	assert.Equal(t, apiKey, strings.TrimSpace(first.out), first.complaint)
	second := holder.cli(t, "unwrap", "-field=api_key")
	assert.NotZero(t, second.exit)
	assert.Contains(t, second.complaint, "wrapping token is not valid or does not exist")
	holder.refusesRead(t, http.StatusForbidden, denied, "creds/openai")

	only := d.logIn(t, "wrapped-only", `path "connectors/creds/openai" {
  capabilities     = ["read"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "90s"
}`)
	only.refusesRead(t, http.StatusForbidden, denied, "creds/openai")
	assert.NotZero(t, only.cli(t, "read", "-wrap-ttl=1h", "{mount}/creds/openai").exit)
	asked := only.cli(t, "read", "-wrap-ttl=60s", "-field=wrapping_token", "{mount}/creds/openai")
	got := d.as(t, strings.TrimSpace(asked.out)).cli(t, "unwrap", "-field=api_key")
	assert.Equal(t, apiKey, strings.TrimSpace(got.out), got.complaint+asked.complaint)

	log, err := os.ReadFile(d.vault.AuditFile)
	require.NoError(t, err)
	assert.NotContains(t, string(log), apiKey)
	assert.NotContains(t, string(log), wrapped)
}

func TestReadingQuotaRecipe(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.write(t, "connections/openai", key(apiKey))
	once := d.as(t, d.vault.Token) // who does not ask again after a 429
	step := blocks(t, "../../scripts/recipes/README.md", "## A rate limit on reading")[0]
	require.Contains(t, step, "rate=50 interval=1s")
	d.run(t, strings.Replace(step, "rate=50 interval=1s", "rate=2 interval=1h", 1))
	for range 2 {
		assert.Equal(t, apiKey, once.read(t, "creds/openai")["api_key"])
	}
	once.refusesRead(t, http.StatusTooManyRequests, "quota", "creds/openai")
	once.refusesRead(t, http.StatusTooManyRequests, "quota", "creds/self/openai")
	assert.Equal(t, "active", once.read(t, "connections/openai")["status"], "other paths are not limited")
	d.run(t, step) // as it is
	assert.Equal(t, apiKey, once.read(t, "creds/openai")["api_key"])
}
