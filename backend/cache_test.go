package backend

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCacheKeepsAndDrops(t *testing.T) {
	var c cache[int]
	loads := 0
	load := func(context.Context) (*int, error) { loads++; n := loads; return &n, nil }
	for range 3 {
		v, err := c.get(t.Context(), "a", load)
		require.NoError(t, err)
		assert.Equal(t, 1, *v)
	}
	c.drop()
	v, err := c.get(t.Context(), "a", load)
	require.NoError(t, err)
	assert.Equal(t, 2, *v)
}

func TestCacheKeepsNeitherNothingNorErrors(t *testing.T) {
	var c cache[int]
	failed := errors.New("storage")
	_, err := c.get(t.Context(), "a", func(context.Context) (*int, error) { return nil, failed })
	require.ErrorIs(t, err, failed)
	v, err := c.get(t.Context(), "a", func(context.Context) (*int, error) { return nil, nil })
	require.NoError(t, err)
	assert.Nil(t, v)
	one := 1
	v, err = c.get(t.Context(), "a", func(context.Context) (*int, error) { return &one, nil })
	require.NoError(t, err)
	assert.Equal(t, &one, v)
}

// A reader that was slow must not bring back what a write has replaced.
func TestCacheForgetsWhatWasReadBeforeADrop(t *testing.T) {
	var c cache[string]
	former, newer := "former", "newer"
	v, err := c.get(t.Context(), "a", func(context.Context) (*string, error) { c.drop(); return &former, nil })
	require.NoError(t, err)
	assert.Equal(t, &former, v)
	v, err = c.get(t.Context(), "a", func(context.Context) (*string, error) { return &newer, nil })
	require.NoError(t, err)
	assert.Equal(t, &newer, v)
}

func TestCacheUnderConcurrency(t *testing.T) {
	var c cache[int]
	var all sync.WaitGroup
	one := 1
	for range 8 {
		all.Go(func() {
			for range 100 {
				v, err := c.get(t.Context(), "a", func(context.Context) (*int, error) { return &one, nil })
				assert.NoError(t, err)
				assert.Equal(t, 1, *v)
				c.drop()
			}
		})
	}
	all.Wait()
}
