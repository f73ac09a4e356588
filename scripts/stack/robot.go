package stack

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

const maxClicks = 20 // more than any authorization server here asks for; fewer than a redirect loop makes

// Robot is a person with a browser: it keeps cookies, follows redirects, logs in and consents, or refuses.
type Robot struct {
	User string // the login name, or the account to choose
	Deny bool   // refuse where a page lets it, instead of going on

	client *http.Client
}

// NewRobot gives a person with a fresh browser.
func NewRobot(user string) *Robot {
	jar, _ := cookiejar.New(nil) // without options there is nothing to go wrong
	return &Robot{User: user, client: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Page is what the browser shows.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
}

// Walk opens start and clicks on until the browser is about to ask for a URL that begins with target, such as a
// redirect URI. It returns that request without sending it: nobody need listen there. Its parameters are in URL.Query,
// or, when the provider answers by form_post, in PostForm.
func (r *Robot) Walk(ctx context.Context, start, target string) (*http.Request, error) {
	next, err := http.NewRequestWithContext(ctx, http.MethodGet, start, nil)
	if err != nil {
		return nil, err
	}
	for range maxClicks {
		if strings.HasPrefix(next.URL.String(), target) {
			return next, nil
		}
		page, err := r.Open(next)
		if err != nil {
			return nil, err
		}
		if next, err = r.click(ctx, page); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("after %d clicks the browser is at %s, not at %s", maxClicks, next.URL, target)
}

// Visit walks to target and opens the page there.
func (r *Robot) Visit(ctx context.Context, start, target string) (*Page, error) {
	req, err := r.Walk(ctx, start, target)
	if err != nil {
		return nil, err
	}
	return r.Open(req)
}

// Open sends one request and gives what came back, a redirect unfollowed.
func (r *Robot) Open(req *http.Request) (*Page, error) {
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	return &Page{URL: req.URL, Status: resp.StatusCode, Header: resp.Header, Body: string(body)}, nil
}

// click gives the request that follows from a page: its redirect, its way to refuse, or its form, filled in.
func (r *Robot) click(ctx context.Context, page *Page) (*http.Request, error) {
	if to := page.Header.Get("Location"); to != "" && page.Status/100 == 3 {
		return r.request(ctx, page, http.MethodGet, to, nil)
	}
	doc, err := html.Parse(strings.NewReader(page.Body))
	if err != nil {
		return nil, err
	}
	if r.Deny {
		if link := find(doc, isRefusal); link != nil {
			return r.request(ctx, page, http.MethodGet, attribute(link, "href"), nil)
		}
	}
	form := find(doc, func(n *html.Node) bool { return isPostForm(n) && find(n, r.isMine) != nil })
	if form == nil {
		form = find(doc, isPostForm)
	}
	if form == nil {
		return nil, fmt.Errorf("%s answers %d with nothing to click: %.300s", page.URL, page.Status, text(doc))
	}
	return r.request(ctx, page, http.MethodPost, attribute(form, "action"), r.fill(form))
}

func (r *Robot) request(ctx context.Context, from *Page, method, to string, form url.Values) (*http.Request, error) {
	target, err := from.URL.Parse(cmp.Or(to, from.URL.String()))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.PostForm = form
	}
	return req, nil
}

// fill completes a form as the user would: what is given stays, and the empty fields take the name and any password.
func (r *Robot) fill(form *html.Node) url.Values {
	values := url.Values{}
	for n := range form.Descendants() {
		name := attribute(n, "name")
		if n.Type != html.ElementNode || name == "" {
			continue
		}
		value := attribute(n, "value")
		switch kind := attribute(n, "type"); {
		case n.Data == "button" || kind == "submit":
			if values.Has(name) {
				continue // one button is pressed, the first of its name
			}
		case n.Data != "input":
			continue
		case kind == "password":
			value = "any"
		case kind == "checkbox" || kind == "radio":
			value = cmp.Or(value, "on")
		case kind != "hidden":
			value = cmp.Or(value, r.User)
		}
		values.Set(name, value)
	}
	return values
}

// isMine says whether a node names the user, as where a page lists accounts to choose from.
func (r *Robot) isMine(n *html.Node) bool {
	if n.Type == html.TextNode {
		return strings.TrimSpace(n.Data) == r.User
	}
	return attribute(n, "value") == r.User
}

func isPostForm(n *html.Node) bool {
	return n.Type == html.ElementNode && n.Data == "form" && strings.EqualFold(attribute(n, "method"), http.MethodPost)
}

func isRefusal(n *html.Node) bool {
	if n.Type != html.ElementNode || n.Data != "a" {
		return false
	}
	label := strings.ToLower(text(n))
	return slices.ContainsFunc([]string{"cancel", "deny", "abort"}, func(word string) bool {
		return strings.Contains(label, word)
	})
}

func find(n *html.Node, is func(*html.Node) bool) *html.Node {
	for d := range n.Descendants() {
		if is(d) {
			return d
		}
	}
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var words []string
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "style" {
			words = append(words, strings.Fields(d.Data)...)
		}
	}
	return strings.Join(words, " ")
}
