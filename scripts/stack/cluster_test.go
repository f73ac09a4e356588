package stack_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

func TestCluster(t *testing.T) {
	cluster, err := stack.StartCluster(t.Context(), locate(t), stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(cluster.Stop)
	active, err := cluster.Active(t.Context())
	require.NoError(t, err)
	require.NoError(t, active.Mount(t.Context(), "connectors"))

	tests := []struct {
		name         string
		depose, mend func(*stack.Node) error
	}{
		{
			name:   "killed",
			depose: func(n *stack.Node) error { n.Kill(); return nil },
			mend:   func(n *stack.Node) error { return n.Restart(t.Context()) },
		},
		{
			name:   "paused",
			depose: func(n *stack.Node) error { n.Pause(); return nil },
			mend:   func(n *stack.Node) error { n.Continue(); return nil },
		},
		{
			name:   "sealed",
			depose: func(n *stack.Node) error { return n.Client.Sys().SealWithContext(t.Context()) },
			mend:   func(n *stack.Node) error { return n.Unseal(t.Context()) },
		},
		{ // the last: for ten seconds it would not lead, even if the others chose it
			name:   "stepped down",
			depose: func(n *stack.Node) error { return n.Client.Sys().StepDownWithContext(t.Context()) },
			mend:   func(*stack.Node) error { return nil },
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			former, err := cluster.Active(t.Context())
			require.NoError(t, err)
			require.NoError(t, tc.depose(former))
			active, err := cluster.Active(t.Context(), former)
			require.NoError(t, err)
			_, err = active.Client.Logical().ReadWithContext(t.Context(), "connectors/config")
			require.NoError(t, err, "the engine runs there")

			require.NoError(t, tc.mend(former))
			require.NoError(t, former.AwaitStandby(t.Context()))
			plugins, err := active.PluginPIDs()
			require.NoError(t, err)
			assert.Len(t, plugins, 1)
		})
	}
}
