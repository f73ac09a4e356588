package backend

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// documents are the pages for people, by their path from here.
var documents = []string{
	"../README.md", "README.md", "threats.md", "../scripts/operations.md", "../scripts/recipes/README.md",
	"../providers/README.md", "../cmd/connectors/README.md",
}

func document(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// chapter is what stands below a heading of a page, up to the next one of its rank.
func chapter(t *testing.T, path, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(document(t, path), "\n"+heading+"\n")
	require.True(t, found, "%s has the chapter %q", path, heading)
	rank, _, _ := strings.Cut(heading, " ")
	text, _, _ := strings.Cut(rest, "\n"+rank+" ")
	return text
}

// rows are the cells of the tables in a text, without headers.
func rows(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		if strings.HasPrefix(line, "|---") {
			all = all[:len(all)-1] // what stood above is the header
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		all = append(all, cells)
	}
	return all
}

// sources calls look for each file of the tree that ends so.
func sources(t *testing.T, suffix string, look func(path string)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, suffix) {
			look(path)
		}
		return err
	}))
}

// Each threat names tests that exist, or says that it is not defended yet.
func TestThreats(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
	tests := map[string]bool{}
	sources(t, "_test.go", func(path string) {
		for _, found := range declared.FindAllStringSubmatch(document(t, path), -1) {
			tests[found[1]] = true
		}
	})
	require.Greater(t, len(tests), 300)
	threats := rows(document(t, "threats.md"))
	require.Greater(t, len(threats), 40)
	for _, row := range threats {
		require.Len(t, row, 3, "a threat has a defence and tests: %s", row[0])
		if row[2] == "not yet" {
			continue
		}
		for name := range strings.SplitSeq(row[2], ", ") {
			assert.True(t, tests[name], "no test is called %q, which is to prove: %s", name, row[1])
		}
	}
	rest := chapter(t, "threats.md", "## What an administrator of Vault can do")
	for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`).FindAllString(rest, -1) {
		assert.True(t, tests[name], "no test is called %q", name)
	}
}

// text gives a constant text that may be put together from several.
func text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, ok := text(e.X)
		right, also := text(e.Y)
		return left + right, ok && also && e.Op == token.ADD
	}
	return "", false
}

// logged gives the lines that the plugin logs above debug level.
func logged(t *testing.T) []string {
	t.Helper()
	argument := map[string]int{"Info": 0, "Warn": 0, "Error": 0, "Log": 1}
	var lines []string
	look := func(path string) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, filepath.Join("..", "scripts")) ||
			strings.Contains(path, "testenv") || strings.Contains(path, "providertest") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			at, ok := argument[method.Sel.Name]
			if !ok || len(call.Args) <= at {
				return true
			}
			if line, ok := text(call.Args[at]); ok {
				lines = append(lines, line)
			}
			return true
		})
	}
	sources(t, ".go", look)
	return add(nil, lines...)
}

func TestLogIsDocumented(t *testing.T) {
	lines := logged(t)
	require.Greater(t, len(lines), 20)
	var said []string
	for _, row := range rows(chapter(t, "../scripts/operations.md", "## The log")) {
		said = append(said, strings.Trim(row[0], "`"))
	}
	assert.Equal(t, lines, add(nil, said...), "the lines that are logged, and those of the chapter")
}

// constants gives the values of the constants of a type.
func constants(t *testing.T, path, of string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == of {
			for _, value := range spec.Values {
				if word, ok := text(value); ok {
					values = append(values, word)
				}
			}
		}
		return true
	})
	return add(nil, values...)
}

// words gives what is quoted in one column of a chapter's table.
func words(t *testing.T, heading string, column int) []string {
	t.Helper()
	var found []string
	for _, row := range rows(chapter(t, "../scripts/operations.md", heading)) {
		for _, name := range quoted.FindAllStringSubmatch(row[column], -1) {
			found = append(found, name[1])
		}
	}
	return add(nil, found...)
}

func TestWordsAreDocumented(t *testing.T) {
	const status, failures = "## The status of a connection", "## Why a refresh failed"
	assert.Equal(t, constants(t, "internal/store/status.go", "Status"), words(t, status, 0))
	assert.Equal(t, constants(t, "internal/store/status.go", "Reason"), words(t, status, 1))
	assert.Equal(t, constants(t, "../providers/errors.go", "Class"), words(t, failures, 0))
	for _, field := range words(t, "## Health", 0) {
		assert.Contains(t, statusSchema, field)
	}
}

func TestCatalogueIsDocumented(t *testing.T) {
	var named []string
	for _, row := range rows(chapter(t, "../README.md", "## Providers")) {
		for _, id := range quoted.FindAllStringSubmatch(row[0], -1) {
			named = append(named, id[1])
		}
	}
	assert.Equal(t, add(nil, newBackend(t).catalog.IDs()...), add(nil, named...))
}

var command = regexp.MustCompile("\\bvault (read|write|list|delete) ((?:-\\S+ +)*)connectors/([^\\s\"`]+)([^`\n]*)")

// Commands that the pages show name paths and fields that exist.
func TestCommandsExist(t *testing.T) {
	b := newBackend(t)
	shown := 0
	for _, name := range documents {
		for _, c := range command.FindAllStringSubmatch(document(t, name), -1) {
			verb, path, data := c[1], c[3], c[4]
			if strings.ContainsAny(path, "<:") {
				continue
			}
			shown++
			route := b.Route(path)
			if verb == "list" {
				route = b.Route(strings.TrimSuffix(path, "/") + "/")
			}
			require.NotNil(t, route, "%s: %s", name, c[0])
			op := map[string]logical.Operation{
				"read": logical.ReadOperation, "write": logical.UpdateOperation, "list": logical.ListOperation,
				"delete": logical.DeleteOperation,
			}[verb]
			assert.Contains(t, route.Operations, op, "%s: %s", name, c[0])
			for _, field := range regexp.MustCompile(`([a-z_]+)=`).FindAllStringSubmatch(data, -1) {
				if _, ok := route.Fields[field[1]]; !ok {
					assert.True(t, route.TakesArbitraryInput && b.isKeyField(field[1]), "%s: no field %s: %s", name, field[1], c[0])
				}
			}
		}
	}
	assert.Greater(t, shown, 10)
}

// isKeyField reports whether any definition has a key field of this name.
func (b *backend) isKeyField(name string) bool {
	return slices.ContainsFunc(b.catalog.IDs(), func(id string) bool {
		definition, _ := b.catalog.Get(id)
		_, ok := definition.KeyField(name)
		return ok
	})
}

// Links within the tree lead to files, and to headings, that exist.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped := regexp.MustCompile(`[^a-z0-9 _-]`)
	for _, name := range documents {
		for _, l := range link.FindAllStringSubmatch(document(t, name), -1) {
			path, anchor := name, l[2]
			if strings.Contains(l[1], "://") {
				continue
			}
			if l[1] != "" {
				path = filepath.Join(filepath.Dir(name), l[1])
			}
			info, err := os.Stat(path)
			if !assert.NoError(t, err, "%s links to %s", name, l[0]) || anchor == "" || info.IsDir() {
				continue
			}
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(document(t, path), -1) {
				anchors = append(anchors, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
			}
			assert.Contains(t, anchors, anchor, "%s links to %s", name, l[0])
		}
	}
}
