package backend

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathInventory() []*framework.Path {
	path := func(pattern, suffixes string, fields map[string]*framework.FieldSchema) *framework.Path {
		return &framework.Path{
			Pattern:      pattern,
			DisplayAttrs: display(suffixes, "Inventory"),
			Fields:       inventoryFields(fields),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: verb("read", b.operation(b.inventoryRead, "What connections there are, page by page.",
					inventorySchema)),
			},
			HelpSynopsis:    "What connections there are, across owners.",
			HelpDescription: inventoryHelp,
		}
	}
	return []*framework.Path{
		path("inventory(?:/self)?/?", "inventory|own-inventory", nil),
		path("inventory/org/"+segment("org")+"/?", "org-inventory", map[string]*framework.FieldSchema{
			"org": str("Organization, with its members."),
		}),
		path("inventory/user/"+segment("user")+"/?", "user-inventory", map[string]*framework.FieldSchema{
			"user": str("User."),
		}),
	}
}

const (
	defaultPage = 100
	maxPage     = 1000
	// maxRead is how many connections one request reads to decide what the directory does not know.
	maxRead = 2000
	// maxCounts is how many values a count tells.
	maxCounts = 1000
)

func inventoryFields(own map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{
		"provider":         strs("Of these providers."),
		"definition":       strs("Of providers with these definitions."),
		"category":         strs("Of services of these categories, as in catalog/."),
		"owner":            str("Of this owner alone: org/<org>, user/<user> or org/<org>/user/<user>."),
		"owner_missing":    boolean("Whose owner Vault does not know any more."),
		"created_by":       strs("Made by these: entity ids, or display names of tokens without an entity."),
		"status":           strs("With these statuses."),
		"status_reason":    strs("With these reasons."),
		"kind":             strs("Of these kinds."),
		"account":          str("Of this account at its provider, by its id."),
		"tag":              str("With this tag: team, or team=sales. Reads connections."),
		"label":            str("With this text in their label. Reads connections."),
		"expires_within":   seconds("Whose credential dies within that time, and nothing renews it."),
		"reconnect_within": seconds("Whose consent runs out within that time."),
		"unchecked_for":    seconds("That were not checked for so long, as far as this node knows."),
		"unused_for": seconds("Whose credential nobody read for so long, as far as it was noted; days are those of UTC, " +
			"and the last is counted whole."),
		"missing_scopes": boolean("Whether required scopes were not granted. Reads connections."),
		"shared":         boolean("Whether they are shared with somebody."),
		"scope_drift":    boolean("Whether what was granted drifted from what the provider asks for."),
		"rotation_due":   boolean("Whether their key is to be replaced by now."),
		"archived":       boolean("Whether they are archived; left out: rows show only those that are not."),
		"limit":          integer("The most rows; 100 by default, 1000 at the most."),
		"cursor":         str("Where the page before ended: its cursor."),
		"count_by":       str("Count by provider, status or owner, in the place of rows."),
	}
	for _, f := range fields {
		f.Query = true
	}
	maps.Copy(fields, own)
	return fields
}

var inventorySchema = map[string]*framework.FieldSchema{
	"connections": objects("Rows: path, connection_id, provider, definition, category, kind, label, tags, account, " +
		"status, status_reason, private, shared, archived, created_by, created_by_id, created_time, expire_time, " +
		"reconnect_by, last_rotation, rotate_by, last_used, missing_scopes, scope_drift."),
	"cursor": str("Give it to the next request; empty at the end."),
	"counts": object("With count_by: how many there are of each, archived ones too; the thousand that are most."),
	"total":  integer("With count_by: how many match."),
	"unreadable": required(integer("Connections whose entries cannot be read or decoded, and for the whole mount " +
		"providers too; they are not among the rows and counts.")),
}

