package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What the files below testdata hold, each in the folder of its version. Nobody changes such a file: a release that
// changes an encoding adds one in a new folder.
var (
	storedConfig = Config{
		PublicURL: "https://vault.example.com", DefaultOrg: "acme", EgressAllow: []string{"10.0.0.0/8"},
		EndpointHosts: []string{"*.example.com"}, ProxyURL: "http://proxy.example.com:3128", RefreshPaused: true,
		RefreshMargin: time.Minute, PollInterval: 2 * time.Minute, RequestTimeout: 3 * time.Second,
		FlowTTL: 4 * time.Minute, MaxOpenFlows: 5,
	}
	// An older release pauses more than it need.
	suspectedConfig = Config{
		DefaultOrg: "acme", EndpointHosts: []string{"*"}, RefreshMargin: time.Minute, PollInterval: 2 * time.Minute,
		RequestTimeout: 3 * time.Second, FlowTTL: 4 * time.Minute, MaxOpenFlows: 5,
		RefreshPaused: true, PausedReason: PausedRestore, RestoreGuard: 7 * 24 * time.Hour,
	}
	// What is frozen has a version that releases refuse which would serve it.
	frozenConfig = Config{
		DefaultOrg: "acme", EndpointHosts: []string{"*"}, RefreshMargin: time.Minute, PollInterval: 2 * time.Minute,
		RequestTimeout: 3 * time.Second, FlowTTL: 4 * time.Minute, MaxOpenFlows: 5,
		Freeze: Freeze{Frozen: true, FrozenReason: "leaked"}, FrozenOwners: []string{"org/acme", "user/u-1"},
	}
	frozenProvider = Provider{
		Serial: 3, Definition: "oauth2", ClientSecret: providers.NewSecret("client secret"), Confirm: true,
		Freeze: Freeze{Frozen: true, FrozenReason: "leaked"}, Created: ann, Updated: noon,
	}
	// What proves the app by a private key has a version that releases refuse which would send the key.
	signingProvider = Provider{
		Serial: 3, Definition: "oauth2", ClientSecret: providers.NewSecret("-----BEGIN PRIVATE KEY-----\nnew"),
		ClientKeyID: "key-2", ClientCertificate: "certificate", Confirm: true,
		FormerSecret: providers.NewSecret("-----BEGIN PRIVATE KEY-----\nold"), FormerKeyID: "key-1",
		FormerCertificate: "former certificate", Created: ann, Updated: noon,
	}
	ann            = Actor{EntityID: "e-1", DisplayName: "userpass-ann", Time: noon}
	bob            = Actor{EntityID: "e-2", DisplayName: "userpass-bob", Time: noon.Add(6 * time.Hour)}
	storedProvider = Provider{
		Serial: 3, Definition: "oauth2", DefinitionYAML: "name: Acme\n", DefinitionPin: "pin of the definition",
		ClientID: "client-1", ClientSecret: providers.NewSecret("client secret"),
		FormerSecret: providers.NewSecret("former secret"),
		Keys:         map[string]providers.Secret{"app_key": providers.NewSecret("app key")},
		Companions:   map[string]providers.Secret{"signing_secret": providers.NewSecret("signing secret")},
		Scopes:       []string{"a"}, AllowedScopes: []string{"a", "b"}, Inputs: map[string]string{"host": "example.com"},
		Endpoints: map[string]string{"token": "https://id.example.com/token"}, Issuer: "https://id.example.com",
		AuthorizeParams: map[string]string{"prompt": "consent"}, TokenParams: map[string]string{"audience": "x"},
		ClientAuth: "post", RedirectURIs: []string{"https://app.example.com/cb"},
		ReturnURLs: []string{"https://app.example.com/"}, Confirm: true, RequireSessionBinding: true,
		AssumedTTL: time.Hour, CAPEM: "pem", Created: ann, Updated: noon.Add(time.Hour),
		Kinds: []providers.Kind{providers.KindAuthorizationCode}, AllowedOwners: []string{"org/acme"},
		BoundInputs:   map[string]map[string][]string{"org/acme": {"shop": {"one"}}},
		CompanionsFor: []string{"org/*"},
		AllowImport:   "none", SurplusScopes: "refuse", CAPin: "pin of the CA", SharedRedirect: true, RequireIss: true,
		Unproven: true, RefreshTTL: 2 * time.Hour, IdleTTL: 3 * time.Hour, CheckInterval: new(4 * time.Hour),
		OptionalScopes: []string{"c"},
	}
	storedFlow = Flow{
		ID: "id", Key: "org/acme/slack", Provider: "acme", Kind: providers.KindAuthorizationCode, Pinned: "pin",
		Created: ann, Caller: "entity:e-1", Expires: noon.Add(10 * time.Minute),
		Resolved: providers.Resolved{
			Endpoints: map[providers.Step]string{"token": "https://id.example.com/token"},
			Inputs:    map[string]string{"shop": "one"}, Issuer: "https://id.example.com", IssAlways: true,
			ClientAuth: "post", OpenID: true, JWKS: "https://id.example.com/jwks", SigningAlgs: []string{"ES256"},
		},
		Scopes: []string{"a"}, RequiredScopes: []string{"b"}, Inputs: map[string]string{"shop": "one"}, Private: new(bool),
		RedirectURI: "https://vault.example.com/cb", OwnRedirect: true, ReturnURL: "https://app.example.com/",
		Reconnects: true, Restores: true, Confirm: true, SessionBinding: "binding", Nonce: "nonce", Verifier: providers.NewSecret("verifier"),
		Parked: &Parked{
			Time: noon, Denied: "access_denied", Issuer: "https://id.example.com",
			Callback: map[string]string{"shop": "one"}, Code: providers.NewSecret("code"),
			ConfirmationCode: providers.NewSecret("ABCDEFGH"),
		},
		Tries: 2, Void: true, Claimed: "digest",
		Outcome: &Outcome{Connected: true, Failure: "f", Warnings: []string{"w"}},
	}
	// A former release finds a version that it knows, and keeps what it does not: it can do nothing with such a flow.
	storedDeviceFlow = Flow{
		ID: "id", Key: "org/acme/tv", Provider: "acme", Kind: providers.KindDeviceCode, Pinned: "pin",
		Created: ann, Caller: "entity:e-1", Expires: noon.Add(10 * time.Minute),
		Resolved: providers.Resolved{
			Endpoints:  map[providers.Step]string{"token": "https://id.example.com/token"},
			ClientAuth: "post",
		},
		Scopes: []string{"a"},
		Device: &Device{
			Interval: 10 * time.Second, Asked: noon.Add(time.Minute), AccountChange: true, Ended: DeviceDenied,
			Code: providers.NewSecret("device code"),
		},
	}
	// What came of a link has a version that releases refuse which would spend a key as a code.
	storedLinkFlow = Flow{
		ID: "id", Key: "org/acme/openai", Provider: "openai", Kind: providers.KindAPIKey, Pinned: "pin",
		Created: ann, Caller: "entity:e-1", Expires: noon.Add(time.Hour), Confirm: true,
		Link: &Link{
			Until: noon.Add(time.Hour), Purpose: "reports", Account: "1", Inputs: map[string]string{"shop": "one"},
			Asked: []string{"a"}, Optional: []string{"b"}, LoginHint: "ann", Provision: true, Tries: 2, State: "hash",
			Ends: noon.Add(10 * time.Minute), Denied: "access_denied",
		},
		Parked: &Parked{
			Time: noon, ConfirmationCode: providers.NewSecret("ABCDEFGH"),
			Key: map[string]providers.Secret{"api_key": providers.NewSecret("parked key")},
		},
	}
	storedCode    = Code{Flow: "id", Expires: noon.Add(70 * time.Minute), Disputed: true}
	storedHistory = History{Key: "org/acme/slack", Records: []Record{
		{ID: "id-0", N: 3, By: ann, Verb: "write", Private: true, Changes: []Change{{"label", "old", "new"}}},
		{ID: "id-1", N: 1, By: Actor{Time: noon}, Verb: "refresh"},
	}}
	storedBurials = History{Key: "org/acme/slack", Records: []Record{}, Buried: []Buried{
		{ID: "id-0", Provider: "acme", Time: noon, Traces: someTraces},
	}}
	storedLookup = Lookup{
		ID: "job-1", Sought: "hash of what is sought", Hasher: "id of the key", Org: "acme",
		Providers: []string{"acme"}, By: ann,
		Ended: noon.Add(time.Minute), Void: true, More: true, Examined: 7, Unreadable: 1,
		Found: []Found{{
			Of: OfDeleted, Path: "org/acme/slack", ID: "id-0", Provider: "acme", Field: "api_key", Former: true, Day: noon,
			Gone: noon.Add(time.Hour),
		}},
	}
	storedHasher = Hasher{key: []byte("a key of thirty-two bytes in all")}
	storedJob    = Job{
		ID: "job-1", Count: 3, Planned: ann, Ran: bob, Then: ThenDelete, Cancelled: bob, Ended: noon.Add(8 * time.Hour),
		Filters: Filters{
			All: true, Owner: "org/acme", Provider: []string{"acme"}, Definition: []string{"oauth2"}, Category: []string{"ai"},
			Status: []string{"active"}, Reason: []string{"revoked"}, Kind: []string{"api_key"}, Creator: []string{"e-1"},
			Account: "1", Label: "sales", Tag: "team=sales", Expires: time.Hour, Reconnect: 2 * time.Hour,
			Unchecked: 3 * time.Hour, Archived: new(bool), Shared: new(bool), Missing: new(bool),
			Rotation: new(bool), Drift: new(bool),
		},
	}
	plainJob    = withoutDrift(storedJob) // as a release wrote it that has no filters for that
	storedChunk = Chunk{
		Targets: []Target{{Path: "org/acme/slack", ID: "id-1"}, {Path: "user/U1/key", Created: noon}}, Results: "f.",
		Failures: []Failing{{"org/acme/slack", ResultFailed, "not revoked"}},
	}
	// A release that does not know the filter would end what is used.
	storedUnusedJob = Job{ID: "job-2", Count: 3, Planned: ann, Filters: Filters{Unused: 90 * 24 * time.Hour}}
	storedUse       = UseShard{Connections: map[string]Use{
		"id-1": {Day: DayOf(noon), Readers: []Reading{
			{Reader{EntityID: "e-1", DisplayName: "userpass-ann"}, DayOf(noon)}, {Reader{DisplayName: "root"}, DayOf(noon) - 1},
		}},
		"id-2": {Day: DayOf(noon)},
	}}
	storedUseBegan = UseBegan{Time: noon}
	storedIntent   = Intent{Key: "org/acme/slack", Generation: 2, Time: noon}
	storedTrial    = Trial{
		Key: "org/acme/slack", Provider: "acme", Pinned: "pin", Kind: providers.KindAuthorizationCode, Digest: "digest",
		Inputs: map[string]string{"shop": "one"},
		Settings: Settings{
			Label: new(string), Tags: &map[string]string{"team": "sales"}, Inputs: &map[string]string{"shop": "one"},
			RequiredScopes: &[]string{"a"}, Private: new(bool),
			Decision: Decision{Disabled: new(bool)},
		},
		By: ann, Caller: "entity:e-1", Time: noon, Generation: 2, Serial: 4, Tries: 1, Next: noon.Add(time.Minute),
		AccountChange: true, Creates: true, Parked: true, Identified: true,
		Brought: &providers.Grant{RefreshToken: providers.NewSecret("brought"), Issued: noon},
		Given: &providers.Grant{
			AccessToken: providers.NewSecret("access token"), RefreshToken: providers.NewSecret("given"), Issued: noon,
			Account: providers.Account{ID: "1", Label: "Ann", Email: "ann@example.com"},
		},
	}

	storedHeartbeat = Heartbeat{Time: noon, Gap: Gap{Since: noon.Add(-72 * time.Hour), Until: noon.Add(-time.Hour)}}

	storedLeavers = Leavers{Missing: map[string]time.Time{"e-1": noon, "e-2": noon.Add(time.Hour)}, Held: 3}

	storedStops = Stops{
		Owner: Stop{Archived: ann}, Others: Stop{Disabled: bob, Archived: bob, Reason: "left"}, Either: ann, By: bob,
	}

	// storedConnection has something in each field but those that a key alone has.
	storedConnection = Connection{
		DebugUntil: noon.Add(5 * time.Hour), DebugBy: "e-1",
		Serial: 4, ID: "id-1", Provider: "acme", Label: "Sales", Tags: map[string]string{"team": "sales"}, Private: true,
		Created: ann, Updated: Actor{EntityID: "e-3", DisplayName: "userpass-eve", Time: noon.Add(7 * time.Hour)},
		RotateAfter: 90 * 24 * time.Hour,
		OpenedBy:    "e-1", Stops: storedStops, Deleting: noon.Add(7 * time.Hour),
		Record: &storedHistory.Records[0],
		Entity: Entity{
			Known: true, Left: ReasonOwnerMissing, Since: noon.Add(time.Hour), Archived: noon.Add(48 * time.Hour),
		},
		Offer: &Offer{
			To: "org/acme/slack", By: ann, Until: noon.Add(24 * time.Hour), Owner: true, Live: true, Account: "1",
			Brought: "authorization_code e-1 flow digest", Stopped: noon.Add(6 * time.Hour),
		},
		Moving:    Moving{To: "user/e-2/slack", Since: noon.Add(7 * time.Hour), By: bob, Bare: true, Private: true},
		MovedFrom: "org/acme/crm",
		Ending:    Ending{Job: "job-2", Then: ThenArchive, By: bob},
		Ended: &Ended{
			Job: "job-1", Outcome: EndFailed, Why: "not revoked", Time: noon.Add(5 * time.Hour), Digests: []string{"digest"},
		},
		Shares: []Share{
			{Entity: "e-2", Name: "bob", Expires: noon.Add(8 * time.Hour), By: ann},
			{Group: "g-1", Unchecked: true, By: ann},
			{Everyone: true, By: ann},
		},
		Companions: map[string]providers.Secret{"hook": providers.NewSecret("hook secret")}, CompanionsBy: "e-1",
		Credential: Credential{
			Generation: 2, Kind: providers.KindAuthorizationCode, Inputs: map[string]string{"shop": "one"},
			RequiredScopes: []string{"a"}, SetBy: "e-1", RequiredBy: "e-1", AdoptedBy: "e-1", Closed: true,
			Switched: &storedStops,
			Pinned:   "pin", FlowID: "flow", Imported: Import{Digest: "digest", Generation: 1},
			Account: Account{ID: "1", Label: "Ann", Email: "ann@example.com", Pinned: "pin"},
			Sites: &providers.Sites{Input: "shop", More: true, Unknown: true, Choices: []providers.Choice{
				{ID: "one", Name: "One", Config: map[string]string{"address": "https://one.example.com"}},
			}},
			Grant: &providers.Grant{
				AccessToken: providers.NewSecret("access token"), RefreshToken: providers.NewSecret("refresh token"),
				TokenType: "Bearer", Scopes: []string{"a"}, Issued: noon, Expires: noon.Add(time.Hour),
				RefreshExpires: noon.Add(24 * time.Hour), HardLimit: noon.Add(48 * time.Hour),
				Config:       map[string]string{"instance": "one"},
				SecretConfig: map[string]providers.Secret{"session": providers.NewSecret("secret config")},
				Account:      providers.Account{ID: "1", Label: "Ann", Email: "ann@example.com"},
			},
			Rotated: noon, LastRefresh: noon.Add(time.Minute), Serving: noon.Add(-time.Hour),
			Refused: Refusal{ReasonGrantRefused, noon.Add(2 * time.Hour)}, Invalid: noon.Add(3 * time.Hour),
			FormerUntil: noon.Add(4 * time.Hour), FormerAge: KeyAge{noon, 2}, KeyAge: KeyAge{noon.Add(time.Hour), 2},
			LostScopes: []string{"b"}, UnaskedScopes: []string{"c"}, PassedLimit: noon.Add(3 * time.Hour),
			ToldAge: noon.Add(time.Hour),
			Attempt: Attempt{
				Failures: 2, Last: noon.Add(2 * time.Hour), Next: noon.Add(3 * time.Hour), Class: providers.Rejected,
				Code: "invalid_grant", Why: "server_error", Unknown: true, ProviderSerial: 3, Denied: noon.Add(time.Hour),
			},
		},
	}
	storedKey = Connection{
		Serial: 1, Provider: "openai", Created: ann, Stops: Stops{By: bob}, // switched on again
		Credential: Credential{
			Generation: 1, Kind: providers.KindAPIKey, Pinned: "pin",
			Key: map[string]providers.Secret{
				"api_key": providers.NewSecret("the key"), "organization": providers.NewSecret("org-1"),
			},
			Captured: &providers.Captured{
				Config:       map[string]string{"hub": "1"},
				SecretConfig: map[string]providers.Secret{"hook": providers.NewSecret("told")},
			},
			FormerKey:      map[string]providers.Secret{"api_key": providers.NewSecret("the former key")},
			FormerUntil:    noon.Add(4 * time.Hour),
			FormerCaptured: &providers.Captured{Config: map[string]string{"hub": "0"}},
			Rotated:        noon, Serving: noon,
		},
	}
	// storedBought has the key that its token was bought with.
	storedBought = Connection{
		Serial: 2, Provider: "robots", Created: ann,
		Credential: Credential{
			Generation: 2, Kind: providers.KindJWTBearer, Pinned: "pin",
			Account: Account{ID: "ada", Pinned: "pin"},
			Grant: &providers.Grant{
				AccessToken: providers.NewSecret("access token"), Issued: noon, Expires: noon.Add(time.Hour),
				Key: map[string]providers.Secret{
					"file": providers.NewSecret("the file"), "subject": providers.NewSecret("ada"),
				},
				Account: providers.Account{ID: "ada"},
			},
			Rotated: noon, Serving: noon,
		},
	}
	// storedTraced has replaced a token and a key.
	storedTraced = Connection{
		Serial: 2, Provider: "acme", Created: ann,
		Credential: Credential{
			Generation: 2, Kind: providers.KindAPIKey, Pinned: "pin",
			Key:     map[string]providers.Secret{"api_key": providers.NewSecret("the key")},
			Rotated: noon, Serving: noon, Traces: someTraces,
		},
	}
	// storedReconnected was connected at another provider before, which named the same account otherwise.
	storedReconnected = Connection{
		Serial: 9, Provider: "acme", Created: ann,
		Credential: Credential{
			Generation: 7, Kind: providers.KindAuthorizationCode, Pinned: "pin", FlowID: "flow",
			Account: Account{ID: "ann", Pinned: "former pin"},
			Grant: &providers.Grant{
				AccessToken: providers.NewSecret("access token"), RefreshToken: providers.NewSecret("refresh token"), Issued: noon,
			},
			Rotated: noon, Serving: noon,
		},
	}
)

