package acceptance

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

var refreshTo = regexp.MustCompile(`<meta http-equiv="refresh" content="\d+; ?url=([^"]+)"`)

// leadsTo gives the parameters of the address that a callback page leads on to by itself.
func leadsTo(t *testing.T, page *stack.Page) url.Values {
	t.Helper()
	target := refreshTo.FindStringSubmatch(page.Body)
	require.NotNil(t, target, page.Body)
	u, err := url.Parse(html.UnescapeString(target[1]))
	require.NoError(t, err)
	return u.Query()
}

// neutral is the page that gives nothing away: that of a state nobody ever made.
func (s *signIn) neutral(t *testing.T) string {
	t.Helper()
	page := get(t, s.callback("idp"), url.Values{"state": {"nobody-made-this"}, "code": {"x"}})
	require.Equal(t, http.StatusOK, page.Status)
	require.NotEmpty(t, page.Body)
	return page.Body
}

func TestExchangeRepeated(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	root := s.engine
	alice := root.logIn(t, "alice", everything)
	bob := root.logIn(t, "bob", everything)
	s.engine = alice.engine // who starts
	own := s.start(t, "own", map[string]any{"redirect_uri": s.app.url})
	ours := s.start(t, "self/ours", nil)
	requests := map[string]map[string]any{
		"own redirect": arguments(s.app.receive(t, stack.NewRobot(person), own["url"])),
		"callback":     {"flow_id": ours["flow_id"], "confirmation_code": s.arrive(t, person, ours)},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			for _, other := range []*engine{bob.engine, root} {
				other.refusesWrite(t, http.StatusForbidden, "started by somebody else", "exchange", request)
			}
			before := s.codesSpent(t)
			answers := make([]map[string]any, 3)
			for i := range answers {
				answers[i] = s.write(t, "exchange", request)
			}
			assert.Equal(t, "active", answers[0]["status"])
			assert.Equal(t, answers[0], answers[1])
			assert.Equal(t, answers[0], answers[2])
			assert.Equal(t, before+1, s.codesSpent(t))
			bob.refusesWrite(t, http.StatusForbidden, "started by somebody else", "exchange", request)
		})
	}
}

func TestWrongIssuer(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	const words = "did not come from the issuer that was asked"

	flow := s.start(t, "own", map[string]any{"redirect_uri": s.app.url})
	right := arguments(s.app.receive(t, stack.NewRobot(person), flow["url"]))
	wrong := map[string]any{"state": right["state"], "code": right["code"]}
	s.refusesWrite(t, http.StatusConflict, words, "exchange", wrong) // this server promises to send one
	wrong["iss"] = "https://attacker.example"
	s.refusesWrite(t, http.StatusConflict, words, "exchange", wrong)
	assert.Zero(t, s.codesSpent(t))
	assert.Equal(t, "active", s.write(t, "exchange", right)["status"])

	flow = s.start(t, "ours", nil)
	back := s.consent(t, person, flow)
	query := brought(back)
	query.Set("iss", "https://attacker.example")
	code := confirmationCode(t, get(t, s.callback("idp"), query))
	s.refusesWrite(t, http.StatusConflict, words, "exchange", map[string]any{
		"flow_id": flow["flow_id"], "confirmation_code": code,
	})
	assert.Equal(t, 1, s.codesSpent(t))
}

// It takes as long as the shortest flow there is.
func TestExpiredFlow(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it waits half a minute for a flow to expire")
	}
	t.Parallel()
	s := newSignIn(t)
	s.write(t, "config", map[string]any{"flow_ttl": "30s"})
	own := s.start(t, "own", map[string]any{"redirect_uri": s.app.url})
	parked := s.start(t, "parked", nil)
	late := s.start(t, "late", nil)
	requests := []map[string]any{
		arguments(s.app.receive(t, stack.NewRobot(person), own["url"])),
		{"flow_id": parked["flow_id"], "confirmation_code": s.arrive(t, person, parked)},
	}
	back := s.consent(t, person, late)
	require.Eventually(t, func() bool {
		answer, err := s.vault.Client.Logical().ReadWithContext(t.Context(), s.path+"/connections/late")
		return assert.NoError(t, err) && answer == nil
	}, time.Minute, 100*time.Millisecond, "what was pending is gone when its flow expires")

	assert.Equal(t, s.neutral(t), open(t, back).Body)
	for _, request := range requests {
		s.refusesWrite(t, http.StatusBadRequest, "no such flow, or it has expired", "exchange", request)
	}
	s.refusesRead(t, http.StatusBadRequest, "start one with auth-code-url/", "creds/late")
	assert.Zero(t, s.codesSpent(t))
}

