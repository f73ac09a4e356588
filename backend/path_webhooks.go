package backend

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/webhook"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

const (
	// maxWebhooks is how many a mount may have. Requests that meet may exceed it by a few.
	maxWebhooks = 32

	// mostPending is how far those that wait are counted.
	mostPending = 1000

	defaultFormerTTL = 24 * time.Hour      // how long a former secret signs too
	longestFormerTTL = 30 * 24 * time.Hour // and at the most
)

func (b *backend) pathWebhooks() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      "webhooks/?",
			DisplayAttrs: display("webhooks", "Webhook"),
			Fields:       listFields(nil),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: verb("list", b.operation(b.webhooksList, "List the webhooks.", listSchema)),
			},
			HelpSynopsis:    "The webhooks.",
			HelpDescription: webhooksHelp,
		},
		{
			Pattern:             "webhooks/" + segment("name"),
			DisplayAttrs:        display("webhook", "Webhook"),
			Fields:              webhookFields(),
			TakesArbitraryInput: true, // what a read answered and nobody writes may come back
			ExistenceCheck:      b.webhookExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.CreateOperation: verb("create", forwarded(b.operation(b.webhookWrite,
					"Have notices sent to a receiver.", webhookSchema))),
				logical.ReadOperation: verb("read", b.operation(b.webhookRead,
					"Read a webhook, and how its receiver fares; its secret is not shown.", webhookSchema)),
				logical.UpdateOperation: verb("update", forwarded(b.operation(b.webhookWrite,
					"Change a webhook; what is not named keeps its value.", webhookSchema))),
				logical.DeleteOperation: verb("delete", forwarded(b.operation(b.webhookDelete,
					"Delete a webhook; nothing more is sent."))),
			},
			HelpSynopsis:    "A receiver of notices.",
			HelpDescription: webhooksHelp,
		},
		{
			Pattern:      "webhooks/" + segment("name") + "/test",
			DisplayAttrs: display("webhook", "Webhook"),
			Fields:       map[string]*framework.FieldSchema{"name": required(str("Name of the webhook."))},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: verb("test", forwarded(b.operation(b.webhookTest,
					"Send a test to the receiver now.", webhookTestSchema))),
			},
			HelpSynopsis:    "Does the receiver of a webhook take what it is sent?",
			HelpDescription: webhooksHelp,
		},
	}
}

func webhookFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"name": required(str("Name of the webhook.")),
		"url": str("Where notices are sent by POST: https, or http to a loopback host that egress_allow lists. No " +
			"redirect is followed."),
		"kinds":     strs("Kinds of notices that are sent; by default all."),
		"providers": strs("Providers of which notices are sent; by default all."),
		"owners": strs("Owners of the connections of which notices are sent: org/<org>, user/<user>, " +
			"org/<org>/user/<user>, with * for any id; by default all, and what concerns none. A notice that stands for many " +
			"connections is sent whoever owns them."),
		"ca_pem": str("Certificates to trust for this receiver instead of the system's."),
		"secret": secret(str("What signs each request: whsec_ and the base64 of 24 to 64 random bytes. Write-only. Left " +
			"out when a webhook is made: the engine makes one and shows it once. The former one signs too for a while.")),
		"generate_secret": boolean("Make another secret, and show it once."),
		"former_secret_ttl": seconds("How long the former secret signs too when it is replaced; by default 24h, 30 days at " +
			"the most, 0: not at all."),
		"drop_former": boolean("Sign with the former secret no more."),
		"disabled":    boolean("Send nothing. What the log has is sent once this is false again."),
		"from_start":  boolean("When the webhook is made: send what the log has already. By default it gets what comes."),
	}
}

var webhookSchema = map[string]*framework.FieldSchema{
	"url":                 str("Where notices are sent."),
	"kinds":               strs("Kinds of notices that are sent; empty: all."),
	"providers":           strs("Providers of which they are sent; empty: all."),
	"owners":              strs("Owners of the connections of which they are sent; empty: all."),
	"ca_pem":              str("Certificates to trust for this receiver instead of the system's."),
	"secret":              secret(str("The secret, once: in the answer to the write that had the engine make it.")),
	"secret_set":          str("When the secret was set (RFC 3339)."),
	"former_secret_until": str("Until when the former secret signs too (RFC 3339); empty: it does not."),
	"disabled":            boolean("Whether nothing is sent."),
	"disabled_reason":     str("gone: the receiver answered 410, it wants no more. Empty: an operator did it."),
	"created":             object("Who made it, and when: display_name, entity_id, time."),
	"updated":             object("Who changed it last, and when."),
	"pending":             integer("Notices that wait, counted up to a thousand."),
	"pending_since":       str("When the first of those that wait happened (RFC 3339)."),
	"delivered":           integer("Notices that the receiver took."),
	"last_delivered":      str("When it took the last one (RFC 3339)."),
	"refused":             integer("Notices that it refused for a day, and that were passed over."),
	"dropped":             integer("Notices that left the log before they were delivered, whatever their kind."),
	"failures":            integer("Failures in a row."),
	"failing_since":       str("Since when it fails (RFC 3339)."),
	"last_failure": object("What failed last: failure, status (0: there was no answer), time. Empty while it " +
		"works."),
	"next_try": str("When it is tried again (RFC 3339); empty: nothing waits for that."),
}

