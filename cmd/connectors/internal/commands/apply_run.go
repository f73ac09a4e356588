package commands

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/page"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// mayRun says why the plan is not carried out.
func (do *applying) mayRun(steps, doomed []*step) error {
	if do.prune && len(doomed) != do.expect {
		said := fmt.Sprintf("--expect says %d", do.expect)
		if do.expect < 0 {
			said = "--expect is not given"
		}
		return wrongUse("%d would be deleted, and %s: nothing was done; say --expect %d to delete these", len(doomed), said,
			len(doomed))
	}
	if do.reconnect {
		return nil
	}
	var breaks []string
	for _, s := range steps {
		if len(s.Reconnects) > 0 {
			breaks = append(breaks, s.Path+" ("+strings.Join(s.Reconnects, ", ")+")")
		}
	}
	if len(breaks) > 0 {
		return wrongUse("connections made before would have to be reconnected, since their grants are bound to what changes "+
			"in %s: nothing was done; say --allow-reconnect to change it", strings.Join(breaks, "; "))
	}
	return nil
}

// execute does what the steps say, in their order. Secrets are found before anything is written.
func (do *applying) execute(ctx context.Context, steps, doomed []*step) error {
	for _, s := range steps {
		if err := do.resolve(ctx, s); err != nil {
			return err
		}
	}
	var done []string
	stopped := func(at string, err error) error {
		said := "nothing was done before"
		if len(done) > 0 {
			said = "done: " + strings.Join(done, ", ")
		}
		do.Say("stopped at %s; %s; run it again to go on", terminal.Clean(at), terminal.Clean(said))
		return err
	}
	finish := func(s *step) {
		s.Done = true
		done = append(done, s.Path)
		do.Say("%s: %sd", terminal.Clean(s.Path), strings.TrimSuffix(s.Action, "e")+"e")
	}
	var waiting []*step
	moved := map[string]bool{} // providers
	for _, s := range steps {
		// its definition may be there by now, or its provider point elsewhere, so that its key is to be written again
		if strings.HasPrefix(s.Path, "connections/") && (s.spec.Unknown || moved[do.ledger.providerOf(s.entry, s.have)]) {
			if err := do.again(ctx, s); err != nil {
				return stopped(s.Path, err)
			}
		}
		if s.Unsure != nil {
			if err := do.writeUnsure(ctx, s); err != nil {
				return stopped(s.Path, err)
			}
			if s.Action != "" {
				finish(s)
			}
			continue
		}
		if s.Action == files.Create || s.Action == files.Update {
			if err := do.write(ctx, s); err != nil {
				return stopped(s.Path, err)
			}
			finish(s)
			moved[strings.TrimPrefix(s.Path, "providers/")] = len(s.Reconnects) > 0
		}
		needy := slices.Contains([]string{"pending", "needs_reconnect", "failed_validation", "expired"}, s.status)
		if s.Action == files.Connect || needy && do.walk {
			waiting = append(waiting, s)
		}
	}
	if do.walk {
		for _, s := range waiting {
			if err := do.connectOne(ctx, s); err != nil {
				return stopped(s.Path, err)
			}
			finish(s)
		}
	}
	for _, s := range doomed {
		warnings, err := do.ledger.c.DeleteDocument(ctx, s.Path)
		if err != nil {
			return stopped(s.Path, err)
		}
		do.warn(warnings)
		finish(s)
	}
	do.tellBroken(steps)
	return do.tellWaiting(steps)
}

// resolve puts secrets in the place of their references.
func (do *applying) resolve(ctx context.Context, s *step) error {
	for i, fields := range s.Writes {
		resolved, err := files.Resolve(fields, do.find(ctx))
		if err != nil {
			return wrongUse("%s:%d: %s: %s", do.shownName(), s.Line, s.Path, err)
		}
		s.Writes[i] = resolved
	}
	return nil
}

// findable refuses a variable that is not set and a file that is not there, as resolve would. Vault is not asked for
// secrets where nothing is written.
func (do *applying) findable(ctx context.Context, steps []*step) error {
	find := do.find(ctx)
	for _, s := range steps {
		for _, fields := range append(slices.Clone(s.Writes), s.Unsure) {
			if _, err := files.Resolve(fields, func(r files.Reference) (string, error) {
				if r.Scheme == "vault" {
					return "", nil
				}
				return find(r)
			}); err != nil {
				return wrongUse("%s:%d: %s: %s", do.shownName(), s.Line, s.Path, err)
			}
		}
	}
	return nil
}

