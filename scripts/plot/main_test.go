package main

import (
	"bytes"
	"image"
	"image/png"
	"testing"
)

func TestRender(t *testing.T) {
	blues := func(panels ...panel) (n int, size image.Rectangle) {
		t.Helper()
		var file bytes.Buffer
		if err := render(&file, panels); err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(&file)
		if err != nil {
			t.Fatal(err)
		}
		for x := range img.Bounds().Dx() {
			for y := range img.Bounds().Dy() {
				if r, g, b, _ := img.At(x, y).RGBA(); r>>8 == uint32(blue.R) && g>>8 == uint32(blue.G) && b>>8 == uint32(blue.B) {
					n++
				}
			}
		}
		return n, img.Bounds()
	}
	flat := panel{Title: "flat", Limit: 1, Points: [][2]float64{{1000, 0}, {10_000, 0}, {100_000, -0.01}}}
	point := panel{Title: "one size", Points: [][2]float64{{1000, 40}}} // has no line
	one, row := blues(point)
	line, _ := blues(flat)
	if one == 0 || line <= one {
		t.Errorf("a point has %d dots of its colour, and a line %d", one, line)
	}
	all, rows := blues(flat, point, flat, point)
	if all <= 2*line {
		t.Errorf("four panels have %d dots of the colour, and one has %d", all, line)
	}
	if rows.Dx() != row.Dx() || rows.Dy() < 2*row.Dy()-2 {
		t.Errorf("four panels are %v, and one is %v", rows, row)
	}
}
