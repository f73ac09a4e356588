package backend

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathRevoke() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      "revoke",
			DisplayAttrs: display("revocation", "Revocation"),
			Fields:       revokeFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: verb("plan", forwarded(b.operation(b.revokePlan,
					"Plan the end of many connections; nothing is changed.", jobSchema))),
			},
			HelpSynopsis:    "End many connections at once: a plan.",
			HelpDescription: revokeHelp,
		},
		{
			Pattern:      "revoke/",
			DisplayAttrs: display("revocations", "Revocation"),
			Fields:       listFields(nil),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: verb("list", b.operation(b.revokeList, "List the plans and their runs.", listSchema)),
			},
			HelpSynopsis:    "The plans to end many connections, and their runs.",
			HelpDescription: revokeHelp,
		},
		{
			Pattern:      "revoke/" + segment("job"),
			DisplayAttrs: display("revocation", "Revocation"),
			Fields: map[string]*framework.FieldSchema{
				"job":    required(str("Name of the job, as its plan told it.")),
				"run":    boolean("true: carry the plan out, or go on with it."),
				"expect": integer("How many connections the plan has: its count. Another number changes nothing."),
				"then": str("What becomes of each connection afterwards: archive or delete; left out: it is kept, for its " +
					"owner to connect again. Said with the first run."),
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: verb("run", forwarded(b.operation(b.revokeRun,
					"Carry a plan out, or go on with it.", jobSchema))),
				logical.ReadOperation: verb("read", b.operation(b.revokeRead, "Read how a job stands.", jobSchema)),
				logical.DeleteOperation: verb("cancel", forwarded(b.operation(b.revokeCancel,
					"Begin nothing more; what has begun is finished."))),
			},
			HelpSynopsis:    "End many connections at once: its run.",
			HelpDescription: revokeHelp,
		},
	}
}

const (
	// maxTargets is how many connections one job ends, and maxJobs how many jobs are kept.
	maxTargets = 50_000
	maxJobs    = 500

	// maxFailures is how many failures a read names.
	maxFailures = 100
)

// revokeFields are the filters of the inventory, as a request's body has them.
func revokeFields() map[string]*framework.FieldSchema {
	fields := inventoryFields(map[string]*framework.FieldSchema{
		"all": boolean("Every connection there is, in the place of filters."),
	})
	for _, other := range []string{"limit", "cursor", "count_by"} {
		delete(fields, other)
	}
	for _, f := range fields {
		f.Query = false
	}
	fields["archived"].Description = "Whether they are archived; left out: either."
	return fields
}

var jobSchema = map[string]*framework.FieldSchema{
	"job": required(str("Name of the job.")),
	"state": required(str("planned, running, waiting (to be confirmed again), cancelling, cancelled, done, or expired: " +
		"a plan that nobody ran in time.")),
	"count":   required(integer("Connections that were planned.")),
	"done":    integer("Connections that were ended."),
	"ending":  integer("Connections that serve nothing any more and are not done yet, as while no provider answers."),
	"skipped": integer("Connections that nothing was done to: gone, another, not matching any more, ended by others."),
	"left":    integer("Connections that were not begun."),
	"outcomes": object("How many of each: revoked (at the provider), key, not_supported, shared_account, failed, " +
		"unreachable, nothing (was left to revoke); gone, changed, forbidden, busy (skipped)."),
	"failures":   objects("Where something is left to do by hand: path, outcome, reason; a hundred, failures first."),
	"filters":    object("The filters of the plan, as they must match when a connection's turn comes."),
	"then":       str("What becomes of each connection: archive, delete, or empty when it is kept."),
	"planned":    object("Who planned it, and when: display_name, entity_id, time."),
	"ran":        object("Who ran it or confirmed it last, and when; empty before."),
	"cancelled":  object("Who cancelled it, and when; empty unless somebody did."),
	"good_until": str("Until when it may be run, or goes on without being confirmed (RFC 3339); empty when over."),
	"ended":      str("When it was over (RFC 3339); a week later it is forgotten."),
}

// noJob is the answer for a job that is not there.
func noJob() error {
	return &statusError{http.StatusNotFound, "no such job: LIST revoke/ names them; one is kept for a week after its end"}
}

// jobOf reads which job a path means.
func jobOf(d *framework.FieldData) (string, error) {
	id := d.Get("job").(string)
	if !store.ValidJobID(id) {
		return "", noJob()
	}
	return id, nil
}

