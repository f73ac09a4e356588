package providers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is told of an exchange has no value of either side, also not where one stands in a path, or as a name.
func TestTraceTellsNoValue(t *testing.T) {
	const secret = "5ecret-planted"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/broken") {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"error":%q,%q:1,"username":%q,"of_bot":2,%q:3}`, secret, secret, secret, strings.Repeat("x", 5000))
	}))
	defer server.Close()
	app := &App{
		Definition: &Definition{
			Endpoints: map[Step]Template{StepIdentity: "https://bot.example.com/bot{api_key}/getMe"},
			Account:   AccountSpec{ID: []string{"of_bot.id"}},
		},
		ClientID: secret, TokenParams: map[string]string{"secret": secret},
		Endpoints: map[Step]string{StepHealth: "https://bot.example.com/operators/way?" + secret},
	}
	var told []Exchange
	tracer := NewTracer(app, func(e Exchange) { told = append(told, e) })
	client := NewClient(server.Client(), time.Now, "")
	call := func(path, body string) Exchange {
		target, err := url.Parse(server.URL + path)
		require.NoError(t, err)
		told = nil
		header := http.Header{
			"Authorization": {"Bearer " + secret}, "X-" + secret: {secret},
			"Content-Type": {"application/x-www-form-urlencoded"},
		}
		_, _ = client.do(tracer.With(t.Context()), StepIdentity, http.MethodPost, target, header, []byte(body))
		require.Len(t, told, 1)
		assert.NotContains(t, fmt.Sprint(told), secret)
		assert.Less(t, len(fmt.Sprint(told)), 1000)
		return told[0]
	}
	got := call("/bot"+secret+"/getMe/operators/way?key="+secret+"&"+secret+"=1", "code="+secret+"&"+secret+"=1")
	assert.Equal(t, "/*/getMe/operators/way", got.Path)
	assert.Equal(t, []any{200, "", "", "json", "form"}, []any{
		got.Status, got.Code, got.Reason, got.AnswerIsA, got.SentForm,
	})
	assert.Equal(t, Names{[]string{"Authorization", "Content-Type", "code"}, 3}, got.Sent)
	assert.Equal(t, Names{[]string{"error", "of_bot", "username"}, 2}, got.Got)
	assert.Equal(t, strings.TrimPrefix(server.URL, "http://"), got.Host)

	broken := call("/"+secret+"/broken", "")
	assert.Equal(t, []any{"/*/*", 0, ReasonConnectionClosed, "empty"}, []any{
		broken.Path, broken.Status, broken.Reason, broken.SentForm,
	})
	deep := call("/"+strings.Repeat(secret+"/", 300), "")
	assert.Less(t, len(deep.Path), 100)
	encoded := call("/getMe%2F"+secret, "")
	assert.Equal(t, "/*", encoded.Path)
}

// The names of one side are bounded, and each is told once.
func TestTraceNames(t *testing.T) {
	tracer := NewTracer(&App{Definition: &Definition{}}, nil)
	var all []string
	for name := range ownWords {
		all = append(all, name, name)
	}
	n := tracer.names(all)
	assert.Len(t, n.Known, maxNames)
	assert.Equal(t, len(ownWords)-maxNames, n.Others)
	for body, form := range map[string]string{
		"": "empty", " ": "empty", "[]": "list", "{}": "json", `"x"`: "json", "<html>": "markup", "a=b": "form",
		"words": "other",
	} {
		assert.Equal(t, form, formOf([]byte(body)), body)
	}
}
