package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What is ended leaves nothing that could be used, and whose account it was.
func TestEnd(t *testing.T) {
	buys := *storedConnection.Clone()
	buys.Grant.Key = map[string]providers.Secret{"api_key": providers.NewSecret("the key")}
	for name, was := range map[string]Connection{
		"a grant": storedConnection, "a key": storedKey, "a key that buys tokens": buys,
	} {
		for _, then := range []Then{ThenKeep, ThenArchive, ThenDelete} {
			t.Run(fmt.Sprint(name, ", then ", then), func(t *testing.T) {
				c := was.Clone()
				c.Stops, c.Deleting, c.Moving, c.Entity = Stops{}, time.Time{}, Moving{}, Entity{}
				c.Ended = &Ended{Digests: []string{"of one before"}}
				c.BeginEnd(Ending{Job: "job-3", Then: then, By: bob})
				status, reason := c.Facts(true).Status(&c.Pinned, noon)
				assert.Equal(t, []any{StatusDisabled, ReasonRevoking, bob.Time}, []any{status, reason, c.Since(status, reason)})

				at := noon.Add(9 * time.Hour)
				c.End(Ended{Job: "job-3", Outcome: EndRevoked, Time: at}, Setter{Actor: bob})
				entry, err := encodeConnection(c)
				require.NoError(t, err)
				for _, secret := range []string{
					"access token", "refresh token", "secret config", "hook secret", "the key", "the former key", "told", "org-1",
				} {
					assert.NotContains(t, string(entry), `"`+secret+`"`)
				}
				assert.Empty(t, c.KeyFields())
				assert.Equal(t, was.Account, c.Account)
				assert.Greater(t, c.Generation, was.Generation)
				assert.True(t, c.Revoked())
				assert.False(t, c.Refused.Reason.MayBeTried())
				assert.False(t, c.EraseRefused())
				assert.Contains(t, c.LastEnd().Digests, "of one before")
				status, reason = c.Facts(true).Status(&c.Pinned, noon)
				want := map[Then][]any{
					ThenKeep:    {StatusNeedsReconnect, ReasonRevoked, at},
					ThenArchive: {StatusArchived, ReasonDisabledByPerson, bob.Time},
					ThenDelete:  {StatusDisabled, ReasonDeleting, at},
				}[then]
				assert.Equal(t, want, []any{status, reason, c.Since(status, reason)})
				if g := was.Grant; g != nil {
					assert.Equal(t, g.Scopes, c.Grant.Scopes)
					for _, import_ := range []*providers.Grant{
						{RefreshToken: g.RefreshToken},
						{AccessToken: g.AccessToken},
						{AccessToken: providers.NewSecret("another"), RefreshToken: g.RefreshToken},
					} {
						assert.True(t, c.WasEnded(import_))
						has, _ := c.HasImport(import_, c.Pinned)
						assert.False(t, has)
					}
				}
				assert.False(t, c.WasEnded(&providers.Grant{RefreshToken: providers.NewSecret("another")}))

				c.Adopt(&providers.Grant{RefreshToken: providers.NewSecret("new"), Issued: at}, c.Pinned, at)
				assert.False(t, c.Revoked(), "a reconnect brings it back")
				assert.NotEmpty(t, c.LastEnd().Digests, "what was ended stays so")
			})
		}
	}
}

func TestEndRemembersTheLastTokens(t *testing.T) {
	c := connected()
	for i := range 20 {
		c.Adopt(&providers.Grant{RefreshToken: providers.NewSecret(fmt.Sprint("token ", i)), Issued: noon}, "pin", noon)
		c.BeginEnd(Ending{Job: "job", By: ann})
		c.End(Ended{Job: "job", Time: noon}, Setter{})
	}
	assert.Len(t, c.LastEnd().Digests, maxDigests)
	assert.True(t, c.WasEnded(&providers.Grant{RefreshToken: providers.NewSecret("token 19")}))
}

// A release that knows of no ends must serve nothing of what is being ended, and cannot lift that.
func TestEndingSeenByAFormerRelease(t *testing.T) {
	c := connected()
	c.BeginEnd(Ending{Job: "job", By: bob})
	entry, err := encodeConnection(c)
	require.NoError(t, err)
	assert.Contains(t, string(entry), `"disabled":{"on":true,"by":{"entity_id":"e-2"`)
	for says, want := range map[string]Stops{
		"nothing": {}, `{"on":false,"by":{"entity_id":"e-1","display_name":"userpass-ann","time":"2026-03-01T12:00:00Z"}}`: {By: ann},
	} {
		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(entry, &fields))
		if says != "nothing" {
			fields["disabled"] = json.RawMessage(says)
		}
		written, err := json.Marshal(fields)
		require.NoError(t, err)
		got, err := decodeConnection(written)
		require.NoError(t, err)
		assert.Equal(t, want, got.Stops)
		status, reason := got.Facts(true).Status(&got.Pinned, noon)
		assert.Equal(t, []any{StatusDisabled, ReasonRevoking}, []any{status, reason})
	}
}

