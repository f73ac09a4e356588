package client

import "context"

// LookupSelf asks Vault for the token itself, which every token may. An [Error] of status 403 means that it is no
// longer valid.
func (c *Client) LookupSelf(ctx context.Context) error {
	_, err := c.vault.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		return asError("auth/token/lookup-self", err)
	}
	return nil
}
