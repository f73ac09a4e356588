package client

import (
	"context"
	"net/url"
)

// LinkRequest says what a person without a Vault token is asked to connect.
type LinkRequest struct {
	Provider       string            `json:"provider,omitempty"` // by default the connection's, or of its name
	Kind           string            `json:"kind,omitempty"`
	Scopes         []string          `json:"scopes,omitempty"`
	OptionalScopes []string          `json:"optional_scopes,omitempty"`
	RequiredScopes []string          `json:"required_scopes,omitempty"`
	Inputs         map[string]string `json:"inputs,omitempty"` // what is missing is asked of the person
	ReturnURL      string            `json:"return_url,omitempty"`
	LoginHint      string            `json:"login_hint,omitempty"`
	SessionBinding string            `json:"session_binding,omitempty"`
	Private        *bool             `json:"private,omitempty"`
	Provision      bool              `json:"provision,omitempty"`
	Purpose        string            `json:"purpose,omitempty"` // shown as the sender's words
	Account        string            `json:"account,omitempty"` // the only one that may be connected: its id or email
	TTL            string            `json:"ttl,omitempty"`     // how long the link may be used (2h); by default an hour
}

// Link is for a person's browser. Whoever has its URL can use it up.
type Link struct {
	Answer `json:"-"`

	URL        string `json:"url"` // told once
	FlowID     string `json:"flow_id"`
	ExpireTime string `json:"expire_time"`
	NextStep   string `json:"next_step"`
}

// The states of a link.
const (
	LinkOffered   = "offered"   // nobody used it yet
	LinkStarted   = "started"   // the person is at the service
	LinkParked    = "parked"    // Exchange finishes it
	LinkConnected = "connected" // Exchange did
	LinkExpired   = "expired"
	LinkFailed    = "failed"
)

// LinkState is what became of a link.
type LinkState struct {
	Answer `json:"-"`

	State      string `json:"state"`
	Reason     string `json:"reason"`
	Provider   string `json:"provider"`
	ExpireTime string `json:"expire_time"` // of the link, then of its flow
	Tries      int    `json:"tries"`
	FlowID     string `json:"flow_id"`
}

// MakeLink makes a link. It connects nothing: once the person brought an account, Exchange does, with FlowID and the
// code that the page showed them.
func (c *Client) MakeLink(ctx context.Context, path string, request LinkRequest) (*Link, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	link := &Link{}
	return link, c.write(ctx, "connect-link/"+path, request, link)
}

// LinkState reads what became of the caller's link for a connection: of the flow that is named, or the last.
func (c *Client) LinkState(ctx context.Context, path, flowID string) (*LinkState, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	state := &LinkState{}
	return state, c.read(ctx, "connect-link/"+path, flowQuery(flowID), state)
}

// EndLink ends the caller's link for a connection: of the flow that is named, or the last.
func (c *Client) EndLink(ctx context.Context, path, flowID string) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	_, err := c.delete(ctx, "connect-link/"+path, flowQuery(flowID))
	return err
}

func flowQuery(flowID string) url.Values {
	query := url.Values{}
	if flowID != "" {
		query.Set("flow_id", flowID)
	}
	return query
}
