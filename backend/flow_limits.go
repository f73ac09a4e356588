package backend

import (
	"context"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// fewFlows is how many flows an entity may have though the mount is full: others cannot keep anybody from connecting.
const fewFlows = 10

// allowance is whose flows count together: an entity's. Callers without one share an allowance, since whoever has a
// token makes as many child tokens as they like. Empty: nobody knows whose the flow is.
func allowance(caller string) string {
	if caller == "" || strings.HasPrefix(caller, entityPrefix) {
		return caller
	}
	return "without an entity"
}

// flowCount is how many flows there are, and of them an allowance's that have not expired.
type flowCount struct {
	open, over, all int
	links           int       // offered, and not among those that are open
	openEnd, end    time.Time // when the first of those expires: of the open ones, and of the others
	linksEnd        time.Time // likewise
}

func (b *backend) countFlows(ctx context.Context, who caller) (n flowCount, err error) {
	now, own := b.now(), allowance(who.id())
	err = b.flows.each(ctx, func(_ string, f openFlow) {
		n.all++
		switch {
		case allowance(f.caller) != own || !now.Before(f.expires):
		case f.ended || f.denied:
			n.over++
			n.end = earlier(n.end, f.expires)
		case f.link:
			n.links++
			n.linksEnd = earlier(n.linksEnd, f.expires)
		default:
			n.open++
			n.openEnd = earlier(n.openEnd, f.expires)
		}
	})
	asking := b.devices.asking(own)
	n.open, n.all = n.open+asking, n.all+asking
	if n.open > 0 && n.openEnd.IsZero() {
		n.openEnd = now
	}
	return n, err
}

// mayOpenFlow bounds what callers can pile up. It counts what the index knows of. A refusal is a 409: clients send
// that again by no means of their own.
func (b *backend) mayOpenFlow(ctx context.Context, who caller, config *store.Config) error {
	return b.mayOpen(ctx, who, config, false)
}

// mayOpen is mayOpenFlow, and the same for one that is a link.
func (b *backend) mayOpen(ctx context.Context, who caller, config *store.Config, link bool) error {
	n, err := b.countFlows(ctx, who)
	if err != nil {
		return err
	}
	you, advice := "you have", ""
	if who.entity == "" {
		you, advice = "callers without an entity together have", ", or log in by an auth method that gives an entity"
	}
	switch {
	case link && n.links >= config.OpenLinks():
		return conflict("%s %d links offered, as many as max_open_links on config allows: delete some that nobody needs, "+
			"or wait until they expire (the first at %s)%s", you, n.links, rfc3339(n.linksEnd), advice)
	case !link && n.open >= config.MaxOpenFlows:
		return conflict("%s %d flows open, as many as max_open_flows on config allows: finish some, or wait until "+
			"they expire (the first at %s)%s", you, n.open, rfc3339(n.openEnd), advice)
	case n.over >= config.EndedFlows():
		return conflict("%s %d flows that ended and are kept until they expire, as many as max_ended_flows on config "+
			"allows: wait until the first does at %s%s", you, n.over, rfc3339(n.end), advice)
	case n.all >= config.Flows() && (who.entity == "" || n.open+n.links+n.over >= fewFlows):
		return conflict("this mount has %d flows, as many as max_flows on config allows: wait until some have "+
			"expired, which is looked after once a minute, or have an operator raise it", n.all)
	}
	return nil
}
