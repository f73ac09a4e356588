package backend

import (
	"context"
	"maps"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathConnections() []*framework.Path {
	return []*framework.Path{{
		Pattern:             byName("connections"),
		DisplayAttrs:        display(spellings("connection"), "Connection"),
		Fields:              ownedFields(connectionFields()),
		TakesArbitraryInput: true, // the key fields of the definition
		ExistenceCheck:      b.connectionExists,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: verb("create", forwarded(b.operation(b.connectionWrite,
				"Store a key, or import tokens.", connectionSchema))),
			logical.ReadOperation: verb("read", b.operation(b.connectionRead, "Read masked metadata.",
				connectionSchema)),
			logical.UpdateOperation: verb("update", forwarded(b.operation(b.connectionWrite,
				"Change metadata or replace the key; what is not named keeps its value.", connectionSchema))),
			logical.DeleteOperation: verb("delete", forwarded(b.operation(b.connectionDelete,
				"Revoke at the provider as far as it lets us, and delete."))),
		},
		HelpSynopsis:    "One connection: masked metadata, keys, imports.",
		HelpDescription: connectionsHelp,
	}}
}

func connectionFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"provider": str("Provider of the connection; by default the one of the connection's " +
			"name. Fixed after creation."),
		"kind": str("How the credential is obtained; by default the first way the definition names that " +
			"fits what is written."),
		"label": str("A name for people."),
		"debug_until": str("Until when each exchange with the service is told to the server log, without any value: a time " +
			"(RFC 3339), or how long from now on, an hour at most; empty: no longer."),
		"tags": pairs("Key-value pairs for filtering. Replaced whole."),
		"inputs": pairs("Values the definition asks of a connection, such as a shop or a subdomain. " +
			"Replaced whole."),
		"required_scopes": strs("Scopes whose absence is shown as missing_scopes."),
		"companions": secret(pairs("Secrets that go along with the credential and are never sent, as the definition " +
			"names them. Replaced whole. Reads mask the values.")),
		"rotate_after": rotateAfterField("the key"),
		"disabled": boolean("Stop serving the credential; nothing is lost. The owner's entity and everybody else " +
			"each set and lift their own word on it."),
		"archived":        boolean("Put the connection away: as disabled, and shown as archived. Two words, too."),
		"archived_reason": str("Why it is archived, beside archived=true."),
		"private": boolean("Serve the credential to the owner's own entity alone. The default where that " +
			"entity puts a credential in; only it can say false."),
		"provision":     boolean("Create under the id of a live entity that is not the caller's own."),
		"refresh_token": secret(str("Import: a refresh token obtained elsewhere.")),
		"access_token":  secret(str("Import: an access token obtained elsewhere.")),
		"verify": {
			Type:    framework.TypeBool,
			Default: true,
			Description: "Try a key or imported tokens before they replace anything. false stores them untried, for " +
				"migrations and for services out of reach.",
		},
		"restore_former":       boolean("Put the key back that was replaced last, with nothing else of a credential."),
		"allow_account_change": boolean("Import: take the tokens although they are of another account than before."),
		"expires_in": seconds("Import: the remaining life of access_token; left out: the provider's " +
			"assumed_ttl, or it does not expire."),
	}
}

