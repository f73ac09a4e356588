package store

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each side sets and lifts its own stop, and either is enough.
func TestStopsOfTwoSides(t *testing.T) {
	owner, others := Setter{Actor: ann, Owner: true}, Setter{Actor: bob}
	off, on := Decision{Disabled: new(true)}, Decision{Disabled: new(false)}
	away, back := Decision{Archived: new(true), Reason: new("left")}, Decision{Archived: new(false), Reason: new("")}
	type step struct {
		by  Setter
		say Decision
	}
	former := Stops{Either: bob, By: bob}
	for name, c := range map[string]struct {
		before  Stops
		steps   []step
		want    Stops
		status  Status
		ofOwner [2]bool // what that side sees: disabled, archived
		ofOther [2]bool
	}{
		"nothing": {status: StatusActive},
		"a no to nothing changes nothing": {
			steps: []step{{owner, on}, {others, on}, {others, back}}, status: StatusActive,
		},
		"the owner's stays when others say no": {
			steps: []step{{owner, off}, {others, on}},
			want:  Stops{Owner: Stop{Disabled: ann}, By: ann}, status: StatusDisabled, ofOwner: [2]bool{true, false},
		},
		"others' stays when the owner says no": {
			steps: []step{{others, off}, {owner, on}},
			want:  Stops{Others: Stop{Disabled: bob}, By: bob}, status: StatusDisabled, ofOther: [2]bool{true, false},
		},
		"one of two lifted": {
			steps: []step{{others, off}, {owner, off}, {others, on}},
			want:  Stops{Owner: Stop{Disabled: ann}, By: bob}, status: StatusDisabled, ofOwner: [2]bool{true, false},
		},
		"both lifted": {
			steps: []step{{others, off}, {owner, off}, {others, on}, {owner, on}},
			want:  Stops{By: ann}, status: StatusActive,
		},
		"said again it is still of who said it first": {
			steps: []step{{owner, away}, {Setter{Actor: bob, Owner: true}, away}},
			want:  Stops{Owner: Stop{Archived: ann, Reason: "left"}, By: ann}, status: StatusArchived,
			ofOwner: [2]bool{false, true},
		},
		"put away beside a stop": {
			steps: []step{{others, off}, {owner, away}},
			want: Stops{
				Owner: Stop{Archived: ann, Reason: "left"}, Others: Stop{Disabled: bob}, By: ann,
			},
			status: StatusArchived, ofOwner: [2]bool{false, true}, ofOther: [2]bool{true, false},
		},
		"brought back, and still stopped": {
			steps: []step{{others, off}, {others, away}, {others, back}},
			want:  Stops{Others: Stop{Disabled: bob}, By: bob}, status: StatusDisabled, ofOther: [2]bool{true, false},
		},
		"another reason": {
			steps:  []step{{owner, away}, {owner, Decision{Reason: new("moved")}}},
			want:   Stops{Owner: Stop{Archived: ann, Reason: "moved"}, By: ann},
			status: StatusArchived, ofOwner: [2]bool{false, true},
		},
		"a reason without an archive is nothing": {
			steps: []step{{owner, Decision{Reason: new("moved")}}}, status: StatusActive,
		},
		"a former release's, as both see it": {
			before: former, want: former, status: StatusDisabled, ofOwner: [2]bool{true, false}, ofOther: [2]bool{true, false},
		},
		"a former release's said again": {
			before: former, steps: []step{{owner, off}}, want: former,
			status: StatusDisabled, ofOwner: [2]bool{true, false}, ofOther: [2]bool{true, false},
		},
		"a former release's lifted by the owner": {
			before: former, steps: []step{{owner, on}}, want: Stops{By: ann}, status: StatusActive,
		},
		"a former release's lifted by others": {
			before: former, steps: []step{{others, on}}, want: Stops{By: bob}, status: StatusActive,
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected()
			conn.Stops = c.before
			for _, s := range c.steps {
				conn.Set(Settings{Decision: s.say}, s.by)
			}
			assert.Equal(t, c.want, conn.Stops)
			status, _ := conn.Facts(true).Status(&conn.Pinned, noon)
			assert.Equal(t, c.status, status)
			for owner, want := range map[bool][2]bool{true: c.ofOwner, false: c.ofOther} {
				seen := conn.Stops.Seen(owner)
				assert.Equal(t, want, [2]bool{!seen.Disabled.Time.IsZero(), !seen.Archived.Time.IsZero()}, "owner: %v", owner)
			}
		})
	}
}

// The status is since the first stop that stands, and archived since it was archived.
func TestStopsSince(t *testing.T) {
	at := func(hours int) Actor { return Actor{Time: noon.Add(time.Duration(hours) * time.Hour)} }
	s := Stops{Owner: Stop{Disabled: at(3)}, Others: Stop{Disabled: at(2), Archived: at(5)}, Either: at(4)}
	assert.Equal(t, at(2).Time, s.Since(false))
	assert.Equal(t, at(5).Time, s.Since(true))
	assert.Zero(t, Stops{By: at(1)}.Since(false))
}

// A release that tells no sides apart sees that the connection is stopped. What it says goes, and both sides may lift
// what it stops.
func TestStopsOfAFormerRelease(t *testing.T) {
	kept := Stops{Owner: Stop{Archived: ann, Reason: "left"}, By: ann}
	stopped, none := disabledRecord{On: true, By: ann}, disabledRecord{}
	assert.Equal(t, stopped, kept.disabled())
	for name, c := range map[string]struct {
		says   disabledRecord
		stored Stops
		want   Stops
	}{
		"nothing said":        {stopped, kept, kept},
		"nothing stored":      {none, Stops{}, Stops{}},
		"it stops":            {disabledRecord{true, bob}, Stops{}, Stops{Either: bob, By: bob}},
		"it lifts":            {disabledRecord{false, bob}, kept, Stops{By: bob}},
		"it lifts and stops":  {disabledRecord{true, bob}, kept, Stops{Either: bob, By: bob}},
		"it knows no time":    {disabledRecord{On: true}, Stops{}, Stops{Either: Actor{Time: time.Unix(0, 0).UTC()}, By: Actor{Time: time.Unix(0, 0).UTC()}}},
		"it has lifted again": {disabledRecord{false, bob}, Stops{By: ann}, Stops{By: bob}},
	} {
		c2 := connected()
		c2.Stops = c.stored
		entry, err := encodeConnection(c2)
		require.NoError(t, err)
		var fields map[string]any
		require.NoError(t, json.Unmarshal(entry, &fields))
		fields["disabled"] = c.says
		entry, err = json.Marshal(fields)
		require.NoError(t, err)
		got, err := decodeConnection(entry)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, got.Stops, name)
		assert.Equal(t, c.says.On, got.Stops.On(), name)
	}
}
