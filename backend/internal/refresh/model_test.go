package refresh_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

var (
	seeds = flag.Int("seeds", 0, "how many runs TestModel makes beside the kept ones")
	seed  = flag.Uint64("seed", 1, "the first of them")
)

// foundBugs are seeds that once broke a promise. The world has grown since, so the elder ones may play otherwise; what
// they found is staged beside.
var foundBugs = []uint64{
	400, 1002, 1025, 1030, 1039, 1044, 1059, 1593, 500802, 501235, 700093, 701912, 702760, 802798, 801898,
	7001998, 31003996, 31013663, 31014176,
}

// TestModel lets coordinators, services, storage and people do what comes to their minds, and checks what must hold
// all along and, once the trouble is over, at the end. A seed repeats its run closely but not to the letter: the
// jitter of the coordinator's backoff is its own.
func TestModel(t *testing.T) {
	runs := slices.Clone(foundBugs)
	for i := range *seeds {
		runs = append(runs, *seed+uint64(i))
	}
	for _, seed := range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { oneRun(t, seed) }) })
	}
}

func oneRun(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	steps := 20 + w.rng.IntN(60)
	w.begin()
	for range steps {
		w.step()
		w.rest()
		w.nothingLost()
	}
	w.end()
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, seed: seed, start: time.Now(), rng: rand.New(rand.NewPCG(seed, 0)),
		services: map[string]*service{}, tokens: map[string]*token{}, access: map[string]*access{}, calls: map[*call]bool{},
		onDisk: map[store.Key]state{}, asked: map[store.Key]int{}, demands: map[store.Key]int{}, hasty: map[store.Key]int{},
		asking: map[store.Key]int{},
		wants:  map[store.Key]*want{}, accounts: map[store.Key]string{}, hands: map[store.Key]int{},
		tried: map[store.Key]int{}, cut: map[store.Key]*call{},
	}
	w.steps = w.chance(0.3)
	w.faults.trouble = []float64{0, 0.05, 0.3}[w.rng.IntN(3)]
	names := []string{"acme", "globex"}
	for _, name := range names {
		w.services[name] = &service{
			name: name, serial: 1, rotates: w.chance(0.75), window: []time.Duration{
				0, 30 * time.Second,
				time.Hour,
			}[w.rng.IntN(3)], strict: w.chance(0.5),
			omits: w.chance(0.3), life: []time.Duration{2 * time.Minute, 10 * time.Minute, time.Hour}[w.rng.IntN(3)],
		}
		if w.chance(0.2) {
			w.services[name].idle = 3 * time.Hour
		}
		if w.chance(0.2) {
			w.services[name].hard = []time.Duration{30 * time.Minute, 6 * time.Hour}[w.rng.IntN(2)]
		}
		switch w.rng.IntN(6) {
		case 0:
			w.services[name].vague = denied(providers.Misconfigured, "invalid_request")
		case 1:
			w.services[name].vague = denied(providers.Transient, "")
		}
		w.services[name].omits = w.services[name].omits && !w.services[name].rotates
	}
	crowd := 5
	if w.chance(0.02) {
		crowd = 60
	}
	for i := range 1 + w.rng.IntN(crowd) {
		k := store.Key{Owner: store.Owner{Org: names[i%2]}, Name: fmt.Sprintf("c%d", i)}
		w.keys, w.wants[k] = append(w.keys, k), &want{
			labels: map[string]bool{"": true}, disabled: map[bool]bool{false: true},
		}
		if w.chance(0.3) {
			w.accounts[k] = k.Owner.Org + " of many"
		}
	}
	return w
}

// want is what people were told of a connection: more than one value where storage failed them.
type want struct {
	labels   map[string]bool
	disabled map[bool]bool
}

// process is one plugin process with its coordinator.
type process struct {
	*engine
	name string
	w    *world
	stop context.CancelFunc
	done sync.WaitGroup

	// Guarded by world.mu.
	gone     bool      // it was killed, or has ended
	deposed  bool      // another writes in its place
	standby  bool      // for now it may only read
	unaware  time.Time // it believes that it may write until then
	awake    bool      // it recovered and knows all connections
	waking   bool
	received map[store.Key]receipt // the newest that it was given
	served   map[store.Key]mark    // the newest that it handed out
	failed   map[store.Key]time.Time
	resting  map[store.Key]resting
	renewals map[string][]success // by service
	answers  map[string]int       // of each service that show the app to be taken
	outages  map[string]*outage
}

type receipt struct {
	mark mark
	at   time.Time
}

func (p *process) String() string { return p.name }

// receive notes what a service or a person gave. w.mu is held.
func (p *process) receive(k store.Key, m mark) {
	if !m.before(p.received[k].mark) {
		p.received[k] = receipt{m, time.Now()}
	}
}