func (b *backend) inventoryRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	s, err := b.readSelection(req, d)
	if err != nil {
		return nil, err
	}
	var after store.Key
	if text := d.Get("cursor").(string); text != "" {
		if after, err = parseCursor(text); err != nil {
			return nil, err
		}
	}
	limit, err := pageSize(d)
	if err != nil {
		return nil, err
	}
	states, err := b.readProviders(ctx, func(*configured) {})
	if err != nil {
		return nil, err
	}
	if _, err := b.directory.fill(ctx); err != nil {
		return nil, err
	}
	warnings, err := b.askUse(ctx, s)
	if err != nil {
		return nil, err
	}
	data := map[string]any{}
	if by := d.Get("count_by").(string); by != "" {
		if s.reads() || after != (store.Key{}) || d.Get("limit").(int) != 0 {
			return nil, badRequest("count_by counts what the directory knows: leave out label, tag, missing_scopes, limit " +
				"and cursor")
		}
		err = b.inventoryCounts(ctx, s, states, by, data)
	} else {
		if s.archived == nil && !slices.Contains(s.status, string(store.StatusArchived)) {
			s.archived = new(bool)
		}
		if b.uses.fill(ctx) != nil && ctx.Err() == nil {
			warnings = append(warnings, "storage does not give when some connections were used last")
		}
		err = b.inventoryRows(ctx, s, states, after, limit, data)
	}
	if err != nil {
		return nil, err
	}
	unreadable := 0
	if s.within == nil {
		unreadable = len(states.unreadable)
	}
	if err := b.directory.walk(ctx, store.Key{}, func(r *record) bool {
		if r.unreadable && (s.within == nil || s.within(r.owner.Value())) {
			unreadable++
		}
		return true
	}); err != nil {
		return nil, err
	}
	data["unreadable"] = unreadable
	return &logical.Response{Data: data, Warnings: warnings}, nil
}

func pageSize(d *framework.FieldData) (int, error) {
	switch limit := d.Get("limit").(int); {
	case limit == 0:
		return defaultPage, nil
	case limit < 0 || limit > maxPage:
		return 0, badRequest("limit is from 1 to %d", maxPage)
	default:
		return limit, nil
	}
}

// readSelection takes the filters, and which owners the path opens.
func (b *backend) readSelection(req *logical.Request, d *framework.FieldData) (*selection, error) {
	f, err := readFilters(d)
	if err != nil {
		return nil, err
	}
	s, err := selectionOf(f)
	if err != nil {
		return nil, err
	}
	return s, s.confine(req, d)
}

// readFilters takes what a request names to choose connections. A word that none can have is refused: that nothing
// matches would read as good news.
func readFilters(d *framework.FieldData) (store.Filters, error) {
	f := store.Filters{
		Provider: d.Get("provider").([]string), Definition: d.Get("definition").([]string),
		Category: d.Get("category").([]string), Status: d.Get("status").([]string),
		Reason: d.Get("status_reason").([]string), Kind: d.Get("kind").([]string), Creator: d.Get("created_by").([]string),
		Account: d.Get("account").(string), Label: d.Get("label").(string), Tag: d.Get("tag").(string),
		Owner: d.Get("owner").(string),
	}
	for field, to := range map[string]*time.Duration{
		"expires_within": &f.Expires, "reconnect_within": &f.Reconnect, "unchecked_for": &f.Unchecked,
		"unused_for": &f.Unused,
	} {
		*to = time.Duration(d.Get(field).(int)) * time.Second
	}
	for field, to := range map[string]**bool{
		"archived": &f.Archived, "shared": &f.Shared, "missing_scopes": &f.Missing,
		"rotation_due": &f.Rotation, "scope_drift": &f.Drift,
	} {
		if v, ok := d.GetOk(field); ok {
			is := v.(bool)
			*to = &is
		}
	}
	if d.Get("owner_missing").(bool) {
		f.Reason = append(f.Reason, string(store.ReasonOwnerMissing))
	}
	return f, cmp.Or(
		oneOf("status", f.Status, store.Statuses()),
		oneOf("status_reason", f.Reason, store.Reasons()),
		oneOf("kind", f.Kind, providers.Kinds()),
	)
}