// first is what the first release wrote in connection_*.json, as this one sees it: refreshed once, at one o'clock.
func first(change func(*Connection)) *Connection {
	at := noon.Add(time.Hour)
	c := &Connection{
		Serial: 2, Provider: "acme", Created: ann,
		Credential: Credential{
			Generation: 2, Kind: providers.KindAuthorizationCode, Pinned: "pin", FlowID: "flow",
			Account: Account{ID: "1", Label: "Ann", Email: "ann@example.com", Pinned: "pin"},
			Grant: &providers.Grant{
				AccessToken: providers.NewSecret("access two"), RefreshToken: providers.NewSecret("refresh two"),
				Issued: at, Expires: at.Add(time.Hour), HardLimit: at.Add(time.Hour),
				Account: providers.Account{ID: "1", Label: "Ann", Email: "ann@example.com"},
			},
			Rotated: at, LastRefresh: at,
		},
	}
	change(c)
	return c
}

func withoutDrift(j Job) Job {
	j.Filters.Rotation, j.Filters.Drift = nil, nil
	return j
}

// entry is one file below testdata: where storage has it, how it is read and written, and what it says.
type entry struct {
	key   string
	read  func(context.Context, Store) (any, error)
	write func(context.Context, Store, any) error
	want  any
}

const someTraces Traces = "aGFzaCBvZiB0aGUgdG9rZQ:20500:access_token aGFzaCBvZiB0aGUga2V5IQ:20501:api_key"

