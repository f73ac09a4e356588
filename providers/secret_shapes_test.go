package providers

import (
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// letters is a text of so many characters that a key could have, with something of each sort.
func letters(n int) string { return strings.Repeat("Ab3dEf7h", n/8+1)[:n] }

func digits(n int) string { return strings.Repeat("1234567890", n/10+1)[:n] }

func hexes(n int) string { return strings.Repeat("0a1b2c3d4e5f6789", n/16+1)[:n] }

// secretSamples have the shape of credentials, by how they begin, and are none.
func secretSamples() map[string]string {
	return map[string]string{
		"xoxb-":       digits(12) + "-" + digits(13) + "-" + letters(24),
		"xoxp-":       digits(12) + "-" + digits(12) + "-" + digits(13) + "-" + hexes(32),
		"xapp-":       "1-A012AB34CD5-" + digits(13) + "-" + hexes(64),
		"xoxe.xox":    "b-1-" + letters(160),
		"xoxe-":       "1-" + letters(146),
		"ghp_":        letters(36),
		"gho_":        letters(36),
		"ghu_":        letters(36),
		"ghs_":        letters(36),
		"ghr_":        letters(76),
		"github_pat_": letters(22) + "_" + letters(59),
		"sk_live_":    letters(24),
		"rk_live_":    letters(99),
		"sk_test_":    letters(24),
		"rk_test_":    letters(24),
		"whsec_":      letters(32),
		"sk-proj-":    letters(74) + "T3BlbkFJ" + letters(74),
		"sk-svcacct-": letters(74) + "T3BlbkFJ" + letters(74),
		"sk-admin-":   letters(58) + "T3BlbkFJ" + letters(58),
		"sk-":         letters(48),
		"sk-ant-":     "api03-" + letters(93) + "AA",
		"glpat-":      letters(20),
		"gldt-":       letters(20),
		"glrt-":       letters(20),
		"gloas-":      hexes(64),
		"shpat_":      hexes(32),
		"shpca_":      hexes(32),
		"shppa_":      hexes(32),
		"shpss_":      hexes(32),
		"SG.":         letters(22) + "." + letters(43),
		"AKIA":        strings.ToUpper(letters(16)),
		"ASIA":        strings.ToUpper(letters(16)),
		"AIza":        letters(35),
		"ya29.":       "a0" + letters(180),
		"1//0":        letters(60),
		"GOCSPX-":     letters(28),
		"ntn_":        digits(11) + letters(35),
		"secret_":     letters(43),
		"lin_api_":    letters(40),
		"lin_oauth_":  hexes(64),
		"hf_":         letters(34),
		"pat-":        "na1-12345678-1234-abcd-1234-123456789012",
		"ck_":         hexes(40),
		"cs_":         hexes(40),
		"pat":         letters(14) + "." + hexes(64),
		"pk_":         "1234567_" + strings.ToUpper(letters(32)),
		"npm_":        letters(36),
		"dop_v1_":     hexes(64),
		"doo_v1_":     hexes(64),
		"hvs.":        letters(90),
		"hvb.":        letters(150),
	}
}

// Each shape of the catalogue has a sample, is found wherever it stands in a text, and not where less of it does.
func TestSecretIn(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	samples, seen := secretSamples(), map[string]bool{}
	for _, s := range r.secrets {
		seen[s.prefix] = true
		require.Contains(t, samples, s.prefix)
		secret := s.prefix + samples[s.prefix]
		for _, text := range []string{
			secret, "our key " + secret, secret + " of the team", "key=" + secret + ";", "(" + secret + ")", "“" + secret + "”",
			"https://x.example.com/?token=" + secret + "&more",
		} {
			service, prefix, found := r.SecretIn(text)
			assert.True(t, found, text)
			assert.Equal(t, []string{s.service, s.prefix}, []string{service, prefix}, text)
		}
		for _, text := range []string{
			s.prefix, s.prefix + "team", s.prefix + secret[len(s.prefix):][:minSecretRest-1], "x" + s.prefix + "team", "****1234",
		} {
			_, _, found := r.SecretIn(text)
			assert.False(t, found, text)
		}
	}
	assert.Len(t, seen, len(samples), "a sample of what is no shape")
	assert.Greater(t, len(seen), 20)
}

// A service's name, and no child's, is told.
func TestSecretsService(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	for prefix, want := range map[string]string{
		"xoxb-": "Slack", "ghp_": "GitHub", "ya29.": "Google", "sk-ant-": "Anthropic", "sk-": "OpenAI", "npm_": "npm",
	} {
		service, _, _ := r.SecretIn(prefix + secretSamples()[prefix])
		assert.Contains(t, service, want)
	}
}

// What people call things is no secret.
func TestNoSecretIn(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	for _, text := range []string{
		"", "sk-team", "sk-team-of-the-north-and-the-south-in-2026", "SK-1234", "xoxb", "xoxb-", "xoxb-the-bot-of-the-team-in-emea",
		"ghp_ours", "secret_santa_2026", "secret_of_the_whole_sales_team_in_emea_for_the_year_2026", "hf_models",
		"pk_1", "pat", "patricia.lovelace.of.the.team", "pat-na1-ours", "AKIA", "akiapolaau-birds", "AIza", "SG.team.sales",
		"3f2504e0-4f89-11d3-9a0c-0305e82c3301", "d41d8cd98f00b204e9800998ecf8427e",
		"acme-store.myshopify.com", "ada@example.com", "https://acme.example.com/a/b?c=d", "task-" + letters(48),
		"risk-" + letters(60), "npm_packages_of_the_team", "glpat-our-gitlab-token-of-the-runner", "hvs.ours", "ck_", "cs_team",
		"ya29.", "1//0", "lin_api_key", "dop_v1_team", "shpat_team", "rk_live_team", "sk_test_team", "whsec_team",
		"connection-" + hexes(64), "sk-ant-hill", "sk-proj-apollo", "sk-proj-the-long-name-of-a-project",
	} {
		service, prefix, found := r.SecretIn(text)
		assert.False(t, found, "%q looks like one of %s (%s)", text, service, prefix)
	}
}

func TestShortest(t *testing.T) {
	for pattern, want := range map[string]int{
		"": 0, "abc": 3, "[a-z]{20,}": 20, "a+b*c?": 1, "(ab|c)[0-9]{4}": 5, "(?:a|bcd)|ef": 1, "[a-z]{2}(-[0-9]{4}){3}": 17,
		".{3}": 3, "(a{2}){3}": 6,
	} {
		tree, err := syntax.Parse(pattern, syntax.Perl)
		require.NoError(t, err)
		assert.Equal(t, want, shortest(tree), pattern)
	}
}

// Whatever the text: what is found is in it, with more after it than a name has.
func FuzzSecretIn(f *testing.F) {
	r, err := Builtin()
	require.NoError(f, err)
	for prefix, rest := range secretSamples() {
		f.Add(prefix + rest)
		f.Add("x " + prefix + rest + "\xff")
		f.Add(prefix)
	}
	f.Fuzz(func(t *testing.T, text string) {
		service, prefix, found := r.SecretIn(text)
		if !found {
			assert.Empty(t, service+prefix)
			return
		}
		_, after, there := strings.Cut(text, prefix)
		assert.True(t, there)
		assert.GreaterOrEqual(t, len(after), minSecretRest)
		assert.NotEmpty(t, service)
		_, _, again := r.SecretIn("“" + text + "”")
		assert.True(t, again, "it is found wherever it stands")
	})
}
