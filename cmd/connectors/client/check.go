package client

import "context"

// Check is what came of asking the service whether a credential works.
type Check struct {
	Answer `json:"-"`

	Status        string   `json:"status"`
	StatusReason  string   `json:"status_reason"`
	TokenValid    string   `json:"token_valid"` // true, false or unknown
	Service       string   `json:"service"`     // well, limited, down or not_asked
	LatencyMS     int      `json:"latency_ms"`
	Account       Account  `json:"account"`
	ScopesGranted []string `json:"scopes_granted"`
	ScopesMissing []string `json:"scopes_missing"`
	Expires       string   `json:"expires"`
	CheckedTime   string   `json:"checked_time"`
	Advice        string   `json:"advice"`
}

// Check asks the service of a connection. An answer of the last ten seconds is given again.
func (c *Client) Check(ctx context.Context, path string) (*Check, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	check := &Check{}
	return check, c.write(ctx, "check/"+path, nil, check)
}
