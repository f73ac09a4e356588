package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

// answerTime is how long a node may take to tell its health. One that is paused takes the connection and is silent.
const answerTime = time.Second

// Cluster is a Vault of three nodes on one raft log: one is active and runs the engine, two stand by. It has no audit
// device: an audit file's path is the same for all nodes, and ours share a machine.
type Cluster struct {
	Nodes   []*Node
	network network
}

// Node is one Vault of a cluster. Its client talks to this node only, but follows a standby's redirection.
type Node struct {
	*RaftVault
	id     string
	door   *door // which its peers know it by
	paused bool
}

// StartCluster starts, initialises and unseals a cluster, with the engine registered but not mounted.
// Ports are chosen.
func StartCluster(ctx context.Context, tools Tools, o VaultOptions) (*Cluster, error) {
	c := &Cluster{}
	for _, id := range []string{"one", "two", "three"} {
		v, err := prepareVault(tools, VaultOptions{Env: o.Env})
		if err != nil {
			c.Stop()
			return nil, err
		}
		n := &Node{RaftVault: &RaftVault{Vault: v}, id: id}
		c.Nodes = append(c.Nodes, n)
		if err = c.add(n); err != nil {
			c.Stop()
			return nil, err
		}
	}
	if err := c.form(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("form a cluster: %w", err)
	}
	return c, nil
}

// add starts a node behind a door of the cluster's network.
func (c *Cluster) add(n *Node) (err error) {
	if n.door, err = c.network.open(n.options.Port + 1); err != nil {
		return err
	}
	if err := n.configure(); err != nil {
		return err
	}
	return n.launch()
}

func (n *Node) configure() error {
	data := filepath.Join(n.dir, "raft")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	file := filepath.Join(n.dir, "vault.hcl")
	n.command = []string{"server", "-config=" + file}
	// The defaults suit machines in different places: a node would be a voter after half a minute, and a leader missed
	// after several seconds.
	config := fmt.Sprintf(`
disable_mlock    = true
plugin_directory = %q
api_addr         = "http://127.0.0.1:%[2]d"
cluster_addr     = "https://%[3]s"

listener "tcp" {
  address     = "127.0.0.1:%[2]d"
  tls_disable = true
}

storage "raft" {
  path                         = %[4]q
  node_id                      = %[5]q
  performance_multiplier       = 1
  autopilot_reconcile_interval = "1s"
  autopilot_update_interval    = "500ms"
}
`, n.pluginDir(), n.options.Port, n.door.Addr(), data, n.id)
	return os.WriteFile(file, []byte(config), 0o600)
}

// form makes one cluster of nodes that know nothing of each other.
func (c *Cluster) form(ctx context.Context) error {
	first := c.Nodes[0]
	if err := first.initialise(ctx); err != nil {
		return err
	}
	// The typed call would also send what only an Enterprise Vault takes.
	_, err := first.Client.Logical().WriteWithContext(ctx, "sys/storage/raft/autopilot/configuration", map[string]any{
		"server_stabilization_time": "1s",
	})
	if err != nil {
		return fmt.Errorf("configure autopilot: %w", err)
	}
	if err := first.register(ctx); err != nil {
		return err
	}
	for _, n := range c.Nodes[1:] {
		n.unsealKey, n.version = first.unsealKey, first.version
		n.useToken(first.Token)
		if err := n.awaitHealth(ctx, func(status int) bool {
			return status == http.StatusNotImplemented
		}); err != nil {
			return err
		}
		if _, err := n.Client.Sys().RaftJoinWithContext(ctx,
			&api.RaftJoinRequest{LeaderAPIAddr: first.Addr}); err != nil {
			return fmt.Errorf("join node %s: %w", n.id, err)
		}
		// Once: a second key while Vault still works on the first leaves it with two standby loops.
		if _, err := n.Client.Sys().UnsealWithContext(ctx, n.unsealKey); err != nil {
			return fmt.Errorf("unseal node %s: %w", n.id, err)
		}
		if err := n.AwaitStandby(ctx); err != nil {
			return err
		}
	}
	return first.process.ready(ctx, func(ctx context.Context) error {
		voters, err := first.voters(ctx)
		if err == nil && voters < len(c.Nodes) {
			err = fmt.Errorf("%d of %d nodes have a vote", voters, len(c.Nodes))
		}
		return err
	})
}

