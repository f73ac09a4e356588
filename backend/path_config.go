package backend

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathConfig() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "config",
		DisplayAttrs: display("configuration", "Configuration"),
		Fields:       configFields(),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("read", b.operation(b.configRead, "Read the settings of this mount.",
				configFields())),
			logical.UpdateOperation: verb("write", forwarded(b.operation(b.configWrite,
				"Change settings of this mount; what is not named keeps its value.", configFields()))),
		},
		HelpSynopsis:    "Settings of this mount.",
		HelpDescription: configHelp,
	}}
}

func configFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"public_url": str("Where browsers reach this mount, as https://vault.example.com; an origin alone gets " +
			"/v1/ and the mount's path appended."),
		"default_org": str("Organization that a path without an owner means. Cannot change while the old or the " +
			"new one has connections."),
		"egress_allow": strs("Hosts, addresses and CIDRs in private networks that providers may be reached at. " +
			"Plain http only to loopback hosts listed here."),
		"endpoint_hosts": strs("Hosts that endpoints, issuers, inputs and discovery documents may lead to, beside " +
			"those that the definition fixes: exact names, *.example.com, or * for any."),
		"proxy_url": str("Proxy for all calls to providers. Empty: none; the environment is not consulted."),
		"refresh_paused": boolean("Refresh nothing: living tokens are served, dead ones are refused. A snapshot " +
			"that is restored brings its own value: start Vault with CONNECTORS_REFRESH_PAUSED=1 for that."),
		"refresh_paused_reason": str("Why it is paused: restore_suspected, by restore_guard, or if an operator says so; " +
			"then grants that cannot rotate are refreshed nevertheless. Empty: an operator's pause, of everything. Gone with " +
			"the pause."),
		"restore_guard": seconds("From which gap in the heartbeat on this storage is taken for a restored snapshot, so " +
			"that refresh_paused is set and nothing is carried on; 0: never. Longer than Vault is ever down."),
		"frozen": boolean("Serve and spend nothing on this mount, and send nothing but revocations, until this is false " +
			"again."),
		"frozen_owners": strs("Owners that are frozen so: org/<org>, with its members, user/<user>, " +
			"org/<org>/user/<user>, with * for any id. Replaced whole."),
		"frozen_reason": str("Why it is frozen, or they are: whoever is refused reads it. Gone when nothing is frozen " +
			"any more."),
		"refresh_margin": seconds("How long before its end a token is replaced; a fifth of its life if that is " +
			"less. A definition's margin goes before."),
		"poll_interval":   seconds("What readers of credentials without an expiry are told to wait."),
		"request_timeout": seconds("How long one call to a provider may take."),
		"flow_ttl":        seconds("How long a flow stays open."),
		"loopback_return": boolean("Let callback pages lead on to a command line that waits on the browser's own machine, " +
			"at http://127.0.0.1:<any port>/connected. Off on machines that people share."),
		"max_open_flows": integer("How many flows one caller may have open. A caller is an entity; those without " +
			"one count together. Raise it for an application that connects many people at once."),
		"max_ended_flows": integer("How many flows of one caller that ended are kept until they expire. Raise it for " +
			"an application that connects more people than this within flow_ttl."),
		"check_interval": seconds("How often what no refresh proves is checked: keys, and tokens that do not expire; " +
			"0: never."),
		"history_retention": seconds("How long the history of a connection is kept after it was deleted."),
		"rotate_after": seconds("After how long keys and client secrets are to be replaced, where neither they nor their " +
			"definition say; 0 (default): never."),
		"leaver_grace": seconds("How long after its owner left Vault a connection is archived; 0: never."),
		"max_flows": integer("How many flows this mount keeps in all. When it is full, an entity with fewer than " +
			"ten may start another."),
		"track_use": boolean("Note on which day each connection's credential was read last, and by whom: the last eight."),
		"max_open_links": integer("How many links that nobody used yet one caller may have; they count apart from other " +
			"flows."),
		"display_name":              str("Whose Vault this is, for people who were sent a link; empty: nothing is said."),
		"max_connections_per_owner": integer("How many connections an owner may have; 0: any number."),
	}
}

// The bounds of leaver_grace: owners are looked at once a day.
const (
	shortestGrace = 24 * time.Hour
	longestGrace  = 10 * 365 * 24 * time.Hour
)

func (b *backend) configRead(ctx context.Context, _ *logical.Request,
	_ *framework.FieldData,
) (*logical.Response, error) {
	c, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: configData(c)}, nil
}

