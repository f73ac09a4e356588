package commands

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
)

// ledger knows what the mount takes at each of its paths, which it asks once for each sort.
type ledger struct {
	c      *client.Client
	fields map[string]map[string]files.Field // by the sort: config, providers, connections

	definitions map[string]*client.Definition // by provider, of those that the file leaves as they are
}

func newLedger(c *client.Client) *ledger {
	return &ledger{
		c: c, fields: map[string]map[string]files.Field{}, definitions: map[string]*client.Definition{},
	}
}

// have is what the mount answers for a path; nil where nothing is, but perhaps an open flow.
func (l *ledger) have(ctx context.Context, path string) (map[string]any, error) {
	document, err := l.c.Document(ctx, path)
	switch {
	case client.StatusOf(err) == http.StatusNotFound:
		return nil, nil
	case err != nil:
		return nil, err
	}
	made, _ := document.Data["created_time"].(string)
	kind, _ := document.Data["kind"].(string)
	if strings.HasPrefix(path, "connections/") && made == "" && kind == "" {
		return nil, nil
	}
	return document.Data, nil
}

func (l *ledger) fieldsOf(ctx context.Context, path string) (map[string]files.Field, error) {
	sort, _, _ := strings.Cut(path, "/")
	if known := l.fields[sort]; known != nil {
		return known, nil
	}
	told, err := l.c.Fields(ctx, map[string]string{
		"config": "config", "providers": "providers/x", "connections": "connections/self/x",
	}[sort])
	if err != nil {
		return nil, err
	}
	fields := map[string]files.Field{}
	for name, field := range told {
		fields[name] = files.Field(field)
	}
	l.fields[sort] = fields
	return fields, nil
}

// spec is what the mount takes at an entry's path. A provider may be one that the file is about to make.
func (l *ledger) spec(ctx context.Context, file *files.File, entry files.Entry, have map[string]any,
) (files.Spec, error) {
	fields, err := l.fieldsOf(ctx, entry.Path)
	spec := files.Spec{Fields: fields, Own: map[string]bool{}}
	if err != nil {
		return spec, err
	}
	var definition *client.Definition
	switch sort, _, _ := strings.Cut(entry.Path, "/"); sort {
	case "config":
		return spec, nil
	case "providers":
		definition, spec.Unknown, err = l.configured(ctx, entry, have)
		if err != nil || definition == nil {
			return spec, err
		}
		for name, field := range definition.KeyFields {
			if field.SetBy == "provider" {
				spec.Own[name] = field.Secret
			}
		}
		return spec, nil
	default:
		definition, spec.Unknown, err = l.connected(ctx, file, l.providerOf(entry, have))
	}
	if err != nil {
		return spec, err
	}
	kind, _ := entry.Fields["kind"].(string)
	if kind == "" {
		kind, _ = have["kind"].(string)
	}
	spec.ByPerson = byPerson(definition, kind)
	if definition == nil {
		return spec, nil
	}
	for name, field := range definition.KeyFields {
		if field.SetBy != "provider" {
			spec.Own[name] = field.Secret
		}
	}
	for name, input := range definition.Inputs {
		if input.Picked {
			spec.Picked = append(spec.Picked, name)
		}
	}
	return spec, nil
}

// configured is the definition of a provider's entry. unknown tells that it is one of the provider's own that is not
// written yet.
func (l *ledger) configured(ctx context.Context, entry files.Entry, have map[string]any,
) (definition *client.Definition, unknown bool, err error) {
	_, own := entry.Fields["definition_yaml"]
	id, _ := have["definition"].(string)
	if id == "" {
		id, _ = entry.Fields["definition"].(string)
	}
	if id == "" {
		id = strings.TrimPrefix(entry.Path, "providers/")
	}
	if own && have == nil {
		return nil, true, nil
	}
	definition, err = l.c.Definition(ctx, id)
	if client.StatusOf(err) == http.StatusNotFound || client.StatusOf(err) == http.StatusBadRequest {
		return nil, true, nil // writing it says what is wrong
	}
	return definition, own, err
}

// connected is the definition of a connection's provider, which the file may be about to make.
func (l *ledger) connected(ctx context.Context, file *files.File, provider string,
) (definition *client.Definition, unknown bool, err error) {
	at := slices.IndexFunc(file.Providers, func(e files.Entry) bool { return e.Path == "providers/"+provider })
	if at >= 0 {
		have, err := l.have(ctx, "providers/"+provider)
		if err != nil {
			return nil, false, err
		}
		return l.configured(ctx, file.Providers[at], have)
	}
	if known := l.definitions[provider]; known != nil {
		return known, false, nil
	}
	definition, err = definitionOf(ctx, l.c, provider)
	l.definitions[provider] = definition
	return definition, definition == nil, err
}

// providerOf is the provider of a connection: what the file says, else what is there, else the one of its name.
func (l *ledger) providerOf(entry files.Entry, have map[string]any) string {
	for _, fields := range []map[string]any{entry.Fields, have} {
		if name, _ := fields["provider"].(string); name != "" {
			return name
		}
	}
	return entry.Path[strings.LastIndexByte(entry.Path, '/')+1:]
}

// byPerson reports whether a connection of that kind comes to be by a consent or a key, and not by its kind alone.
func byPerson(definition *client.Definition, kind string) bool {
	if definition == nil {
		return true
	}
	if kind == "" && len(definition.Kinds) > 0 && !byConsent(definition, "") {
		kind = definition.Kinds[0]
	}
	switch kind {
	case "", kindConsent, "device_code":
		return true
	case "client_credentials", "brokered":
		return false
	}
	return len(needed(definition, nil, nil)) > 0 || len(definition.KeyOneOf) > 0 || kind == "api_key"
}