// Nodes in other time zones spell one moment in several ways.
func TestStopsOfAnotherTimeZone(t *testing.T) {
	c := connected()
	by := Actor{EntityID: "e-2", Time: noon.In(time.FixedZone("", 5*60*60+45*60))}
	c.Stops = Stops{Others: Stop{Disabled: by}, By: by}
	entry, err := encodeConnection(c)
	require.NoError(t, err)
	got, err := decodeConnection(entry)
	require.NoError(t, err)
	assert.Equal(t, []SidedStop{}, append([]SidedStop{}, got.Stops.Sides()[1:]...))
	assert.Equal(t, SideOthers, got.Stops.Sides()[0].Side)
}

func TestChunk(t *testing.T) {
	targets := make([]Target, ChunkSize)
	for i := range targets {
		targets[i].Path = "org/" + strings.Repeat("o", 64) + "/user/" + strings.Repeat("u", 128) + fmt.Sprintf("/n-%062d", i)
		targets[i].ID = strings.Repeat("I", 26)
	}
	c := NewChunk(targets)
	notBegun, marked := c.Open()
	assert.Equal(t, []int{ChunkSize, 0}, []int{notBegun, marked})
	for i := range targets {
		c.Note(i, ResultKey, strings.Repeat("x", 300))
	}
	require.Len(t, c.Failures, maxFailures)
	c.Note(7, ResultFailed, "why")
	assert.Equal(t, Failing{targets[7].Path, ResultFailed, "why"}, c.Failures[0], "what failed goes before what did not")
	c.Note(8, Marked, "")
	notBegun, marked = c.Open()
	assert.Equal(t, []int{0, 1}, []int{notBegun, marked})
	entry, err := encodeChunk(c)
	require.NoError(t, err)
	assert.Less(t, len(entry), MaxEntry, "the largest there is fits")
	for _, r := range []Result{ResultRevoked, SkippedGone, SkippedBusy, SkippedChanged, SkippedForbidden, ResultNothing} {
		assert.NotEmpty(t, r.Word())
		assert.Equal(t, r == ResultRevoked || r == ResultNothing, !r.Skipped())
	}
}

func TestJobIDs(t *testing.T) {
	assert.True(t, ValidJobID(NewJobID()))
	assert.NotEqual(t, NewJobID(), NewJobID())
	for _, s := range []string{"", "../" + NewJobID()[3:], strings.ToUpper(NewJobID()), NewJobID() + "a", NewJobID()[:25] + "/"} {
		assert.False(t, ValidJobID(s), s)
	}
}

func TestTargetOf(t *testing.T) {
	c := connected()
	c.ID, c.Created.Time = "", noon
	of := TargetOf(slack, c)
	assert.True(t, of.Is(c))
	named := c.Clone()
	named.ID = "given since"
	assert.True(t, of.Is(named), "one of a former release gets its id with its next write")
	again := named.Clone()
	again.Created.Time = noon.Add(time.Hour)
	assert.False(t, of.Is(again))
	of = TargetOf(slack, named)
	assert.True(t, of.Is(again))
	again.ID = "another"
	assert.False(t, of.Is(again))
}

// A job exists only with its entry; targets alone are what a plan left that was cut off.
func TestJobs(t *testing.T) {
	s := New(holding(t, "job/whole", stored(t, "v1/job")))
	require.NoError(t, s.PutChunk(t.Context(), "whole", 0, &storedChunk))
	require.NoError(t, s.PutChunk(t.Context(), "torn", 0, &storedChunk))
	require.NoError(t, s.PutChunk(t.Context(), "torn", 1, &storedChunk))
	ids, torn, err := s.Jobs(t.Context())
	require.NoError(t, err)
	assert.Equal(t, [][]string{{"whole"}, {"torn"}}, [][]string{ids, torn})
	require.NoError(t, s.DeleteJob(t.Context(), "torn"))
	require.NoError(t, s.DeleteJob(t.Context(), "whole"))
	ids, torn, err = s.Jobs(t.Context())
	require.NoError(t, err)
	assert.Empty(t, append(ids, torn...))
}

// What a request says of the stops goes along with a credential that is not saved yet, as it was said, and takes the
// place of no later word.
func TestStopsGoAlong(t *testing.T) {
	yes, no := true, false
	c := &Connection{}
	at := func(hours int) Setter { return Setter{Actor: Actor{Time: noon.Add(time.Duration(hours) * time.Hour)}} }
	c.Set(Settings{Decision: Decision{Disabled: &yes}}, at(1))
	said := c.Stops
	require.NotNil(t, c.Switched)
	unsaved := c.Clone().Credential
	c.Stops.Owner.Disabled = bob
	assert.Equal(t, said, *c.Switched, "what was said is not what is changed since")

	assert.Equal(t, said, (&Connection{}).Over(unsaved).Stops)
	later := &Connection{}
	later.Set(Settings{Decision: Decision{Disabled: &yes}}, at(2))
	assert.Equal(t, later.Stops, later.Over(unsaved).Stops)
	later.Set(Settings{Decision: Decision{Disabled: &no}}, at(3))
	assert.Equal(t, later.Stops, later.Over(unsaved).Stops)
	assert.False(t, later.Over(unsaved).Stops.Others.on())
}

// A copy shares nothing that may change.
func TestCloneOfAnEnd(t *testing.T) {
	c := &Connection{Ended: &Ended{Digests: []string{"a"}}}
	copied := c.Clone()
	copied.Ended.Digests[0], copied.Ended.Why = "b", "x"
	assert.Equal(t, Ended{Digests: []string{"a"}}, c.LastEnd())
	assert.Zero(t, (&Connection{}).Clone().LastEnd())
}
