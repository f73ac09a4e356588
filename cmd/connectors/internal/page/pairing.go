package page

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// guest is a browser that opened the address, whoever's it is. Its cookie is bound to a path that nobody can guess:
// browsers send cookies to every port of a machine, and so to whoever listens on another, but by path.
type guest struct {
	path, cookie, characters string
	seen                     time.Time
	in                       chan struct{} // closed when the characters were typed
}

const (
	cookieName = "connectors"
	maxGuests  = 32
	maxMisses  = 3
	// letters and digits that are not taken for one another
	alphabet  = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
	guestTime = 2 * time.Minute  // how long one that is gone is kept
	holdTime  = 45 * time.Second // how long a waiting browser's request is held; some give up after a minute
)

// looksAt reports whether somebody sees what is answered. A page elsewhere could ask for this one as a picture, in a
// frame or ahead of time as often as it likes, and take all the places.
func looksAt(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return (dest == "" || dest == "document") && r.Header.Get("Sec-Purpose") == ""
}

// admit gives each browser that comes characters, a path and a cookie of its own. Nothing of them is in the address,
// which every user of the machine may read among the arguments of the browser.
func (s *Server) admit(w http.ResponseWriter) {
	s.mu.Lock()
	for path, g := range s.guests {
		if time.Since(g.seen) > guestTime {
			delete(s.guests, path)
		}
	}
	taken, full := s.paired != nil, len(s.guests) >= maxGuests
	var g *guest
	if !taken && !full {
		g = &guest{path: random(16), cookie: random(32), seen: time.Now(), in: make(chan struct{})}
		for g.characters == "" || s.holder(g.characters) != nil {
			g.characters = characters()
		}
		s.guests[g.path] = g
	}
	s.mu.Unlock()
	switch {
	case taken:
		s.refuse(w, http.StatusForbidden, "A browser is paired already, and it is the only one. For another one, "+
			"end the command in the terminal and start it again.")
	case full:
		s.refuse(w, http.StatusTooManyRequests, "Too many browsers have opened this address and wait. Try again in two "+
			"minutes, or end the command in the terminal and start it again.")
	default:
		http.SetCookie(w, &http.Cookie{
			Name: cookieName, Value: g.cookie, Path: "/" + g.path + "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
		s.show(w, http.StatusOK, "lead", view{Title: "My accounts", To: "/" + g.path + "/"})
	}
}

// holder is the guest that was shown these characters. The lock is held.
func (s *Server) holder(characters string) *guest {
	for _, g := range s.guests {
		if g.characters == characters {
			return g
		}
	}
	return nil
}

// known is the guest of a path, if the request brings its cookie. A page elsewhere that leads here is refused even so:
// else it could show a person characters that are somebody else's.
func (s *Server) known(path string, r *http.Request) *guest {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guests[path]
	if g == nil {
		return nil
	}
	for _, cookie := range r.CookiesNamed(cookieName) { // another port may have set one of the same name beside it
		if subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(g.cookie)) == 1 {
			g.seen = time.Now()
			return g
		}
	}
	return nil
}

func (s *Server) isPaired(g *guest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paired == g
}

// wait shows a browser its characters. The page leads on to "in" at once, which is answered when they were typed: so
// it stays on the screen meanwhile, and needs no script to notice.
func (s *Server) wait(w http.ResponseWriter, r *http.Request, g *guest, rest string) {
	if r.Method != http.MethodGet || rest != "" && rest != "in" {
		s.refuse(w, http.StatusForbidden, "This browser is not paired yet.")
		return
	}
	if rest == "in" {
		held := time.NewTimer(holdTime)
		defer held.Stop()
		select {
		case <-g.in:
		case <-held.C:
		case <-s.ended:
		case <-r.Context().Done():
			return
		}
		http.Redirect(w, r, "/"+g.path+"/", http.StatusSeeOther)
		return
	}
	s.show(w, http.StatusOK, "pair", view{Title: "Pair this browser", Code: g.characters, To: "/" + g.path + "/in"})
}

// Waiting is how many browsers were shown characters, and are not gone.
func (s *Server) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, g := range s.guests {
		if time.Since(g.seen) <= holdTime+5*time.Second {
			n++
		}
	}
	return n
}

// Pair lets in the one browser that shows what was typed, and no other from then on. The third miss ends the pages.
func (s *Server) Pair(typed string) bool {
	typed = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(typed))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paired != nil {
		return false
	}
	g := s.holder(typed)
	if g == nil {
		if s.misses++; s.misses >= maxMisses {
			s.stop(ErrMisses)
		}
		return false
	}
	s.paired = g
	clear(s.guests)
	s.guests[g.path] = g
	s.idle.Reset(idleTime)
	close(g.in)
	return true
}

// random is text of so many random bytes.
func random(size int) string {
	value := make([]byte, size)
	_, _ = rand.Read(value) // which never fails
	return base64.RawURLEncoding.EncodeToString(value)
}

// characters are four of the alphabet, each as likely as any other.
func characters() string {
	var out []byte
	one := make([]byte, 1)
	for len(out) < 4 {
		_, _ = rand.Read(one)
		if n := int(one[0]); n < 256/len(alphabet)*len(alphabet) {
			out = append(out, alphabet[n%len(alphabet)])
		}
	}
	return string(out)
}
