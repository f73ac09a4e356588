package providers

import "fmt"

// CompanionsOn are the companions that one side holds: SetByProvider or SetByConnection.
func (d *Definition) CompanionsOn(side string) (names []string) {
	for _, companion := range d.Companions {
		if companion.On == side {
			names = append(names, companion.Name)
		}
	}
	return names
}

// CheckCompanion checks a companion that one side sets. Errors name it and what is allowed, never the value.
func (d *Definition) CheckCompanion(side, name, value string) error {
	for _, companion := range d.Companions {
		if companion.Name != name || companion.On != side {
			continue
		}
		if companion.Pattern == "" {
			return nil
		}
		if err := matches(companion.Pattern, value); err != nil {
			return fmt.Errorf("companions: %q %w%s", name, err, Input{Help: companion.Help}.hint())
		}
		return nil
	}
	return fmt.Errorf("companions: %q is not declared by %s for the %s: allowed here are %s", name, d.ID, side,
		orNone(d.CompanionsOn(side)))
}
