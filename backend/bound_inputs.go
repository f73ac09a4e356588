package backend

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Where the operator's secret opens any account that is named, as with the installations of an app, an owner reaches
// those that the operator bound to it: by a value on the provider, which all have, or by bound_inputs.

// boundTo are the values that are bound to an owner, by input.
func boundTo(p *store.Provider, owner store.Owner) map[string][]string {
	all := map[string][]string{}
	for pattern, values := range p.BoundInputs {
		if ownerAllowed([]string{pattern}, owner) {
			for name, list := range values {
				all[name] = append(all[name], list...)
			}
		}
	}
	return all
}

// boundTo are the owners to whom a value of an input is bound.
func (p *configured) boundTo(input, value string) (owners []string) {
	for _, owner := range slices.Sorted(maps.Keys(p.entry.BoundInputs)) {
		if slices.Contains(p.entry.BoundInputs[owner][input], value) {
			owners = append(owners, owner)
		}
	}
	return owners
}

// unbound names an input whose value is not bound to the owner, and would have to be.
func (p *configured) unbound(owner store.Owner, kind providers.Kind, inputs map[string]string) (name string,
	found bool,
) {
	return p.app.Definition.Unbound(kind, p.entry.Inputs, inputs, boundTo(p.entry, owner))
}

// admitInputs refuses to have the app act on an account that the operator did not bind to the owner.
func (p *configured) admitInputs(owner store.Owner, kind providers.Kind, inputs map[string]string) error {
	if name, found := p.unbound(owner, kind, inputs); found {
		return forbidden("input %q says on whose account the app itself acts, and its value is not bound to %s: an operator "+
			"adds it to bound_inputs on providers/%s, as {%q: {%q: [value]}}, or sets it in inputs there", name, owner, p.name,
			owner.String(), name)
	}
	return nil
}

// takeBoundInputs takes which values owners may name. What is written as one text is a list with commas.
func takeBoundInputs(d *framework.FieldData, definition *providers.Definition, p *store.Provider) error {
	raw, named := d.GetOk("bound_inputs")
	if !named {
		return nil
	}
	bound := map[string]map[string][]string{}
	owners, _ := inJSON(raw).(map[string]any)
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		if err := checkOwnerPattern("bound_inputs", owner); err != nil {
			return err
		}
		if strings.Contains(owner, "user/") {
			return badRequest("bound_inputs: %q is no organization, and no other has a credential of the app's own",
				clipText(owner))
		}
		inputs, is := owners[owner].(map[string]any)
		if !is {
			return wrongBound()
		}
		values := map[string][]string{}
		for _, input := range slices.Sorted(maps.Keys(inputs)) {
			list, err := boundValues(inputs[input])
			if err != nil {
				return err
			}
			values[input] = list
		}
		values, err := definition.CheckBound(values)
		if err != nil {
			return badRequest("bound_inputs of %s: %s", owner, err)
		}
		if len(values) > 0 {
			bound[owner] = values
		}
	}
	if stored, err := json.Marshal(bound); err != nil || len(stored) > maxBound {
		return badRequest("bound_inputs takes more than %d bytes in all", maxBound)
	}
	if p.BoundInputs = bound; len(bound) == 0 {
		p.BoundInputs = nil
	}
	return nil
}

// maxBound is how many bytes bound_inputs may have: some two thousand owners with an account each.
const maxBound = 96 * kB

func wrongBound() error {
	return badRequest(`bound_inputs must be a map of owners, each with a map of inputs and lists of values, as ` +
		`{"org/acme": {"shop": ["one"]}}`)
}

func boundValues(raw any) ([]string, error) {
	switch raw.(type) {
	case nil, map[string]any:
		return nil, wrongBound()
	}
	value, whole := inTexts(raw)
	if !whole {
		return nil, largeNumber("bound_inputs")
	}
	one := framework.FieldData{
		Raw: map[string]any{"bound_inputs": value}, Schema: map[string]*framework.FieldSchema{"bound_inputs": strs("")},
	}
	list, _, err := one.GetOkErr("bound_inputs")
	if err != nil {
		return nil, wrongBound()
	}
	for _, value := range list.([]string) {
		if err := fieldLimits["inputs"].text("a value in bound_inputs", value); err != nil {
			return nil, err
		}
	}
	return list.([]string), nil
}