func (b *backend) revokePlan(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	filters, err := planFilters(d)
	if err != nil {
		return nil, err
	}
	s, err := selectionOf(filters)
	if err != nil {
		return nil, err
	}
	if !b.mayWrite() {
		return nil, logical.ErrReadOnly
	}
	warnings, err := b.askUse(ctx, s)
	if err != nil {
		return nil, err
	}
	ids, _, err := b.store.Jobs(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(ids) >= maxJobs:
		return nil, conflict("%d jobs are kept already: nothing was planned; each is forgotten a week after its end",
			len(ids))
	}
	targets, unreadable, err := b.targets(ctx, s)
	if err != nil {
		return nil, err
	}
	j := &store.Job{
		ID: store.NewJobID(), Filters: filters, Count: len(targets), Planned: callerOf(req).actor(b.now()),
	}
	if err := b.storePlan(ctx, j, targets); err != nil {
		return nil, err
	}
	b.tasks.Set(b.jobs.enter(j.ID), overAt(j).Add(keepTime))
	resp, err := b.describeJob(ctx, j)
	if resp != nil {
		resp.Warnings = append(resp.Warnings, warnings...)
		if unreadable > 0 {
			resp.AddWarning(fmt.Sprintf("%d connections cannot be read, so nobody knows whether they match: they are not "+
				"in the plan", unreadable))
		}
		resp.AddWarning(fmt.Sprintf("nothing was changed: write run=true expect=%d to revoke/%s within an hour to end "+
			"these connections", j.Count, j.ID))
	}
	return resp, err
}

// planFilters reads the filters. None at all must be said, and one that is empty is a mistake: it would let everything
// pass.
func planFilters(d *framework.FieldData) (store.Filters, error) {
	for name := range d.Raw {
		empty := false
		switch v := d.Get(name).(type) {
		case []string:
			empty = len(v) == 0 || slices.Contains(v, "")
		case string:
			empty = v == ""
		case int:
			empty = v <= 0
		}
		if empty {
			return store.Filters{}, badRequest("%s is empty, and would let every connection pass: nothing was planned", name)
		}
	}
	f, err := readFilters(d)
	if err != nil {
		return store.Filters{}, err
	}
	switch all := d.Get("all").(bool); {
	case all && f.Named():
		return f, badRequest("all=true goes without filters: nothing was planned")
	case !all && !f.Named():
		return f, badRequest("name at least one filter, as owner=user/<user> or provider=<provider>, or all=true: " +
			"nothing was planned")
	default:
		f.All = all
		return f, nil
	}
}

// targets are the connections that match now. unreadable is how many there are of which nobody knows.
func (b *backend) targets(ctx context.Context, s *selection) (targets []store.Target, unreadable int, err error) {
	states, err := b.readProviders(ctx, func(*configured) {})
	if err != nil {
		return nil, 0, err
	}
	if _, err := b.directory.fill(ctx); err != nil {
		return nil, 0, err
	}
	var found []store.Key
	now := b.now()
	if err := b.directory.walk(ctx, store.Key{}, func(r *record) bool {
		switch {
		case r.unreadable:
			unreadable++
		case !r.deleting && s.takes(r, states.judge(r, now), states, now):
			found = append(found, r.key())
		}
		return true
	}); err != nil {
		return nil, 0, err
	}
	for _, k := range found {
		c, err := b.connections.Look(ctx, k)
		switch {
		case store.Unusable(err):
			unreadable++
			continue
		case err != nil:
			return nil, 0, err
		case c == nil:
			continue
		}
		p, err := b.provider(ctx, c.Provider)
		if err != nil && !store.Unusable(err) {
			return nil, 0, err
		}
		if !s.takesRead(p, c) {
			continue
		}
		if targets = append(targets, store.TargetOf(k, c)); len(targets) > maxTargets {
			return nil, 0, conflict("more than %d connections match: nothing was planned; name more filters, such as "+
				"provider, and plan several times", maxTargets)
		}
	}
	return targets, unreadable, nil
}

// storePlan writes the targets, and then the job: one without all of its targets is none.
func (b *backend) storePlan(ctx context.Context, j *store.Job, targets []store.Target) error {
	defer b.jobs.plans(j.ID)()
	n := 0
	for part := range slices.Chunk(targets, store.ChunkSize) {
		if err := b.store.PutChunk(ctx, j.ID, n, store.NewChunk(part)); err != nil {
			b.dropPlan(ctx, j.ID)
			return err
		}
		n++
	}
	if err := b.store.PutJob(ctx, j); err != nil {
		b.dropPlan(ctx, j.ID)
		return err
	}
	return nil
}