// connectionSchema is what everybody with a policy sees of a connection: nothing that could be used.
var connectionSchema = map[string]*framework.FieldSchema{
	"owner": required(str("Owner, as org/<org>, user/<user> or org/<org>/user/<user>.")),
	"name":  required(str("Name of the connection.")),
	"connection_id": str("Tells this connection from another that has its name later; kept as long as it lives. Empty " +
		"until the first write of one that a former release made."),
	"provider":        required(str("Provider of the connection.")),
	"kind":            str("How the credential is obtained."),
	"status":          required(str("active, needs_reconnect, failed_validation, expired, disabled, archived, pending.")),
	"status_reason":   str("Why it has its status; empty when active."),
	"status_since":    str("Since when (RFC 3339)."),
	"label":           str("A name for people."),
	"is_default":      boolean("Whether it is named like its provider, and so is what its owner means by that."),
	"tags":            object("Key-value pairs."),
	"inputs":          object("Values the definition asks of a connection."),
	"companions":      object("Secrets that go along with the credential and are never sent, masked."),
	"private":         boolean("Whether only the owner's entity is served."),
	"disabled":        boolean("Whether the caller's side switched it off: its owner's, or everybody else's."),
	"archived":        boolean("Whether the caller's side put it away."),
	"archived_reason": str("Why it did."),
	"disabled_by": objects("Who stopped it: side (owner, others, or either of an older release), what (disabled or " +
		"archived), reason, display_name, entity_id, time."),
	"shared_with":     str("With how many a private connection is shared, in words; empty when with nobody."),
	"transfer_to":     str("Where it is offered to, or on its way to; empty when to nowhere."),
	"transfer_until":  str("Until when the offer may be taken (RFC 3339)."),
	"account":         object("Whose account it is at the provider: id, label, email."),
	"scopes":          strs("Scopes granted."),
	"required_scopes": strs("Scopes required."),
	"token_type":      str("The provider's own word for the type of the token; creds tells how it is sent."),
	"missing_scopes":  strs("Scopes required and not granted."),
	"surplus_scopes":  strs("Scopes granted beyond the provider's allowed_scopes."),
	"scope_drift": boolean("Whether what was granted drifted from what the provider asks for now, beside what " +
		"missing_scopes tells."),
	"new_scopes":         strs("Scopes that the provider asks for now and that were not granted."),
	"lost_scopes":        strs("Scopes that were granted, and that a refresh or a check did not find any more."),
	"scope_drift_advice": str("Why, and how to consent again; empty without drift."),
	"choices":            objects("Sites that the grant reaches, as id and name, where one is picked by an input."),
	"connection_config":  object("Further public values that came with the grant, or that the service told of the key."),
	"key":                object("Fields of a key; of secrets at most the last four characters."),
	"former_key":         object("Fields of the key before this one, masked, while it can be brought back."),
	"former_key_until":   str("Until when it can be (RFC 3339); empty when there is none."),
	"refreshable":        boolean("Whether the engine can renew the credential."),
	"expire_time":        str("When the access token expires (RFC 3339); empty when it does not."),
	"reconnect_by":       str("When the person must consent again whatever is refreshed (RFC 3339); empty when unknown."),
	"last_rotation":      str("When the credential last changed (RFC 3339)."),
	"rotate_after":       str("After how long the key is to be replaced; empty: as elsewhere."),
	"rotate_by":          str("By when that is (RFC 3339); empty: never, or nobody knows how old it is."),
	"last_refresh":       str("When it was last refreshed (RFC 3339)."),
	"next_refresh":       str("Not before when it is tried again after a failure (RFC 3339)."),
	"last_error": object("The last failure to refresh: class, code, reason, time, attempts, outcome_unknown. " +
		"Empty after a success."),
	"last_used": str("The day on which its credential was read last (UTC, as 2026-03-01); empty when that was not " +
		"noted, as before track_use."),
	"readers": objects("Who read it last, eight at the most: entity_id, display_name, last_used. Of a private " +
		"connection its owner's entity alone is told."),
	"created_by":    str("Display name of who made the connection."),
	"created_by_id": str("Entity of who made it; empty for a token without one, as root's."),
	"created_time":  str("When it was made (RFC 3339)."),
	"updated_by":    str("Display name of who changed it last by a request; renewals do not count."),
	"updated_by_id": str("Entity of who did; empty for a token without one."),
	"updated_time":  str("When that was (RFC 3339)."),
	"debug_until": str("Until when exchanges with the service are told to the server log (RFC 3339); empty: they " +
		"are not."),
	"open_flow_until": str("When the latest open flow for this connection ends (RFC 3339); empty " +
		"when there is none."),
}

func (b *backend) connectionExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	if strings.HasPrefix(req.Path, "connections/self/") {
		return true, nil // Vault asks before it knows the entity: every write here arrives as an update
	}
	k, err := b.keyOf(ctx, req, d)
	if err != nil {
		return true, nil // the handler says what is wrong with the name
	}
	conn, _, err := b.connections.Get(ctx, k)
	if store.Unusable(err) {
		return true, nil // the handler replaces it, or says why not: of an error here Vault tells nothing
	}
	return conn != nil, err
}

// connectionAt reads which connection a request means, and the connection.
func (b *backend) connectionAt(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (k store.Key, conn *store.Connection, err error) {
	if k, err = b.keyOf(ctx, req, d); err != nil {
		return k, nil, err
	}
	if conn, _, err = b.connections.Get(ctx, k); err == nil && conn == nil {
		err = badRequest("no connection %s", k)
	}
	return k, conn, err
}

func (b *backend) connectionRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.keyOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil {
		return nil, err
	}
	who := callerOf(req)
	resp, err := b.metadata(ctx, who, k, conn)
	return b.withOwner(who, k, conn, resp), err
}

