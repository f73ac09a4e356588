package providers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// protocolParams are the parameters that the engine alone sets: one of them in an operator's hands could undo state,
// PKCE or the redirect check.
func protocolParams() []string {
	return []string{
		"client_id", "client_secret", "redirect_uri", "response_type", "state", "code", "code_challenge",
		"code_challenge_method", "code_verifier", "nonce", "scope", "grant_type", "refresh_token",
	}
}

// Validate checks what an operator configured. Secrets are not looked at: neither whether there is a client secret,
// nor the operator's key fields, for which there is [Definition.CheckKey]. Errors name the field and never a value
// that could be secret.
func (a *App) Validate() error {
	for _, check := range []func() error{a.checkClient, a.checkEndpoints, a.checkIssuer, a.checkParams} {
		if err := check(); err != nil {
			return err
		}
	}
	if _, err := a.Definition.TakePKCE(a.PKCE); err != nil {
		return err
	}
	_, err := a.Definition.CheckInputs(SetByProvider, "", a.Inputs)
	return err
}

func (a *App) checkClient() error {
	d := a.Definition
	if a.ClientID == "" && d.needsClient() {
		where := ""
		if d.Setup.AppURL != "" {
			where = " at " + d.Setup.AppURL
		}
		if d.Setup.Manifest != "" {
			where += " (the manifest of catalog/" + d.ID + " does it in one step)"
		}
		return fmt.Errorf("client_id is missing: register an app%s and give its client id", where)
	}
	allowed := d.Client.Auth
	if d.Generic || len(allowed) == 0 || slices.Contains(allowed, authFromDiscovery) {
		allowed = clientAuthStyles()
	}
	if a.ClientAuth != "" && !slices.Contains(allowed, a.ClientAuth) {
		return fmt.Errorf("client_auth %q is not taken by %s: write one of %s", a.ClientAuth, d.Name, orNone(allowed))
	}
	return nil
}

// anyIssuer reports whether the operator names the issuer.
func (d *Definition) anyIssuer() bool {
	return d.Discovery != nil && slices.Contains(d.Discovery.Issuer.Placeholders(), "issuer")
}

// anyService reports whether it is the operator who says what the service is.
func (d *Definition) anyService() bool { return d.Generic || d.anyIssuer() }

// needsClient reports whether every kind of the definition speaks as a registered app; a key speaks for itself.
func (d *Definition) needsClient() bool {
	return !slices.ContainsFunc(d.Kinds, func(k Kind) bool { return k.HasKey() || d.BuysWithKey(k) })
}

func (a *App) checkEndpoints() error {
	d := a.Definition
	for _, step := range sortedKeys(a.Endpoints) {
		t := Template(a.Endpoints[step])
		known := reservedPlaceholders()
		for _, in := range d.Inputs {
			known = append(append(known, in.Name), in.sets()...)
		}
		for _, name := range t.Placeholders() {
			if !slices.Contains(known, name) {
				return fmt.Errorf("endpoints.%s: placeholder {%s} is not an input of %s", step, name, d.ID)
			}
		}
		if err := d.checkURL(t); err != nil && !isLoopbackURL(string(t)) {
			return fmt.Errorf("endpoints.%s: %w", step, err)
		}
	}
	if d.Generic && a.Endpoints[StepToken] == "" && slices.ContainsFunc(d.Kinds, usesTokenEndpoint) {
		return fmt.Errorf("endpoints: token is missing: %s knows no service of its own, name at least its token "+
			"endpoint, and authorize for people's accounts", d.ID)
	}
	return nil
}

