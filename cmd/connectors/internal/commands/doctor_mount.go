package commands

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// checkPages looks at what browsers get of the mount: whether its public address leads there, and whether its pages may
// be framed. consents is how many providers lead people there.
func checkPages(ctx context.Context, server *client.Server, c *client.Client, consents int) []finding {
	config, err := c.Config(ctx)
	if err != nil {
		return []finding{notTold("public_url", "config", err)}
	}
	own := pageAt(ctx, server, server.MountAddress(c.Mount()), "/callback/doctor")
	base := publicMount(config.PublicURL, c.Mount())
	if base == "" {
		f := finding{
			"public_url", warning, "it is not set, so nobody can connect by a consent",
			"vault write " + c.Mount() + "/config public_url=https://vault.example.com",
		}
		if consents > 0 {
			f.Result = failure
		}
		return []finding{f, judgeFraming(c.Mount(), own)}
	}
	public := pageAt(ctx, server, base, "/callback/doctor")
	f := judgePublicURL(c.Mount(), base, public, own)
	if f.Result == failure {
		return []finding{f, judgeFraming(c.Mount(), own)}
	}
	return []finding{f, judgeFraming(c.Mount(), public, pageAt(ctx, server, base, "/connect"))}
}

// loaded is a page, or why there is none.
type loaded struct {
	*client.Page
	path string
	err  error
}

func pageAt(ctx context.Context, server *client.Server, base, path string) loaded {
	ctx, cancel := context.WithTimeout(ctx, answers)
	defer cancel()
	page, err := server.Page(ctx, base+path)
	return loaded{Page: page, path: path, err: err}
}

var pageTitle = regexp.MustCompile(`<title>([^<]+)</title>`)

// title is that of a page; empty where it is none.
func (l loaded) title() string {
	if l.err != nil || l.Status != http.StatusOK {
		return ""
	}
	found := pageTitle.FindStringSubmatch(l.Body)
	if found == nil {
		return ""
	}
	return found[1]
}

// says is how a page that is not the one looked for was answered.
func (l loaded) says() string {
	switch {
	case l.err != nil:
		return plainly(l.err)
	case l.Header.Get("Location") != "":
		return fmt.Sprintf("%d, which leads on to %s", l.Status, l.Header.Get("Location"))
	case l.title() != "":
		return "another page, " + l.title()
	}
	return fmt.Sprint(l.Status)
}

// judgePublicURL holds the page of the public address against the one that the mount itself answers.
func judgePublicURL(mount, base string, public, own loaded) finding {
	f := finding{Check: "public_url", Result: failure}
	u, err := url.Parse(base)
	switch {
	case own.title() == "":
		f.Result = warning
		f.Found = "the mount's own page cannot be loaded to compare it (" + own.says() + ")"
		f.NextStep = "try again in a while: a quota may limit the pages"
	case public.title() != own.title():
		f.Found = base + " does not lead to the page of this mount: it answers " + public.says()
		f.NextStep = "where browsers get elsewhere than this machine try it from there; else vault write " + mount +
			"/config public_url=..., and register the new callback URLs at the services"
	case err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()):
		f.Result, f.Found = warning, base+" leads here, by plain http: codes travel in the clear"
		f.NextStep = "have browsers reach it by https, and write public_url so"
	default:
		f.Result, f.Found = well, base+" leads to the page of this mount"
	}
	return f
}

// judgeFraming says whether pages reach browsers with the headers that forbid to frame them. Vault drops those of an
// engine, unless the mount lets them through.
func judgeFraming(mount string, pages ...loaded) finding {
	for _, page := range pages {
		if page.title() == "" {
			return finding{
				"framing", warning, "the page " + page.path + " cannot be loaded (" + page.says() + ")",
				"try again in a while: a quota may limit the pages",
			}
		}
		if !strings.Contains(page.Header.Get("Content-Security-Policy"), "frame-ancestors") &&
			page.Header.Get("X-Frame-Options") == "" {
			return finding{
				"framing", warning, "another site may show " + page.path + " in a frame, and have its button pressed unseen",
				// the flag once for each: Vault takes a list with commas for the name of one header
				"vault secrets tune -allowed-response-headers=Content-Security-Policy" +
					" -allowed-response-headers=X-Frame-Options -allowed-response-headers=Referrer-Policy " + mount + "/",
			}
		}
	}
	return finding{"framing", well, "no other site may show the pages in a frame", ""}
}

