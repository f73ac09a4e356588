package acceptance

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// watched notes the arguments of all processes of the machine, as every user of it may read them.
type watched struct {
	stop, done chan struct{}
	mu         sync.Mutex
	seen       map[string]bool
	news       chan struct{}
}

func watchArguments(t *testing.T) *watched {
	t.Helper()
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("there is no /proc here")
	}
	a := &watched{
		stop: make(chan struct{}), done: make(chan struct{}), seen: map[string]bool{}, news: make(chan struct{}, 1),
	}
	go func() {
		defer close(a.done)
		again := time.NewTicker(25 * time.Millisecond)
		defer again.Stop()
		for {
			a.look()
			select {
			case <-again.C:
			case <-a.stop:
				return
			}
		}
	}()
	t.Cleanup(a.end)
	return a
}

func (a *watched) look() {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || len(text) == 0 {
			continue
		}
		a.mu.Lock()
		a.seen[string(text)] = true
		a.mu.Unlock()
	}
	select {
	case a.news <- struct{}{}:
	default:
	}
}

func (a *watched) end() {
	select {
	case <-a.done:
	default:
		close(a.stop)
		<-a.done
	}
}

// have reports whether some process had a text among its arguments.
func (a *watched) have(text string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for line := range a.seen {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// documentOf is what a command answers with -o json.
func (u *user) documentOf(t *testing.T, args ...string) map[string]any {
	t.Helper()
	var document map[string]any
	decoder := json.NewDecoder(strings.NewReader(u.does(t, append(args, "-o", "json")...).out))
	decoder.UseNumber() // as what the mount answers is read
	require.NoError(t, decoder.Decode(&document))
	return document
}

// ends runs a command that is to end with this exit code and to say this.
func (e *engine) ends(t *testing.T, exit int, says string, args ...string) {
	t.Helper()
	got := e.connectors(t, args...)
	assert.Equal(t, exit, got.exit, "%v: %s", args, got.complaint)
	assert.Contains(t, got.complaint, says, args)
	if exit != 0 {
		assert.Empty(t, got.out, args)
	}
}

// A connection from its making to its end, by two people with the policies to copy: used, changed, shared, renamed and
// given away; and no process has a secret among its arguments meanwhile.
func TestConnectorsWholeLife(t *testing.T) {
	t.Parallel()
	watch := watchArguments(t)
	s := newSignIn(t)
	policy := recipe(t, "policies/own.hcl") + recipe(t, "policies/everybody.hcl")
	alice, bob := s.logIn(t, "alice", policy), s.logIn(t, "bob", policy)
	hers, his := "user/"+alice.entity, "user/"+bob.entity

	at := sit(t, alice.prepared(t, "connect", "idp", "--as", "work", "--no-browser"))
	code := confirmationCode(t, s.walks(t, at.sees(t, authorizeAt), "idp"))
	assert.True(t, watch.sees(t, "--no-browser"), "the watch sees arguments")
	at.types(t, code+"\n")
	got := at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Regexp(t, `(?m)^self/work +idp +active$`, alice.does(t, "list").out)

	// changed
	edited := alice.documentOf(t, "edit", "work", "--label", "Team A", "--tag", "team=sales", "--tag", "note=a, b=c")
	assert.Equal(t, map[string]any{"team": "sales", "note": "a, b=c"}, edited["tags"])
	got = alice.does(t, "edit", "work", "--tag", "team=ops", "--untag", "note", "--required-scopes", "openid,never")
	assert.Regexp(t, `tags +team=ops\n`, got.out)
	assert.Regexp(t, `label +Team A\n`, got.out)
	assert.Regexp(t, `missing_scopes +never\n`, got.out)
	edited = alice.documentOf(t, "edit", "work", "--label", "", "--required-scopes", "")
	assert.Equal(t, []any{"", []any{}}, []any{edited["label"], edited["missing_scopes"]})
	assert.Equal(t, edited, alice.documentOf(t, "show", "work"))
	alice.does(t, "edit", "work", "--disable")
	alice.ends(t, 5, "disabled", "token", "work")
	alice.does(t, "edit", "work", "--enable", "--not-private")
	alice.ends(t, 5, "is not private", "share", "work", "--everyone")
	assert.Contains(t, alice.does(t, "share", "work").complaint, "whoever has a policy for it uses it")
	alice.does(t, "edit", "work", "--private")
	alice.ends(t, 2, "say what to change", "edit", "work")
	alice.ends(t, 2, "opposite", "edit", "work", "--disable", "--enable")
	alice.ends(t, 2, "name=value", "edit", "work", "--tag", "team")
	alice.ends(t, 2, "has nothing to choose from", "edit", "work", "--choose", "one")
	alice.ends(t, 3, "nothing is there", "edit", "absent", "--label", "x")
	alice.ends(t, 4, denied, "edit", "org/acme/work", "--label", "x")
	alice.absent(t, "connections/self/absent")

	// shared
	alice.ends(t, 0, hers+"/work is shared with nobody", "share", "work")
	bob.ends(t, 4, "is shared with you", "token", "shared/"+hers+"/work")
	got = alice.does(t, "share", "work", "--entity", bob.entity, "--expires", "7d")
	assert.Regexp(t, `entity +`+bob.entity+` +\S+ +20\S+Z`, got.out)
	assert.Contains(t, got.complaint, "connectors token shared/"+hers+"/work")
	shown := alice.documentOf(t, "share", "work")
	assert.Equal(t, alice.read(t, "shares/self/work"), shown, "one document with the path's own fields")
	assert.Regexp(t, `(?m)^shared/`+hers+`/work `, bob.does(t, "list", "shared/"+hers).out+" ")
	token := strings.TrimSpace(alice.does(t, "token", "work").out)
	assert.Equal(t, token+"\n", bob.does(t, "token", "shared/"+hers+"/work").out)
	assert.Regexp(t, `active +true`, bob.does(t, "check", "shared/"+hers+"/work").out)
	bob.ends(t, 4, denied, "show", hers+"/work")
	alice.ends(t, 2, "say which shares end", "unshare", "work")
	alice.ends(t, 2, "say with whom", "share", "work", "--expires", "1d")
	alice.ends(t, 2, "knows no entity", "share", "work", "--entity", "nobody")
	alice.ends(t, 3, "is not shared with entity nobody", "unshare", "work", "--entity", "nobody")
	alice.ends(t, 3, "is not shared with everyone", "unshare", "work", "--everyone")
	alice.ends(t, 3, "nothing is there", "share", "absent", "--everyone")
	alice.ends(t, 3, "no connection", "unshare", "absent", "--all")
	alice.ends(t, 0, "is shared with nobody", "unshare", "work", "--entity", bob.entity)
	bob.ends(t, 4, "is shared with you", "token", "shared/"+hers+"/work")
	s.group(t, "support", bob, alice)
	alice.does(t, "share", "work", "--group", s.path+"-support")
	bob.does(t, "token", "shared/"+hers+"/work")
	assert.Equal(t, []any{}, alice.documentOf(t, "unshare", "work", "--group", s.path+"-support")["shares"])
	alice.does(t, "share", "work", "--everyone")
	alice.does(t, "unshare", "work", "--all")
	bob.ends(t, 4, "is shared with you", "token", "shared/"+hers+"/work")

	// given away
	alice.ends(t, 3, "is offered to nobody", "transfer", "work")
	got = alice.does(t, "transfer", "work", his+"/gift")
	assert.Contains(t, got.complaint, "connectors accept gift --from "+hers+"/work")
	assert.Equal(t, alice.read(t, "transfer/self/work"), alice.documentOf(t, "transfer", "work"))
	alice.ends(t, 0, "no longer", "transfer", "work", "--withdraw")
	alice.ends(t, 3, "is offered to nobody", "transfer", "work", "--withdraw")
	alice.ends(t, 2, "leave out the target", "transfer", "work", "x", "--withdraw")
	alice.ends(t, 3, "nothing is there", "transfer", "absent", "x")
	bob.ends(t, 3, "is offered to", "accept", "gift", "--from", hers+"/work")
	bob.ends(t, 2, "--from", "accept", "gift")
	alice.does(t, "transfer", "work", his+"/gift")
	at = sit(t, bob.prepared(t, "accept", "gift"))
	at.sees(t, "Which connection is offered")
	at.types(t, "\x03")
	assert.Equal(t, 130, at.leaves(t).exit)
	at = sit(t, bob.prepared(t, "accept", "gift"))
	at.sees(t, "Which connection is offered")
	at.types(t, hers+"/work\n")
	got = at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Regexp(t, `connection +`+his+`/gift\nprovider +idp\n`, got.out)
	alice.ends(t, 3, "nothing is there", "show", "work")

	// renamed, and ended
	got = bob.does(t, "transfer", "gift", "crm")
	assert.Contains(t, got.complaint, his+"/gift is "+his+"/crm now")
	assert.Equal(t, token+"\n", bob.does(t, "token", "crm").out)
	history := bob.does(t, "history", "crm").out
	for _, verb := range []string{"exchange", "share", "unshare", "offer", "withdraw", "accept", "rename"} {
		assert.Regexp(t, `(?m) `+verb+`\b`, history)
	}
	away := ran(t, with(bob.prepared(t, "--mount", bob.path, "edit", "crm", "--label", "x"),
		"VAULT_ADDR=http://127.0.0.1:1"))
	assert.Equal(t, 6, away.exit, away.complaint)
	at = sit(t, bob.prepared(t, "disconnect", "crm"))
	at.sees(t, `Delete `+his+`/crm`)
	at.types(t, "n\n")
	assert.Equal(t, 1, at.leaves(t).exit)
	bob.does(t, "disconnect", "crm", "--yes")
	bob.ends(t, 3, "no connection", "token", "crm")
	assert.False(t, knows(t, s.server, token), "the grant was revoked")

	watch.end()
	for _, secret := range []string{token, alice.vault.Token, bob.vault.Token, code} {
		assert.False(t, watch.have(secret), "%.4s… was an argument", secret)
	}
}

// sees waits until some process has a text among its arguments.
func (a *watched) sees(t *testing.T, text string) bool {
	t.Helper()
	patient := time.NewTimer(patience)
	defer patient.Stop()
	for !a.have(text) {
		select {
		case <-a.news:
		case <-patient.C:
			return false
		}
	}
	return true
}

// Somebody administers an organization and has others connect its accounts, who have no token: by a consent or a key,
// at once or later, by what they tell on the telephone.
func TestConnectorsLink(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	s.newKeyService(t, deskKey)
	watch := watchArguments(t)
	desk := s.logIn(t, "helpdesk", recipe(t, "policies/org-admin.hcl"))

	at := sitting(t, desk.prepared(t, "link", "org/acme/mail", "--provider", "idp", "--purpose", "The newsletter"),
		true)
	link := at.sees(t, `(http://\S+/connect\?link=\S+)`)
	at.sees(t, "for one person, until")
	at.sees(t, "The eight characters that they tell you: $")
	at.types(t, "AAAA-AAAA\n")
	at.sees(t, "authorization_pending")
	code := s.consents(t, link)
	at.types(t, "hello\n")
	at.sees(t, "eight letters and digits")
	at.types(t, "AAAA-AAAA\n")
	at.sees(t, `does not match`)
	at.types(t, strings.ToLower(code)+"\n")
	got := at.leaves(t)
	require.Zero(t, got.exit, got.complaint)
	assert.Regexp(t, `connection +org/acme/mail`, got.complaint, "its data goes to the terminal too")
	assert.Equal(t, "active", desk.read(t, "connections/org/acme/mail")["status"])
	desk.ends(t, 2, "is connected already", "link", "org/acme/mail", "--finish")
	assert.Regexp(t, `state +connected`, desk.does(t, "link", "org/acme/mail", "--state").out)

	// later, by a pipe: the address alone is on stdout, and Ctrl-C at the question left the link open
	at = sitting(t, desk.prepared(t, "link", "org/acme/second", "--provider", "idp", "--ttl", "2h", "--account", person),
		true)
	link = at.sees(t, `(http://\S+/connect\?link=\S+)`)
	at.sees(t, "tell you: $")
	at.types(t, "\x03")
	assert.Equal(t, 130, at.leaves(t).exit)
	state := desk.documentOf(t, "link", "org/acme/second", "--state")
	assert.Equal(t, "offered", state["state"])
	assert.Equal(t, desk.read(t, "connect-link/org/acme/second"), state)
	code = s.consents(t, link)
	finish := func(text string, args ...string) printed {
		cmd := desk.prepared(t, append([]string{"link", "org/acme/second", "--finish"}, args...)...)
		cmd.Stdin = strings.NewReader(text)
		return ran(t, cmd)
	}
	assert.Equal(t, 2, finish("").exit)
	assert.Equal(t, 2, finish("AAAAAAAA\n").exit)
	got = finish(code+"\n", "-o", "json")
	require.Zero(t, got.exit, got.complaint)
	assert.Contains(t, got.out, `"name": "second"`)

	// a key, of which nobody but the person and the service hears
	made := desk.documentOf(t, "link", "org/acme/desk")
	code = confirmationCode(t, s.posts(t, made["url"].(string), url.Values{"key.api_key": {deskKey}}))
	s.ends(t, 4, "made by somebody else", "link", "org/acme/desk", "--state", "--mount", s.path)
	cmd := desk.prepared(t, "link", "org/acme/desk", "--finish", "--flow", made["flow_id"].(string))
	cmd.Stdin = strings.NewReader(code)
	got = ran(t, cmd)
	require.Zero(t, got.exit, got.complaint)
	assert.NotContains(t, got.out+got.complaint, deskKey)

	// another account than the one that was asked for is not taken
	got = desk.does(t, "link", "org/acme/theirs", "--provider", "idp", "--account", "carol")
	code = s.consents(t, strings.TrimSpace(got.out))
	assert.Equal(t, "parked", desk.documentOf(t, "link", "org/acme/theirs", "--state")["state"])
	at = sit(t, desk.prepared(t, "link", "org/acme/theirs", "--finish"))
	at.sees(t, "tell you: $")
	at.types(t, "\x03")
	assert.Equal(t, 130, at.leaves(t).exit)
	at = sit(t, desk.prepared(t, "link", "org/acme/theirs", "--finish"))
	at.sees(t, "tell you: $")
	at.types(t, code+"\n")
	got = at.leaves(t)
	assert.Equal(t, 5, got.exit, got.complaint)
	desk.ends(t, 5, "make another", "link", "org/acme/theirs", "--finish")
	desk.absent(t, "connections/org/acme/theirs")

	// what somebody else than its owner offers arrives without its credential
	alice := s.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	alice.write(t, "connections/self/desk", map[string]any{"provider": "desk", "api_key": deskKey})
	hers := "user/" + alice.entity + "/desk"
	got = s.does(t, "--mount", s.path, "transfer", hers, "org/acme/given")
	assert.Contains(t, got.complaint, "warning: ")
	got = desk.connectors(t, "accept", "org/acme/given", "--from", hers)
	assert.Equal(t, 5, got.exit, got.complaint)
	assert.Contains(t, got.complaint, "connectors reconnect org/acme/given")
	assert.Regexp(t, `status +needs_reconnect \(transferred\)`, got.out)

	// ended, and what is no use
	got = sit(t, desk.prepared(t, "link", "org/acme/third", "--provider", "idp")).leaves(t)
	require.Zero(t, got.exit, "its address goes to a program, so nothing is asked: %s", got.complaint)
	assert.Equal(t, 1, strings.Count(got.out, "\n"), "the address and nothing else: %s", got.out)
	desk.ends(t, 0, "of no use any more", "link", "org/acme/third", "--withdraw")
	desk.ends(t, 3, "no link of yours", "link", "org/acme/third", "--withdraw")
	desk.ends(t, 3, "no link of yours", "link", "org/acme/third", "--finish")
	desk.ends(t, 2, "are different things", "link", "org/acme/third", "--finish", "--state")
	desk.ends(t, 2, "--purpose is of a new link", "link", "org/acme/third", "--state", "--purpose", "x")
	desk.ends(t, 2, "--flow names a link", "link", "org/acme/third", "--flow", "x")
	desk.ends(t, 2, "ttl must lie", "link", "org/acme/third", "--provider", "idp", "--ttl", "48h")
	desk.ends(t, 4, denied, "link", "org/other/third", "--provider", "idp")
	watch.end()
	_, value, _ := strings.Cut(link, "?link=")
	for _, secret := range []string{value, code, desk.vault.Token} {
		assert.False(t, watch.have(secret), "%.4s… was an argument", secret)
	}
}

// A consent that opens several sites: which one is used is a word of the command line.
func TestConnectorsChoose(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.own(t)
	e.write(t, "exchange", s.consent(t, "x"))
	run := func(args ...string) printed { return e.connectors(t, append([]string{"--mount", e.path}, args...)...) }
	assert.Equal(t, 5, run("token", "org/default/x").exit)
	assert.Regexp(t, `choices +one \(Site one\), two \(Site two\)`, run("show", "org/default/x").out)
	got := run("edit", "org/default/x", "--choose", "three")
	assert.Equal(t, 2, got.exit)
	assert.Contains(t, got.complaint, `nothing of id "three" to pick`)
	got = run("edit", "org/default/x", "--choose", "two", "--label", "The shop")
	require.Zero(t, got.exit, got.complaint)
	assert.Regexp(t, `label +The shop\n`, got.out)
	assert.Regexp(t, `connection_config +site=two`, got.out)
	assert.True(t, s.Alive(strings.TrimSpace(run("token", "org/default/x").out)))
}

// A key that was replaced by mistake comes back by one word, and who wrote it need not have it any more.
func TestConnectorsRestoreFormer(t *testing.T) {
	t.Parallel()
	alice := newKeys(t).logIn(t, "alice", recipe(t, "policies/own.hcl"))
	alice.write(t, "connections/self/openai", key(apiKey))
	alice.ends(t, 5, "has no former key", "edit", "openai", "--restore-former")
	alice.write(t, "connections/self/openai", key(otherAPIKey))
	assert.Regexp(t, `former_key +api_key=\S+WXYZ`, alice.does(t, "show", "openai").out)
	alice.does(t, "edit", "openai", "--restore-former")
	assert.Equal(t, apiKey+"\n", alice.does(t, "token", "openai").out)
}

// posts presses the button of a link's page, with the fields that the person typed there.
func (e *engine) posts(t *testing.T, link string, fields url.Values) *stack.Page {
	t.Helper()
	address, value, found := strings.Cut(link, "?link=")
	require.True(t, found, link)
	fields.Set("link", value)
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(fields.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	page := open(t, req)
	require.Equal(t, http.StatusOK, page.Status, page.Body)
	return page
}

// consents takes a person through a link and the consent behind it, and gives the code that they are shown.
func (s *signIn) consents(t *testing.T, link string) string {
	t.Helper()
	on := ledOn.FindStringSubmatch(s.posts(t, link, url.Values{}).Body)
	require.NotNil(t, on)
	return confirmationCode(t, s.walks(t, html.UnescapeString(on[1]), "idp"))
}
