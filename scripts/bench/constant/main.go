// Command constant is a secrets engine that answers every read with what was last written to it, from memory: what any
// external plugin costs before it does anything.
package main

import (
	"context"
	"os"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

func main() {
	meta := &api.PluginAPIClientMeta{}
	if err := meta.FlagSet().Parse(os.Args[1:]); err != nil {
		os.Exit(1)
	}
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: factory, TLSProviderFunc: api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		hclog.New(&hclog.LoggerOptions{JSONFormat: true}).Error("the plugin ends", "error", err)
		os.Exit(1)
	}
}

func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	var answer atomic.Pointer[map[string]any]
	b := &framework.Backend{
		BackendType: logical.TypeLogical,
		Paths: []*framework.Path{{
			Pattern: "creds/(?P<name>[^/]+)", TakesArbitraryInput: true,
			Fields: map[string]*framework.FieldSchema{"name": {Type: framework.TypeString}},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback: func(
						context.Context, *logical.Request, *framework.FieldData,
					) (*logical.Response, error) {
						return &logical.Response{Data: *answer.Load()}, nil
					},
				},
				logical.UpdateOperation: &framework.PathOperation{
					Callback: func(
						_ context.Context, req *logical.Request, _ *framework.FieldData,
					) (*logical.Response, error) {
						answer.Store(&req.Data)
						return nil, nil
					},
				},
			},
		}},
	}
	return b, b.Setup(ctx, conf)
}
