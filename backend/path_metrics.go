package backend

import (
	"bytes"
	"context"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/common/expfmt"
)

func (b *backend) pathMetrics() []*framework.Path {
	text := map[string]*framework.FieldSchema{} // the answer is text, not data
	return []*framework.Path{{
		Pattern:      "metrics",
		DisplayAttrs: display("metrics", "Metrics"),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("read", b.operation(b.metricsRead, "Read what Prometheus scrapes.", text)),
		},
		HelpSynopsis:    "What Prometheus scrapes.",
		HelpDescription: metricsHelp,
	}}
}

// metricsFormat is the text format that every Prometheus takes.
const metricsFormat = expfmt.Format("text/plain; version=" + expfmt.TextVersion + "; charset=utf-8")

func (b *backend) metricsRead(ctx context.Context, _ *logical.Request,
	_ *framework.FieldData,
) (*logical.Response, error) {
	if err := b.metrics.fresh(ctx); err != nil {
		return nil, err
	}
	families, err := b.metrics.registry.Gather()
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	encoder := expfmt.NewEncoder(&body, metricsFormat)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, err
		}
	}
	// The body goes as bytes: a text that happens to be base64 would be decoded on the way.
	return &logical.Response{Data: map[string]any{
		logical.HTTPRawBody: body.Bytes(), logical.HTTPContentType: string(metricsFormat),
		logical.HTTPStatusCode: http.StatusOK,
	}}, nil
}

const metricsHelp = `
Answers text for Prometheus, and no data: scrape it with a Vault token as the bearer, as
in

  curl -H "Authorization: Bearer $VAULT_TOKEN" "$VAULT_ADDR/v1/<mount>/metrics"

Labels are provider, definition, class, outcome and webhook, and never name an owner or
a connection. Counters are of the node that answers, since its plugin was started; what
takes counting is at most 15 seconds old.
`
