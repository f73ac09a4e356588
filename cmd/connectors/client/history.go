package client

import "context"

// History is what changed of the connections of a name, newest first.
type History struct {
	Answer `json:"-"`

	Records []Record `json:"records"`
}

// Record is one change. By is empty where the engine itself found something.
type Record struct {
	Number       int      `json:"number"`
	ConnectionID string   `json:"connection_id"`
	Time         string   `json:"time"`
	Verb         string   `json:"verb"`
	By           string   `json:"by"`
	ByID         string   `json:"by_id"`
	Changes      []Change `json:"changes"`
}

// Change is what became of one field.
type Change struct {
	Field  string `json:"field"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// History reads it. It outlives the connection for a while.
func (c *Client) History(ctx context.Context, path string) (*History, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	history := &History{}
	return history, c.read(ctx, "history/"+path, nil, history)
}