var webhookTestSchema = map[string]*framework.FieldSchema{
	"id":        required(str("The webhook-id that was sent.")),
	"delivered": required(boolean("Whether the receiver took it.")),
	"status":    required(integer("The status of its answer; 0: there was none.")),
	"failure":   required(str("Why it was not delivered; empty: it was.")),
}

func (b *backend) webhookExists(ctx context.Context, _ *logical.Request, d *framework.FieldData) (bool, error) {
	name := d.Get("name").(string)
	if store.CheckName("webhook", name) != nil {
		return true, nil // the handler says what is wrong with the name
	}
	w, err := b.store.Webhook(ctx, name)
	if store.Unusable(err) {
		return true, nil // the handler says why: of an error here Vault tells nothing
	}
	return w != nil, err
}

func (b *backend) webhooksList(ctx context.Context, _ *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	names, err := b.store.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	return listed(ctx, d, names, func(name string) map[string]any {
		w, err := b.store.Webhook(ctx, name)
		if err != nil || w == nil {
			return nil
		}
		host := ""
		if u, err := url.Parse(w.URL); err == nil { // the rest may be secret
			host = u.Hostname()
		}
		return map[string]any{"host": host, "disabled": w.Disabled}
	})
}

func (b *backend) webhookRead(ctx context.Context, _ *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := store.CheckName("webhook", name); err != nil {
		return nil, badRequest("%s", err)
	}
	w, err := b.store.Webhook(ctx, name)
	if err != nil || w == nil {
		return nil, err
	}
	return b.webhookAnswer(ctx, name, w)
}

func (b *backend) webhookAnswer(ctx context.Context, name string, w *store.Webhook) (*logical.Response, error) {
	data := map[string]any{
		"url": w.URL, "kinds": list(w.Kinds), "providers": list(w.Providers), "owners": list(w.Owners), "ca_pem": w.CAPEM,
		"secret_set": rfc3339(w.SecretSet), "former_secret_until": "", "disabled": w.Disabled,
		"disabled_reason": string(w.Why), "created": describeActor(w.Created), "updated": describeActor(w.Updated),
	}
	if !w.FormerSecret.IsZero() && !w.FormerEnded(b.now()) {
		data["former_secret_until"] = rfc3339(w.FormerUntil)
	}
	c, err := b.webhooks.cursor(ctx, name, w)
	if err != nil {
		return nil, err
	}
	waiting, _, dropped, err := b.webhooks.log.read(ctx, c.Seq, mostPending, func(n *store.Notice) bool {
		return takes(w, n)
	})
	if err != nil {
		return nil, err
	}
	data["pending"], data["pending_since"] = len(waiting), ""
	if len(waiting) > 0 {
		data["pending_since"] = rfc3339(waiting[0].Time)
	}
	data["delivered"], data["last_delivered"] = int(c.Delivered), rfc3339(c.Last)
	data["refused"], data["dropped"] = int(c.Refused), int(c.Dropped+dropped)
	data["failures"], data["failing_since"], data["next_try"] = c.Failures, rfc3339(c.Failing), rfc3339(c.Next)
	failure := map[string]any{}
	if c.Failure != "" {
		failure = map[string]any{"failure": c.Failure, "status": c.Status, "time": rfc3339(c.Tried)}
	}
	data["last_failure"] = failure
	return &logical.Response{Data: data}, nil
}

// cursor is how far a webhook has come: by the delivery where this node makes it, else as it was stored last.
func (x *webhooks) cursor(ctx context.Context, name string, w *store.Webhook) (*store.Cursor, error) {
	if d := x.find(name); d != nil {
		if c := d.at(); c != nil && c.Webhook == w.ID {
			return c, nil
		}
	}
	return x.b.cursorOf(ctx, name, w)
}

