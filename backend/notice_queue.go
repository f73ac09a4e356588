package backend

import (
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

const (
	// maxSingles of one kind and provider are told one by one within foldTime. The others become one notice with their
	// number when it is over: which they are the inventory tells.
	maxSingles = 1000
	foldTime   = 10 * time.Minute

	// maxWaiting bounds what waits for storage in memory, some five megabytes. What comes then is counted too.
	maxWaiting = 5000
)

// noticeQueue holds the notices that are yet to be stored. It locks nothing.
type noticeQueue struct {
	waiting []store.Notice
	windows map[topic]*window
	counted int // so many were folded since this process began
}

// topic is what notices are counted by.
type topic struct{ kind, provider string }

// window is what came of one topic since it began.
type window struct {
	began   time.Time
	singles int
	more    int       // beyond those: they are only counted
	first   time.Time // of them
	last    time.Time
}

func topicOf(l *store.Notice) topic { return topic{l.Kind, l.Provider} }

// add enters a notice.
func (q *noticeQueue) add(l store.Notice, now time.Time) {
	w := q.window(topicOf(&l), now)
	if w.more == 0 && w.singles < maxSingles && len(q.waiting) < maxWaiting {
		w.singles++
		q.waiting = append(q.waiting, l)
		return
	}
	q.counted++
	if w.more++; w.more == 1 || l.Time.Before(w.first) {
		w.first = l.Time
	}
	if l.Time.After(w.last) {
		w.last = l.Time
	}
}

// window is the one of a topic that is open.
func (q *noticeQueue) window(t topic, now time.Time) *window {
	w := q.windows[t]
	if w != nil && !now.Before(w.began.Add(foldTime)) {
		q.end(t, w)
		w = nil
	}
	if w == nil {
		if q.windows == nil {
			q.windows = map[topic]*window{}
		}
		w = &window{began: now}
		q.windows[t] = w
	}
	return w
}

// end closes a window, and tells how many it counted.
func (q *noticeQueue) end(t topic, w *window) {
	delete(q.windows, t)
	if w.more == 0 {
		return
	}
	q.waiting = append(q.waiting, store.Notice{
		ID: randomNoticeID(), Time: w.last, Since: w.first, Kind: t.kind, Provider: t.provider, Verb: "count",
		Count: w.more,
	})
}

// settle closes the windows whose time is over, or all of them, and says when the next is to be closed that counts.
func (q *noticeQueue) settle(now time.Time, all bool) (next time.Time) {
	for t, w := range q.windows {
		switch {
		case all && w.more > 0, !now.Before(w.began.Add(foldTime)):
			q.end(t, w)
		case w.more > 0:
			next = earlier(next, w.began.Add(foldTime))
		}
	}
	return next
}

// since is when the first of what is counted and not told yet happened; zero: nothing is.
func (q *noticeQueue) since() (first time.Time) {
	for _, w := range q.windows {
		if w.more > 0 {
			first = earlier(first, w.first)
		}
	}
	return first
}

// pending is how many notices wait, with those that are counted.
func (q *noticeQueue) pending() int {
	n := len(q.waiting)
	for _, w := range q.windows {
		n += w.more
	}
	return n
}
