package backend

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// events gives the types and paths of the events that Vault got.
func (f *fixture) events() (all [][2]string) {
	for _, e := range f.Events.All() {
		all = append(all, [2]string{
			string(e.Type), e.Event.GetMetadata().GetFields()[logical.EventMetadataPath].GetStringValue(),
		})
	}
	return all
}

// enterprise has the mount run in a Vault that delivers events, and waits until it knows where the log ends.
func enterprise(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, Options{}, testenv.InProcess)
	e := &f.Backend.(*backend).events
	f.soon(t, e.never.Load, "it has asked, and is to ask again")
	f.System.SetEdition("ent.hsm")
	e.asked = false
	e.never.Store(false)
	f.tell("before")
	f.soonStored(t)
	f.soon(t, func() bool { return f.Backend.(*backend).events.started.Load() }, "it begins at the end")
	return f
}

func TestPluginEvents(t *testing.T) {
	f := enterprise(t)
	f.tell("a")
	f.Backend.(*backend).notices.offer(
		store.Notice{ID: "b", Kind: store.NoticeRotationDue, Provider: "acme"},
		store.Notice{ID: "c", Kind: store.NoticeNeedsReconnect, Provider: "acme", Count: 2000},
	)
	f.soon(t, func() bool { return len(f.events()) == 3 }, "all of them")
	assert.Equal(t, [][2]string{
		{"connectors/connect", "connections/org/default/a"},
		{"connectors/rotation_due", "providers/acme"},
		{"connectors/needs_reconnect", "notices"},
	}, f.events())
	fields := f.Events.All()[0].Event.GetMetadata().GetFields()
	assert.Equal(t, "a", fields["notice_id"].GetStringValue())
	assert.Equal(t, "2000", f.Events.All()[2].Event.GetMetadata().GetFields()["count"].GetStringValue())

	f.System.SetReplication(consts.ReplicationPerformanceStandby)
	f.Backend.(*backend).events.wake()
	f.Advance(time.Hour)
	f.periodic(t)
	assert.Len(t, f.events(), 3, "a node that may not write sends nothing")
}

// Where Vault does not take an event, none is sent for an hour, and what happened meanwhile never is.
func TestPluginEventsFail(t *testing.T) {
	f := enterprise(t)
	f.Events.Fail(errors.New("not now"))
	f.tell("a")
	f.soon(t, func() bool { return f.Events.Refused() == 1 }, "one try")
	f.tell("b")
	f.soonStored(t)
	f.Events.Fail(nil)
	f.Advance(time.Hour)
	f.soon(t, func() bool { return f.Backend.(*backend).events.started.Load() }, "it begins anew")
	f.tell("c")
	f.soon(t, func() bool { return len(f.events()) == 1 }, "what comes then")
	assert.Equal(t, "connections/org/default/c", f.events()[0][1])
	assert.Equal(t, 1, f.Events.Refused())
}

// Elsewhere nobody is asked to deliver events, and the log is not read for them.
func TestPluginEventsAreForEnterprise(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.tell("a")
	f.soonStored(t)
	f.soon(t, func() bool { return f.Backend.(*backend).events.never.Load() }, "it asked")
	f.tell("b")
	f.soonStored(t)
	assert.Empty(t, f.events())
	require.False(t, f.Logs.Contains("events could not be sent"))
}
