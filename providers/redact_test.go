package providers

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAppPrintsNoParameters(t *testing.T) {
	app := App{
		Definition: &Definition{ID: "acme"}, TokenParams: map[string]string{"assertion": "planted-parameter"},
		AuthorizeParams: map[string]string{"key": "planted-parameter"},
	}
	encoded, err := json.Marshal(map[string]any{"app": app, "pointer": &app})
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "app", app, "pointer", &app)
	for _, text := range []string{
		string(encoded), log.String(), fmt.Sprintf("%v %+v %#v %s", app, app, app, app),
		fmt.Sprintf("%v %+v %#v %s", &app, &app, &app, &app), fmt.Sprint([]App{app}, struct{ A App }{app}),
	} {
		assert.NotContains(t, text, "planted-parameter")
		assert.Contains(t, text, "app of acme")
	}
	assert.Equal(t, "app", App{}.String())
}
