package browser

import (
	"fmt"
	"net/url"
	"strings"
)

// ReadPaste reads what a person brought by hand: the eight characters that the page shows, or the address of a page
// that did not load. An address may hold no code, where the provider asks for none.
func ReadPaste(text, flowID string) (Return, error) {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return Return{}, fmt.Errorf("this is no address: paste the whole of it, or type the eight characters of the page")
		}
		query := u.Query()
		brought := Return{FlowID: query.Get("flow_id"), Code: query.Get("confirmation_code")}
		switch {
		case brought.FlowID == "":
			return Return{}, fmt.Errorf("this address is not the one that Vault's page led to: paste that, or type the eight " +
				"characters of the page")
		case brought.FlowID != flowID:
			return Return{}, fmt.Errorf("this address belongs to another attempt to connect: open the one printed above")
		case brought.Code != "" && !code.MatchString(brought.Code):
			return Return{}, fmt.Errorf("this address is cut short: paste the whole of it")
		}
		return brought, nil
	}
	typed := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(text))
	if !code.MatchString(typed) {
		return Return{}, fmt.Errorf("the page shows eight letters and digits, as ABCD-2345: type these, or paste the " +
			"address of a page that did not load")
	}
	return Return{FlowID: flowID, Code: typed}, nil
}
