package backend

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathLookup() []*framework.Path {
	path := func(pattern, suffix string, own ...string) *framework.Path {
		fields := map[string]*framework.FieldSchema{}
		for _, name := range own {
			fields[name] = map[string]*framework.FieldSchema{
				"org": str("Organization, with its members."),
				"job": required(str("Name of the look-up, as its answer told it.")),
			}[name]
		}
		return &framework.Path{
			Pattern: pattern, DisplayAttrs: display(suffix, "Lookup"), Fields: fields, HelpDescription: lookupHelp,
		}
	}
	asks := func(p *framework.Path) *framework.Path {
		maps.Copy(p.Fields, map[string]*framework.FieldSchema{
			"token": secret(required(str("What was found: an access token, a refresh token, a key or a client secret, of " +
				"twenty characters at least. Blanks around it and 'Bearer' before it do not count. It is kept nowhere."))),
			"provider": strs("Look at these providers and their connections alone."),
		})
		p.Operations = map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("find", forwarded(b.operation(b.lookupFind, "Find whose a found secret is.",
				lookupSchema))),
		}
		p.HelpSynopsis = "Whose a found token or key is."
		return p
	}
	tells := func(p *framework.Path) *framework.Path {
		p.Operations = map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("read", b.operation(b.lookupRead, "Read what was found.", lookupSchema)),
		}
		p.HelpSynopsis = "What a look-up that took longer has found."
		return p
	}
	return []*framework.Path{
		asks(path("lookup", "secret")),
		asks(path("lookup/org/"+segment("org"), "org-secret", "org")),
		tells(path("lookup/org/"+segment("org")+"/"+segment("job"), "org-lookup", "org", "job")),
		tells(path("lookup/"+segment("job"), "lookup", "job")),
	}
}

// What an answer says in one word.
const (
	lookupRunning = "running"
	lookupFound   = "found"
	lookupUnknown = "unknown"
)

var lookupSchema = map[string]*framework.FieldSchema{
	"state": required(str("found, unknown, or running: read it by job in a while.")),
	"job":   required(str("Name of the look-up, if it took longer than five seconds; it is kept for a day.")),
	"matches": required(objects("Where it is, or was: of (connection, provider, import, deleted), standing (living, " +
		"former), field, replaced_time (to the day), path, connection_id, owner, provider, kind, label, status, " +
		"status_reason, private, created_by, created_by_id, created_time, deleted_time, last_used, readers, next_step. " +
		"A hundred at the most.")),
	"examined":   required(integer("Connections that were looked at.")),
	"total":      required(integer("Connections that are to be looked at.")),
	"unreadable": required(integer("Entries that could not be read: it may be theirs.")),
	"good_until": required(str("Until when the job can be read (RFC 3339); empty where there is none.")),
}

func noLookup() error {
	return &statusError{http.StatusNotFound, "no such look-up here: one is kept for a day, and not at all if it ends " +
		"within seconds; send the found secret again"}
}

// soughtOf reads what was found. Errors do not tell it.
func soughtOf(d *framework.FieldData) (providers.Secret, error) {
	text := strings.TrimSpace(d.Get("token").(string))
	if scheme, rest, ok := strings.Cut(text, " "); ok && strings.EqualFold(scheme, "Bearer") {
		text = strings.TrimSpace(rest)
	}
	sought := providers.NewSecret(text)
	if !store.LongEnough(sought) {
		return sought, badRequest("token is shorter than %d characters, and so much is needed to tell whose it is: give the "+
			"whole secret in the body, as 'vault write connectors/lookup token=-' takes it from stdin", store.MinSought)
	}
	return sought, nil
}

// lookupOrg is the organization to which a path confines its caller; empty: none.
func lookupOrg(req *logical.Request, d *framework.FieldData) (string, error) {
	if !strings.HasPrefix(req.Path, "lookup/org/") {
		return "", nil
	}
	org := d.Get("org").(string)
	if err := (store.Owner{Org: org}).Check(); err != nil {
		return "", badRequest("%s", err)
	}
	return org, nil
}

