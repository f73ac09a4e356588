package providers

import (
	"errors"
	"regexp/syntax"
	"strings"
)

// maxHosts is how many hosts a pattern may list and still be one that a reviewer can take in.
const maxHosts = 64

// confined explains why the patterns of the placeholders in a host leave open whose host it is; nil when they do not.
// They do not if each holds only characters of a host name, and the host ends in a domain of two labels that the
// template or the last pattern fixes, or else the patterns together list at most maxHosts hosts.
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
		if i == len(patterns)-1 && fixesDomain(trailingLiteral(re)+tail) {
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

// trailingLiteral is the text that everything matched by re ends in, as far as that is easily seen.
func trailingLiteral(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCapture:
		return trailingLiteral(re.Sub[0])
	case syntax.OpConcat:
		last := len(re.Sub) - 1
		if op := re.Sub[last].Op; last > 0 && (op == syntax.OpEndText || op == syntax.OpEndLine) {
			last--
		}
		return trailingLiteral(re.Sub[last])
	}
	return ""
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
