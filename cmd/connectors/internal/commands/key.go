package commands

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// maxKey is more than any key has.
const maxKey = 1 << 20

// key stores a key that a person types, or that comes from stdin.
func (a *app) key(ctx context.Context, c *client.Client, path, provider string, definition *client.Definition, w way,
) (*client.Connection, error) {
	if definition == nil {
		return nil, withCode(codeAbsent, "the catalogue of this mount does not know %s: connectors catalog shows what "+
			"there is", provider)
	}
	fields, err := w.public(definition)
	if err != nil {
		return nil, err
	}
	inputs := w.inputs
	if a.Asks() {
		if inputs, err = a.askInputs(ctx, definition, "connection", w.inputs); err == nil {
			err = a.askKey(ctx, definition, fields)
		}
	} else {
		err = a.readKey(ctx, definition, fields)
	}
	if err != nil {
		return nil, err
	}
	request := map[string]any{"provider": provider}
	if w.kind != "" {
		request["kind"] = w.kind
	}
	if len(inputs) > 0 {
		request["inputs"] = inputs
	}
	for name, value := range fields {
		request[name] = value
	}
	written, err := c.WriteKey(ctx, path, request)
	if err != nil {
		return nil, err
	}
	a.warn(written.Warnings)
	return c.Connection(ctx, path)
}

// public takes the fields of the command line, of which none may be a secret.
func (w *way) public(definition *client.Definition) (map[string]string, error) {
	fields := map[string]string{}
	for name, value := range w.fields {
		switch field, known := definition.KeyFields[name]; {
		case !known || field.SetBy == "provider":
			return nil, wrongUse("%s has no field %q: it has %s", definition.Name, name,
				strings.Join(ownFields(definition), ", "))
		case field.Secret:
			return nil, wrongUse("%s is a secret, and other users of this machine can read arguments: leave it out to be "+
				"asked, or bring it by stdin", name)
		}
		fields[name] = value
	}
	return fields, nil
}

// ownFields are those that whoever connects sets, sorted.
func ownFields(definition *client.Definition) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(definition.KeyFields)) {
		if definition.KeyFields[name].SetBy != "provider" {
			names = append(names, name)
		}
	}
	return names
}

// needed are the fields that a key lacks: required ones without a default, and those of a group.
func needed(definition *client.Definition, have map[string]string, group []string) []string {
	var names []string
	for _, name := range ownFields(definition) {
		field := definition.KeyFields[name]
		if _, known := have[name]; known {
			continue
		}
		if slices.Contains(group, name) || field.Required && field.Default == "" && field.DefaultFrom == "" {
			names = append(names, name)
		}
	}
	return names
}

// askKey asks for what is needed, secrets without showing them. Where a key is one of several groups of fields, which
// one is asked first.
func (a *app) askKey(ctx context.Context, definition *client.Definition, fields map[string]string) error {
	if address := definition.Setup.KeyURL; address != "" {
		a.Say("A key is made at %s", terminal.Clean(address))
	}
	var group []string
	if groups := definition.KeyOneOf; len(groups) > 0 {
		for i, names := range groups {
			a.Say("  %d  %s", i+1, terminal.Clean(strings.ReplaceAll(names, ",", ", ")))
		}
		for group == nil {
			answer, err := a.Ask(ctx, "Which of these does the key have? ")
			if err != nil {
				return err
			}
			for i, names := range groups {
				if answer == string(rune('1'+i)) || answer == names {
					group = strings.Split(names, ",")
				}
			}
		}
	}
	names := needed(definition, fields, group)
	if len(names) == 0 && len(fields) == 0 { // none is required: a key has at least one
		names = ownFields(definition)
	}
	for _, name := range names {
		field, question := definition.KeyFields[name], name
		if field.Help != "" {
			question += " (" + terminal.Clean(field.Help) + ")"
		}
		ask := a.Ask
		if field.Secret {
			ask = a.AskSecret
			question += ", not shown"
		}
		value, err := ask(ctx, question+": ")
		if err != nil {
			return err
		}
		if value != "" {
			fields[name] = value
		}
	}
	return nil
}

// askInputs asks for the values that the service wants of a provider or a connection and that were not named.
func (a *app) askInputs(ctx context.Context, definition *client.Definition, of string, have map[string]string,
) (map[string]string, error) {
	inputs := map[string]string{}
	maps.Copy(inputs, have)
	for _, name := range slices.Sorted(maps.Keys(definition.Inputs)) {
		input := definition.Inputs[name]
		if _, known := inputs[name]; known || input.SetBy != of || !input.Required || input.Default != "" ||
			input.Picked {
			continue
		}
		question := name
		if about := beside(input.Help, input.Example); about != "" {
			question += " (" + terminal.Clean(about) + ")"
		}
		value, err := a.Ask(ctx, question+": ")
		if err != nil {
			return nil, err
		}
		inputs[name] = value
	}
	return inputs, nil
}

// readKey takes a key from stdin: a JSON object of its fields, or the one secret field as it is.
func (a *app) readKey(ctx context.Context, definition *client.Definition, fields map[string]string) error {
	text, err := a.readStdin(ctx)
	if err != nil {
		return err
	}
	known := ownFields(definition)
	var object map[string]any
	isObject := json.Unmarshal([]byte(text), &object) == nil && object != nil
	if isObject && len(object) > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(object)),
		func(name string) bool { return !slices.Contains(known, name) }) {
		for name, value := range object {
			fields[name] = textOf(value)
		}
		return nil
	}
	var secrets []string
	for _, name := range known {
		if field := definition.KeyFields[name]; field.Secret && (field.Required || len(known) == 1) {
			secrets = append(secrets, name)
		}
	}
	value := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case value == "":
		return wrongUse("there is no terminal to ask at, and stdin is empty: bring the key there")
	case isObject && (len(secrets) != 1 || len(definition.KeyFields[secrets[0]].JSON) == 0): // no key is such a text
		return wrongUse("a key of %s as a JSON object has these fields and no others: %s", definition.Name,
			strings.Join(known, ", "))
	case len(secrets) != 1:
		return wrongUse("a key of %s has several fields: bring them as one JSON object with %s", definition.Name,
			strings.Join(known, ", "))
	}
	fields[secrets[0]] = value
	return nil
}
