package refresh_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What the engine refused to send says neither that the provider is well nor that it is not.
func TestOutcomeOfWhatWasNotSent(t *testing.T) {
	refused := &providers.Error{Class: providers.Misconfigured, Status: 401, Code: "invalid_client"}
	got, _ := refresh.OutcomeOf(refused)
	assert.Equal(t, gate.AppRefused, got)
	refused.Status, refused.Code = 0, ""
	got, _ = refresh.OutcomeOf(refused)
	assert.Equal(t, gate.NotSent, got, "an input that is missing is the connection's matter")
	refused.Status, refused.Code = 401, ""
	refused.Code = providers.CodeNotSent
	got, _ = refresh.OutcomeOf(refused)
	assert.Equal(t, gate.NotSent, got)
}