func (w *world) launch() {
	w.mu.Lock()
	w.starts++
	p := &process{
		name: fmt.Sprintf("P%d", w.starts), w: w, received: map[store.Key]receipt{}, served: map[store.Key]mark{},
		failed: map[store.Key]time.Time{}, resting: map[store.Key]resting{}, renewals: map[string][]success{},
		answers: map[string]int{}, outages: map[string]*outage{},
	}
	w.processes = append(w.processes, p)
	w.note("%s starts", p)
	w.allowRetries()
	w.mu.Unlock()
	p.engine = newEngine(options{
		Store: store.New(view{w, p}), Source: line{w, p},
		Now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return time.Now().Add(w.skew) },
		Writable: func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !p.gone && !p.standby && (!p.deposed || time.Now().Before(p.unaware))
		},
		Paused:   func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.paused },
		Uncached: func() bool { return w.seed%5 == 0 },
		Changed:  func(k store.Key, c *store.Connection) { w.changed(p, k, c) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.done.Go(func() { p.Work(ctx) })
	w.active = p
	p.heartbeat(ctx)
}

// heartbeat is what the backend does at its start and once a minute.
func (p *process) heartbeat(ctx context.Context) {
	p.Nudge()
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.awake || p.waking || p.standby || p.deposed {
		return
	}
	p.waking = true
	p.done.Go(func() {
		err := errors.Join(p.Recover(ctx), p.fill(ctx))
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		p.awake, p.waking = err == nil, false
	})
}

// quit ends a process as a shutdown does that may take so long.
func (p *process) quit(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	p.stop()
	p.done.Wait()
	p.Close(ctx)
}

// cutOff notes what is lost with a process that from now on writes nothing. w.mu is held.
func (w *world) cutOff(p *process) {
	for k, r := range p.received {
		held := w.onDisk[k]
		if held.token != nil && held.mark.before(r.mark) && held.mark.consent == r.mark.consent {
			held.token.doubt, held.token.lost = true, held.token.consent.service.rotates
		}
	}
	clear(p.received)
	w.cutRetries(p)
	for k, held := range w.onDisk {
		if held.lateBy == p && time.Since(held.late) < 2*time.Minute {
			w.wants[k].labels[held.label], w.wants[k].disabled[held.disabled] = true, true
		}
	}
	for c := range w.calls {
		if c.by == p {
			c.token.doubt = true
		}
	}
	intents, err := w.disk.List(context.Background(), "wal/")
	if err != nil {
		w.complain("%v", err)
	}
	for _, id := range intents {
		w.stuckIntent("wal/" + id)
	}
}

// begin connects every key while all is well.
func (w *world) begin() {
	trouble := w.faults.trouble
	w.faults.trouble = 0
	w.launch()
	for _, k := range w.keys {
		w.reconnect(w.active, k)
	}
	w.set(fmt.Sprint("the trouble is ", trouble), func() { w.faults.trouble = trouble })
}

// rest lets time pass, mostly little.
func (w *world) rest() {
	w.mu.Lock()
	d := w.upTo([]time.Duration{
		time.Millisecond, 50 * time.Millisecond, time.Second, time.Minute, 20 * time.Minute, 3 * time.Hour,
	}[min(w.rng.IntN(6), w.rng.IntN(7))])
	if len(w.calls) > 0 && w.chance(0.7) {
		d = w.upTo(time.Second) // while a call is out is when things go wrong
	}
	w.mu.Unlock()
	time.Sleep(d)
	w.active.heartbeat(context.Background())
}

// nothingLost checks that each process has what it was given, or better.
func (w *world) nothingLost() {
	for _, p := range w.processes {
		w.mu.Lock()
		due := map[store.Key]mark{}
		for k, r := range p.received {
			if !p.gone && !p.deposed && time.Since(r.at) > time.Minute {
				due[k] = r.mark
			}
		}
		w.mu.Unlock()
		for k, m := range due {
			c, err := p.Load(context.Background(), k)
			w.mu.Lock()
			switch {
			case err != nil || p.received[k].mark != m: // it went on meanwhile, or was deleted
			case c == nil:
				w.complain("%s: %s is gone and nobody deleted it", p, k.Name)
			case w.stateOf(c).mark.before(m):
				w.complain("%s: %s: was given %v and has %v", p, k.Name, m, w.stateOf(c).mark)
			}
			w.mu.Unlock()
		}
	}
}

