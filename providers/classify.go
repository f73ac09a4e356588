package providers

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Reasons are the engine's own words for what went wrong; [Error.Reason] holds one of them or a word of the
// definition's failure rule.
const (
	ReasonRefused          = "refused"             // the provider said so with a code that is known
	ReasonBareUnauthorized = "bare_unauthorized"   // 401 on a token call, and no code
	ReasonUnexplained      = "unexplained_refusal" // an error answer without a code that is known
	ReasonRateLimited      = "rate_limited"
	ReasonServerError      = "server_error" // 5xx
	ReasonRedirected       = "redirected"   // 3xx, which is never followed

	ReasonTimeout           = "timeout"
	ReasonCanceled          = "canceled"
	ReasonConnectionRefused = "connection_refused"
	ReasonConnectionReset   = "connection_reset"
	ReasonConnectionClosed  = "connection_closed"
	ReasonDNS               = "dns"
	ReasonTLS               = "tls"
	ReasonNetwork           = "network"

	ReasonEmptyAnswer    = "empty_answer"
	ReasonHTMLAnswer     = "html_answer"
	ReasonUnreadable     = "unreadable_answer" // neither JSON nor a form
	ReasonAnswerTooLarge = "answer_too_large"
	ReasonNoAccessToken  = "no_access_token"
	ReasonUnusableToken  = "unusable_token" // too long, or with characters no header can carry
	ReasonGrantTooLarge  = "grant_too_large"

	ReasonNoEndpoint           = "no_endpoint"
	ReasonNoRevocationEndpoint = "no_revocation_endpoint"
	ReasonInsecureEndpoint     = "insecure_endpoint"
	ReasonIncompleteCall       = "incomplete_call" // a placeholder of the definition has no value
	ReasonClientAuth           = "client_auth_unsupported"
	ReasonNotRefreshable       = "not_refreshable"
	ReasonKindUnsupported      = "kind_unsupported"

	ReasonIssuerMismatch    = "issuer_mismatch"
	ReasonDiscoveryRefused  = "discovery_document_refused"
	ReasonCallbackMismatch  = "callback_mismatch"
	ReasonCallbackSignature = "callback_signature"
	ReasonIDTokenMissing    = "id_token_missing"
	ReasonIDTokenRefused    = "id_token_refused"
	ReasonNonceMismatch     = "nonce_mismatch"
	ReasonSubjectMismatch   = "subject_mismatch" // userinfo and id_token name two people
	ReasonCaptureMissing    = "capture_missing"
	ReasonAccountMissing    = "account_missing"
	ReasonTokenInactive     = "token_inactive" // the introspection endpoint does not know it
	ReasonResourcesUnread   = "resources_unreadable"
	ReasonDeviceUnusable    = "device_answer_unusable" // no code, or none that a person could be shown
	ReasonClocksDiffer      = "clocks_differ"          // what is signed tells the time, and the service's is another
	ReasonOtherLogin        = "other_login"            // SMTP 534: not by this mechanism or sort of password
	ReasonEncryptionWanted  = "encryption_wanted"      // SMTP 530 and 538
)

const maxRetryAfter = 24 * time.Hour // longer is a mistake, or a way to switch a provider off

// oauthCodes are the error codes the engine knows without a definition. Only these are repeated in an [Error].
var oauthCodes = map[string]Class{
	// RFC 6749 section 5.2
	"invalid_grant":          Rejected,
	"invalid_request":        Misconfigured,
	"invalid_client":         Misconfigured,
	"unauthorized_client":    Misconfigured,
	"unsupported_grant_type": Misconfigured,
	"invalid_scope":          Misconfigured,
	// RFC 6749 section 4.1.2.1: said by some token endpoints too
	"access_denied":             Rejected,
	"unsupported_response_type": Misconfigured,
	"server_error":              Transient,
	"temporarily_unavailable":   Transient,
	// OpenID Connect Core section 3.1.2.6: only the person can go on
	"interaction_required":       Rejected,
	"login_required":             Rejected,
	"account_selection_required": Rejected,
	"consent_required":           Rejected,
	// RFC 8707 section 2, RFC 7009 section 2.2.1
	"invalid_target":         Misconfigured,
	"unsupported_token_type": Misconfigured,
	// RFC 8628 section 3.5
	"authorization_pending": Transient,
	"slow_down":             RateLimited,
	"expired_token":         Rejected,
}

