package store

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What can be asked for is what can be told: a constant that its list lacks could not be filtered by.
func TestStatusesAndReasonsAreAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "status.go", nil, 0)
	require.NoError(t, err)
	constants := map[string][]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			value, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			of := v.Type.(*ast.Ident).Name
			constants[of] = append(constants[of], value)
		}
		return true
	})
	var statuses, reasons []string
	for _, s := range Statuses() {
		statuses = append(statuses, string(s))
	}
	for _, r := range Reasons() {
		reasons = append(reasons, string(r))
	}
	assert.Equal(t, map[string][]string{"Status": statuses, "Reason": reasons}, constants)
}

func TestStatus(t *testing.T) {
	const active, disabled, reconnect = StatusActive, StatusDisabled, StatusNeedsReconnect
	same, other, none := "pin", "other", ""
	for name, c := range map[string]struct {
		facts  Facts
		now    *string // the provider's fingerprint
		status Status
		reason Reason
	}{
		"nothing speaks against it": {Facts{}, &same, active, ""},
		"a time that is to come does not speak against it": {
			Facts{Limit: noon.Add(time.Nanosecond), End: noon.Add(time.Nanosecond)}, &same, active, "",
		},
		"a person is deleting it":                 {Facts{Deleting: true}, &same, disabled, ReasonDeleting},
		"it is being ended":                       {Facts{Ending: true}, &same, disabled, ReasonRevoking},
		"it was ended":                            {Facts{Refused: ReasonRevoked}, &same, reconnect, ReasonRevoked},
		"it was ended, and its provider is gone":  {Facts{Refused: ReasonRevoked}, nil, reconnect, ReasonRevoked},
		"a person switched it off":                {Facts{Disabled: true}, &same, disabled, ReasonDisabledByPerson},
		"the provider is gone":                    {Facts{}, nil, reconnect, ReasonProviderMissing},
		"the provider was pointed elsewhere":      {Facts{}, &other, reconnect, ReasonProviderChanged},
		"a provider with no fingerprint is there": {Facts{}, &none, reconnect, ReasonProviderChanged},
		"the provider refused it": {
			Facts{Refused: ReasonGrantRefused},
			&same, reconnect,
			ReasonGrantRefused,
		},
		"it did so after an answer was lost": {
			Facts{Refused: ReasonOutcomeUnknown}, &same, reconnect, ReasonOutcomeUnknown,
		},
		"it refused it after it lay idle":         {Facts{Refused: ReasonIdleLimit}, &same, reconnect, ReasonIdleLimit},
		"the first release saw the hard limit":    {Facts{Refused: ReasonHardLimit}, &same, reconnect, ReasonHardLimit},
		"the hard limit is reached at its moment": {Facts{Limit: noon}, &same, reconnect, ReasonHardLimit},
		"the hard limit is past":                  {Facts{Limit: noon.Add(-time.Hour)}, &same, reconnect, ReasonHardLimit},
		"it expires at its moment":                {Facts{End: noon}, &same, StatusExpired, ""},
		"a site is to be picked, whatever a check found": {
			Facts{Choosing: true, Invalid: ReasonTokenRefused}, &same, StatusPending, ReasonChoice,
		},
		"it expired": {Facts{End: noon.Add(-time.Hour)}, &same, StatusExpired, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.facts.Pinned = same
			status, reason := c.facts.Status(c.now, noon)
			assert.Equal(t, []any{c.status, c.reason}, []any{status, reason})
		})
	}

	t.Run("each fact hides those behind it, and wipes none", func(t *testing.T) {
		f := Facts{
			Deleting: true, Ending: true, Disabled: true, Pinned: same, Refused: ReasonIdleLimit, Limit: noon, End: noon, Choosing: true,
		}
		var fingerprint *string
		for _, step := range []struct {
			status Status
			reason Reason
			undo   func()
		}{
			{StatusDisabled, ReasonDeleting, func() { f.Deleting = false }},
			{StatusDisabled, ReasonRevoking, func() { f.Ending = false }},
			{StatusDisabled, ReasonDisabledByPerson, func() { f.Disabled = false }},
			{StatusNeedsReconnect, ReasonProviderMissing, func() { fingerprint = &other }},
			{StatusNeedsReconnect, ReasonProviderChanged, func() { fingerprint = &same }},
			{StatusNeedsReconnect, ReasonIdleLimit, func() { f.Refused = "" }},
			{StatusNeedsReconnect, ReasonHardLimit, func() { f.Limit = time.Time{} }},
			{StatusExpired, "", func() { f.End = time.Time{} }},
			{StatusPending, ReasonChoice, func() { f.Choosing = false }},
			{StatusActive, "", func() {}},
		} {
			status, reason := f.Status(fingerprint, noon)
			assert.Equal(t, []any{step.status, step.reason}, []any{status, reason})
			step.undo()
		}
	})
}

