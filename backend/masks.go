package backend

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Some settings are no secrets by their name and may hold one all the same: a parameter of the token call, the
// password of a proxy. They are shown as keys are, and a mask that comes back stands for what is stored.

func mask(value string) string { return providers.NewSecret(value).Masked() }

// isMask reports whether a value can be nothing but a mask.
func isMask(value string) bool {
	tail, found := strings.CutPrefix(value, "****")
	return found && len(tail) <= 4
}

func masked(params map[string]string) map[string]string {
	out := make(map[string]string, len(params))
	for name, v := range params {
		out[name] = mask(v)
	}
	return out
}

// unmask puts what is stored in the place of each mask that came back. A mask of anything else is refused: it would be
// sent as the value.
func unmask(field string, written, stored map[string]string) (map[string]string, error) {
	whole := maps.Clone(written)
	for _, name := range slices.Sorted(maps.Keys(written)) {
		v := written[name]
		if before, known := stored[name]; known && v == mask(before) {
			whole[name] = before
		} else if isMask(v) && v != before {
			return nil, badRequest("%s: the value of %q is a mask, and not that of the stored one: "+
				"write the value itself",
				field, clipText(name))
		}
	}
	return whole, nil
}

// unmaskSecret is unmask for one secret field.
func unmaskSecret(field, written string, stored providers.Secret) (providers.Secret, error) {
	whole, err := unmask("the request", map[string]string{field: written}, map[string]string{field: stored.Reveal()})
	return providers.NewSecret(whole[field]), err
}

// takeParams takes the parameters of p, which is to replace stored. moved tells that it points elsewhere: what a token
// parameter was sent to is no place for it any more, so it goes as the secrets do.
func takeParams(d *framework.FieldData, stored, p *store.Provider, moved bool) (warnings []string, err error) {
	if stored == nil {
		stored = &store.Provider{}
	}
	known := stored.TokenParams
	if _, named := d.GetOk("token_params"); moved && !named && len(known) > 0 {
		p.TokenParams = nil
		warnings = append(warnings, "token_params were cleared too: write them again")
	}
	if moved {
		known = nil
	}
	if p.TokenParams, err = unmask("token_params", p.TokenParams, known); err != nil {
		return nil, err
	}
	p.AuthorizeParams, err = unmask("authorize_params", p.AuthorizeParams, stored.AuthorizeParams)
	return warnings, err
}

// maskedProxy shows a proxy's URL to whoever may read config, but not the password in it.
func maskedProxy(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	password, there := u.User.Password()
	if !there {
		return u.String()
	}
	tail, _ := strings.CutPrefix(mask(password), "****")
	shown := url.UserPassword(u.User.Username(), tail).String() // in which asterisks would be escaped
	if password != "" {
		shown = strings.Replace(shown, ":", ":****", 1)
	}
	u.User = nil
	return u.Scheme + "://" + shown + "@" + strings.TrimPrefix(u.String(), u.Scheme+"://")
}

// unmaskProxy is maskedProxy undone. Where anything else of the URL changed, the stored password is not put in: it
// would go to another proxy.
func unmaskProxy(written, stored string) (string, error) {
	if written != "" && written == maskedProxy(stored) {
		return stored, nil
	}
	if u, err := url.Parse(written); err == nil {
		if password, _ := u.User.Password(); isMask(password) {
			return "", badRequest("proxy_url: the password is a mask, and the URL is not the stored one: write the " +
				"password itself")
		}
	}
	return written, nil
}