// checkProviders looks for those that lack something of the operator's. consents is how many lead people through one.
func checkProviders(ctx context.Context, c *client.Client) (found []finding, consents int) {
	list, err := c.Providers(ctx)
	if err != nil {
		return []finding{notTold("providers", "providers/", err)}, 0
	}
	definitions := map[string]*client.Definition{}
	for _, name := range list.Keys {
		provider, err := c.Provider(ctx, name)
		if err != nil {
			found = append(found, finding{
				"provider " + name, failure, err.Error(), "do what this says; until then its connections are not served",
			})
			continue
		}
		if provider.ClientID != "" && forConsent(provider.Kinds) {
			consents++
		}
		if definitions[provider.Definition] == nil {
			definition, err := c.Definition(ctx, provider.Definition)
			if err != nil {
				definition = &client.Definition{} // what it asks for is not told, so nothing is missing
			}
			definitions[provider.Definition] = definition
		}
		found = append(found, judgeProvider(name, provider, definitions[provider.Definition])...)
	}
	if len(found) == 0 {
		return []finding{{"providers", well, fmt.Sprintf("%d, and each has what it needs", len(list.Keys)), ""}}, consents
	}
	return found, consents
}

// judgeProvider says what a provider lacks. One without a client id is for keys alone.
func judgeProvider(name string, p *client.Provider, definition *client.Definition) (found []finding) {
	if p.ClientID != "" && speaksAsApp(p.Kinds) && !p.ClientSecretSet && p.ClientAuth != "none" {
		found = append(found, finding{
			"provider " + name, warning, "it has a client id and no client secret",
			"connectors provider rotate " + name + "; if its app has none, write client_auth=none to providers/" + name,
		})
	}
	for _, field := range heldFields(definition) {
		if definition.KeyFields[field].Required && !slices.Contains(p.KeyFieldsSet, field) {
			found = append(found, finding{
				"provider " + name, warning, "it has no " + field + ", which is the operator's",
				"write " + field + " to providers/" + name,
			})
		}
	}
	return found
}

// notTold is what is found where the token may not look.
func notTold(check, path string, err error) finding {
	if client.StatusOf(err) == http.StatusForbidden {
		return finding{
			check, warning, "not looked at: this token may not read " + path,
			"to have it checked, use a token with the policy of an operator (operator.hcl)",
		}
	}
	return finding{check, failure, err.Error(), "do what this says, or read the log of Vault"}
}

// ability is what a token may be for.
type ability struct {
	check, policy string
	wants         map[string][]string // capabilities by path
}

// abilities are those that commands need, with the policy to copy for each.
var abilities = []ability{
	{"may connect", "own.hcl", map[string][]string{
		"catalog": {"read"}, "auth-code-url/self/x": {"update"}, "exchange": {"update"}, "creds/self/x": {"read"},
		"check/self/x": {"update"}, "connections/self/": {"list"}, "connections/self/x": {"read", "update", "delete"},
	}},
	{"may configure", "operator.hcl", map[string][]string{
		"config": {"read", "update"}, "status": {"read"}, "providers/": {"list"},
		"providers/x": {"create", "read", "update", "delete"},
	}},
	{"may see all", "auditor.hcl", map[string][]string{"inventory": {"read"}, "connections/": {"list"}}},
	{"may look up", "break-glass.hcl", map[string][]string{"lookup": {"update"}, "lookup/x": {"read"}}},
	{"may end many", "one with update on revoke, and read, update, delete on revoke/*", map[string][]string{
		"revoke": {"update"}, "revoke/x": {"read", "update", "delete"},
	}},
}

// checkAbilities asks Vault what the token may do.
func checkAbilities(ctx context.Context, c *client.Client) (found []finding) {
	var paths []string
	for _, one := range abilities {
		for path := range one.wants {
			paths = append(paths, path)
		}
	}
	may, err := c.Capabilities(ctx, paths)
	if err != nil {
		return []finding{{
			"policies", warning, "what this token may do cannot be told: " + err.Error(),
			"give it the policy default, or sys/capabilities-self",
		}}
	}
	nothing := true
	for _, one := range abilities {
		f, some := one.judge(may)
		found, nothing = append(found, f), nothing && !some
	}
	if nothing {
		return []finding{{
			"policies", failure, "this token may do none of what the commands are for",
			"ask an operator for a policy, as own.hcl",
		}}
	}
	return found
}

// judge says whether the token may do all of it, some, or nothing; that it may not is nothing wrong. Who may connect in
// part alone finds that out late.
func (a ability) judge(may map[string][]string) (f finding, some bool) {
	var lacks []string
	for path, wanted := range a.wants {
		for _, capability := range wanted {
			if slices.Contains(may[path], capability) || slices.Contains(may[path], "root") {
				some = true
			} else {
				lacks = append(lacks, capability+" "+path)
			}
		}
	}
	slices.Sort(lacks)
	f = finding{Check: a.check, Result: well, Found: "yes"}
	switch {
	case len(lacks) > 0 && some:
		f.Found = "in part: it may not " + strings.Join(lacks, ", ")
		if f.Check == abilities[0].check {
			f.Result, f.NextStep = warning, "ask for all of "+a.policy
		}
	case len(lacks) > 0:
		f.Found = "no; the policy is " + a.policy
	}
	return f, some
}
