package providertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// issuer is who signs the id_tokens of fixtures.
var issuer = sync.OnceValues(func() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
})

// sign puts what an issuer would sign into the answers that ask for it: {id_token} in that of the token call, and
// {jwks} in that of the key set.
func (f *Fixture) sign() error {
	key, err := issuer()
	if err != nil {
		return err
	}
	if x := f.calls["jwks"]; x != nil && x.response != nil {
		public := jose.JSONWebKey{Key: key.Public(), Use: "sig", Algorithm: "ES256"}
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}})
		if err != nil {
			return err
		}
		x.response.fill("{jwks}", string(set))
	}
	x := f.calls["token"]
	if f.idToken == nil || x == nil || x.response == nil {
		return nil
	}
	claims, err := json.Marshal(f.idToken)
	if err != nil {
		return err
	}
	compact, err := signClaims(claims)
	x.response.fill("{id_token}", compact)
	return err
}

func signClaims(claims []byte) (string, error) {
	key, err := issuer()
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		return "", err
	}
	object, err := signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return object.CompactSerialize()
}

// otherClaims is the token call with other claims in the id_token of its answer.
func (f *Fixture) otherClaims(with map[string]any, without []string) (*exchange, error) {
	x := f.calls["token"]
	if f.idToken == nil || x == nil {
		return nil, fmt.Errorf("answer: the fixture has no id_token")
	}
	claims, err := json.Marshal(f.idToken)
	if err != nil {
		return nil, err
	}
	changed, err := (&answered{body: string(claims)}).changed(with, without)
	if err != nil {
		return nil, err
	}
	compact, err := signClaims([]byte(changed.body))
	if err != nil {
		return nil, err
	}
	answer, err := x.response.changed(map[string]any{"id_token": compact}, nil)
	return &exchange{x.request, answer}, err
}
