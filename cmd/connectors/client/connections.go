package client

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Account is whose account a connection is at its service.
type Account struct {
	ID    string `json:"id"`
	Label string `json:"label"`
	Email string `json:"email"`
}

// Choice is a site that a grant reaches, where one of several is to be picked.
type Choice struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Connection is what is told of one to everybody who may read it: nothing in it can be used at the service.
type Connection struct {
	Answer `json:"-"`

	Owner            string            `json:"owner"`
	Name             string            `json:"name"`
	Provider         string            `json:"provider"`
	Kind             string            `json:"kind"`
	Label            string            `json:"label"`
	Tags             map[string]string `json:"tags"`
	Inputs           map[string]string `json:"inputs"`
	Companions       map[string]string `json:"companions"` // masked
	Private          bool              `json:"private"`
	SharedWith       string            `json:"shared_with"`
	TransferTo       string            `json:"transfer_to"`
	TransferUntil    string            `json:"transfer_until"`
	Disabled         bool              `json:"disabled"`
	Archived         bool              `json:"archived"`
	ArchivedReason   string            `json:"archived_reason"`
	DisabledBy       []map[string]any  `json:"disabled_by"`
	Status           string            `json:"status"`
	StatusReason     string            `json:"status_reason"`
	StatusSince      string            `json:"status_since"`
	Account          Account           `json:"account"`
	Scopes           []string          `json:"scopes"`
	RequiredScopes   []string          `json:"required_scopes"`
	MissingScopes    []string          `json:"missing_scopes"`
	SurplusScopes    []string          `json:"surplus_scopes"`
	TokenType        string            `json:"token_type"`
	Choices          []Choice          `json:"choices"`
	ConnectionConfig map[string]string `json:"connection_config"`
	Key              map[string]string `json:"key"`        // masked
	FormerKey        map[string]string `json:"former_key"` // masked
	FormerKeyUntil   string            `json:"former_key_until"`
	Refreshable      bool              `json:"refreshable"`
	ExpireTime       string            `json:"expire_time"`
	ReconnectBy      string            `json:"reconnect_by"`
	LastRotation     string            `json:"last_rotation"`
	LastRefresh      string            `json:"last_refresh"`
	NextRefresh      string            `json:"next_refresh"`
	LastError        map[string]any    `json:"last_error"`
	ConnectionID     string            `json:"connection_id"`
	CreatedBy        string            `json:"created_by"`
	CreatedByID      string            `json:"created_by_id"`
	CreatedTime      string            `json:"created_time"`
	UpdatedBy        string            `json:"updated_by"`
	UpdatedByID      string            `json:"updated_by_id"`
	UpdatedTime      string            `json:"updated_time"`
	OpenFlowUntil    string            `json:"open_flow_until"`

	IsDefault        bool     `json:"is_default"` // it is named like its provider
	DebugUntil       string   `json:"debug_until"`
	LastUsed         string   `json:"last_used"` // a day
	Readers          []Reader `json:"readers"`
	RotateAfter      string   `json:"rotate_after"`
	RotateBy         string   `json:"rotate_by"`
	ScopeDrift       bool     `json:"scope_drift"`
	NewScopes        []string `json:"new_scopes"`
	LostScopes       []string `json:"lost_scopes"`
	ScopeDriftAdvice string   `json:"scope_drift_advice"`
}

// Reader is somebody who read the credential lately.
type Reader struct {
	EntityID    string `json:"entity_id"` // empty for a token without one
	DisplayName string `json:"display_name"`
	LastUsed    string `json:"last_used"` // a day
}

// Path is where the connection is, spelled with its owner.
func (c *Connection) Path() string { return c.Owner + "/" + c.Name }

// Exists reports whether there is more than an open flow.
func (c *Connection) Exists() bool { return c.CreatedTime != "" || c.Kind != "" }

// List is one level of connections: names, and folders that end in a slash.
type List struct {
	Answer `json:"-"`

	Keys    []string         `json:"keys"`
	KeyInfo map[string]Entry `json:"key_info"`
}

// listPage is the longest list whose entries the mount describes.
const listPage = 1000