// voters counts the nodes without which the cluster may not lose one.
func (n *Node) voters(ctx context.Context) (int, error) {
	state, err := n.Client.Sys().RaftAutopilotStateWithContext(ctx)
	if err != nil {
		return 0, err
	}
	if state == nil {
		return 0, errors.New("autopilot does not run yet")
	}
	return len(state.Voters), nil
}

// Active waits until a node serves requests, and gives it. Nodes named in except do not count: one that was paused
// goes on for a moment as if it still led.
func (c *Cluster) Active(ctx context.Context, except ...*Node) (*Node, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		for _, n := range c.Nodes {
			if !n.paused && !slices.Contains(except, n) && n.health(ctx) == http.StatusOK {
				return n, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("no node of the cluster became active: %w", ctx.Err())
		}
	}
}

// Settled waits until one node is active and all others stand by, and gives it.
func (c *Cluster) Settled(ctx context.Context) (*Node, error) {
	active, err := c.Active(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range c.Nodes {
		if n == active {
			continue
		}
		if err := n.AwaitStandby(ctx); err != nil {
			return nil, err
		}
	}
	return active, nil
}

// health is what a node says of itself: 200 active, 429 standby, 503 sealed; 0 when it says nothing.
func (n *Node) health(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	got, err := status(ctx, n.Addr+"/v1/sys/health")
	if err != nil {
		return 0
	}
	return got
}

// AwaitStandby waits until the node stands by and its plugins are gone: whatever they had in hand is settled or lost.
func (n *Node) AwaitStandby(ctx context.Context) error {
	return n.process.ready(ctx, func(ctx context.Context) error {
		if got := n.health(ctx); got != http.StatusTooManyRequests {
			return fmt.Errorf("the health of node %s is %d", n.id, got)
		}
		plugins, err := n.PluginPIDs()
		if err == nil && len(plugins) > 0 {
			err = fmt.Errorf("plugin processes %v of node %s still run", plugins, n.id)
		}
		return err
	})
}

// Pause stops the node's Vault as if its machine were suspended, but not its plugins: they find storage silent. If it
// was active, the others elect another.
func (n *Node) Pause() {
	n.paused = true
	n.process.signal(syscall.SIGSTOP)
}

// Continue ends a pause. The node learns only then that it was deposed.
func (n *Node) Continue() {
	n.process.signal(syscall.SIGCONT)
	n.paused = false
}

// Unseal unseals a node that was sealed and goes on running, and waits until it takes part again.
func (n *Node) Unseal(ctx context.Context) error {
	if err := n.awaitHealth(ctx, func(status int) bool {
		return status == http.StatusServiceUnavailable
	}); err != nil {
		return err
	}
	if _, err := n.Client.Sys().UnsealWithContext(ctx, n.unsealKey); err != nil {
		return fmt.Errorf("unseal node %s: %w", n.id, err)
	}
	return n.awaitHealth(ctx, func(status int) bool {
		return status == http.StatusOK || status == http.StatusTooManyRequests
	})
}

// Restart starts a node that was killed, on its data and port, and unseals it.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.launch(); err != nil {
		return err
	}
	return n.Unseal(ctx)
}

// Stop ends all nodes with all their plugins, without a farewell, and removes their files.
func (c *Cluster) Stop() {
	for _, n := range c.Nodes {
		if n.process != nil {
			n.process.kill()
		}
		n.Vault.Stop()
	}
	c.network.close()
}
