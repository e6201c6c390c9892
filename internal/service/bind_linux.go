package service

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// listenerOn finds the process that listens on an address, if the permissions of this user suffice.
func listenerOn(address string) (process, bool) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table) // without IPv6 there is only one
		for _, inode := range listeningSockets(text, address) {
			sockets["socket:["+inode+"]"] = true
		}
	}
	if len(sockets) == 0 {
		return process{}, false
	}
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range descriptors {
		if target, err := os.Readlink(fd); err == nil && sockets[target] {
			return describe(strings.Split(fd, "/")[2])
		}
	}
	return process{}, false
}

// describe returns name and version of a process.
func describe(pid string) (process, bool) {
	p := process{name: "a process"}
	p.pid, _ = strconv.Atoi(pid)
	if name, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil {
		p.name = strconv.Quote(strings.TrimSpace(string(name)))
	}
	info, err := buildinfo.ReadFile("/proc/" + pid + "/exe")
	if own, ok := debug.ReadBuildInfo(); err == nil && ok && info.Main.Path == own.Main.Path {
		p.version = versionOf(info)
	}
	return p, true
}

// listeningSockets reads a table of /proc/net and returns the inodes of listening sockets that
// conflict with an address.
func listeningSockets(table []byte, address string) []string {
	host, port, _ := net.SplitHostPort(address)
	wanted, _ := netip.ParseAddr(host) // the zero value for a name, and for every interface
	var inodes []string
	for lines := bufio.NewScanner(bytes.NewReader(table)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		const local, state, inode, listens = 1, 3, 9, "0A"
		if len(fields) <= inode || fields[state] != listens {
			continue
		}
		ip, at, ok := socketAddress(fields[local])
		if !ok || strconv.Itoa(int(at)) != port {
			continue
		}
		if !wanted.IsValid() || wanted.IsUnspecified() || ip.IsUnspecified() || ip.Unmap() == wanted.Unmap() {
			inodes = append(inodes, fields[inode])
		}
	}
	return inodes
}

// socketAddress parses the kernel's notation of an address: 32-bit words in native byte order, and
// a port.
func socketAddress(text string) (ip netip.Addr, port uint16, ok bool) {
	host, at, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	n, portErr := strconv.ParseUint(at, 16, 16)
	if err != nil || portErr != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.Addr{}, 0, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok = netip.AddrFromSlice(raw)
	return ip, uint16(n), ok
}