// add appends the page that follows.
func (l *List) add(page *List) {
	l.Keys, l.Warnings = append(l.Keys, page.Keys...), append(l.Warnings, page.Warnings...)
	maps.Copy(l.KeyInfo, page.KeyInfo)
	if l.Data == nil {
		l.Data = page.Data
		return
	}
	keys, _ := l.Data["keys"].([]any)
	more, _ := page.Data["keys"].([]any)
	l.Data["keys"] = append(keys, more...)
	if info, ok := l.Data["key_info"].(map[string]any); ok {
		more, _ := page.Data["key_info"].(map[string]any)
		maps.Copy(info, more)
	}
}

// Entry is what a list tells of a connection.
type Entry struct {
	Provider string `json:"provider"`
	Status   string `json:"status"`
	Label    string `json:"label"`
}

// Connections lists a level, such as "self", "org/acme" or "shared"; "" is the default organization's. An empty one
// is no error.
func (c *Client) Connections(ctx context.Context, level string) (*List, error) {
	path := "connections/"
	if level = strings.Trim(level, "/"); level != "" {
		if err := CheckPath(level); err != nil {
			return nil, err
		}
		path += level + "/"
	}
	list := &List{KeyInfo: map[string]Entry{}}
	query := url.Values{"limit": {strconv.Itoa(listPage)}}
	for {
		page := &List{}
		if err := c.list(ctx, path, query, page); err != nil {
			return nil, err
		}
		list.add(page)
		if len(page.Keys) != listPage {
			return list, nil
		}
		query.Set("after", page.Keys[listPage-1])
	}
}

// Connection reads one. None there is an [Error] of status 404.
func (c *Client) Connection(ctx context.Context, path string) (*Connection, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	connection := &Connection{}
	return connection, c.read(ctx, "connections/"+path, nil, connection)
}

// WriteKey stores the fields of a key, with provider, kind, inputs, label and the like among them, and gives what a
// read answers then.
func (c *Client) WriteKey(ctx context.Context, path string, fields map[string]any) (*Connection, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	connection := &Connection{}
	return connection, c.write(ctx, "connections/"+path, fields, connection)
}

// ConnectionUpdate changes what is no credential. What is nil stays; a map or list is replaced whole, and an empty one
// clears it.
type ConnectionUpdate struct {
	Label          *string           `json:"label,omitempty"`
	Tags           map[string]string `json:"tags,omitzero"`
	Inputs         map[string]string `json:"inputs,omitzero"` // the one that picks a site; others go with a credential
	RequiredScopes []string          `json:"required_scopes,omitzero"`
	RotateAfter    *string           `json:"rotate_after,omitempty"` // such as 90d; 0: never
	DebugUntil     *string           `json:"debug_until,omitempty"`  // a time, or how long from now on
	Private        *bool             `json:"private,omitempty"`
	Disabled       *bool             `json:"disabled,omitempty"`
	Archived       *bool             `json:"archived,omitempty"`
	ArchivedReason *string           `json:"archived_reason,omitempty"`
	RestoreFormer  bool              `json:"restore_former,omitempty"` // the key that was replaced last
}

// Update changes a connection that is there, and gives what a read answers then. One that is not there is an [Error]
// of status 404.
func (c *Client) Update(ctx context.Context, path string, update ConnectionUpdate) (*Connection, error) {
	switch known, err := c.Connection(ctx, path); { // else a write would make it, where its name is a provider's
	case err != nil:
		return nil, err
	case !known.Exists():
		return nil, &Error{Status: http.StatusNotFound, Path: c.mount + "/connections/" + path, Messages: []string{
			"nothing is there but an open flow: finish that first",
		}}
	}
	connection := &Connection{}
	return connection, c.write(ctx, "connections/"+path, update, connection)
}

// Disconnect deletes a connection and has its grant revoked at the service. The warnings say where that was not done.
func (c *Client) Disconnect(ctx context.Context, path string) (warnings []string, err error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	return c.delete(ctx, "connections/"+path, nil)
}

// Missing reports whether an error of a verb, such as creds or check, came because there is no such connection: a
// verb answers 400 for that, as for any other bad input.
func (c *Client) Missing(ctx context.Context, path string, err error) bool {
	switch StatusOf(err) {
	case http.StatusNotFound:
		return true
	case http.StatusBadRequest:
		_, err := c.Connection(ctx, path)
		return StatusOf(err) == http.StatusNotFound
	}
	return false
}
