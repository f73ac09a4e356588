package commands

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// judgeStatus tells what the engine says of itself that somebody should act on.
func judgeStatus(mount string, s *client.Status, err error) (found []finding) {
	if err != nil {
		return []finding{notTold("status", "status", err)}
	}
	tell := func(is bool, result, what, next string) {
		if is {
			found = append(found, finding{"status", result, what, next})
		}
	}
	many := func(n int, result, what, next string) { tell(n > 0, result, fmt.Sprintf("%d %s", n, what), next) }
	tell(s.RefreshPaused, warning, "refreshing is paused"+because(s.RefreshPausedReason),
		"once that is settled, vault write "+mount+"/config refresh_paused=false")
	tell(!s.Writable, warning, "this node may not write, so it refreshes nothing", "ask the active node")
	many(s.Unreadable, failure, "entries cannot be read", "connectors list shows them without a status, and show says why")
	many(s.Unsaved, failure, "connections are newer in memory than in storage, which refuses them",
		"see the log of Vault, and do not restart it before")
	many(s.DoubtfulWrites, warning, "writes failed and may still land", "look again in a minute")
	many(s.Overdue, warning, "refreshes are overdue for more than a minute", "see the log of Vault for what keeps them")
	many(s.Retrying, warning, "connections could not be refreshed last time",
		"connectors show tells the last_error of each")
	for _, name := range slices.Sorted(maps.Keys(s.Circuits)) {
		circuit := s.Circuits[name]
		next := "wait until " + circuit.Until + ", when it is asked again"
		if circuit.State == "refused" {
			next = "it refuses the app: connectors provider rotate " + name
		}
		tell(true, warning, "the provider "+name+" is left alone ("+circuit.State+")", next)
	}
	tell(s.Frozen.Mount, warning, "the mount is frozen"+because(s.Frozen.Reason),
		"vault write "+mount+"/config frozen=false lifts it")
	tell(len(s.Frozen.Owners) > 0, warning, "owners are frozen ("+strings.Join(s.Frozen.Owners, ", ")+")"+
		because(s.Frozen.Reason), "frozen_owners of config lists them")
	for _, name := range slices.Sorted(maps.Keys(s.Frozen.Providers)) {
		tell(true, warning, "the provider "+name+" is frozen"+because(s.Frozen.Providers[name]),
			"vault write "+mount+"/providers/"+name+" frozen=false lifts it")
	}
	for _, name := range s.MovedCallbacks {
		tell(true, failure, "the callback URL of "+name+" has changed since it was last told",
			"register the one that connectors provider show "+name+" tells, then write anything to the provider")
	}
	for _, name := range s.RotationDueProviders {
		tell(true, warning, "the client secret of "+name+" is to be replaced by now", "connectors provider rotate "+name)
	}
	many(s.RotationDue, warning, "keys are to be replaced by now", "connectors inventory --rotation-due")
	for _, status := range []string{"needs_reconnect", "failed_validation", "expired"} {
		many(s.ByStatus[status], warning, "connections are "+status, "connectors inventory --status "+status)
	}
	many(s.ReconnectSoon, warning, "consents run out within two weeks", "connectors inventory --reconnect-within 14d")
	many(s.ScopeDrift, warning, "connections have other scopes than are asked for", "connectors inventory --scope-drift")
	many(s.OwnersMissingHeld, warning, "owners seem to have left Vault, so many at once that nothing was stopped",
		"connectors inventory --owner-missing, and see that Vault's identities are whole")
	for _, name := range slices.Sorted(maps.Keys(s.Webhooks)) {
		hook := s.Webhooks[name]
		tell(hook.Disabled, warning, "the webhook "+name+" is disabled", "write disabled=false to webhooks/"+name)
		tell(!hook.Disabled && hook.Failures > 0, warning, fmt.Sprintf("the webhook %s failed %d times in a row", name,
			hook.Failures), "vault write -f "+mount+"/webhooks/"+name+"/test tells why")
	}
	tell(s.RestoredGap != 0, warning, fmt.Sprintf("nobody was at work on this storage for %d seconds, since %s",
		s.RestoredGap, s.RestoredGapSince), "if a snapshot was restored, pause refreshing first; if Vault was down, nothing")
	if len(found) == 0 {
		return []finding{{"status", well, fmt.Sprintf("%d connections, %d providers, nothing to act on", s.Connections,
			s.Providers), ""}}
	}
	return found
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
