package backend

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// leaveDefaults takes out of a read that came back what it answered in place of nothing: nobody meant to write it down,
// and another release may have another default.
func leaveDefaults(d *framework.FieldData, stored *store.Provider, definition *providers.Definition) {
	if definition != nil && len(stored.Kinds) == 0 {
		var defaults []string
		for _, kind := range kindsOf(stored, definition) {
			defaults = append(defaults, string(kind))
		}
		if named, ok := d.GetOk("kinds"); ok && slices.Equal(named.([]string), defaults) {
			delete(d.Raw, "kinds")
		}
	}
	if word, ok := d.GetOk("allow_import"); ok && stored.AllowImport == "" && word == importOrg {
		delete(d.Raw, "allow_import")
	}
}

// changeProvider makes the provider what the request says of it, if begin lets it, and answers it.
func (b *backend) changeProvider(ctx context.Context, req *logical.Request, name string, d *framework.FieldData,
	begin func(stored *store.Provider) error,
) (*logical.Response, error) {
	p, before, warnings, err := b.putProvider(ctx, req, name, d, begin)
	if err != nil {
		return nil, err
	}
	b.tellNew(name, before.Notices, p.Notices)
	b.providerFrozen(name, before.Freeze, p.Freeze, callerOf(req))
	if before.OnlyFreezes(p) && (before.Freeze != p.Freeze || freezesOnly(d)) {
		return b.providerAnswer(ctx, req, name, p)
	}
	b.tasks.Go("looking at the connections of "+name, func(ctx context.Context) { b.reconsider(ctx, name) })
	if _, named := d.GetOk("issuer"); named {
		warnings = append(warnings, b.issuerWarnings(ctx, name, p)...)
	}
	resp, err := b.providerAnswer(ctx, req, name, p)
	if resp != nil {
		resp.Warnings = append(resp.Warnings, warnings...)
	}
	return resp, err
}

// putProvider stores what the request makes of a provider, and gives what it was before; a new one was nothing. begin
// looks at the request, and at what is stored, first.
func (b *backend) putProvider(ctx context.Context, req *logical.Request, name string, d *framework.FieldData,
	begin func(stored *store.Provider) error,
) (p, before *store.Provider, warnings []string, err error) {
	b.configWrites.Lock()
	defer b.configWrites.Unlock()
	stored, err := b.store.Provider(ctx, name)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil && stored == nil {
			b.decoded.Delete(name) // what is refused is not remembered
		}
	}()
	if err := begin(stored); err != nil {
		return nil, nil, nil, err
	}
	if stored != nil && freezesOnly(d) {
		p, err = b.putFreeze(ctx, callerOf(req), name, stored, d)
		return p, stored, nil, err
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	p, warnings, err = b.mergeProvider(name, stored, config, callerOf(req), d)
	if err != nil {
		return nil, nil, nil, err
	}
	if stored != nil && stored.Freeze != p.Freeze && stored.OnlyFreezes(p) { // a read that came back, but for that
		p, err = b.putFreeze(ctx, callerOf(req), name, stored, d)
		return p, stored, nil, err
	}
	if err := b.checkRedirects(ctx, name, stored, p); err != nil {
		return nil, nil, nil, err
	}
	if _, told := d.Schema["redirect_uris"]; told { // by the path whose answer has it
		p.ToldCallback = callbackURL(config, req, name)
	}
	p.DateSecret(stored, b.now())
	p.Notices = b.noticesOfProvider(ctx, callerOf(req), name, stored, p)
	err = b.store.PutProvider(ctx, name, p)
	b.providersChanged() // though it failed: it may have been made
	if before = stored; before == nil {
		before = &store.Provider{}
	}
	if err != nil {
		b.doubt(name, before.Notices, p.Notices)
		return nil, nil, nil, err
	}
	b.lift(name)
	return p, before, warnings, nil
}

// putFreeze stores whether and why a provider is frozen, and nothing else: what the gate knows of it holds as before.
func (b *backend) putFreeze(ctx context.Context, who caller, name string, stored *store.Provider,
	d *framework.FieldData,
) (*store.Provider, error) {
	p := *stored
	if err := takeFreeze(d, &p.Freeze, false); err != nil {
		return nil, err
	}
	if p.Freeze == stored.Freeze {
		return &p, nil
	}
	p.Updated, p.Notices = b.now(), b.noticesOfProvider(ctx, who, name, stored, &p)
	err := b.store.PutFreeze(ctx, name, &p)
	b.providersChanged() // though it failed: it may have been made
	if err != nil {
		b.doubt(name, stored.Notices, p.Notices)
		return nil, err
	}
	return &p, nil
}

