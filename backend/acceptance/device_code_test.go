package acceptance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// types has a person open the address of a device flow, log in, and agree or not.
func types(t *testing.T, flow map[string]any, robot *stack.Robot, says string) {
	t.Helper()
	page, err := robot.Walk(t.Context(), flow["verification_uri_complete"].(string), "nowhere")
	require.Nil(t, page)
	require.ErrorContains(t, err, says, "the pages end there")
}

// deviceState waits until a flow is not pending any more.
func (e *engine) deviceState(t *testing.T, name string) map[string]any {
	t.Helper()
	var state map[string]any
	require.Eventually(t, func() bool {
		state = e.read(t, "device-code/"+name)
		return state["state"] != "pending"
	}, patience, 100*time.Millisecond)
	return state
}

// A person types the code in a browser of their own, and the account is connected and kept fresh as any other.
func TestDeviceCodeOfAnIssuer(t *testing.T) {
	for _, client := range []string{"basic", "post", "public"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			server := e.newOIDC(t, "idp", client, stack.OIDCOptions{AccessTokenTTL: 5, RotateRefreshToken: "always"})
			_, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/device-code/tv",
				map[string]any{"provider": "idp"})
			require.ErrorContains(t, err, "kinds on providers/idp", "it is off until the operator names it")
			e.write(t, "providers/idp", map[string]any{"kinds": "device_code"})

			flow := e.write(t, "device-code/tv", map[string]any{"provider": "idp"})
			assert.Equal(t, "pending", e.read(t, "device-code/tv")["state"])
			types(t, flow, stack.NewRobot(person), "Sign-in Success")
			require.Equal(t, "connected", e.deviceState(t, "tv")["state"])
			view := e.read(t, "connections/tv")
			assert.Equal(t, []any{"active", "device_code", person},
				[]any{view["status"], view["kind"], view["account"].(map[string]any)["id"]})
			first := e.read(t, "creds/tv")["access_token"]
			assert.NotContains(t, e.read(t, "creds/tv"), "refresh_token")
			require.Eventually(t, func() bool { return !knows(t, server, first) }, patience, 100*time.Millisecond)
			second := e.read(t, "creds/tv")["access_token"]
			assert.NotEqual(t, first, second)
			assert.True(t, knows(t, server, second), "it is renewed")
		})
	}
}

// A plugin that is killed while the person looks for the code: the next one goes on.
func TestPluginKilledDuringADeviceFlow(t *testing.T) {
	t.Parallel()
	v := ownVault(t)
	e := mountOn(t, v)
	server := e.newOIDC(t, "idp", "basic", stack.OIDCOptions{})
	e.write(t, "providers/idp", map[string]any{"kinds": "device_code"})
	flow := e.write(t, "device-code/tv", map[string]any{"provider": "idp"})
	killPlugin(t, v)
	assert.Equal(t, "pending", e.read(t, "device-code/tv")["state"])
	types(t, flow, stack.NewRobot(person), "Sign-in Success")
	require.Equal(t, "connected", e.deviceState(t, "tv")["state"])
	assert.True(t, knows(t, server, e.read(t, "creds/tv")["access_token"]))
}
