package providers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// GitAccess is where Git takes a credential as a password, and as whom it comes.
type GitAccess struct {
	Hosts    []string // host or host:port, in small letters; for https alone
	Username string
}

// Git fills in where Git takes a credential of the connection with these inputs; nil where the definition names no
// such place.
func (a *App) Git(inputs map[string]string) (*GitAccess, error) {
	spec := a.Definition.Git
	if spec == nil {
		return nil, nil
	}
	access := &GitAccess{Username: spec.Username}
	for _, host := range spec.Hosts {
		u, err := ExpandURL(host.https(), inputs)
		if err != nil {
			return nil, fmt.Errorf("the inputs do not make a usable host for Git: %w", err)
		}
		access.Hosts = append(access.Hosts, strings.ToLower(u.Host))
	}
	return access, nil
}

// https is the URL of a host.
func (t Template) https() Template { return "https://" + t }

var (
	gitHost = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?$`)
	gitUser = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)
)

// git checks where Git takes the credential. Which inputs may decide that, and whose hosts those are, is held against
// the rules for the hosts that the engine calls: an input has to stand in one of them, too.
func (c *checker) git() {
	spec := c.d.Git
	if spec == nil {
		return
	}
	if len(spec.Hosts) == 0 {
		c.add("git.hosts", "hosts is missing: where are the repositories?")
	}
	for i, host := range spec.Hosts {
		at := fmt.Sprintf("git.hosts[%d]", i)
		switch {
		case !gitHost.MatchString(placeholderPattern.ReplaceAllString(string(host), "x")):
			c.add(at, "%q: write host or host:port, in small letters, without scheme and path", host)
			continue
		case slices.Index(spec.Hosts, host) < i:
			c.add(at, "%q is named twice", host)
		}
		for _, name := range host.Placeholders() {
			_, isInput := c.d.input(name)
			if _, set := c.d.chosenBy(name); !isInput && !set || !c.d.inHost(name) {
				c.add(at, "{%s} is no input that stands in the host of an endpoint or of api_base", name)
			}
		}
		c.url(at, host.https())
	}
	if !gitUser.MatchString(spec.Username) {
		c.add("git.username", "%q: write the user name that Git shows beside the credential, up to 64 letters, digits "+
			"and . _ @ + -", spec.Username)
	}
	if c.d.Key == nil || !slices.ContainsFunc(c.d.Kinds, Kind.HasKey) {
		return
	}
	own := slices.DeleteFunc(slices.Clone(c.d.Key.Fields), func(f KeyField) bool { return f.setBy() != SetByConnection })
	if len(own) != 1 || len(own[0].JSON) > 0 {
		c.add("git", "a key with several fields is no password")
	}
}
