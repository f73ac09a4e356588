package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Document is what a path of the mount answers, by the path's own field names in Data. Numbers are [json.Number].
type Document struct {
	Answer `json:"-"`
}

// Document reads config, providers/slack, connections/org/acme/slack and the like. None there is an [Error] of
// status 404.
func (c *Client) Document(ctx context.Context, path string) (*Document, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	document := &Document{}
	return document, c.read(ctx, path, nil, document)
}

// WriteDocument writes the fields that are named and keeps all others. What the path answers may be empty.
func (c *Client) WriteDocument(ctx context.Context, path string, fields map[string]any) (*Document, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	document := &Document{}
	return document, c.write(ctx, path, fields, document)
}

// DeleteDocument deletes what is at a path. The warnings say what was not done with it.
func (c *Client) DeleteDocument(ctx context.Context, path string) (warnings []string, err error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	secret, err := c.vault.Logical().DeleteWithContext(ctx, c.mount+"/"+path)
	switch {
	case err != nil:
		return nil, asError(c.mount+"/"+path, err)
	case secret == nil:
		return nil, nil
	}
	return secret.Warnings, nil
}

// Documents lists the names below a path, such as providers or connections/org/acme. What ends in a slash has others
// below it. An empty list is no error.
func (c *Client) Documents(ctx context.Context, path string) ([]string, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	list := &List{}
	err := c.list(ctx, path+"/", nil, list)
	return list.Keys, err
}

// Field is what the mount says of a field of a path.
type Field struct {
	Type    string // string, boolean, integer, array or object; of OpenAPI
	Format  string // duration, map, kvpairs, or empty
	Secret  bool   // it is written and never answered as it is
	Written bool   // a write takes it
	Read    bool   // a read answers it
	Default any    // of a write, where that is not empty
}

// Fields asks the mount what fields a path has, which every token may. What a definition adds, its catalogue's entry
// tells.
func (c *Client) Fields(ctx context.Context, path string) (map[string]Field, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	whole := c.mount + "/" + path
	response, err := c.vault.Logical().ReadRawWithDataWithContext(ctx, whole, url.Values{"help": {"1"}})
	if err != nil {
		return nil, asError(whole, err)
	}
	defer response.Body.Close()
	var help struct {
		OpenAPI apiDocument `json:"openapi"`
	}
	if err := json.NewDecoder(response.Body).Decode(&help); err != nil {
		return nil, fmt.Errorf("%s tells no fields: %w", whole, err)
	}
	fields := help.OpenAPI.fields()
	if len(fields) == 0 {
		return nil, &Error{Status: http.StatusNotFound, Path: whole, Messages: []string{"this mount has no such path"}}
	}
	return fields, nil
}

// apiDocument is what is taken of an OpenAPI document.
type apiDocument struct {
	Paths map[string]struct {
		Get  apiOperation `json:"get"`
		Post apiOperation `json:"post"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]apiSchema `json:"schemas"`
	} `json:"components"`
}

type apiOperation struct {
	RequestBody struct {
		Content apiContent `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content apiContent `json:"content"`
	} `json:"responses"`
}

type apiContent map[string]struct {
	Schema apiSchema `json:"schema"`
}

type apiSchema struct {
	Ref        string `json:"$ref"`
	Properties map[string]struct {
		Type    string `json:"type"`
		Format  string `json:"format"`
		Default any    `json:"default"`
		Display struct {
			Sensitive bool `json:"sensitive"`
		} `json:"x-vault-displayAttrs"`
	} `json:"properties"`
}

// fields are those of the document's paths, which are spellings of one.
func (d *apiDocument) fields() map[string]Field {
	fields := map[string]Field{}
	find := func(c apiContent) apiSchema {
		found := c["application/json"].Schema
		if name := found.Ref[strings.LastIndex(found.Ref, "/")+1:]; name != "" {
			found = d.Components.Schemas[name]
		}
		return found
	}
	for _, path := range d.Paths {
		for name, property := range find(path.Post.RequestBody.Content).Properties {
			field := fields[name]
			field.Type, field.Format, field.Default = property.Type, property.Format, property.Default
			field.Secret, field.Written = property.Display.Sensitive, true
			fields[name] = field
		}
		for name, property := range find(path.Get.Responses["200"].Content).Properties {
			field := fields[name]
			if !field.Written {
				field.Type, field.Format = property.Type, property.Format
			}
			field.Read = true
			fields[name] = field
		}
	}
	return fields
}

// SecretField reads one field of any secret of Vault's, such as one of KV, with the token of the caller. Of KV's second
// version the path is that of its API, as in secret/data/slack.
func (c *Client) SecretField(ctx context.Context, path, field string) (string, error) {
	if err := CheckPath(path); err != nil {
		return "", fmt.Errorf("%q is no path of a secret", path)
	}
	secret, err := c.vault.Logical().ReadWithContext(ctx, path)
	if err != nil {
		return "", asError(path, err)
	}
	if secret == nil {
		return "", &Error{Status: http.StatusNotFound, Path: path}
	}
	for _, data := range []any{secret.Data, secret.Data["data"]} {
		values, _ := data.(map[string]any)
		switch value := values[field].(type) {
		case string:
			return value, nil
		case json.Number:
			return value.String(), nil
		}
	}
	return "", fmt.Errorf("%s has no field %q that is a text", path, field)
}
