package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// neighbour mounts the engine once more in the process of another mount, beside the same provider.
func (f *fixture) neighbour(t *testing.T, o Options, mount mounter) *fixture {
	t.Helper()
	other := newFixture(t, o, mount)
	other.clock, other.provider = f.clock, f.provider
	other.Write("providers/acme", f.acme()).OK(t)
	return other
}

// The mounts of one process may use one app. A provider that ends all grants of an account would end the other's too.
func TestDeleteSparesTheAccountOfAnotherMount(t *testing.T) {
	stranger := providertest.Respond(http.StatusOK, `{"sub":"account-2","name":"Grace"}`)
	for name, c := range map[string]struct {
		arrange func(t *testing.T, own, other *fixture)
		spared  bool
	}{
		"the same account at the same app": {func(t *testing.T, _, other *fixture) { other.connect(t, "theirs") }, true},
		"under another provider's name": {func(t *testing.T, own, other *fixture) {
			other.Write("providers/acme-too", own.acme()).OK(t)
			other.Write("exchange", other.own(t, "theirs", map[string]any{"provider": "acme-too"})).OK(t)
		}, true},
		"of a provider that has changed since": {func(t *testing.T, own, other *fixture) {
			other.connect(t, "theirs")
			other.Write("providers/acme", map[string]any{"client_id": "another"}).OK(t)
		}, true},
		"of a provider that has changed since, and is looked at anew": {func(t *testing.T, _, other *fixture) {
			other.connect(t, "theirs")
			other.Write("providers/acme", map[string]any{"client_id": "another"}).OK(t)
			other.Backend.InvalidateKey(t.Context(), "connection/org/default/theirs")
			other.Read("status", nil).OK(t)
		}, true},
		"another account": {func(t *testing.T, own, other *fixture) {
			own.provider.Next(providers.StepIdentity, stranger)
			other.connect(t, "theirs")
		}, false},
		"another app": {func(t *testing.T, own, other *fixture) {
			other.Write("providers/acme", map[string]any{"client_id": "another", "client_secret": "x"}).OK(t)
			own.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK, `{"access_token":"a"}`))
			own.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"account-1"}`))
			back := map[string]any{"code": "x", "state": query(t, other.start(t, "theirs",
				map[string]any{"redirect_uri": appRedirect})["url"].(string), "state")}
			other.Write("exchange", back).OK(t)
		}, false},
		"one that was deleted": {func(t *testing.T, own, other *fixture) {
			other.connect(t, "theirs")
			other.Delete("connections/theirs", nil).OK(t)
		}, false},
		"one of a provider that is gone": {func(t *testing.T, _, other *fixture) {
			other.connect(t, "theirs")
			other.Delete("providers/acme", map[string]any{"force": true}).OK(t)
			other.Backend.InvalidateKey(t.Context(), "connection/org/default/theirs")
			other.Read("status", nil).OK(t)
		}, true},
		"one that cannot be read": {func(t *testing.T, _, other *fixture) {
			other.undecodable(t, "connection/org/default/damaged")
			other.Backend.InvalidateKey(t.Context(), "connection/org/default/damaged")
			other.Read("status", nil).OK(t)
		}, true},
		"a mount that has ended": {func(t *testing.T, _, other *fixture) {
			other.connect(t, "theirs")
			other.Stop()
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Process: &Process{}}
			own := newFixture(t, o, testenv.InProcess)
			other := own.neighbour(t, o, testenv.InProcess)
			own.connect(t, "ours")
			c.arrange(t, own, other)
			before := own.provider.Count(providers.StepRevoke)
			r := own.Delete("connections/ours", nil)
			r.OK(t)
			if c.spared {
				require.Equal(t, []string{sharedWarning}, r.Warnings)
				assert.Equal(t, before, own.provider.Count(providers.StepRevoke))
				return
			}
			assert.Nil(t, r.Response, "nothing to warn of")
			assert.Equal(t, before+1, own.provider.Count(providers.StepRevoke))
		})
	}
}

// Another mount whose storage hangs holds up nobody, and may have what it cannot name.
func TestDeleteBesideAMountThatHangs(t *testing.T) {
	o := Options{Process: &Process{}}
	own := newFixture(t, o, testenv.InProcess)
	own.connect(t, "ours")
	storage, release := &testenv.Storage{}, make(chan struct{})
	storage.Block(func(a testenv.Access) bool { return true }, func(testenv.Access) { <-release })
	other := testenv.InProcess(t, New(o), storage)
	r := own.Delete("connections/ours", nil)
	r.OK(t)
	assert.Equal(t, []string{sharedWarning}, r.Warnings)
	assert.Zero(t, own.provider.Count(providers.StepRevoke))
	close(release)
	storage.Block(nil, nil)
	own.connect(t, "ours")
	require.Eventually(t, func() bool {
		return other.Read("status", nil).Status == http.StatusOK
	}, time.Minute, time.Millisecond)
	assert.Nil(t, own.Delete("connections/ours", nil).Response, "it has none")
}

// Whether a stranger's connection, or which of what else, kept a grant from being revoked is nobody's business.
func TestOneWarningForWhateverMayShareAnAccount(t *testing.T) {
	for name, arrange := range map[string]func(t *testing.T, f *fixture){
		"a connection of a stranger": func(t *testing.T, f *fixture) { f.connect(t, "user/u1/theirs") },
		"one under another provider of the same app": func(t *testing.T, f *fixture) {
			f.Write("providers/acme-too", f.acme()).OK(t)
			f.Write("exchange", f.own(t, "theirs", map[string]any{"provider": "acme-too"})).OK(t)
		},
		"one that cannot be read": func(t *testing.T, f *fixture) {
			f.undecodable(t, "connection/org/default/damaged")
			f.restart(t)
		},
		"storage that does not list": func(t *testing.T, f *fixture) {
			f.Storage.Judge(func(a testenv.Access) error {
				if a.Op == "list" && a.Under("connection/") {
					return testenv.ErrStorage
				}
				return nil
			})
			f.restart(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, "ours")
				arrange(t, f)
				r := f.Delete("connections/ours", nil)
				r.OK(t)
				assert.Equal(t, []string{sharedWarning}, r.Warnings)
				assert.Zero(t, f.provider.Count(providers.StepRevoke))
			})
		})
	}
}
