package store

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func FuzzDecodeConfig(f *testing.F) { fuzzDecode(f, decodeConfig, encodeConfig, "v1/config") }

func FuzzDecodeProvider(f *testing.F) {
	fuzzDecode(f, decodeProvider, encodeProvider, "v1/provider", "v2/provider")
}

func FuzzDecodeConnection(f *testing.F) {
	fuzzDecode(f, decodeConnection, encodeConnection,
		"v2/connection", "v2/connection_key", "v1/connection", "v1/connection_active", "v1/connection_deleting")
}

func FuzzDecodeFlow(f *testing.F) { fuzzDecode(f, decodeFlow, encodeFlow, "v1/flow", "v2/flow") }

func FuzzDecodeCode(f *testing.F) { fuzzDecode(f, decodeCode, encodeCode, "v1/code") }

func FuzzDecodeHistory(f *testing.F) { fuzzDecode(f, decodeHistory, encodeHistory, "v1/history") }

func FuzzDecodeIntent(f *testing.F) { fuzzDecode(f, decodeIntent, encodeIntent, "v1/intent") }

func FuzzDecodeTrial(f *testing.F) { fuzzDecode(f, decodeTrial, encodeTrial, "v1/trial") }

func FuzzDecodeJob(f *testing.F) { fuzzDecode(f, decodeJob, encodeJob, "v1/job", "v2/job") }

func FuzzDecodeUse(f *testing.F) { fuzzDecode(f, decodeUse, encodeUse, "v1/use") }

func FuzzDecodeChunk(f *testing.F) { fuzzDecode(f, decodeChunk, encodeChunk, "v1/chunk") }

// fuzzDecode checks what holds for each kind of entry, whatever storage gives: what is read can be written, and is the
// same when it is read again; what is not read is named without a word of it, since any may be a secret.
func fuzzDecode[T any](
	f *testing.F, decode func([]byte) (*T, error), encode func(*T) ([]byte, error), files ...string,
) {
	for _, file := range files {
		whole := stored(f, file)
		f.Add(whole)
		f.Add(whole[:len(whole)/2])
		f.Add(withLater(whole))
		f.Add(bytes.ReplaceAll(whole, []byte(`"2026`), []byte(`"%`)))
		f.Add(bytes.ReplaceAll(whole, []byte(`:`), []byte(`:%`)))
		f.Add(bytes.ReplaceAll(whole, []byte(`"`), []byte(`"%`)))
	}
	for _, odd := range []string{
		``, `null`, `[]`, `"%"`, `{}`, `{"version":"%"}`, `{"version":1}%`, `{"version":1,"%":%}`, `{"version":99,"%":1}`,
		`{"version":1,"Version":2,"VERSION":1,"verſion":1,"x":1}`, `{"version":1,"":null,"x":[]}`,
		"{\"version\":1,\"\xff\":\"\xff\"}", `{"version":1,"endpoint_hosts":null,"parked":{}}`,
		`{"version":2,"grant":null,"key":{},"account":{},"tags":{"%":null}}`,
		`{"version":1,"grant":{},"status":"needs_reconnect"}`, `{"version":1,"created":{"time":"%"},"time":"%","serial":-1}`,
	} {
		f.Add([]byte(odd))
	}
	const mark = "never-to-be-repeated" // stands where an entry has a %, which means nothing to JSON
	f.Fuzz(func(t *testing.T, entry []byte) {
		entry = bytes.ReplaceAll(entry, []byte("%"), []byte(mark))
		v, err := decode(entry)
		if err != nil {
			assert.NotContains(t, err.Error(), mark)
			assert.True(t, Unusable(err))
			return
		}
		if bytes.Contains(entry, []byte(`"0001-01-01T`)) || bytes.Contains(entry, []byte(`"0000-12-31T`)) {
			t.Skip("the moment that stands for no time, which is only left out in UTC")
		}
		first, err := encode(v)
		require.NoError(t, err)
		v, err = decode(first)
		require.NoError(t, err)
		second, err := encode(v)
		require.NoError(t, err)
		assert.Equal(t, string(first), string(second))
	})
}
