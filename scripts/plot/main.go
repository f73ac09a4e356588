// Command plot draws panels of what grows with a number, given as JSON on its input, into the PNG file that it is
// given. It is a module of its own so that the plugin does not depend on what draws.
package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// panel is one diagram. Its vertical axis begins at zero and holds the limit, so that what is flat looks flat.
type panel struct {
	Title  string       `json:"title"`
	Limit  float64      `json:"limit"` // what is to be kept; 0: nothing is
	Points [][2]float64 `json:"points"`
}

const (
	columns       = 3
	width, height = 4 * vg.Inch, 2.6 * vg.Inch // of a panel
)

var (
	blue = color.RGBA{0x1f, 0x6f, 0xb4, 0xff}
	grey = color.RGBA{0x88, 0x88, 0x88, 0xff}
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: plot <file.png> < panels.json")
	}
	var panels []panel
	if err := json.NewDecoder(os.Stdin).Decode(&panels); err != nil {
		return err
	}
	out, err := os.Create(os.Args[1])
	if err != nil {
		return err
	}
	if err := render(out, panels); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// render draws the panels side by side and writes them as PNG.
func render(out io.Writer, panels []panel) error {
	lines := (len(panels) + columns - 1) / columns
	grid := make([][]*plot.Plot, lines)
	for i := range grid {
		grid[i] = make([]*plot.Plot, columns)
	}
	for i, p := range panels {
		drawn, err := p.draw()
		if err != nil {
			return fmt.Errorf("%s: %w", p.Title, err)
		}
		grid[i/columns][i%columns] = drawn
	}
	img := vgimg.New(columns*width, vg.Length(lines)*height)
	pad := vg.Points(12)
	tiles := draw.Tiles{
		Rows: lines, Cols: columns, PadX: pad, PadY: pad, PadTop: pad, PadBottom: pad, PadLeft: pad, PadRight: pad,
	}
	for i, row := range plot.Align(grid, tiles, draw.New(img)) {
		for j, canvas := range row {
			if grid[i][j] != nil {
				grid[i][j].Draw(canvas)
			}
		}
	}
	_, err := vgimg.PngCanvas{Canvas: img}.WriteTo(out)
	return err
}

func (p panel) draw() (*plot.Plot, error) {
	d := plot.New()
	d.Title.Text = p.Title
	d.X.Label.Text = "connections"
	d.X.Scale = plot.LogScale{}
	points, labels := make(plotter.XYs, len(p.Points)), make([]string, len(p.Points))
	most := p.Limit
	var ticks []plot.Tick
	for i, at := range p.Points {
		points[i].X, points[i].Y = at[0], max(at[1], 0) // a difference of two measurements may be below zero
		labels[i] = figure(at[1])
		most = max(most, at[1])
		ticks = append(ticks, plot.Tick{Value: at[0], Label: fmt.Sprintf("%gk", at[0]/1000)})
	}
	d.X.Tick.Marker = plot.ConstantTicks(ticks)
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width, dots.Color, dots.Shape = blue, vg.Points(1.5), blue, draw.CircleGlyph{}
	figures, err := plotter.NewLabels(plotter.XYLabels{XYs: points, Labels: labels})
	if err != nil {
		return nil, err
	}
	figures.Offset = vg.Point{Y: vg.Points(5)}
	for i := range figures.TextStyle {
		figures.TextStyle[i].XAlign, figures.TextStyle[i].Color = draw.XCenter, blue
	}
	d.Add(plotter.NewGrid(), line, dots, figures)
	first, last := p.Points[0][0], p.Points[len(p.Points)-1][0]
	if p.Limit > 0 {
		limit, err := plotter.NewLine(plotter.XYs{{X: first, Y: p.Limit}, {X: last, Y: p.Limit}})
		if err != nil {
			return nil, err
		}
		limit.Color, limit.Dashes = grey, []vg.Length{vg.Points(4), vg.Points(3)}
		d.Add(limit)
		word, err := plotter.NewLabels(plotter.XYLabels{
			XYs: plotter.XYs{{X: first, Y: p.Limit}}, Labels: []string{"limit " + figure(p.Limit)},
		})
		if err != nil {
			return nil, err
		}
		word.Offset = vg.Point{X: vg.Points(3), Y: vg.Points(3)}
		word.TextStyle[0].Color, word.TextStyle[0].Font.Size = grey, font.Length(9)
		d.Add(word)
	}
	d.X.Min, d.X.Max = first/1.5, last*1.5
	d.Y.Min, d.Y.Max = 0, max(most, 1e-9)*1.2
	return d, nil
}

// figure writes a value with about three digits.
func figure(v float64) string {
	switch {
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
