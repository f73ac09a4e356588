package acceptance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

const (
	plantedSecret = "planted-client-secret-5f1c"
	plantedKey    = "sk-planted-key-9d27-0123456789"
	goodRefresh   = "planted-refresh-good-73aa"
	refusedImport = "planted-refresh-refused-18be"
	brokenImport  = "planted-refresh-broken-c604"
)

// plant is an authorization server that issues secrets nobody could mistake, remembers every secret that went through
// it, and repeats what it was sent in its error messages, as careless servers do.
type plant struct {
	url string

	mu      sync.Mutex
	secrets []string
}

func newPlant(t *testing.T) *plant {
	p := &plant{secrets: []string{
		plantedSecret, base64.StdEncoding.EncodeToString([]byte("app:" + plantedSecret)), plantedKey, goodRefresh,
		refusedImport, brokenImport,
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("/authorize", p.authorize)
	mux.HandleFunc("/token", p.token)
	mux.HandleFunc("/revoke", p.fail)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// mint makes a secret and remembers it.
func (p *plant) mint(kind string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	secret := fmt.Sprintf("planted-%s-%d-e8b3", kind, len(p.secrets))
	p.secrets = append(p.secrets, secret)
	return secret
}

// remember keeps a secret that somebody else made.
func (p *plant) remember(secrets ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secrets = append(p.secrets, secrets...)
}

func (p *plant) known() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.secrets)
}

func (p *plant) authorize(w http.ResponseWriter, r *http.Request) {
	back := url.Values{"state": {r.FormValue("state")}, "code": {p.mint("code")}}
	http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *plant) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if verifier := r.FormValue("code_verifier"); verifier != "" {
		p.remember(verifier)
	}
	switch r.FormValue("refresh_token") {
	case refusedImport:
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"error": "invalid_grant", "error_description": "no such token: " + refusedImport,
		})
	case brokenImport:
		p.fail(w, r)
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": p.mint("access"), "refresh_token": p.mint("refresh"), "token_type": "bearer", "expires_in": 3600,
		})
	}
}

func (p *plant) fail(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = fmt.Fprintf(w, "<html>cannot handle %s of %s</html>", r.Form.Encode(), plantedSecret)
}

// witness asks as anybody would, and writes down every answer.
type witness struct {
	*engine
	answers bytes.Buffer
}

func (w *witness) note(answer *api.Secret, err error) {
	written, _ := json.Marshal(answer) // all of it came from JSON
	fmt.Fprintf(&w.answers, "%s %v\n", written, err)
}

func (w *witness) ask(t *testing.T, path string, data map[string]any) {
	t.Helper()
	w.note(w.vault.Client.Logical().WriteWithContext(t.Context(), w.path+"/"+path, data))
}

func (w *witness) look(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		w.note(w.vault.Client.Logical().ReadWithContext(t.Context(), w.path+"/"+path))
	}
}

func TestPlantedSecrets(t *testing.T) {
	t.Parallel()
	vault, err := stack.StartVaultDev(t.Context(), suite.tools,
		stack.VaultOptions{Env: []string{"VAULT_LOG_LEVEL=trace"}})
	require.NoError(t, err)
	t.Cleanup(vault.Stop)
	p := newPlant(t)
	w := &witness{engine: mountOn(t, vault)}
	w.engine = w.as(t, vault.Token)

	w.ask(t, "providers/openai", map[string]any{})
	w.ask(t, "providers/app", map[string]any{
		"definition": "oauth2", "client_id": "app", "client_secret": plantedSecret, "client_auth": "basic",
		"endpoints": map[string]string{
			"authorize": p.url + "/authorize", "token": p.url + "/token", "revoke": p.url + "/revoke",
		},
	})
	w.ask(t, "providers/app", map[string]any{
		"client_secret": plantedSecret, "endpoints": plantedSecret, "scopes": map[string]string{"a": plantedSecret},
	})
	w.ask(t, "providers/app", map[string]any{"client_sekret": plantedSecret})

	flow := w.write(t, "auth-code-url/account", map[string]any{"provider": "app"})
	back, err := stack.NewRobot(person).Walk(t.Context(), flow["url"].(string), w.callback("app"))
	require.NoError(t, err)
	code := confirmationCode(t, open(t, back))
	p.remember(back.URL.Query().Get("state"), code, strings.ReplaceAll(code, "-", ""))
	w.ask(t, "exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": "AAAA-AAAA"})
	w.ask(t, "exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": code})
	w.ask(t, "exchange", map[string]any{"state": back.URL.Query().Get("state"), "code": back.URL.Query().Get("code")})

	for name, token := range map[string]string{"good": goodRefresh, "refused": refusedImport, "broken": brokenImport} {
		w.ask(t, "connections/"+name, map[string]any{"provider": "app", "refresh_token": token})
	}
	w.ask(t, "connections/key", map[string]any{"provider": "openai", "api_key": plantedKey, "verify": false})
	w.ask(t, "connections/misspelt", map[string]any{"provider": "openai", "apikey": plantedKey})
	w.ask(t, "connections/malformed", map[string]any{"provider": "openai", "api_key": " " + plantedKey})

	names := []string{"account", "good", "refused", "broken", "key"}
	for _, name := range names {
		w.ask(t, "refresh/"+name, nil)
		w.look(t, "connections/"+name)
	}
	assert.Contains(t, w.read(t, "creds/account")["access_token"], "planted-access-")
	assert.Equal(t, plantedKey, w.read(t, "creds/key")["api_key"])
	for _, name := range []string{"refused", "broken"} {
		w.absent(t, "connections/"+name)
	}
	w.look(t, "creds/refused", "creds/broken", "config", "status", "providers/app", "providers/openai")
	require.NoError(t, vault.Reload(t.Context()))
	w.look(t, "connections/account")
	for _, name := range names {
		w.note(vault.Client.Logical().DeleteWithContext(t.Context(), w.path+"/connections/"+name))
	}

	log, err := os.ReadFile(vault.LogFile)
	require.NoError(t, err)
	require.Contains(t, string(log), "[TRACE]", "the log is as talkative as it gets")
	audit := auditWithoutURIs(t, vault.AuditFile)
	require.Contains(t, audit, w.path+"/creds/account")
	require.Contains(t, audit, w.path+"/callback/app")
	for _, happened := range []string{
		"invalid_grant", "server_error", "wrong type", "unknown field",
		"may live on at the provider",
	} {
		require.Contains(t, w.answers.String(), happened)
	}

	secrets := p.known()
	require.Greater(t, len(secrets), 14, "codes, tokens and a verifier were seen by the server")
	for where, text := range map[string]string{
		"an answer": w.answers.String(), "the log": string(log),
		"the audit log": audit,
	} {
		for _, secret := range secrets {
			assert.False(t, strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)), "%s is in %s",
				secret, where)
		}
	}
}

// auditWithoutURIs is the audit log without the request URIs of browsers that came back by GET: those hold state and
// code in the clear, as the README says, and nothing follows from knowing them: see TestStateReplayed.
func auditWithoutURIs(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var kept strings.Builder
	for line := range bytes.Lines(content) {
		var record map[string]any
		require.NoError(t, json.Unmarshal(line, &record))
		if request, ok := record["request"].(map[string]any); ok {
			delete(request, "request_uri")
		}
		written, err := json.Marshal(record)
		require.NoError(t, err)
		kept.Write(written)
	}
	return kept.String()
}