func (b *backend) configWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	b.configWrites.Lock()
	defer b.configWrites.Unlock()
	stored, err := b.store.Config(ctx)
	if err != nil {
		return nil, err
	}
	b.guard.overlay(stored)
	c := *stored
	if v, ok := d.GetOk("public_url"); ok {
		c.SetPublicURL(v.(string))
	}
	if v, ok := d.GetOk("default_org"); ok {
		c.DefaultOrg = v.(string)
	}
	if v, ok := d.GetOk("egress_allow"); ok {
		c.EgressAllow = v.([]string)
	}
	if v, ok := d.GetOk("endpoint_hosts"); ok {
		c.EndpointHosts = v.([]string)
	}
	if v, ok := d.GetOk("proxy_url"); ok {
		if c.ProxyURL, err = unmaskProxy(v.(string), stored.ProxyURL); err != nil {
			return nil, err
		}
	}
	if v, ok := d.GetOk("display_name"); ok {
		c.DisplayName = v.(string)
	}
	if err := takePause(d, &c); err != nil {
		return nil, err
	}
	if v, ok := d.GetOk("loopback_return"); ok {
		c.NoLoopbackReturn = !v.(bool)
	}
	if v, ok := d.GetOk("frozen_owners"); ok {
		c.FrozenOwners = v.([]string)
		for _, owner := range c.FrozenOwners {
			if err := checkOwnerPattern("frozen_owners", owner); err != nil {
				return nil, err
			}
		}
	}
	if err := takeFreeze(d, &c.Freeze, len(c.FrozenOwners) > 0); err != nil {
		return nil, err
	}
	for _, setting := range []struct {
		field    string
		value    *int
		low, top int
	}{
		{"max_open_flows", &c.MaxOpenFlows, 1, 10_000},
		{"max_ended_flows", &c.MaxEndedFlows, 1, 100_000},
		{"max_flows", &c.MaxFlows, 1, 1_000_000},
		{"max_open_links", &c.MaxOpenLinks, 1, 100_000},
		{"max_connections_per_owner", &c.MaxConnectionsPerOwner, 0, 1_000_000},
	} {
		if v, ok := d.GetOk(setting.field); ok {
			if *setting.value = v.(int); *setting.value < setting.low || *setting.value > setting.top {
				return nil, badRequest("%s must lie between %d and %d", setting.field, setting.low, setting.top)
			}
		}
	}
	if v, ok := d.GetOk("check_interval"); ok {
		every := time.Duration(v.(int)) * time.Second
		if every != 0 && (every < time.Hour || every > 30*24*time.Hour) {
			return nil, badRequest("check_interval must lie between one hour and 30 days, or be 0")
		}
		c.SetCheckEvery(every)
	}
	if v, ok := d.GetOk("history_retention"); ok {
		kept := time.Duration(v.(int)) * time.Second
		if kept < 0 || kept > 10*365*24*time.Hour {
			return nil, badRequest("history_retention must lie between 0 and ten years")
		}
		c.SetRetention(kept)
	}
	if v, ok := d.GetOk("leaver_grace"); ok {
		grace := time.Duration(v.(int)) * time.Second
		if grace != 0 && (grace < shortestGrace || grace > longestGrace) {
			return nil, badRequest("leaver_grace must lie between one day and ten years, or be 0")
		}
		c.LeaverGrace = grace
	}
	if v, ok := d.GetOk("track_use"); ok {
		c.SetTracksUse(v.(bool), b.now())
	}
	if v, ok := d.GetOk("rotate_after"); ok {
		after := time.Duration(v.(int)) * time.Second
		if after != 0 && (after < shortestRotation || after > longestRotation) {
			return nil, badRequest("rotate_after must lie between one day and ten years, or be 0")
		}
		c.RotateAfter = after
	}
	c.LeaveDefaults(stored)
	for field, setting := range map[string]*time.Duration{
		"refresh_margin": &c.RefreshMargin, "poll_interval": &c.PollInterval, "request_timeout": &c.RequestTimeout,
		"flow_ttl": &c.FlowTTL,
	} {
		if v, ok := d.GetOk(field); ok {
			*setting = time.Duration(v.(int)) * time.Second
		}
	}
	if err := checkConfig(&c); err != nil {
		return nil, err
	}
	if c.DefaultOrg != stored.DefaultOrg {
		if err := b.checkDefaultOrgChange(ctx, stored.DefaultOrg, c.DefaultOrg); err != nil {
			return nil, err
		}
	}
	c.Notices = b.noticesOfConfig(callerOf(req), stored, &c)
	err = b.store.PutConfig(ctx, &c)
	b.configs.drop()   // though it failed: it may have been made
	b.providers.drop() // their clients hold the egress settings
	if err != nil {
		b.doubt("", stored.Notices, c.Notices)
		return nil, err
	}
	b.tellNew("", stored.Notices, c.Notices)
	b.configFrozen(stored, &c, callerOf(req))
	if !c.RefreshPaused {
		b.guard.lifted()
	}
	b.followConfig(&c, nil)
	if c.RotateAfter != stored.RotateAfter {
		b.tasks.Go("looking at the ages of keys", b.directory.reconsiderKeys)
	}
	b.tasks.Wake() // it may have been paused
	resp := &logical.Response{Data: configData(&c)}
	if strings.HasPrefix(c.PublicURL, "http://") {
		resp.AddWarning("public_url is plain http: use it on this machine only, codes travel in clear")
	}
	return resp, nil
}

