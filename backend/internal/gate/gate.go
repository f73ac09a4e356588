package gate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	atOnce       = 64 // calls inside, in all
	atOnceOfKey  = 16 // of one key
	people       = 8  // of all places, kept for people
	peopleOfKey  = 4  // of each key's places, kept for people
	waitingOfKey = 1000
)

// Places is how many calls of one key may be inside that no person asked for.
const Places = atOnceOfKey - peopleOfKey

// PlacesInAll is Places of all keys together.
const PlacesInAll = atOnce - people

// Class says who asked for a call, and with it who goes first.
type Class int

// The classes, the first one first.
const (
	Person     Class = iota // somebody waits for this very call
	Reader                  // applications wait for its outcome
	Background              // nobody waits
	classes
)

// Visit is one call that wants to be made.
type Visit struct {
	Key        string // of the provider
	Connection string // that it is made for
	Account    string // whose it is; connections of one account fail together
	// who chose what is called, where that is not the provider's: it may be slow at will, so whoever chose it has no more
	// places than are kept for people
	Chooser string
	// the connection had a success before: only then does its failure say something about the provider
	Worked bool
	Class  Class
}

// Outcome is what came of a call, as far as it concerns the provider.
type Outcome int

// The outcomes.
const (
	NotSent    Outcome = iota // it says nothing
	Succeeded                 // the provider is well
	Answered                  // it refused this very request, so it is well too
	Failed                    // it is down, or its answer did not arrive
	Limited                   // it asked to be left alone
	AppRefused                // it is well, and refuses the app: another account would hear the same
	Doubtful                  // it is well, and says the same though another account heard otherwise meanwhile
)

// ErrClosed is what visitors get once the gate is closed.
var ErrClosed = errors.New("the engine is shutting down on this node; try again")

// Refused is why a visitor may not enter.
type Refused struct {
	Key   string
	State State     // Resting, Down, Refusing or Busy
	Until time.Time // not before; zero with Busy
}

func (e *Refused) Error() string {
	return fmt.Sprintf("%s is not to be called now: %s", e.Key, e.State)
}

// Gate lets calls to providers pass.
type Gate struct {
	now       func() time.Time
	recovered func(key string, connections []string)

	mu     sync.Mutex
	closed bool
	keys   map[string]*door // guarded by mu
	turn   []*door          // guarded by mu; doors with somebody waiting, the next one first
	inside int              // guarded by mu
	others int              // guarded by mu; of those inside, the ones that no person asked for
}

// door is what the gate knows of one key. All of it is guarded by Gate.mu.
type door struct {
	key     string
	inside  int
	others  int            // of those inside, the ones that no person asked for
	people  map[string]int // of those inside, the ones that a person asked for, by account
	chosen  map[string]int // of those inside, the ones of each chooser
	waiting [classes][]*visitor
	queued  bool // it has a place in Gate.turn
	health  health
}

// visitor is one who waits.
type visitor struct {
	Visit
	since time.Time
	probe bool       // it was let in as one
	told  chan error // gets one value
}

// Pass is the right to make one call, and to repeat it.
type Pass struct {
	gate    *Gate
	door    *door
	visit   Visit
	entered time.Time
	probe   bool // guarded by Gate.mu
	told    bool // guarded by Gate.mu; what came of the call was said
	once    sync.Once
}

// New makes a gate that is open. recovered is told of the connections that failed while a provider was down, when it
// answers again: what they wait for is over. It may be nil.
func New(now func() time.Time, recovered func(key string, connections []string)) *Gate {
	if recovered == nil {
		recovered = func(string, []string) {}
	}
	return &Gate{now: now, recovered: recovered, keys: map[string]*door{}}
}