func TestFacts(t *testing.T) {
	limited := func(c *Connection) {
		c.Grant.Expires, c.Grant.HardLimit = noon.Add(time.Hour), noon.Add(2*time.Hour)
	}
	key := func(c *Connection) { c.AdoptKey(nil, "pin", noon) }
	fail := func(f Failure) func(*Connection) { return func(c *Connection) { c.RefreshFailed(f, noon) } }
	disable, del := func(c *Connection) { decide(c, true, ann) }, func(c *Connection) { c.Delete(noon) }
	for name, c := range map[string]struct {
		change    func(*Connection)
		renewable bool
		want      Facts
	}{
		"a grant that can be renewed has no end of its own": {
			limited, true, Facts{Pinned: "pin", Limit: noon.Add(2 * time.Hour)},
		},
		"a grant that nothing can renew ends with its token": {
			limited, false, Facts{Pinned: "pin", Limit: noon.Add(2 * time.Hour), End: noon.Add(time.Hour)},
		},
		"a grant without times has none": {func(*Connection) {}, false, Facts{Pinned: "pin"}},
		"a key has no times":             {func(c *Connection) { limited(c); key(c) }, false, Facts{Pinned: "pin"}},
		"a refusal":                      {fail(rejected), true, Facts{Pinned: "pin", Refused: ReasonGrantRefused}},
		"a failure alone":                {fail(transient), true, Facts{Pinned: "pin"}},
		"switched off":                   {disable, true, Facts{Pinned: "pin", Disabled: true}},
		"on again":                       {func(c *Connection) { disable(c); decide(c, false, ann) }, true, Facts{Pinned: "pin"}},
		"being deleted":                  {del, true, Facts{Pinned: "pin", Deleting: true}},
		"being deleted and off": {
			func(c *Connection) { disable(c); del(c) }, true, Facts{Pinned: "pin", Disabled: true, Deleting: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected()
			c.change(conn)
			assert.Equal(t, c.want, conn.Facts(c.renewable))
		})
	}
}

// What a person switches on again, or an operator points back, is found as it was.
func TestStatusComesBackAsItWas(t *testing.T) {
	for name, change := range map[string]func(*Connection){
		"active":                 func(*Connection) {},
		"refused":                func(c *Connection) { c.RefreshFailed(rejected, noon) },
		"refused after a loss":   func(c *Connection) { c.Attempt.Unknown = true; c.RefreshFailed(rejected, noon) },
		"past its hard limit":    func(c *Connection) { c.Grant.HardLimit = noon },
		"expired":                func(c *Connection) { c.Grant.Expires = noon },
		"a key":                  func(c *Connection) { c.AdoptKey(nil, "pin", noon) },
		"refused, limit reached": func(c *Connection) { c.Grant.HardLimit = noon; c.RefreshFailed(rejected, noon) },
	} {
		t.Run(name, func(t *testing.T) {
			c := connected()
			change(c)
			same, other := c.Pinned, "other"
			status, reason := c.Facts(false).Status(&same, noon)
			since := c.Since(status, reason)

			decide(c, true, bob)
			s, _ := c.Facts(false).Status(&same, noon)
			assert.Equal(t, StatusDisabled, s)
			for _, fingerprint := range []*string{nil, &other} {
				s, r := c.Facts(false).Status(fingerprint, noon)
				assert.Equal(t, []any{StatusDisabled, ReasonDisabledByPerson}, []any{s, r}, "what a person decided goes first")
			}
			decide(c, false, bob)
			for _, fingerprint := range []*string{nil, &other} {
				s, _ := c.Facts(false).Status(fingerprint, noon)
				assert.Equal(t, StatusNeedsReconnect, s)
			}
			s, r := c.Facts(false).Status(&same, noon)
			assert.Equal(t, []any{status, reason}, []any{s, r})
			if status == StatusActive {
				since = bob.Time // it serves since then
			}
			assert.Equal(t, since, c.Since(s, r))
		})
	}
}

