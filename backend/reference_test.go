package backend

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// described is what a document says of a path: its operations, and the names that are sent and answered there.
type described struct {
	operations       []string
	fields, answered []string
}

// add keeps names sorted and once.
func add(names []string, more ...string) []string {
	names = append(names, more...)
	slices.Sort(names)
	return slices.Compact(names)
}

// pathsOfOpenAPI is what the mount says of itself.
func pathsOfOpenAPI(t *testing.T) map[string]described {
	t.Helper()
	type schema struct {
		Ref        string                     `json:"$ref"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	type body struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	}
	type operation struct {
		Parameters []struct {
			Name string `json:"name"`
			In   string `json:"in"`
		} `json:"parameters"`
		RequestBody body            `json:"requestBody"`
		Responses   map[string]body `json:"responses"`
	}
	var doc struct {
		Paths map[string]struct {
			Create bool       `json:"x-vault-createSupported"`
			Get    *operation `json:"get"`
			Post   *operation `json:"post"`
			Delete *operation `json:"delete"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	require.NoError(t, json.Unmarshal(openAPI(t), &doc))
	names := func(b body) (all []string) {
		for _, content := range b.Content {
			called := content.Schema.Ref[strings.LastIndex(content.Schema.Ref, "/")+1:]
			for name := range doc.Components.Schemas[called].Properties {
				all = append(all, name)
			}
		}
		return all
	}
	paths := map[string]described{}
	for path, p := range doc.Paths {
		var d described
		for word, op := range map[string]*operation{"read": p.Get, "update": p.Post, "delete": p.Delete} {
			if op == nil {
				continue
			}
			for _, parameter := range op.Parameters {
				switch {
				case parameter.Name == "list":
					word = "list"
				case parameter.In == "query":
					d.fields = add(d.fields, parameter.Name)
				}
			}
			d.operations = add(d.operations, word)
			d.fields = add(d.fields, names(op.RequestBody)...)
			for _, answer := range op.Responses {
				d.answered = add(d.answered, names(answer)...)
			}
		}
		if p.Create {
			d.operations = add(d.operations, "create")
		}
		paths[path] = d
	}
	return paths
}

var (
	headingOfPaths = regexp.MustCompile("^## .*`.*\\(([a-z, ]+)(?:; no token)?\\)$")
	quoted         = regexp.MustCompile("`([^`]+)`")
	capture        = regexp.MustCompile(`:([a-z]+)`)
)

// ownerSpellings are what O stands for in the reference.
var ownerSpellings = []string{
	"", "org/{org}/", "user/{user}/", "self/", "org/{org}/user/{user}/", "org/{org}/self/",
}

// pathsOfReference is what the reference says: headings name paths and operations, the tables below them names.
func pathsOfReference(t *testing.T) map[string]described {
	t.Helper()
	reference, err := os.ReadFile("README.md")
	require.NoError(t, err)
	paths := map[string]described{}
	var (
		at             []string
		sent, answered bool
	)
	for line := range strings.Lines(string(reference)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			at = nil
		}
		if heading := headingOfPaths.FindStringSubmatch(line); heading != nil {
			for _, name := range quoted.FindAllStringSubmatch(line, -1) {
				for _, owner := range ownerSpellings {
					path := "/" + strings.Replace(capture.ReplaceAllString(name[1], "{$1}"), "O/", owner, 1)
					require.True(t, paths[path].operations == nil || slices.Contains(at, path), "%s is there twice", path)
					paths[path] = described{operations: add(nil, strings.Split(heading[1], ", ")...)}
					at = add(at, path)
				}
			}
		}
		if !strings.HasPrefix(line, "|") || at == nil {
			continue
		}
		first, _, _ := strings.Cut(line[1:], "|")
		switch first = strings.TrimSpace(first); first {
		case "field", "answer", "field and answer":
			sent, answered = strings.HasPrefix(first, "field"), strings.HasSuffix(first, "answer")
		}
		for _, name := range quoted.FindAllStringSubmatch(first, -1) {
			for _, path := range at {
				d := paths[path]
				if sent {
					d.fields = add(d.fields, name[1])
				}
				if answered {
					d.answered = add(d.answered, name[1])
				}
				paths[path] = d
			}
		}
	}
	return paths
}

func TestReference(t *testing.T) {
	is, said := pathsOfOpenAPI(t), pathsOfReference(t)
	require.Greater(t, len(is), 20)
	for path, d := range is {
		if !assert.Contains(t, said, path, "backend/README.md lacks this path") {
			continue
		}
		assert.Equal(t, d.operations, said[path].operations, "operations of %s in backend/README.md", path)
		assert.Equal(t, d.fields, said[path].fields, "what is sent to %s, and what backend/README.md says", path)
		assert.Equal(t, d.answered, said[path].answered, "what %s answers, and what backend/README.md says", path)
	}
	for path := range said {
		assert.Contains(t, is, path, "backend/README.md names a path that does not exist")
	}
}
