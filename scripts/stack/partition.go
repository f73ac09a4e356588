package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// network is what the nodes of a cluster reach each other by, for raft and for the requests that standbys pass on.
// Each node tells the others a door of ours in place of its own listener, so that a node can be cut off as a failing
// network would do it. Clients and providers do not come by here.
type network struct {
	mu     sync.Mutex
	doors  []*door
	links  map[*link]struct{}
	island *island // nil: the network is whole
}

// door leads to a node's own listener.
type door struct {
	net.Listener
	home string
}

// link is a connection that somebody made through a door. What is lost in one direction stays lost: an end that waits
// for it is not told, not even that the other has hung up.
type link struct {
	door             *door
	caller           net.Addr
	toHome, toCaller atomic.Bool // whether it is lost
	end              context.CancelFunc
}

// island is a node that is cut off. A node that starts anew is another one.
type island struct {
	door       *door
	pid        int
	mute, deaf bool
}

// Isolate cuts a node off from its peers, until Heal. Its clients still reach it, and it reaches the providers. It
// works where the system tells who holds a connection: on Linux.
func (c *Cluster) Isolate(n *Node) error {
	return c.network.cut(&island{door: n.door, pid: n.process.pid, mute: true, deaf: true})
}

// Mute loses what a node sends its peers, and Deafen what they send it. A real network loses the receipts too, so what
// still gets through would soon stop; here it goes on.
func (c *Cluster) Mute(n *Node) error {
	return c.network.cut(&island{door: n.door, pid: n.process.pid, mute: true})
}

// Deafen is the reverse of Mute.
func (c *Cluster) Deafen(n *Node) error {
	return c.network.cut(&island{door: n.door, pid: n.process.pid, deaf: true})
}

// Heal makes the network whole. Connections that lost something break, and are made anew.
func (c *Cluster) Heal() {
	c.network.heal()
}

// open makes a door to a port of this machine.
func (n *network) open(port int) (*door, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{Listener: l, home: fmt.Sprintf("127.0.0.1:%d", port)}
	n.doors = append(n.doors, d)
	go func() {
		for {
			caller, err := d.Accept()
			if err != nil {
				return // it was closed
			}
			go n.connect(caller, d)
		}
	}()
	return d, nil
}

func (n *network) close() {
	for _, d := range n.doors {
		_ = d.Close()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		l.end()
	}
}

// connect carries what is said over a connection, as long as it lasts.
func (n *network) connect(caller net.Conn, d *door) {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	context.AfterFunc(ctx, func() { _ = caller.Close() })
	l := &link{door: d, caller: caller.RemoteAddr(), end: end}
	defer n.remove(l)
	if err := n.add(l); err != nil {
		return // rather none than one across the cut
	}
	if l.cut() {
		_, _ = io.Copy(io.Discard, caller) // nobody answers, until the caller gives up
		return
	}
	home, err := new(net.Dialer).DialContext(ctx, "tcp", d.home)
	if err != nil {
		return
	}
	context.AfterFunc(ctx, func() { _ = home.Close() })
	var ways sync.WaitGroup
	ways.Go(func() { carry(home, caller, &l.toHome) })
	ways.Go(func() { carry(caller, home, &l.toCaller) })
	ways.Wait()
	if l.cut() {
		<-ctx.Done() // an end that is still there may not learn that the other is not
	}
}

// carry passes on what comes from one end, or loses it. Something under way when the cut is made may still arrive.
func carry(to, from net.Conn, lost *atomic.Bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !lost.Load() {
			_, failed := to.Write(buffer[:n])
			err = errors.Join(err, failed)
		}
		if err != nil {
			break
		}
	}
	if !lost.Load() {
		_ = to.(*net.TCPConn).CloseWrite()
	}
}

func (l *link) cut() bool {
	return l.toHome.Load() || l.toCaller.Load()
}

func (n *network) add(l *link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links == nil {
		n.links = map[*link]struct{}{}
	}
	n.links[l] = struct{}{}
	if n.island == nil {
		return nil
	}
	return n.island.part(l)
}

func (n *network) remove(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
}

func (n *network) cut(i *island) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("cut a node off: %w", errors.ErrUnsupported)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.island = i
	for l := range n.links {
		if err := i.part(l); err != nil {
			return fmt.Errorf("cut a node off: %w", err)
		}
	}
	return nil
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.island = nil
	for l := range n.links {
		if l.cut() {
			l.end()
		}
	}
}

// part has a link lose what crosses the island's shore. A node has one address for all its peers, so who called is
// known only from the system.
func (i *island) part(l *link) error {
	sent, heard := &l.toCaller, &l.toHome
	if l.door != i.door {
		calls, err := holds(i.pid, l.caller, l.door.Addr())
		if err != nil || !calls {
			return err
		}
		sent, heard = heard, sent
	}
	sent.Store(i.mute)
	heard.Store(i.deaf)
	return nil
}

// holds reports whether a process has the near end of a connection on loopback.
func holds(pid int, near, far net.Addr) (bool, error) {
	inode, err := socket(near.(*net.TCPAddr).Port, far.(*net.TCPAddr).Port)
	if err != nil || inode == "" {
		return false, err
	}
	held := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(held)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // the process has ended
	}
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(held, e.Name())); err == nil && name == "socket:["+inode+"]" {
			return true, nil
		}
	}
	return false, nil
}

// socket gives the inode of the socket with these ports, or nothing if it is closed.
func socket(near, far int) (inode string, err error) {
	table, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	defer table.Close()
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// "number near-address:port far-address:port ... inode ...", in hexadecimal but for the inode
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && portOf(fields[1]) == near && portOf(fields[2]) == far {
			return fields[9], nil
		}
	}
	return "", lines.Err()
}

func portOf(address string) int {
	_, digits, _ := strings.Cut(address, ":")
	port, _ := strconv.ParseUint(digits, 16, 16)
	return int(port)
}