// codeInvalidToken is RFC 6750's word (section 3.1) for a token that is of no use, said by some revocation endpoints
// of one that is revoked already.
const codeInvalidToken = "invalid_token"

// group is the word by which failure rules name a kind of call.
type group string

const (
	groupToken   group = "token"
	groupRefresh group = "refresh"
	groupRevoke  group = "revoke"
	groupAPI     group = "api"
	groupKey     group = "key" // an API call that shows a key, not a token
)

func groupOf(step Step) group {
	switch step {
	case StepToken, StepUpgrade, StepDevice:
		return groupToken
	case StepRefresh:
		return groupRefresh
	case StepRevoke:
		return groupRevoke
	}
	return groupAPI
}

// classify says what a failed answer means. It is called only after the answer was found not to be a success. nil
// means that a rule of the definition calls it fine.
//
// The order is: redirects, the definition's rules, 429, OAuth codes, lost answers, Retry-After, 5xx, plain status. On
// a token call a 4xx without a known code, 401 included, is transient: gateways and firewalls answer so, and none of
// them can know that a grant is dead or an app unknown.
func classify(def *Definition, k call, r *reply, ok *OK, now time.Time) *Error {
	e := &Error{Step: k.step, Status: r.status}
	as := func(class Class, reason string) *Error {
		e.Class, e.Reason = class, reason
		switch class {
		case RateLimited, Transient, Unknown:
			e.RetryAfter = RetryAfter(r.header.Get("Retry-After"), now)
		}
		return e
	}
	if r.status >= 300 && r.status < 400 {
		return as(Transient, ReasonRedirected)
	}
	if rule, value := matchRule(def.Failures, k, r); rule != nil {
		if rule.Class == classFine {
			return nil
		}
		if slices.Contains(rule.Is, value) {
			e.Code = value
		}
		reason := rule.Reason
		if reason == "" {
			reason = ReasonRefused
		}
		return as(Class(rule.Class), reason)
	}
	if r.status == http.StatusTooManyRequests {
		return as(RateLimited, ReasonRateLimited)
	}
	code := lookupText(r.doc, "error")
	class, known := oauthCodes[code]
	if code == codeInvalidToken && k.group == groupRevoke {
		class, known = Rejected, true
	}
	token := k.group == groupToken || k.group == groupRefresh
	if known && r.status < 500 { // a 5xx with a code is still a server that is unwell
		e.Code, e.SaysNo = code, token && class == Misconfigured
		return as(class, ReasonRefused)
	}
	switch {
	case !known && lostAnswer(r.status) && token:
		return as(Unknown, ReasonServerError)
	case r.header.Get("Retry-After") != "":
		return as(RateLimited, ReasonRateLimited)
	case r.status >= 500:
		return as(Transient, ReasonServerError)
	case r.status == http.StatusUnauthorized && k.group == groupAPI:
		return as(Expired, ReasonRefused)
	case r.status == http.StatusUnauthorized && k.group == groupKey:
		return as(Rejected, ReasonRefused)
	case r.status == http.StatusForbidden && (k.group == groupAPI || k.group == groupKey):
		return as(Forbidden, ReasonRefused)
	case r.status == http.StatusRequestTimeout:
		return as(Transient, ReasonUnexplained)
	}
	no := saysNo(r)
	e.SaysNo = token && no
	switch {
	case r.status == http.StatusUnauthorized && k.group != groupRevoke && !no:
		return as(Transient, ReasonBareUnauthorized)
	case r.status >= 400, no, ok != nil && r.doc != nil && !ok.holds(r):
		return as(Transient, ReasonUnexplained) // a whole answer that says no, in words nobody told us
	}
	// A success status, and nothing in it to go by: whatever was sent may have been spent.
	return as(Unknown, r.unusable())
}

