package commands

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// completionTime is how long somebody who pressed the tab key is kept waiting.
const completionTime = time.Second

// safe is what is offered for completion: a shell takes nothing of it for its own, however it puts it in.
var safe = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._@:-]*(/|$))+$`)

// owners are the first words of paths.
var owners = []string{"org/", "self/", "shared/", "user/"}

// completeNames offers connections: the caller's own by their bare names, and others where the level above them is
// typed, as org/acme/.
func (a *app) completeNames(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion,
	cobra.ShellCompDirective,
) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	level := levelOf(typed)
	found := a.look(cmd.Context(), func(ctx context.Context, c *client.Client) ([]string, error) {
		return namesAt(ctx, c, level)
	})
	if level == "" && typed != "" {
		found = append(found, owners...)
	}
	return offered(found, typed)
}

// completeVariable offers the connections behind a variable's name, as TOKEN=slack.
func (a *app) completeVariable(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion,
	cobra.ShellCompDirective,
) {
	variable, connection, found := strings.Cut(typed, "=")
	if !found {
		return nil, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	names, directive := a.completeNames(cmd, nil, connection)
	for i := range names {
		names[i] = variable + "=" + names[i]
	}
	return names, directive
}

// completeLevels offers owners, and what is a level below them.
func (a *app) completeLevels(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion,
	cobra.ShellCompDirective,
) {
	level := levelOf(typed)
	switch {
	case len(args) > 0:
		return nil, cobra.ShellCompDirectiveNoFileComp
	case level == "":
		return offered(owners, typed)
	}
	found := a.look(cmd.Context(), func(ctx context.Context, c *client.Client) ([]string, error) {
		names, err := namesAt(ctx, c, level)
		return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, "/") }), err
	})
	return offered(found, typed)
}

// completeServices offers what can be connected: the providers, as their list tells them, else the catalogue.
func (a *app) completeServices(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion,
	cobra.ShellCompDirective,
) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return offered(a.look(cmd.Context(), func(ctx context.Context, c *client.Client) ([]string, error) {
		if list, err := c.Providers(ctx); err == nil {
			return list.Keys, nil
		}
		catalog, err := c.Catalog(ctx, "")
		if err != nil {
			return nil, err
		}
		var found []string
		for _, id := range catalog.Keys {
			found = append(found, catalog.KeyInfo[id].Providers...)
		}
		return found, nil
	}), typed)
}

// look asks the mount, for a moment and in silence: somebody is typing, and a failure of this is none of theirs. It
// does not wait for what does not end by itself, as a token helper.
func (a *app) look(ctx context.Context, ask func(context.Context, *client.Client) ([]string, error)) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	came := make(chan []string, 1)
	go func() {
		c, err := a.dial(ctx)
		if err != nil {
			came <- nil
			return
		}
		found, err := ask(ctx, c)
		if err != nil {
			found = nil
		}
		came <- found
	}()
	select {
	case found := <-came:
		return found
	case <-ctx.Done():
		return nil
	}
}

// levelOf is the level that is typed, with its last slash.
func levelOf(typed string) string { return typed[:strings.LastIndexByte(typed, '/')+1] }

// namesAt lists a level, the caller's own where none is typed, as what would be typed.
func namesAt(ctx context.Context, c *client.Client, level string) ([]string, error) {
	owner := level
	if owner == "" {
		owner = "self"
	}
	list, err := c.Connections(ctx, owner)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range list.Keys {
		found = append(found, level+name)
	}
	return found, nil
}

// offered are those that begin with what is typed, and how a shell is to put them in: what goes on below a slash gets
// no blank behind it.
func offered(found []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	all := map[string]bool{}
	directive := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	for _, one := range found {
		if !strings.HasPrefix(one, typed) || !safe.MatchString(one) {
			continue
		}
		all[one] = true
		if !strings.HasSuffix(one, "/") {
			directive &^= cobra.ShellCompDirectiveNoSpace
		}
	}
	return slices.Sorted(maps.Keys(all)), directive
}
