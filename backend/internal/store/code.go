package store

import (
	"context"
	"time"
)

// codeVersion is the version of code entries. An older release may ignore the whole kind, and leaves its entries.
const codeVersion = 1

// Code remembers which flow brought an authorization code first. Of the code there is only a hash, as the entry's
// name.
type Code struct {
	Flow     string    `json:"flow"`               // the id of the flow that brought it first
	Expires  time.Time `json:"expires"`            // remembered until then
	Disputed bool      `json:"disputed,omitempty"` // another flow brought it too, so neither may spend it

	unknown unknownFields
}

type codeRecord struct {
	header
	Code
}

func encodeCode(c *Code) ([]byte, error) {
	return encode(codeRecord{header{codeVersion}, *c}, c.unknown)
}

func decodeCode(b []byte) (*Code, error) {
	var r codeRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	r.Code.unknown = unknown
	return &r.Code, r.check("code", codeVersion)
}

// Code reads what is remembered of the code whose hash is id.
func (s Store) Code(ctx context.Context, id string) (*Code, error) {
	return get(ctx, s.storage, codePrefix+id, decodeCode)
}

// PutCode writes what is remembered of one code.
func (s Store) PutCode(ctx context.Context, id string, c *Code) error {
	return put(ctx, s.storage, codePrefix+id, c, encodeCode)
}

// DeleteCode forgets one code; absent is fine.
func (s Store) DeleteCode(ctx context.Context, id string) error { return s.remove(ctx, codePrefix+id) }

// Codes lists the hashes of all codes that are remembered.
func (s Store) Codes(ctx context.Context) ([]string, error) { return s.list(ctx, codePrefix) }
