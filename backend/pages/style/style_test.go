package style

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every pair of colours that carries text or a focus ring reaches WCAG 2.2 level AA (1.4.3;
// 1.4.11 asks less) in both schemes.
func TestContrast(t *testing.T) {
	light, dark, found := strings.Cut(CSS, "@media (prefers-color-scheme: dark)")
	require.True(t, found)

	pairs := []struct{ front, back string }{
		{"text", "sheet"},
		{"text", "inset"},
		{"quiet", "sheet"},
		{"quiet", "inset"},
		{"accent", "sheet"},
		{"on-accent", "accent"},
		{"caution", "caution-ground"},
	}
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, pair := range pairs {
			t.Run(scheme+"/"+pair.front+" on "+pair.back, func(t *testing.T) {
				require.Contains(t, colours, pair.front)
				require.Contains(t, colours, pair.back)
				high := max(colours[pair.front], colours[pair.back])
				low := min(colours[pair.front], colours[pair.back])
				assert.GreaterOrEqual(t, (high+0.05)/(low+0.05), 4.5)
			})
		}
	}
}

// luminance is the relative luminance that WCAG 2.2 defines for an sRGB colour.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		require.NoError(t, err)
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