// oneOf refuses words of a field that are not among those there are.
func oneOf[T ~string](field string, said []string, all []T) error {
	for _, word := range said {
		if !slices.Contains(all, T(word)) {
			return badRequest("%s %q is none there is: name any of %s", field, clipText(word), joinWords(all))
		}
	}
	return nil
}

// selectionOf is what the filters let pass.
func selectionOf(f store.Filters) (*selection, error) {
	s := &selection{
		provider: f.Provider, definition: f.Definition, category: f.Category, status: f.Status, reason: f.Reason,
		kind: f.Kind, creator: f.Creator, account: f.Account, label: f.Label, tag: f.Tag,
		expires: f.Expires, reconnect: f.Reconnect, unchecked: f.Unchecked, unused: f.Unused,
		archived: f.Archived, shared: f.Shared, missing: f.Missing, rotation: f.Rotation,
		drifts: f.Drift,
	}
	if f.Owner != "" {
		owner, err := store.ParseOwner(f.Owner)
		if err != nil {
			return nil, badRequest("%s", err)
		}
		s.owner = owner
	}
	return s, nil
}

// confine lets the selection see no other owners than those of the path.
func (s *selection) confine(req *logical.Request, d *framework.FieldData) error {
	parts := strings.Split(strings.Trim(req.Path, "/"), "/")
	if len(parts) == 1 {
		return nil
	}
	switch parts[1] {
	case "org":
		org := d.Get("org").(string)
		if err := (store.Owner{Org: org}).Check(); err != nil {
			return badRequest("%s", err)
		}
		s.within = func(o store.Owner) bool { return o.Org == org }
	case "user":
		user := d.Get("user").(string)
		if err := store.CheckUser(user); err != nil {
			return badRequest("%s", err)
		}
		s.within = func(o store.Owner) bool { return o == store.Owner{User: user} }
	default:
		if req.EntityID == "" {
			return badRequest("this token has no entity, so 'self' means nobody: log in by an auth method")
		}
		s.within = func(o store.Owner) bool { return o.User == req.EntityID }
	}
	return nil
}

func (b *backend) inventoryCounts(ctx context.Context, s *selection, states providerStates, by string,
	data map[string]any,
) error {
	now, total, counts := b.now(), 0, map[string]int{}
	of := map[string]func(*record, standing) string{
		"provider": func(r *record, _ standing) string { return r.shared().provider },
		"status":   func(_ *record, is standing) string { return string(is.status) },
		"owner":    func(r *record, _ standing) string { return r.owner.Value().String() },
	}[by]
	if of == nil {
		return badRequest("count_by=%q is not known here: there are provider, status and owner", clipText(by))
	}
	err := b.directory.walk(ctx, store.Key{}, func(r *record) bool {
		if is := states.judge(r, now); s.takes(r, is, states, now) {
			total++
			counts[of(r, is)]++
		}
		return true
	})
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return byCount(counts[a], counts[b], a, b)
	})
	for _, name := range names[min(len(names), maxCounts):] {
		delete(counts, name)
	}
	data["counts"], data["total"] = counts, total
	return err
}

// byCount orders the most first.
func byCount(a, b int, nameA, nameB string) int {
	if a != b {
		return b - a
	}
	return strings.Compare(nameA, nameB)
}

// inventoryRows reads the connections of one page, and those that it must to decide.
func (b *backend) inventoryRows(ctx context.Context, s *selection, states providerStates, after store.Key, limit int,
	data map[string]any,
) error {
	rows, read, ended := []map[string]any{}, 0, false
	for len(rows) < limit && !ended && (!s.reads() || read < maxRead) {
		var found []store.Key
		now, most := b.now(), min(limit-len(rows), walked)
		if s.reads() {
			most = min(walked, maxRead-read)
		}
		more := false
		err := b.directory.walk(ctx, after, func(r *record) bool {
			if !s.takes(r, states.judge(r, now), states, now) {
				return true
			}
			if more = len(found) == most; more {
				return false
			}
			found = append(found, r.key())
			return true
		})
		if err != nil {
			return err
		}
		ended = !more
		for _, k := range found {
			if len(rows) == limit {
				ended = false
				break
			}
			row, err := b.inventoryRow(ctx, s, states, k)
			if err != nil {
				return err
			}
			read++
			if after = k; row != nil {
				rows = append(rows, row)
			}
		}
	}
	data["connections"], data["cursor"] = rows, ""
	if !ended {
		data["cursor"] = cursorOf(after)
	}
	return nil
}

