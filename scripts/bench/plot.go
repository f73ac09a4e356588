package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
)

// The plot is drawn by hand: six small panels are not worth a library.
const (
	panelWidth, panelHeight = 360, 260
	columns                 = 3
	inset                   = 46 // of a panel's axes from its edges
)

var (
	ink   = color.RGBA{0x33, 0x33, 0x33, 0xff}
	faint = color.RGBA{0xdd, 0xdd, 0xdd, 0xff}
	blue  = color.RGBA{0x1f, 0x6f, 0xb4, 0xff}
)

// series is one panel: a value for each number of connections, from 0 up.
type series struct {
	title string
	value func(idleRow) float64
}

// plotIdle draws what grows with the number of connections, over a logarithmic axis.
func plotIdle(file string, rows []idleRow) error {
	panels := []series{
		{"reads/s, any connection", func(r idleRow) float64 { return r.all.rate }},
		{"read p99, ms", func(r idleRow) float64 { return milliseconds(r.all.p99) }},
		{"idle cpu s/min above none", func(r idleRow) float64 { return (r.idle.plugin + r.idle.vault).Seconds() }},
		{"plugin memory, mb", func(r idleRow) float64 { return megabytes(r.memory) }},
		{"unseal to first read, s", func(r idleRow) float64 { return r.firstRead.Seconds() }},
		{"unseal to full index, s", func(r idleRow) float64 { return r.indexed.Seconds() }},
	}
	lines := (len(panels) + columns - 1) / columns
	img := image.NewRGBA(image.Rect(0, 0, columns*panelWidth, lines*panelHeight))
	draw.Draw(img, img.Bounds(), image.White, image.Point{}, draw.Src)
	for i, p := range panels {
		at := image.Pt(i%columns*panelWidth, i/columns*panelHeight)
		p.draw(img.SubImage(image.Rectangle{at, at.Add(image.Pt(panelWidth, panelHeight))}).(*image.RGBA), rows)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := png.Encode(out, img); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

func (p series) draw(img *image.RGBA, rows []idleRow) {
	box := img.Bounds().Inset(inset)
	write(img, box.Min.Add(image.Pt(0, -26)), p.title, ink)
	most := 0.0
	for _, r := range rows {
		most = max(most, p.value(r))
	}
	if most == 0 {
		most = 1
	}
	place := func(r idleRow) image.Point {
		from, to := math.Log10(float64(rows[0].connections)), math.Log10(float64(rows[len(rows)-1].connections))
		along := 0.5
		if to > from {
			along = (math.Log10(float64(r.connections)) - from) / (to - from)
		}
		up := max(p.value(r), 0) / (most * 1.15)
		return image.Pt(box.Min.X+int(along*float64(box.Dx())), box.Max.Y-int(up*float64(box.Dy())))
	}
	line(img, image.Pt(box.Min.X, box.Max.Y), box.Max, ink)
	line(img, box.Min, image.Pt(box.Min.X, box.Max.Y), ink)
	for i, r := range rows {
		at := place(r)
		line(img, image.Pt(at.X, box.Max.Y), at, faint)
		if i > 0 {
			line(img, place(rows[i-1]), at, blue)
		}
		draw.Draw(img, image.Rectangle{at, at}.Inset(-3), image.NewUniform(blue), image.Point{}, draw.Src)
		writeCentred(img, at.Add(image.Pt(0, -18)), figure(p.value(r)), blue)
		writeCentred(img, image.Pt(at.X, box.Max.Y+10), connections(r.connections), ink)
	}
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

func connections(n int) string {
	if n%1000 == 0 {
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

func line(img *image.RGBA, from, to image.Point, c color.Color) {
	d := to.Sub(from)
	steps := max(d.X, -d.X, d.Y, -d.Y, 1)
	for i := range steps + 1 {
		img.Set(from.X+d.X*i/steps, from.Y+d.Y*i/steps, c)
	}
}

// glyphs are three dots wide and five high: one octal digit for each row, from the top.
var glyphs = map[rune]string{
	'a': "25755", 'b': "65656", 'c': "34443", 'd': "65556", 'e': "74647", 'f': "74644", 'g': "34553", 'h': "55755", 'i': "72227",
	'j': "11152", 'k': "55655", 'l': "44447", 'm': "57755", 'n': "65555", 'o': "25552", 'p': "65644", 'q': "25563", 'r': "65655",
	's': "34216", 't': "72222", 'u': "55557", 'v': "55552", 'w': "55775", 'x': "55255", 'y': "55222", 'z': "71247",
	'0': "75557", '1': "26227", '2': "61247", '3': "61216", '4': "55711", '5': "74616", '6': "34757", '7': "71222", '8': "75757",
	'9': "75716", '.': "00002", ',': "00024", '/': "11244", '-': "00700", '+': "02720",
}

const dot = 2 // pixels

// write writes small letters and figures; a letter that has no glyph is a space.
func write(img *image.RGBA, at image.Point, text string, c color.Color) {
	for _, letter := range text {
		for y, row := range glyphs[letter] {
			for x := range 3 {
				if (row-'0')>>(2-x)&1 == 1 {
					corner := at.Add(image.Pt(x*dot, y*dot))
					draw.Draw(img, image.Rectangle{corner, corner.Add(image.Pt(dot, dot))}, image.NewUniform(c), image.Point{}, draw.Src)
				}
			}
		}
		at.X += 4 * dot
	}
}

func writeCentred(img *image.RGBA, at image.Point, text string, c color.Color) {
	write(img, at.Add(image.Pt(-len(text)*2*dot, 0)), text, c)
}
