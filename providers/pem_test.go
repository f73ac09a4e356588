package providers

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func pemOf(blockType string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}))
}

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pemOf("PRIVATE KEY", der)
}

func TestParsePrivateKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	require.NoError(t, err)
	parameters := pemOf("EC PARAMETERS", []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07})

	for name, test := range map[string]struct {
		text string
		key  crypto.Signer
	}{
		"RSA, PKCS #8":       {pkcs8(t, rsaKey), rsaKey},
		"RSA, PKCS #1":       {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), rsaKey},
		"EC, PKCS #8":        {pkcs8(t, ecKey), ecKey},
		"EC, SEC 1":          {pemOf("EC PRIVATE KEY", sec1), ecKey},
		"EC with parameters": {parameters + pemOf("EC PRIVATE KEY", sec1), ecKey},
		"Ed25519":            {pkcs8(t, edKey), edKey},
		"white space":        {" \n" + pkcs8(t, ecKey) + "\n\t\n", ecKey},
		"line ends of other systems": {
			strings.ReplaceAll(pkcs8(t, ecKey), "\n", "\r\n"), ecKey,
		},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := parsePrivateKey(test.text)
			require.NoError(t, err)
			assert.Equal(t, test.key.Public(), key.Public())
		})
	}
}

// TestParsePrivateKeyMistakes: each broken form is told as what it is, and nothing of it is repeated.
func TestParsePrivateKeyMistakes(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(ecKey.Public())
	require.NoError(t, err)

	whole := pkcs8(t, ecKey)
	body := strings.Split(whole, "\n")[1]
	hidden := sha256.Sum256([]byte("hidden"))
	word := base64.StdEncoding.EncodeToString(hidden[:])
	legacy := string(pem.EncodeToMemory(&pem.Block{
		Type: "EC PRIVATE KEY", Bytes: sec1,
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC," + word},
	}))

	for name, test := range map[string]struct{ text, says string }{
		"nothing":             {" \n", "is empty"},
		"no PEM":              {word, "is no PEM"},
		"lines lost":          {strings.ReplaceAll(whole, "\n", " "), "line breaks are lost"},
		"lines escaped":       {strings.ReplaceAll(whole, "\n", `\n`), `written as \n`},
		"cut off":             {whole[:len(whole)-30], "is no whole PEM"},
		"a letter too many":   {strings.Replace(whole, body, body+"!", 1), "is no whole PEM"},
		"a letter less":       {strings.Replace(whole, body, body[1:], 1), "is no whole PEM"},
		"a broken one before": {whole[:60] + "\n" + whole, "is no whole PEM"},
		"two":                 {whole + whole, "more than one PEM block"},
		"with certificate":    {whole + pemOf("CERTIFICATE", hidden[:]), "more than one PEM block"},
		"text before":         {"Bag Attributes " + word + "\n" + whole, "before its -----BEGIN line"},
		"text behind":         {whole + word, "behind its -----END line"},
		"encrypted":           {pemOf("ENCRYPTED PRIVATE KEY", hidden[:]), "encrypted private key"},
		"encrypted, old form": {legacy, "encrypted private key"},
		"OpenSSH":             {pemOf("OPENSSH PRIVATE KEY", hidden[:]), "OpenSSH's own format"},
		"public":              {pemOf("PUBLIC KEY", public), "holds a public key"},
		"public RSA":          {pemOf("RSA PUBLIC KEY", hidden[:]), "holds a public key"},
		"certificate":         {pemOf("CERTIFICATE", hidden[:]), "holds a certificate:"},
		"request":             {pemOf("CERTIFICATE REQUEST", hidden[:]), "certificate request"},
		"parameters alone":    {pemOf("EC PARAMETERS", hidden[:]), "PEM of another sort"},
		"a word of its own":   {pemOf(word, hidden[:]), "PEM of another sort"},
		"no DER":              {pemOf("PRIVATE KEY", hidden[:]), "no private key of the sort"},
		"empty":               {pemOf("PRIVATE KEY", nil), "no private key of the sort"},
		"under a wrong name":  {pemOf("RSA PRIVATE KEY", sec1), "no private key of the sort"},
		"huge":                {pemOf("PRIVATE KEY", make([]byte, maxPrivateKey+1)), "which no private key in use takes"},
		"short":               {pkcs8(t, short), "RSA key of less than"},
		"key agreement":       {pkcs8(t, agreement), "key agreement"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := parsePrivateKey(test.text)
			assert.Nil(t, key)
			require.ErrorContains(t, err, test.says)
			for _, secret := range []string{word, body, body[:16], word[:16]} {
				assert.NotContains(t, err.Error(), secret)
			}
		})
	}
}

// FuzzParsePrivateKey: whatever a field holds, it is a key or a phrase of ours.
func FuzzParsePrivateKey(f *testing.F) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(f, err)
	f.Add(pkcs8(f, ecKey))
	f.Add("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n-----BEGIN CERTIFICATE-----\n")
	f.Add("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parsePrivateKey(text)
		if (key == nil) == (err == nil) {
			t.Fatalf("key %v, error %v", key != nil, err)
		}
		if err != nil && len(err.Error()) > 160 {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
	})
}
