package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/cliconfig"
)

// Server is the Vault that the environment names, whether or not it answers, and whether or not there is a token.
type Server struct{ vault *api.Client }

// ServerFromEnvironment takes address and token from where the vault command takes them.
func ServerFromEnvironment() (*Server, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, fmt.Errorf("the environment's settings for Vault: %w", config.Error)
	}
	vault, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("the environment's settings for Vault: %w", err)
	}
	if vault.Token() == "" {
		helper, err := cliconfig.DefaultTokenHelper()
		if err != nil {
			return nil, fmt.Errorf("the token helper of Vault: %w", err)
		}
		token, err := helper.Get()
		if err != nil {
			return nil, fmt.Errorf("the token helper of Vault: %w", err)
		}
		vault.SetToken(strings.TrimSpace(token))
	}
	return &Server{vault: vault}, nil
}

// Address is where it is looked for.
func (s *Server) Address() string { return s.vault.Address() }

// MountAddress is where it answers what is mounted at a path.
func (s *Server) MountAddress(mount string) string {
	if namespace := strings.Trim(s.vault.Namespace(), "/"); namespace != "" {
		mount = namespace + "/" + mount
	}
	return strings.TrimSuffix(s.Address(), "/") + "/v1/" + mount
}

// HasToken reports whether there is a token to ask with.
func (s *Server) HasToken() bool { return s.vault.Token() != "" }

// Client gives the client of a mount; where mount is empty of that which CONNECTORS_MOUNT names, else of the one that
// is found by its type.
func (s *Server) Client(ctx context.Context, mount string) (*Client, error) {
	if !s.HasToken() {
		return nil, ErrNoToken
	}
	if mount == "" {
		mount = os.Getenv(MountVariable)
	}
	if mount == "" {
		found, err := FindMount(ctx, s.vault)
		if err != nil {
			return nil, err
		}
		mount = found
	}
	return New(s.vault, mount), nil
}

// Health is what a Vault tells everybody of itself.
type Health struct {
	Version     string `json:"version"`
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`

	Date       time.Time     `json:"-"` // its clock, to the second; zero where it does not tell
	Asked      time.Time     `json:"-"` // by the clock here, in the middle between question and answer
	RoundTrip  time.Duration `json:"-"`
	TLSVersion uint16        `json:"-"` // 0: none
	CertExpiry time.Time     `json:"-"` // of its certificate; zero without TLS
}

// Health asks without a token.
func (s *Server) Health(ctx context.Context) (*Health, error) {
	health, asked := &Health{}, time.Now()
	const path = "/v1/sys/health?standbyok=true&perfstandbyok=true"
	status, body, err := open(ctx, s.transport(), s.Address()+path, func(r *http.Response) {
		health.RoundTrip = time.Since(asked)
		health.Asked = asked.Add(health.RoundTrip / 2)
		health.Date, _ = http.ParseTime(r.Header.Get("Date"))
		if r.TLS != nil {
			health.TLSVersion = r.TLS.Version
			if len(r.TLS.PeerCertificates) > 0 {
				health.CertExpiry = r.TLS.PeerCertificates[0].NotAfter
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(body, health) != nil || health.Version == "" {
		return nil, fmt.Errorf("what answers there is no Vault: it says %d", status)
	}
	return health, nil
}

// Page is what a browser gets at an address.
type Page struct {
	Status int
	Header http.Header
	Body   string
}

// Page loads one as a browser would, without a token and without following on elsewhere. What is not at Vault's own
// address may have a certificate of the CAs that this machine trusts, or of Vault's.
func (s *Server) Page(ctx context.Context, address string) (*Page, error) {
	page := &Page{}
	look := func(r *http.Response) { page.Header = r.Header }
	transport := s.transport()
	elsewhere := !strings.HasPrefix(address, strings.TrimSuffix(s.Address(), "/")+"/")
	if elsewhere {
		transport = http.DefaultTransport
	}
	status, body, err := open(ctx, transport, address, look)
	var unknown x509.UnknownAuthorityError
	if elsewhere && errors.As(err, &unknown) {
		status, body, err = open(ctx, s.transport(), address, look)
	}
	page.Status, page.Body = status, string(body)
	return page, err
}

// transport makes connections as Vault's client does, so with its CA certificates.
func (s *Server) transport() http.RoundTripper { return s.vault.CloneConfig().HttpClient.Transport }

// maxPage is more than any page of the engine has.
const maxPage = 1 << 20

// open sends a GET that has no token.
func open(ctx context.Context, by http.RoundTripper, address string, look func(*http.Response),
) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	plain := &http.Client{
		Transport:     by,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := plain.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	look(response)
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	return response.StatusCode, body, err
}

// Token is what Vault tells of the token that is used.
type Token struct {
	Answer `json:"-"`

	DisplayName string   `json:"display_name"`
	EntityID    string   `json:"entity_id"` // empty: self/ is nobody's
	Policies    []string `json:"policies"`
	Identity    []string `json:"identity_policies"`
	ExpireTime  string   `json:"expire_time"` // empty when it does not expire
	TTL         int      `json:"ttl"`         // seconds
	Renewable   bool     `json:"renewable"`
	Type        string   `json:"type"`
}

// Token asks what the token is.
func (s *Server) Token(ctx context.Context) (*Token, error) {
	token := &Token{}
	return token, s.ask(ctx, "auth/token/lookup-self", token)
}

// MountInfo is what Vault tells of a mount to everybody who may use something of it.
type MountInfo struct {
	Answer `json:"-"`

	Type           string `json:"type"`
	Path           string `json:"path"`
	RunningVersion string `json:"running_plugin_version"`
}

// Mount asks what is mounted at a path.
func (s *Server) Mount(ctx context.Context, path string) (*MountInfo, error) {
	info := &MountInfo{}
	return info, s.ask(ctx, "sys/internal/ui/mounts/"+strings.Trim(path, "/"), info)
}

func (s *Server) ask(ctx context.Context, path string, into answering) error {
	secret, err := s.vault.Logical().ReadWithContext(ctx, path)
	return take(path, secret, err, into)
}

// Capabilities tells what the token may do on paths of the mount, by path: create, read, update, delete, list, root or
// deny.
func (c *Client) Capabilities(ctx context.Context, paths []string) (map[string][]string, error) {
	const path = "sys/capabilities-self"
	var whole []string
	for _, one := range paths {
		whole = append(whole, c.mount+"/"+one)
	}
	secret, err := c.vault.Logical().WriteWithContext(ctx, path, map[string]any{"paths": whole})
	if err != nil {
		return nil, asError(path, err)
	}
	if secret == nil {
		return nil, &Error{Status: http.StatusNotFound, Path: path}
	}
	may := map[string][]string{}
	for i, one := range paths {
		all, _ := secret.Data[whole[i]].([]any)
		for _, capability := range all {
			may[one] = append(may[one], fmt.Sprint(capability))
		}
	}
	return may, nil
}
