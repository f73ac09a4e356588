package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestConfined(t *testing.T) {
	for name, test := range map[string]struct {
		patterns []string
		tail     string
		ok       bool
	}{
		"label below a fixed domain":     {[]string{`[a-z0-9-]+`}, ".shop.example", true},
		"dots are harmless there":        {[]string{`[a-z0-9.-]+`}, ".shop.example", true},
		"domain fixed, port fixed":       {[]string{`[a-z]+`}, ".shop.example:8443", true},
		"domain fixed by the pattern":    {[]string{`[a-z-]+\.shop\.example`}, "", true},
		"the same with anchors":          {[]string{`^[a-z-]+\.shop\.example$`}, "", true},
		"in a group":                     {[]string{`([a-z-]+\.shop\.example)`}, "", true},
		"listed hosts":                   {[]string{`(a|b)\.example`}, "", true},
		"listed ends":                    {[]string{`com|eu|in|com\.au`}, "", true},
		"optional part":                  {[]string{`api(\.eu)?\.mail\.example`}, "", true},
		"short repeat":                   {[]string{`eu[1-9]{0,1}`}, "", true},
		"two placeholders":               {[]string{`[a-z]+`, `[a-z]+`}, ".shop.example", true},
		"open":                           {[]string{`[a-z0-9.-]+`}, "", false},
		"one fixed label is not enough":  {[]string{`[a-z]+`}, ".com", false},
		"end of a label is no domain":    {[]string{`[a-z]+shop\.example`}, "", false},
		"slash":                          {[]string{`[a-z/]+`}, ".shop.example", false},
		"at sign":                        {[]string{`[a-z]+@?[a-z]+`}, ".shop.example", false},
		"colon":                          {[]string{`[a-z]+(:[0-9]+)?`}, ".shop.example", false},
		"anything":                       {[]string{`.+`}, ".shop.example", false},
		"everything but":                 {[]string{`[^/]+`}, ".shop.example", false},
		"case folded into other scripts": {[]string{`(?i)[k]+`}, ".shop.example", false},
		"alternatives":                   {[]string{`[a-z0-9-]+\.(atlassian\.net|jira\.com)`}, "", true},
		"alternatives apart": {
			[]string{`(login|test)\.salesforce\.com|[a-z0-9-]+(\.sandbox)?\.my\.salesforce\.com`}, "", true,
		},
		"a whole host among them":         {[]string{`[a-z]+\.atlassian\.net|jira\.com`}, "", true},
		"a whole domain behind others":    {[]string{`[a-z]+`, `[a-z]+\.atlassian\.net|jira\.com`}, "", false},
		"one of them open":                {[]string{`[a-z]+\.(atlassian\.net|com)`}, "", false},
		"optional domain":                 {[]string{`[a-z.]+(\.atlassian\.net)?`}, "", false},
		"alternative without the domain":  {[]string{`[a-z]+\.shop\.example|[a-z.]+`}, "", false},
		"repeat without end":              {[]string{`a{1,}`}, "", false},
		"too many to list":                {[]string{`[a-z]{2}`}, "", false},
		"too many together":               {[]string{`[a-i]`, `[a-i]`}, "", false},
		"only the last fixes, first open": {[]string{`.*`, `[a-z]+\.shop\.example`}, "", false},
		"does not compile":                {[]string{`(`}, ".shop.example", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := confined(test.patterns, test.tail)
			if test.ok {
				assert.NoError(t, err)
			} else {
				assert.Error(t, err)
			}
		})
	}
}

func TestCheckURLTrustsTheOperator(t *testing.T) {
	d := &Definition{
		Inputs: []Input{
			{Name: "host", SetBy: SetByProvider, Pattern: `.+`},
			{Name: "any", SetBy: SetByConnection, Pattern: `.+`},
			{Name: "label", SetBy: SetByConnection, Pattern: `[a-z]+`},
			{Name: "either", SetBy: SetByEither, Pattern: `[a-z.]+`},
			{Name: "base", SetBy: SetByConnection, Pattern: `https://[a-z]+\.shop\.example`},
		},
		Connection: []Capture{
			{Name: "open", From: "token"},
			{Name: "dc", From: "token", Pattern: `[a-z]{2}[0-9]`},
		},
	}
	for template, ok := range map[Template]bool{
		"https://{host}/x":                  true,
		"https://{label}.{host}/x":          true,
		"{host}/x":                          true,
		"{issuer}/x":                        true,
		"{base}/x":                          true,
		"https://{dc}.shop.example/x":       true,
		"https://shop.example/{any}":        true,
		"https://{any}.{host}/x":            false,
		"https://{any}/x":                   false,
		"https://{either}/x":                false,
		"https://{open}.shop.example/x":     false,
		"https://{client_id}.shop.example/": false,
		"{any}/x":                           false,
	} {
		t.Run(string(template), func(t *testing.T) {
			if err := d.checkURL(template); ok {
				assert.NoError(t, err)
			} else {
				assert.Error(t, err)
			}
		})
	}
}
