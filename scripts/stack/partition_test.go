package stack

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// flood is much, so that what gets through is noticed before the cut ends.
const flood = 32 << 20

// patience is how long something may take that should happen.
const patience = time.Minute

// peer is the listener of a node that sends back what it hears.
type peer struct {
	net.Listener
	called atomic.Int32
	heard  chan int64 // of each connection, when it has ended or nothing more is said
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	p := &peer{Listener: l, heard: make(chan int64, 10)}
	go func() {
		for {
			conn, err := p.Accept()
			if err != nil {
				return
			}
			p.called.Add(1)
			go func() {
				defer conn.Close()
				var heard counter
				_, _ = io.Copy(conn, io.TeeReader(conn, &heard))
				p.heard <- int64(heard)
			}()
		}
	}()
	return p
}

// hears waits until the end of a connection, and asserts how much came over it.
func (p *peer) hears(t *testing.T, want int64) {
	t.Helper()
	select {
	case got := <-p.heard:
		assert.Equal(t, want, got)
	case <-time.After(patience):
		require.Fail(t, "the peer does not hear that the connection has ended")
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// newNetwork makes a network with a door to a peer.
func newNetwork(t *testing.T) (*network, *door, *peer) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who holds a connection")
	}
	n, p := &network{}, newPeer(t)
	d, err := n.open(p.Addr().(*net.TCPAddr).Port)
	require.NoError(t, err)
	t.Cleanup(n.close)
	return n, d, p
}

// call makes a connection through a door, over which something has been said and answered.
func call(t *testing.T, d *door) *net.TCPConn {
	t.Helper()
	conn := dial(t, d)
	_, err := conn.Write([]byte{1})
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1))
	require.NoError(t, err)
	return conn
}

func dial(t *testing.T, d *door) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", d.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// silent asserts that an end hears nothing, not even that the connection has ended.
func silent(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err := conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
}

func TestCutLosesOneDirection(t *testing.T) {
	us, nobody := os.Getpid(), os.Getppid()
	for name, tc := range map[string]struct {
		home           bool // whether the island is the one who was called
		pid            int
		mute, deaf     bool
		asks, answered bool // whether the question arrives, and all of its answer
	}{
		"a mute caller":           {pid: us, mute: true},
		"a deaf caller":           {pid: us, deaf: true, asks: true},
		"a mute peer":             {home: true, pid: nobody, mute: true, asks: true},
		"a deaf peer":             {home: true, pid: nobody, deaf: true},
		"neither of them":         {pid: nobody, mute: true, deaf: true, asks: true, answered: true},
		"a process that is gone":  {pid: 1 << 30, mute: true, deaf: true, asks: true, answered: true},
		"a caller who is cut off": {pid: us, mute: true, deaf: true},
	} {
		t.Run(name, func(t *testing.T) {
			n, d, p := newNetwork(t)
			i := &island{door: &door{}, pid: tc.pid, mute: tc.mute, deaf: tc.deaf}
			if tc.home {
				i.door = d
			}
			conn := call(t, d)
			require.NoError(t, n.cut(i))
			go func() {
				_, _ = conn.Write(make([]byte, flood))
				_ = conn.CloseWrite()
			}()
			if tc.answered {
				answer, err := io.Copy(io.Discard, conn)
				require.NoError(t, err)
				assert.EqualValues(t, flood, answer)
				p.hears(t, 1+flood)
				return
			}
			if tc.asks {
				p.hears(t, 1+flood)
			}
			silent(t, conn)
			n.heal()
			answer, _ := io.Copy(io.Discard, conn) // it may break
			assert.Zero(t, answer)
			if !tc.asks {
				p.hears(t, 1)
			}
			call(t, d)
		})
	}
}

func TestCutKeepsNewConnectionsWaiting(t *testing.T) {
	n, d, p := newNetwork(t)
	require.NoError(t, n.cut(&island{door: d, pid: os.Getppid(), mute: true}))
	conn := dial(t, d)
	_, err := conn.Write([]byte{1})
	require.NoError(t, err)
	silent(t, conn)
	n.heal()
	_, err = conn.Read(make([]byte, 1))
	assert.Error(t, err)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	call(t, d)
	assert.EqualValues(t, 1, p.called.Load(), "the first call did not reach the peer")
}