// Enter waits for a place as long as ctx lasts. Give the pass back with Leave. The error is a [*Refused], [ErrClosed],
// or ctx's.
func (g *Gate) Enter(ctx context.Context, v Visit) (*Pass, error) {
	g.mu.Lock()
	d := g.door(v.Key)
	w := &visitor{Visit: v, since: g.now(), told: make(chan error, 1)}
	switch refused := d.health.refuses(v, w.since); {
	case g.closed:
		g.mu.Unlock()
		return nil, ErrClosed
	case refused != nil:
		g.mu.Unlock()
		return nil, refused
	case d.count() >= waitingOfKey && !g.place(d, v): // people need not wait where others do
		g.mu.Unlock()
		return nil, &Refused{Key: v.Key, State: Busy}
	}
	if !d.queued {
		d.queued = true
		g.turn = append(g.turn, d)
	}
	d.waiting[v.Class] = append(d.waiting[v.Class], w)
	g.admit()
	g.mu.Unlock()

	select {
	case err := <-w.told:
		return g.pass(w, err)
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case err := <-w.told: // it was let in, or turned away, as it gave up
		if err == nil {
			g.left(d, w.Visit, w.probe)
			g.admit()
		}
	default:
		d.waiting[w.Class] = slices.DeleteFunc(d.waiting[w.Class], func(x *visitor) bool { return x == w })
	}
	return nil, ctx.Err()
}

func (g *Gate) pass(w *visitor, err error) (*Pass, error) {
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return &Pass{gate: g, door: g.door(w.Key), visit: w.Visit, entered: g.now(), probe: w.probe}, nil
}

// Leave gives the place back and says what came of the call, unless Tell did. retryAfter goes with Limited. Only the
// first one counts, so it may be deferred with NotSent.
func (p *Pass) Leave(o Outcome, retryAfter time.Duration) {
	p.once.Do(func() {
		p.gate.mu.Lock()
		p.gate.left(p.door, p.visit, p.probe)
		p.probe = false
		p.gate.mu.Unlock()
		p.Tell(o, retryAfter)
	})
}

// Tell says what came of the call and keeps the place, for further calls beside it. Others need not wait for those if
// it was a probe. Only the first one counts.
func (p *Pass) Tell(o Outcome, retryAfter time.Duration) {
	g := p.gate
	g.mu.Lock()
	var recovered []string
	if !p.told {
		p.told = true
		recovered = p.door.health.learn(p.visit, p.entered, o, retryAfter, g.now())
	}
	if p.probe {
		p.probe = false
		p.door.health.probing--
	}
	g.turnAway(p.door)
	g.admit()
	g.turnAway(p.door) // who waits behind a probe would wait for longer
	g.mu.Unlock()
	if len(recovered) > 0 {
		g.recovered(p.visit.Key, recovered)
	}
}

// Promote lets a call that waits for a connection go before others, since v's class waits for it too now.
func (g *Gate) Promote(v Visit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.keys[v.Key]
	if d == nil {
		return
	}
	for class := v.Class + 1; class < classes; class++ {
		i := slices.IndexFunc(d.waiting[class], func(w *visitor) bool { return w.Connection == v.Connection })
		if i < 0 {
			continue
		}
		w := d.waiting[class][i]
		d.waiting[class] = slices.Delete(d.waiting[class], i, i+1)
		w.Class = v.Class
		d.waiting[v.Class] = append(d.waiting[v.Class], w)
		g.admit()
		return
	}
}

// left takes one out. It is called under mu.
func (g *Gate) left(d *door, v Visit, probe bool) {
	g.inside--
	d.inside--
	if d.chosen[v.Chooser]--; d.chosen[v.Chooser] == 0 {
		delete(d.chosen, v.Chooser)
	}
	if probe {
		d.health.probing--
	}
	if v.Class != Person {
		g.others--
		d.others--
	} else if d.people[v.Account]--; d.people[v.Account] == 0 {
		delete(d.people, v.Account)
	}
}

// admit lets in whoever may enter: class by class, and among the doors each in turn. A door that is passed over keeps
// its turn. It is called under mu.
func (g *Gate) admit() {
	for class := range classes {
		for i := 0; i < len(g.turn); {
			d := g.turn[i]
			switch {
			case d.count() == 0:
				d.queued = false
				g.turn = slices.Delete(g.turn, i, i+1)
			case g.admitOne(d, class):
				g.turn = append(slices.Delete(g.turn, i, i+1), d)
			default:
				i++
			}
		}
	}
}

