package backend

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A provider has a definition of the catalogue, or one of its own that its definition_yaml holds: a run-time
// definition. Which of the two is settled when it is made.

// errNoDefinition says that the catalogue lacks a provider's definition.
var errNoDefinition = errors.New("this release does not have its definition")

// decoded is a run-time definition as it was made of its text. What cannot be read is remembered, too.
type decoded struct {
	text       string
	definition *providers.Definition
	err        error
}

// define gives the definition of a provider. A run-time one is decoded once for as long as its text stays.
func (b *backend) define(name string, p *store.Provider) (*providers.Definition, error) {
	if p.DefinitionYAML == "" {
		if definition, ok := b.catalog.Get(p.Definition); ok {
			return definition, nil
		}
		return nil, errNoDefinition
	}
	if known, ok := b.decoded.Load(name); ok && known.(*decoded).text == p.DefinitionYAML {
		return known.(*decoded).definition, known.(*decoded).err
	}
	made := &decoded{text: p.DefinitionYAML}
	made.definition, made.err = b.catalog.DecodeRuntime(name, []byte(p.DefinitionYAML))
	b.decoded.Store(name, made)
	return made.definition, made.err
}

// takeDefinition gives p, which is to replace stored, the definition that the request names or holds.
func (b *backend) takeDefinition(name string, stored, p *store.Provider, d *framework.FieldData,
) (*providers.Definition, error) {
	id, named := d.GetOk("definition")
	raw, _ := d.GetOk("definition_yaml")
	text, written := raw.(string)
	switch {
	case stored != nil && named && id != stored.Definition:
		return nil, badRequest("the definition of provider %q is fixed (%s): write a "+
			"provider of another name", name, stored.Definition)
	case stored != nil && written && (text == "") != (stored.DefinitionYAML == ""):
		return nil, badRequest("the definition of provider %q is fixed (%s): definition_yaml can neither be given to a "+
			"provider that has one of the catalogue, nor be taken away; write a provider of another name", name,
			stored.Definition)
	case strings.HasSuffix(text, ".yaml") && !strings.ContainsAny(text, "\n:"):
		return nil, badRequest("definition_yaml takes the text of a definition: to read a file, write definition_yaml=@%s",
			clipText(text))
	case text != "" && named && id != providers.RuntimeID(name):
		return nil, badRequest("definition: what definition_yaml holds is called %s, leave definition out",
			providers.RuntimeID(name))
	case text != "":
		p.Definition, p.DefinitionYAML = providers.RuntimeID(name), text
	}
	definition, err := b.define(name, p)
	switch {
	case errors.Is(err, errNoDefinition):
		return nil, badRequest("no definition %q in the catalogue: name one with definition=, or write one of its own "+
			"to definition_yaml; 'vault list' on catalog shows those there are", clipText(p.Definition))
	case err != nil:
		return nil, badRequest("definition_yaml:\n%s", clipLines(err.Error()))
	case !definition.Runtime():
		return definition, nil
	}
	for _, f := range keyFieldsOf(definition) {
		_, taken := providerFields()[f.Name]
		if _, answered := providerSchema[f.Name]; f.SetBy == providers.SetByProvider && (taken || answered) {
			return nil, badRequest("definition_yaml: key field %q is the operator's, and every provider has a field of "+
				"that name: choose another", f.Name)
		}
	}
	if pin := definition.Pin(); stored == nil {
		p.DefinitionPin = pin
	} else if before, err := b.catalog.DecodeRuntime(name, []byte(stored.DefinitionYAML)); err != nil ||
		before.Pin() != pin { // else it stays, whatever this release makes of both
		p.DefinitionPin = pin
	}
	return definition, nil
}

func keyFieldsOf(definition *providers.Definition) []providers.KeyField {
	if definition.Key == nil {
		return nil
	}
	return definition.Key.Fields
}

// checkRuntime holds what a run-time definition names by itself against what the operator of the mount allows. It is
// held against that again at each call.
func checkRuntime(definition *providers.Definition, policy egress.Policy, config *store.Config) error {
	if !definition.Runtime() {
		return nil
	}
	for _, u := range definition.NamedURLs() {
		calls := u.At != "endpoints.authorize" && u.At != "api_base" && !strings.HasPrefix(u.At, "git.") // of ours
		if u.Origin != "" && calls {
			if err := egress.CheckURL(policy, u.Origin+"/"); err != nil {
				return badRequest("definition_yaml: %s: %s", u.At, err)
			}
		}
		if !hostAllowed(config, u.Host) && !(u.Host[0] == '.' && slices.ContainsFunc(config.EndpointHosts,
			func(pattern string) bool { return strings.HasSuffix(strings.ToLower(pattern), u.Host) })) {
			return badRequest("definition_yaml: %s: endpoint_hosts on config does not allow %q", u.At, u.Host)
		}
	}
	return nil
}

// hidesKey reports whether nothing of a key is shown: what of it is public a run-time definition says, and whoever
// writes that is not to see more of a person's key by it.
func (p *configured) hidesKey(c *store.Connection) bool {
	return p.app.Definition.Runtime() && (c.Private || c.Pinned != p.fingerprint)
}

// runtimeDefinition is the run-time definition of an id; nil when there is none, or this release cannot read it.
func (b *backend) runtimeDefinition(ctx context.Context, name string) (*providers.Definition, error) {
	p, err := b.provider(ctx, name)
	if err != nil || p == nil || !p.app.Definition.Runtime() {
		return nil, err
	}
	return p.app.Definition, nil
}

// runtimeDefinitions are those of all providers, by their ids. An entry that cannot be used has none.
func (b *backend) runtimeDefinitions(ctx context.Context) (map[string]*providers.Definition, error) {
	names, err := b.store.Providers(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]*providers.Definition{}
	for _, name := range names {
		definition, err := b.runtimeDefinition(ctx, name)
		switch {
		case store.Unusable(err): // reading the provider says why
		case err != nil:
			return nil, err
		case definition != nil:
			all[definition.ID] = definition
		}
	}
	return all, nil
}

// clipLines keeps the mistakes of a long file from filling an error.
func clipLines(text string) string {
	const most = 20
	lines := strings.Split(text, "\n")
	if len(lines) > most {
		lines = append(lines[:most], "and more")
	}
	for i, line := range lines {
		if len(line) > 500 {
			lines[i] = strings.ToValidUTF8(line[:500], "") + "…"
		}
	}
	return strings.Join(lines, "\n")
}