func (b *backend) webhookWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := store.CheckName("webhook", name); err != nil {
		return nil, badRequest("%s", err)
	}
	answered := takeAnswered(d, webhookSchema, nil)
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	if !b.mayWrite() {
		return nil, logical.ErrReadOnly
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	task, err := b.webhooks.hold(ctx, name)
	if err != nil {
		return nil, err
	}
	defer task.release()
	stored, err := b.store.Webhook(ctx, name)
	if err != nil {
		return nil, err
	}
	tried := false
	defer func() {
		if stored == nil && !tried {
			b.webhooks.forget(task) // there is none
		}
	}()
	by := callerOf(req).actor(b.now())
	w, err := b.webhookOf(ctx, stored, d, by)
	if err != nil {
		return nil, err
	}
	made, err := b.takeWebhook(d, config, stored, w)
	if err != nil {
		return nil, err
	}
	if stored == nil || !w.Same(stored) {
		w.Updated, tried = by, true
		err = b.store.PutWebhook(context.WithoutCancel(ctx), name, w)
	}
	task.changed() // though it failed: it may have been made; and who writes it as it is has mended something
	if err != nil {
		return nil, err
	}
	resp, failed := b.webhookAnswer(ctx, name, w)
	if failed != nil { // it is written, and a secret that was made is shown nowhere else
		resp = &logical.Response{Data: map[string]any{"url": w.URL}}
		resp.AddWarning("it was written; how its receiver fares cannot be told now")
	}
	warnOfAnswered(answered, resp)
	if !made.IsZero() {
		resp.Data["secret"] = made.Reveal()
		resp.AddWarning("the secret is shown this once: give it to the receiver")
	}
	return resp, nil
}

// webhookOf is the webhook that a write begins with: the stored one, or a new one that sends what comes.
func (b *backend) webhookOf(ctx context.Context, stored *store.Webhook, d *framework.FieldData, by store.Actor,
) (*store.Webhook, error) {
	_, says := d.GetOk("from_start")
	switch {
	case stored != nil && says:
		return nil, badRequest("from_start is for a webhook that is made: nothing was changed; delete it and make it anew")
	case stored != nil:
		w := *stored
		return &w, nil
	}
	if _, named := d.GetOk("url"); !named {
		return nil, badRequest("url is missing: say where notices are to be sent")
	}
	names, err := b.store.Webhooks(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(names) >= maxWebhooks:
		return nil, conflict("there are %d webhooks already, and there may be %d: delete one first", len(names), maxWebhooks)
	}
	if d.Get("from_start").(bool) {
		_, _, gone, err := b.webhooks.log.read(ctx, 0, 0, nil)
		return store.NewWebhook(gone, by), err
	}
	newest, err := b.webhooks.log.newest(ctx)
	return store.NewWebhook(newest, by), err
}

// takeWebhook takes what a request says into w. made is a secret that the engine made.
func (b *backend) takeWebhook(d *framework.FieldData, config *store.Config, stored, w *store.Webhook,
) (made providers.Secret, err error) {
	if v, ok := d.GetOk("url"); ok {
		w.URL = v.(string)
		if err := egress.CheckURL(egress.Policy{Allow: config.EgressAllow}, w.URL); err != nil {
			return made, badRequest("url: %s", err)
		}
	}
	for field, filter := range map[string]*[]string{"kinds": &w.Kinds, "providers": &w.Providers, "owners": &w.Owners} {
		if v, ok := d.GetOk(field); ok {
			*filter = v.([]string)
		}
	}
	if err := checkFilter(w); err != nil {
		return made, err
	}
	if v, ok := d.GetOk("ca_pem"); ok {
		w.CAPEM = v.(string)
	}
	if _, err := b.webhookClient(clientTerms{config, w.CAPEM}); err != nil {
		return made, badRequest("%s", err)
	}
	if v, ok := d.GetOk("disabled"); ok {
		w.SetDisabled(v.(bool))
	}
	return b.takeWebhookSecret(d, stored, w)
}

// checkFilter refuses what would match nothing, ever.
func checkFilter(w *store.Webhook) error {
	for _, kind := range w.Kinds {
		if !slices.Contains(store.NoticeKinds, kind) {
			return badRequest("kinds: there is no kind %q; there are %s", clipText(kind), strings.Join(store.NoticeKinds, ", "))
		}
	}
	for _, provider := range w.Providers {
		if err := store.CheckName("provider", provider); err != nil {
			return badRequest("providers: %s", err)
		}
	}
	for _, owner := range w.Owners {
		if err := checkOwnerPattern("owners", owner); err != nil {
			return err
		}
	}
	return nil
}

