package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// call is a request as the flags say it.
type call struct {
	method  string
	fields  []string
	headers []string
	form    bool
	input   string
}

func (a *app) api() *cobra.Command {
	var asked call
	cmd := &cobra.Command{
		Use:   "api NAME ADDRESS",
		Short: "Send a request to the service of a connection, with its credential",
		Long: `Send a request to the service of a connection, with its credential in the place that the service
wants. ADDRESS is below the base of its API (/chat.postMessage), or whole. It goes to the service's own
hosts alone, by https, and follows no redirect elsewhere.

Fields (-f name=value) make it a POST with a JSON body, or a form with --form; with -X GET they go to
the query.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(args[0])
			if err != nil {
				return err
			}
			if err := asked.judge(); err != nil {
				return err
			}
			body, err := asked.body(cmd.Context(), a.In)
			if err != nil {
				return err
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			return a.send(cmd.Context(), c, args[0], path, args[1], asked, body)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&asked.method, "method", "X", "", "GET, or POST where there are fields or input")
	flags.StringArrayVarP(&asked.fields, "field", "f", nil, "a field, as channel=C1; may be repeated")
	flags.StringArrayVarP(&asked.headers, "header", "H", nil, "a header that is no secret, as 'Accept: text/csv'")
	flags.BoolVar(&asked.form, "form", false, "send the fields as a form")
	flags.StringVar(&asked.input, "input", "", "send this file as the body; -: what comes from stdin")
	return cmd
}

func (c *call) judge() error {
	if c.input != "" && len(c.fields) > 0 {
		return wrongUse("--input is the whole body: leave out the fields, or it")
	}
	if c.method == "" {
		if c.method = http.MethodGet; c.input != "" || len(c.fields) > 0 {
			c.method = http.MethodPost
		}
	}
	c.method = strings.ToUpper(c.method)
	for _, header := range c.headers {
		name, _, found := strings.Cut(header, ":")
		if !found || strings.EqualFold(strings.TrimSpace(name), "authorization") {
			return wrongUse("-H takes 'Name: value', and no credential: that of the connection is put in")
		}
	}
	for _, field := range c.fields {
		if name, _, found := strings.Cut(field, "="); !found || name == "" {
			return wrongUse("-f takes name=value")
		}
	}
	return nil
}

// values are the fields, for the query or a form.
func (c *call) values() url.Values {
	values := url.Values{}
	for _, field := range c.fields {
		name, value, _ := strings.Cut(field, "=")
		values.Add(name, value)
	}
	return values
}

// inQuery reports whether the fields are no body.
func (c *call) inQuery() bool { return c.method == http.MethodGet || c.method == http.MethodHead }

func (c *call) body(ctx context.Context, stdin io.Reader) ([]byte, error) {
	switch {
	case c.input == "-":
		return terminal.ReadAll(ctx, stdin)
	case c.input != "":
		return os.ReadFile(c.input)
	case len(c.fields) == 0 || c.inQuery():
		return nil, nil
	case c.form:
		return []byte(c.values().Encode()), nil
	}
	object := map[string]string{}
	for _, field := range c.fields {
		name, value, _ := strings.Cut(field, "=")
		object[name] = value
	}
	return json.Marshal(object)
}

func (a *app) send(ctx context.Context, c *client.Client, name, path, address string, asked call, body []byte,
) error {
	transport := c.Transport(path)
	base, err := transport.BaseURL(ctx)
	if err != nil {
		return a.advised(ctx, c, name, path, err)
	}
	to, err := below(base, address)
	if err != nil {
		return err
	}
	if asked.inQuery() && len(asked.fields) > 0 {
		query := to.Query()
		for name, values := range asked.values() {
			query[name] = append(query[name], values...)
		}
		to.RawQuery = query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, asked.method, to.String(), bytes.NewReader(body))
	if err != nil {
		return wrongUse("%s", err)
	}
	switch {
	case asked.form && len(body) > 0:
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case len(body) > 0:
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", "application/json, */*;q=0.5")
	request.Header.Set("User-Agent", "connectors/"+Version)
	for _, header := range asked.headers {
		name, value, _ := strings.Cut(header, ":")
		request.Header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return toHost(err)
	}
	defer response.Body.Close()
	out := io.Writer(a.Out)
	if a.Shows() {
		out = terminal.Lines(out)
	}
	last := &lastByte{w: out}
	if _, err := io.Copy(last, response.Body); err != nil {
		return err
	}
	if a.Shows() && last.is != 0 && last.is != '\n' { // what follows is no part of it
		if _, err := io.WriteString(out, "\n"); err != nil {
			return err
		}
	}
	return statusOf(path, response)
}

// lastByte writes on, and keeps which byte was the last one.
type lastByte struct {
	w  io.Writer
	is byte
}

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.is = p[len(p)-1]
	}
	return l.w.Write(p)
}

// toHost leaves of the address in an error its host: a redirect has what was in the request's, the credential too.
func toHost(err error) error {
	var about *url.Error
	if errors.As(err, &about) {
		if to, wrong := url.Parse(about.URL); wrong == nil {
			about.URL = to.Scheme + "://" + to.Host
		} else {
			about.URL = "the service"
		}
	}
	return err
}

// below is the address of a request: relative ones are below the base of the API.
func below(base *url.URL, address string) (*url.URL, error) {
	to, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, wrongUse("%q is no address", address)
	case to.Scheme != "" || to.Host != "":
		return to, nil
	}
	whole := *base
	whole.Path = strings.TrimSuffix(base.Path, "/") + "/" + strings.TrimPrefix(to.Path, "/")
	whole.RawPath, whole.RawQuery, whole.Fragment = "", to.RawQuery, ""
	if to.RawPath != "" {
		whole.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + "/" + strings.TrimPrefix(to.RawPath, "/")
	}
	return &whole, nil
}

// statusOf makes an error of an answer that is none of success.
func statusOf(path string, response *http.Response) error {
	switch status := response.StatusCode; {
	case status < 300:
		return nil
	case status == http.StatusUnauthorized:
		return withCode(codePerson, "the service answers %s; it was asked whether %s works: connectors check %s tells what "+
			"it said", response.Status, path, path)
	case status == http.StatusTooManyRequests, status > http.StatusInternalServerError:
		return withCode(codeAway, "the service answers %s", response.Status)
	}
	return withCode(codeFailed, "the service answers %s", response.Status)
}