var slack = Key{Owner{Org: "acme"}, "slack"}

func connectionEntry(c *Connection) entry {
	return entry{
		slack.storage(), func(ctx context.Context, s Store) (any, error) { return s.Connection(ctx, slack) },
		func(ctx context.Context, s Store, v any) error { return s.PutConnection(ctx, slack, v.(*Connection)) }, c,
	}
}

// entries are the files that hold what this release writes, by their names.
func entries() map[string]entry {
	return map[string]entry{
		"v1/config": {
			configKey, func(ctx context.Context, s Store) (any, error) { return s.Config(ctx) },
			func(ctx context.Context, s Store, v any) error { return s.PutConfig(ctx, v.(*Config)) }, &storedConfig,
		},
		"v1/config_suspected": {
			configKey, func(ctx context.Context, s Store) (any, error) { return s.Config(ctx) },
			func(ctx context.Context, s Store, v any) error { return s.PutConfig(ctx, v.(*Config)) }, &suspectedConfig,
		},
		"v2/provider": {
			providerPrefix + "acme", func(ctx context.Context, s Store) (any, error) { return s.Provider(ctx, "acme") },
			func(ctx context.Context, s Store, v any) error {
				former := *v.(*Provider)
				former.Serial-- // each write raises it
				return s.PutProvider(ctx, "acme", &former)
			}, &storedProvider,
		},
		"v2/config": {
			configKey, func(ctx context.Context, s Store) (any, error) { return s.Config(ctx) },
			func(ctx context.Context, s Store, v any) error { return s.PutConfig(ctx, v.(*Config)) }, &frozenConfig,
		},
		"v3/provider": {
			providerPrefix + "acme", func(ctx context.Context, s Store) (any, error) { return s.Provider(ctx, "acme") },
			func(ctx context.Context, s Store, v any) error { return s.PutFreeze(ctx, "acme", v.(*Provider)) },
			&frozenProvider,
		},
		"v2/connection":             connectionEntry(&storedConnection),
		"v2/connection_key":         connectionEntry(&storedKey),
		"v2/connection_reconnected": connectionEntry(&storedReconnected),
		"v2/connection_bought":      connectionEntry(&storedBought),
		"v2/connection_traced":      connectionEntry(&storedTraced),
		"v4/provider": {
			providerPrefix + "acme", func(ctx context.Context, s Store) (any, error) { return s.Provider(ctx, "acme") },
			func(ctx context.Context, s Store, v any) error { return s.PutFreeze(ctx, "acme", v.(*Provider)) },
			&signingProvider,
		},
		"v2/flow": {
			flowPrefix + "id", func(ctx context.Context, s Store) (any, error) { return s.Flow(ctx, "id") },
			func(ctx context.Context, s Store, v any) error { return s.PutFlow(ctx, v.(*Flow)) }, &storedFlow,
		},
		"v2/flow_device": {
			flowPrefix + "id", func(ctx context.Context, s Store) (any, error) { return s.Flow(ctx, "id") },
			func(ctx context.Context, s Store, v any) error { return s.PutFlow(ctx, v.(*Flow)) }, &storedDeviceFlow,
		},
		"v3/flow_link": {
			flowPrefix + "id", func(ctx context.Context, s Store) (any, error) { return s.Flow(ctx, "id") },
			func(ctx context.Context, s Store, v any) error { return s.PutFlow(ctx, v.(*Flow)) }, &storedLinkFlow,
		},
		"v1/trial": {
			trialKey(slack, "digest"), func(ctx context.Context, s Store) (any, error) {
				return get(ctx, s.storage, trialKey(slack, "digest"), decodeTrial)
			},
			func(ctx context.Context, s Store, v any) error { return s.PutTrial(ctx, slack, v.(*Trial)) }, &storedTrial,
		},
		"v1/code": {
			codePrefix + "hash", func(ctx context.Context, s Store) (any, error) { return s.Code(ctx, "hash") },
			func(ctx context.Context, s Store, v any) error { return s.PutCode(ctx, "hash", v.(*Code)) }, &storedCode,
		},
		"v1/history": {
			historyPrefix + slack.hash(), func(ctx context.Context, s Store) (any, error) { return s.History(ctx, slack) },
			func(ctx context.Context, s Store, v any) error {
				return put(ctx, s.storage, historyPrefix+slack.hash(), v.(*History), encodeHistory)
			}, &storedHistory,
		},
		"v1/history_buried": {
			historyPrefix + slack.hash(), func(ctx context.Context, s Store) (any, error) { return s.History(ctx, slack) },
			func(ctx context.Context, s Store, v any) error { return s.putHistory(ctx, slack, v.(*History)) }, &storedBurials,
		},
		"v1/lookup": {
			lookupPrefix + "job-1", func(ctx context.Context, s Store) (any, error) { return s.Lookup(ctx, "job-1") },
			func(ctx context.Context, s Store, v any) error { return s.PutLookup(ctx, v.(*Lookup)) }, &storedLookup,
		},
		"v1/lookup_key": {
			hasherEntry, func(ctx context.Context, s Store) (any, error) { return s.Hasher(ctx) },
			func(ctx context.Context, s Store, v any) error { return s.PutHasher(ctx, v.(*Hasher)) }, &storedHasher,
		},
		"v1/job": {
			jobPrefix + "job-1", func(ctx context.Context, s Store) (any, error) { return s.Job(ctx, "job-1") },
			func(ctx context.Context, s Store, v any) error { return s.PutJob(ctx, v.(*Job)) }, &plainJob,
		},
		"v2/job": {
			jobPrefix + "job-1", func(ctx context.Context, s Store) (any, error) { return s.Job(ctx, "job-1") },
			func(ctx context.Context, s Store, v any) error { return s.PutJob(ctx, v.(*Job)) }, &storedJob,
		},
		"v2/job_unused": {
			jobPrefix + "job-2", func(ctx context.Context, s Store) (any, error) { return s.Job(ctx, "job-2") },
			func(ctx context.Context, s Store, v any) error { return s.PutJob(ctx, v.(*Job)) }, &storedUnusedJob,
		},
		"v1/use": {
			"use/00f", func(ctx context.Context, s Store) (any, error) { return s.Use(ctx, 15) },
			func(ctx context.Context, s Store, v any) error { return s.PutUse(ctx, 15, v.(*UseShard)) }, &storedUse,
		},
		"v1/use_began": {
			"use/began", func(ctx context.Context, s Store) (any, error) { return s.UseBegan(ctx) },
			func(ctx context.Context, s Store, v any) error { return s.PutUseBegan(ctx, v.(*UseBegan)) }, &storedUseBegan,
		},
		"v1/chunk": {
			chunkKey("job-1", 0), func(ctx context.Context, s Store) (any, error) { return s.Chunk(ctx, "job-1", 0) },
			func(ctx context.Context, s Store, v any) error { return s.PutChunk(ctx, "job-1", 0, v.(*Chunk)) }, &storedChunk,
		},
		"v1/intent": {
			intentPrefix + slack.hash(), func(ctx context.Context, s Store) (any, error) { return s.Intent(ctx, slack) },
			func(ctx context.Context, s Store, v any) error { return s.PutIntent(ctx, slack, v.(*Intent)) }, &storedIntent,
		},
		"v1/leavers": {
			leaversKey, func(ctx context.Context, s Store) (any, error) { return s.Leavers(ctx) },
			func(ctx context.Context, s Store, v any) error { return s.PutLeavers(ctx, v.(*Leavers)) }, &storedLeavers,
		},
		"v1/heartbeat": {
			heartbeatKey, func(ctx context.Context, s Store) (any, error) { return s.Heartbeat(ctx) },
			func(ctx context.Context, s Store, v any) error { return s.PutHeartbeat(ctx, v.(*Heartbeat)) }, &storedHeartbeat,
		},
	}
}

