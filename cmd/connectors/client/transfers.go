package client

import "context"

// Transfer is an offer of a connection to another owner, or a rename that was made.
type Transfer struct {
	Answer `json:"-"`

	To      string `json:"to"`
	By      string `json:"by"`
	ByID    string `json:"by_id"`
	Time    string `json:"time"`
	Expires string `json:"expires"` // until when it may be accepted; empty after a rename
	Moved   bool   `json:"moved"`   // it was a rename
}

// Transfer reads the offer that is open. None is an [Error] of status 404.
func (c *Client) Transfer(ctx context.Context, path string) (*Transfer, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	transfer := &Transfer{}
	return transfer, c.read(ctx, "transfer/"+path, nil, transfer)
}

// Offer offers a connection to another owner, at the path to; another name of the same owner renames it at once. The
// warnings say what will not go along.
func (c *Client) Offer(ctx context.Context, path, to string) (*Transfer, error) {
	for _, one := range []string{path, to} {
		if err := CheckPath(one); err != nil {
			return nil, err
		}
	}
	transfer := &Transfer{}
	return transfer, c.write(ctx, "transfer/"+path, map[string]any{"to": to}, transfer)
}

// Withdraw ends the offer of a connection, if there is one.
func (c *Client) Withdraw(ctx context.Context, path string) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	_, err := c.delete(ctx, "transfer/"+path, nil)
	return err
}

// AcceptRequest says which offer to take.
type AcceptRequest struct {
	From      string `json:"from"`                // the connection that is offered
	Provision bool   `json:"provision,omitempty"` // for a live entity that is not the caller's own
}

// Accept takes the connection that is offered to this very path. The warnings say what did not go along.
func (c *Client) Accept(ctx context.Context, path string, request AcceptRequest) (*Connection, error) {
	for _, one := range []string{path, request.From} {
		if err := CheckPath(one); err != nil {
			return nil, err
		}
	}
	connection := &Connection{}
	return connection, c.write(ctx, "accept/"+path, request, connection)
}
