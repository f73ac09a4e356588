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
	refused := &providers.Error{Class: providers.Misconfigured}
	got, _ := refresh.OutcomeOf(refused)
	assert.Equal(t, gate.Answered, got)
	refused.Code = providers.CodeNotSent
	got, _ = refresh.OutcomeOf(refused)
	assert.Equal(t, gate.NotSent, got)
}