// mergeProvider lays what the request names over what is stored, and validates the whole. It touches no storage.
func (b *backend) mergeProvider(name string, stored *store.Provider, config *store.Config, who caller,
	d *framework.FieldData,
) (p *store.Provider, warnings []string, err error) {
	p, definition, err := b.beginProvider(name, stored, who, d)
	if err != nil {
		return nil, nil, err
	}
	if err := refuseUndeclared(d, func(field string) bool {
		f, ok := definition.KeyField(field)
		return ok && f.SetBy == "provider"
	}); err != nil {
		return nil, nil, err
	}
	pasted, err := b.misplaced(d, shown{inputs: p.Inputs})
	if err != nil {
		return nil, nil, err
	}
	setSettings(d, p)
	_, redefined := d.GetOk("definition_yaml")
	if _, named := d.GetOk("endpoints"); named || redefined {
		if err := definition.CheckSteps(p.Endpoints); err != nil {
			return nil, nil, badRequest("%s", err)
		}
	}
	if err := takeFreeze(d, &p.Freeze, false); err != nil {
		return nil, nil, err
	}
	if err := takeCheckInterval(d, p); err != nil {
		return nil, nil, err
	}
	if err := takeDebug(d, p, b.now()); err != nil {
		return nil, nil, err
	}
	if after, named, err := takeRotateAfter(d); err != nil {
		return nil, nil, err
	} else if named {
		p.RotateAfter = after
	}
	if err := takeAdditions(d, definition, p); err != nil {
		return nil, nil, err
	}
	if err := takeBoundInputs(d, definition, p); err != nil {
		return nil, nil, err
	}
	if err := takeCA(d, stored, p); err != nil {
		return nil, nil, err
	}
	moved := stored != nil && p.App(definition).Fingerprint() != stored.App(definition).Fingerprint()
	if moved {
		warnings = movedWarnings(p)
		p.ClearSecrets()
	}
	cleared, err := takeParams(d, stored, p, moved)
	if err != nil {
		return nil, nil, err
	}
	warnings = append(warnings, cleared...)
	if err := setClientSecret(d, stored, p); err != nil {
		return nil, nil, err
	}
	if err := setKeys(d, definition, p); err != nil {
		return nil, nil, err
	}
	if err := takeCompanions(d, stored, p, definition); err != nil {
		return nil, nil, err
	}
	warnings = append(warnings, pasted...)
	if stored == nil || !stored.Same(p) {
		p.Updated = b.now()
	}
	if err := checkProvider(p, definition, config); err != nil {
		return nil, nil, err
	}
	if p.SurplusScopes == surplusRefuse && definition.Scopes.Accumulates {
		warnings = append(warnings, "surplus_scopes=refuse: "+definition.Name+" names in its answers what the person "+
			"granted this app before, too; whoever once granted more is refused")
	}
	if !p.Confirm {
		warnings = append(warnings, "confirm=false: whoever starts a flow can have another "+
			"person's account connected to it; "+
			"use it only where one person does both")
	}
	if p.PKCE != "" {
		left := "state, the confirmation code"
		if !p.Confirm {
			left = "state"
		}
		warnings = append(warnings, "pkce=off: nothing ties a code to its flow at the service; what is left is "+left+
			", and that a code belongs to the flow that brings it first; use it only where the service takes no PKCE")
	}
	return p, warnings, nil
}

// beginProvider gives the provider as it was, or a new one, with its definition.
func (b *backend) beginProvider(name string, stored *store.Provider, who caller, d *framework.FieldData,
) (*store.Provider, *providers.Definition, error) {
	p := &store.Provider{
		// A provider that is made anew under an old name must not pass for the one that failed before.
		Serial: uint64(b.now().UnixMilli()), Confirm: true, Definition: definitionOf(name, stored, d),
		Created: who.actor(b.now()),
	}
	if stored != nil {
		clone := *stored
		p = &clone
	}
	definition, err := b.takeDefinition(name, stored, p, d)
	return p, definition, err
}

// definitionOf names the definition that a provider has, or is to have.
func definitionOf(name string, stored *store.Provider, d *framework.FieldData) string {
	if stored != nil {
		return stored.Definition
	}
	if v, ok := d.GetOk("definition"); ok {
		return v.(string)
	}
	return name
}

