package backend

import (
	"errors"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// orAdvice says what may have been meant by a path that there is not. A path of the framework that takes all others
// would do so too, and stand first in help and in the OpenAPI document, which sort by pattern.
func (b *backend) orAdvice(req *logical.Request, resp *logical.Response, err error) (*logical.Response, error) {
	if errors.Is(err, logical.ErrUnsupportedPath) && req.Operation != logical.HelpOperation {
		return b.toVault(req, advice(req.Path))
	}
	return resp, err
}

// advice says what may have been meant by a path.
func advice(path string) error {
	verb, rest, _ := strings.Cut(strings.TrimRight(path, "/"), "/")
	switch verb {
	case "creds", "refresh", "check", "auth-code-url", "device-code", "connect-link", "connections", "transfer",
		"accept":
		switch {
		case rest == "" || rest == "self" || strings.HasPrefix(rest, "org") || strings.HasPrefix(rest, "user"):
			return badRequest("%s needs a connection's name: %s/<name>, %s/self/<name>, "+
				"%s/user/<user>/<name>, %s/org/<org>/<name> or %s/org/<org>/user/<user>/<name>", verb, verb, verb, verb,
				verb, verb)
		default:
			return badRequest("names hold no slash: another owner's connection is %s/org/<org>/<name>, "+
				"%s/user/<user>/<name> or %s/org/<org>/user/<user>/<name>", verb, verb, verb)
		}
	case "connection", "provider":
		return badRequest("no such path; did you mean %ss/?", verb)
	case "credentials", "cred", "token", "tokens":
		return badRequest("no such path; credentials are read at creds/<name>")
	case "authorize", "connect", "auth-url", "auth_code_url":
		return badRequest("no such path; a flow is started at auth-code-url/<name>")
	case "link", "connect_link", "connectlink":
		return badRequest("no such path; a link for a person without a token is made at connect-link/<name>")
	case "device", "device_code", "devicecode":
		return badRequest("no such path; a flow on another device is started at device-code/<name>")
	case "callback":
		return badRequest("callback is followed by the provider's name: callback/<provider>")
	}
	return badRequest("no such path; there are catalog/, providers/, connections/, creds/, refresh/, check/, " +
		"auth-code-url/, exchange, config and status: see 'vault path-help' of this mount")
}
