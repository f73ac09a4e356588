package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// The client secret has a path of its own beside the provider's, so that policies and the state files of tools can
// keep it apart from the rest.
func (b *backend) pathClientSecret() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "providers/" + segment("provider") + "/client-secret",
		DisplayAttrs: display("client-secret", "Client secret"),
		Fields: map[string]*framework.FieldSchema{
			"provider":           required(str("Name of the provider.")),
			"client_secret":      clientSecretField(),
			"client_key_id":      clientKeyIDField(),
			"client_certificate": clientCertificateField(),
			"drop_former":        dropFormerField(),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("write", forwarded(b.operation(b.clientSecretWrite,
				"Write the client secret of a provider.", clientSecretSchema))),
		},
		HelpSynopsis:    "The client secret of a provider, apart from its settings.",
		HelpDescription: clientSecretHelp,
	}}
}

func clientSecretField() *framework.FieldSchema {
	return secret(str("Client secret of the app, or its private key as PEM, for client_auth private_key_jwt. " +
		"Write-only. The former one stays as the fallback until drop_former " +
		"ends that; the same secret written again changes nothing."))
}

func clientKeyIDField() *framework.FieldSchema {
	return str("Where client_secret is a private key: its id at the service, sent as kid.")
}

func clientCertificateField() *framework.FieldSchema {
	return str("Where client_secret is a private key: its certificate as PEM, for services that know a key by that; its " +
		"SHA-256 is sent as x5t#S256.")
}

func dropFormerField() *framework.FieldSchema {
	return boolean("Forget the former client secret: the service does not know it any more. With a new client_secret: " +
		"keep no fallback at all.")
}

var clientSecretSchema = map[string]*framework.FieldSchema{
	"client_secret_set": providerSchema["client_secret_set"],
	"former_secret_set": providerSchema["former_secret_set"],
	"client_key_id":     providerSchema["client_key_id"],
	"rotate_by":         providerSchema["rotate_by"],
	"updated":           providerSchema["updated"],
}

func (b *backend) clientSecretWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	name := d.Get("provider").(string)
	if err := store.CheckName("provider", name); err != nil {
		return nil, badRequest("%s", err)
	}
	answered := takeAnswered(d, clientSecretSchema, nil)
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	_, written := d.GetOk("client_secret")
	for _, field := range []string{"client_key_id", "client_certificate"} {
		if _, named := d.GetOk(field); named && !written {
			return nil, badRequest("%s tells how the service knows a new key: write it with client_secret", field)
		}
	}
	if !written && !d.Get("drop_former").(bool) {
		return nil, badRequest("nothing to write: give client_secret, or drop_former=true")
	}
	whole, err := b.changeProvider(ctx, req, name, d, func(stored *store.Provider) error {
		if stored == nil {
			return badRequest("no provider %q is configured: write it to providers/%s first", name, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: map[string]any{}, Warnings: whole.Warnings}
	for field := range clientSecretSchema {
		resp.Data[field] = whole.Data[field]
	}
	warnOfAnswered(answered, resp)
	return resp, nil
}

// setClientSecret takes the client secret, by either path.
func setClientSecret(d *framework.FieldData, stored, p *store.Provider) error {
	if v, ok := d.GetOk("client_secret"); ok {
		secret, err := unmaskSecret("client_secret", v.(string), p.ClientSecret)
		if err != nil {
			return err
		}
		p.SetClientSecret(secret)
		if stored != nil {
			p.KeepFormerKey(stored)
		}
	}
	if v, ok := d.GetOk("drop_former"); ok && v.(bool) {
		p.DropFormerSecret()
	}
	return nil
}

const clientSecretHelp = `
Writes what client_secret on providers/<provider> does, by the same rules, and nothing
else: the former secret stays as the fallback, tried only after the service refused the
new one as unknown, until drop_former=true ends that. The secret cannot be read. Of a
private key client_key_id and client_certificate come in the same write.

A policy may give this path alone, to whatever rotates the app's secret; or it denies the
parameter client_secret on providers/*, and leaves the settings to somebody without it.
`