// dropPlan removes what was written of a plan that could not be written whole; else the next start does.
func (b *backend) dropPlan(ctx context.Context, id string) {
	if err := b.store.DeleteJob(context.WithoutCancel(ctx), id); err != nil {
		b.Logger().Debug("the rest of a plan could not be removed", "job", id, "error", err)
	}
}

func (b *backend) revokeRun(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	id, err := jobOf(d)
	if err != nil {
		return nil, err
	}
	expect, told := d.GetOk("expect")
	then, says := d.GetOk("then")
	word := store.Then("")
	if says {
		word = store.Then(then.(string))
	}
	switch {
	case !d.Get("run").(bool) || !told:
		return nil, badRequest("a plan is carried out by run=true expect=<count>, with the count that it told: nothing " +
			"was begun")
	case says && word != store.ThenArchive && word != store.ThenDelete:
		return nil, badRequest("then=%q is not known here: there are archive and delete; leave it out to keep the "+
			"connections", clipText(string(word)))
	case !b.mayWrite():
		return nil, logical.ErrReadOnly
	}
	j, err := b.jobs.change(ctx, id, func(j *store.Job) (*store.Job, error) {
		now := b.now()
		switch {
		case j == nil:
			return nil, noJob()
		case !j.Ended.IsZero() || !j.Cancelled.Time.IsZero():
			return nil, conflict("job %s is over: nothing was begun; plan anew", id)
		case j.Ran.Time.IsZero() && !now.Before(overAt(j)):
			return nil, conflict("plan %s is older than an hour, and what it found may have changed: nothing was begun; "+
				"plan anew", id)
		case expect.(int) != j.Count:
			return nil, conflict("plan %s has %d connections, and not %d: nothing was begun", id, j.Count, expect)
		case !j.Ran.Time.IsZero() && says && word != j.Then:
			return nil, conflict("job %s was run with then=%s, which stays so: nothing was changed", id,
				orDefault(string(j.Then), "(none)"))
		case j.Ran.Time.IsZero():
			j.Then = word
		}
		j.Ran = callerOf(req).actor(now)
		return j, nil
	})
	if err != nil {
		return nil, err
	}
	t := b.jobs.enter(id)
	t.mu.Lock()
	t.confirmed = true
	t.mu.Unlock()
	b.tasks.Set(t, b.now())
	return b.describeJob(ctx, j)
}

func (b *backend) revokeCancel(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	id, err := jobOf(d)
	if err != nil {
		return nil, err
	}
	if !b.mayWrite() {
		return nil, logical.ErrReadOnly
	}
	cancel := func(yes bool) {
		if t := b.jobs.find(id); t != nil {
			t.mu.Lock()
			t.cancelled = yes
			t.mu.Unlock()
		}
	}
	j, err := b.jobs.change(ctx, id, func(j *store.Job) (*store.Job, error) {
		switch {
		case j == nil:
			return nil, noJob()
		case !j.Ended.IsZero() || !j.Cancelled.Time.IsZero():
			return nil, nil
		}
		cancel(true) // before it is written, so that nothing is begun meanwhile
		now := b.now()
		if j.Cancelled = callerOf(req).actor(now); j.Ran.Time.IsZero() {
			j.Ended = now
		}
		return j, nil
	})
	if err != nil {
		cancel(false)
		return nil, err
	}
	if j.Ended.IsZero() {
		b.tasks.Set(b.jobs.enter(id), b.now())
	}
	return nil, nil
}

func (b *backend) revokeRead(ctx context.Context, _ *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	id, err := jobOf(d)
	if err != nil {
		return nil, err
	}
	j, err := b.store.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	if j == nil {
		return nil, noJob()
	}
	return b.describeJob(ctx, j)
}

func (b *backend) revokeList(ctx context.Context, _ *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	ids, _, err := b.store.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	return listed(ctx, d, ids, func(id string) map[string]any {
		j, err := b.store.Job(ctx, id)
		if err != nil || j == nil {
			return nil
		}
		return map[string]any{
			"state": b.stateOfJob(j, true), "count": j.Count, "planned_time": rfc3339(j.Planned.Time),
			"planned_by": j.Planned.DisplayName,
		}
	})
}

// stateOfJob is the word for how a job stands. left tells that there are targets that were not begun.
func (b *backend) stateOfJob(j *store.Job, left bool) string {
	t := b.jobs.find(j.ID)
	if t == nil {
		t = &aJob{b: b}
	}
	t.mu.Lock()
	may := t.mayBegin(j)
	t.mu.Unlock()
	switch {
	case !j.Cancelled.Time.IsZero() && j.Ended.IsZero():
		return "cancelling"
	case !j.Cancelled.Time.IsZero():
		return "cancelled"
	case !j.Ended.IsZero():
		return "done"
	case j.Ran.Time.IsZero() && b.now().Before(overAt(j)):
		return "planned"
	case j.Ran.Time.IsZero():
		return "expired"
	case !may && (left || b.standsStill()): // what has begun waits too then
		return "waiting"
	}
	return "running"
}

