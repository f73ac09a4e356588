package providers

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxToken    = 64 << 10                  // bytes; servers refuse headers far below this
	maxLifetime = 10 * 365 * 24 * time.Hour // a longer one is a mistake: a time in milliseconds, say

	// fallbackLifetime stands in for a lifetime that was told and cannot be read (negative, "soon"): such a token does
	// expire, and asking for a new one too early costs one request. Only a grant that can be refreshed gets it; any
	// other keeps its token until the service refuses it.
	fallbackLifetime = time.Hour

	maxScopes = 500
	maxScope  = 1024 // bytes of one scope
)

// tokenAnswer says how one token call is read: where things stand, when it is a success, and what an expiry that is
// not told means.
type tokenAnswer struct {
	paths    Answer
	ok       *OK
	lifetime Lifetime
	scopes   Scopes
	assumed  time.Duration // App.AssumedTTL
}

// askToken makes a token call. After a clean invalid_client, and then only, it is made once more with the former
// secret: the server has refused before it looked at the grant.
func (c *Client) askToken(ctx context.Context, app *App, res Resolved, k call,
	read tokenAnswer,
) (*Grant, any, *Error) {
	k.style, k.secret, k.group, k.issuer = res.ClientAuth, app.ClientSecret, groupOf(k.step), res.Issuer
	g, doc, failure := c.askTokenOnce(ctx, app, k, read)
	if failure.cleanInvalidClient() && !app.FormerSecret.IsZero() && usesSecret(k.style) &&
		app.styleWith(app.FormerSecret, k.style) != "" {
		k.secret = app.FormerSecret
		g, doc, failure = c.askTokenOnce(ctx, app, k, read)
	}
	return g, doc, failure
}

func (e *Error) cleanInvalidClient() bool {
	return e != nil && e.Class == Misconfigured && (e.Code == "invalid_client" || e.Reason == "invalid_client")
}

func (c *Client) askTokenOnce(ctx context.Context, app *App, k call, read tokenAnswer) (*Grant, any, *Error) {
	asked := c.now() // lifetimes count from here: the token was made no earlier, and so dies no earlier
	r, failure := c.send(ctx, app, k)
	if failure != nil {
		return nil, nil, failure
	}
	token, at, found := firstString(r.doc, orDefault(read.paths.AccessToken, "access_token"))
	if !read.ok.holds(r) || !found {
		failure = classify(app.Definition, k, r, read.ok, asked)
		if failure == nil { // a rule calls it fine, but a token call without a token is not
			failure = &Error{Class: Unknown, Step: k.step, Status: r.status, Reason: ReasonNoAccessToken}
		}
		return nil, nil, failure
	}
	refresh, _, _ := firstString(r.doc, orDefault(read.paths.RefreshToken, "refresh_token"))
	if !usableToken(token) || !usableToken(refresh) {
		return nil, nil, &Error{Class: Unknown, Step: k.step, Status: r.status, Reason: ReasonUnusableToken}
	}
	g := &Grant{
		AccessToken:  NewSecret(token),
		RefreshToken: NewSecret(refresh),
		TokenType:    tokenType(r.doc, at),
		Scopes:       read.scopeList(r.doc),
		Issued:       asked,
		Expires:      read.expiry(r.doc, asked, refresh != "" || k.step == StepRefresh),
	}
	g.RefreshExpires = after(asked, r.doc, read.paths.RefreshTTL)
	g.HardLimit = after(asked, r.doc, read.paths.HardTTL)
	return g, r.doc, nil
}

func orDefault(paths []string, name string) []string {
	if len(paths) == 0 {
		return []string{name}
	}
	return paths
}

// firstString returns the first text that is not empty, and its path. A number is no token.
func firstString(doc any, paths []string) (text, at string, found bool) {
	for _, p := range paths {
		value, _ := lookup(doc, p)
		if s, _ := value.(string); s != "" {
			return s, p, true
		}
	}
	return "", "", false
}

