package backend

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const (
	awsID     = "AKIAIOSFODNN7EXAMPLE"
	awsSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// signed is a service that verifies signatures of version 4, as AWS and stores do.
type signed struct {
	URL string

	mu     sync.Mutex
	keys   map[string]string // guarded by mu; by id
	refuse string            // guarded by mu; a code, in the place of a look
	asked  int               // guarded by mu
}

func (s *signed) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *signed) visits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// newSigned starts such a service. answer is what it says to who signs with the key of that id.
func newSigned(t *testing.T, service, region, refusal string, answer func(id string) string) *signed {
	t.Helper()
	s := &signed{keys: map[string]string{awsID: awsSecret}}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		said := r.Header.Get("Authorization")
		_, rest, _ := strings.Cut(said, "Credential=")
		id, _, _ := strings.Cut(rest, "/")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		w.Header()["Date"] = nil // tests have a time of their own
		code := s.refuse
		switch secret := s.keys[id]; {
		case code != "":
		case secret == "":
			code = map[string]string{"sts": "InvalidClientTokenId", "s3": "InvalidAccessKeyId"}[service]
		case providertest.SigV4(r, body, id, secret, service, region) != said:
			code = "SignatureDoesNotMatch"
		}
		if code != "" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, refusal, code)
			return
		}
		_, _ = io.WriteString(w, answer(id))
	}))
	t.Cleanup(web.Close)
	s.URL = web.URL
	return s
}

func newSTS(t *testing.T) *signed {
	return newSigned(t, "sts", "eu-west-1", `{"Error":{"Code":%q,"Message":"WORDS-OF-THE-SERVICE"}}`,
		func(id string) string {
			account := "123456789012"
			if id != awsID {
				account = "999999999999"
			}
			return `{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":"` + account + `","Arn":"arn:aws:iam::` +
				account + `:user/app","UserId":"AIDA"}}}`
		})
}

// A key of AWS is checked by a signed call before it is stored, and its account is learned by that.
func TestAWSKeyIsChecked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		sts := newSTS(t)
		f.Write("providers/aws", map[string]any{"endpoints": map[string]any{"identity": sts.URL}}).OK(t)
		key := map[string]any{
			"access_key_id": awsID, "secret_access_key": awsSecret, "inputs": map[string]any{"region": "eu-west-1"},
		}
		r := f.Write("connections/aws", key)
		r.OK(t)
		assert.Empty(t, r.Warnings)
		account := members(t, f.Read("connections/aws", nil).OK(t)["account"])
		assert.Equal(t, []any{"123456789012", "arn:aws:iam::123456789012:user/app"}, []any{account["id"], account["label"]})
		assert.Equal(t, awsSecret, f.Read("creds/aws", nil).OK(t)["secret_access_key"])
		f.Advance(time.Minute)
		assert.Equal(t, "true", f.Write("check/aws", nil).OK(t)["token_valid"])

		wrong := f.Write("connections/aws", with(key, map[string]any{"secret_access_key": strings.Repeat("x", 40)}))
		wrong.Refused(t, http.StatusConflict, "SignatureDoesNotMatch", "nothing was changed")
		assert.NotContains(t, wrong.Text, "WORDS-OF-THE-SERVICE")
		f.Write("connections/aws", with(key, map[string]any{"access_key_id": "AKIAUNKNOWNUNKNOWN"})).
			Refused(t, http.StatusConflict, "InvalidClientTokenId")
		f.Write("connections/aws", with(key, map[string]any{"inputs": map[string]any{"region": "us-east-1"}})).
			Refused(t, http.StatusConflict, "SignatureDoesNotMatch") // signed for another region
		assert.Equal(t, awsSecret, f.Read("creds/aws", nil).OK(t)["secret_access_key"])

		sts.set(func() { sts.refuse = "RegionDisabledException" })
		f.Advance(time.Minute)
		found := f.Write("check/aws", nil).OK(t)
		assert.Equal(t, []any{"active", "unknown", "well"}, []any{found["status"], found["token_valid"], found["service"]})
		sts.set(func() { sts.refuse, sts.keys = "", nil })
		f.Advance(time.Minute)
		found = f.Write("check/aws", nil).OK(t)
		assert.Equal(t, []any{"failed_validation", "key_refused"}, []any{found["status"], found["status_reason"]})

		visits := sts.visits()
		china := f.Write("connections/china", with(key, map[string]any{
			"provider": "aws", "inputs": map[string]any{"region": "cn-north-1"},
		}))
		china.OK(t)
		assert.Empty(t, china.Warnings)
		assert.Contains(t, f.Write("check/china", nil).OK(t)["advice"], "checkable where region")
		assert.Equal(t, visits, sts.visits())
	})
}

