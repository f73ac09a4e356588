package testenv_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// factory makes a backend with one path, which answers what the request's field "as" says.
func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b := &framework.Backend{BackendType: logical.TypeLogical}
	answer := func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		switch d.Get("as").(string) {
		case "absent":
			return nil, nil
		case "bad":
			return logical.ErrorResponse("a text"), logical.ErrInvalidRequest
		case "conflict":
			return nil, logical.CodedError(http.StatusConflict, "a text")
		case "operation":
			return &logical.Response{Data: map[string]any{"operation": string(req.Operation), "entity": req.EntityID, "n": 1}},
				nil
		case "system":
			entity, err := b.System().EntityInfo("e-1")
			return &logical.Response{Data: map[string]any{
				"entity": err == nil && entity != nil, "writable": b.WriteSafeReplicationState(),
			}}, nil
		}
		return nil, req.Storage.Put(ctx, &logical.StorageEntry{Key: "k", Value: []byte("v")})
	}
	op := &framework.PathOperation{
		Callback: answer, Responses: map[int][]framework.Response{http.StatusOK: {{}}, http.StatusNoContent: {{}}},
	}
	b.Paths = []*framework.Path{{
		Pattern: "x", Fields: map[string]*framework.FieldSchema{"as": {Type: framework.TypeString}},
		ExistenceCheck: func(_ context.Context, req *logical.Request, _ *framework.FieldData) (bool, error) {
			return req.Data["exists"] == true, nil
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: op, logical.CreateOperation: op, logical.UpdateOperation: op, logical.DeleteOperation: op,
		},
	}}
	return b, b.Setup(ctx, conf)
}

func as(what string) map[string]any { return map[string]any{"as": what} }

func TestStatusesOfVault(t *testing.T) {
	testenv.Each(t, factory, func(t *testing.T, e *testenv.Env) {
		assert.Equal(t, http.StatusNotFound, e.Read("x", as("absent")).Status)
		assert.Equal(t, http.StatusNoContent, e.Write("x", as("absent")).Status)
		e.Write("x", as("bad")).Refused(t, http.StatusBadRequest, "a text")
		e.Write("x", as("conflict")).Refused(t, http.StatusConflict, "a text")
		assert.Equal(t, http.StatusNotFound, e.Read("unknown", nil).Status)
		assert.Equal(t, http.StatusMethodNotAllowed, e.List("x").Status)
	})
}

func TestCreateAndUpdate(t *testing.T) {
	testenv.Each(t, factory, func(t *testing.T, e *testenv.Env) {
		assert.Equal(t, "create", e.Write("x", as("operation")).OK(t)["operation"])
		update := as("operation")
		update["exists"] = true
		got := e.Write("x", update, testenv.Entity("e-1")).OK(t)
		assert.Equal(t, "update", got["operation"])
		assert.Equal(t, "e-1", got["entity"])
	})
}

func TestSystemThatVaultIs(t *testing.T) {
	testenv.Each(t, factory, func(t *testing.T, e *testenv.Env) {
		assert.Equal(t, map[string]any{"entity": false, "writable": true}, e.Read("x", as("system")).OK(t))
		e.System.AddEntity("e-1")
		e.System.SetReplication(consts.ReplicationPerformanceStandby)
		assert.Equal(t, map[string]any{"entity": true, "writable": false}, e.Read("x", as("system")).OK(t))
	})
}

func TestStorageFails(t *testing.T) {
	testenv.Each(t, factory, func(t *testing.T, e *testenv.Env) {
		e.Storage.FailWrite(2)
		e.Write("x", nil).OK(t)
		e.Write("x", nil).Refused(t, http.StatusInternalServerError, testenv.ErrStorage.Error())
		e.Write("x", nil).OK(t)
		assert.Equal(t, 3, e.Storage.Writes())
		e.Storage.FailWrites()
		e.Write("x", nil).Refused(t, http.StatusInternalServerError)
		e.Storage.Judge(nil)
		e.Storage.Forget()
		e.Write("x", nil).OK(t)
		require.Equal(t, []testenv.Access{{Op: "put", Key: "k"}}, e.Storage.History())
	})
}
