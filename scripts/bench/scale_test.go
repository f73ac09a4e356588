package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSummarize(t *testing.T) {
	taken := make([]time.Duration, 200)
	for i := range taken {
		taken[i] = time.Duration(200-i) * time.Millisecond
	}
	got := summarize(taken, 2*time.Second)
	assert.Equal(t, sample{
		reads: 200, rate: 100, p50: 101 * time.Millisecond, p99: 199 * time.Millisecond, worst: 200 * time.Millisecond,
	}, got)
	assert.Zero(t, summarize(nil, time.Second))
}

func TestNumbers(t *testing.T) {
	got, err := numbers("1000,10,100")
	require.NoError(t, err)
	assert.Equal(t, []int{10, 100, 1000}, got)
	for _, list := range []string{"", "1,", "ten", "0", "-1"} {
		_, err := numbers(list)
		assert.ErrorContains(t, err, "is no number of connections", list)
	}
}

func TestPanels(t *testing.T) {
	rows := []idleRow{
		{connections: 1500, memory: 40e6, all: sample{rate: 2500}},
		{connections: 10_000, memory: 50e6, all: sample{rate: 2400}, idle: usage{vault: -10 * time.Millisecond}},
	}
	got := panels(rows)
	require.Len(t, got, 6)
	assert.Equal(t, panel{
		Title: "Idle CPU above none, s/min", Limit: 0.1, Points: [][2]float64{{1500, 0}, {10_000, -0.01}},
	}, got[2])
	assert.Equal(t, panel{Title: "Memory of the plugin, MB", Limit: 150, Points: [][2]float64{{1500, 40}, {10_000, 50}}},
		got[3])
}

func TestJudge(t *testing.T) {
	start := time.Now()
	began := []time.Time{start, start.Add(time.Second), start.Add(2 * time.Second)}
	asked := map[string]int{imported("far", 0): 1, imported("far", 1): 2, imported("far", 2): 1}
	served := map[string]time.Time{
		imported("far", 0): start.Add(8 * time.Second), imported("far", 1): start.Add(10 * time.Second),
		imported("far", 2): start.Add(13 * time.Second),
	}
	assert.Equal(t, outcome{late: 1, repeated: 1, least: -time.Second, took: 5 * time.Second},
		judge(began, 10*time.Second, asked, served))
}