func TestSince(t *testing.T) {
	type event = func(*Connection)
	hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	off := func(n int) event { return func(c *Connection) { decide(c, true, Actor{Time: hour(n)}) } }
	on := func(n int) event { return func(c *Connection) { decide(c, false, Actor{Time: hour(n)}) } }
	del := func(n int) event { return func(c *Connection) { c.Delete(hour(n)) } }
	fail := func(f Failure, n int) event { return func(c *Connection) { c.RefreshFailed(f, hour(n)) } }
	refresh := func(n int) event { return func(c *Connection) { c.Refreshed(grantOf("a2", "r2"), hour(n)) } }
	adopt := func(pinned string, n int) event {
		return func(c *Connection) { c.Adopt(grantOf("a2", "r2"), pinned, hour(n)) }
	}
	imports := func(n int) event { return func(c *Connection) { c.AdoptImport(grantOf("a2", "r2"), "pin", hour(n)) } }
	key := func(pinned string, n int) event { return func(c *Connection) { c.AdoptKey(nil, pinned, hour(n)) } }
	limited := func(n int) event { return func(c *Connection) { c.Grant.HardLimit = hour(n) } }
	expires := func(n int) event {
		return func(c *Connection) { c.Grant.RefreshToken, c.Grant.Expires = providers.Secret{}, hour(n) }
	}
	changed := "other"
	for name, c := range map[string]struct {
		events []event // after it was connected at noon, with pin
		seen   *string // the provider's fingerprint; nil: what the connection has
		want   time.Time
	}{
		"connected, it is active since then": {nil, nil, noon},
		"a refresh does not begin it anew":   {[]event{refresh(1)}, nil, noon},
		"nor does a failure":                 {[]event{fail(transient, 1)}, nil, noon},
		"nor another consent":                {[]event{adopt("pin", 1)}, nil, noon},
		"refused, since the refusal":         {[]event{fail(rejected, 1)}, nil, hour(1)},
		"reconnected, since the reconnect":   {[]event{fail(rejected, 1), adopt("pin", 2)}, nil, hour(2)},
		"reconnected by a key":               {[]event{fail(rejected, 1), key("pin", 2)}, nil, hour(2)},
		"reconnected by an import":           {[]event{fail(rejected, 1), imports(2)}, nil, hour(2)},
		"switched off, since that":           {[]event{off(1)}, nil, hour(1)},
		"switched on, since that":            {[]event{off(1), on(2)}, nil, hour(2)},
		"switched on, then reconnected":      {[]event{off(1), on(2), fail(rejected, 3), adopt("pin", 4)}, nil, hour(4)},
		"switched off while refused":         {[]event{fail(rejected, 1), off(2)}, nil, hour(2)},
		"switched on while refused":          {[]event{fail(rejected, 1), off(2), on(3)}, nil, hour(1)},
		"reconnected, then switched on":      {[]event{fail(rejected, 1), off(2), adopt("pin", 3), on(4)}, nil, hour(4)},
		"being deleted, since that":          {[]event{del(1)}, nil, hour(1)},
		"being deleted after switched off":   {[]event{off(1), del(2)}, nil, hour(2)},
		"expired, since that":                {[]event{expires(3)}, nil, hour(3)},
		"expired, then given anew":           {[]event{expires(1), adopt("pin", 2)}, nil, hour(2)},
		"given anew before it expired":       {[]event{expires(3), adopt("pin", 2)}, nil, noon},

		"past its hard limit, since that":   {[]event{limited(9)}, nil, hour(9)},
		"refused and past its hard limit":   {[]event{limited(2), fail(rejected, 1)}, nil, hour(1)},
		"reconnected after its hard limit":  {[]event{limited(1), adopt("pin", 2)}, nil, hour(2)},
		"reconnected before its hard limit": {[]event{limited(3), adopt("pin", 2)}, nil, noon},
		"a key after its hard limit":        {[]event{limited(1), key("pin", 2)}, nil, hour(2)},
		"the first release's hard limit": {
			[]event{func(c *Connection) { c.Refused = Refusal{ReasonHardLimit, hour(1)} }}, nil, hour(1),
		},

		"the provider was changed, who knows when":   {nil, &changed, time.Time{}},
		"refused, then the provider was changed":     {[]event{fail(rejected, 1)}, &changed, time.Time{}},
		"reconnected after the provider was changed": {[]event{adopt("other", 2)}, nil, hour(2)},
		"a key after the provider was changed":       {[]event{key("other", 2)}, nil, hour(2)},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected()
			for _, happens := range c.events {
				happens(conn)
			}
			seen := &conn.Pinned
			if c.seen != nil {
				seen = c.seen
			}
			status, reason := conn.Facts(false).Status(seen, hour(9))
			assert.Equal(t, c.want, conn.Since(status, reason), "%s %s", status, reason)
		})
	}
	t.Run("the provider is gone, who knows when", func(t *testing.T) {
		c := connected()
		status, reason := c.Facts(true).Status(nil, noon)
		assert.Zero(t, c.Since(status, reason))
	})
}