// upgraded are the connections that the first release wrote, with what they are now.
func upgraded() map[string]struct {
	want   *Connection
	status Status
	reason Reason
	since  time.Time
} {
	refusal := func(r Reason) func(*Connection) {
		return func(c *Connection) { c.Refused = Refusal{r, noon.Add(2 * time.Hour)} }
	}
	failed := func(c *Connection, failures int, unknown bool) {
		c.Attempt = Attempt{
			Failures: failures, Last: noon.Add(2 * time.Hour), Class: providers.Rejected, Code: "invalid_grant",
			Why: "grant_refused", Unknown: unknown, ProviderSerial: 3,
		}
	}
	disabled := func(c *Connection) {
		by := Actor{Time: noon.Add(3 * time.Hour)}
		c.Stops = Stops{Either: by, By: by}
	}

	sales := storedConnection.Clone()
	sales.Companions, sales.CompanionsBy, sales.ID, sales.Updated = nil, "", "", Actor{}
	sales.Shares, sales.Record, sales.Entity = nil, nil, Entity{}
	sales.PassedLimit, sales.ToldAge = time.Time{}, time.Time{}
	sales.Offer, sales.Moving, sales.MovedFrom = nil, Moving{}, ""
	sales.DebugUntil, sales.DebugBy = time.Time{}, ""
	sales.Ending, sales.Ended = Ending{}, nil
	sales.OpenedBy, sales.SetBy, sales.RequiredBy, sales.AdoptedBy, sales.Sites = "", "", "", "", nil
	sales.Closed, sales.Switched, sales.Invalid, sales.FormerUntil = false, nil, time.Time{}, time.Time{}
	sales.Stops = Stops{Either: Actor{Time: noon}, By: Actor{Time: noon}}
	sales.Deleting, sales.Imported = time.Time{}, Import{}
	sales.RotateAfter, sales.KeyAge, sales.FormerAge = 0, KeyAge{}, KeyAge{}
	sales.LostScopes, sales.UnaskedScopes = nil, nil
	sales.Serving, sales.Refused = time.Time{}, Refusal{ReasonGrantRefused, noon}
	sales.Attempt = Attempt{
		Failures: 2, Last: noon, Next: noon.Add(time.Minute), Class: providers.Transient, Code: "c", Why: "server_error",
		Unknown: true, ProviderSerial: 3,
	}
	theKey := storedKey.Clone()
	theKey.Stops, theKey.Captured = Stops{}, nil
	theKey.KeepFormer(nil, nil, time.Time{})
	imported := &Connection{
		Serial: 1, Provider: "acme", Created: ann,
		Credential: Credential{
			Generation: 3, Kind: providers.KindAuthorizationCode, Pinned: "pin",
			Imported: Import{Digest: digest(providers.NewSecret("imported token")), Generation: 2},
			Grant: &providers.Grant{
				AccessToken: providers.NewSecret("access token"), RefreshToken: providers.NewSecret("refresh token"), Issued: noon,
			},
			Rotated: noon, Serving: noon,
		},
	}
	return map[string]struct {
		want   *Connection
		status Status
		reason Reason
		since  time.Time
	}{
		"connection": {sales, StatusDisabled, ReasonDisabledByPerson, noon},
		"key":        {theKey, StatusActive, "", noon},
		"import":     {imported, StatusActive, "", noon},

		"connection_active": {first(func(c *Connection) { c.Serving = noon }), StatusActive, "", noon},
		"connection_grant_refused": {
			first(func(c *Connection) { refusal(ReasonGrantRefused)(c); failed(c, 1, false) }),
			StatusNeedsReconnect, ReasonGrantRefused, noon.Add(2 * time.Hour),
		},
		"connection_outcome_unknown": {
			first(func(c *Connection) { refusal(ReasonOutcomeUnknown)(c); failed(c, 2, true) }),
			StatusNeedsReconnect, ReasonOutcomeUnknown, noon.Add(2 * time.Hour),
		},
		"connection_idle_limit": {
			first(func(c *Connection) { refusal(ReasonIdleLimit)(c); failed(c, 1, false) }),
			StatusNeedsReconnect, ReasonIdleLimit, noon.Add(2 * time.Hour),
		},
		"connection_hard_limit": {
			first(refusal(ReasonHardLimit)), StatusNeedsReconnect, ReasonHardLimit, noon.Add(2 * time.Hour),
		},
		"connection_disabled": {
			first(func(c *Connection) { disabled(c); c.Serving = noon.Add(3 * time.Hour) }),
			StatusDisabled, ReasonDisabledByPerson, noon.Add(3 * time.Hour),
		},
		"connection_disabled_hard_limit": {
			first(func(c *Connection) { disabled(c); c.Refused = Refusal{ReasonHardLimit, noon.Add(3 * time.Hour)} }),
			StatusDisabled, ReasonDisabledByPerson, noon.Add(3 * time.Hour),
		},
		"connection_deleting": {
			first(func(c *Connection) { c.Deleting, c.Serving = noon.Add(4*time.Hour), noon.Add(4*time.Hour) }),
			StatusDisabled, ReasonDeleting, noon.Add(4 * time.Hour),
		},
		// The first release forgot that a person had switched it off when it was deleted.
		"connection_deleting_disabled": {
			first(func(c *Connection) {
				c.Deleting, c.Refused = noon.Add(3*time.Hour), Refusal{ReasonGrantRefused, noon.Add(3 * time.Hour)}
				failed(c, 1, false)
			}),
			StatusDisabled, ReasonDeleting, noon.Add(3 * time.Hour),
		},
	}
}

