package files

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// What is done with a path.
const (
	Create  = "create"
	Update  = "update"
	Delete  = "delete"
	Connect = "connect" // by a person
)

// Spec is what the mount takes at one path.
type Spec struct {
	Fields map[string]Field // of the path
	Own    map[string]bool  // of its definition, and whether they are secret
	Picked []string         // inputs that pick what a grant reaches, and are written by themselves
	// Unknown: the definition is not there yet, so that a field which the path does not have may be one of its. Of a
	// provider it is taken for a secret; a connection is planned again once its provider is there.
	Unknown bool
	// ByPerson: a connection comes to be by a consent, or by a key that somebody types, unless the file has one.
	ByPerson bool
}

// Options say how far a plan goes.
type Options struct {
	Secrets  bool // write secrets that are set, too
	ReadFile func(path string) (string, error)
}

// Change is what makes the mount what the file says, at one path. Its fields never show a secret.
type Change struct {
	Path       string   `json:"path"`
	Action     string   `json:"action"`
	Fields     []Diff   `json:"fields,omitempty"`
	Reconnects []string `json:"reconnects,omitempty"` // fields whose change breaks a provider's connections
	Done       bool     `json:"done"`

	Writes []map[string]any `json:"-"` // one after the other, with a Reference for a secret
	// Unsure is what looks the same under its mask and need not be; set where there is nothing else to write.
	Unsure map[string]any `json:"-"`
	Line   int            `json:"-"`
}

// Diff is a field, before and after. Of a secret it says whether there is one.
type Diff struct {
	Field  string `json:"field"`
	Before any    `json:"before,omitempty"`
	After  any    `json:"after"`
}

// What a Diff says of secrets.
const (
	Set      = "set"
	NotSet   = "not set"
	WillSet  = "will be set"
	WillDrop = "will be dropped"
)

// Problem is what is wrong with a line of the file.
type Problem struct {
	Line int
	Text string
}

// Plan compares an entry with what the mount answers for its path; nil: nothing is there. The action is empty where
// nothing is to be done.
func (s Spec) Plan(entry Entry, have map[string]any, o Options) (Change, []Problem) {
	p := &planner{Spec: s, Options: o, entry: entry, have: have, writes: map[string]any{}}
	p.beside, p.unsure = map[string]any{}, map[string]any{}
	p.change = Change{Path: entry.Path, Line: entry.Line}
	names := slices.Sorted(maps.Keys(entry.Fields))
	for _, name := range names { // what secrets are bound to goes first
		if field := s.Fields[name]; field.Written && field.Read && !field.Secret {
			p.setting(name, field)
		}
	}
	for _, name := range names {
		field, declared := s.Fields[name]
		secret, own := s.Own[name]
		switch {
		case slices.Contains(moments, name) && declared:
			p.refuse(name, "is of the moment, and not for a file: write it by hand")
		case field.Written && field.Secret && field.Type == "object":
			p.secrets(name)
		case field.Written && field.Secret:
			p.secret(name)
		case field.Written && field.Read:
		case name == "drop_former" && field.Written:
			p.dropFormer(field)
		case field.Written:
			if value, err := canonical(name, field, entry.Fields[name]); err != nil {
				p.refuse(name, err.Error())
			} else {
				p.beside[name] = value
			}
		case own && !secret:
			p.public(name)
		case own:
			p.secret(name)
		case s.Unknown && !declared:
			p.unknown(name)
		case declared:
			p.refuse(name, "is what the mount answers, and cannot be written")
		default:
			p.refuse(name, "there is no such field"+p.known())
		}
	}
	p.finish()
	slices.SortFunc(p.change.Fields, func(a, b Diff) int { return strings.Compare(a.Field, b.Field) })
	return p.change, p.problems
}

type planner struct {
	Spec
	Options
	entry    Entry
	have     map[string]any
	change   Change
	problems []Problem

	moved  bool           // what secrets are bound to changes, so that they are to be written again
	writes map[string]any // what is to be written
	later  []map[string]any
	beside map[string]any // what goes along with a write, and is none by itself
	unsure map[string]any
}

