package page

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A page of somebody else's, in whatever browser of this machine, takes no places from who waits to be let in:
// it may
// ask for the address as a picture, a frame or a script as often as it likes.
func TestAttackForeignPageTakesThePlaces(t *testing.T) {
	s := newServer(t, newMount())
	for range maxGuests {
		for _, a := range []asked{
			{path: "/", site: "cross-site", dest: "image"},
			{path: "/", site: "same-site", dest: "iframe"},
			{path: "/", site: "cross-site", dest: "document", purpose: "prefetch;prerender"},
		} {
			if got := s.answers(a); got.Code != http.StatusForbidden || len(got.Result().Cookies()) > 0 {
				t.Fatalf("%+v was let in to wait: %d", a, got.Code)
			}
		}
	}
	assert.Zero(t, s.Waiting())
	for _, a := range []asked{
		{path: "/", site: "none", dest: "document"},       // typed, or opened by the command
		{path: "/", site: "cross-site", dest: "document"}, // a link in a terminal that is itself a page
		{path: "/"}, // a browser that says nothing of the sort
	} {
		got := s.answers(a)
		assert.Equal(t, http.StatusOK, got.Code)
		assert.Len(t, got.Result().Cookies(), 1)
	}
}
