package client

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/oauth2"
)

// TokenSource gives the access token of a connection to libraries that take one. A token of it ends when the engine
// hands out a newer one, which is before it expires: then the source reads again, and until then it does not. ctx is
// for all its reads. Keys have no access token; [Client.Transport] is for them, too.
func (c *Client) TokenSource(ctx context.Context, path string) oauth2.TokenSource {
	// none earlier than the engine says: its ttl leaves room already
	source := &tokenSource{ctx: ctx, client: c, path: path, now: time.Now}
	return oauth2.ReuseTokenSourceWithExpiry(nil, source, time.Nanosecond)
}

type tokenSource struct {
	ctx    context.Context
	client *Client
	path   string
	now    func() time.Time
}

func (s *tokenSource) Token() (*oauth2.Token, error) {
	asked := s.now() // ttl counts from the answer, so this ends no later
	credential, err := s.client.Credential(s.ctx, s.path, CredentialOptions{})
	if err != nil {
		return nil, err
	}
	if credential.AccessToken == "" {
		return nil, fmt.Errorf("connection %s is a key, which is no access token: use Transport", s.path)
	}
	return &oauth2.Token{
		AccessToken: credential.AccessToken, TokenType: credential.TokenType, Expiry: asked.Add(seconds(credential.TTL)),
	}, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
