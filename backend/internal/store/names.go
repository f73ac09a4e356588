package store

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	namePattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?$`)
	userPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@|:~-]{0,127}$`)
	reserved    = map[string]bool{"org": true, "user": true, "self": true, "shared": true}
)

// CheckName reports how the name of a provider, org, connection or definition breaks the rule, or nil. Nothing is ever
// folded to lower case: a policy that denies creds/prod must not be walked round by creds/PROD.
func CheckName(noun, name string) error {
	switch {
	case reserved[name]:
		return fmt.Errorf("%s name %q is reserved; choose another than org, user, self, shared", noun, name)
	case !namePattern.MatchString(name) || strings.Contains(name, ".."):
		return fmt.Errorf("%s name %q is not valid: use 1 to 64 of a-z 0-9 . _ @ -, begin and end with "+
			"a letter or digit, and no '..'", noun, clip(name))
	}
	return nil
}

// CheckTag is CheckName for the names of tags, which are no path segments: nothing is reserved.
func CheckTag(name string) error {
	if reserved[name] {
		return nil
	}
	return CheckName("tag", name)
}

// CheckUser reports how a user id breaks the rule, or nil. User ids come from other systems, so more is allowed than
// in a name, and case counts.
func CheckUser(id string) error {
	if !userPattern.MatchString(id) || strings.Contains(id, "..") {
		return fmt.Errorf("user id %q is not valid: use 1 to 128 of A-Z a-z 0-9 . _ @ | : ~ -, begin with a letter "+
			"or digit, and no '..'", clip(id))
	}
	return nil
}

// clip keeps a hostile name from filling a log.
func clip(s string) string {
	if len(s) > 140 {
		return s[:140] + "…"
	}
	return s
}
