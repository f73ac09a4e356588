package client

import "context"

// FlowRequest says what to connect by a person's consent.
type FlowRequest struct {
	Provider       string            `json:"provider,omitempty"` // by default the connection's, or of its name
	Kind           string            `json:"kind,omitempty"`
	Scopes         []string          `json:"scopes,omitempty"`
	OptionalScopes []string          `json:"optional_scopes,omitempty"`
	RequiredScopes []string          `json:"required_scopes,omitempty"`
	Inputs         map[string]string `json:"inputs,omitempty"`
	RedirectURI    string            `json:"redirect_uri,omitempty"`
	ReturnURL      string            `json:"return_url,omitempty"`
	LoginHint      string            `json:"login_hint,omitempty"`
	SessionBinding string            `json:"session_binding,omitempty"`
	Private        *bool             `json:"private,omitempty"`
	Provision      bool              `json:"provision,omitempty"`
}

// Flow is one attempt to connect.
type Flow struct {
	Answer `json:"-"`

	URL         string `json:"url"` // for the person's browser
	FlowID      string `json:"flow_id"`
	ExpireTime  string `json:"expire_time"`
	RedirectURI string `json:"redirect_uri"`
	NextStep    string `json:"next_step"`
}

// AuthCodeURL starts a flow. A connection that serves goes on serving.
func (c *Client) AuthCodeURL(ctx context.Context, path string, request FlowRequest) (*Flow, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	flow := &Flow{}
	return flow, c.write(ctx, "auth-code-url/"+path, request, flow)
}

// ExchangeRequest finishes a flow: one that came back to Vault by FlowID and ConfirmationCode, one that came back to
// the application by State and Code, or by all it received there in Callback.
type ExchangeRequest struct {
	FlowID              string            `json:"flow_id,omitempty"`
	ConfirmationCode    string            `json:"confirmation_code,omitempty"`
	State               string            `json:"state,omitempty"`
	Code                string            `json:"code,omitempty"`
	Issuer              string            `json:"iss,omitempty"`
	Callback            map[string]string `json:"callback,omitempty"`
	SessionBindingValue string            `json:"session_binding_value,omitempty"`
	AllowAccountChange  bool              `json:"allow_account_change,omitempty"`
}

// Exchange finishes a flow and gives the connection. The same request sent again gets the same answer.
func (c *Client) Exchange(ctx context.Context, request ExchangeRequest) (*Connection, error) {
	connection := &Connection{}
	return connection, c.write(ctx, "exchange", request, connection)
}