// usableToken refuses what no header could carry. Empty is usable: it says that there is none.
func usableToken(token string) bool {
	return len(token) <= maxToken && !hasControl(token)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// tokenType reads token_type where the access token stood. It is kept as spelled, known or not (RFC 6749 section 7.1);
// what could not be a type name is dropped.
func tokenType(doc any, tokenPath string) string {
	beside := "token_type"
	if dot := strings.LastIndexByte(tokenPath, '.'); dot >= 0 {
		beside = tokenPath[:dot+1] + beside
	}
	kind, _, _ := firstString(doc, []string{beside, "token_type"})
	if len(kind) > 256 || hasControl(kind) {
		return ""
	}
	return kind
}

// scopeList reads the granted scopes, as a text or a list. nil means that the answer names none, which RFC 6749
// section 5.1 lets stand for "as asked".
func (t *tokenAnswer) scopeList(doc any) []string {
	for _, p := range orDefault(t.paths.Scope, "scope") {
		value, ok := lookup(doc, p)
		if !ok {
			continue
		}
		if scopes := t.splitScopes(value); len(scopes) > 0 {
			return scopes
		}
	}
	return nil
}

func (t *tokenAnswer) splitScopes(value any) []string {
	var raw []string
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			if s, ok := item.(string); ok {
				raw = append(raw, s)
			}
		}
	case string:
		separator := t.scopes.Returned
		if separator == "" || separator == "list" {
			separator = t.scopes.Join
		}
		if separator != "" {
			v = strings.ReplaceAll(v, separator, " ")
		}
		raw = strings.Fields(v) // no scope has a blank (RFC 6749 section 3.3)
	}
	var scopes []string
	for _, s := range raw {
		s = strings.TrimSpace(s)
		if s == "" || len(s) > maxScope || hasControl(s) || slices.Contains(scopes, s) || len(scopes) == maxScopes {
			continue
		}
		scopes = append(scopes, s)
	}
	return scopes
}

// expiry says when the access token dies; zero: not by itself. In this order: what the answer tells; what the operator
// assumes for tokens that tell nothing; what the definition says of those; never. A lifetime that is told but makes no
// sense counts as not told, except that "never" cannot be meant.
func (t *tokenAnswer) expiry(doc any, asked time.Time, refreshable bool) time.Time {
	told := false
	for _, p := range t.paths.ExpiresAt {
		text := lookupText(doc, p)
		told = told || text != ""
		if at, readable := moment(text); readable && at.After(asked) {
			return earlier(at.UTC(), asked.Add(maxLifetime))
		}
	}
	for _, p := range orDefault(t.paths.ExpiresIn, "expires_in") {
		value, ok := lookup(doc, p)
		if !ok || value == "" {
			continue
		}
		told = true
		life, readable := seconds(value)
		switch {
		case readable && life > 0:
			return t.issued(doc, asked, life).Add(life)
		case readable && life == 0 && t.lifetime.Zero.Never:
			return time.Time{}
		case readable && life == 0 && t.lifetime.Zero.D > 0:
			return asked.Add(t.lifetime.Zero.D)
		}
		break // the first path that holds anything decides
	}
	switch {
	case t.assumed > 0:
		return asked.Add(t.assumed)
	case t.lifetime.Absent.D > 0:
		return asked.Add(t.lifetime.Absent.D)
	case told && refreshable:
		return asked.Add(fallbackLifetime)
	}
	return time.Time{}
}

// issued is the moment a lifetime counts from. A service that hands out the same token again counts from its first
// issue; its clock is believed only as far as it shortens the life and leaves some.
func (t *tokenAnswer) issued(doc any, asked time.Time, life time.Duration) time.Time {
	for _, p := range t.paths.IssuedAt {
		unix, err := strconv.ParseInt(lookupText(doc, p), 10, 64)
		if at := time.Unix(unix, 0).UTC(); err == nil && at.Before(asked) && at.Add(life).After(asked) {
			return at
		}
	}
	return asked
}

// moment reads a time as RFC 3339 has it, or as a whole number of Unix seconds; of milliseconds, where seconds would
// be more than three thousand years away.
func moment(text string) (at time.Time, readable bool) {
	const inSeconds = 100_000_000_000
	whole, _, _ := strings.Cut(text, ".")
	unix, err := strconv.ParseInt(whole, 10, 64)
	switch {
	case err != nil:
		at, err = time.Parse(time.RFC3339, text)
		return at, err == nil
	case unix >= inSeconds:
		return time.UnixMilli(unix), true
	}
	return time.Unix(unix, 0), true
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// after reads a lifetime at the first path that tells one; zero time: none told.
func after(from time.Time, doc any, paths []string) time.Time {
	for _, p := range paths {
		if value, ok := lookup(doc, p); ok {
			if life, readable := seconds(value); readable && life > 0 {
				return from.Add(life)
			}
		}
	}
	return time.Time{}
}

// seconds reads a lifetime: a number, whole or not, or the same as a string. Above ten years is ten years; below zero
// and what is no number cannot be read.
func seconds(value any) (life time.Duration, readable bool) {
	var text string
	switch v := value.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	default:
		return 0, false
	}
	if strings.Trim(text, "0123456789.eE+-") != "" {
		return 0, false // ParseFloat also knows "inf", "nan" and hexadecimal
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !math.IsInf(n, 1), n < 0:
		return 0, false
	case n >= maxLifetime.Seconds():
		return maxLifetime, true
	}
	return time.Duration(n * float64(time.Second)), true
}

// over lays what is set in l over base.
func (l Lifetime) over(base Lifetime) Lifetime {
	if l.Absent.Set {
		base.Absent = l.Absent
	}
	if l.Zero.Set {
		base.Zero = l.Zero
	}
	return base
}
