package pages

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// ContentType is what a rendered page is served as.
const ContentType = "text/html; charset=utf-8"

// Outcome is what a callback came to, and so which page is shown.
type Outcome int

// The outcomes. The zero value gives nothing away.
const (
	Neutral Outcome = iota // unknown, used, expired or reloaded: one page, byte for byte, whatever else [Page] holds
	Confirm                // parked; the person carries the confirmation code to where they started
	Return                 // parked; the browser is led on to the application's return URL
	Done                   // parked; no code is asked for, the starter finishes with the flow id alone
	Denied                 // the person or the provider said no
	Back                   // the same; the browser is led on to the application's return URL, without a code

	Gone  // a link that is unknown, used up or expired: one page, whatever else [Page] holds
	Leave // of a link: the browser is led on to the provider's consent
	Tell  // of a link: parked; the person tells the confirmation code to who asked
)

// Page is one answer of the callback path, or of the path of links. Names may hold anything: they are cleaned, cut and
// escaped.
type Page struct {
	Outcome    Outcome
	Provider   string    // display name
	Connection string    // path below connections/, such as user/ann/slack
	StartedBy  string    // display name of who started the flow; empty: not shown
	StartedAt  time.Time // shown in UTC; zero: not shown

	Mount            string           // where the engine is mounted, for the command to type: Confirm, Done
	FlowID           string           // letters, digits, - and _: Confirm, Return, Done, Back
	ConfirmationCode providers.Secret // eight letters or digits: Confirm; Return unless the provider has confirm=false
	// Return, Back: allow-listed by the caller; flow_id and confirmation_code, or error, are added here
	ReturnURL string
	// Back: the error code, as RFC 6749 section 4.1.2.1 has it
	Denial string
	// Leave: where the consent is asked for
	ConsentURL string
}

// How many runes of a name are shown. The longest legal connection path, user/<128>/<64>, fits.
const (
	maxName = 80
	maxPath = 200
)

var (
	flowIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	codePattern   = regexp.MustCompile(`^[A-Z0-9]{8}$`)
	denialPattern = regexp.MustCompile(`^[a-z_]{1,64}$`)
	shellSafe     = regexp.MustCompile(`^[A-Za-z0-9_./@%+=:-]+$`)
)

// Render returns the page as a complete HTML document. It fails if a field that the outcome needs is missing or
// malformed, which is a mistake of the caller and not of the browser; show the [Neutral] page then.
func (p Page) Render() ([]byte, error) {
	v, err := p.view()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := documents[p.Outcome].Execute(&out, v); err != nil {
		return nil, fmt.Errorf("page: template of outcome %d: %w", p.Outcome, err)
	}
	return out.Bytes(), nil
}

// view is what the templates see: names that are fit to be shown, and nothing else of the page.
type view struct {
	Style      style
	Provider   string
	Connection string
	StartedBy  string
	StartedAt  *time.Time
	Code       string // grouped for the eye
	Command    string // finishes the flow
	ReturnURL  string
	ReturnHost string
}

func (p Page) view() (view, error) {
	v := view{Style: pageStyle}
	if p.Outcome == Neutral || p.Outcome == Gone {
		return v, nil
	}
	if _, known := documents[p.Outcome]; !known {
		return view{}, fmt.Errorf("page: outcome %d is unknown: use one of the constants", p.Outcome)
	}
	v.Provider = clean(p.Provider, maxName)
	v.Connection = clean(p.Connection, maxPath)
	v.StartedBy = clean(p.StartedBy, maxName)
	if v.Provider == "" || v.Connection == "" {
		return view{}, errors.New("page: provider and connection have no character that can be shown: pass both")
	}
	if !p.StartedAt.IsZero() {
		at := p.StartedAt.UTC()
		v.StartedAt = &at
	}
	switch p.Outcome {
	case Denied:
		return v, nil
	case Leave:
		u, err := returnURL(p.ConsentURL)
		if err != nil {
			return view{}, errors.New("page: the URL of the consent is neither https nor http to loopback, or names a user")
		}
		v.ReturnHost, v.ReturnURL = u.Host, u.String()
		return v, nil
	}

	if !flowIDPattern.MatchString(p.FlowID) {
		return view{}, errors.New("page: the flow id is empty or malformed: pass the one of the parked flow")
	}
	code := p.ConfirmationCode.Reveal()
	wantsCode := p.Outcome == Confirm || p.Outcome == Tell || p.Outcome == Return && code != ""
	if wantsCode && !codePattern.MatchString(code) {
		return view{}, errors.New("page: the confirmation code is not eight capital letters or digits: " +
			"pass the one of the parked flow")
	}
	switch p.Outcome {
	case Tell:
		v.Code = code[:4] + "-" + code[4:]
	case Confirm:
		v.Code = code[:4] + "-" + code[4:]
		v.Command = finishCommand(p.Mount, p.FlowID) + " confirmation_code=" + code
	case Done:
		v.Command = finishCommand(p.Mount, p.FlowID)
	case Return, Back:
		u, err := returnURL(p.ReturnURL)
		if err != nil {
			return view{}, err
		}
		v.ReturnHost = u.Host
		switch {
		case p.Outcome == Back && !denialPattern.MatchString(p.Denial):
			return view{}, errors.New("page: the denial is no error code: pass one of small letters and _")
		case p.Outcome == Back:
			v.ReturnURL = withFlow(u, p.FlowID, "error", p.Denial)
		default:
			v.ReturnURL = withFlow(u, p.FlowID, "confirmation_code", code)
		}
	}
	return v, nil
}

// finishCommand quotes the mount for a POSIX shell when it has to: people paste this line.
func finishCommand(mount, flowID string) string {
	path := strings.Trim(clean(mount, maxPath), "/") + "/exchange"
	if !shellSafe.MatchString(path) {
		path = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return "vault write " + path + " flow_id=" + flowID
}

// returnURL accepts https, and http to this very machine (RFC 8252 section 7.3). The caller has compared the URL with
// the allow-list; this keeps a lax list from turning the page into a script or a disclosure. The error does not repeat
// the URL.
func returnURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || !(u.Scheme == "https" || u.Scheme == "http" &&
		isLoopback(u.Hostname())) {
		return nil, errors.New("page: the return URL is neither https nor http to loopback, or names a user: mend " +
			"return_urls of the provider")
	}
	return u, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// withFlow leaves the allow-listed query as it is spelled, in front of which flow it is and what came of it, unless that
// is empty.
func withFlow(u *url.URL, flowID, name, value string) string {
	add := "flow_id=" + flowID
	if value != "" {
		add += "&" + name + "=" + value
	}
	if u.RawQuery != "" {
		add = u.RawQuery + "&" + add
	}
	next := *u
	next.RawQuery = add
	return next.String()
}