// saysNo reports whether an answer without a token holds what services tell errors by. Under a success status that is
// a member of such a name only: a status or code may as well say that all went well, and the token stand elsewhere.
func saysNo(r *reply) bool {
	members, _ := r.doc.(map[string]any)
	for name, value := range members {
		switch strings.ReplaceAll(strings.ToLower(name), "_", "") {
		case "error", "errors", "errorcode", "errcode", "errno":
		case "status", "code":
			if _, text := value.(string); r.status < 400 || !text {
				continue
			}
		default:
			continue
		}
		text, scalar := scalarText(value)
		list, _ := value.([]any)
		object, _ := value.(map[string]any)
		if scalar && text != "" && text != "0" && text != "false" || len(list) > 0 || len(object) > 0 {
			return true
		}
	}
	return false
}

// lostAnswer reports whether a gateway says that it passed the request on and lost what came back. Some say 502 also
// when they did not reach the origin; to take that for lost costs one request, and the reverse a person's reconnect.
func lostAnswer(status int) bool {
	switch status {
	case http.StatusBadGateway, http.StatusGatewayTimeout,
		// Cloudflare: an answer it cannot read, and none in time. 521 to 523, 525 and 526 never reached the origin
		520, 524:
		return true
	}
	return false
}

const classFine = "fine" // a failure rule's word for "no failure after all"

// matchRule finds the first rule that holds, and the value at its path.
func matchRule(rules []FailureRule, k call, r *reply) (*FailureRule, string) {
	for i := range rules {
		if value, ok := rules[i].matches(k, r); ok {
			return &rules[i], value
		}
	}
	return nil, ""
}

func (f *FailureRule) matches(k call, r *reply) (value string, ok bool) {
	if !slices.Contains(f.Step, string(k.step)) && !slices.Contains(f.Step, string(k.group)) &&
		(k.group != groupKey || !slices.Contains(f.Step, string(groupAPI))) {
		return "", false
	}
	if len(f.Status) > 0 && !slices.Contains(f.Status, r.status) {
		return "", false
	}
	if f.Path == "" {
		return "", len(f.Status) > 0 // a rule without any condition would swallow every failure
	}
	found, ok := lookup(r.doc, f.Path)
	if !ok {
		return "", false
	}
	value, scalar := scalarText(found)
	switch {
	case !scalar && (len(f.Is) > 0 || len(f.Not) > 0 || f.Match != ""):
		return "", false
	case len(f.Is) > 0 && !slices.Contains(f.Is, value):
		return "", false
	case slices.Contains(f.Not, value):
		return "", false
	case f.Match != "" && !matchWhole(f.Match, value):
		return "", false
	}
	return value, true
}

// matchWhole reports whether pattern matches all of s. A pattern that does not compile matches nothing.
func matchWhole(pattern, s string) bool {
	re, err := compileWhole(pattern)
	return err == nil && re.MatchString(s)
}

// RetryAfter reads the header of RFC 9110 section 10.2.3: seconds or a date. What cannot be read, and the past, is 0;
// more than a day is a day.
func RetryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		if seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}

// unanswered makes the error for a call that brought no answer at all. Whether anything was sent decides: what never
// left cannot have spent a grant.
func unanswered(step Step, err error, sent bool) *Error {
	class := Transient
	if sent {
		class = Unknown
	}
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err // the URL may carry a token in its query
	}
	return &Error{Class: class, Step: step, Reason: NetworkReason(err), cause: err}
}

// Refusal is an error of a [Doer] that would not send a request at all, such as to an address that nobody allowed. Its
// word becomes the reason: cause and next step, without a secret.
type Refusal interface {
	error
	Refused() string
}

// NetworkReason says why a request brought no answer, without its URL, which may hold a secret.
func NetworkReason(err error) string {
	var (
		timeout interface{ Timeout() bool }
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		refused Refusal
	)
	switch {
	case errors.As(err, &refused):
		return refused.Refused()
	case errors.Is(err, context.Canceled):
		return ReasonCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	case errors.As(err, &dns):
		return ReasonDNS
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert):
		return ReasonTLS
	case errors.Is(err, syscall.ECONNREFUSED):
		return ReasonConnectionRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ReasonConnectionReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ReasonConnectionClosed
	}
	return ReasonNetwork
}