// takeWebhookSecret takes the secret, or makes one.
func (b *backend) takeWebhookSecret(d *framework.FieldData, stored, w *store.Webhook,
) (made providers.Secret, err error) {
	keep := defaultFormerTTL
	if v, ok := d.GetOk("former_secret_ttl"); ok {
		if keep = time.Duration(v.(int)) * time.Second; keep > longestFormerTTL {
			return made, badRequest("former_secret_ttl may be 30 days at the most")
		}
	}
	v, brought := d.GetOk("secret")
	generate := d.Get("generate_secret").(bool)
	var s providers.Secret
	switch {
	case brought && generate:
		return made, badRequest("secret and generate_secret exclude one another: bring one, or have one made")
	case brought:
		s = providers.NewSecret(v.(string))
		if err := webhook.CheckSecret(s); err != nil {
			return made, badRequest("secret: %s", err)
		}
	case generate || stored == nil:
		made = webhook.NewSecret()
		s = made
	}
	if !s.IsZero() {
		w.SetSecret(s, keep, b.now())
	}
	if d.Get("drop_former").(bool) {
		w.DropFormer()
	}
	return made, nil
}

func (b *backend) webhookDelete(ctx context.Context, _ *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := store.CheckName("webhook", name); err != nil {
		return nil, badRequest("%s", err)
	}
	if !b.mayWrite() {
		return nil, logical.ErrReadOnly
	}
	task, err := b.webhooks.hold(ctx, name)
	if err != nil {
		return nil, err
	}
	defer task.release()
	ctx = context.WithoutCancel(ctx)
	if err := b.store.DeleteWebhook(ctx, name); err != nil {
		task.changed() // it may have been made
		return nil, err
	}
	b.webhooks.forget(task)
	return nil, b.store.DeleteCursor(ctx, name)
}

func (b *backend) webhookTest(ctx context.Context, _ *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := store.CheckName("webhook", name); err != nil {
		return nil, badRequest("%s", err)
	}
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	switch {
	case !b.mayWrite():
		return nil, logical.ErrReadOnly
	case b.fenced:
		return nil, conflict("Vault was started with CONNECTORS_REFRESH_PAUSED, so nothing is sent to anybody: start it " +
			"without")
	}
	w, err := b.store.Webhook(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case w == nil:
		return nil, badRequest("there is no webhook %q: write webhooks/%s first", name, name)
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	client, err := b.webhookClient(clientTerms{config, w.CAPEM})
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	now := b.now()
	body, err := json.Marshal(notification{testType, now.UTC(), map[string]any{"webhook": name}})
	if err != nil {
		return nil, err
	}
	m := webhook.Message{ID: "test_" + strings.ToLower(rand.Text()), Body: body}
	out := webhook.Post(ctx, client, w.URL, b.agent(), m, now, w.Signs(now)...)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if task := b.webhooks.find(name); task != nil && out.Delivered() {
		task.hasten()
	}
	resp := &logical.Response{Data: map[string]any{
		"id": m.ID, "delivered": out.Delivered(), "status": out.Status, "failure": out.Failure,
	}}
	if w.Disabled {
		resp.AddWarning("the webhook is disabled: notices are sent once disabled=false is written to webhooks/" + name)
	}
	return resp, nil
}

const webhooksHelp = `
What the log of notices gets is sent to each webhook whose filter takes it, as a POST of
JSON that is signed as Standard Webhooks (standardwebhooks.com) says: webhook-id,
webhook-timestamp, and webhook-signature, an HMAC-SHA256. Their libraries verify it.

  vault write connectors/webhooks/siem url=https://siem.example.com/hook
  vault write -f connectors/webhooks/siem/test

One notice is one request, in the order of the log and one at a time. Any 2xx is taken
for its delivery, within request_timeout of config. Each comes at least once: drop what
comes again by webhook-id. What fails is sent again after five seconds, then later and
later, up to a day, with Retry-After heeded; any write of the webhook, and a test that
succeeds, ends the wait. A notice that the receiver refuses for a day (4xx or 500) is
passed over. What the log loses meanwhile is counted as dropped. A receiver that answers
410 is sent nothing more: the webhook is disabled, and disabled=false ends that.

To change the secret write another, or generate_secret=true: requests are signed by both
until former_secret_ttl has passed, so give the new one to the receiver meanwhile.
`
