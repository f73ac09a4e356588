package client

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Filters choose connections: of each that is set, one value is to fit. Durations are spelled as the engine takes them,
// such as 7d. A nil flag is either.
type Filters struct {
	Provider        []string `json:"provider,omitempty"`
	Definition      []string `json:"definition,omitempty"`
	Category        []string `json:"category,omitempty"`
	Owner           string   `json:"owner,omitempty"`
	OwnerMissing    *bool    `json:"owner_missing,omitempty"`
	CreatedBy       []string `json:"created_by,omitempty"`
	Status          []string `json:"status,omitempty"`
	StatusReason    []string `json:"status_reason,omitempty"`
	Kind            []string `json:"kind,omitempty"`
	Account         string   `json:"account,omitempty"`
	Tag             string   `json:"tag,omitempty"`
	Label           string   `json:"label,omitempty"`
	ExpiresWithin   string   `json:"expires_within,omitempty"`
	ReconnectWithin string   `json:"reconnect_within,omitempty"`
	UncheckedFor    string   `json:"unchecked_for,omitempty"`
	UnusedFor       string   `json:"unused_for,omitempty"`
	MissingScopes   *bool    `json:"missing_scopes,omitempty"`
	Shared          *bool    `json:"shared,omitempty"`
	ScopeDrift      *bool    `json:"scope_drift,omitempty"`
	RotationDue     *bool    `json:"rotation_due,omitempty"`
	Archived        *bool    `json:"archived,omitempty"`
}

// InventoryRequest says which rows are wanted, or counts in their place.
type InventoryRequest struct {
	Filters

	Limit   int    `json:"limit,omitempty"`
	Cursor  string `json:"cursor,omitempty"` // of the page before
	CountBy string `json:"count_by,omitempty"`
}

// Inventory is a page of connections, or how many there are.
type Inventory struct {
	Answer `json:"-"`

	Connections []Row          `json:"connections"`
	Cursor      string         `json:"cursor"` // for the next page; empty at the end
	Counts      map[string]int `json:"counts"`
	Total       int            `json:"total"`
	Unreadable  int            `json:"unreadable"`
}

// Row is what the inventory tells of a connection.
type Row struct {
	Path          string            `json:"path"`
	ConnectionID  string            `json:"connection_id"`
	Provider      string            `json:"provider"`
	Definition    string            `json:"definition"`
	Category      string            `json:"category"`
	Kind          string            `json:"kind"`
	Label         string            `json:"label"`
	Tags          map[string]string `json:"tags"`
	Account       Account           `json:"account"`
	Status        string            `json:"status"`
	StatusReason  string            `json:"status_reason"`
	Private       bool              `json:"private"`
	Shared        bool              `json:"shared"`
	Archived      bool              `json:"archived"`
	CreatedBy     string            `json:"created_by"`
	CreatedByID   string            `json:"created_by_id"`
	CreatedTime   string            `json:"created_time"`
	ExpireTime    string            `json:"expire_time"`
	ReconnectBy   string            `json:"reconnect_by"`
	LastRotation  string            `json:"last_rotation"`
	RotateBy      string            `json:"rotate_by"`
	LastUsed      string            `json:"last_used"` // a day
	MissingScopes []string          `json:"missing_scopes"`
	ScopeDrift    bool              `json:"scope_drift"`
}

// Inventory reads a page of what is connected below an owner: "" (the mount), "self", "org/acme" with its members, or
// "user/u-17".
func (c *Client) Inventory(ctx context.Context, owner string, request InventoryRequest) (*Inventory, error) {
	path := "inventory"
	if owner != "" {
		if err := CheckPath(owner); err != nil {
			return nil, err
		}
		path += "/" + owner
	}
	query, err := queryOf(request)
	if err != nil {
		return nil, err
	}
	inventory := &Inventory{}
	return inventory, c.read(ctx, path, query, inventory)
}

// queryOf spells the fields of a request that are set as a query.
func queryOf(request any) (url.Values, error) {
	fields, err := fieldsOf(request)
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	for name, value := range fields {
		switch value := value.(type) {
		case bool:
			query.Set(name, strconv.FormatBool(value))
		case []any:
			var all []string
			for _, one := range value {
				all = append(all, fmt.Sprint(one))
			}
			query.Set(name, strings.Join(all, ","))
		default:
			query.Set(name, fmt.Sprint(value))
		}
	}
	return query, nil
}