// end heals everything, waits, and looks at what is left.
func (w *world) end() {
	p, ctx := w.active, context.Background()
	w.mu.Lock()
	w.note("the trouble is over")
	w.healed = time.Now()
	early := w.chance(0.5)
	w.faults, w.skew, w.paused, p.standby = faults{}, 0, false, false
	var wrong []*service
	for _, name := range []string{"acme", "globex"} {
		s := w.services[name]
		if s.refused || s.elsewhere {
			wrong = append(wrong, s)
		}
		s.down, s.limited = time.Time{}, time.Time{}
		s.refusing, s.slanders = time.Time{}, time.Time{}
	}
	w.mu.Unlock()
	w.callers.Wait()
	w.late.Wait()
	for _, s := range wrong { // all else ends without a person
		w.change(p, s, func() { s.refused, s.elsewhere = false, false })
	}
	p.Nudge()
	time.Sleep(time.Minute)
	for _, k := range w.keys {
		w.asWanted(k)
		w.able(p, k, false)
		if early {
			w.tryRefused(p, k)
		}
	}
	for range 4 * 60 {
		time.Sleep(time.Minute)
		p.heartbeat(ctx)
	}
	w.nothingLost()
	w.expect(p.Unsaved() == 0, "%d states are unsaved", p.Unsaved())
	for _, k := range w.keys {
		w.works(p, k)
	}
	w.bounded()

	// Once more, so that something is cut off for the last process to find.
	for _, k := range w.keys {
		w.callers.Go(func() { w.refresh(p, k) })
	}
	time.Sleep(100 * time.Millisecond)
	w.kill(p)
	w.callers.Wait()
	time.Sleep(15 * time.Minute)
	unwell := w.active.Health().Circuits
	for _, k := range w.keys {
		if unwell[k.Owner.Org].State == "" {
			w.takenUp(w.active, k)
		}
	}
	w.active.quit(10 * time.Second)
	intents, err := intentsOf(ctx, store.New(&w.disk))
	w.expect(err == nil, "intents: %v", err)
	for _, i := range intents {
		k, err := store.ParseKey(i.Key)
		w.expect(err == nil, "intents: %v", err)
		// where all that are left seem to have the wrong app, one at a time is tried
		w.expect(unwell[k.Owner.Org].State == string(gate.Refusing), "an intent is left for %s, generation %d", i.Key,
			i.Generation)
	}
	w.leaving.Wait()
}

// asWanted checks that what a person set still stands, and ends deletions that were cut off.
func (w *world) asWanted(k store.Key) {
	c, err := w.active.Load(context.Background(), k)
	w.expect(err == nil, "%s: %v", k.Name, err)
	if c == nil {
		return
	}
	if !c.Deleting.IsZero() {
		return // the background carries it through
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := w.wants[k]; !want.labels[c.Label] || !want.disabled[statusOf(c) == store.StatusDisabled] {
		w.complain("%s: label %q and status %s, and people set %v and %v", k.Name, c.Label, statusOf(c), want.labels,
			want.disabled)
	}
}

// landed waits until no call is out, and what came of it is stored.
func (w *world) landed() {
	for out := 1; out > 0; {
		time.Sleep(time.Second)
		w.mu.Lock()
		out = len(w.calls)
		w.mu.Unlock()
	}
}

// works checks that a connection whose grant is good gives a token that is, and that another says why not.
func (w *world) works(p *process, k store.Key) {
	w.landed()
	w.takenUp(p, k)
	w.tryRefused(p, k)
	a, err := p.Get(context.Background(), k, anybody, 0)
	w.landed()
	c, lerr := p.Load(context.Background(), k)
	w.expect(lerr == nil, "%s: %v", k.Name, lerr)
	w.mu.Lock()
	defer w.mu.Unlock()
	if c == nil {
		return
	}
	if !c.Deleting.IsZero() {
		w.complain("%s: its deletion was cut off, and nobody carried it through", k.Name)
	}
	tok := w.stateOf(c).token
	if until := tok.consent.until; !until.IsZero() && time.Since(until).Abs() < 2*time.Minute {
		return // it ended as we looked
	}
	good := !tok.refuses()
	switch {
	case w.steps && !tok.consent.until.IsZero(): // by its clock of then, the end is not when it is
	case !good && statusOf(c) != store.StatusNeedsReconnect && tok.consent.service.vague != nil && !w.provable(p, k):
	case !good && statusOf(c) != store.StatusNeedsReconnect:
		w.complain("%s: its grant is refused, and its status is %s", k.Name, statusOf(c))
	case good && err != nil:
		w.complain("%s: its grant is good, and reading it fails: %v", k.Name, err)
	case good:
		if token := w.access[a.Connection.Grant.AccessToken.Reveal()]; !time.Now().Before(token.until) {
			w.complain("%s: the token handed out is dead since %s", k.Name, time.Since(token.until))
		}
	}
}

// bounded checks that services were called as often as time and events justify: once for each token's life, once for
// each demand, some retries for each of those and one each seven minutes, and each of them twice for a lost answer.
func (w *world) bounded() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.keys {
		s := w.services[k.Owner.Org]
		events := w.demands[k] + w.starts
		lives := int(time.Since(w.start)/(s.life*6/10)) + events + 1
		most := 2 * (events + lives + int(time.Since(w.start)/(7*time.Minute)))
		if w.faults.trouble > 0 || w.troubled {
			most += 2 * (8*(lives+1) + s.successes)
		}
		excused := 0 // three that fail open the circuit, and what closes it lets them try at once
		if len(w.keys) >= 3 {
			excused = s.answers
		}
		if !w.steps && w.hasty[k] > events+excused {
			w.complain("%s: %d calls right after a failure, and %d are justified", k.Name, w.hasty[k], events)
		}
		if w.asked[k] > most {
			w.complain("%s: %d calls, and %d are justified", k.Name, w.asked[k], most)
		}
	}
}
