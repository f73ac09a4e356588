package main

import (
	"image"
	_ "image/png"
	"os"
	"path/filepath"
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

func TestPlotIdle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scale.png")
	rows := []idleRow{
		{connections: 1500, memory: 40e6, all: sample{rate: 2500}},
		{connections: 10_000, memory: 50e6, all: sample{rate: 2400}, idle: usage{vault: -10 * time.Millisecond}},
	}
	for n := 1; n <= len(rows); n++ { // one point has no line to another
		require.NoError(t, plotIdle(file, rows[:n]))
		f, err := os.Open(file)
		require.NoError(t, err)
		img, format, err := image.Decode(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		assert.Equal(t, "png", format)
		assert.Equal(t, image.Rect(0, 0, 3*panelWidth, 2*panelHeight), img.Bounds())
		points := 0
		for x := range img.Bounds().Dx() {
			for y := range img.Bounds().Dy() {
				if img.At(x, y) == blue {
					points++
				}
			}
		}
		assert.Greater(t, points, 6*n*36, "a square for each point")
	}
}

func TestJudge(t *testing.T) {
	start := time.Now()
	began := []time.Time{start, start.Add(time.Second), start.Add(2 * time.Second)}
	asked := map[string]int{imported("far", 0): 1, imported("far", 1): 2, imported("far", 2): 1}
	served := map[string]time.Time{
		imported("far", 0): start.Add(8 * time.Second), imported("far", 1): start.Add(10 * time.Second), imported("far", 2): start.Add(13 * time.Second),
	}
	assert.Equal(t, outcome{late: 1, repeated: 1, least: -time.Second, took: 5 * time.Second}, judge(began, 10*time.Second, asked, served))
}

func TestGlyphsHaveFiveRows(t *testing.T) {
	for letter, rows := range glyphs {
		assert.Regexp(t, `^[0-7]{5}$`, rows, string(letter))
	}
}