// again plans a step anew, since what it rests on has changed.
func (do *applying) again(ctx context.Context, s *step) error {
	next, problems, err := do.planOne(ctx, s.entry)
	switch {
	case err != nil:
		return err
	case len(problems) > 0:
		return do.wrong(problems)
	}
	*s = *next
	return do.resolve(ctx, s)
}

func (do *applying) write(ctx context.Context, s *step) error {
	var answer map[string]any
	for _, fields := range s.Writes {
		document, err := do.ledger.c.WriteDocument(ctx, s.Path, fields)
		if err != nil {
			return err
		}
		do.warn(document.Warnings)
		answer = document.Data
	}
	if status, told := answer["status"].(string); told {
		s.status = status
	}
	if answer == nil {
		return nil
	}
	left, _ := s.spec.Plan(s.entry, answer, files.Options{ReadFile: do.content})
	for _, field := range left.Fields {
		do.Say("warning: %s keeps %s in another form (%s): write that into the file, or each run finds a change",
			terminal.Clean(s.Path), terminal.Clean(field.Field), terminal.Clean(textOf(field.Before)))
	}
	return nil
}

// writeUnsure writes what the mount masks, so that only it knows whether anything changes.
func (do *applying) writeUnsure(ctx context.Context, s *step) error {
	document, err := do.ledger.c.WriteDocument(ctx, s.Path, s.Unsure)
	if err != nil {
		return err
	}
	if document.Data["updated"] == s.have["updated"] {
		return nil
	}
	do.warn(document.Warnings)
	s.Action = files.Update
	for _, name := range slices.Sorted(maps.Keys(s.Unsure)) {
		s.Fields = append(s.Fields, files.Diff{Field: name, Before: s.have[name], After: document.Data[name]})
	}
	return nil
}

// connectOne leads a person through a consent or asks for a key, and then writes what else the file says.
func (do *applying) connectOne(ctx context.Context, s *step) error {
	path := strings.TrimPrefix(s.Path, "connections/")
	provider := do.ledger.providerOf(s.entry, s.have)
	w := way{inputs: map[string]string{}}
	w.kind, _ = s.entry.Fields["kind"].(string)
	if w.kind == "" {
		w.kind, _ = s.have["kind"].(string)
	}
	inputs, _ := s.entry.Fields["inputs"].(map[string]any)
	for name, value := range inputs {
		w.inputs[name] = textOf(value)
	}
	do.Say("%s needs you, to connect %s:", terminal.Clean(path), terminal.Clean(provider))
	// what is shown of it is beside the data, which is the plan's
	beside := &app{Terminal: &terminal.Terminal{In: do.In, Out: do.Err, Err: do.Err}, output: "table"}
	if err := beside.connectBy(ctx, do.ledger.c, path, provider, w); err != nil {
		return err
	}
	action := s.Action
	if err := do.again(ctx, s); err != nil {
		return err
	}
	if s.Action == files.Create || s.Action == files.Update {
		if err := do.write(ctx, s); err != nil {
			return err
		}
	}
	s.Action, s.status = action, ""
	if action == "" {
		s.Action = files.Connect
	}
	return nil
}

// tellBroken names connections of the file that do not serve until somebody does something.
func (do *applying) tellBroken(steps []*step) {
	for _, s := range steps {
		if slices.Contains([]string{"needs_reconnect", "failed_validation", "expired"}, s.status) {
			path := strings.TrimPrefix(s.Path, "connections/")
			do.Say("%s is %s: connectors reconnect %s", terminal.Clean(path), terminal.Clean(s.status), word(path))
		}
	}
}

// tellWaiting says what is left for a person to do.
func (do *applying) tellWaiting(steps []*step) error {
	var left []string
	for _, s := range steps {
		if s.Action == files.Connect && !s.Done {
			path := strings.TrimPrefix(s.Path, "connections/")
			do.Say("connectors connect %s --as %s", word(do.ledger.providerOf(s.entry, s.have)), word(path))
			left = append(left, path)
		}
	}
	if len(left) > 0 {
		return withCode(codePerson, "a person must connect %s: by the commands above, or apply with --connect",
			strings.Join(left, ", "))
	}
	return nil
}

// word is a text of others as one word of a command that somebody may copy.
func word(text string) string { return page.Quote(terminal.Clean(text)) }
