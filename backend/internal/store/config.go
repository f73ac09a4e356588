package store

import (
	"cmp"
	"strings"
	"time"
)

// Config is the mount's settings. The zero value is not valid: start from DefaultConfig.
type Config struct {
	PublicURL      string        `json:"public_url,omitempty"`
	DefaultOrg     string        `json:"default_org"`
	EgressAllow    []string      `json:"egress_allow,omitempty"`
	EndpointHosts  []string      `json:"endpoint_hosts"`
	ProxyURL       string        `json:"proxy_url,omitempty"`
	RefreshPaused  bool          `json:"refresh_paused,omitempty"`
	RefreshMargin  time.Duration `json:"refresh_margin"`
	PollInterval   time.Duration `json:"poll_interval"`
	RequestTimeout time.Duration `json:"request_timeout"`
	FlowTTL        time.Duration `json:"flow_ttl"`
	MaxOpenFlows   int           `json:"max_open_flows"`

	// 0 until somebody sets them; EndedFlows, Flows and OpenLinks give what holds.
	MaxEndedFlows int `json:"max_ended_flows,omitempty"`
	MaxFlows      int `json:"max_flows,omitempty"`
	MaxOpenLinks  int `json:"max_open_links,omitempty"` // likewise, see OpenLinks

	DisplayName string `json:"display_name,omitempty"` // whose Vault this is, for people who have no token

	MaxConnectionsPerOwner int `json:"max_connections_per_owner,omitempty"` // 0: no limit

	CheckInterval time.Duration `json:"check_interval,omitempty"` // 0: nobody set it; negative: never; see CheckEvery

	// how long a history outlives its connection; 0: nobody set it; negative: not at all; see Retention
	HistoryRetention time.Duration `json:"history_retention,omitempty"`
	LeaverGrace      time.Duration `json:"leaver_grace,omitempty"` // 0: what somebody who left had is never put away

	UseOff      bool          `json:"use_off,omitempty"`      // nobody notes who reads what; see SetTracksUse
	UseSince    time.Time     `json:"use_since,omitzero"`     // when that was turned on again
	RotateAfter time.Duration `json:"rotate_after,omitempty"` // of keys and client secrets; 0: never

	Freeze                // of the whole mount
	FrozenOwners []string `json:"frozen_owners,omitempty"` // such as org/acme, which is its members too

	PausedReason PauseReason   `json:"refresh_paused_reason,omitempty"` // with RefreshPaused
	RestoreGuard time.Duration `json:"restore_guard,omitempty"`         // above such a gap refreshing is paused; 0: never

	Notices []Notice `json:"notices,omitempty"` // of the last write that was worth some, for when a crash cut them off

	NoLoopbackReturn bool `json:"no_loopback_return,omitempty"` // callback pages lead to no command line

	PublicURLSlash bool `json:"public_url_slash,omitempty"` // it was written with a slash at its end

	unknown unknownFields
}

// PauseReason is why refreshing is paused; empty: an operator said so, and of everything.
type PauseReason string

// PausedRestore is the pause of storage that may be a restored snapshot: what cannot rotate is refreshed nevertheless.
const PausedRestore PauseReason = "restore_suspected"

// Pauses reports whether the pause, if there is one, is for grants that may rotate, or for those that do not.
func (c *Config) Pauses(rotates bool) bool {
	return c.RefreshPaused && (rotates || c.PausedReason != PausedRestore)
}

// Suspect pauses refreshing since this storage may be a restored snapshot. A pause of an operator's goes further, and
// stays.
func (c *Config) Suspect() {
	if !c.RefreshPaused {
		c.RefreshPaused, c.PausedReason = true, PausedRestore
	}
}

// DefaultConfig is what a mount does before anybody configured it.
func DefaultConfig() *Config {
	return &Config{
		DefaultOrg:     "default",
		EndpointHosts:  []string{"*"},
		RefreshMargin:  10 * time.Minute,
		PollInterval:   5 * time.Minute,
		RequestTimeout: 15 * time.Second,
		FlowTTL:        10 * time.Minute,
		MaxOpenFlows:   100,
	}
}

// SetPublicURL takes where browsers reach the mount, to which paths are appended.
func (c *Config) SetPublicURL(written string) {
	c.PublicURL = strings.TrimRight(written, "/")
	c.PublicURLSlash = c.PublicURL != written
}

// PublicURLAsWritten is for those who compare it with what they wrote.
func (c *Config) PublicURLAsWritten() string {
	if c.PublicURLSlash && c.PublicURL != "" {
		return c.PublicURL + "/"
	}
	return c.PublicURL
}

// LeaveDefaults leaves unset what was so before and is the default now: a read that came back had it.
func (c *Config) LeaveDefaults(before *Config) {
	if before.MaxEndedFlows == 0 && c.MaxEndedFlows == before.EndedFlows() {
		c.MaxEndedFlows = 0
	}
	if before.MaxFlows == 0 && c.MaxFlows == before.Flows() {
		c.MaxFlows = 0
	}
	if before.MaxOpenLinks == 0 && c.MaxOpenLinks == before.OpenLinks() {
		c.MaxOpenLinks = 0
	}
}

// CheckEvery is how often what no refresh proves is checked; 0: never.
func (c *Config) CheckEvery() time.Duration {
	return max(cmp.Or(c.CheckInterval, 24*time.Hour), 0)
}

// SetCheckEvery takes how often that is; 0: never.
func (c *Config) SetCheckEvery(every time.Duration) {
	if every == c.CheckEvery() {
		return
	}
	if c.CheckInterval = every; every == 0 {
		c.CheckInterval = -1
	}
}

// Retention is how long a history outlives its connection.
func (c *Config) Retention() time.Duration {
	return max(cmp.Or(c.HistoryRetention, 30*24*time.Hour), 0)
}

// SetRetention takes how long that is; 0: not at all.
func (c *Config) SetRetention(d time.Duration) {
	if d == c.Retention() {
		return
	}
	if c.HistoryRetention = d; d == 0 {
		c.HistoryRetention = -1
	}
}

// SetTracksUse says whether it is noted who reads which connection. What was read while it was not, nobody knows.
func (c *Config) SetTracksUse(on bool, now time.Time) {
	if on && c.UseOff {
		c.UseSince = now
	}
	c.UseOff = !on
}

// EndedFlows is how many flows that ended one caller may have.
func (c *Config) EndedFlows() int { return cmp.Or(c.MaxEndedFlows, 1000) }

// Flows is how many flows the mount may have.
func (c *Config) Flows() int { return cmp.Or(c.MaxFlows, 10_000) }

// OpenLinks is how many links one caller may have offered.
func (c *Config) OpenLinks() int { return cmp.Or(c.MaxOpenLinks, 1000) }