// The daily check holds for signed calls, and asks nobody for what cannot be checked.
func TestDailyCheckOfASignedKey(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	sts := newSTS(t)
	f.Write("providers/aws", map[string]any{"endpoints": map[string]any{"identity": sts.URL}}).OK(t)
	for name, region := range map[string]string{"west": "eu-west-1", "china": "cn-north-1"} {
		f.Write("connections/"+name, map[string]any{
			"provider": "aws", "access_key_id": awsID, "secret_access_key": awsSecret,
			"inputs": map[string]any{"region": region},
		}).OK(t)
	}
	sts.set(func() { sts.keys = nil })
	visits := sts.visits()
	f.passHours(t, 48)
	assert.Equal(t, []any{"failed_validation", "key_refused"}, f.statusOf(t, "west"))
	assert.Equal(t, []any{"active", ""}, f.statusOf(t, "china"))
	assert.InDelta(t, 2, sts.visits()-visits, 1)
}

func newStore(t *testing.T) *signed {
	return newSigned(t, "s3", "us-east-1", `<?xml version="1.0"?><Error><Code>%s</Code><Message>WORDS</Message></Error>`,
		func(string) string {
			return `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` +
				`<KeyCount>0</KeyCount></ListBucketResult>`
		})
}

// A key of a store is tried at its own store and nowhere else, and where nobody named one, nowhere.
func TestS3KeyIsCheckedAtItsStore(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		mine, other := newStore(t), newStore(t)
		f.Write("providers/s3", nil).OK(t)
		key := map[string]any{"provider": "s3", "access_key_id": awsID, "secret_access_key": awsSecret}
		at := func(store *signed) map[string]any {
			return map[string]any{"endpoint": store.URL, "bucket": "reports"}
		}
		for _, inputs := range []map[string]any{
			{}, {"bucket": "reports"}, {"endpoint": mine.URL}, {"endpoint": "http://store.example.org", "bucket": "reports"},
		} {
			r := f.Write("connections/nowhere", with(key, map[string]any{"inputs": inputs}))
			r.OK(t)
			assert.Empty(t, r.Warnings, "%v", inputs)
			found := f.Write("check/nowhere", nil).OK(t)
			assert.Equal(t, []any{"active", "unknown", "not_asked"}, []any{
				found["status"], found["token_valid"], found["service"],
			})
			assert.Contains(t, found["advice"], "checkable where")
			f.Delete("connections/nowhere", nil).OK(t)
		}
		assert.Zero(t, mine.visits()+other.visits())

		f.Write("connections/s3", with(key, map[string]any{"inputs": at(mine)}), alice).OK(t)
		assert.Equal(t, 1, mine.visits())
		read := members(t, f.Read("creds/s3", nil).OK(t)["connection_config"])
		assert.Equal(t, []any{mine.URL, "reports", "us-east-1", "false"}, []any{
			read["endpoint"], read["bucket"], read["region"], read["path_style"],
		})
		mine.set(func() { mine.refuse = "AccessDenied" })
		f.Advance(time.Minute)
		found := f.Write("check/s3", nil).OK(t)
		assert.Equal(t, []any{"active", "true"}, []any{found["status"], found["token_valid"]})
		assert.Contains(t, found["advice"], "does not allow it this call")
		mine.set(func() { mine.refuse = "" })

		f.Write("connections/s3", map[string]any{"inputs": at(other)}, alice).Refused(t, http.StatusBadRequest,
			"write it again")
		f.Write("connections/s3", map[string]any{"access_key_id": awsID, "secret_access_key": "another-secret"}, bob).
			Refused(t, http.StatusBadRequest, "somebody else named", mine.URL)
		f.Write("connections/s3", with(key, map[string]any{"inputs": at(other), "secret_access_key": "another-secret"}), bob).
			Refused(t, http.StatusConflict, "SignatureDoesNotMatch")
		assert.Equal(t, 1, other.visits())

		f.Write("providers/s3", map[string]any{"inputs": map[string]any{"endpoint": other.URL}}).OK(t)
		assert.Equal(t, "needs_reconnect", f.Read("connections/s3", nil).OK(t)["status"], "its provider points elsewhere")
		visits := other.visits()
		f.Advance(time.Minute)
		f.Write("check/s3", nil)
		assert.Equal(t, visits, other.visits())
		f.Write("connections/new", with(key, map[string]any{"inputs": at(mine)})).
			Refused(t, http.StatusBadRequest, "is set on the provider")
		f.Write("connections/new", with(key, map[string]any{"inputs": map[string]any{"bucket": "reports"}})).OK(t)
		assert.Equal(t, visits+1, other.visits())
	})
}

