package webhook

import "time"

const (
	firstWait = 5 * time.Second
	// mostWait is the longest that a receiver is left alone, whatever it asks for.
	mostWait = 24 * time.Hour
)

// Wait is how long is waited after so many failures in a row: five seconds at first, and four times as long each time,
// up to a day. random, from 0 to 1, takes up to a quarter off, so that many do not come at once. asked is what the
// receiver wants at the least.
func Wait(failures int, random float64, asked time.Duration) time.Duration {
	wait := firstWait
	for range failures - 1 {
		if wait *= 4; wait >= mostWait {
			wait = mostWait
			break
		}
	}
	wait -= time.Duration(random * float64(wait/4))
	return min(max(wait, asked), mostWait)
}
