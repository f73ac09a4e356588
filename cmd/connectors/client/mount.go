package client

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"
)

// PluginName is the name under which the engine is registered, and so the type of its mounts.
const PluginName = "vault-plugin-secrets-connectors"

// MountVariable names the variable of the environment that says where the mount is.
const MountVariable = "CONNECTORS_MOUNT"

// NoMount says that there is not one mount of the engine that the token may use.
type NoMount struct{ Found []string }

func (e *NoMount) Error() string {
	if len(e.Found) == 0 {
		return "this token sees no mount of " + PluginName + ": name one with --mount or " + MountVariable +
			", or ask for a policy on it"
	}
	return "there are several mounts of " + PluginName + " (" + strings.Join(e.Found, ", ") +
		"): name one with --mount or " + MountVariable
}

// FindMount gives the path of the one mount of the engine that the token may use. Every token may ask for that.
func FindMount(ctx context.Context, vault *api.Client) (string, error) {
	const path = "sys/internal/ui/mounts"
	secret, err := vault.Logical().ReadWithContext(ctx, path)
	if err != nil {
		return "", asError(path, err)
	}
	var found []string
	if secret != nil {
		mounts, _ := secret.Data["secret"].(map[string]any)
		for _, at := range slices.Sorted(maps.Keys(mounts)) {
			if mount, _ := mounts[at].(map[string]any); mount["type"] == PluginName {
				found = append(found, strings.Trim(at, "/"))
			}
		}
	}
	if len(found) != 1 {
		return "", &NoMount{Found: found}
	}
	return found[0], nil
}

// FromEnvironment makes a client as the vault command would: the address and all else from the environment, the token
// from there or from the token helper. mount is where the engine is; where it is empty CONNECTORS_MOUNT is, else it
// is found by its type.
func FromEnvironment(ctx context.Context, mount string) (*Client, error) {
	server, err := ServerFromEnvironment()
	if err != nil {
		return nil, err
	}
	return server.Client(ctx, mount)
}