// A private key that signs nothing is refused with what is wrong, and nothing of it is told or stored; one that
// signs is shown to the service in a token alone.
func TestCoinbaseKeyIsChecked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var (
			mu     sync.Mutex
			tokens []string
		)
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Date"] = nil
			mu.Lock()
			defer mu.Unlock()
			tokens = append(tokens, r.Header.Get("Authorization"))
			_, _ = io.WriteString(w, `{"can_view":true,"portfolio_uuid":"p-1"}`)
		}))
		t.Cleanup(web.Close)
		f.Write("providers/coinbase", map[string]any{"endpoints": map[string]any{"health": web.URL}}).OK(t)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		der, err := x509.MarshalECPrivateKey(key)
		require.NoError(t, err)
		whole := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
		another, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		ofRSA := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(another)})
		body := strings.Split(whole, "\n")[1]
		keyed := func(private string) map[string]any {
			return map[string]any{"key_name": "66666666-7777-4888-8999-000000000000", "private_key": private}
		}
		for says, private := range map[string]string{
			`written as \n`:           strings.ReplaceAll(whole, "\n", `\n`),
			"copy it from":            whole[:len(whole)-20],
			"behind its -----END":     whole + body,
			"is no PEM":               body,
			"holds a certificate":     strings.ReplaceAll(whole, "EC PRIVATE KEY", "CERTIFICATE"),
			"holds an RSA key":        string(ofRSA),
			"an encrypted":            strings.ReplaceAll(whole, "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
			"no private key of the":   strings.ReplaceAll(whole, "EC PRIVATE KEY", "RSA PRIVATE KEY"),
			"more than one PEM block": whole + whole,
		} {
			for _, verify := range []bool{true, false} {
				written := keyed(private)
				written["verify"] = verify
				r := f.Write("connections/coinbase", written)
				r.Refused(t, http.StatusBadRequest, `field "private_key" `, says)
				assert.NotContains(t, r.Text, body[:16])
			}
			assert.Equal(t, http.StatusNotFound, f.Read("connections/coinbase", nil).Status)
		}
		assert.Empty(t, tokens)
		f.Write("connections/coinbase", keyed(whole)).OK(t)
		assert.Equal(t, "p-1", members(t, f.Read("connections/coinbase", nil).OK(t)["account"])["id"])
		read := f.Read("creds/coinbase", nil).OK(t)
		assert.Equal(t, strings.TrimSpace(whole), strings.TrimSpace(fmt.Sprint(read["private_key"])))
		require.Len(t, tokens, 1)
		assert.Len(t, strings.Split(strings.TrimPrefix(tokens[0], "Bearer "), "."), 3)
		assert.NotContains(t, f.Logs.String(), body[:16])
	})
}

// What a former release stored of a store's endpoint, which either side could name then, serves as it did: the
// provider's word wins. The key is tried at neither.
func TestS3EndpointOfAFormerRelease(t *testing.T) {
	builtin, err := os.ReadFile("../providers/catalog/s3.yaml")
	require.NoError(t, err)
	text := string(builtin)
	for old, former := range map[string]string{
		"set_by: provider # a key may come with its store\n": "set_by: either\n",
		"    by_kind: {key_pair: {set_by: connection}}\n":    "",
	} {
		require.Contains(t, text, old)
		text = strings.Replace(text, old, former, 1)
	}
	before, _, _ := strings.Cut(text, "endpoints:\n")
	_, after, _ := strings.Cut(text, "\nkey:\n")
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	catalog, err := providers.NewRegistry(fstest.MapFS{
		"s3.yaml": {Data: []byte(before + "check: none\nkey:\n" + after)}, "oauth2.yaml": {Data: generic},
	})
	require.NoError(t, err)
	f := newFixture(t, Options{Catalog: catalog}, testenv.InProcess)
	mine, operators := newStore(t), newStore(t)
	f.Write("providers/s3", map[string]any{"inputs": map[string]any{"endpoint": operators.URL}}).OK(t)
	f.Write("connections/s3", map[string]any{
		"access_key_id": awsID, "secret_access_key": awsSecret,
		"inputs": map[string]any{"endpoint": mine.URL, "bucket": "reports"},
	}).OK(t)
	was := f.Read("creds/s3", nil).OK(t)
	assert.Equal(t, operators.URL, members(t, was["connection_config"])["endpoint"])

	f.endsItsWork(t)
	f.Env = testenv.InProcess(t, New(Options{Now: f.Now, Resolver: noNames}), f.Storage)
	is := f.Read("creds/s3", nil).OK(t)
	assert.Equal(t, was["connection_config"], is["connection_config"])
	assert.Equal(t, was["secret_access_key"], is["secret_access_key"])
	found := f.Write("check/s3", nil).OK(t)
	assert.Equal(t, []any{"active", "unknown", "not_asked"},
		[]any{found["status"], found["token_valid"], found["service"]})
	assert.Contains(t, found["advice"], `input "endpoint" is set on the provider`)
	assert.Zero(t, mine.visits()+operators.visits())
}
