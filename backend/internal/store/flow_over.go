package store

import (
	"slices"
	"strings"
)

// maxOver is how large the entry of a flow may be that is over, in bytes as it is stored: there may be many of them.
const maxOver = 1 << 10

// Over reports whether nothing can be connected by the flow any more.
func (f *Flow) Over() bool {
	return f.Outcome != nil || f.Void || f.Parked != nil && f.Parked.Denied != ""
}

// Kept is what is stored of a flow. Of one that is over it is what answers a request that is sent again, and tells
// such a request from any other; the code and whatever it could be spent with are gone.
func (f *Flow) Kept() *Flow {
	if !f.Over() {
		return f
	}
	kept := &Flow{
		ID: f.ID, Key: f.Key, Provider: f.Provider, Created: Actor{Time: f.Created.Time}, Caller: f.Caller,
		Expires: f.Expires, OwnRedirect: f.OwnRedirect, SessionBinding: f.SessionBinding, Confirm: f.Confirm,
		Tries: f.Tries, Void: f.Void, Claimed: f.Claimed, unknown: f.unknown,
	}
	if d := f.Device; d != nil {
		kept.Kind, kept.Device = f.Kind, &Device{Ended: d.Ended}
	}
	if l := f.Link; l != nil {
		kept.Kind, kept.Link = f.Kind, &Link{Until: l.Until, Tries: l.Tries}
	}
	if p := f.Parked; p != nil {
		kept.Parked = &Parked{Time: p.Time, Denied: p.Denied, ConfirmationCode: p.ConfirmationCode}
	}
	if f.Outcome == nil {
		return kept
	}
	outcome := *f.Outcome
	outcome.Warnings = slices.Clone(outcome.Warnings)
	kept.Outcome = &outcome
	for {
		b, err := encodeFlow(kept)
		if excess := len(b) - maxOver; err != nil || excess <= 0 || !outcome.shorten(excess) {
			return kept
		}
	}
}

// shorten takes up to so many bytes from the texts, from the last warning first, and reports whether there was
// anything to take.
func (o *Outcome) shorten(by int) bool {
	if n := len(o.Warnings); n > 0 {
		if o.Warnings[n-1] = cut(o.Warnings[n-1], by); o.Warnings[n-1] == "" {
			o.Warnings = o.Warnings[:n-1]
		}
		return true
	}
	before := o.Failure
	o.Failure = cut(o.Failure, by)
	return o.Failure != before
}

// cut takes bytes from the end of a text, and marks that: half of them at most, since a text may be longer in an entry
// than it is. Nothing is left of a text that is short already.
func cut(text string, by int) string {
	const mark, short = "…", 16
	text = strings.TrimSuffix(text, mark)
	left := len(text) - min(by+len(mark), len(text)/2)
	if left < short {
		return ""
	}
	return strings.ToValidUTF8(text[:left], "") + mark
}
