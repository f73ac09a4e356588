package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"unicode"

	"github.com/hashicorp/vault/api"
)

// Client calls one mount with the token of a Vault client. It may be used by many goroutines.
type Client struct {
	vault *api.Client
	mount string
}

// New makes a client of the mount at a path, such as "connectors". [FindMount] finds it.
func New(vault *api.Client, mount string) *Client {
	return &Client{vault: vault, mount: strings.Trim(mount, "/")}
}

// Mount is the path of the mount, without slashes at its ends.
func (c *Client) Mount() string { return c.mount }

// Answer is what every answer has beside its fields: the whole of it, as the path says it, and Vault's warnings.
type Answer struct {
	Data     map[string]any `json:"-"` // by the path's own field names, with those that this release does not know
	Warnings []string       `json:"-"`
}

func (a *Answer) answer() *Answer { return a }

// answering is a pointer to a struct that embeds [Answer].
type answering interface{ answer() *Answer }

// CheckPath refuses what names no connection, before it could name another path of Vault's.
func CheckPath(path string) error {
	parts := strings.Split(path, "/")
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, unreadable) {
			return fmt.Errorf("%q does not name a connection: name one as the paths do, such as self/slack, "+
				"org/acme/slack or user/u-17/slack", path)
		}
	}
	return nil
}

func unreadable(r rune) bool { return unicode.IsControl(r) || r == '\\' }

func (c *Client) read(ctx context.Context, path string, query url.Values, into answering) error {
	secret, err := c.vault.Logical().ReadWithDataWithContext(ctx, c.mount+"/"+path, query)
	return needing("read", c.take(path, secret, err, into))
}

func (c *Client) list(ctx context.Context, path string, query url.Values, into answering) error {
	asked := url.Values{"list": {"true"}}
	maps.Copy(asked, query)
	secret, err := c.vault.Logical().ReadWithDataWithContext(ctx, c.mount+"/"+path, asked)
	if err == nil && (secret == nil || secret.Data == nil) { // Vault says 404 of an empty list
		secret = &api.Secret{Data: map[string]any{"keys": []any{}, "key_info": map[string]any{}}}
	}
	return needing("list", c.take(path, secret, err, into))
}

func (c *Client) write(ctx context.Context, path string, fields any, into answering) error {
	data, err := fieldsOf(fields)
	if err != nil {
		return err
	}
	secret, err := c.vault.Logical().WriteWithContext(ctx, c.mount+"/"+path, data)
	if err == nil && secret == nil {
		return nil
	}
	return needing("update", c.take(path, secret, err, into))
}

// delete gives the warnings that came with it.
func (c *Client) delete(ctx context.Context, path string, query url.Values) (warnings []string, err error) {
	secret, err := c.vault.Logical().DeleteWithDataWithContext(ctx, c.mount+"/"+path, query)
	if err != nil {
		return nil, needing("delete", asError(c.mount+"/"+path, err))
	}
	if secret == nil {
		return nil, nil
	}
	return secret.Warnings, nil
}

// take fills in an answer by the names of its fields.
func (c *Client) take(path string, secret *api.Secret, err error, into answering) error {
	return take(c.mount+"/"+path, secret, err, into)
}

// take is the same of a whole path.
func take(path string, secret *api.Secret, err error, into answering) error {
	if err != nil {
		return asError(path, err)
	}
	if secret == nil {
		return &Error{Status: 404, Path: path}
	}
	text, err := json.Marshal(secret.Data)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		// the answer may hold a credential, and the reader's words about it parts of that
		return errors.New(path + " answers what this release cannot read: take a newer one")
	}
	*into.answer() = Answer{Data: secret.Data, Warnings: secret.Warnings}
	return nil
}

// fieldsOf are the fields of a request: those of a map, or of a struct that are set.
func fieldsOf(request any) (map[string]any, error) {
	if fields, ok := request.(map[string]any); ok || request == nil {
		return fields, nil
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return fields, decoder.Decode(&fields)
}
