package store

import (
	"context"
	"crypto/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ChunkSize is how many targets of a job one entry holds.
const ChunkSize = 500

// Job is the end of many connections: a plan, and how its run stands. Its targets lie beside it, in chunks.
type Job struct {
	ID      string  `json:"id"`
	Filters Filters `json:"filters"` // which a target must still match when its turn comes
	Count   int     `json:"count"`   // of the targets

	Planned   Actor     `json:"planned"`
	Ran       Actor     `json:"ran,omitzero"` // who confirmed it last, and when
	Then      Then      `json:"then,omitempty"`
	Cancelled Actor     `json:"cancelled,omitzero"`
	Ended     time.Time `json:"ended,omitzero"` // nothing more is to be done

	unknown unknownFields
}

// version is that of its entry.
func (j *Job) version() int {
	if j.Filters.Rotation != nil || j.Filters.Drift != nil || j.Filters.Unused != 0 {
		return jobVersion
	}
	return formerJob
}

// Chunks is how many entries its targets take.
func (j *Job) Chunks() int { return (j.Count + ChunkSize - 1) / ChunkSize }

// Filters are what an operator named to choose connections. A field that is empty lets everything pass.
type Filters struct {
	All        bool          `json:"all,omitempty"`
	Owner      string        `json:"owner,omitempty"`
	Provider   []string      `json:"provider,omitempty"`
	Definition []string      `json:"definition,omitempty"`
	Category   []string      `json:"category,omitempty"`
	Status     []string      `json:"status,omitempty"`
	Reason     []string      `json:"status_reason,omitempty"`
	Kind       []string      `json:"kind,omitempty"`
	Creator    []string      `json:"created_by,omitempty"`
	Account    string        `json:"account,omitempty"`
	Label      string        `json:"label,omitempty"`
	Tag        string        `json:"tag,omitempty"`
	Expires    time.Duration `json:"expires_within,omitempty"`
	Reconnect  time.Duration `json:"reconnect_within,omitempty"`
	Unchecked  time.Duration `json:"unchecked_for,omitempty"`
	Unused     time.Duration `json:"unused_for,omitempty"`
	Archived   *bool         `json:"archived,omitempty"`
	Shared     *bool         `json:"shared,omitempty"`
	Missing    *bool         `json:"missing_scopes,omitempty"`
	Rotation   *bool         `json:"rotation_due,omitempty"`
	Drift      *bool         `json:"scope_drift,omitempty"`
}

// Named reports whether there is any filter.
func (f Filters) Named() bool {
	for _, values := range [][]string{f.Provider, f.Definition, f.Category, f.Status, f.Reason, f.Kind, f.Creator} {
		if len(values) > 0 {
			return true
		}
	}
	return f.Owner != "" || f.Account != "" || f.Label != "" || f.Tag != "" || f.Expires != 0 || f.Reconnect != 0 ||
		f.Unchecked != 0 || f.Unused != 0 || f.Archived != nil || f.Shared != nil || f.Missing != nil || f.Rotation != nil ||
		f.Drift != nil
}

// Chunk is a part of a job's targets, with what became of each as far as it was written down. The rest is known from
// the connections.
type Chunk struct {
	Targets  []Target  `json:"targets"`
	Results  string    `json:"results"`            // one letter for each target
	Failures []Failing `json:"failures,omitempty"` // the first few

	unknown unknownFields
}

// Target is one connection as it was when the job was planned.
type Target struct {
	Path    string    `json:"path"`
	ID      string    `json:"id,omitempty"`
	Created time.Time `json:"created,omitzero"` // of one that had no id
}

// Is reports whether c is the connection that was planned, and not another of its name.
func (t Target) Is(c *Connection) bool {
	if t.ID == "" {
		return c.Created.Time.Equal(t.Created)
	}
	return c.ID == t.ID
}

// TargetOf freezes a connection.
func TargetOf(k Key, c *Connection) Target {
	t := Target{Path: k.String(), ID: c.ID}
	if t.ID == "" {
		t.Created = c.Created.Time
	}
	return t
}

// Failing is a target of which something is to be told.
type Failing struct {
	Path   string `json:"path"`
	Result Result `json:"result"`
	Reason string `json:"reason"`
}

// Result is how a target stands.
type Result byte

// The results. Of a later release there may be others: they are final too.
const (
	NotBegun Result = '.'
	Marked   Result = 'm' // it is being ended

	ResultRevoked      Result = 'r'
	ResultKey          Result = 'k'
	ResultNotSupported Result = 'n'
	ResultShared       Result = 's'
	ResultFailed       Result = 'f'
	ResultUnreachable  Result = 'u'
	ResultNothing      Result = '0'

	SkippedGone      Result = 'G' // it is not there any more, or another has its name
	SkippedChanged   Result = 'C' // the filters do not match any more
	SkippedForbidden Result = 'F' // who ran the job may not end it
	SkippedBusy      Result = 'B' // another job ends it, or it is being deleted
)

// Open reports whether more is to come of a target.
func (r Result) Open() bool { return r == NotBegun || r == Marked }

// Failed reports whether a provider was asked in vain, or could not be.
func (r Result) Failed() bool { return r == ResultFailed || r == ResultUnreachable }

// Skipped reports whether nothing was done.
func (r Result) Skipped() bool { return r >= 'A' && r <= 'Z' }

var endResults = map[EndWord]Result{
	EndRevoked: ResultRevoked, EndKey: ResultKey, EndNotSupported: ResultNotSupported, EndShared: ResultShared,
	EndFailed: ResultFailed, EndUnreachable: ResultUnreachable, EndNothing: ResultNothing,
}

// ResultOf is the result that an end makes.
func ResultOf(w EndWord) Result { return endResults[w] }

// Word is what a result is called; empty while nothing came of the target, or when it was skipped.
func (r Result) Word() string {
	for word, result := range endResults {
		if result == r {
			return string(word)
		}
	}
	return map[Result]string{
		SkippedGone: "gone", SkippedChanged: "changed", SkippedForbidden: "forbidden", SkippedBusy: "busy",
	}[r]
}

// NewChunk is a chunk of which nothing is begun.
func NewChunk(targets []Target) *Chunk {
	return &Chunk{Targets: targets, Results: strings.Repeat(string(rune(NotBegun)), len(targets))}
}

// Result is how the i-th target stands.
func (c *Chunk) Result(i int) Result { return Result(c.Results[i]) }

// maxFailures is how many failures a chunk names.
const maxFailures = 50

// Note records how the i-th target stands, and why if that is to be told.
func (c *Chunk) Note(i int, r Result, why string) {
	c.Results = c.Results[:i] + string(rune(r)) + c.Results[i+1:]
	if why == "" {
		return
	}
	told := Failing{c.Targets[i].Path, r, why}
	if len(c.Failures) < maxFailures {
		c.Failures = append(c.Failures, told)
		return
	}
	if at := slices.IndexFunc(c.Failures, func(f Failing) bool { return !f.Result.Failed() }); r.Failed() && at >= 0 {
		c.Failures[at] = told
	}
}

// Open counts the targets of which more is to come: those not begun, and those that are being ended.
func (c *Chunk) Open() (notBegun, marked int) {
	return strings.Count(c.Results, string(rune(NotBegun))), strings.Count(c.Results, string(rune(Marked)))
}

// NewJobID makes a name for a job.
func NewJobID() string { return strings.ToLower(rand.Text()) }

var jobID = regexp.MustCompile(`^[a-z2-7]{26}$`)

// ValidJobID reports whether s has the shape of a job's name, so that hostile input never becomes part of a key.
func ValidJobID(s string) bool { return jobID.MatchString(s) }

type jobRecord struct {
	header
	Job
}

type chunkRecord struct {
	header
	Chunk
}

func encodeJob(j *Job) ([]byte, error) {
	return encode(jobRecord{header{j.version()}, *j}, j.unknown)
}

func decodeJob(b []byte) (*Job, error) {
	var r jobRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	r.Job.unknown = unknown
	if err := r.check("job", jobVersion); err != nil {
		return nil, err
	}
	if r.Count < 0 {
		return nil, damaged("this job has fewer targets than none: the entry is damaged")
	}
	return &r.Job, nil
}

func encodeChunk(c *Chunk) ([]byte, error) {
	return encode(chunkRecord{header{chunkVersion}, *c}, c.unknown)
}

func decodeChunk(b []byte) (*Chunk, error) {
	var r chunkRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	r.Chunk.unknown = unknown
	if err := r.check("job", chunkVersion); err != nil {
		return nil, err
	}
	if len(r.Results) != len(r.Targets) {
		return nil, damaged("this job's results do not fit its targets: the entry is damaged")
	}
	return &r.Chunk, nil
}

// Job reads one job.
func (s Store) Job(ctx context.Context, id string) (*Job, error) {
	return get(ctx, s.storage, jobKey(id), decodeJob)
}

// PutJob writes one.
func (s Store) PutJob(ctx context.Context, j *Job) error {
	return put(ctx, s.storage, jobKey(j.ID), j, encodeJob)
}

// Chunk reads a part of a job's targets.
func (s Store) Chunk(ctx context.Context, id string, n int) (*Chunk, error) {
	return get(ctx, s.storage, chunkKey(id, n), decodeChunk)
}

// PutChunk writes one.
func (s Store) PutChunk(ctx context.Context, id string, n int, c *Chunk) error {
	return put(ctx, s.storage, chunkKey(id, n), c, encodeChunk)
}

// DeleteJob removes a job. Its targets go first, so that none is left that nobody finds.
func (s Store) DeleteJob(ctx context.Context, id string) error {
	names, err := s.list(ctx, jobKey(id)+"/")
	for _, name := range names {
		if err == nil {
			err = s.remove(ctx, jobKey(id)+"/"+name)
		}
	}
	if err != nil {
		return err
	}
	return s.remove(ctx, jobKey(id))
}

// Jobs lists the ids of all jobs, and of those that have targets and nothing else: a plan was cut off.
func (s Store) Jobs(ctx context.Context) (ids, torn []string, err error) {
	names, err := s.list(ctx, jobPrefix)
	there := map[string]bool{}
	for _, name := range names {
		if !isFolder(name) {
			there[name] = true
			ids = append(ids, name)
		}
	}
	for _, name := range names {
		if id, folder := strings.CutSuffix(name, "/"); folder && !there[id] {
			torn = append(torn, id)
		}
	}
	return ids, torn, err
}

func jobKey(id string) string { return jobPrefix + id }

func chunkKey(id string, n int) string { return jobKey(id) + "/" + strconv.Itoa(n) }