// admitOne lets in the first one of a class for whom there is a place, if there is any. It is called under mu.
func (g *Gate) admitOne(d *door, class Class) bool {
	i := slices.IndexFunc(d.waiting[class], func(w *visitor) bool { return g.place(d, w.Visit) })
	if i < 0 {
		return false
	}
	w := d.waiting[class][i]
	d.waiting[class] = slices.Delete(d.waiting[class], i, i+1)
	if refused := d.health.refuses(w.Visit, g.now()); refused != nil {
		w.told <- refused
		return true
	}
	if w.probe = d.health.halfOpen(); w.probe {
		d.health.probing++
	}
	g.inside++
	d.inside++
	d.chosen[w.Chooser]++
	if class != Person {
		g.others++
		d.others++
	} else {
		d.people[w.Account]++
	}
	w.told <- nil
	return true
}

// place reports whether there is a place for a visitor. One account has as many of people's as are kept for people, so
// that nobody takes all. It is called under mu.
func (g *Gate) place(d *door, v Visit) bool {
	if g.inside >= atOnce || d.inside >= atOnceOfKey || v.Chooser != "" && d.chosen[v.Chooser] >= peopleOfKey {
		return false
	}
	if v.Class == Person {
		return d.people[v.Account] < peopleOfKey
	}
	return g.others < PlacesInAll && d.others < Places
}

// turnAway tells those who wait that they would wait for longer than a place takes. It is called under mu.
func (g *Gate) turnAway(d *door) {
	now := g.now()
	for class := range d.waiting {
		d.waiting[class] = slices.DeleteFunc(d.waiting[class], func(w *visitor) bool {
			refused := d.health.refuses(w.Visit, now)
			if refused != nil {
				w.told <- refused
			}
			return refused != nil
		})
	}
}

// Close lets nobody in any more and turns away who waits. Who is inside leaves as ever.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, d := range g.keys {
		for class, waiting := range d.waiting {
			for _, w := range waiting {
				w.told <- ErrClosed
			}
			d.waiting[class] = nil
		}
	}
}

// Room tells the background how many calls of a key may be under way now, and when to look again; zero: when somebody
// leaves.
func (g *Gate) Room(key string) (places int, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.keys[key]
	if d == nil {
		return Places, time.Time{}
	}
	return d.health.room(g.now())
}

// Refuses says why a visitor would not be let in now, or nil. It changes nothing.
func (g *Gate) Refuses(v Visit) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	if d := g.keys[v.Key]; d != nil {
		if refused := d.health.refuses(v, g.now()); refused != nil {
			return refused
		}
	}
	return nil
}

// Excuses reports whether the connection's last failure was part of an outage of the key that is over: then it is no
// reason to wait any longer, once.
func (g *Gate) Excuses(key, connection string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.keys[key]
	return d != nil && d.health.excused[connection]
}

// Lift forgets what speaks against calls of a key: an operator changed what it stands for. Of an app that was refused,
// one call shows whether it is taken now.
func (g *Gate) Lift(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.keys[key]; d != nil {
		d.health.lift(g.now())
	}
}

// Report is how the gate fares.
type Report struct {
	Inside      int
	Waiting     int
	LongestWait time.Duration     // of those who wait now
	Unwell      map[string]Unwell // keys that are left alone
}

// Unwell is a key that is left alone.
type Unwell struct {
	State State
	Until time.Time // then it is probed
}

// Report tells how the gate fares now.
func (g *Gate) Report() Report {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	r := Report{Inside: g.inside, Unwell: map[string]Unwell{}}
	for _, key := range slices.Sorted(maps.Keys(g.keys)) {
		d := g.keys[key]
		r.Waiting += d.count()
		for _, waiting := range d.waiting {
			if len(waiting) > 0 {
				r.LongestWait = max(r.LongestWait, now.Sub(waiting[0].since))
			}
		}
		if state, until := d.health.state(now); state != Well {
			r.Unwell[key] = Unwell{state, until}
		}
	}
	return r
}

// door gives what is known of a key. It is called under mu.
func (g *Gate) door(key string) *door {
	d := g.keys[key]
	if d == nil {
		d = &door{key: key, people: map[string]int{}, chosen: map[string]int{}}
		g.keys[key] = d
	}
	return d
}

// count is how many wait.
func (d *door) count() (n int) {
	for _, waiting := range d.waiting {
		n += len(waiting)
	}
	return n
}

// State is how a key stands, and when it is probed if it is not well.
func (g *Gate) State(key string) (State, time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.keys[key]; d != nil {
		return d.health.state(g.now())
	}
	return Well, time.Time{}
}