func (p *planner) refuse(name, why string) {
	line := p.entry.Lines[name]
	if line == 0 {
		line = p.entry.Line
	}
	p.problems = append(p.problems, Problem{Line: line, Text: p.entry.Path + ": " + name + ": " + why})
}

func (p *planner) known() string {
	if len(p.Own) == 0 {
		return ""
	}
	return "; the fields of its key are " + strings.Join(slices.Sorted(maps.Keys(p.Own)), ", ")
}

func (p *planner) connection() bool { return strings.HasPrefix(p.entry.Path, "connections/") }
func (p *planner) provider() bool   { return strings.HasPrefix(p.entry.Path, "providers/") }

func (p *planner) write(name string, value, before, after any) {
	p.writes[name] = value
	p.change.Fields = append(p.change.Fields, Diff{Field: name, Before: before, After: after})
}

// setting plans a field that is read as it is written, or as good as that.
func (p *planner) setting(name string, field Field) {
	if slices.Contains(moments, name) {
		return
	}
	if slices.Contains(masked, name) {
		return // what secrets are bound to is known first
	}
	value, wanted, shown := p.entry.Fields[name], any(nil), any(nil)
	text, isText := value.(string)
	if name == "proxy_url" && isText {
		p.proxy(text)
		return
	}
	if path, is := strings.CutPrefix(text, "file:"); is && slices.Contains(long, name) && !strings.Contains(path, "\n") {
		content, err := p.ReadFile(path)
		if err != nil {
			p.refuse(name, err.Error())
			return
		}
		value = content
		shown = text // who wrote the file need not be who may read that one
	}
	wanted, err := canonical(name, field, value)
	if err != nil {
		p.refuse(name, err.Error())
		return
	}
	if name == "inputs" && p.connection() {
		p.inputs(wanted.(map[string]any))
		return
	}
	var before any
	if p.have != nil {
		if before, err = canonical(name, field, p.have[name]); err != nil {
			before = p.have[name] // of a newer mount; compared as it is
		}
		if same(before, wanted) {
			return
		}
	}
	switch {
	case p.have != nil && slices.Contains(fixed, name):
		p.refuse(name, fmt.Sprintf("is %v, which cannot be changed: choose another name for it", before))
		return
	case p.have != nil && p.provider() && slices.Contains(pins, name):
		p.moved = true
		p.change.Reconnects = append(p.change.Reconnects, name)
	}
	if shown == nil {
		shown = wanted
	}
	p.write(name, wanted, before, shown)
}

func same(one, other any) bool {
	a, isText := one.(string)
	b, too := other.(string)
	if isText && too { // blanks round it are cut, or mean nothing
		return strings.TrimSpace(a) == strings.TrimSpace(b)
	}
	return reflect.DeepEqual(one, other)
}

// inputs of a connection belong to its credential, but for those that pick what it reaches.
func (p *planner) inputs(wanted map[string]any) {
	before := mapOf(p.have, "inputs")
	config := mapOf(p.have, "connection_config")
	stored := maps.Clone(before)
	for _, name := range p.Picked {
		value, named := wanted[name]
		reached, known := config[name]
		if !known {
			reached = before[name]
		}
		if p.have != nil {
			delete(wanted, name)
			delete(stored, name)
			if named && !same(value, reached) {
				p.later = append(p.later, map[string]any{"inputs": map[string]any{name: value}})
				p.change.Fields = append(p.change.Fields, Diff{Field: "inputs", Before: reached, After: value})
			}
		}
	}
	if p.have != nil && reflect.DeepEqual(stored, wanted) {
		return
	}
	p.moved = p.have != nil
	var shown any
	if p.have != nil {
		shown = stored
	}
	p.write("inputs", wanted, shown, wanted)
}

func mapOf(of map[string]any, name string) map[string]any {
	members, _ := of[name].(map[string]any)
	if members == nil {
		return map[string]any{}
	}
	return members
}

