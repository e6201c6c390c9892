package service

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

const socketTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0000000000000000 100 0 0 10 0
   1: 00000000:0BB9 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12 1 0000000000000000 100 0 0 10 0
   2: 0100007F:0BB8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 13 1 0000000000000000 100 0 0 10 0
   3: 070200C0:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 14 1 0000000000000000 100 0 0 10 0
   4: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 15
   5: 0000000000000000FFFF00000100007F:0BBA 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 16
   6: torn
`

func TestListeningSockets(t *testing.T) {
	f := func(address string, want ...string) {
		t.Helper()
		if got := listeningSockets([]byte(socketTable), address); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	f("127.0.0.1:3000", "11")
	f("192.0.2.7:3000", "14")
	f("[::1]:3000", "15")
	f(":3000", "11", "14", "15")
	f("0.0.0.0:3000", "11", "14", "15")
	f("localhost:3000", "11", "14", "15")
	f("127.0.0.1:3001", "12")
	f("127.0.0.1:3002", "16")
	f("127.0.0.1:3003")
	f("rubbish")
}

func FuzzListeningSockets(f *testing.F) {
	f.Add([]byte(socketTable), ":3000")
	f.Fuzz(func(t *testing.T, table []byte, address string) { listeningSockets(table, address) })
}

// TestBinding checks that an error names the process that has an address, and that opened listeners
// are closed.
func TestBinding(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	f := func(cfg config.Config, field string) {
		t.Helper()
		_, err := bind(&cfg)
		if err == nil || !strings.Contains(err.Error(), "address already in use: another listener of this balancer has it; stop it, or write another address in "+fmt.Sprintf("%q", field)) {
			t.Error(err)
		}
	}
	f(config.Config{Listen: taken, Admin: "off"}, "listen")
	f(config.Config{Port: taken[strings.LastIndexByte(taken, ':')+1:], Admin: "off"}, "port")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	f(config.Config{Listen: address, Admin: taken}, "admin")
	b, err := bind(&config.Config{Listen: address, Admin: "127.0.0.1:0"}) // the first was closed again
	if err != nil || b.admin == nil {
		t.Fatal(err)
	}
	b.clients.Close()
	b.admin.Close()
	if _, err := bind(&config.Config{Listen: "192.0.2.1:0", Admin: "off"}); err == nil || !strings.Contains(err.Error(), `this machine does not have the address; correct "listen"`) {
		t.Error(err)
	}
	if p, ok := listenerOn(taken); !ok || p.pid != os.Getpid() {
		t.Error(p)
	}
}