func (b *backend) lookupFind(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	org, err := lookupOrg(req, d)
	if err != nil {
		return nil, err
	}
	sought, err := soughtOf(d)
	if err != nil {
		return nil, err
	}
	if !b.mayWrite() {
		return nil, logical.ErrReadOnly
	}
	named := d.Get("provider").([]string)
	for _, name := range named {
		if err := store.CheckName("provider", name); err != nil {
			return nil, badRequest("%s", err)
		}
		there, err := b.providerThere(ctx, name)
		switch {
		case err != nil:
			return nil, err
		case !there:
			return nil, badRequest("no provider %q is configured, so nothing was looked for: leave provider out to look at "+
				"all, those of deleted providers too", name)
		}
	}
	hasher, err := b.hashing.need(ctx)
	if err != nil {
		return nil, err
	}
	l, err := b.lookups.begin(store.Lookup{
		ID: store.NewJobID(), Sought: hasher.Hash(sought), Hasher: hasher.ID(), Org: org, Providers: named,
		By: callerOf(req).actor(b.now()),
	}, false)
	if err != nil {
		return nil, err
	}
	wait := time.NewTimer(lookupWait)
	defer wait.Stop()
	select {
	case <-l.done:
		return b.describeLookup(ctx, req, &l.entry, false)
	case <-ctx.Done():
		b.lookups.drop(l)
		return nil, ctx.Err()
	case <-wait.C:
	}
	done, err := b.lookups.keep(ctx, l)
	switch {
	case err != nil:
		return nil, err
	case done:
		<-l.done
		return b.describeLookup(ctx, req, &l.entry, false)
	}
	return b.describeOpen(req, l), nil
}

func (b *backend) lookupRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	org, err := lookupOrg(req, d)
	if err != nil {
		return nil, err
	}
	id := d.Get("job").(string)
	if !store.ValidJobID(id) {
		return nil, noLookup()
	}
	e, err := b.store.Lookup(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case e == nil || org != "" && e.Org != org || !b.now().Before(e.By.Time.Add(keepLookups)):
		return nil, noLookup()
	case !e.Ended.IsZero():
		return b.describeLookup(ctx, req, e, true)
	}
	l := b.lookups.find(id)
	switch {
	case l != nil:
	case !b.mayWrite(): // another node looks
		l = &aLookup{entry: *e}
	default: // of a former process, or storage took it late
		if l, err = b.lookups.begin(*e, true); err != nil {
			return nil, err
		}
	}
	return b.describeOpen(req, l), nil
}

// describeOpen tells how a look-up stands that has no answer yet.
func (b *backend) describeOpen(req *logical.Request, l *aLookup) *logical.Response {
	path := "lookup/" + l.entry.ID
	if l.entry.Org != "" {
		path = "lookup/org/" + l.entry.Org + "/" + l.entry.ID
	}
	resp := &logical.Response{Data: map[string]any{
		"state": lookupRunning, "job": l.entry.ID, "matches": []map[string]any{},
		"examined": int(l.examined.Load()), "total": int(l.total.Load()), "unreadable": 0,
		"good_until": rfc3339(l.entry.By.Time.Add(keepLookups)),
	}}
	resp.AddWarning("every entry is being read, which takes some minutes where there are very many: 'vault read " +
		req.MountPoint + path + "' tells the answer")
	return resp
}

// describeLookup tells an answer. What was found is described as it is now.
func (b *backend) describeLookup(ctx context.Context, req *logical.Request, e *store.Lookup,
	kept bool,
) (*logical.Response, error) {
	if e.Void {
		return nil, conflict("the key of look-ups was lost since this one began, so nobody can tell any more: send the " +
			"found secret again")
	}
	matches, err := b.describeFound(ctx, req, e.Found)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"state": lookupUnknown, "job": "", "matches": matches, "examined": e.Examined, "total": e.Examined,
		"unreadable": e.Unreadable, "good_until": "",
	}
	if len(matches) > 0 {
		data["state"] = lookupFound
	}
	if kept {
		data["job"], data["good_until"] = e.ID, rfc3339(e.By.Time.Add(keepLookups))
	}
	resp := &logical.Response{Data: data}
	if e.Unreadable > 0 {
		resp.AddWarning(fmt.Sprintf("%d entries could not be read: it may be theirs", e.Unreadable))
	}
	if e.More {
		resp.AddWarning(fmt.Sprintf("it was found in more than %d places, of which these are the first", len(matches)))
	}
	return resp, nil
}

