package providers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A field of a definition acts, or is there to be shown. One that acts is read by code that does something, which
// decoding, validation and the catalogue's answer do not; one that is shown is read by that answer. So no definition
// can say what nothing goes by.
func TestEveryFieldActsOrIsShown(t *testing.T) {
	reads := fieldReads(t)
	schemaFields(reflect.TypeFor[Definition](), func(owner reflect.Type, field reflect.StructField) {
		name := owner.Name() + "." + field.Name
		files := reads[name]
		shown := slices.Contains(files, "path_catalog.go")
		acts := slices.ContainsFunc(files, func(file string) bool { return !judges(file) })
		switch use := field.Tag.Get("use"); {
		case name == "Definition.Extends": // what it does is done when the definition is read
		case use == "shown":
			assert.True(t, shown, "%s is marked as shown, and catalog/ does not answer it", name)
			assert.False(t, acts, "%s is marked as shown, and %v go by it", name, files)
		default:
			assert.Empty(t, use, "%s: use is shown, or nothing", name)
			assert.True(t, acts, "nothing goes by %s: what is it for? It is read by %v", name, files)
		}
	})
}

// judges reports whether a file only decides what a definition may say, or shows it.
func judges(file string) bool {
	return file == "path_catalog.go" || file == "decode.go" || file == "extend.go" || file == "shape.go" ||
		strings.HasPrefix(file, "definition") || strings.HasPrefix(file, "validate")
}

// schemaFields visits every field that a definition can have, once each.
func schemaFields(root reflect.Type, visit func(owner reflect.Type, field reflect.StructField)) {
	seen := map[reflect.Type]bool{reflect.TypeFor[Duration](): true}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			for i := range t.NumField() {
				field := t.Field(i)
				if !field.Anonymous {
					visit(t, field)
				}
				walk(field.Type)
			}
		}
	}
	walk(root)
}

// fieldReads tells by type analysis which files of the engine read which field of this package's structs: by
// "Owner.Field". What nothing calls reads nothing.
func fieldReads(t *testing.T) map[string][]string {
	t.Helper()
	const module = "github.com/vault-connectors/vault-plugin-secrets-connectors/"
	fset := token.NewFileSet()
	exports, checked := map[string]string{}, map[string]*types.Package{}
	compiled := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	resolve := importerFunc(func(path string) (*types.Package, error) {
		if p := checked[path]; p != nil {
			return p, nil
		}
		return compiled.Import(path)
	})
	info := &types.Info{
		Selections: map[*ast.SelectorExpr]*types.Selection{}, Uses: map[*ast.Ident]types.Object{},
		Defs: map[*ast.Ident]types.Object{},
	}
	var files []*ast.File
	for _, p := range goList(t, module+"backend") {
		exports[p.ImportPath] = p.Export
		if !strings.HasPrefix(p.ImportPath, module) {
			continue
		}
		var parsed []*ast.File
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			parsed = append(parsed, file)
		}
		config := types.Config{Importer: resolve}
		pkg, err := config.Check(p.ImportPath, fset, parsed, info)
		require.NoError(t, err)
		checked[p.ImportPath] = pkg
		files = append(files, parsed...)
	}

	called := map[types.Object]bool{}
	for ident, object := range info.Uses {
		if f, isFunc := object.(*types.Func); isFunc && ident.Pos() != f.Pos() {
			called[f.Origin()] = true
		}
	}
	schema := checked[module+"providers"]
	reads := map[string][]string{}
	for _, file := range files {
		base := filepath.Base(fset.Position(file.Pos()).Filename)
		for _, decl := range file.Decls {
			if f, isFunc := decl.(*ast.FuncDecl); isFunc && f.Name.Name != "init" && !called[info.Defs[f.Name]] {
				continue
			}
			written := map[ast.Expr]bool{}
			ast.Inspect(decl, func(n ast.Node) bool {
				if assign, isAssign := n.(*ast.AssignStmt); isAssign {
					for _, left := range assign.Lhs {
						written[left] = true
					}
				}
				selector, isSelector := n.(*ast.SelectorExpr)
				if !isSelector || written[selector] {
					return true
				}
				if s := info.Selections[selector]; s != nil && s.Kind() == types.FieldVal && s.Obj().Pkg() == schema {
					name := ownerOf(s) + "." + s.Obj().Name()
					if !slices.Contains(reads[name], base) {
						reads[name] = append(reads[name], base)
					}
				}
				return true
			})
		}
	}
	return reads
}

// ownerOf names the struct whose own field a selection is, however deep it was embedded.
func ownerOf(s *types.Selection) string {
	t := s.Recv()
	for _, i := range s.Index()[:len(s.Index())-1] {
		t = structOf(t).Field(i).Type()
	}
	if p, isPointer := t.Underlying().(*types.Pointer); isPointer {
		t = p.Elem()
	}
	if named, isNamed := types.Unalias(t).(*types.Named); isNamed {
		return named.Obj().Name()
	}
	return ""
}

func structOf(t types.Type) *types.Struct {
	if p, isPointer := t.Underlying().(*types.Pointer); isPointer {
		t = p.Elem()
	}
	return t.Underlying().(*types.Struct)
}

type importerFunc func(path string) (*types.Package, error)

func (f importerFunc) Import(path string) (*types.Package, error) { return f(path) }

type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// goList gives a package and all that it is made of, what is imported before what imports it.
func goList(t *testing.T, path string) []listed {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles", path)
	list.Stderr = os.Stderr
	out, err := list.Output()
	require.NoError(t, err)
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return packages
		} else {
			require.NoError(t, err)
		}
		packages = append(packages, p)
	}
}

// The lists of words that stand twice agree.
func TestWordsAgree(t *testing.T) {
	words := map[string][]string{}
	schemaFields(reflect.TypeFor[Definition](), func(owner reflect.Type, field reflect.StructField) {
		if tag := field.Tag.Get("words"); tag != "" {
			words[owner.Name()+"."+field.Name] = strings.Split(tag, "|")
		}
	})
	assert.Equal(t, append(clientAuthStyles(), authFromDiscovery), words["ClientSpec.Auth"])
	assert.Equal(t, []string{SetByProvider, SetByConnection, SetByEither}, words["Input.SetBy"])
	assert.Equal(t, []string{refreshReusable, refreshSelf, refreshReissue, refreshNone}, words["Refresh.Token"][2:])
	assert.Equal(t, slices.Sorted(maps.Keys(protocols())), words["Login.Protocol"])
	assert.Equal(t, []string{authSigV4, authRequestJWT}, words["Call.Auth"][7:])
	assert.Equal(t, classFine, cmp.Or(words["FailureRule.Class"][7:]...))
}
