package providertest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// token serves the token endpoint: authorization_code, refresh_token and client_credentials (RFC 6749 sections 4.1.3,
// 6 and 4.4.2), and assertions in the place of a client (RFC 7523 section 2.1).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Form.Get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		s.assertion(w, r.Form)
		return
	}
	if !s.authenticated(r) {
		fail(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	switch r.Form.Get("grant_type") {
	case "authorization_code":
		s.exchange(w, r.Form)
	case "refresh_token":
		s.refresh(w, r.Form)
	case "client_credentials":
		answer(w, s.issue(nil, r.Form.Get("scope")))
	case grantDevice:
		s.poll(w, r.Form)
	default:
		fail(w, http.StatusBadRequest, "unsupported_grant_type")
	}
}

// assertion takes one that is signed with a key that the server trusts, for its token endpoint, and not over.
func (s *Server) assertion(w http.ResponseWriter, form url.Values) {
	signed, err := jose.ParseSignedCompact(form.Get("assertion"), []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Scope    string `json:"scope"`
		Expires  int64  `json:"exp"`
	}
	if err == nil {
		var payload []byte
		if payload, err = signed.Verify(s.trusted); err == nil {
			err = json.Unmarshal(payload, &claims)
		}
	}
	if s.trusted == nil || err != nil || claims.Issuer == "" || claims.Audience != s.URL+"/token" ||
		!s.now().Before(time.Unix(claims.Expires, 0)) {
		fail(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	answer(w, s.issue(nil, claims.Scope))
}

// login takes a user's password, as services do that have a call of their own for that.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var body struct{ Username, Password string }
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || s.password == "" ||
		body.Username == "" || body.Password != s.password {
		fail(w, http.StatusUnauthorized, "bad_login")
		return
	}
	tokens := s.issue(nil, "")
	answer(w, map[string]any{"data": map[string]any{"token": tokens["access_token"], "ttl": tokens["expires_in"]}})
}

// authenticated takes Basic credentials, form-decoded, or the same in the body.
func (s *Server) authenticated(r *http.Request) bool {
	id, secret := r.Form.Get("client_id"), r.Form.Get("client_secret")
	if user, password, basic := r.BasicAuth(); basic {
		var err1, err2 error
		id, err1 = url.QueryUnescape(user)
		secret, err2 = url.QueryUnescape(password)
		if err1 != nil || err2 != nil {
			return false
		}
	}
	return id == ClientID && secret == s.secret
}

func (s *Server) exchange(w http.ResponseWriter, form url.Values) {
	code := form.Get("code")
	asked := s.codes[code]
	delete(s.codes, code)
	if asked == nil || asked.redirectURI != form.Get("redirect_uri") ||
		!proves(asked.challenge, form.Get("code_verifier")) {
		fail(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	f := &family{scope: asked.scope, current: s.mint("refresh")}
	s.grants[f.current] = f
	tokens := s.issue(f, f.scope)
	tokens["refresh_token"] = f.current
	if strings.Contains(" "+asked.scope+" ", " openid ") {
		tokens["id_token"] = s.idToken(asked.nonce)
	}
	answer(w, tokens)
}

// proves checks a PKCE verifier (RFC 7636 section 4.6).
func proves(challenge, verifier string) bool {
	if challenge == "" {
		return verifier == ""
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]) == challenge
}

func (s *Server) refresh(w http.ResponseWriter, form url.Values) {
	spent := form.Get("refresh_token")
	f := s.grants[spent]
	if f == nil || f.dead || f.current != spent {
		if f != nil {
			f.dead = true
		}
		fail(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	tokens := s.issue(f, f.scope)
	if s.rotate {
		f.current = s.mint("refresh")
		s.grants[f.current] = f
		tokens["refresh_token"] = f.current
	}
	answer(w, tokens)
}

func (s *Server) issue(f *family, scope string) map[string]any {
	token := s.mint("access")
	a := &access{family: f}
	tokens := map[string]any{"access_token": token, "token_type": "Bearer"}
	if s.life > 0 {
		a.expires = s.now().Add(s.life)
	}
	if s.life > 0 && !s.silent {
		tokens["expires_in"] = int(s.life.Seconds())
	}
	if scope != "" {
		tokens["scope"] = scope
	}
	s.access[token] = a
	return tokens
}

// idToken signs the claims of OpenID Connect Core section 2.
func (s *Server) idToken(nonce string) string {
	claims := map[string]any{
		"iss": s.URL, "sub": AccountID, "aud": ClientID, "nonce": nonce,
		"iat": s.now().Unix(), "exp": s.now().Add(s.life+1).Unix() + 60,
	}
	s.claims(claims)
	payload, err := json.Marshal(claims)
	if err != nil {
		return ""
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key}, nil)
	if err != nil {
		return ""
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return ""
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		return ""
	}
	return compact
}

// introspect serves RFC 7662.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authenticated(r) {
		fail(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	told := map[string]any{"active": false}
	if a := s.access[r.Form.Get("token")]; a != nil && (a.family == nil || !a.family.dead) &&
		(a.expires.IsZero() || s.now().Before(a.expires)) {
		told = map[string]any{"active": true, "token_type": "Bearer"}
		if !a.expires.IsZero() {
			told["exp"] = a.expires.Unix()
		}
	}
	answer(w, told)
}

// revoke serves RFC 7009: unknown tokens are fine, and a refresh token takes its family along.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authenticated(r) {
		fail(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	token := r.Form.Get("token")
	if f := s.grants[token]; f != nil {
		f.dead = true
	}
	delete(s.access, token)
	w.WriteHeader(http.StatusOK)
}

func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) {
	if !s.Alive(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer(w, map[string]any{"sub": AccountID, "name": AccountName, "email": "ada@example.test"})
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	metadata := map[string]any{
		"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token",
		"revocation_endpoint": s.URL + "/revoke", "userinfo_endpoint": s.URL + "/userinfo",
		"device_authorization_endpoint":                  s.URL + "/device",
		"jwks_uri":                                       s.URL + "/jwks",
		"id_token_signing_alg_values_supported":          []string{"ES256"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post"},
		"authorization_response_iss_parameter_supported": true,
	}
	if s.modes != nil {
		metadata["response_modes_supported"] = s.modes
	}
	answer(w, metadata)
}

func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) {
	answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), Use: "sig", Algorithm: "ES256"}}})
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body) // fails only when the client is gone
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{
		"error": code, "error_description": "words of the provider that must not be repeated",
	})
}