func (b *backend) describeFound(ctx context.Context, req *logical.Request, all []store.Found,
) ([]map[string]any, error) {
	rows := []map[string]any{}
	if len(all) == 0 {
		return rows, nil
	}
	states, err := b.readProviders(ctx, func(*configured) {})
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		row := map[string]any{
			"of": string(f.Of), "standing": "living", "field": f.Field, "replaced_time": rfc3339(f.Day), "path": f.Path,
			"connection_id": f.ID, "owner": "", "provider": f.Provider, "kind": "", "label": "", "status": "",
			"status_reason": "", "private": false, "created_by": "", "created_by_id": "", "created_time": "",
			"deleted_time": rfc3339(f.Gone), "last_used": "", "readers": []map[string]any{},
			"next_step": nextStepOfLeak(req.MountPoint, f),
		}
		if f.Former {
			row["standing"] = "former"
		}
		if k, err := store.ParseKey(f.Path); err == nil {
			row["owner"] = k.Owner.String()
			if err := b.describeBearer(ctx, callerOf(req), states, k, f, row); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// describeBearer adds what is known of the connection that a secret was found in, unless that is another one by now.
func (b *backend) describeBearer(ctx context.Context, who caller, states providerStates, k store.Key, f store.Found,
	row map[string]any,
) error {
	c, err := b.connections.Look(ctx, k)
	switch {
	case store.Unusable(err):
		return nil
	case err != nil:
		return err
	case c == nil || f.Of == store.OfDeleted || c.ID != f.ID && f.Of == store.OfConnection:
		return nil
	}
	is, err := b.inventoryRow(ctx, &selection{}, states, k)
	if err != nil || is == nil {
		return err
	}
	for _, name := range []string{
		"connection_id", "kind", "label", "status", "status_reason", "private", "created_by", "created_by_id", "created_time",
	} {
		row[name] = is[name]
	}
	use, err := b.useOf(ctx, k, c)
	if err != nil {
		return err
	}
	row["last_used"], row["readers"] = use.Day.String(), readersFor(who, k, c, use)
	return nil
}

// nextStepOfLeak says how the harm is ended.
func nextStepOfLeak(mount string, f store.Found) string {
	connection := mount + "connections/" + f.Path
	switch {
	case f.Of == store.OfProvider && f.Field == "client_secret" && f.Former:
		return "end it at the service, then: vault write " + mount + "providers/" + f.Provider +
			"/client-secret drop_former=true"
	case f.Of == store.OfProvider && f.Field == "client_secret":
		return "make a new one at the service, then: vault write " + mount + "providers/" + f.Provider +
			"/client-secret client_secret=-; then end this one at the service"
	case f.Of == store.OfProvider:
		return "make a new one at the service, write it to " + mount + "providers/" + f.Provider +
			", and end this one at the service"
	case f.Of == store.OfImport:
		return "revoke the grant at the service: its import is not finished, and is forgotten within hours"
	case f.Of == store.OfDeleted:
		return "make sure at the service that it is ended there: the connection is gone from here"
	case f.Former:
		return "make sure at the service that it is ended there: it is not handed out any more"
	case f.Field == store.AccessTokenField || f.Field == store.RefreshTokenField:
		return "vault delete " + connection + ", which revokes the grant where its provider can be asked; then connect the " +
			"account again"
	}
	return "make a new one at the service, write it to " + connection + ", and end this one at the service"
}

const lookupHelp = `
  lookup                 whose a found token or key is, of the whole mount
  lookup/org/<org>       the same among the connections of an organization and its members
  lookup/<job>           the answer, where it took longer; lookup/org/<org>/<job> likewise

Give the secret in the body, from stdin, so that no shell and no log has it:

    vault write connectors/lookup token=-

It is compared with all that is stored: access and refresh tokens, keys and their other
secret fields, companions, imports, and with the whole mount the client secrets of
providers. And with keyed hashes of what was stored: of each connection the last eight
tokens and the last eight other secrets that were replaced, and what was there when it was
deleted, for as long as history_retention says. Whatever is not found, or is not the
caller's to see, is unknown. What is shorter than twenty characters is refused.

Every entry is read, whatever is found. That takes seconds, or minutes where there are
very many connections: after five seconds the answer names a job, which outlives this
node and is kept for a day. provider=<provider> narrows. The secret itself is kept nowhere.
`
