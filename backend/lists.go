package backend

import (
	"context"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// maxKeyInfo is the longest list whose entries are described.
const maxKeyInfo = 1000

// listSchema is the shape of every list.
var listSchema = map[string]*framework.FieldSchema{
	"keys":     {Type: framework.TypeStringSlice, Description: "Names."},
	"key_info": {Type: framework.TypeMap, Description: "Public facts by name."},
}

// listFields are the fields of every list, with those of the path itself.
func listFields(own map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{
		"after": {
			Type: framework.TypeString, Query: true,
			Description: "Begin after this name, which need not exist: the last one of the page before.",
		},
		"limit": {
			Type: framework.TypeInt, Query: true,
			Description: "The most names to answer; 0: all.",
		},
	}
	for name, f := range own {
		fields[name] = f
	}
	return fields
}

// listPaths makes the paths of one list, which has several levels.
func (b *backend) listPaths(item string, handler framework.OperationFunc, summary, synopsis, help string,
) func(pattern, suffixes string, fields map[string]*framework.FieldSchema) *framework.Path {
	return func(pattern, suffixes string, fields map[string]*framework.FieldSchema) *framework.Path {
		return &framework.Path{
			Pattern:      pattern,
			DisplayAttrs: display(suffixes, item),
			Fields:       listFields(fields),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: verb("list", b.operation(handler, summary, listSchema)),
			},
			HelpSynopsis:    synopsis,
			HelpDescription: help,
		}
	}
}

// pageOf sorts the names of a list, and gives those that were asked for. Storage lists a folder as a whole; what a page
// saves is reading what its names stand for.
func pageOf(d *framework.FieldData, names []string) ([]string, error) {
	limit := d.Get("limit").(int)
	if limit < 0 {
		return nil, badRequest("limit must not be below 0")
	}
	slices.Sort(names)
	if after := d.Get("after").(string); after != "" {
		from, there := slices.BinarySearch(names, after)
		if there {
			from++
		}
		names = names[from:]
	}
	if limit > 0 {
		names = names[:min(limit, len(names))]
	}
	return names, nil
}

// listed answers one page of names, with what about says of each; nil says nothing. Something that cannot be read must
// not hide the others: reading it says why.
func listed(ctx context.Context, d *framework.FieldData, names []string,
	about func(name string) map[string]any,
) (*logical.Response, error) {
	names, err := pageOf(d, names)
	if err != nil {
		return nil, err
	}
	if about == nil || len(names) > maxKeyInfo {
		return logical.ListResponse(names), nil
	}
	info := map[string]any{}
	for _, name := range names {
		facts := about(name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if facts != nil {
			info[name] = facts
		}
	}
	return logical.ListResponseWithInfo(names, info), nil
}
