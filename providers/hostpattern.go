package providers

import (
	"errors"
	"regexp/syntax"
	"slices"
	"strings"
)

// maxHosts is how many hosts a pattern may list and still be one that a reviewer can take in.
const maxHosts = 64

// confined explains why the patterns of the placeholders in a host leave open whose host it is; nil when they do not.
// They do not if each holds only characters of a host name, and the host ends in a domain of two labels that the
// template or the last pattern fixes, in each of its alternatives, or else the patterns together list at most maxHosts
// hosts.
//
// patterns are in the order of the template; tail is the template's text after the last placeholder.
func confined(patterns []string, tail string) error {
	hosts := 1
	for i, pattern := range patterns {
		re, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			return errors.New("its pattern does not compile")
		}
		if !onlyHostCharacters(re) {
			return errors.New("its pattern takes more than the characters of a host name (letters, " +
				"digits, dots, hyphens)")
		}
		if i == len(patterns)-1 && !slices.ContainsFunc(endings(re), func(e ending) bool {
			return !fixesDomain(e.text+tail) && !(e.whole && len(patterns) == 1)
		}) {
			return nil
		}
		hosts = min(hosts*variants(re), maxHosts+1)
	}
	if hosts > maxHosts {
		return errors.New("its pattern leaves open whose host it is: let it end in a fixed domain such as " +
			".example.com, list the hosts, or say set_by: provider")
	}
	return nil
}

// fixesDomain reports whether a host that ends in tail belongs to a domain named there. Public suffixes of two labels
// (.co.uk) are not told apart: whoever reviews a definition does that.
func fixesDomain(tail string) bool {
	_, domain, _ := strings.Cut(tail, ".") // what stands before the first dot may be the end of any label
	domain, _, _ = strings.Cut(domain, ":")
	return strings.Contains(domain, ".") && checkHost(domain) == nil
}

func onlyHostCharacters(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return false
	case syntax.OpLiteral:
		return strings.Trim(string(re.Rune), hostCharacters) == ""
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if !strings.ContainsRune(hostCharacters, r) {
					return false
				}
			}
		}
	}
	for _, sub := range re.Sub {
		if !onlyHostCharacters(sub) {
			return false
		}
	}
	return true
}

// ending is a text that what is matched may end in; whole says that it is all of it.
type ending struct {
	text  string
	whole bool
}

// endings are the texts of which everything matched by re ends in one; a single empty one where that is not easily
// seen.
func endings(re *syntax.Regexp) []ending {
	open := []ending{{}}
	switch re.Op {
	case syntax.OpLiteral:
		return []ending{{string(re.Rune), true}}
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpBeginLine, syntax.OpEndText, syntax.OpEndLine:
		return []ending{{"", true}}
	case syntax.OpCapture:
		return endings(re.Sub[0])
	case syntax.OpQuest:
		return append(endings(re.Sub[0]), ending{"", true})
	case syntax.OpAlternate:
		var all []ending
		for _, sub := range re.Sub {
			all = append(all, endings(sub)...)
		}
		if len(all) > maxHosts {
			return open
		}
		return all
	case syntax.OpConcat:
		all := []ending{{"", true}}
		for _, sub := range slices.Backward(re.Sub) {
			var longer []ending
			for _, end := range all {
				if !end.whole {
					longer = append(longer, end)
					continue
				}
				for _, before := range endings(sub) {
					longer = append(longer, ending{before.text + end.text, before.whole})
				}
			}
			if all = longer; len(all) > maxHosts {
				return open
			}
		}
		return all
	}
	return open
}

// variants counts the texts that re matches, at most maxHosts+1. One text may be counted more than once.
func variants(re *syntax.Regexp) int {
	const many = maxHosts + 1
	n := 1
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return many
	case syntax.OpCharClass:
		n = 0
		for i := 0; i < len(re.Rune); i += 2 {
			n += int(re.Rune[i+1]-re.Rune[i]) + 1
		}
	case syntax.OpQuest:
		n = 1 + variants(re.Sub[0])
	case syntax.OpRepeat:
		if re.Max < 0 || re.Max > maxHosts {
			return many
		}
		each := variants(re.Sub[0])
		n = 0
		for times, texts := 0, 1; times <= re.Max; times, texts = times+1, min(texts*each, many) {
			if times >= re.Min {
				n += texts
			}
		}
	case syntax.OpAlternate:
		n = 0
		for _, sub := range re.Sub {
			n += variants(sub)
		}
	default:
		for _, sub := range re.Sub {
			n = min(n*variants(sub), many)
		}
	}
	return min(n, many)
}