// describeJob tells how a job stands, as far as it was written down.
func (b *backend) describeJob(ctx context.Context, j *store.Job) (*logical.Response, error) {
	outcomes := map[string]any{}
	counts, failures, rest := map[store.Result]int{}, []map[string]any{}, []map[string]any{}
	for n := range j.Chunks() {
		c, err := b.store.Chunk(ctx, j.ID, n)
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		for i := range c.Targets {
			counts[c.Result(i)]++
		}
		for _, f := range c.Failures {
			row := map[string]any{"path": f.Path, "outcome": f.Result.Word(), "reason": f.Reason}
			if f.Result.Failed() {
				failures = append(failures, row)
			} else {
				rest = append(rest, row)
			}
		}
	}
	done, skipped := 0, 0
	for r, n := range counts {
		switch {
		case r.Open():
			continue
		case r.Skipped():
			skipped += n
		default:
			done += n
		}
		outcomes[r.Word()] = n
	}
	failures = append(failures, rest...)
	left := counts[store.NotBegun]
	data := map[string]any{
		"job": j.ID, "state": b.stateOfJob(j, left > 0), "count": j.Count, "done": done, "skipped": skipped,
		"ending": counts[store.Marked], "left": left, "outcomes": outcomes,
		"failures": failures[:min(len(failures), maxFailures)], "filters": describeFilters(j.Filters),
		"then": string(j.Then), "planned": describeActor(j.Planned), "ran": describeActor(j.Ran),
		"cancelled": describeActor(j.Cancelled), "good_until": "", "ended": rfc3339(j.Ended),
	}
	if j.Ended.IsZero() && j.Cancelled.Time.IsZero() {
		data["good_until"] = rfc3339(overAt(j))
	}
	return &logical.Response{Data: data}, nil
}

// describeFilters tells the filters by the names that they were given by.
func describeFilters(f store.Filters) map[string]any {
	all := map[string]any{}
	for name, v := range map[string][]string{
		"provider": f.Provider, "definition": f.Definition, "category": f.Category, "status": f.Status,
		"status_reason": f.Reason, "kind": f.Kind, "created_by": f.Creator,
	} {
		if len(v) > 0 {
			all[name] = v
		}
	}
	for name, v := range map[string]string{"owner": f.Owner, "account": f.Account, "label": f.Label, "tag": f.Tag} {
		if v != "" {
			all[name] = v
		}
	}
	for name, v := range map[string]time.Duration{
		"expires_within": f.Expires, "reconnect_within": f.Reconnect, "unchecked_for": f.Unchecked,
		"unused_for": f.Unused,
	} {
		if v != 0 {
			all[name] = int(v.Seconds())
		}
	}
	for name, v := range map[string]*bool{
		"archived": f.Archived, "shared": f.Shared, "missing_scopes": f.Missing, "rotation_due": f.Rotation,
		"scope_drift": f.Drift,
	} {
		if v != nil {
			all[name] = *v
		}
	}
	if f.All {
		all["all"] = true
	}
	return all
}

func describeActor(a store.Actor) map[string]any {
	if a.Time.IsZero() {
		return map[string]any{}
	}
	return map[string]any{"display_name": a.DisplayName, "entity_id": a.EntityID, "time": rfc3339(a.Time)}
}

const revokeHelp = `
  revoke         with the filters of inventory, or all=true: a plan; nothing is changed
  revoke/<job>   with run=true expect=<count>: the plan is carried out

There is one way: plan, look at the count, then run. A plan is good for an hour and is
frozen: it ends the connections that it found, and of those only the ones that are still
the same and still match. Each serves nothing from the moment its turn comes; then its
provider is asked to forget the grant, and whatever is stored of it is erased. Its path
and whose account it was stay, unless then=archive or then=delete says otherwise, and its
owner can connect it again.

A run goes on for a day, through restarts and failovers; then what is left waits until
it is confirmed with run=true expect=<count> again, and so it does when Vault is started
with CONNECTORS_REFRESH_PAUSED. Reading revoke/<job> tells how it stands; deleting it
begins nothing more, and finishes what has begun. The counts fall up to fifty behind.

A provider that does not answer is asked again for a day; then the secrets are erased all
the same, and the outcome is unreachable. failures names what is left to do by hand.
`
