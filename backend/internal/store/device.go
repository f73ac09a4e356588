package store

import (
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Device is what a flow has in which the person types a code on another device (RFC 8628). A former release that meets
// such a flow can do nothing with it: nobody knows a state whose hash it is called by.
type Device struct {
	Interval time.Duration `json:"interval,omitempty"` // between two polls, as it is by now
	// when the last poll began, zero: there was none. It is written before it is sent, so that a node which has lost the
	// lead sends none
	Asked time.Time `json:"asked,omitzero"`
	// another account than before is meant
	AccountChange bool             `json:"account_change,omitempty"`
	Ended         DeviceEnd        `json:"ended,omitempty"`
	Code          providers.Secret `json:"-"`
}

// DeviceEnd is how a device flow ended, with its outcome.
type DeviceEnd string

// The ends of a device flow. Empty with an outcome says that it failed, or connected.
const (
	DeviceDenied  DeviceEnd = "denied"  // the person said no
	DeviceExpired DeviceEnd = "expired" // nobody consented in time
)

// Ask notes that a poll begins, and the interval that the service wants by now.
func (d *Device) Ask(now time.Time, interval time.Duration) {
	d.Asked = now
	d.SlowTo(interval)
}

// SlowTo makes the interval longer for good.
func (d *Device) SlowTo(interval time.Duration) { d.Interval = max(d.Interval, interval) }