func configData(c *store.Config) map[string]any {
	return map[string]any{
		"public_url":      c.PublicURLAsWritten(),
		"default_org":     c.DefaultOrg,
		"egress_allow":    list(c.EgressAllow),
		"endpoint_hosts":  list(c.EndpointHosts),
		"proxy_url":       maskedProxy(c.ProxyURL),
		"refresh_paused":  c.RefreshPaused,
		"restore_guard":   int(c.RestoreGuard.Seconds()),
		"frozen":          c.Frozen,
		"frozen_owners":   list(c.FrozenOwners),
		"frozen_reason":   c.FrozenReason,
		"refresh_margin":  int(c.RefreshMargin.Seconds()),
		"poll_interval":   int(c.PollInterval.Seconds()),
		"request_timeout": int(c.RequestTimeout.Seconds()),
		"flow_ttl":        int(c.FlowTTL.Seconds()),
		"loopback_return": !c.NoLoopbackReturn,
		"max_open_flows":  c.MaxOpenFlows,
		"max_ended_flows": c.EndedFlows(),
		"max_flows":       c.Flows(),
		"max_open_links":  c.OpenLinks(),
		"display_name":    c.DisplayName,
		"check_interval":  int(c.CheckEvery().Seconds()),
		"rotate_after":    int(c.RotateAfter.Seconds()),
		"leaver_grace":    int(c.LeaverGrace.Seconds()),

		"refresh_paused_reason": string(c.PausedReason),

		"history_retention": int(c.Retention().Seconds()),
		"track_use":         !c.UseOff,

		"max_connections_per_owner": c.MaxConnectionsPerOwner,
	}
}

// takePause takes what a request says of the pause, and from which gap on there is one. A reason without a pause is a
// mistake, but one that came back with refresh_paused=false is over.
func takePause(d *framework.FieldData, c *store.Config) error {
	if v, ok := d.GetOk("restore_guard"); ok {
		c.RestoreGuard = time.Duration(v.(int)) * time.Second
		if c.RestoreGuard != 0 && (c.RestoreGuard < leastGuard || c.RestoreGuard > mostGuard) {
			return badRequest("restore_guard must lie between two hours and one year, or be 0")
		}
	}
	said, lifts := d.GetOk("refresh_paused")
	if lifts {
		c.RefreshPaused = said.(bool)
	}
	reason, named := d.GetOk("refresh_paused_reason")
	if named {
		c.PausedReason = store.PauseReason(strings.TrimSpace(reason.(string)))
	}
	switch {
	case c.PausedReason != "" && c.PausedReason != store.PausedRestore:
		return badRequest("refresh_paused_reason is %s or empty", store.PausedRestore)
	case c.RefreshPaused:
	case named && c.PausedReason != "" && !lifts:
		return badRequest("refresh_paused_reason says why refreshing is paused, and it is not: write it with " +
			"refresh_paused=true")
	default:
		c.PausedReason = ""
	}
	return nil
}

// checkConfig validates the settings as a whole.
func checkConfig(c *store.Config) error {
	if c.PublicURL != "" {
		if err := checkPublicURL(c.PublicURL); err != nil {
			return err
		}
	}
	if err := store.CheckName("org", c.DefaultOrg); err != nil {
		return badRequest("default_org: %s", err)
	}
	if _, err := egress.New(egress.Policy{
		Allow: c.EgressAllow, ProxyURL: c.ProxyURL,
		Timeout: c.RequestTimeout,
	}); err != nil {
		return badRequest("%s", err)
	}
	for _, h := range c.EndpointHosts {
		if h != "*" && (strings.Trim(h, "*.") == "" || strings.ContainsAny(strings.TrimPrefix(h, "*."), "*/: ")) {
			return badRequest("endpoint_hosts: %q is neither a host name, nor *.example.com, nor *", h)
		}
	}
	for _, limit := range []struct {
		field    string
		value    time.Duration
		low, top time.Duration
	}{
		{"refresh_margin", c.RefreshMargin, 10 * time.Second, 24 * time.Hour},
		{"poll_interval", c.PollInterval, 5 * time.Second, 24 * time.Hour},
		{"request_timeout", c.RequestTimeout, time.Second, time.Minute},
		{"flow_ttl", c.FlowTTL, 30 * time.Second, time.Hour},
	} {
		if limit.value < limit.low || limit.value > limit.top {
			return badRequest("%s must lie between %s and %s", limit.field, limit.low, limit.top)
		}
	}
	return nil
}

func checkPublicURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Opaque != "":
		return badRequest("public_url must be an absolute URL without query, fragment or user, such as " +
			"https://vault.example.com")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return badRequest("public_url must be https; http is taken for loopback hosts only")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// isLoopbackReturn reports whether a callback page would lead on to a command line: RFC 8252 section 7.3, by the
// literal address, since a name can be made to mean another machine.
func isLoopbackReturn(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0 && raw == "http://127.0.0.1:"+strconv.FormatUint(port, 10)+"/connected"
}

// hostAllowed reports whether endpoint_hosts lets a provider name this host.
func hostAllowed(c *store.Config, host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc(c.EndpointHosts, func(pattern string) bool {
		pattern = strings.ToLower(pattern)
		suffix, wild := strings.CutPrefix(pattern, "*")
		return wild && strings.HasSuffix(host, suffix) || pattern == host
	})
}

// checkHosts names the hosts that a provider would have called, or sent a browser to, and endpoint_hosts does not let.
func checkHosts(c *store.Config, hosts []string) error {
	var refused []string
	for _, host := range hosts {
		if !hostAllowed(c, host) {
			refused = append(refused, strconv.Quote(host))
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return fmt.Errorf("endpoint_hosts on config does not allow %s: an operator adds it there, or corrects the input, "+
		"endpoint or issuer that leads there", strings.Join(refused, ", "))
}

func (b *backend) checkDefaultOrgChange(ctx context.Context, from, to string) error {
	for _, org := range []string{from, to} {
		names, _, err := b.store.Connections(ctx, store.Owner{Org: org})
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return conflict("default_org cannot change while organization %q has connections (%d): paths and "+
				"policies that name no owner would mean other objects", org, len(names))
		}
	}
	return nil
}

// mountURL is where browsers reach this mount.
func mountURL(c *store.Config, req *logical.Request) (string, error) {
	if c.PublicURL == "" {
		return "", badRequest("public_url is not set, so there is no callback URL: an operator writes it to config " +
			"(public_url=https://vault.example.com)")
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return "", badRequest("public_url is damaged: write it to config again")
	}
	if strings.Trim(u.Path, "/") == "" {
		return c.PublicURL + "/v1/" + strings.TrimRight(req.MountPoint, "/"), nil
	}
	return c.PublicURL, nil
}

// list answers an empty list for nil, so that a field is always there.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

const configHelp = `
public_url is the one setting a new mount needs: providers send browsers to
<public_url>/callback/<provider>. It is configured and never taken from a request's
Host header. Given as an origin, /v1/ and the mount's path are appended; given with a
path, it is taken as the mount's full address, for those behind a path-rewriting proxy.

endpoint_hosts limits whom providers call, and where they send browsers. It is asked at
each call, also for hosts that an input or a discovery document names; an issuer's token
endpoint may stand on another host than the issuer.

Addresses in private networks, loopback and link-local are refused for every call to
a provider unless egress_allow names them. A host listed in egress_allow is trusted
with whatever address it resolves to. With proxy_url it is the proxy that resolves names,
so the proxy must refuse private addresses: only literal ones are checked here.

max_open_flows, max_ended_flows and max_flows bound what callers can pile up: a flow is
kept until flow_ttl has passed, whatever became of it. An application that connects many
people needs as many as it starts within that time. Callers without an entity share one
allowance, so give applications one.

restore_guard watches over snapshots that are restored: their refresh tokens were spent
since, and spending one again ends the connection at the provider. A start that finds the
last heartbeat in storage longer ago than this pauses refreshing and carries nothing on.
A Vault that was down for as long looks the same.

leaver_grace is for what is stopped because the entity that owns it was disabled or
deleted: after so long it is archived, and it is lifted when the entity is back.

loopback_return lets a command line be led back to: the callback page hands the
confirmation code to the machine of the browser that consented, and to no other, so a
URL that is sent to somebody else yields nothing. Neighbours on one machine could open it
and consent first: switch it off where people share machines.

max_connections_per_owner is looked at when a flow starts, before its code is spent, and
when a key or tokens are written. Requests that meet may exceed it by a few: what a
provider gave is not thrown away for it. A lower limit deletes nothing.
`