// CheckSteps refuses endpoints of steps that nothing is done at. It is asked when an operator names them; what an older
// release stored is part of where grants are pinned to, and stays.
func (d *Definition) CheckSteps(endpoints map[string]string) error {
	var steps []string
	for _, known := range knownSteps() {
		switch {
		case known == StepIntrospect && d.Lifetime.From != lifetimeIntrospected:
		case known == StepDevice && !slices.Contains(d.Kinds, KindDeviceCode):
		default:
			steps = append(steps, string(known))
		}
	}
	for _, step := range sortedKeys(endpoints) {
		if _, own := d.Endpoints[Step(step)]; !own && !slices.Contains(steps, step) {
			return fmt.Errorf("endpoints: step %q is not known%s", step, suggest(step, steps))
		}
	}
	return nil
}

func usesTokenEndpoint(k Kind) bool {
	return slices.Contains(needsOf(k).steps, StepToken)
}

func (a *App) checkIssuer() error {
	d := a.Definition
	if a.Issuer == "" {
		if d.anyIssuer() {
			return fmt.Errorf("issuer is missing: %s finds its endpoints there, give the URL that "+
				"its metadata calls issuer", d.ID)
		}
		return nil
	}
	u, err := parseBaseURL(a.Issuer)
	if err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	switch {
	case u.Scheme != "https" && !isLoopback(u.Hostname()):
		return errors.New("issuer: plain http is for hosts of this machine only, use https (RFC 8414 section 2)")
	case strings.ContainsAny(a.Issuer+u.Path, "{}<>"):
		return errors.New("issuer: it holds a placeholder such as {tenantid}: write what stands there for your own tenant")
	case strings.Contains(a.Issuer, "/.well-known/"):
		return errors.New("issuer: that is the address of its document: write what the document calls issuer")
	}
	return nil
}

func (a *App) checkParams() error {
	for _, name := range sortedKeys(a.AuthorizeParams) {
		if slices.Contains(a.protocolNames(), name) {
			return fmt.Errorf("authorize_params: %q is the engine's own, leave it out", name)
		}
	}
	for _, name := range sortedKeys(a.TokenParams) {
		if slices.Contains(a.protocolNames(), name) {
			return fmt.Errorf("token_params: %q is the engine's own, leave it out", name)
		}
	}
	return nil
}

// protocolNames are protocolParams and the names by which this service knows them.
func (a *App) protocolNames() []string {
	names := protocolParams()
	for _, standard := range protocolParams() {
		if other := a.Definition.Client.Rename[standard]; other != "" {
			names = append(names, other)
		}
	}
	if param := a.Definition.Scopes.Param; param != nil {
		names = append(names, *param)
	}
	if param := a.Definition.Scopes.OptionalParam; param != "" {
		names = append(names, param)
	}
	return names
}

// isLoopbackURL reports whether s is a whole URL, without placeholders, to a host of this machine.
func isLoopbackURL(s string) bool {
	u, err := parseBaseURL(s)
	return err == nil && isLoopback(u.Hostname()) && len(Template(s).Placeholders()) == 0
}

// Fingerprint identifies where the grants of this app may go: a grant keeps it, and is never sent by an app that has
// another. It covers what the operator set: definition, client id, issuer, endpoints, inputs, CAPin and DefinitionPin.
// Secrets and scopes may change without it, and so may the catalogue, so an input that is set to the default differs
// from one that is not set. It is a SHA-256 in hexadecimal.
func (a *App) Fingerprint() string {
	endpoints := map[Step]string{}
	for step, u := range a.Endpoints {
		if u != "" {
			endpoints[step] = u
		}
	}
	encoded, _ := json.Marshal(struct { // texts and maps of texts always encode, and maps in the order of their keys
		Definition string            `json:"definition"`
		ClientID   string            `json:"client_id"`
		Issuer     string            `json:"issuer"`
		Endpoints  map[Step]string   `json:"endpoints,omitempty"`
		Inputs     map[string]string `json:"inputs,omitempty"`
		CA         string            `json:"ca,omitempty"`
		Runtime    string            `json:"runtime,omitempty"`
	}{a.Definition.ID, a.ClientID, a.Issuer, endpoints, a.Inputs, a.CAPin, a.DefinitionPin})
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
