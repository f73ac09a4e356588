package backend

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// operationPrefix begins every operation's id in the OpenAPI document.
const operationPrefix = "connectors"

// ownerPattern is the optional owner in front of a connection's name: an organization, and a user or oneself, who is
// its member then. Segments capture loosely, so that a bad name reaches a handler that states the rule; a strict
// pattern would turn it into "unsupported path". self is no capture, or it would stand in the OpenAPI document as a
// parameter.
const ownerPattern = `(?:org/(?P<org>[^/]+)/)?(?:user/(?P<user>[^/]+)/|self/)?`

// byName is the pattern of a verb's six spellings.
func byName(verb string) string { return verb + "/" + ownerPattern + segment("name") }

func segment(field string) string { return `(?P<` + field + `>[^/]+)` }

// spellings names the operation of each spelling, in the order in which the OpenAPI generator expands the pattern.
func spellings(noun string) string {
	var all []string
	for _, owner := range []string{"", "org-", "user-", "org-user-", "own-", "org-own-"} {
		all = append(all, owner+noun)
	}
	return strings.Join(all, "|")
}

// ownedFields are the path segments of a by-name path, with those of the path itself.
func ownedFields(own map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{
		"org": {
			Type: framework.TypeString,
			Description: "Organization that owns the connection, or whose member does. Left out with the user: the " +
				"mount's default_org.",
		},
		"user": {
			Type: framework.TypeString,
			Description: "User that owns the connection, below org/ as that organization's member: an entity id, or an " +
				"id of the application's own.",
		},
		"name": {Type: framework.TypeString, Description: "Name of the connection.", Required: true},
	}
	for name, f := range own {
		fields[name] = f
	}
	return fields
}

// keyOf reads which connection a by-name path means. The six spellings lead to three sorts of owner and to the same
// objects.
func (b *backend) keyOf(ctx context.Context, req *logical.Request, d *framework.FieldData) (store.Key, error) {
	owner, err := b.ownerOf(ctx, req)
	if err != nil {
		return store.Key{}, err
	}
	k := store.Key{Owner: owner, Name: d.Get("name").(string)}
	if err := store.CheckName("connection", k.Name); err != nil {
		return store.Key{}, badRequest("%s", err)
	}
	return k, nil
}

// ownerOf reads the owner from the path alone: a field of the body may have the name of a segment that is not there.
func (b *backend) ownerOf(ctx context.Context, req *logical.Request) (owner store.Owner, err error) {
	parts := strings.Split(req.Path, "/")[1:]
	if len(parts) > 2 && parts[0] == "org" {
		owner.Org, parts = parts[1], parts[2:]
		if err := (store.Owner{Org: owner.Org}).Check(); err != nil {
			return owner, badRequest("%s", err)
		}
	}
	switch {
	case len(parts) > 2 && parts[0] == "user":
		owner.User = parts[1]
		if err := store.CheckUser(owner.User); err != nil {
			return owner, badRequest("%s", err)
		}
	case len(parts) > 1 && parts[0] == "self":
		if req.EntityID == "" {
			return owner, badRequest("this token has no entity, so 'self' means nobody: log in by an auth method, " +
				"or name the owner as org/<org>, user/<user> or org/<org>/user/<user>")
		}
		owner.User = req.EntityID
	case owner == store.Owner{}:
		config, err := b.config(ctx)
		if err != nil {
			return owner, err
		}
		owner.Org = config.DefaultOrg
	}
	return owner, nil
}

// operation describes one operation of a path: its handler, one line of help, and the shape of its answer.
func (b *backend) operation(handler framework.OperationFunc, summary string,
	answer ...map[string]*framework.FieldSchema,
) *framework.PathOperation {
	status := http.StatusNoContent
	response := framework.Response{Description: http.StatusText(http.StatusNoContent)}
	if len(answer) > 0 {
		status = http.StatusOK
		response = framework.Response{Description: http.StatusText(http.StatusOK), Fields: answer[0]}
	}
	return &framework.PathOperation{
		Callback: b.edge(handler), Summary: summary,
		Responses: map[int][]framework.Response{status: {response}},
	}
}

// forwarded marks an operation that may call a provider or write: it runs where storage is writable.
func forwarded(op *framework.PathOperation) *framework.PathOperation {
	op.ForwardPerformanceStandby, op.ForwardPerformanceSecondary = true, true
	return op
}

// verb gives an operation its word in the OpenAPI document.
func verb(word string, op *framework.PathOperation) *framework.PathOperation {
	op.DisplayAttrs = &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: word}
	return op
}

func display(suffix, item string) *framework.DisplayAttributes {
	return &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: suffix, ItemType: item}
}

// refuseUndeclared names the fields of a request that its path does not declare, but for those that extra allows.
func refuseUndeclared(d *framework.FieldData, extra func(string) bool) error {
	var unknown []string
	for name := range d.Raw {
		if _, ok := d.Schema[name]; !ok && !extra(name) {
			unknown = append(unknown, fmt.Sprintf("%q", clipText(name)))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	unknown = unknown[:min(len(unknown), 10)]
	return badRequest("unknown field %s: nothing was changed; see 'vault path-help' for the fields of this path",
		strings.Join(unknown, ", "))
}

// schemas for answers

func str(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeString, Description: description}
}

func strs(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeCommaStringSlice, Description: description}
}

func boolean(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeBool, Description: description}
}

func integer(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeInt, Description: description}
}

func pairs(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeKVPairs, Description: description}
}

func seconds(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeDurationSecond, Description: description}
}

func object(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeMap, Description: description}
}

func objects(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeSlice, Description: description}
}

// secret marks a field that is written and never read.
func secret(f *framework.FieldSchema) *framework.FieldSchema {
	f.DisplayAttrs = &framework.DisplayAttributes{Sensitive: true}
	return f
}

func required(f *framework.FieldSchema) *framework.FieldSchema {
	f.Required = true
	return f
}
