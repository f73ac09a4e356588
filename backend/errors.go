package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// statusError is an error whose text is meant for the caller. It says the cause and the next step.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func forbidden(format string, args ...any) error {
	return &statusError{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

func unavailable(format string, args ...any) error {
	return &statusError{http.StatusServiceUnavailable, fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) error {
	return &statusError{http.StatusConflict, fmt.Sprintf(format, args...)}
}

func badGateway(format string, args ...any) error {
	return &statusError{http.StatusBadGateway, fmt.Sprintf(format, args...)}
}

// edge makes of a handler one whose errors keep their status on the way to Vault. Only bare sentinels and bare coded
// errors survive gRPC, so this is the one place where errors of ours become errors of Vault's.
func (b *backend) edge(handler framework.OperationFunc) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		resp, err := handler(ctx, req, d)
		if err == nil {
			return resp, nil
		}
		return b.toVault(req, err)
	}
}

func (b *backend) toVault(req *logical.Request, err error) (*logical.Response, error) {
	var (
		status *statusError
		flight *refresh.Error
		call   *providers.Error
		shut   *gate.Refused
		moving *connections.MovingError
	)
	switch {
	case errors.As(err, &moving):
		return coded(http.StatusConflict, moving.Error())
	case errors.As(err, &status):
		return coded(status.status, status.text)
	case errors.As(err, &flight):
		return coded(problemStatus(flight), flight.Error())
	case errors.As(err, &shut):
		return coded(http.StatusBadGateway, gateText(shut))
	case errors.As(err, &call) && call.NotSent():
		return coded(http.StatusConflict, call.Error())
	case errors.As(err, &call):
		switch call.Class {
		case providers.Misconfigured, providers.Rejected, providers.Forbidden:
			return coded(http.StatusConflict, call.Error()+": the provider refuses the app, an operator "+
				"corrects it on providers/")
		}
		return coded(http.StatusBadGateway, call.Error()+": try again later")
	case store.IsReadOnly(err):
		return nil, logical.ErrReadOnly
	case store.TooLarge(err):
		return coded(http.StatusBadRequest, err.Error()+": nothing was changed; shorten its longest fields")
	case errors.Is(err, tasks.ErrClosed), errors.Is(err, gate.ErrClosed):
		return coded(http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return coded(http.StatusServiceUnavailable, "the request ended before its answer was there; what it started "+
			"goes on: send it again")
	}
	b.Logger().Error("a request failed", "operation", string(req.Operation), "error", err)
	return nil, err
}

// faultsOf says what an operator is to look at, of a provider whose app or issuer does not do.
func faultsOf(provider string, e *providers.Error) string {
	fields := ""
	switch {
	case e.Code == providers.CodeIssuer:
		fields = "issuer on "
	case e.Reason == providers.ReasonClientAuth:
		fields = "client_auth on "
	case e.Code == "invalid_client", e.Code == "unauthorized_client":
		fields = "client_id, client_secret or client_auth on "
	case e.Code == "invalid_scope":
		fields = "scopes or added_scopes on "
	}
	return fields + "providers/" + provider
}

// gateText says why a provider is not called now.
func gateText(e *gate.Refused) string {
	why := "it is down, and is probed until it answers"
	switch e.State {
	case gate.Resting:
		why = "it asked to be left alone"
	case gate.Refusing:
		why = "it refuses the app for several accounts, and is probed until it takes it; if that lasts, an operator " +
			"corrects it on providers/" + e.Key
	case gate.Busy:
		why = "too many requests wait for it"
	}
	text := fmt.Sprintf("provider %q is not called now: %s; nothing was sent or changed", e.Key, why)
	if e.Until.IsZero() {
		return text + ": try again later"
	}
	return text + ": try again at " + rfc3339(e.Until)
}

// coded answers with a status. A 400 goes as an error response, which shows its text without ornament.
func coded(status int, text string) (*logical.Response, error) {
	if status == http.StatusBadRequest {
		return logical.ErrorResponse(text), logical.ErrInvalidRequest
	}
	return nil, logical.CodedError(status, text)
}

func problemStatus(e *refresh.Error) int {
	switch e.Problem {
	case refresh.NotFound, refresh.NotRefreshable:
		return http.StatusBadRequest // a 404 would hide its text from the CLI
	case refresh.Disabled:
		if e.Reason == store.ReasonMoving {
			break
		}
		return http.StatusForbidden
	case refresh.Unavailable:
		return http.StatusBadGateway
	case refresh.StorageRefuses:
		return http.StatusServiceUnavailable
	}
	return http.StatusConflict
}
