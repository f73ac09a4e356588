package store

import (
	"errors"
	"fmt"
)

// MaxEntry is how large an entry may be, in bytes as it is stored. Integrated storage takes one of 1 MiB by default;
// a quarter of that leaves room for what seal wrap and the storage's own encoding add. Callers and providers are
// bounded field by field so that none comes near; this is the last line.
const MaxEntry = 256 << 10

// tooLargeError is what writing an entry gives that is larger than MaxEntry. Storage was not asked.
type tooLargeError struct {
	noun string
	size int
}

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("the %s would take %d bytes in storage, and an entry may take %d", e.noun, e.size, MaxEntry)
}

// TooLarge reports whether an entry was not written because of its size.
func TooLarge(err error) bool { return errors.As(err, new(*tooLargeError)) }

// oversize reports whether v is a connection that an earlier release stored larger. It may be written again, or its
// next token could not be stored; nothing that is written today makes it grow.
func oversize(v any) bool {
	c, ok := v.(*Connection)
	return ok && c.oversize
}