// stored reads a file below testdata, without the line's end that the encoder does not write.
func stored(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	return bytes.TrimSuffix(b, []byte("\n"))
}

// holding gives storage that has one entry.
func holding(t *testing.T, key string, value []byte) *logical.InmemStorage {
	t.Helper()
	storage := &logical.InmemStorage{}
	require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: value}))
	return storage
}

func inStorage(t *testing.T, s logical.Storage, key string) string {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	require.NotNil(t, e)
	return string(e.Value)
}

func TestEntriesComeBackWhole(t *testing.T) {
	for name, e := range entries() {
		t.Run(name+" is read as it was meant", func(t *testing.T) {
			got, err := e.read(t.Context(), New(holding(t, e.key, stored(t, name))))
			require.NoError(t, err)
			assert.Equal(t, e.want, got)
		})
		t.Run(name+" is written byte for byte", func(t *testing.T) {
			storage := &logical.InmemStorage{}
			require.NoError(t, e.write(t.Context(), New(storage), e.want))
			assert.Equal(t, string(stored(t, name)), inStorage(t, storage, e.key))
		})
	}
}

// Providers and flows of the first release have what came later as if nobody had said it.
func TestProvidersAndFlowsOfTheFirstRelease(t *testing.T) {
	provider, flow := storedProvider, storedFlow
	flow.Restores = false
	provider.Kinds, provider.AllowedOwners, provider.AllowImport, provider.SurplusScopes = nil, nil, "", ""
	provider.BoundInputs = nil
	provider.DefinitionYAML, provider.DefinitionPin, provider.Companions, provider.CompanionsFor = "", "", nil, nil
	provider.CAPin, provider.SharedRedirect, provider.RequireIss, provider.Unproven = "", false, false, false
	provider.RefreshTTL, provider.IdleTTL, provider.OptionalScopes = 0, 0, nil
	provider.CheckInterval = nil
	flow.Private, flow.Reconnects = nil, false
	p, err := decodeProvider(stored(t, "v1/provider"))
	require.NoError(t, err)
	assert.Equal(t, &provider, p)
	f, err := decodeFlow(stored(t, "v1/flow"))
	require.NoError(t, err)
	assert.Equal(t, &flow, f)
}

