package client

import (
	"context"
	"net/url"
)

// Shares are with whom a private connection's credential is shared.
type Shares struct {
	Answer `json:"-"`

	Shares   []Share `json:"shares"`
	Private  bool    `json:"private"`   // where it is not, policy alone says who uses it
	EntityID string  `json:"entity_id"` // the caller's own; of a read alone
	Groups   []Group `json:"groups"`    // the caller's own; of a read alone
}

// Share is one of them: an entity, a group, or everyone who has an entity.
type Share struct {
	Entity     string `json:"entity"`
	Group      string `json:"group"`
	Everyone   bool   `json:"everyone"`
	Name       string `json:"name"`      // of the entity or group, as it was when it was shared
	Unchecked  bool   `json:"unchecked"` // nobody could tell whether there is such a group
	Expires    string `json:"expires"`   // empty: never
	SharedBy   string `json:"shared_by"`
	SharedByID string `json:"shared_by_id"`
	SharedTime string `json:"shared_time"`
}

// Group is a group of Vault's identities that the caller is in.
type Group struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// ShareRequest says with whom to share, and until when.
type ShareRequest struct {
	Entities []string `json:"entities,omitempty"` // ids
	Groups   []string `json:"groups,omitempty"`   // ids, or names of groups that the caller is in
	Everyone bool     `json:"everyone,omitempty"`
	Expires  string   `json:"expires,omitempty"` // a time (RFC 3339), or how long it lasts (7d); empty: never
}

// Shares reads with whom a connection is shared.
func (c *Client) Shares(ctx context.Context, path string) (*Shares, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	shares := &Shares{}
	return shares, c.read(ctx, "shares/"+path, nil, shares)
}

// Share shares the credential with more, or renews what is shared with them. The owner's entity alone may.
func (c *Client) Share(ctx context.Context, path string, request ShareRequest) (*Shares, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	shares := &Shares{}
	return shares, c.write(ctx, "shares/"+path, request, shares)
}

// UnshareRequest says with whom to end it. One that names nobody ends all.
type UnshareRequest struct {
	Entities []string
	Groups   []string // ids, or names as the shares have them
	Everyone bool     // the share with everyone, and no other
}

// Unshare ends shares: those that are named, or all of them.
func (c *Client) Unshare(ctx context.Context, path string, request UnshareRequest) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	query := url.Values{}
	if len(request.Entities) > 0 {
		query["entities"] = request.Entities
	}
	if len(request.Groups) > 0 {
		query["groups"] = request.Groups
	}
	if request.Everyone {
		query.Set("everyone", "true")
	}
	_, err := c.delete(ctx, "shares/"+path, query)
	return err
}
