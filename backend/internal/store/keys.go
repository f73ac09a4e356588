package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// The prefixes of storage. All of them are seal-wrapped; see SealWrapped.
const (
	configKey        = "config"
	providerPrefix   = "provider/"
	connectionPrefix = "connection/"
	flowPrefix       = "flow/"
	codePrefix       = "code/"
	intentPrefix     = "wal/"
	trialPrefix      = "import/"
	historyPrefix    = "history/"
	leaversKey       = "leavers"
	jobPrefix        = "job/"
	lookupPrefix     = "lookup/"
	hasherEntry      = "lookup-key"
	heartbeatKey     = "heartbeat"
	usePrefix        = "use/"
	useBeganKey      = usePrefix + "began"
	noticePrefix     = "notice/"
	webhookPrefix    = "webhook/"
	cursorPrefix     = "webhook-cursor/"
)

// SealWrapped lists the storage patterns for the seal wrap: a pattern that ends in a slash covers what lies below it,
// any other is one exact key.
func SealWrapped() []string {
	return []string{
		configKey, providerPrefix, connectionPrefix, flowPrefix, codePrefix, intentPrefix, trialPrefix, historyPrefix,
		leaversKey, jobPrefix, lookupPrefix, hasherEntry, heartbeatKey, usePrefix, noticePrefix, webhookPrefix, cursorPrefix,
	}
}

// Owner is whose a connection is: an organization, a user, or with both a member of an organization.
type Owner struct{ Org, User string }

// The words that stand before an owner's parts in paths and in storage.
const (
	orgWord  = "org"
	userWord = "user"
)

// Personal reports whether the owner is a person or an application's user, be it as a member of an organization.
func (o Owner) Personal() bool { return o.User != "" }

func (o Owner) String() string {
	switch {
	case o.User == "":
		return orgWord + "/" + o.Org
	case o.Org == "":
		return userWord + "/" + o.User
	}
	return orgWord + "/" + o.Org + "/" + userWord + "/" + o.User
}

// Check reports how the owner breaks the naming rules, or nil.
func (o Owner) Check() error {
	if o.Org != "" || o.User == "" {
		if err := CheckName("org", o.Org); err != nil {
			return err
		}
	}
	if o.User != "" {
		return CheckUser(o.User)
	}
	return nil
}

// ParseOwner reads what String writes.
func ParseOwner(s string) (Owner, error) {
	var o Owner
	parts := strings.Split(s, "/")
	if len(parts) > 1 && parts[0] == orgWord {
		o.Org, parts = parts[1], parts[2:]
	}
	if len(parts) > 1 && parts[0] == userWord {
		o.User = parts[1]
	}
	if o.String() != s {
		return Owner{}, fmt.Errorf("%q is no owner: write org/<org>, user/<user> or org/<org>/user/<user>", clip(s))
	}
	return o, o.Check()
}

// Key names one connection in the mount.
type Key struct {
	Owner Owner
	Name  string
}

// String is the path of the connection below a verb in its full spelling: org/acme/slack.
func (k Key) String() string { return k.Owner.String() + "/" + k.Name }

func (k Key) storage() string { return connectionPrefix + k.String() }

// hash is a fixed-length name for the key, for entries beside the connection.
func (k Key) hash() string {
	sum := sha256.Sum256([]byte(k.String()))
	return hex.EncodeToString(sum[:])
}

// ParseKey reads what String writes.
func ParseKey(s string) (Key, error) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return Key{}, fmt.Errorf("not the key of a connection")
	}
	owner, err := ParseOwner(s[:i])
	if err != nil {
		return Key{}, err
	}
	return Key{owner, s[i+1:]}, CheckName("connection", s[i+1:])
}

// Classify says which noun a storage key belongs to, for the invalidation of what memory holds.
func Classify(storageKey string) (noun, name string) {
	for prefix, noun := range map[string]string{
		providerPrefix: "provider", connectionPrefix: "connection", flowPrefix: "flow", codePrefix: "code",
		intentPrefix: "intent", trialPrefix: "import", historyPrefix: "history", jobPrefix: "job",
		lookupPrefix: "lookup", usePrefix: "use",
		noticePrefix: "notice", webhookPrefix: "webhook", cursorPrefix: "webhook-cursor",
	} {
		if rest, ok := strings.CutPrefix(storageKey, prefix); ok {
			return noun, rest
		}
	}
	return storageKey, ""
}

// FlowID is the public name of a flow: the hash of its state. Knowing it finds the flow and proves nothing.
func FlowID(state string) string {
	sum := sha256.Sum256([]byte(state))
	return hex.EncodeToString(sum[:])
}

// ValidFlowID reports whether s has the shape of a flow id, so that hostile input never becomes part of a key.
func ValidFlowID(s string) bool {
	if len(s) != sha256.Size*2 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
