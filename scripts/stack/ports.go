package stack

import (
	"fmt"
	"net"
)

// freePorts gives the first of n ports in a row that nobody listens on. Somebody may take one before it is used: the
// child then ends, and says so.
func freePorts(n int) (int, error) {
	for range 100 {
		first, err := reserve(n)
		if err == nil {
			return first, nil
		}
	}
	return 0, fmt.Errorf("found no %d free ports in a row on 127.0.0.1", n)
}

func reserve(n int) (first int, err error) {
	for i := range n {
		port := 0
		if i > 0 {
			port = first + i
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return 0, err
		}
		defer l.Close()
		if i == 0 {
			first = l.Addr().(*net.TCPAddr).Port
		}
	}
	return first, nil
}
