package providers

// Sign says how the calls are signed whose auth names a signer. Only inputs and key fields stand in it.
type Sign struct {
	SigV4 *SigV4      `yaml:"aws_sigv4,omitempty"`
	JWT   *RequestJWT `yaml:"jwt_per_request,omitempty"`
}

// SigV4 is version 4 of AWS's signature, which stores that are compatible with S3 take too. The secret is not sent.
type SigV4 struct {
	Service         string   `yaml:"service"` // as it is signed for: sts, s3
	Region          Template `yaml:"region"`
	AccessKeyID     Template `yaml:"access_key_id"`
	SecretAccessKey Template `yaml:"secret_access_key"`
	// of temporary keys; not sent while a placeholder has no value
	SessionToken Template `yaml:"session_token,omitempty"`
	// as S3 wants it: a header tells the hash of the body, and the path is escaped once, not twice
	BodyHash bool `yaml:"body_hash,omitempty"`
}

// RequestJWT is a JWT (RFC 7519) that is made for one request and goes with it as a bearer token.
type RequestJWT struct {
	// {field}: a private key as PEM, or an Ed25519 key as the base64 text of its 64 bytes
	Key Template `yaml:"key"`
	// the first that fits the key is taken, and other keys are refused
	Algs   []string            `yaml:"algs" words:"ES256|ES384|ES512|EdDSA|RS256|PS256"`
	Header map[string]Template `yaml:"header,omitempty"`
	Nonce  string              `yaml:"nonce,omitempty"` // the header's member that holds a random text
	Claims map[string]Template `yaml:"claims,omitempty"`
	URI    string              `yaml:"uri,omitempty"` // the claim that holds method, host and path: GET api.acme.example/me
	Life   Duration            `yaml:"life"`          // from nbf, which is now, to exp
}

// Login is how a key is tried at a server that does not speak HTTP: the engine logs in, and leaves. Which ports are
// called, and what tls may be, is the protocol's.
type Login struct {
	Protocol string   `yaml:"protocol" words:"smtp"`
	Host     Template `yaml:"host"`
	Port     Template `yaml:"port"`
	TLS      Template `yaml:"tls"` // starttls, implicit or none
	User     Template `yaml:"user"`
	Password Template `yaml:"password"`
}
