package socket

import (
	"fmt"
	"io"
	"net"
	"testing"
)

// BenchmarkPingPong sends a message back and forth over loopback.
func BenchmarkPingPong(b *testing.B) {
	f := func(name string, size int, made func(net.Conn) net.Conn) {
		b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
			near, far := loopback(b, nil)
			c, peer := made(near), made(far)
			echoed := make(chan error, 1)
			go func() {
				room := make([]byte, size)
				for {
					if _, err := io.ReadFull(peer, room); err != nil {
						echoed <- err
						return
					}
					if _, err := peer.Write(room); err != nil {
						echoed <- err
						return
					}
				}
			}()
			message := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(2 * size))
			for b.Loop() {
				if _, err := c.Write(message); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, message); err != nil {
					b.Fatal(err)
				}
			}
			c.Close()
			if err := <-echoed; err != io.EOF {
				b.Error(err)
			}
		})
	}
	for _, size := range []int{128, 16 << 10} {
		f("net", size, func(c net.Conn) net.Conn { return c })
		f("socket", size, func(c net.Conn) net.Conn { return New(c) })
	}
}

// BenchmarkAlone writes and reads in one goroutine, which never has to wait.
func BenchmarkAlone(b *testing.B) {
	f := func(name string, made func(net.Conn) net.Conn) {
		b.Run(name, func(b *testing.B) {
			near, far := loopback(b, nil)
			c, peer := made(near), made(far)
			message := make([]byte, 128)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(message); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(peer, message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("net", func(c net.Conn) net.Conn { return c })
	f("socket", func(c net.Conn) net.Conn { return New(c) })
}
