package providertest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// StepPoll is the step of the polls of a device flow, for [Server.Next] and [Server.Requests].
const StepPoll providers.Step = "poll"

const grantDevice = "urn:ietf:params:oauth:grant-type:device_code"

// What the server tells of its device codes.
const (
	DeviceLife     = 15 * time.Minute
	DeviceInterval = 5 * time.Second
)

// deviceAsked is a device code that was issued. It is spent by the first poll after the consent.
type deviceAsked struct {
	user, scope string
	expires     time.Time
	polled      time.Time // last; zero: never
	interval    time.Duration
	agreed      bool
	denied      bool
	spent       bool
}

// deviceAuthorization serves RFC 8628 section 3.1.
func (s *Server) deviceAuthorization(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authenticated(r) {
		fail(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	code, user := s.mint("device"), strings.ToUpper(s.mint("user"))
	s.devices[code] = &deviceAsked{
		user: user, scope: r.Form.Get("scope"), expires: s.now().Add(DeviceLife), interval: DeviceInterval,
	}
	answer(w, map[string]any{
		"device_code": code, "user_code": user, "verification_uri": s.URL + "/activate",
		"verification_uri_complete": s.URL + "/activate?user_code=" + user,
		"expires_in":                int(DeviceLife.Seconds()), "interval": int(DeviceInterval.Seconds()),
	})
}

// poll serves RFC 8628 section 3.4. Whoever polls faster than agreed is told so, and waits longer from then on. The
// caller holds mu.
func (s *Server) poll(w http.ResponseWriter, form url.Values) {
	d, now := s.devices[form.Get("device_code")], s.now()
	if d == nil || d.spent {
		fail(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	early := !d.polled.IsZero() && now.Before(d.polled.Add(d.interval))
	d.polled = now
	switch {
	case early:
		d.interval += 5 * time.Second
		fail(w, http.StatusBadRequest, "slow_down")
	case !now.Before(d.expires):
		fail(w, http.StatusBadRequest, "expired_token")
	case d.denied:
		fail(w, http.StatusBadRequest, "access_denied")
	case !d.agreed:
		fail(w, http.StatusBadRequest, "authorization_pending")
	default:
		d.spent = true
		f := &family{scope: d.scope, current: s.mint("refresh")}
		s.grants[f.current] = f
		tokens := s.issue(f, f.scope)
		tokens["refresh_token"] = f.current
		if strings.Contains(" "+d.scope+" ", " openid ") {
			tokens["id_token"] = s.idToken("")
		}
		answer(w, tokens)
	}
}

// Agree plays the person who types a user code and agrees.
func (s *Server) Agree(tb testing.TB, user string) {
	tb.Helper()
	s.decide(tb, user, func(d *deviceAsked) { d.agreed = true })
}

// Deny plays the person who types a user code and says no.
func (s *Server) Deny(tb testing.TB, user string) {
	tb.Helper()
	s.decide(tb, user, func(d *deviceAsked) { d.denied = true })
}

func (s *Server) decide(tb testing.TB, user string, change func(*deviceAsked)) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.user == user {
			change(d)
			return
		}
	}
	tb.Fatalf("nobody was given the code %s", user)
}