// secret plans a secret that is written where none is set.
func (p *planner) secret(name string) {
	text, _ := p.entry.Fields[name].(string)
	reference, err := ReadReference(text)
	if err != nil {
		p.refuse(name, err.Error())
		return
	}
	before := NotSet
	if p.isSet(name) {
		before = Set
	}
	if before == Set && !p.Secrets && !p.moved && !p.forced(name) {
		return
	}
	p.write(name, reference, before, WillSet)
}

// isSet reports whether the mount has a secret, as far as it tells.
func (p *planner) isSet(name string) bool {
	if p.have == nil {
		return false
	}
	if set, told := p.have[name+"_set"].(bool); told {
		return set
	}
	if p.provider() {
		list, _ := p.have["key_fields_set"].([]any)
		return slices.Contains(list, any(name))
	}
	if p.have["status_reason"] == "provider_changed" { // what is stored belongs elsewhere
		return false
	}
	if _, declared := p.Fields[name]; declared { // a token that was brought; nobody tells of it
		return true
	}
	masks := mapOf(p.have, "key")
	return masks[name] != nil && masks[name] != ""
}

// unknown plans a field that may be of a definition to come.
func (p *planner) unknown(name string) {
	text, is := textOf(p.entry.Fields[name])
	if _, err := ReadReference(text); is && err != nil && p.connection() {
		p.write(name, text, nil, "a field of its key")
		return
	}
	p.secret(name)
}

// forced reports whether a secret has to go along with another field that is written.
func (p *planner) forced(name string) bool {
	for _, other := range map[string][]string{
		"client_secret": {"client_key_id", "client_certificate"}, companions: {"companions_for"},
	}[name] {
		if _, written := p.writes[other]; written {
			return true
		}
	}
	return false
}

// secrets plans a map of them. It is replaced whole, so the masks of those that stay are written back.
func (p *planner) secrets(name string) {
	named, is := p.entry.Fields[name].(map[string]any)
	if !is {
		p.refuse(name, "takes a map of references")
		return
	}
	stored, wanted := mapOf(p.have, name), map[string]any{}
	changed := false
	for _, key := range slices.Sorted(maps.Keys(named)) {
		text, _ := named[key].(string)
		reference, err := ReadReference(text)
		if err != nil {
			p.refuse(name, key+": "+err.Error())
			continue
		}
		mask, set := stored[key]
		if set && mask != "" && !p.Secrets && !(p.moved && p.provider()) && !p.forced(name) {
			wanted[key] = mask
			continue
		}
		before := NotSet
		if set {
			before = Set
		}
		wanted[key], changed = reference, true
		p.change.Fields = append(p.change.Fields, Diff{Field: name + "." + key, Before: before, After: WillSet})
	}
	for _, key := range slices.Sorted(maps.Keys(stored)) {
		if _, stays := named[key]; !stays {
			changed = true
			p.change.Fields = append(p.change.Fields, Diff{Field: name + "." + key, Before: Set, After: WillDrop})
		}
	}
	switch {
	case changed && p.connection(): // which comes in a call of its own
		p.later = append(p.later, map[string]any{name: wanted})
	case changed:
		p.writes[name] = wanted
	}
}

func (p *planner) dropFormer(field Field) {
	drop, err := canonical("drop_former", field, p.entry.Fields["drop_former"])
	if err != nil {
		p.refuse("drop_former", err.Error())
		return
	}
	_, renewed := p.writes["client_secret"] // "client_secret" comes before this by its name
	switch {
	case drop != true:
	case p.have["former_secret_set"] == true:
		p.write("drop_former", true, Set, WillDrop)
	case renewed:
		p.beside["drop_former"] = true
	}
}

// public plans a field of a key that is no secret. Of a connection's the mount tells the value, of a provider's only
// that there is one.
func (p *planner) public(name string) {
	text, is := textOf(p.entry.Fields[name])
	if !is {
		p.refuse(name, "takes a text")
		return
	}
	before := mapOf(p.have, "key")[name]
	shown, told := before.(string)
	switch {
	case p.have == nil || p.moved:
		p.write(name, text, nil, text)
	case told && !isMask(shown):
		if !same(shown, text) {
			p.write(name, text, shown, text)
		}
	case told && shown != Mask(text):
		p.write(name, text, shown, text)
	case p.Secrets || !told && !p.isSet(name):
		p.write(name, text, nil, text)
	}
}

