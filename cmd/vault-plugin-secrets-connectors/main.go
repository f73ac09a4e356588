// Command vault-plugin-secrets-connectors is the plugin process that Vault starts for the connectors secrets engine.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend"
)

func main() {
	logger := hclog.New(&hclog.LoggerOptions{JSONFormat: true}) // Vault reads its plugins' log lines as JSON
	if err := run(os.Args[1:]); err != nil {
		logger.Error("the plugin ends", "error", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	version := flags.Bool("version", false, "print the engine's version and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version {
		fmt.Println(backend.Version)
		return nil
	}
	if os.Getenv("GOGC") == "" {
		tuneGC()
	}
	go endWithParent(os.Getppid())
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		// One value for all mounts: they share this process and end with it.
		BackendFactoryFunc: backend.New(backend.Options{
			Process: &backend.Process{},
			// The fence for a restored snapshot stands outside storage, since the snapshot brings its own config back.
			Paused: os.Getenv("CONNECTORS_REFRESH_PAUSED") == "1",
		}),
		// Vault 1.12 and later secure the connection themselves; this serves older ones, which unwrap a token here.
		TLSProviderFunc: api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
}