func TestWrongConfirmationCodes(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	flow := s.start(t, "account", nil)
	request := map[string]any{"flow_id": flow["flow_id"]}
	s.refusesWrite(t, http.StatusConflict, "authorization_pending", "exchange", request)
	code := s.arrive(t, person, flow)
	s.refusesWrite(t, http.StatusBadRequest, "confirmation_code is missing", "exchange", request)
	for _, guess := range []string{"AAAA-AAAA", "AAAA-AAAC", "AAAA-AAAD", "AAAA-AAAE"} {
		request["confirmation_code"] = guess
		s.refusesWrite(t, http.StatusBadRequest, "does not match", "exchange", request)
	}
	request["confirmation_code"] = "AAAA-AAAF"
	s.refusesWrite(t, http.StatusConflict, "the flow is void", "exchange", request)
	request["confirmation_code"] = code
	s.refusesWrite(t, http.StatusBadRequest, "no such flow", "exchange", request)
	s.absent(t, "connections/account")
	assert.Zero(t, s.codesSpent(t))

	t.Run("typed by people", func(t *testing.T) {
		flow := s.start(t, "account", nil)
		typed := " " + strings.ToLower(s.arrive(t, person, flow)) + " "
		assert.Equal(t, "active", s.write(t, "exchange", map[string]any{
			"flow_id": flow["flow_id"], "confirmation_code": typed,
		})["status"])
	})
}

// Whoever starts a flow knows its state, and may read the code of a consent in an audit log. Not even both may show
// them the confirmation code, which is for the eyes of whoever consented.
func TestStateReplayed(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	neutral := s.neutral(t)
	flow := s.start(t, "account", nil)
	back := s.consent(t, person, flow)
	query := brought(back)
	code := confirmationCode(t, open(t, back))

	replay := func(t *testing.T) {
		t.Helper()
		for name, change := range map[string]func(url.Values){
			"the same":                func(url.Values) {},
			"another code":            func(q url.Values) { q.Set("code", "another") },
			"no code":                 func(q url.Values) { q.Del("code") },
			"an empty code":           func(q url.Values) { q.Set("code", "") },
			"a denial":                func(q url.Values) { q.Set("error", "access_denied") },
			"a denial without a code": func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") },
			"another state":           func(q url.Values) { q.Set("state", q.Get("state")+"x") },
		} {
			changed, err := url.ParseQuery(query.Encode())
			require.NoError(t, err)
			change(changed)
			assert.Equal(t, neutral, get(t, s.callback("idp"), changed).Body, name)
			posted, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.callback("idp"),
				strings.NewReader(changed.Encode()))
			require.NoError(t, err)
			posted.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			assert.Equal(t, neutral, open(t, posted).Body, "%s, posted", name)
		}
	}
	replay(t)
	metadata := s.write(t, "exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": code})
	assert.Equal(t, "active", metadata["status"])
	replay(t)

	t.Run("in a flow of their own", func(t *testing.T) {
		flow := s.start(t, "account", nil)
		query := brought(s.consent(t, person, flow))
		code := confirmationCode(t, get(t, s.callback("idp"), query))
		stolen, err := url.Parse(s.start(t, "thief", nil)["url"].(string))
		require.NoError(t, err)
		spent := s.codesSpent(t)
		theirs := url.Values{"state": {stolen.Query().Get("state")}, "code": query["code"], "iss": query["iss"]}
		assert.Equal(t, neutral, get(t, s.callback("idp"), theirs).Body)
		s.refusesWrite(t, http.StatusConflict, "another flow brought the same authorization code", "exchange",
			map[string]any{"flow_id": flow["flow_id"], "confirmation_code": code})
		assert.Equal(t, spent, s.codesSpent(t))
	})
	t.Run("first", func(t *testing.T) {
		flow := s.start(t, "trap", nil)
		back := s.consent(t, "bob", flow)
		query := brought(back)
		query.Set("code", "planted")
		code := confirmationCode(t, get(t, s.callback("idp"), query))
		assert.Equal(t, neutral, open(t, back).Body, "the one who consented second is shown nothing to hand out")
		s.refusesWrite(t, http.StatusConflict, "refused the code", "exchange", map[string]any{
			"flow_id": flow["flow_id"], "confirmation_code": code,
		})
		s.absent(t, "connections/trap")
	})
	t.Run("own redirect", func(t *testing.T) {
		flow := s.start(t, "own", map[string]any{"redirect_uri": s.app.url})
		brought := s.app.receive(t, stack.NewRobot(person), flow["url"])
		assert.Equal(t, neutral, get(t, s.callback("idp"), brought).Body, "such a flow does not end here")
	})
	t.Run("another provider", func(t *testing.T) {
		s.addProvider(t, "post", "post")
		flow := s.start(t, "mixed-up", nil)
		assert.Equal(t, neutral, get(t, s.callback("post"), brought(s.consent(t, person, flow))).Body)
		assert.Equal(t, "flow_open", s.read(t, "connections/mixed-up")["status_reason"])
	})
}