// setSettings takes the fields that hold no secret.
func setSettings(d *framework.FieldData, p *store.Provider) {
	setString(d, "client_id", &p.ClientID)
	setString(d, "issuer", &p.Issuer)
	setString(d, "client_auth", &p.ClientAuth)
	setString(d, "client_key_id", &p.ClientKeyID)
	setString(d, "client_certificate", &p.ClientCertificate)
	if v, ok := d.GetOk("ca_pem"); ok { // kept as it is written: a file ends with a line's end
		p.CAPEM = v.(string)
		if strings.TrimSpace(p.CAPEM) == "" {
			p.CAPEM = ""
		}
	}
	setStrings(d, "scopes", &p.Scopes)
	setStrings(d, "allowed_scopes", &p.AllowedScopes)
	setStrings(d, "optional_scopes", &p.OptionalScopes)
	setStrings(d, "redirect_uris", &p.RedirectURIs)
	setStrings(d, "return_urls", &p.ReturnURLs)
	setStrings(d, "allowed_owners", &p.AllowedOwners)
	setString(d, "allow_import", &p.AllowImport)
	setString(d, "surplus_scopes", &p.SurplusScopes)
	if v, ok := d.GetOk("kinds"); ok {
		p.Kinds = nil
		for _, kind := range v.([]string) {
			p.Kinds = append(p.Kinds, providers.Kind(kind))
		}
	}
	setPairs(d, "inputs", &p.Inputs)
	setPairs(d, "endpoints", &p.Endpoints)
	setPairs(d, "authorize_params", &p.AuthorizeParams)
	setPairs(d, "token_params", &p.TokenParams)
	if v, ok := d.GetOk("confirm"); ok {
		p.Confirm = v.(bool)
	}
	if v, ok := d.GetOk("require_session_binding"); ok {
		p.RequireSessionBinding = v.(bool)
	}
	if v, ok := d.GetOk("shared_redirect"); ok {
		p.SharedRedirect = v.(bool)
	}
	if v, ok := d.GetOk("scopes_ignored"); ok {
		p.ScopesIgnored = v.(bool)
	}
	if v, ok := d.GetOk("require_iss"); ok {
		p.RequireIss = v.(bool)
	}
	for field, ttl := range map[string]*time.Duration{
		"assumed_ttl": &p.AssumedTTL, "refresh_ttl": &p.RefreshTTL, "idle_ttl": &p.IdleTTL,
	} {
		if v, ok := d.GetOk(field); ok {
			*ttl = time.Duration(v.(int)) * time.Second
		}
	}
}

// takeDebug takes until when exchanges are told to the log.
func takeDebug(d *framework.FieldData, p *store.Provider, now time.Time) error {
	v, ok := d.GetOk("debug_until")
	if !ok {
		return nil
	}
	until, err := debugUntil(v.(string), p.DebugUntil, now)
	if err == nil && (!until.IsZero() || now.Before(p.DebugUntil)) {
		p.DebugUntil = until
	}
	return err
}

// takeCheckInterval takes how often connections are checked by themselves.
func takeCheckInterval(d *framework.FieldData, p *store.Provider) error {
	v, ok := d.GetOk("check_interval")
	if !ok {
		return nil
	}
	if v.(string) == "" {
		p.CheckInterval = nil
		return nil
	}
	every, err := parseutil.ParseDurationSecond(v)
	if err != nil || every != 0 && (every < time.Hour || every > 30*24*time.Hour) {
		return badRequest("check_interval must lie between one hour and 30 days, or be 0 for never, or be empty for " +
			"what the definition or config says")
	}
	p.CheckInterval = &every
	return nil
}

// takeAdditions takes what the operator says of what the engine adds to a flow by itself. What is as the definition has
// it is kept as unsaid.
func takeAdditions(d *framework.FieldData, definition *providers.Definition, p *store.Provider) (err error) {
	if v, ok := d.GetOk("added_scopes"); ok {
		names := v.([]string)
		if err := p.App(definition).CheckAddedScopes(names); err != nil {
			return badRequest("%s", err)
		}
		p.AddedScopes = &names
		if len(p.App(definition).AddsScopes()) == len(definition.Scopes.Added()) {
			p.AddedScopes = nil
		}
	}
	setString(d, "pkce", &p.PKCE)
	if p.PKCE, err = definition.TakePKCE(p.PKCE); err != nil {
		return badRequest("%s", err)
	}
	return nil
}

// movedWarnings says what it means that a provider points elsewhere now.
func movedWarnings(p *store.Provider) (warnings []string) {
	if !p.ClientSecret.IsZero() || len(p.Keys) > 0 || len(p.Companions) > 0 {
		warnings = append(warnings, "the provider now points elsewhere: its former secrets were "+
			"cleared, so that they are sent nowhere new; write again those that this write did not bring")
	}
	return append(warnings, "open flows are void, and connections made before need to be "+
		"reconnected (provider_changed)")
}