// What an older release would serve it must refuse, and no more than that: once nothing is frozen, it can run again.
func TestFreezingAndOlderReleases(t *testing.T) {
	const knownToConfig, knownToProvider = 1, 2 // by releases without a freeze
	s := &logical.InmemStorage{}
	version := func(key string) (h header) {
		require.NoError(t, json.Unmarshal([]byte(inStorage(t, s, key)), &h))
		return h
	}
	for what, change := range map[string]func(*Config){
		"the mount": func(c *Config) { c.Frozen = true },
		"an owner":  func(c *Config) { c.FrozenOwners = []string{"org/acme"} },
	} {
		c := DefaultConfig()
		change(c)
		require.NoError(t, New(s).PutConfig(t.Context(), c))
		require.ErrorContains(t, version(configKey).check("config", knownToConfig), "newer release", what)
		c.Frozen, c.FrozenOwners = false, nil
		require.NoError(t, New(s).PutConfig(t.Context(), c))
		require.NoError(t, version(configKey).check("config", knownToConfig), what)
	}
	p := frozenProvider
	require.NoError(t, New(s).PutProvider(t.Context(), "acme", &p))
	require.ErrorContains(t, version(providerPrefix+"acme").check("provider", knownToProvider), "newer release")
	p.Freeze = Freeze{}
	require.NoError(t, New(s).PutFreeze(t.Context(), "acme", &p))
	require.NoError(t, version(providerPrefix+"acme").check("provider", knownToProvider))
	assert.Equal(t, frozenProvider.Serial+1, p.Serial, "a freeze is no change of what was refused")

	// so is what would send a private key
	const knowsNoKeys = 3
	for what, change := range map[string]func(*Provider){
		"the secret": func(p *Provider) { p.ClientSecret = signingProvider.ClientSecret },
		"the former": func(p *Provider) { p.FormerSecret = signingProvider.FormerSecret },
	} {
		p := storedProvider
		change(&p)
		require.NoError(t, New(s).PutProvider(t.Context(), "acme", &p))
		require.ErrorContains(t, version(providerPrefix+"acme").check("provider", knowsNoKeys), "newer release", what)
		p.SetClientSecret(providers.NewSecret("words"))
		p.DropFormerSecret()
		require.NoError(t, New(s).PutProvider(t.Context(), "acme", &p))
		require.NoError(t, version(providerPrefix+"acme").check("provider", knownToProvider), what)
	}
}

// A field without a value would be in no file, so that losing it would be noticed by nobody.
func TestEveryFieldOfAConnectionIsInItsFile(t *testing.T) {
	c := reflect.ValueOf(storedConnection)
	for _, v := range []reflect.Value{
		c, c.FieldByName("Credential"), reflect.ValueOf(storedConnection.Stops), reflect.ValueOf(*storedConnection.Offer),
		reflect.ValueOf(storedConnection.Stops.Others), reflect.ValueOf(storedConnection.Entity),
		reflect.ValueOf(storedConnection.Refused), reflect.ValueOf(storedConnection.Ending),
		reflect.ValueOf(*storedConnection.Ended), reflect.ValueOf(storedJob), reflect.ValueOf(storedJob.Filters),
		reflect.ValueOf(storedChunk), reflect.ValueOf(storedChunk.Failures[0]), reflect.ValueOf(storedLookup),
		reflect.ValueOf(storedLookup.Found[0]), reflect.ValueOf(storedBurials.Buried[0]),
		reflect.ValueOf(storedConnection.Account), reflect.ValueOf(storedConnection.Imported),
		reflect.ValueOf(storedConnection.Attempt), reflect.ValueOf(*storedConnection.Sites),
		reflect.ValueOf(storedConnection.Sites.Choices[0]), reflect.ValueOf(*storedConnection.Grant),
	} {
		for i := range v.NumField() {
			field := v.Field(i)
			switch f := v.Type().Field(i); {
			case !f.IsExported(), v.Type() == reflect.TypeFor[providers.Grant]() && f.Name == "Sites":
				continue // they stand beside the grant
			case f.Name == "Unused":
				field = reflect.ValueOf(storedUnusedJob.Filters.Unused)
			case slices.Contains([]string{"Key", "FormerKey", "Captured", "FormerCaptured"}, f.Name):
				field = reflect.ValueOf(storedKey).FieldByName(f.Name)
			case f.Name == "Traces":
				field = reflect.ValueOf(storedTraced.Traces)
			}
			assert.False(t, field.IsZero(), "%s.%s", v.Type().Name(), v.Type().Field(i).Name)
		}
	}
	for _, v := range []any{storedKey.Captured.Config, storedKey.Captured.SecretConfig} {
		assert.NotEmpty(t, v)
	}
}

