package client

import "context"

// RevokeRequest says which connections are to end: by filters, or all of the mount.
type RevokeRequest struct {
	Filters

	All bool `json:"all,omitempty"`
}

// RevokeRun carries a plan out. Expect is the plan's count; another number begins nothing.
type RevokeRun struct {
	Run    bool   `json:"run"`
	Expect int    `json:"expect"`
	Then   string `json:"then,omitempty"` // archive or delete; empty: the connections stay
}

// Revocation is a plan to end many connections, and how its run stands.
type Revocation struct {
	Answer `json:"-"`

	Job       string         `json:"job"`
	State     string         `json:"state"` // planned, running, waiting, cancelling, cancelled, done or expired
	Count     int            `json:"count"` // that were planned
	Left      int            `json:"left"`
	Ending    int            `json:"ending"`
	Done      int            `json:"done"`
	Skipped   int            `json:"skipped"`
	Outcomes  map[string]int `json:"outcomes"`
	Failures  []Failure      `json:"failures"` // a hundred at most
	Filters   map[string]any `json:"filters"`
	Then      string         `json:"then"`
	Planned   Actor          `json:"planned"`
	Ran       Actor          `json:"ran"`
	Cancelled Actor          `json:"cancelled"`
	GoodUntil string         `json:"good_until"`
	Ended     string         `json:"ended"`
}

// Failure is a connection of which something is left to do by hand.
type Failure struct {
	Path    string `json:"path"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
}

// Actor is who did something, and when. All of it is empty where nobody did.
type Actor struct {
	DisplayName string `json:"display_name"`
	EntityID    string `json:"entity_id"`
	Time        string `json:"time"`
}

// Revocations are the jobs that are kept.
type Revocations struct {
	Answer `json:"-"`

	Keys    []string                   `json:"keys"`
	KeyInfo map[string]RevocationEntry `json:"key_info"`
}

// RevocationEntry is what the list tells of a job.
type RevocationEntry struct {
	State       string `json:"state"`
	Count       int    `json:"count"`
	PlannedBy   string `json:"planned_by"`
	PlannedTime string `json:"planned_time"`
}

// PlanRevocation freezes which connections are meant. Nothing is changed.
func (c *Client) PlanRevocation(ctx context.Context, request RevokeRequest) (*Revocation, error) {
	job := &Revocation{}
	return job, c.write(ctx, "revoke", request, job)
}

// RunRevocation begins the run of a plan, or confirms it again. It goes on in the background.
func (c *Client) RunRevocation(ctx context.Context, job string, run RevokeRun) (*Revocation, error) {
	if err := CheckName("job", job); err != nil {
		return nil, err
	}
	stands := &Revocation{}
	return stands, c.write(ctx, "revoke/"+job, run, stands)
}

// Revocation tells how a job stands.
func (c *Client) Revocation(ctx context.Context, job string) (*Revocation, error) {
	if err := CheckName("job", job); err != nil {
		return nil, err
	}
	stands := &Revocation{}
	return stands, c.read(ctx, "revoke/"+job, nil, stands)
}

// Revocations lists the jobs. None is no error.
func (c *Client) Revocations(ctx context.Context) (*Revocations, error) {
	list := &Revocations{}
	return list, c.list(ctx, "revoke/", nil, list)
}

// CancelRevocation begins nothing more of a job; what has begun is finished.
func (c *Client) CancelRevocation(ctx context.Context, job string) (warnings []string, err error) {
	if err := CheckName("job", job); err != nil {
		return nil, err
	}
	return c.delete(ctx, "revoke/"+job, nil)
}
