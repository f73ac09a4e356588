package commands

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/browser"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) link() *cobra.Command {
	var request client.LinkRequest
	var ttl time.Duration
	var state, finish, withdraw, otherAccount, private, notPrivate bool
	var flow string
	cmd := &cobra.Command{
		Use:   "link NAME [--finish | --state | --withdraw]",
		Short: "A link by which a person without a Vault token connects an account",
		Long: `A link by which a person without a Vault token connects an account, or types a key. Its address is printed:
send it to that person and to nobody else. Nothing is connected until you finish it with the eight characters
that the page shows them at the end. At a terminal these are asked for at once; --finish asks later, or takes
them from stdin. You see whose account it is when it is connected; --account takes no other.

The link is yours: nobody else reads its state, finishes or withdraws it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, given := cmd.Context(), cmd.Flags().Changed
			if err := oneOf(map[string]bool{"--finish": finish, "--state": state, "--withdraw": withdraw}); err != nil {
				return err
			}
			makes := !finish && !state && !withdraw
			for _, flag := range linkFlags {
				if given(flag) && !makes {
					return wrongUse("--%s is of a new link, and none is made here", flag)
				}
			}
			switch {
			case makes && flow != "":
				return wrongUse("--flow names a link that was made: it goes with --finish, --state and --withdraw")
			case otherAccount && !finish:
				return wrongUse("--allow-account-change goes with --finish")
			case private && notPrivate:
				return wrongUse("--private and --not-private say the opposite: name one")
			case private || notPrivate:
				request.Private = &private
			}
			if ttl != 0 {
				request.TTL = ttl.String()
			}
			c, path, err := a.at(ctx, args[0])
			if err != nil {
				return err
			}
			if makes {
				return a.makeLink(ctx, c, path, request)
			}
			link, err := c.LinkState(ctx, path, flow)
			if err != nil {
				return noLink(err)
			}
			a.warn(link.Warnings)
			switch {
			case state:
				return a.showLink(link)
			case withdraw:
				if err := c.EndLink(ctx, path, link.FlowID); err != nil {
					return noLink(err)
				}
				a.Say("the link for %s is of no use any more", terminal.Clean(path))
				return a.answer(map[string]any{"flow_id": link.FlowID}, func() error { return nil })
			}
			return a.finishLink(ctx, c, path, link, otherAccount)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&request.Provider, "provider", "", "what to connect; by default what NAME is, or is named like")
	flags.StringVar(&request.Kind, "kind", "", "how the credential is obtained, where the service has several ways")
	flags.StringVar(&request.Purpose, "purpose", "", "what it is for; the page shows it as your words")
	flags.StringVar(&request.Account, "account", "", "the only account that may be connected, by its id or email")
	flags.DurationVar(&ttl, "ttl", 0, "how long the link may be used, as 4h; by default an hour, a day at most")
	flags.StringSliceVar(&request.Scopes, "scopes", nil, "ask for these scopes; by default the provider's")
	flags.StringSliceVar(&request.OptionalScopes, "optional-scopes", nil, "scopes that the person may leave out")
	flags.StringSliceVar(&request.RequiredScopes, "required-scopes", nil, "scopes whose absence is shown; by default "+
		"those that are asked for")
	flags.StringToStringVar(&request.Inputs, "input", nil, "a value that the service asks for, as shop=my-shop; the "+
		"person is asked for what is missing")
	flags.StringVar(&request.ReturnURL, "return-url", "", "where the page leads on to with the code, one of the "+
		"provider's return_urls")
	flags.StringVar(&request.LoginHint, "login-hint", "", "the account to suggest at the service's login")
	flags.BoolVar(&private, "private", false, "serve the owner's own entity alone")
	flags.BoolVar(&notPrivate, "not-private", false, "serve whoever has a policy for it")
	flags.BoolVar(&request.Provision, "provision", false, "connect for an entity that is not your own")
	flags.BoolVar(&finish, "finish", false, "connect what the person brought, with the code that they tell you")
	flags.BoolVar(&otherAccount, "allow-account-change", false, "with --finish: take another account than before")
	flags.BoolVar(&state, "state", false, "what became of the link")
	flags.BoolVar(&withdraw, "withdraw", false, "end the link")
	flags.StringVar(&flow, "flow", "", "of several links of yours for this connection, this one; by default the last")
	return cmd
}

// linkFlags are those of a new link.
var linkFlags = []string{
	"provider", "kind", "purpose", "account", "ttl", "scopes", "optional-scopes", "required-scopes", "input", "return-url",
	"login-hint", "private", "not-private", "provision",
}

func (a *app) makeLink(ctx context.Context, c *client.Client, path string, request client.LinkRequest) error {
	link, err := c.MakeLink(ctx, path, request)
	if err != nil {
		return noProvider(path[strings.LastIndexByte(path, '/')+1:], err)
	}
	a.warn(link.Warnings)
	a.Say("for one person, until %s: whoever has this link can use it up", terminal.Clean(link.ExpireTime))
	err = a.answer(link.Data, func() error {
		_, err := fmt.Fprintln(a.Out, link.URL)
		return err
	})
	switch {
	case err != nil:
		return err
	case request.ReturnURL != "":
		a.Say("its page leads on to %s with what finishes it", terminal.Clean(request.ReturnURL))
		return nil
	case a.output != "table" || !a.Asks() || !a.Shows(): // the address is for a program, which sends it
		a.Say("its page shows eight characters at the end: connectors link %s --finish --flow %s takes them",
			terminal.Clean(path), terminal.Clean(link.FlowID))
		return nil
	}
	a.Say("Ctrl-C leaves the link open: connectors link %s --finish asks again", terminal.Clean(path))
	return a.takeCode(ctx, c, link.FlowID, false)
}

func (a *app) finishLink(ctx context.Context, c *client.Client, path string, link *client.LinkState, otherAccount bool,
) error {
	switch link.State {
	case client.LinkParked:
	case client.LinkOffered, client.LinkStarted:
		a.Say("nobody has used the link for %s to its end yet (%s)", terminal.Clean(path),
			terminal.Clean(beside(link.State, link.Reason)))
	case client.LinkConnected:
		return wrongUse("the link for %s is connected already: connectors show %s", path, path)
	default:
		return withCode(codePerson, "the link for %s is of no use any more: %s; make another", path,
			beside(link.State, link.Reason))
	}
	if a.Asks() {
		return a.takeCode(ctx, c, link.FlowID, otherAccount)
	}
	line, err := terminal.Await(ctx, func() (string, error) {
		return bufio.NewReader(io.LimitReader(a.In, maxLine)).ReadString('\n')
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) == "" {
		return wrongUse("there is no terminal to ask at, and stdin is empty: bring the eight characters there")
	}
	return a.exchangeCode(ctx, c, link.FlowID, line, otherAccount)
}

// maxLine is more than an address has.
const maxLine = 16 << 10

// takeCode asks for the code until it is the one, or until it is of no use to go on.
func (a *app) takeCode(ctx context.Context, c *client.Client, flowID string, otherAccount bool) error {
	for {
		line, err := a.Ask(ctx, "The eight characters that they tell you: ")
		if err != nil {
			return err
		}
		err = a.exchangeCode(ctx, c, flowID, line, otherAccount)
		var own *coded
		if err == nil || !tryAgain(err) && !(errors.As(err, &own) && own.code == codeWrongUse) {
			return err
		}
		a.complain(err)
	}
}

func (a *app) exchangeCode(ctx context.Context, c *client.Client, flowID, line string, otherAccount bool) error {
	brought, err := browser.ReadPaste(line, flowID)
	if err != nil {
		return wrongUse("%s", err)
	}
	connection, err := c.Exchange(ctx, client.ExchangeRequest{
		FlowID: brought.FlowID, ConfirmationCode: brought.Code, AllowAccountChange: otherAccount,
	})
	if err != nil {
		return err
	}
	return a.connected(connection)
}

func (a *app) showLink(link *client.LinkState) error {
	return a.answer(link.Data, func() error {
		return terminal.Pairs(a.Out, [][2]string{
			{"state", link.State},
			{"reason", link.Reason},
			{"provider", link.Provider},
			{"expire_time", link.ExpireTime},
			{"tries", fmt.Sprint(link.Tries)},
			{"flow_id", link.FlowID},
		})
	})
}

// noLink tells of an error whether it came because there is no such link.
func noLink(err error) error {
	if client.StatusOf(err) == http.StatusBadRequest && strings.Contains(err.Error(), "no link") {
		return &coded{code: codeAbsent, err: err}
	}
	return err
}
