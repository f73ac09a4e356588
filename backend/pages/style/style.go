// Package style holds the style sheet of the pages that browsers show. It imports nothing, so that the command line,
// which knows nothing else of the engine, has the same looks.
package style

import _ "embed"

// CSS is the sheet: colours in a light and a dark scheme, and what pages are made of.
//
//go:embed page.css
var CSS string
