package store

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func parked() *Flow {
	f := &Flow{Expires: noon.Add(10 * time.Minute)}
	f.Park(&Parked{Code: providers.NewSecret("code"), ConfirmationCode: providers.NewSecret("ABCDEFGH")})
	return f
}

func TestExpiredAt(t *testing.T) {
	f := parked()
	assert.False(t, f.ExpiredAt(f.Expires.Add(-1)))
	assert.True(t, f.ExpiredAt(f.Expires))
	f.Void = true
	assert.True(t, f.ExpiredAt(noon))
}

func TestConfirmed(t *testing.T) {
	try := func(f *Flow, code string) bool { f.CountTry(); return f.Confirmed(code) }
	for _, right := range []string{"ABCDEFGH", "abcd-efgh", " a b c d e f g h "} {
		assert.True(t, try(parked(), right), right)
	}
	f := parked()
	for range MaxConfirmationTries - 1 {
		assert.False(t, try(f, "ABCDEFGX"))
		assert.False(t, f.Void)
	}
	last := *f
	assert.True(t, try(&last, "ABCDEFGH"), "the fifth may be right")
	assert.False(t, try(f, ""))
	assert.True(t, f.Void)

	f = parked()
	f.Tries = MaxConfirmationTries // a crash came between the count and the mark
	assert.False(t, try(f, "ABCDEFGH"))
	assert.True(t, f.Void)
	assert.False(t, try(&Flow{}, ""), "nothing parked, nothing confirmed")
	assert.False(t, try(&Flow{Parked: &Parked{}}, ""))
}

func TestBoundTo(t *testing.T) {
	sum := sha256.Sum256([]byte("value"))
	for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding} {
		binding := encoding.EncodeToString(sum[:])
		f := &Flow{SessionBinding: binding}
		assert.True(t, f.BoundTo("value"))
		assert.False(t, f.BoundTo(""))
		assert.False(t, f.BoundTo(binding), "the hash is no proof")
	}
}
