package capf

import (
	"crypto/tls"
	"net"
	"runtime"
	"testing"
	"time"
)

// waiting opens n connections on which the server waits for the phone's answer: to KEY_GENERATE_REQUEST when hello is
// set, else to AUTH_REQUEST. Of the phones nothing is left but their sockets, so that what memory grows by is the
// server's.
func waiting(tb testing.TB, address string, config *tls.Config, n int, hello bool) []net.Conn {
	tb.Helper()
	conns := make([]net.Conn, n)
	config = config.Clone()
	config.ServerName = "127.0.0.1"
	var d net.Dialer
	for i := range conns {
		raw, err := d.DialContext(tb.Context(), "tcp", address)
		if err != nil {
			tb.Fatal(err)
		}
		conns[i] = raw
		conn := tls.Client(raw, config)
		if err := conn.HandshakeContext(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		p := &peer{tb: tb, conn: conn}
		if hello {
			p.hello(3)
			p.expect(KeyGenerateRequest)
		} else {
			p.expect(AuthRequest)
		}
	}
	return conns
}

// inUse is what heap and stacks take after a collection.
func inUse() uint64 {
	var m runtime.MemStats
	for range 3 { // stacks shrink by half in each
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// perConnection measures the memory of n waiting connections.
func perConnection(tb testing.TB, n int, hello bool, t Transport, a *authority) uint64 {
	tb.Helper()
	svc := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}}
	s := &Server{Service: svc, IdleTimeout: time.Hour, KeyTimeout: time.Hour}
	address, config := serveTransport(tb, s, a, t)
	for _, c := range waiting(tb, address, config, 10, hello) { // what is made once
		defer c.Close()
	}
	before := inUse()
	for _, c := range waiting(tb, address, config, n, hello) {
		defer c.Close()
	}
	after := inUse()
	return (after - min(before, after)) / uint64(n)
}

// TestMemoryPerConnection: a site whose phones all wait at the same time does not need much memory. It runs by itself,
// because it measures the process.
func TestMemoryPerConnection(t *testing.T) { //nolint:paralleltest // see above
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	const bound = 64 << 10
	for name, hello := range map[string]bool{"waiting for AUTH_RESPONSE": false, "waiting for the key": true} {
		for _, old := range []bool{false, true} {
			n := perConnection(t, 300, hello, Transport{TLS: a.serverTLS(), OldPhones: old}, a)
			t.Logf("%s, old phones %v: %d bytes a connection", name, old, n)
			if n > bound {
				t.Errorf("%s, old phones %v: %d bytes a connection, want at most %d", name, old, n, bound)
			}
		}
	}
}

// BenchmarkWaiting reports the memory of a connection on which the server waits for the phone's key.
func BenchmarkWaiting(b *testing.B) {
	a, err := testAuthority()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.ReportMetric(float64(perConnection(b, 2000, true, Transport{TLS: a.serverTLS()}, a)), "bytes/conn")
	}
}
