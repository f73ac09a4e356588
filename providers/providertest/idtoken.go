package providertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
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
	payload, err := json.Marshal(f.idToken)
	if err != nil {
		return err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		return err
	}
	object, err := signer.Sign(payload)
	if err != nil {
		return err
	}
	compact, err := object.CompactSerialize()
	x.response.fill("{id_token}", compact)
	return err
}
