package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestShares(t *testing.T) {
	entity, group, everyone := Share{Entity: "e-2"}, Share{Group: "e-2"}, Share{Everyone: true}
	until := func(s Share, hours int) Share {
		s.Expires = noon.Add(time.Duration(hours) * time.Hour)
		return s
	}
	for name, c := range map[string]struct {
		before, add []Share
		end         []string
		ends        bool // whether to end some; with none named, all
		want        []Share
	}{
		"added":                      {nil, []Share{entity, group}, nil, false, []Share{entity, group}},
		"an id is of one kind":       {[]Share{entity}, nil, []string{GranteeGroup("e-2")}, true, []Share{entity}},
		"renewed":                    {[]Share{until(entity, 1), group}, []Share{entity}, nil, false, []Share{entity, group}},
		"what is over goes":          {[]Share{until(entity, 0), group}, []Share{everyone}, nil, false, []Share{group, everyone}},
		"one ended":                  {[]Share{entity, everyone}, nil, []string{GranteeEveryone}, true, []Share{entity}},
		"all ended":                  {[]Share{entity, group, everyone}, nil, nil, true, nil},
		"what is over ends with any": {[]Share{until(group, -1), entity}, nil, []string{"x"}, true, []Share{entity}},
	} {
		conn := &Connection{Shares: c.before}
		if c.ends {
			conn.Unshare(c.end, noon)
		} else {
			assert.True(t, conn.Share(c.add, noon), name)
		}
		assert.Equal(t, c.want, conn.Shares, name)
	}
}

func TestMaxShares(t *testing.T) {
	conn := &Connection{Shares: []Share{{Entity: "over", Expires: noon}}}
	for i := range MaxShares {
		assert.True(t, conn.Share([]Share{{Entity: fmt.Sprint(i)}}, noon))
	}
	assert.False(t, conn.Share([]Share{{Group: "0"}}, noon))
	assert.True(t, conn.Share([]Share{{Entity: "0"}}, noon), "that is renewed")
	assert.Len(t, conn.Shares, MaxShares)
}
