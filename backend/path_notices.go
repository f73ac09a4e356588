package backend

import (
	"context"
	"slices"
	"strconv"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathNotices() []*framework.Path {
	fields := map[string]*framework.FieldSchema{
		"cursor":   str("Where the page before ended: its cursor. Empty: from the oldest notice that there is."),
		"limit":    integer("The most notices; 100 by default, 1000 at the most."),
		"kind":     strs("Of these kinds."),
		"provider": strs("Of these providers, and of their connections."),
		"owner":    str("Of connections of this owner alone: org/<org>, user/<user> or org/<org>/user/<user>."),
	}
	for _, f := range fields {
		f.Query = true
	}
	return []*framework.Path{{
		Pattern:      "notices/?",
		DisplayAttrs: display("notices", "Notices"),
		Fields:       fields,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("read", b.operation(b.noticesRead, "What happened to connections, page by page.",
				noticesSchema)),
		},
		HelpSynopsis:    "What happened to connections, oldest first.",
		HelpDescription: noticesHelp,
	}}
}

var noticesSchema = map[string]*framework.FieldSchema{
	"notices": required(objects("Oldest first: seq, id, time, kind, provider, connection, connection_id, by, by_id, " +
		"verb, reason, private, changes (field, before, after), count, since.")),
	"cursor":  required(str("Give it to the next request, now or later. The same again: there is nothing newer yet.")),
	"dropped": required(integer("How many notices after the cursor are not in the log any more.")),
}

func (b *backend) noticesRead(ctx context.Context, _ *logical.Request, d *framework.FieldData,
) (*logical.Response, error) {
	takes, err := noticeFilter(d.Get("kind").([]string), d.Get("provider").([]string), d.Get("owner").(string))
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(d)
	if err != nil {
		return nil, err
	}
	after, text := uint64(0), d.Get("cursor").(string)
	if text != "" {
		if after, err = strconv.ParseUint(text, 10, 63); err != nil {
			return nil, badRequest("cursor is none that a page ended with")
		}
	}
	found, last, dropped, err := b.notices.read(ctx, after, limit, takes)
	if err != nil {
		return nil, err
	}
	if text == "" {
		dropped = 0 // nobody has read up to there
	}
	rows := []map[string]any{}
	for _, l := range found {
		rows = append(rows, noticeData(l))
	}
	resp := &logical.Response{Data: map[string]any{
		"notices": rows, "cursor": strconv.FormatUint(last, 10), "dropped": int(dropped),
	}}
	if last < after {
		resp.AddWarning("the log does not reach as far as the cursor, as after storage was restored: go on from the new " +
			"one, which is the end of the log")
	}
	return resp, nil
}

// noticeFilter is which notices somebody wants; nil: all.
func noticeFilter(kinds, providers []string, owner string) (func(*store.Notice) bool, error) {
	for _, kind := range kinds {
		if !slices.Contains(store.NoticeKinds, kind) {
			return nil, badRequest("kind=%q is not known here: see path-help", clipText(kind))
		}
	}
	if owner != "" {
		if _, err := store.ParseOwner(owner); err != nil {
			return nil, badRequest("owner: %s", err)
		}
	}
	if len(kinds) == 0 && len(providers) == 0 && owner == "" {
		return nil, nil
	}
	return func(l *store.Notice) bool {
		if len(kinds) > 0 && !slices.Contains(kinds, l.Kind) ||
			len(providers) > 0 && !slices.Contains(providers, l.Provider) {
			return false
		}
		if owner == "" {
			return true
		}
		k, err := store.ParseKey(l.Connection)
		return err == nil && k.Owner.String() == owner
	}, nil
}

// noticeData is a notice as it is answered, under the names that it has in the server's log.
func noticeData(l store.Notice) map[string]any {
	changes := []map[string]any{}
	for _, c := range l.Changes {
		changes = append(changes, map[string]any{"field": c.Field, "before": c.Before, "after": c.After})
	}
	return map[string]any{
		"seq": int(l.Seq), "id": l.ID, "time": rfc3339(l.Time), "kind": l.Kind, "provider": l.Provider,
		"connection": l.Connection, "connection_id": l.ConnectionID, "by": l.By, "by_id": l.ByID, "verb": l.Verb,
		"reason": l.Reason, "private": l.Private, "changes": changes, "count": l.Count, "since": rfc3339(l.Since),
	}
}

const noticesHelp = `
What happened to connections, to providers and to the mount: one notice for each
transition, with who did it and what became of the public fields. Each is a line of
Vault's log, too, as JSON after "notice: ". There is no secret in it and nothing that a
service said, and of private connections no label and no account.

  connect, reconnect   a credential was brought, or another one
  needs_reconnect      a person must connect it again; reason says why
  recovered            what kept it from serving is over; reason says what that was
  revoked, deleted     it was ended
  frozen               a provider, an owner or the mount, by an operator
  disabled             by a person: disabled, or archived
  shared               with whom it is shared changed, or whether it is private
  transferred          it has another owner or name: the one it is told under
  scope_drift          what is asked for and what was granted differ
  rotation_due         a key or a client secret is old
  check_failed         the service refused it when it was checked
  owner_missing, owner_disabled   the entity that owns it left

The log keeps 16 MB. Give the cursor of an answer to the next request, and nothing is
missed or told twice; dropped above 0 says that you came too late for so many. Of more
than a thousand of one kind and provider within ten minutes the rest is one notice with
a count: the inventory says which they are.
`
