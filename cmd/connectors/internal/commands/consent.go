package commands

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/browser"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// consent leads a person through the browser. What comes back first ends it: the browser at the listener, or what the
// person types or pastes.
func (a *app) consent(ctx context.Context, c *client.Client, path, provider string, w way,
) (*client.Connection, error) {
	why := w.here(os.Getenv)
	waits := w.waits(os.Getenv)
	if !waits && !a.Asks() {
		return nil, wrongUse("no browser can come back here (%s), and there is no terminal to type the code at", why)
	}
	secret := sessionValue()
	request := client.FlowRequest{
		Provider: provider, Kind: w.kind, Scopes: w.scopes, Inputs: w.inputs, SessionBinding: bindingOf(secret),
	}
	var listener *browser.Listener
	if waits {
		var err error
		if listener, err = browser.Listen(w.port); err != nil {
			return nil, err
		}
		defer listener.Close()
		request.ReturnURL = listener.URL()
	}
	flow, err := c.AuthCodeURL(ctx, path, request)
	if waits && refusesLoopback(err) && a.Asks() {
		a.Say("the engine leads no browser back to a command line here, so type the code that its page shows")
		waits, why, request.ReturnURL = false, "loopback_return=false", ""
		flow, err = c.AuthCodeURL(ctx, path, request)
	}
	if err != nil {
		return nil, err
	}
	a.warn(flow.Warnings)
	end, err := time.Parse(time.RFC3339, flow.ExpireTime)
	if err != nil {
		end = time.Now().Add(time.Hour)
	}
	bounded, cancel := context.WithDeadline(ctx, end)
	defer cancel()

	a.Say("To connect %s, open this address and consent there:\n\n  %s\n", terminal.Clean(path), terminal.Clean(flow.URL))
	h := &handover{app: a, flow: flow, why: why}
	if waits {
		h.come = listener.Await(flow.FlowID)
		if why == "" {
			browser.Open(flow.URL, func(error) { a.Say("no browser could be started: open the address yourself") })
		}
	}
	connection, err := h.finish(bounded, func(brought browser.Return) (*client.Connection, error) {
		return c.Exchange(ctx, client.ExchangeRequest{
			FlowID: brought.FlowID, ConfirmationCode: brought.Code, SessionBindingValue: secret,
			AllowAccountChange: w.otherAccount,
		})
	})
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, withCode(codePerson, "nobody consented until %s: start again", flow.ExpireTime)
	}
	return connection, err
}

// handover waits for what a browser or a person brings.
type handover struct {
	*app
	flow *client.Flow
	why  string                // no browser is waited for
	come <-chan browser.Return // nil where none is
}

// finish takes what is brought until exchange is content with it, or says that it is of no use to go on.
func (h *handover) finish(ctx context.Context, exchange func(browser.Return) (*client.Connection, error),
) (*client.Connection, error) {
	question := "Type the code that the page shows then, or paste the address of a page that does not load: "
	if h.come != nil {
		h.Say("The browser comes back here by itself.")
	} else {
		h.Say("Nothing waits for the browser here (%s).", h.why)
	}
	for {
		brought, err := h.next(ctx, question)
		if err != nil {
			return nil, err
		}
		connection, err := exchange(brought)
		if err == nil || !tryAgain(err) {
			return connection, err
		}
		h.complain(err)
	}
}

// next is what comes first: the browser, or what is typed.
func (h *handover) next(ctx context.Context, question string) (browser.Return, error) {
	if !h.Asks() {
		select {
		case brought := <-h.come:
			return brought, nil
		case <-ctx.Done():
			return browser.Return{}, ctx.Err()
		}
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	type typed struct {
		brought browser.Return
		err     error
	}
	hand := make(chan typed, 1)
	go func() {
		for {
			line, err := h.Ask(asking, question)
			if err != nil {
				hand <- typed{err: err}
				return
			}
			brought, err := browser.ReadPaste(line, h.flow.FlowID)
			if err == nil {
				hand <- typed{brought: brought}
				return
			}
			h.Say("%s", terminal.Clean(err.Error()))
		}
	}()
	select {
	case brought := <-h.come:
		stop()
		<-hand // the terminal is nobody's again
		return brought, nil
	case by := <-hand:
		if by.err != nil && h.come != nil && ctx.Err() == nil { // stdin ended; the browser may come yet
			select {
			case brought := <-h.come:
				return brought, nil
			case <-ctx.Done():
				return browser.Return{}, ctx.Err()
			}
		}
		return by.brought, by.err
	}
}

// tryAgain reports whether the flow is still open after a refusal: the code was mistyped, or brought before the
// consent.
func tryAgain(err error) bool {
	switch client.StatusOf(err) {
	case http.StatusBadRequest:
		return strings.Contains(err.Error(), "confirmation")
	case http.StatusConflict:
		return strings.Contains(err.Error(), "authorization_pending")
	}
	return false
}

// refusesLoopback reports whether the mount does not lead back to a command line, by its setting or its age.
func refusesLoopback(err error) bool {
	return client.StatusOf(err) == http.StatusBadRequest && strings.Contains(err.Error(), "return_url")
}

// sessionValue is what this run of the command alone knows: who sees the flow's address cannot finish it.
func sessionValue() string {
	value := make([]byte, 32)
	_, _ = rand.Read(value) // which never fails
	return base64.RawURLEncoding.EncodeToString(value)
}

func bindingOf(value string) string {
	sum := sha256.Sum256([]byte(value))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
