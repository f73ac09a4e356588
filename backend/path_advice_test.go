package backend

import (
	"net/http"
	"testing"
)

func TestAdvice(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for path, says := range map[string]string{
			"creds":                   "creds/<name>",
			"creds/org/acme":          "creds/org/<org>/<name>",
			"creds/a/b":               "names hold no slash",
			"creds/org/acme/slack/x":  "creds/org/<org>/<name>",
			"refresh/user/u1":         "refresh/user/<user>/<name>",
			"auth-code-url/team/x":    "names hold no slash",
			"connection/slack":        "connections/",
			"provider/slack":          "providers/",
			"token/slack":             "creds/<name>",
			"connect/slack":           "auth-code-url/<name>",
			"callback":                "callback/<provider>",
			"nothing/of/the/kind":     "path-help",
			"connections/org/acme/a/": "connections/org/<org>/<name>",
		} {
			f.Read(path, nil).Refused(t, http.StatusBadRequest, says)
			f.Write(path, map[string]any{"any": "thing"}).Refused(t, http.StatusBadRequest, says)
			f.Delete(path, nil).Refused(t, http.StatusBadRequest, says)
		}
	})
}
