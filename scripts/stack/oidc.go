package stack

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed oidc.mjs
var oidcScript []byte

// OIDCOptions set up an OpenID provider. Its clients are named by how they authenticate at the token endpoint:
// "basic", "post", "public" (PKCE required), "machine" (basic, for client_credentials with the scopes "read
// write") and, with ClientJWKS, "signer" (private_key_jwt). Any login name will do; it becomes the subject.
type OIDCOptions struct {
	Port         int      `json:"port"`          // 0: a free one
	RedirectURIs []string `json:"redirect_uris"` // registered for all clients but machine
	ClientSecret string   `json:"client_secret"` // of all clients but public
	// "always", or "" for the server's default: public clients only
	RotateRefreshToken string `json:"rotate_refresh_token"`
	AccessTokenTTL     int    `json:"access_token_ttl"`  // seconds; 0: an hour
	RefreshTokenTTL    int    `json:"refresh_token_ttl"` // seconds; 0: fourteen days
	OIDCControl
}

// OIDCControl is what can be changed while the provider runs.
type OIDCControl struct {
	TokenDelayMS int `json:"token_delay_ms"` // between spending what a token request brought and answering
	ReuseWindow  int `json:"reuse_window"`   // seconds for which a rotated refresh token is still taken
	// public keys of the client signer, as a JWK set (RFC 7517 section 5)
	ClientJWKS any `json:"client_jwks,omitempty"`
}

// OIDCCounts counts token requests by grant_type: what has been received and handled,
// and what was answered with tokens.
type OIDCCounts struct {
	Received map[string]int `json:"received"`
	Answered map[string]int `json:"answered"`
}

// OIDC is a running OpenID provider.
type OIDC struct {
	Issuer  string
	process *process
	dir     string
}

// StartOIDC starts an OpenID provider on loopback.
func StartOIDC(ctx context.Context, tools Tools, o OIDCOptions) (*OIDC, error) {
	settings, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "oidc-")
	if err != nil {
		return nil, err
	}
	s := &OIDC{dir: dir}
	log := filepath.Join(dir, "log")
	cmd := exec.Command(tools.Node, "--input-type=module", "-", string(settings))
	cmd.Dir = tools.ServersDir
	cmd.Env = environment(dir)
	cmd.Stdin = bytes.NewReader(oidcScript)
	if s.process, err = start("the OpenID provider", cmd, log); err != nil {
		s.Stop()
		return nil, err
	}
	err = s.process.ready(ctx, func(context.Context) error {
		s.Issuer, err = announcedIssuer(log)
		return err
	})
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// announcedIssuer looks for the line that the script prints when it listens, among what the library prints.
func announcedIssuer(log string) (string, error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(text) {
		var announced struct{ Issuer string }
		if json.Unmarshal(line, &announced) == nil && announced.Issuer != "" {
			return announced.Issuer, nil
		}
	}
	return "", errors.New("it has not announced its issuer")
}

// Counts tells how many token requests there have been.
func (s *OIDC) Counts(ctx context.Context) (OIDCCounts, error) {
	return s.control(ctx, nil)
}

// Control changes how the provider behaves from now on.
func (s *OIDC) Control(ctx context.Context, c OIDCControl) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = s.control(ctx, body)
	return err
}

func (s *OIDC) control(ctx context.Context, body []byte) (c OIDCCounts, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Issuer+"/test-control", bytes.NewReader(body))
	if err != nil {
		return c, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("the OpenID provider answers %s", resp.Status)
	}
	return c, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&c)
}

// Stop ends the provider.
func (s *OIDC) Stop() {
	s.process.stop()
	_ = os.RemoveAll(s.dir)
}
