package commands

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-version"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// judgeAddress says whether a Vault answers at the address.
func judgeAddress(address string, health *client.Health, err error) finding {
	f := finding{Check: "address", Result: failure, Found: address + " does not answer as Vault does: "}
	switch {
	case err != nil:
		f.Found += plainly(err)
		f.NextStep = wayTo(err)
	case !health.Initialized:
		f.Found, f.NextStep = address+" is a Vault that is not initialized", "vault operator init"
	case health.Sealed:
		f.Found, f.NextStep = address+" is a Vault that is sealed", "vault operator unseal"
	default:
		f.Result, f.Found = well, address+" answers, Vault "+health.Version
		if health.Standby {
			f.Found += ", a standby"
		}
	}
	return f
}

// plainly leaves out of an error which request it came of.
func plainly(err error) string {
	var about *url.Error
	if errors.As(err, &about) {
		err = about.Err
	}
	return err.Error()
}

// wayTo says what helps against an error on the way to Vault.
func wayTo(err error) string {
	var unknown x509.UnknownAuthorityError
	var other x509.HostnameError
	var invalid x509.CertificateInvalidError
	var plain tls.RecordHeaderError
	var name *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return "set VAULT_CACERT to the file with the certificate of its CA"
	case errors.As(err, &other):
		return "set VAULT_ADDR to a name that is in its certificate, or VAULT_TLS_SERVER_NAME"
	case errors.As(err, &invalid):
		return "have its certificate renewed, or the clock of this machine set right"
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it speaks http: set VAULT_ADDR so, on this machine only"
	case errors.As(err, &name):
		return "set VAULT_ADDR to a name that this machine finds"
	}
	return "start Vault, or set VAULT_ADDR to where it is"
}

// soon is how long before its end a certificate is told of.
const soon = 14 * 24 * time.Hour

// judgeTLS says whether others on the way can read along.
func judgeTLS(address string, health *client.Health, now time.Time) finding {
	f := finding{Check: "tls", Result: well}
	u, err := url.Parse(address)
	switch skip, _ := strconv.ParseBool(os.Getenv("VAULT_SKIP_VERIFY")); {
	case err == nil && u.Scheme == "unix":
		f.Found = "a socket on this machine"
	case err == nil && u.Scheme == "http" && isLoopback(u.Hostname()):
		f.Found = "plain http, which does not leave this machine"
	case health.TLSVersion == 0:
		f.Result, f.Found = warning, "plain http: who is on the way reads token and credentials"
		f.NextStep = "give the listener of Vault a certificate, and set VAULT_ADDR to https://"
	case skip:
		f.Result, f.Found = warning, "VAULT_SKIP_VERIFY is set: anybody may answer in the place of Vault"
		f.NextStep = "unset it, and set VAULT_CACERT to the file with the certificate of its CA"
	case !health.CertExpiry.IsZero() && health.CertExpiry.Sub(now) < soon:
		f.Result, f.Found = warning, "the certificate ends at "+health.CertExpiry.UTC().Format(time.RFC3339)
		f.NextStep = "have it renewed"
	default:
		f.Found = tls.VersionName(health.TLSVersion)
	}
	return f
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// From which difference on a clock is told of, and from which on sign-ins fail, since services allow for a minute.
const (
	unsteady = 5 * time.Second
	wrong    = time.Minute
)

// judgeClock holds Vault's clock against the one of this machine. Vault tells whole seconds.
func judgeClock(health *client.Health) finding {
	f := finding{Check: "clock", Result: well}
	if health.Date.IsZero() {
		return finding{
			"clock", warning, "Vault does not tell the time", "see that nothing on the way drops the header Date",
		}
	}
	ahead := health.Date.Add(time.Second / 2).Sub(health.Asked)
	off := max(ahead.Abs()-health.RoundTrip/2, 0)
	side := "ahead of"
	if ahead < 0 {
		side = "behind"
	}
	told := fmt.Sprintf("the clock of Vault is %s %s the one here", off.Round(time.Second), side)
	switch {
	case off >= wrong:
		f.Result, f.Found = failure, told+": tokens seem to live too long or too short, and sign-ins fail"
	case off >= unsteady:
		f.Result, f.Found = warning, told
	default:
		f.Found = "the clocks of Vault and of this machine agree"
		return f
	}
	f.NextStep = "have both set by NTP, and find out which is wrong"
	return f
}

// short is what is left of a token that ends soon.
const short = 10 * time.Minute

// judgeToken says whose the token is.
func judgeToken(token *client.Token, err error) finding {
	f := finding{Check: "token", Result: warning}
	switch {
	case client.StatusOf(err) == http.StatusForbidden:
		f.Result, f.Found = failure, "Vault does not take the token: it has expired, was revoked, or is another Vault's"
		f.NextStep = "log in with 'vault login'; VAULT_TOKEN goes before what that stores"
	case err != nil:
		f.Found = "what it is cannot be told: " + err.Error()
		f.NextStep = "give it the policy default, or auth/token/lookup-self"
	case token.TTL > 0 && time.Duration(token.TTL)*time.Second < short:
		f.Found = fmt.Sprintf("of %s, and ends in %s", token.DisplayName, time.Duration(token.TTL)*time.Second)
		if f.NextStep = "log in again with 'vault login'"; token.Renewable {
			f.NextStep = "renew it with 'vault token renew'"
		}
	case token.EntityID == "":
		f.Found = "of " + token.DisplayName + ", without an entity: self/ is nobody's, so a bare name is refused"
		f.NextStep = "to connect accounts of your own, log in by an auth method; to operate, this is no matter"
	default:
		f.Result, f.Found = well, "of "+token.DisplayName+", entity "+token.EntityID
	}
	return f
}

// judgeMount says whether the engine is where it is looked for.
func judgeMount(path string, mount *client.MountInfo, err error) finding {
	f := finding{Check: "mount", Result: failure}
	switch status := client.StatusOf(err); {
	case status == http.StatusForbidden, status == http.StatusBadRequest, status == http.StatusNotFound:
		f.Found = "nothing is mounted at " + path + "/, or this token may do nothing there"
		f.NextStep = "name the mount with --mount or " + client.MountVariable + ", or ask an operator for a policy"
	case err != nil:
		f.Found, f.NextStep = err.Error(), "try again"
	case mount.Type != client.PluginName:
		f.Found = "what is mounted at " + path + "/ is " + mount.Type
		f.NextStep = "name the mount with --mount or " + client.MountVariable
	default:
		f.Result, f.Found = well, path+"/ is "+client.PluginName
	}
	return f
}

// judgeVersions says whether the command knows more than the engine. An older command works with a newer engine.
func judgeVersions(engine, command string) finding {
	f := finding{Check: "version", Result: well, Found: "engine " + orUnknown(engine) + ", command " + command}
	ours, err := version.NewVersion(command)
	theirs, wrong := version.NewVersion(engine)
	switch {
	case err != nil || wrong != nil:
		f.Result, f.NextStep = warning, "they cannot be compared: see that both are of a release"
	case ours.Core().GreaterThan(theirs.Core()):
		f.Result = warning
		f.NextStep = "the command may ask for what the engine does not know: upgrade the engine, or take the command of " +
			"its release"
	}
	return f
}

func orUnknown(text string) string {
	if text == "" {
		return "(unknown)"
	}
	return text
}
