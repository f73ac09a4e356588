package client

import "context"

// LookupRequest asks whose a found token or key is.
type LookupRequest struct {
	Token    string   `json:"token"`
	Provider []string `json:"provider,omitempty"` // of these alone
}

// Lookup is what was found, or that the search goes on.
type Lookup struct {
	Answer `json:"-"`

	State      string  `json:"state"` // found, unknown or running
	Job        string  `json:"job"`   // to be read later; empty where it is over at once
	Matches    []Match `json:"matches"`
	Examined   int     `json:"examined"`
	Total      int     `json:"total"`
	Unreadable int     `json:"unreadable"` // an unknown is one for certain where this is 0
	GoodUntil  string  `json:"good_until"`
}

// Match is a place where the secret is or was.
type Match struct {
	Of           string   `json:"of"`       // connection, import, deleted or provider
	Standing     string   `json:"standing"` // living or former
	Field        string   `json:"field"`
	ReplacedTime string   `json:"replaced_time"` // a day
	Path         string   `json:"path"`
	ConnectionID string   `json:"connection_id"`
	Owner        string   `json:"owner"`
	Provider     string   `json:"provider"`
	Kind         string   `json:"kind"`
	Label        string   `json:"label"`
	Status       string   `json:"status"`
	StatusReason string   `json:"status_reason"`
	Private      bool     `json:"private"`
	CreatedBy    string   `json:"created_by"`
	CreatedByID  string   `json:"created_by_id"`
	CreatedTime  string   `json:"created_time"`
	DeletedTime  string   `json:"deleted_time"`
	LastUsed     string   `json:"last_used"` // a day
	Readers      []Reader `json:"readers"`
	NextStep     string   `json:"next_step"`
}

// Lookup asks in the whole mount, or among the connections of an organization, such as "org/acme", and its members.
func (c *Client) Lookup(ctx context.Context, within string, request LookupRequest) (*Lookup, error) {
	path, err := lookupPath(within)
	if err != nil {
		return nil, err
	}
	lookup := &Lookup{}
	return lookup, c.write(ctx, path, request, lookup)
}

// LookupJob reads how a look-up stands that took longer.
func (c *Client) LookupJob(ctx context.Context, within, job string) (*Lookup, error) {
	path, err := lookupPath(within)
	if err == nil {
		err = CheckName("look-up", job)
	}
	if err != nil {
		return nil, err
	}
	lookup := &Lookup{}
	return lookup, c.read(ctx, path+"/"+job, nil, lookup)
}

func lookupPath(within string) (string, error) {
	if within == "" {
		return "lookup", nil
	}
	return "lookup/" + within, CheckPath(within)
}
