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
)

// SealWrapped lists the storage patterns for the seal wrap: a pattern that ends in a slash covers what lies below it,
// any other is one exact key.
func SealWrapped() []string {
	return []string{configKey, providerPrefix, connectionPrefix, flowPrefix, codePrefix, intentPrefix, trialPrefix}
}

// OwnerKind is what an owner is.
type OwnerKind string

// The kinds of owner, as they stand in paths.
const (
	Org  OwnerKind = "org"
	User OwnerKind = "user"
)

// Owner is whose a connection is.
type Owner struct {
	Kind OwnerKind
	ID   string
}

func (o Owner) String() string { return string(o.Kind) + "/" + o.ID }

// Check reports how the owner breaks the naming rules, or nil.
func (o Owner) Check() error {
	if o.Kind == User {
		return CheckUser(o.ID)
	}
	return CheckName("org", o.ID)
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
	parts := strings.Split(s, "/")
	if len(parts) != 3 || (parts[0] != string(Org) && parts[0] != string(User)) {
		return Key{}, fmt.Errorf("not the key of a connection")
	}
	k := Key{Owner{OwnerKind(parts[0]), parts[1]}, parts[2]}
	if err := k.Owner.Check(); err != nil {
		return Key{}, err
	}
	return k, CheckName("connection", k.Name)
}

// Classify says which noun a storage key belongs to, for the invalidation of what memory holds.
func Classify(storageKey string) (noun, name string) {
	for prefix, noun := range map[string]string{
		providerPrefix: "provider", connectionPrefix: "connection", flowPrefix: "flow", codePrefix: "code",
		intentPrefix: "intent", trialPrefix: "import",
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