// metadata is the masked view of a connection; of one that is only a flow so far when conn is nil; nothing else.
func (b *backend) metadata(ctx context.Context, who caller, k store.Key,
	conn *store.Connection,
) (*logical.Response, error) {
	flow, err := b.flowOf(ctx, k)
	if err != nil {
		return nil, err
	}
	data := map[string]any{"owner": k.Owner.String(), "name": k.Name}
	if conn == nil {
		if flow == nil {
			return nil, nil
		}
		reason := store.ReasonFlowOpen
		if flow.denied {
			reason = store.ReasonDenied
		}
		maps.Copy(data, map[string]any{
			"provider": flow.provider, "status": string(store.StatusPending), "status_reason": string(reason),
			"status_since":    rfc3339(flow.started),
			"open_flow_until": rfc3339(flow.expires),
		})
		return &logical.Response{Data: data}, nil
	}
	p, err := b.provider(ctx, conn.Provider)
	if err != nil {
		return nil, err
	}
	terms, err := b.Terms(ctx, k, conn)
	if err != nil {
		return nil, err
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	status, reason := terms.Status(conn, b.now())
	stop := conn.Stops.Seen(who.owns(k))
	maps.Copy(data, map[string]any{
		"provider": conn.Provider, "kind": string(conn.Kind), "label": conn.Label, "tags": orEmpty(conn.Tags),
		"inputs":     orEmpty(conn.Inputs),
		"companions": maskedSecrets(conn.Companions),
		"is_default": k.Name == conn.Provider,
		"private":    conn.Private, "disabled": !stop.Disabled.Time.IsZero(),
		"archived": !stop.Archived.Time.IsZero(), "archived_reason": stop.Reason,
		"shared_with": b.sharedWords(conn), "disabled_by": disabledBy(conn.Stops),
		"status": string(status), "status_reason": string(reason),
		"status_since":    rfc3339(conn.Since(status, reason)),
		"required_scopes": list(conn.RequiredScopes), "missing_scopes": []string{},
		"last_rotation": rfc3339(conn.Rotated), "last_refresh": rfc3339(conn.LastRefresh),
		"rotate_after": rotateAfterWord(conn.RotateAfter), "rotate_by": rfc3339(keyDue(conn, p, config)),
		"next_refresh": rfc3339(conn.Attempt.Next),
		"last_error":   lastError(conn.Attempt), "connection_id": conn.ID,
		"created_by": conn.Created.DisplayName, "created_by_id": conn.Created.EntityID,
		"created_time": rfc3339(conn.Created.Time),
		"updated_by":   conn.Updated.DisplayName, "updated_by_id": conn.Updated.EntityID,
		"updated_time":    rfc3339(conn.Updated.Time),
		"debug_until":     debugShown(conn.DebugUntil, b.now()),
		"open_flow_until": "", "transfer_to": conn.Moving.To, "transfer_until": "",
	})
	if offer, open := conn.Offered(b.now()); open {
		data["transfer_to"], data["transfer_until"] = offer.To, rfc3339(offer.Until)
	}
	if flow != nil && !flow.denied {
		data["open_flow_until"] = rfc3339(flow.expires)
	}
	data["account"] = map[string]any{
		"id": conn.Account.ID, "label": conn.Account.Label, "email": conn.Account.Email,
	}
	if g := conn.Grant; g != nil {
		maps.Copy(data, map[string]any{
			"choices": choicesOf(conn),
			"scopes":  list(g.Scopes), "connection_config": orEmpty(conn.Config()), "expire_time": rfc3339(g.Expires),
			"reconnect_by": rfc3339(g.HardLimit), "refreshable": terms.CanRefresh, "surplus_scopes": []string{},
			"token_type": g.TokenType, "missing_scopes": list(missingScopes(p, conn, g.Scopes)),
		})
		drifted := driftOf(p, conn)
		data["scope_drift"], data["scope_drift_advice"] = drifted.is(), drifted.advice(k, p, conn)
		data["new_scopes"], data["lost_scopes"] = list(drifted.grown), list(drifted.lost)
		if p != nil {
			data["surplus_scopes"] = list(p.surplus(g.Scopes))
		}
		if len(g.Key) > 0 {
			data["key"] = maskedKey(p, conn)
		}
	} else {
		data["key"], data["connection_config"] = maskedKey(p, conn), orEmpty(conn.Config())
		former := *conn
		former.Grant, former.Key = nil, conn.FormerKey
		data["former_key"], data["former_key_until"] = maskedKey(p, &former), rfc3339(conn.FormerUntil)
	}
	warnings := b.addUse(ctx, who, k, conn, data)
	return &logical.Response{Data: data, Warnings: warnings}, nil
}

// handedOut are the fields of a key that applications get: what the engine alone needs stays here.
func handedOut(p *configured, conn *store.Connection) map[string]string {
	fields := keyFields(p, conn)
	maps.DeleteFunc(fields, func(name, _ string) bool { return p == nil || !p.app.Definition.HandsOut(name) })
	return fields
}

// keyFields are the fields of a key: those written, and what the definition makes of them.
func keyFields(p *configured, conn *store.Connection) map[string]string {
	fields := map[string]string{}
	for name, v := range conn.KeyFields() {
		fields[name] = v.Reveal()
	}
	if p != nil {
		maps.Copy(fields, p.app.Definition.DeriveKey(fields))
	}
	return fields
}

// maskedKey shows public fields as they are and masks all others; what the definition does not know is masked.
func maskedKey(p *configured, conn *store.Connection) map[string]any {
	masked := map[string]any{}
	for name, v := range keyFields(p, conn) {
		masked[name] = providers.NewSecret(v).Masked()
		if p == nil || p.hidesKey(conn) {
			continue
		}
		_, written := conn.KeyFields()[name]
		_, declared := p.app.Definition.KeyField(name)
		if (declared || !written) && !p.app.Definition.IsSecretField(name) {
			masked[name] = v
		}
	}
	return masked
}

// disabledBy lists the stops that stand.
func disabledBy(stops store.Stops) []map[string]any {
	all := []map[string]any{}
	for _, s := range stops.Sides() {
		add := func(what, reason string, by store.Actor) {
			if !by.Time.IsZero() {
				all = append(all, map[string]any{
					"side": string(s.Side), "what": what, "reason": reason, "display_name": by.DisplayName,
					"entity_id": by.EntityID, "time": rfc3339(by.Time),
				})
			}
		}
		add("disabled", "", s.Disabled)
		add("archived", s.Reason, s.Archived)
	}
	return all
}

func lastError(a store.Attempt) map[string]any {
	if a.Failures == 0 {
		return map[string]any{}
	}
	return map[string]any{
		"class": string(a.Class), "code": a.Code, "reason": a.Why, "time": rfc3339(a.Last), "attempts": a.Failures,
		"outcome_unknown": a.Unknown,
	}
}

func (b *backend) connectionWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.keyOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	w, err := b.planWrite(ctx, k, callerOf(req), d)
	if err != nil {
		return nil, err
	}
	var conn *store.Connection
	switch {
	case w.issues() && w.unchecked:
		w.holdKey()
		conn, err = w.store(ctx, b, w.apply)
	case w.issues():
		conn, err = b.issue(ctx, w)
	case w.imports:
		conn, err = b.importTokens(ctx, w)
	case w.pick != "":
		conn, err = b.pick(ctx, w)
	default:
		if err = b.checkKey(ctx, w); err == nil {
			conn, err = w.store(ctx, b, w.apply)
		}
	}
	if err != nil {
		return nil, err
	}
	resp, err := b.metadata(ctx, w.who, k, conn)
	if resp != nil {
		if w.settings.Decision != (store.Decision{}) {
			warnOfStops(w.who, k, conn, resp)
		}
		if w.closed {
			resp.AddWarning(closedWarning(k))
		}
		resp.Warnings = append(resp.Warnings, w.warnings...)
		warnOfAnswered(w.answered, resp)
	}
	return b.withOwner(w.who, k, conn, resp), err
}

func (b *backend) connectionDelete(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.keyOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	// Once begun, a deletion is carried through, whether or not the caller waits.
	act := callerOf(req).act("delete", b.now())
	out, err := b.tasks.Once(ctx, deletionName(k), func(ctx context.Context) (any, error) {
		return b.deleteConnection(ctx, k, act)
	})
	if err != nil {
		return nil, err
	}
	if warning := out.(string); warning != "" {
		resp := &logical.Response{}
		resp.AddWarning(warning)
		return resp, nil
	}
	return nil, nil
}

const connectionsHelp = `
Reading answers masked metadata: whose account it is, its status, its scopes, when it
was refreshed. Nothing in it can be used at the provider.

Writing stores a key (the definition names its fields, see catalog/), imports tokens
obtained elsewhere (refresh_token, access_token, expires_in), or changes label, tags
and the like. Accounts that a person consents to are connected with auth-code-url/.
Where a grant reaches several sites, a write of the input that the definition names
picks one of the choices: inputs=<input>=<id>.

Deleting revokes the grant at the provider first, as far as the provider lets us and
no other connection may rest on the same account; a warning tells when it was not done.
Other mounts of this plugin process are asked too. Those of another node or of another
Vault cannot be: where they use the same app, a provider may end their access with it.
`
