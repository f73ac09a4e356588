// Command auditalert reads the JSON audit log of a Vault from its input and prints a line for each request that could
// let somebody become somebody else, stand between Vault and a provider, or undo what was written: for a person to
// look at, since all of these have honest uses.
//
//	tail -n 0 -F /var/log/vault/audit.log | auditalert
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// engine is the name that the plugin is registered under. The audit log tells it of each mount.
const engine = "vault-plugin-secrets-connectors"

// A rule is a kind of request to tell of.
type rule struct {
	path   *regexp.Regexp // of the request, without the namespace; below a mount of the engine if mount is set
	mount  bool
	fields []string // if any: only requests that bring one of these
	asked  bool     // it is told of when it is asked for, since nobody may be left to write down the answer
	why    string
}

func on(path, why string, fields ...string) rule {
	return rule{path: regexp.MustCompile("^(?:" + path + ")$"), why: why, fields: fields}
}

func onMount(path, why string, fields ...string) rule {
	r := on(path, why, fields...)
	r.mount = true
	return r
}

// whenAsked is a rule for what may end the log.
func whenAsked(r rule) rule {
	r.asked = true
	return r
}

// The audit log hashes values and shows the names of fields, which is all that the rules go by. persona and alias are
// older names of entity-alias, which Vault still takes.
var rules = []rule{
	on(`identity/(entity-alias|persona|alias)(/.*)?`, "leads a login to an entity"),
	on(`identity/entity/merge/?`, "gives one entity the logins of another"),
	on(`identity/(group|group-alias)(/.*)?`, "gives entities a group's policies"),
	on(`auth/token/roles/.+`, "lets tokens be made with an alias", "allowed_entity_aliases"),
	on(`auth/token/create(/.+)?`, "makes a token with an alias", "entity_alias"),
	on(`auth/.+/users/.+`, "sets or removes a login"),
	on(`auth/.+/role/.+`, "changes which login a token of another system is", "user_claim", "alias_name_source",
		"role_id"),
	on(`auth/.+/config(/.*)?`, "changes whom an auth method trusts"),
	on(`sys/auth/.+`, "adds, changes or removes an auth method"),
	on(`sys/plugins/(catalog|pins)/.+`, "changes which program runs as a plugin"),
	whenAsked(on(`sys/storage/raft/snapshot(-force)?`, "undoes what was written since the snapshot")),
	whenAsked(on(`sys/audit/.+`, "adds or removes an audit device")),
	onMount(`config`, "leads calls to providers by another machine", "proxy_url"),
	onMount(`providers/[^/]+`, "trusts other certificates for calls to a provider", "ca_pem"),
}

// record is what the rules need of a line.
type record struct {
	Time  string `json:"time"`
	Type  string `json:"type"`
	Error string `json:"error"`
	Auth  struct {
		DisplayName string `json:"display_name"`
		EntityID    string `json:"entity_id"`
	} `json:"auth"`
	Request struct {
		Operation  string                     `json:"operation"`
		Path       string                     `json:"path"`
		MountPoint string                     `json:"mount_point"`
		MountType  string                     `json:"mount_type"`
		Data       map[string]json.RawMessage `json:"data"`
		Remote     string                     `json:"remote_address"`
		Namespace  struct {
			Path string `json:"path"`
		} `json:"namespace"`
	} `json:"request"`
}

// writes are the operations that change something.
var writes = []string{"create", "update", "patch", "delete"}

// alert is the line to print for a record, and empty for most.
func alert(r *record) string {
	if !slices.Contains(writes, r.Request.Operation) {
		return ""
	}
	for _, rule := range rules {
		if rule.asked != (r.Type == "request") {
			continue
		}
		path := r.Request.Path
		if rule.mount {
			var below bool
			path, below = strings.CutPrefix(path, r.Request.MountPoint)
			if !below || r.Request.MountType != engine {
				continue
			}
		}
		if !rule.path.MatchString(path) || len(rule.fields) > 0 &&
			!slices.ContainsFunc(rule.fields, func(f string) bool {
				_, ok := r.Request.Data[f]
				return ok
			}) {
			continue
		}
		outcome := "done"
		switch {
		case r.Error != "":
			outcome = "refused"
		case rule.asked:
			outcome = "asked for"
		}
		who := r.Auth.DisplayName
		if r.Auth.EntityID != "" {
			who += " (entity " + r.Auth.EntityID + ")"
		}
		return fmt.Sprintf("%s %s: %s %s%s by %q from %s: %s", r.Time, outcome, r.Request.Operation,
			r.Request.Namespace.Path, r.Request.Path, who, r.Request.Remote, rule.why)
	}
	return ""
}

// run reads records until the input ends. A line that is none is told of: a log that cannot be read must not look like
// one in which nothing happened.
func run(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var r record
			text := "a line is no record of a JSON audit log"
			if json.Unmarshal(line, &r) == nil && r.Type != "" {
				text = alert(&r)
			}
			if text != "" {
				if _, err := fmt.Fprintln(out, text); err != nil {
					return err
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "auditalert:", err)
		os.Exit(1)
	}
}
