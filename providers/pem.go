package providers

import (
	"crypto"
	"crypto/ecdh"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const (
	maxPrivateKey = 10 << 10 // bytes of DER: RSA keys of 16,384 bits, above which parsing and signing take too long
	minRSABits    = 2048     // RFC 7518 section 3.3
)

// parsePrivateKey reads the one private key that a PEM text holds. An error says what is wrong with the text, as a
// phrase that goes on from the name of the field ("holds a certificate ..."), and never holds any of it.
func parsePrivateKey(text string) (crypto.Signer, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, err
	}
	if len(block.Bytes) > maxPrivateKey {
		return nil, fmt.Errorf("holds more than %d bytes, which no private key in use takes", maxPrivateKey)
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, otherBlock(block.Type)
	}
	if err != nil { // what the parser says can hold numbers of the key
		return nil, errors.New("holds no private key of the sort that its -----BEGIN line names: copy it whole, and " +
			"change nothing in it")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("holds an RSA key of less than %d bits: make a longer one", minRSABits)
		}
		return key, nil
	case *ecdh.PrivateKey:
		return nil, errors.New("holds a key for key agreement (X25519), with which nothing is signed")
	case crypto.Signer: // ECDSA and Ed25519
		return key, nil
	}
	return nil, errors.New("holds a private key with which nothing is signed here: make an RSA, ECDSA or Ed25519 key")
}

// onlyBlock is the one PEM block of a text, beside which there is nothing but white space. The parameters of a curve,
// which some tools write before the key that names the curve again, do not count.
func onlyBlock(text string) (*pem.Block, error) {
	const begin = "-----BEGIN "
	text = strings.TrimSpace(text)
	switch at := strings.Index(text, begin); {
	case text == "":
		return nil, errors.New("is empty: write a private key as PEM")
	case at < 0:
		return nil, errors.New("is no PEM: write the private key with its lines -----BEGIN and -----END")
	case at > 0:
		return nil, errors.New("holds more than a private key: something stands before its -----BEGIN line")
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil && strings.Contains(text, `\n`):
		return nil, errors.New(`is no whole PEM: its line breaks are written as \n; write each as a line break`)
	case block == nil && !strings.Contains(text, "\n"):
		return nil, errors.New("is no whole PEM: its line breaks are lost; the lines -----BEGIN and -----END stand alone")
	// Decode skips a broken block, and takes the next one that is whole
	case block == nil, !strings.HasPrefix(text, begin+block.Type+"-----"),
		strings.Count(text[:len(text)-len(rest)], begin) > 1:
		return nil, errors.New("is no whole PEM: copy it from -----BEGIN to -----END, and change nothing in it")
	case block.Type == "EC PARAMETERS" && strings.TrimSpace(string(rest)) != "":
		return onlyBlock(string(rest))
	case strings.Contains(string(rest), begin):
		return nil, errors.New("holds more than one PEM block: write the private key alone")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("goes on behind its -----END line: write the private key alone")
	case len(block.Headers) > 0 && strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, otherBlock("ENCRYPTED PRIVATE KEY")
	}
	return block, nil
}

// otherBlock says what a PEM block is that is no private key. The type is repeated to nobody: it may hold anything.
func otherBlock(blockType string) error {
	switch {
	case blockType == "ENCRYPTED PRIVATE KEY":
		return errors.New("holds an encrypted private key: decrypt it first (openssl pkey -in key.pem)")
	case blockType == "OPENSSH PRIVATE KEY":
		return errors.New("holds a private key in OpenSSH's own format: write it as PKCS #8 " +
			"(ssh-keygen -p -m PKCS8 -f a-copy-of-it)")
	case strings.HasSuffix(blockType, "PUBLIC KEY"):
		return errors.New("holds a public key: write the private key that belongs to it")
	case strings.HasSuffix(blockType, "CERTIFICATE REQUEST"):
		return errors.New("holds a certificate request: write the private key that it was made with")
	case strings.HasSuffix(blockType, "CERTIFICATE"):
		return errors.New("holds a certificate: write the private key that belongs to it")
	}
	return errors.New("holds PEM of another sort: write a private key (BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or " +
		"BEGIN EC PRIVATE KEY)")
}
