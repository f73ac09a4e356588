package providers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"strings"
)

// signsWith reports whether a key signs by an algorithm of RFC 7518 section 3.1 or RFC 8037 section 3.1.
func signsWith(key crypto.Signer, alg string) bool { return sortOfKey(key) == sortFor(alg) }

// fitsAlg refuses a key that does not, in a phrase that goes on from the name of the field.
func fitsAlg(key crypto.Signer, alg string) error {
	if signsWith(key, alg) {
		return nil
	}
	return fmt.Errorf("holds %s: the service takes %s, which is signed with %s", sortOfKey(key), alg, sortFor(alg))
}

// sortOfKey says in words what a key is.
func sortOfKey(key crypto.Signer) string {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return "an RSA key"
	case *ecdsa.PrivateKey:
		return "an ECDSA key of the curve " + key.Params().Name
	case ed25519.PrivateKey:
		return "an Ed25519 key"
	}
	return "a key of another sort"
}

// sortFor says in words what sort of key an algorithm wants.
func sortFor(alg string) string {
	switch {
	case strings.HasPrefix(alg, "RS"), strings.HasPrefix(alg, "PS"):
		return "an RSA key"
	case alg == "ES256":
		return "an ECDSA key of the curve P-256"
	case alg == "ES384":
		return "an ECDSA key of the curve P-384"
	case alg == "ES512":
		return "an ECDSA key of the curve P-521"
	}
	return "an Ed25519 key"
}
