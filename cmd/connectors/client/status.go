package client

import "context"

// Status is how the engine fares.
type Status struct {
	Answer `json:"-"`

	Version              string                  `json:"version"`
	Connections          int                     `json:"connections"`
	Unreadable           int                     `json:"unreadable"`
	ByStatus             map[string]int          `json:"by_status"`
	ByProvider           map[string]int          `json:"by_provider"`
	Providers            int                     `json:"providers"`
	OpenFlows            int                     `json:"open_flows"`
	Scheduled            int                     `json:"scheduled"`
	Due                  int                     `json:"due"`
	Overdue              int                     `json:"overdue"` // for more than a minute
	InFlight             int                     `json:"in_flight"`
	Calls                int                     `json:"calls"`
	CallsWaiting         int                     `json:"calls_waiting"`
	LongestWait          int                     `json:"longest_wait"` // seconds
	Retrying             int                     `json:"retrying"`
	ReconnectSoon        int                     `json:"reconnect_soon"` // within two weeks
	ScopeDrift           int                     `json:"scope_drift"`
	RotationDue          int                     `json:"rotation_due"`
	RotationDueProviders []string                `json:"rotation_due_providers"`
	OwnersMissingHeld    int                     `json:"owners_missing_held"`
	Circuits             map[string]Circuit      `json:"circuits"`
	Frozen               Freezes                 `json:"frozen"`
	FrozenConnections    int                     `json:"frozen_connections"`
	FrozenLimits         map[string]int          `json:"frozen_limits"`
	MovedCallbacks       []string                `json:"moved_callbacks"` // providers
	LastPass             string                  `json:"last_pass"`
	Unsaved              int                     `json:"unsaved"`
	DoubtfulWrites       int                     `json:"doubtful_writes"`
	Webhooks             map[string]WebhookState `json:"webhooks"`
	NoticesPending       int                     `json:"notices_pending"`
	NoticesCounted       int                     `json:"notices_counted"`
	RefreshPaused        bool                    `json:"refresh_paused"`
	RefreshPausedReason  string                  `json:"refresh_paused_reason"`
	RestoredGap          int                     `json:"restored_gap"` // seconds
	RestoredGapSince     string                  `json:"restored_gap_since"`
	Writable             bool                    `json:"writable"`
}

// WebhookState is how the sending to a webhook goes.
type WebhookState struct {
	Disabled   bool `json:"disabled"`
	Failures   int  `json:"failures"`    // in a row
	PendingAge int  `json:"pending_age"` // seconds
	Delivered  int  `json:"delivered"`
	Refused    int  `json:"refused"`
	Dropped    int  `json:"dropped"`
}

// Freezes are what operators froze.
type Freezes struct {
	Mount     bool              `json:"mount"`
	Owners    []string          `json:"owners"`
	Reason    string            `json:"reason"` // of the mount and the owners
	Providers map[string]string `json:"providers"`
}

// Status reads it, which is for operators.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	status := &Status{}
	return status, c.read(ctx, "status", nil, status)
}

// Config are the settings of a mount that a command asks for. The rest of them is in Data.
type Config struct {
	Answer `json:"-"`

	PublicURL      string `json:"public_url"`
	DefaultOrg     string `json:"default_org"`
	LoopbackReturn bool   `json:"loopback_return"`
}

// Config reads the settings, which is for operators.
func (c *Client) Config(ctx context.Context) (*Config, error) {
	config := &Config{}
	return config, c.read(ctx, "config", nil, config)
}
