package providers

// AskedInputs are those inputs that a person is asked for, who connects an account without knowing what a connection
// is: what must be there, what nobody has said, and what only who holds a key may say, which is where it goes.
func (d *Definition) AskedInputs(kind Kind, provider, connection map[string]string) (asked []Input) {
	for _, in := range d.Inputs {
		_, set := in.of(kind, provider, connection)
		if !set && in.takes(SetByConnection, kind) && (in.Required && in.Default == "" || in.ownOf(kind)) {
			asked = append(asked, in)
		}
	}
	return asked
}

// AskedKey are the fields of a key that whoever has it writes.
func (d *Definition) AskedKey() (asked []KeyField) {
	if d.Key == nil {
		return nil
	}
	for _, f := range d.Key.Fields {
		if f.setBy() == SetByConnection {
			asked = append(asked, f)
		}
	}
	return asked
}

// Choices are the values of an input that has only these, sorted; nil: any that its pattern takes.
func (in Input) Choices() []string { return sortedKeys(in.Variants) }

// MissesKey names the fields that keep these values from being a key by themselves, as CheckKey would refuse them. What
// is only odd is none; empty where no single field is at fault.
func (d *Definition) MissesKey(values map[string]string) (fields []string) {
	for _, f := range d.AskedKey() {
		value := values[f.Name]
		bad := value == "" && f.Required && f.Default == "" || f.checkText(value) != nil
		if value != "" && !bad {
			if len(f.JSON) > 0 {
				_, err := f.members(value)
				bad = err != nil
			}
			bad = bad || d.checkSigning(f.Name, value) != nil ||
				f.Pattern != "" && f.Shape == "sure" && matches(f.Pattern, value) != nil
		}
		if bad {
			fields = append(fields, f.Name)
		}
	}
	return fields
}