func setKeys(d *framework.FieldData, definition *providers.Definition, p *store.Provider) error {
	values, err := keyValues(d)
	if err != nil || len(values) == 0 {
		return err
	}
	merged := maps.Clone(p.Keys)
	if merged == nil {
		merged = map[string]providers.Secret{}
	}
	plain := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if merged[name], err = unmaskSecret(name, values[name], p.Keys[name]); err != nil {
			return err
		}
	}
	for name, v := range merged {
		plain[name] = v.Reveal()
	}
	if _, err := definition.CheckKey("provider", plain); err != nil {
		return badRequest("%s", err)
	}
	p.Keys = merged
	return nil
}

// checkProvider validates the provider as a whole.
func checkProvider(p *store.Provider, definition *providers.Definition, config *store.Config) error {
	if err := p.App(definition).Validate(); err != nil {
		return badRequest("%s", err)
	}
	if err := p.App(definition).CheckClientKey(); err != nil {
		return badRequest("%s", err)
	}
	if p.ScopesIgnored && len(p.Scopes)+len(p.AllowedScopes) > 0 {
		return badRequest("scopes_ignored=true goes with no scopes and no allowed_scopes: empty both")
	}
	if p.RequireIss && !p.App(definition).KnowsIssuer() {
		return badRequest("require_iss: there is nothing to compare the answer's issuer with, set issuer too")
	}
	policy := egress.Policy{
		Allow: config.EgressAllow, ProxyURL: config.ProxyURL, CAPEM: p.CAPEM, Timeout: config.RequestTimeout,
	}
	if _, err := egress.New(policy); err != nil {
		return badRequest("%s", err)
	}
	if err := checkRuntime(definition, policy, config); err != nil {
		return err
	}
	if err := checkPolicy(p, definition); err != nil {
		return err
	}
	urls := maps.Clone(p.Endpoints)
	if p.Issuer != "" {
		if urls == nil {
			urls = map[string]string{}
		}
		urls["issuer"] = p.Issuer
	}
	for _, step := range slices.Sorted(maps.Keys(urls)) {
		raw := urls[step]
		if err := checkEndpoint(step, raw, policy, config); err != nil {
			return err
		}
	}
	for _, uri := range p.RedirectURIs {
		if u, err := url.Parse(uri); err != nil || u.Scheme == "" || u.Fragment != "" ||
			(u.Scheme == "http" && !isLoopback(u.Hostname())) {
			return badRequest("redirect_uris: %q is not an absolute URI without a fragment, or is "+
				"plain http to another machine", uri)
		}
	}
	for _, uri := range p.ReturnURLs {
		u, err := url.Parse(uri)
		if err != nil || u.Host == "" || u.Fragment != "" ||
			(u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname()))) {
			return badRequest("return_urls: %q must be an https URL without a fragment; http is taken "+
				"for loopback hosts only", uri)
		}
	}
	app := p.App(definition)
	if err := app.TakesOptional(p.OptionalScopes); err != nil {
		return badRequest("%s", err)
	}
	for _, s := range slices.Concat(app.UsualScopes(), p.OptionalScopes) {
		if len(p.AllowedScopes) > 0 && !slices.Contains(p.AllowedScopes, s) && !slices.Contains(p.AllowedScopes, "*") {
			return badRequest("scopes: %q is not among allowed_scopes, and would be asked for when a flow names none",
				s)
		}
	}
	if p.AssumedTTL != 0 && (p.AssumedTTL < time.Minute || p.AssumedTTL > 10*365*24*time.Hour) {
		return badRequest("assumed_ttl must lie between one minute and ten years, or be 0")
	}
	for field, ttl := range map[string]time.Duration{"refresh_ttl": p.RefreshTTL, "idle_ttl": p.IdleTTL} {
		if ttl != 0 && (ttl < time.Hour || ttl > 10*365*24*time.Hour) {
			return badRequest("%s must lie between one hour and ten years, or be 0", field)
		}
	}
	return nil
}

func checkEndpoint(step, raw string, policy egress.Policy, config *store.Config) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return badRequest("%s: the URL must be absolute, such as https://id.example.com/token", step)
	}
	if step != "authorize" { // the browser goes there, not the engine
		if err := egress.CheckURL(policy, raw); err != nil {
			return badRequest("%s: %s", step, err)
		}
	}
	if !hostAllowed(config, u.Hostname()) {
		return badRequest("%s: endpoint_hosts on config does not allow %q", step, u.Hostname())
	}
	return nil
}

func setString(d *framework.FieldData, field string, to *string) {
	if v, ok := d.GetOk(field); ok {
		*to = strings.TrimSpace(v.(string))
	}
}

func setStrings(d *framework.FieldData, field string, to *[]string) {
	if v, ok := d.GetOk(field); ok {
		*to = v.([]string)
	}
}

func setPairs(d *framework.FieldData, field string, to *map[string]string) {
	if v, ok := d.GetOk(field); ok {
		*to = v.(map[string]string)
	}
}
