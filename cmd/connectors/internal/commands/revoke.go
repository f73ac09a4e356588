package commands

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) revoke() *cobra.Command {
	var f filters
	var all bool
	cmd := &cobra.Command{
		Use:   "revoke --provider NAME ... | --all",
		Short: "Plan the end of many connections at once; \"revoke run\" carries it out",
		Long: `Plan the end of many connections: their grants are revoked at the services, and their credentials erased.
The plan changes nothing. It says how many it found, and is carried out within an hour by:

  connectors revoke run JOB --expect N`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.judge(cmd); err != nil {
				return err
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			plan, err := c.PlanRevocation(cmd.Context(), client.RevokeRequest{Filters: f.Filters, All: all})
			if err != nil {
				return err
			}
			// how to go on is said in words of this command
			a.warn(slices.DeleteFunc(plan.Warnings, func(warning string) bool {
				return strings.HasPrefix(warning, "nothing was changed: write run=true")
			}))
			if plan.Count == 0 {
				a.Say("no connection is like that: there is nothing to carry out")
			} else {
				a.Say("nothing was changed yet")
				a.Say("to carry it out: connectors revoke run %s --expect %d", terminal.Clean(plan.Job), plan.Count)
			}
			return a.answer(plan.Data, func() error { return a.showRevocation(plan) })
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every connection of the mount, in the place of filters")
	cmd.AddCommand(
		a.revokeCancel(),
		a.revokeList(),
		a.revokeRun(),
		a.revokeShow(),
	)
	return cmd
}

func (a *app) revokeRun() *cobra.Command {
	var expect int
	var then string
	var wait bool
	cmd := &cobra.Command{
		Use:   "run JOB --expect N",
		Short: "Carry a plan out, or go on with it; at a terminal, or with --wait, until it ends",
		Long: `Carry a plan out: it ends the connections that it found, if they are as many as --expect says. Without
--expect it asks. It goes on in the background, whether or not somebody waits for it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			job, err := nameOf("job", args[0])
			if err != nil {
				return err
			}
			told := cmd.Flags().Changed("expect")
			if !told && !a.Asks() {
				return wrongUse("this ends connections: say --expect with the number that the plan told, since there is " +
					"no terminal to ask at")
			}
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			if !told {
				if expect, err = a.askToRun(ctx, c, job, then); err != nil {
					return err
				}
			}
			stands, err := c.RunRevocation(ctx, job, client.RevokeRun{Run: true, Expect: expect, Then: then})
			if err != nil {
				return err
			}
			a.warn(stands.Warnings)
			if !wait && !a.Asks() {
				a.Say("it goes on in the background: connectors revoke show %s", job)
				return a.answer(stands.Data, func() error { return a.showRevocation(stands) })
			}
			if stands, err = a.awaitRevocation(ctx, c, stands); err != nil {
				return err
			}
			if err := a.answer(stands.Data, func() error { return a.showRevocation(stands) }); err != nil {
				return err
			}
			return endOfRevocation(stands)
		},
	}
	cmd.Flags().IntVar(&expect, "expect", 0, "how many connections the plan has; another number begins nothing")
	cmd.Flags().StringVar(&then, "then", "", "archive or delete each afterwards; by default it stays")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the end, also without a terminal")
	return cmd
}

// askToRun shows a plan, and gives its count if somebody wants it carried out.
func (a *app) askToRun(ctx context.Context, c *client.Client, job, then string) (int, error) {
	plan, err := c.Revocation(ctx, job)
	if err != nil {
		return 0, err
	}
	question := fmt.Sprintf("End %d connections (%s)", plan.Count, terminal.Clean(anyNamed(plan.Filters)))
	if then != "" {
		question += " and " + terminal.Clean(then) + " them"
	}
	sure, err := a.Sure(ctx, question+"? What is revoked cannot be brought back.")
	if err == nil && !sure {
		err = withCode(codeFailed, "nothing was begun")
	}
	return plan.Count, err
}

// between is how long is waited from one look at a job to the next.
const between = time.Second

// awaitRevocation tells how a job stands whenever that changed, until it ends or wants to be confirmed.
func (a *app) awaitRevocation(ctx context.Context, c *client.Client, stands *client.Revocation,
) (*client.Revocation, error) {
	job, told := stands.Job, ""
	for {
		now := fmt.Sprintf("%s: %d of %d done, %d skipped, %d ending, %d left", stands.State, stands.Done,
			stands.Count, stands.Skipped, stands.Ending, stands.Left)
		if now != told {
			a.Say("%s", terminal.Clean(now))
			told = now
		}
		if stands.Ended != "" || stands.State == "waiting" || stands.State == "expired" {
			return stands, nil
		}
		err := pause(ctx, between)
		if err == nil {
			stands, err = c.Revocation(ctx, job)
		}
		if err != nil {
			a.Say("it goes on without you: connectors revoke show %[1]s, or connectors revoke cancel %[1]s",
				terminal.Clean(job))
			return nil, err
		}
	}
}

// pause waits, and gives up when ctx ends.
func pause(ctx context.Context, span time.Duration) error {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endOfRevocation makes an error of a run that left something to do.
func endOfRevocation(job *client.Revocation) error {
	switch {
	case len(job.Failures) > 0:
		return withCode(codePerson, "of %d connections something is left to do by hand at the service, as told above",
			len(job.Failures))
	case job.State == "waiting":
		return withCode(codePerson, "a day has passed, and %d are left: connectors revoke run %s --expect %d goes on",
			job.Left+job.Ending, job.Job, job.Count)
	case job.State != "done":
		return withCode(codeFailed, "the job is %s", job.State)
	}
	return nil
}

func (a *app) revokeShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show JOB",
		Short: "How a plan or its run stands",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.tellJob(cmd.Context(), args[0], func(*client.Client, string) error { return nil })
		},
	}
}

// tellJob does something to a job, and says how it stands then.
func (a *app) tellJob(ctx context.Context, name string, do func(c *client.Client, job string) error) error {
	job, err := nameOf("job", name)
	if err != nil {
		return err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	if err := do(c, job); err != nil {
		return err
	}
	stands, err := c.Revocation(ctx, job)
	if err != nil {
		return err
	}
	a.warn(stands.Warnings)
	return a.answer(stands.Data, func() error { return a.showRevocation(stands) })
}

func (a *app) revokeList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "The plans and runs of the last week",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			list, err := c.Revocations(cmd.Context())
			if err != nil {
				return err
			}
			a.warn(list.Warnings)
			if len(list.Keys) == 0 {
				a.Say("there is none")
			}
			return a.answer(list.Data, func() error {
				if len(list.Keys) == 0 {
					return nil
				}
				var rows [][]string
				for _, job := range list.Keys {
					about := list.KeyInfo[job]
					rows = append(rows, []string{job, about.State, strconv.Itoa(about.Count), about.PlannedBy, about.PlannedTime})
				}
				return terminal.Table(a.Out, []string{"JOB", "STATE", "CONNECTIONS", "PLANNED BY", "TIME"}, rows)
			})
		},
	}
}

func (a *app) revokeCancel() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel JOB",
		Short: "Begin nothing more of a run; what has begun is finished",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.tellJob(cmd.Context(), args[0], func(c *client.Client, job string) error {
				warnings, err := c.CancelRevocation(cmd.Context(), job)
				a.warn(warnings)
				return err
			})
		},
	}
}

func (a *app) showRevocation(r *client.Revocation) error {
	if err := terminal.Pairs(a.Out, [][2]string{
		{"job", r.Job},
		{"state", r.State},
		{"count", strconv.Itoa(r.Count)},
		{"filters", anyNamed(r.Filters)},
		{"then", r.Then},
		{"left", strconv.Itoa(r.Left)},
		{"ending", strconv.Itoa(r.Ending)},
		{"done", strconv.Itoa(r.Done)},
		{"skipped", strconv.Itoa(r.Skipped)},
		{"outcomes", counted(r.Outcomes)},
		{"planned", actorOf(r.Planned)},
		{"ran", actorOf(r.Ran)},
		{"cancelled", actorOf(r.Cancelled)},
		{"good_until", r.GoodUntil},
		{"ended", r.Ended},
	}); err != nil || len(r.Failures) == 0 {
		return err
	}
	var rows [][]string
	for _, failure := range r.Failures {
		rows = append(rows, []string{failure.Path, failure.Outcome, failure.Reason})
	}
	if _, err := fmt.Fprintln(a.Out); err != nil {
		return err
	}
	return terminal.Table(a.Out, []string{"CONNECTION", "OUTCOME", "WHAT IS LEFT TO DO"}, rows)
}

func counted(counts map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, name+"="+strconv.Itoa(counts[name]))
	}
	return strings.Join(all, " ")
}

func actorOf(actor client.Actor) string {
	if actor.Time == "" {
		return ""
	}
	return beside(actor.Time, strings.TrimSpace(actor.DisplayName+" "+actor.EntityID))
}