// proxy plans an address that may have a password, which the mount masks.
func (p *planner) proxy(text string) {
	before, _ := p.have["proxy_url"].(string)
	if reference, err := ReadReference(text); err == nil {
		if before == "" || p.Secrets {
			p.write("proxy_url", reference, before, WillSet)
		}
		return
	}
	if shown := maskPassword(text); shown != before || p.Secrets && shown != text {
		p.write("proxy_url", text, before, shown)
	}
}

func maskPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	password, has := u.User.Password()
	if !has || isMask(password) {
		return address
	}
	tail, _ := strings.CutPrefix(Mask(password), "****")
	shown := url.UserPassword(u.User.Username(), tail).String() // in which asterisks would be escaped
	if password != "" {
		shown = strings.Replace(shown, ":", ":****", 1)
	}
	u.User = nil
	return u.Scheme + "://" + shown + "@" + strings.TrimPrefix(u.String(), u.Scheme+"://")
}

// maskedMap plans a map whose values the mount masks though they may be anything. Whether one that looks the same is
// the same, only the mount knows.
func (p *planner) maskedMap(name string) {
	named, is := p.entry.Fields[name].(map[string]any)
	if !is {
		p.refuse(name, "takes a map of texts")
		return
	}
	stored := mapOf(p.have, name)
	wanted, shown := map[string]any{}, map[string]any{}
	anew := p.Secrets || p.moved || p.have == nil
	changed, unsure := anew || len(stored) != len(named), false
	for key, value := range named {
		text, is := textOf(value)
		if !is {
			p.refuse(name, "takes a map of texts")
			return
		}
		mask, known := stored[key]
		reference, err := ReadReference(text)
		switch {
		case err == nil && known && !anew: // a mask that is written back keeps what is stored
			wanted[key], shown[key] = mask, mask
		case err == nil:
			wanted[key], shown[key], changed = reference, WillSet, true
		case isMask(text):
			wanted[key], shown[key] = text, text
			changed = changed || mask != text
		default:
			wanted[key], shown[key], unsure = text, Mask(text), true
			changed = changed || mask != shown[key]
		}
	}
	switch {
	case len(named) == 0 && len(stored) == 0:
	case changed:
		var before any
		if p.have != nil {
			before = stored
		}
		p.write(name, wanted, before, shown)
	case unsure:
		p.unsure[name] = wanted
	}
}

// finish decides what is done, and makes the writes.
func (p *planner) finish() {
	for _, name := range masked {
		if field := p.Fields[name]; field.Written && p.entry.Fields[name] != nil {
			p.maskedMap(name)
		}
	}
	brings := false
	for name := range p.entry.Fields {
		field, declared := p.Fields[name]
		_, own := p.Own[name]
		brings = brings || own || !declared || field.Secret && field.Type != "object"
	}
	if p.ByPerson && p.connection() && !brings && (p.have == nil || p.moved) {
		p.change.Action = Connect
		return
	}
	if len(p.writes) == 0 && len(p.later) == 0 && p.have != nil {
		if len(p.unsure) > 0 {
			p.change.Unsure = p.unsure
		}
		return
	}
	maps.Copy(p.writes, p.unsure)
	p.change.Action = Update
	if p.have == nil {
		p.change.Action = Create
	}
	for reason, of := range map[string]string{
		"archived_reason": "archived", "frozen_reason": "frozen", "refresh_paused_reason": "refresh_paused",
	} {
		_, written := p.writes[reason]
		if value, named := p.entry.Fields[of]; written && named {
			p.writes[of] = value
		}
	}
	if kind, named := p.entry.Fields["kind"]; named && p.connection() && p.moved {
		p.writes["kind"] = kind
	}
	if len(p.writes) > 0 || len(p.later) == 0 {
		maps.Copy(p.writes, p.beside)
		p.change.Writes = append(p.change.Writes, p.writes)
	}
	p.change.Writes = append(p.change.Writes, p.later...)
}
