package backend

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// An application with a redirect URI of its own passes on what a service tells there beside the code.
func TestCallbackPassedOn(t *testing.T) {
	const capture = "connection_config:\n  - {name: realm, from: callback, path: [realmId], pattern: '[0-9]+', required: true}\n"
	eachWith(t, unproven(t, capture), func(t *testing.T, f *fixture) {
		own := f.own(t, "books", nil)
		f.Write("exchange", own).Refused(t, http.StatusBadRequest, "realmId is missing", "the flow is still open")
		f.Write("exchange", with(own, map[string]any{"callback": map[string]any{"realmId": "12", "state": "another"}})).
			Refused(t, http.StatusBadRequest, "another state or code")
		f.Write("exchange", with(own, map[string]any{"callback": map[string]any{"realmId": "12", "code": "another"}})).
			Refused(t, http.StatusBadRequest, "another state or code")
		f.Write("exchange", with(own, map[string]any{"iss": "https://a", "callback": map[string]any{"iss": "https://b"}})).
			Refused(t, http.StatusBadRequest, "another iss")
		assert.Zero(t, f.provider.Count(providers.StepToken), "nothing was sent")
		all := map[string]any{"realmId": "12", "state": own["state"], "code": own["code"], "utm": "x"}
		made := f.Write("exchange", with(own, map[string]any{"callback": all})).OK(t)
		assert.Equal(t, map[string]any{"realm": "12"}, members(t, made["connection_config"]))
		f.Write("exchange", with(own, map[string]any{"callback": all})).OK(t)
		assert.Equal(t, 1, f.provider.Count(providers.StepToken), "the same request gets the same answer")
		f.Write("exchange", with(own, map[string]any{"callback": map[string]any{"realmId": "13"}})).
			Refused(t, http.StatusConflict, "finished by another request")

		id, _, code := f.parked(t, "more", nil)
		f.Write("exchange", map[string]any{
			"flow_id": id, "confirmation_code": code, "callback": map[string]any{"realmId": "1"},
		}).Refused(t, http.StatusBadRequest, "callback goes with state and code")
	})
}

// What a signature covers is passed on whole, and what somebody changed of it is sent nowhere.
func TestSignedCallbackPassedOn(t *testing.T) {
	const signed = "callback: {signed: hmac_query}\n"
	eachWith(t, unproven(t, signed), func(t *testing.T, f *fixture) {
		own := f.own(t, "shop", nil)
		f.Write("exchange", own).Refused(t, http.StatusBadRequest, "hmac is missing")
		all := map[string]any{"state": own["state"], "code": own["code"], "shop": "one.example.com", "timestamp": "1"}
		query := url.Values{}
		for name, v := range all {
			query.Set(name, v.(string))
		}
		mac := hmac.New(sha256.New, []byte(providertest.ClientSecret))
		mac.Write([]byte(query.Encode()))
		all["hmac"] = hex.EncodeToString(mac.Sum(nil))

		forged := f.own(t, "forged", nil)
		f.Write("exchange", with(forged, map[string]any{"callback": with(all, map[string]any{
			"state": forged["state"], "code": forged["code"],
		})})).Refused(t, http.StatusConflict, "callback_signature")
		assert.Zero(t, f.provider.Count(providers.StepToken), "nothing was sent")
		f.Write("exchange", with(own, map[string]any{"callback": all})).OK(t)
	})
}