// What was told of a key goes with it: an older release that replaces the key does not know what is told of it, nor a
// consent that takes its place.
func TestCapturedOfAnotherKey(t *testing.T) {
	right := string(stored(t, "v2/connection_key"))
	for name, c := range map[string]struct {
		is, then     string
		told, former bool // what holds then
	}{
		"another key since":        {`"generation":1,"kind"`, `"generation":2,"kind"`, false, false},
		"a grant since":            {`"key":{`, `"grant":{"access_token":"t"},"key":{`, false, true},
		"the former key is erased": {`"former_key":{"api_key":"the former key"},`, ``, true, false},
		"nothing was told":         {`"config":{"hub":"1"},"secret_config":{"hook":"told"}`, `"config":{}`, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, right, c.is)
			got, err := decodeConnection([]byte(strings.Replace(right, c.is, c.then, 1)))
			require.NoError(t, err)
			assert.Equal(t, []bool{c.told, c.former}, []bool{got.Captured != nil, got.FormerCaptured != nil})
		})
	}
}

// An engine that is upgraded finds the connections of the first release as they were.
func TestUpgradeFromTheFirstRelease(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "v1", "connection*.json"))
	require.NoError(t, err)
	for _, file := range files {
		assert.Contains(t, upgraded(), strings.TrimSuffix(filepath.Base(file), ".json"), "a file that nobody reads")
	}
	for name, u := range upgraded() {
		t.Run(name+" has the facts that its status was made of", func(t *testing.T) {
			storage := holding(t, slack.storage(), stored(t, "v1/"+name))
			s := New(storage)
			got, err := s.Connection(t.Context(), slack)
			require.NoError(t, err)
			assert.Equal(t, u.want, got)

			// None of the files is looked at after its hard limit, which would be a reason of its own.
			status, reason := got.Facts(true).Status(&got.Pinned, noon)
			assert.Equal(t, []any{u.status, u.reason}, []any{status, reason})
			assert.Equal(t, u.since, got.Since(status, reason))

			assert.Equal(t, string(stored(t, "v1/"+name)), inStorage(t, storage, slack.storage()), "reading writes nothing")
			require.NoError(t, s.PutConnection(t.Context(), slack, got))
			again, err := s.Connection(t.Context(), slack)
			require.NoError(t, err)
			assert.Equal(t, got, again)
			assert.Contains(t, inStorage(t, storage, slack.storage()), `{"version":2,`)
		})
	}
}

// later are fields of a release to come, one with a number that no float holds; lateNames is what they are called.
const later = `"later":{"a":[1,"x"],"b":12345678901234567890.50},"later_too":null`

var lateNames = []string{"later", "later_too"}

// withLater adds them to an entry.
func withLater(entry []byte) []byte {
	return append(append([]byte("{"), later+","...), entry[1:]...)
}

// fieldsOf gives what stands at the top of an entry, each value as it is spelled.
func fieldsOf(t *testing.T, entry string) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(entry), &raw))
	fields := map[string]string{}
	for name, value := range raw {
		fields[name] = string(value)
	}
	return fields
}

// What a newer release may leave to this one to ignore must be there when it comes back.
func TestFieldsOfALaterReleaseSurvive(t *testing.T) {
	for name, e := range entries() {
		if name == "v1/intent" || name == "v1/lookup_key" {
			continue // nobody writes one again that was read
		}
		t.Run(name+" is written back with what is not known of it", func(t *testing.T) {
			storage := holding(t, e.key, withLater(stored(t, name)))
			v, err := e.read(t.Context(), New(storage))
			require.NoError(t, err)
			require.NoError(t, e.write(t.Context(), New(storage), v))
			want := fieldsOf(t, string(withLater(stored(t, name))))
			assert.Equal(t, want, fieldsOf(t, inStorage(t, storage, e.key)))
		})
	}
	for name := range upgraded() {
		t.Run("the first release's "+name+" loses what only that release knew, and nothing else", func(t *testing.T) {
			e := connectionEntry(nil)
			plain, odd := holding(t, e.key, stored(t, "v1/"+name)), holding(t, e.key, withLater(stored(t, "v1/"+name)))
			for _, storage := range []*logical.InmemStorage{plain, odd} {
				c, err := e.read(t.Context(), New(storage))
				require.NoError(t, err)
				require.NoError(t, e.write(t.Context(), New(storage), c))
			}
			got := fieldsOf(t, inStorage(t, odd, e.key))
			for _, stale := range []string{"status", "status_reason", "status_since", "disabled_from", "former_reason"} {
				assert.NotContains(t, got, stale)
			}
			want := fieldsOf(t, inStorage(t, plain, e.key))
			maps.Copy(want, fieldsOf(t, "{"+later+"}"))
			assert.Equal(t, want, got)
		})
	}
	t.Run("a change is written beside them", func(t *testing.T) {
		storage := holding(t, slack.storage(), withLater(stored(t, "v2/connection")))
		s := New(storage)
		c, err := s.Connection(t.Context(), slack)
		require.NoError(t, err)
		cred := Credential{Pinned: "another pin"}
		for how, changed := range map[string]*Connection{"a copy": c.Clone(), "another credential": c.Over(cred)} {
			changed.Label = "changed"
			require.NoError(t, s.PutConnection(t.Context(), slack, changed))
			got := fieldsOf(t, inStorage(t, storage, slack.storage()))
			assert.Equal(t, `"changed"`, got["label"], how)
			for _, name := range lateNames {
				assert.Contains(t, got, name, how)
			}
		}
	})
	t.Run("a known field in another spelling is not kept beside itself", func(t *testing.T) {
		// JSON's decoder takes either for the label, and the long s of the other would come last when read again.
		right := string(withLater(stored(t, "v2/connection")))
		odd := strings.Replace(right, `"serial":4`, `"ſerial":3,"LABEL":"shouted"`, 1)
		storage := holding(t, slack.storage(), []byte(odd))
		s := New(storage)
		c, err := s.Connection(t.Context(), slack)
		require.NoError(t, err)
		c.Serial = 4
		require.NoError(t, s.PutConnection(t.Context(), slack, c))
		got := slices.Collect(maps.Keys(fieldsOf(t, inStorage(t, storage, slack.storage()))))
		assert.ElementsMatch(t, slices.Collect(maps.Keys(fieldsOf(t, right))), got)
		c, err = s.Connection(t.Context(), slack)
		require.NoError(t, err)
		assert.Equal(t, uint64(4), c.Serial)
	})
}