// inventoryRow describes a connection; nil: it is gone, cannot be read, or does not pass.
func (b *backend) inventoryRow(ctx context.Context, s *selection, states providerStates,
	k store.Key,
) (map[string]any, error) {
	conn, err := b.connections.Look(ctx, k)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil || conn == nil {
		return nil, nil // the next fill of the directory says so
	}
	p, err := b.provider(ctx, conn.Provider)
	if err != nil {
		p = nil
	}
	if !s.takesRead(p, conn) {
		return nil, nil
	}
	now := b.now()
	terms, err := b.Terms(ctx, k, conn)
	if ctx.Err() != nil || err != nil && !states.unreadable[conn.Provider] {
		return nil, cmp.Or(ctx.Err(), err)
	}
	status, reason := terms.Status(conn, now)
	if err != nil { // then it is as filters and counts have it: one provider hides no others' connections
		b.directory.mirror.with(k, func(r *record) {
			is := states.judge(r, now)
			status, reason = is.status, is.reason
		})
	}
	row := map[string]any{
		"path": k.String(), "connection_id": conn.ID, "provider": conn.Provider, "definition": "", "category": "",
		"kind": string(conn.Kind), "label": conn.Label, "tags": orEmpty(conn.Tags), "status": string(status),
		"status_reason": string(reason), "private": conn.Private,
		"shared":     conn.Private && len(conn.Living(now)) > 0,
		"archived":   conn.Stops.Archived() || !conn.Entity.Archived.IsZero(),
		"account":    map[string]any{"id": conn.Account.ID, "label": conn.Account.Label, "email": conn.Account.Email},
		"created_by": conn.Created.DisplayName, "created_by_id": conn.Created.EntityID,
		"created_time": rfc3339(conn.Created.Time), "last_rotation": rfc3339(conn.Rotated),
		"expire_time": "", "reconnect_by": "", "missing_scopes": []string{}, "last_used": "",
		"rotate_by": rfc3339(keyDue(conn, p, states.config)), "scope_drift": driftOf(p, conn).is(),
	}
	if !b.uses.off.Load() {
		row["last_used"] = b.directory.lastUsed(k).String()
	}
	if p != nil {
		row["definition"], row["category"] = p.app.Definition.ID, p.app.Definition.Category
	}
	if g := conn.Grant; g != nil {
		row["expire_time"], row["reconnect_by"] = rfc3339(g.Expires), rfc3339(g.HardLimit)
		row["missing_scopes"] = list(missingScopes(p, conn, g.Scopes))
	}
	return row, nil
}

// A cursor is the key of the last row. It is no secret, and nobody should make one.
func cursorOf(k store.Key) string { return base64.RawURLEncoding.EncodeToString([]byte(k.String())) }

func parseCursor(text string) (k store.Key, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		k, err = store.ParseKey(string(raw))
	}
	if err != nil {
		return k, badRequest("cursor is none that a page ended with")
	}
	return k, nil
}

const inventoryHelp = `
  inventory                every connection of the mount
  inventory/org/<org>      those of an organization and of its members
  inventory/user/<user>    those of a user
  inventory/self           the caller's own, also as a member of organizations

In the order of owners and names, page by page: give cursor to the next request until it
is empty. A page may hold fewer rows than limit and still not be the last. Everything is
masked as on connections/. Filters that take a list pass any of its values; together
they all must pass. Archived connections are not among the rows unless archived=true or
status=archived.

count_by=provider, status or owner counts what matches, archived ones too.

The filters that say so read connections, a few thousand a request; all others are
decided from memory.
`
