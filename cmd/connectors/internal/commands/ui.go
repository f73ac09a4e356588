package commands

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/browser"
	pages "github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/page"
)

func (a *app) ui() *cobra.Command {
	var w way
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "My accounts, in the browser: until Ctrl-C, or fifteen minutes without use",
		Long: `My accounts, in the browser: what is connected, whether it works, who uses it; connect, test, rename, share,
disconnect. The page shows four characters: type them here, and that one browser is let in.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !a.Asks() {
				return wrongUse("the browser is let in by what is typed here, and there is no terminal")
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			return a.showPages(cmd.Context(), c, w)
		},
	}
	cmd.Flags().BoolVar(&w.noBrowser, "no-browser", false, "start no browser: the address is opened by hand")
	cmd.Flags().IntVar(&w.port, "port", 0, "listen at this port of 127.0.0.1, as where one is forwarded")
	return cmd
}

// showPages shows the pages until they end.
func (a *app) showPages(ctx context.Context, c *client.Client, w way) error {
	command := "connectors"
	if a.mount != "" {
		command += " --mount " + pages.Quote(c.Mount())
	}
	socket, err := pages.Listen(w.port)
	if err != nil {
		return err
	}
	host := socket.Addr().String()
	s := pages.New(host, pages.Options{
		Client: c, Command: command,
		Definition: func(ctx context.Context, provider string) (*client.Definition, error) {
			return definitionOf(ctx, c, provider)
		},
	})
	serving, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(serving, socket) }()

	a.Say("My accounts are at this address. It holds no secret:\n\n  http://%s/\n", host)
	if w.here(os.Getenv) == "" {
		browser.Open("http://"+host+"/", func(error) { a.Say("no browser could be started: open the address yourself") })
	}
	err = a.pair(ctx, s)
	if err == nil {
		a.Say("One browser is let in now, and no other can be. If yours does not show your accounts, press Ctrl-C: then it "+
			"was somebody else's.\nIt finds them again at http://%s%s. Ctrl-C ends it.", host, s.Home())
		err = <-ended
	} else {
		stop()
		if why := <-ended; !errors.Is(why, context.Canceled) {
			err = why // the pages ended while somebody was asked
		}
	}
	switch {
	case errors.Is(err, pages.ErrIdle):
		a.Say("connectors: %s", err)
		return nil
	case errors.Is(err, pages.ErrToken):
		return withCode(codeNotAllowed, "%w", err)
	case errors.Is(err, pages.ErrMisses):
		return withCode(codeFailed, "%w", err)
	}
	return err
}

// pair asks for the characters until one browser is let in, or the pages end.
func (a *app) pair(ctx context.Context, s *pages.Server) error {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-s.Ended():
			stop()
		case <-asking.Done():
		}
	}()
	for {
		typed, err := a.Ask(asking, "Type the four characters that the page shows: ")
		switch {
		case err != nil:
			return err
		case typed == "":
			continue
		case s.Pair(typed):
			return nil
		}
		if n := s.Waiting(); n > 1 {
			a.Say("%d browsers opened the address. Look that yours is at the one above.", n)
		}
		a.Say("No page shows these characters.")
	}
}
