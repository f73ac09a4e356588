package store

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Record says who changed a connection, when, by what, and what became of its public fields. An entry carries its own
// last one, so that one write is one truth; the one before is in the connection's [History] by then.
type Record struct {
	ID      string   `json:"id"` // the connection's, since another may have its name later
	N       uint64   `json:"n"`  // one above the former's
	By      Actor    `json:"by"` // no display name and no entity: the engine itself
	Verb    string   `json:"verb"`
	Private bool     `json:"private,omitempty"` // whether the connection was, after it
	Changes []Change `json:"changes,omitempty"`

	Tells    []Transition `json:"tells,omitempty"`    // what it is in the log of notices
	Provider string       `json:"provider,omitempty"` // of one that tells something
}

// Change is what became of one public field.
type Change struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// maxRecord is how many bytes a record may take as it is stored, and maxChange those of one value.
const (
	maxRecord = 600
	maxChange = 80
)

// Same reports whether both are one record. Either may be nil.
func (r *Record) Same(o *Record) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.ID == o.ID && r.N == o.N
}

// Note gives the connection the record of what was changed of before, which is nil for one that was made, if anything
// public was.
func (c *Connection) Note(before *Connection, verb string, by Actor, renews bool) {
	c.Record = nil
	if before != nil {
		c.Record = before.Record
	}
	changes := changesOf(before, c, renews)
	if len(changes) == 0 {
		return
	}
	r := &Record{ID: c.ID, N: 1, By: by, Verb: verb, Private: c.Private, Changes: changes}
	if r.Tells = transitions(before, c, renews); len(r.Tells) > 0 {
		r.Provider = c.Provider
	}
	if c.Record != nil {
		r.N = c.Record.N + 1
	}
	r.fit()
	c.Record = r
}

// fit cuts the record to its size: of many changes the last are named without their values, then not at all.
func (r *Record) fit() {
	for i := len(r.Changes) - 1; i >= 0 && r.size() > maxRecord; i-- {
		r.Changes[i].Before, r.Changes[i].After = "", "..."
	}
	for r.size() > maxRecord && len(r.Changes) > 1 {
		r.Changes = append(r.Changes[:len(r.Changes)-2], Change{Field: "..."})
	}
}

func (r *Record) size() int {
	b, err := json.Marshal(r)
	if err != nil {
		return maxRecord + 1 // it has no type that cannot be encoded
	}
	return len(b)
}

// changesOf compares what may be shown to whoever sees the metadata. A renewal as usual changes nothing of it.
func changesOf(before, after *Connection, renews bool) (changes []Change) {
	was, is := public(before), public(after)
	for _, field := range slices.Sorted(maps.Keys(is)) {
		if was[field] != is[field] {
			changes = append(changes, Change{field, was[field], is[field]})
		}
	}
	if before != nil && !renews && before.Generation != after.Generation {
		changes = append(changes, Change{Field: "credential", After: "replaced"})
	}
	return changes
}

func untilText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// public are the fields that a record compares, as texts.
func public(c *Connection) map[string]string {
	if c == nil {
		return nil
	}
	f := c.Facts(true)
	fields := map[string]string{
		"provider": c.Provider, "kind": string(c.Kind), "label": c.Label, "tags": pairsText(c.Tags),
		"inputs": pairsText(c.Inputs), "required_scopes": strings.Join(c.RequiredScopes, " "),
		"private": strconv.FormatBool(c.Private), "account": cmp.Or(c.Account.ID, c.Account.Label),
		"companions": strings.Join(slices.Sorted(maps.Keys(c.Companions)), " "),
		"refused":    string(f.Refused), "invalid": string(f.Invalid), "deleting": strconv.FormatBool(f.Deleting),
		"moving": c.Moving.To, "offered": c.offeredTo(), "owner_left": string(c.Entity.Left),
		"revoking":    strconv.FormatBool(c.Ending.On()),
		"debug_until": untilText(c.DebugUntil),
		"passed":      string(c.passed()), "lost_scopes": strings.Join(c.LostScopes, " "),
		"rotation_due": strconv.FormatBool(c.toldOld()),
		"failing":      strconv.FormatBool(c.Attempt.Failures > 0),
	}
	if c.Grant != nil {
		fields["scopes"] = strings.Join(c.Grant.Scopes, " ")
	}
	fields["stops"], fields["shares"] = strings.Join(c.Stops.words(), ", "), strings.Join(c.grantees(), " ")
	for name, text := range fields {
		fields[name] = clipped(text)
		if text == "false" {
			fields[name] = ""
		}
	}
	return fields
}

// clipped is a value as a record keeps it.
func clipped(text string) string {
	if len(text) > maxChange {
		return strings.ToValidUTF8(text[:maxChange], "") + "..."
	}
	return text
}

func pairsText(m map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, name+"="+m[name])
	}
	return strings.Join(all, " ")
}

// History is what happened to the connections of one name, without the last record of the one that there is.
type History struct {
	Key     string   `json:"key"`
	Records []Record `json:"records"`          // oldest first
	Buried  []Buried `json:"buried,omitempty"` // of connections that are gone; oldest first

	unknown unknownFields
}

// How much a history keeps: what comes is more than what goes.
const (
	maxRecords = 20
	maxHistory = 12 << 10
)

// Append adds a record, unless it is there. The oldest go when there is no room.
func (h *History) Append(r Record) (added bool) {
	if slices.ContainsFunc(h.Records, func(o Record) bool { return o.Same(&r) }) {
		return false
	}
	h.Records = append(slices.Clone(h.Records), r)
	size := 0
	for i := len(h.Records) - 1; i >= 0; i-- {
		if size += h.Records[i].size(); size > maxHistory || len(h.Records)-i > maxRecords {
			h.Records = h.Records[i+1:]
			break
		}
	}
	return true
}

// Last is when the last of it happened.
func (h *History) Last() (at time.Time) {
	for _, r := range h.Records {
		if r.By.Time.After(at) {
			at = r.By.Time
		}
	}
	for _, b := range h.Buried {
		if b.Time.After(at) {
			at = b.Time
		}
	}
	return at
}