var versionOf = regexp.MustCompile(`"version":\d`)

// What a newer release wrote is refused, and stays as it is. Each kind of entry is newer by its own version.
func TestNewerVersionIsRefused(t *testing.T) {
	for name, e := range entries() {
		known := map[string]int{
			"v1/config": configVersion, "v1/config_suspected": configVersion,
			"v2/config": configVersion, "v2/provider": providerVersion,
			"v3/provider": providerVersion, "v2/flow": flowVersion, "v1/code": codeVersion,
			"v2/flow_device": flowVersion, "v3/flow_link": flowVersion,
			"v1/history": historyVersion, "v1/leavers": leaversVersion, "v1/chunk": chunkVersion,
			"v1/job": jobVersion, "v2/job": jobVersion, "v2/job_unused": jobVersion,
			"v1/use": useVersion, "v1/use_began": useVersion,
			"v1/intent": intentVersion, "v1/trial": trialVersion, "v1/history_buried": historyVersion,
			"v1/lookup": lookupVersion, "v1/lookup_key": hasherVersion, "v2/connection_traced": connectionVersion,
			"v1/heartbeat":  heartbeatVersion,
			"v2/connection": connectionVersion, "v2/connection_key": connectionVersion,
			"v2/connection_reconnected": connectionVersion, "v2/connection_bought": connectionVersion,
			"v4/provider": providerVersion,
		}[name]
		t.Run(name+" of the next version is refused, and told from damage", func(t *testing.T) {
			newer := versionOf.ReplaceAll(stored(t, name), fmt.Appendf(nil, `"version":%d,"of_that_one":true`, known+1))
			require.NotEqual(t, stored(t, name), newer)
			storage := holding(t, e.key, newer)
			v, err := e.read(t.Context(), New(storage))
			assert.Nil(t, v, "half of it is worse than nothing")
			noun, _ := Classify(e.key)
			assert.ErrorContains(t, err, fmt.Sprintf(
				"this %s was written by a newer release of the engine (format %d, this one knows %d)", noun, known+1, known))
			assert.True(t, Unusable(err))
			assert.False(t, Damaged(err))
			assert.Equal(t, string(newer), inStorage(t, storage, e.key))
		})
		t.Run(name+" of a version far ahead is refused too", func(t *testing.T) {
			newer := versionOf.ReplaceAll(stored(t, name), []byte(`"version":99`))
			_, err := e.read(t.Context(), New(holding(t, e.key, newer)))
			assert.ErrorContains(t, err, "newer release")
			assert.False(t, Damaged(err))
		})
	}
}

// An entry that cannot be read says so, and quotes nothing of what may be a secret.
func TestDamagedEntries(t *testing.T) {
	for name, e := range entries() {
		for what, damaged := range map[string]string{
			"broken off":                    `{"version":1,"access_token":planted`,
			"broken off in what is unknown": `{"version":1,"planted":{"planted`,
			"of a version that is a text":   `{"version":"planted"}`,
			"of a version with a fraction":  `{"version":1.5,"client_secret":"planted"}`,
			"a list":                        `["planted"]`,
			"without a version":             `{"verifier":"planted","planted":1}`,
			"of a negative version":         `{"version":-1,"client_secret":"planted"}`,
			"followed by something":         `{"version":1} planted`,
			"two entries":                   `{"version":1}{"version":1,"planted":1}`,
			"nothing":                       ``,
			"null":                          `null`,
		} {
			t.Run(name+" that is "+what+" is damaged", func(t *testing.T) {
				_, err := e.read(t.Context(), New(holding(t, e.key, []byte(damaged))))
				require.ErrorContains(t, err, "damaged")
				assert.NotContains(t, err.Error(), "planted")
				assert.True(t, Unusable(err))
				assert.True(t, Damaged(err))
			})
		}
	}
	t.Run("a text where the first release wrote a time is damage", func(t *testing.T) {
		entry := strings.Replace(string(stored(t, "v1/connection_active")), `"status_since":"`, `"status_since":"planted`, 1)
		_, err := New(holding(t, slack.storage(), []byte(entry))).Connection(t.Context(), slack)
		assert.True(t, Damaged(err))
		assert.NotContains(t, err.Error(), "planted")
	})
}

// Whether an entry may be replaced must not be concluded from what says nothing of it.
func TestOtherErrorsAreNeitherUnusableNorDamaged(t *testing.T) {
	storage := &testenv.Storage{}
	storage.Judge(func(testenv.Access) error { return testenv.ErrStorage })
	_, silent := New(storage).Connection(t.Context(), slack)
	require.ErrorIs(t, silent, testenv.ErrStorage)
	for _, err := range []error{nil, silent, context.DeadlineExceeded} {
		assert.False(t, Unusable(err))
		assert.False(t, Damaged(err))
	}
	wrapped := fmt.Errorf("org/acme/slack: %w", damaged("broken"))
	assert.True(t, Unusable(wrapped))
	assert.True(t, Damaged(wrapped))
}

// An entry holds its secrets in the open, or they would be lost: each is there, and none as a redaction.
func TestSecretsAreStored(t *testing.T) {
	for name, secrets := range map[string][]string{
		"v1/provider":       {"client secret", "former secret", "app key"},
		"v2/connection":     {"access token", "refresh token", "secret config"},
		"v2/connection_key": {"the key", "org-1"},
		"v1/flow":           {"verifier", "code", "ABCDEFGH"},
		"v3/flow_link":      {"parked key", "ABCDEFGH"},
	} {
		for _, secret := range secrets {
			assert.Contains(t, string(stored(t, name)), `"`+secret+`"`)
		}
		assert.NotContains(t, string(stored(t, name)), "[redacted]")
	}
}
