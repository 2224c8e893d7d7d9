package est_test

import (
	"crypto/tls"
	"runtime"
	"testing"

	"callsign/est"
)

// BenchmarkSimpleEnroll measures enrolments through a Handler whose authority signs with P-256, by 16 clients at once:
// with a new TLS connection for each, as libEST makes it, and over connections that are kept.
func BenchmarkSimpleEnroll(b *testing.B) {
	for name, keep := range map[string]bool{"new connection": false, "kept connection": true} {
		b.Run(name, func(b *testing.B) {
			a := newAuthority(b)
			url := serve(b, &est.Handler{Backend: a}, a.ca.server)
			csr, _ := newCSR(b, "bench")
			shared := newClient(b, url, a.ca)
			b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					client := shared
					if !keep {
						client = &est.Client{URL: url, TLS: clientTLS(a.ca), User: "estuser", Password: est.Password("estpwd")}
					}
					if _, err := client.SimpleEnroll(b.Context(), csr); err != nil {
						b.Error(err)
					}
					if !keep {
						client.Close()
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "enrolments/s")
		})
	}
}

// BenchmarkHandshake is the bare TLS handshake with the same certificate, to compare with.
func BenchmarkHandshake(b *testing.B) {
	a := newAuthority(b)
	address := serve(b, &est.Handler{Backend: a}, a.ca.server)[len("https://"):]
	b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			conn, err := tls.Dial("tcp", address, clientTLS(a.ca))
			if err != nil {
				b.Error(err)
				return
			}
			_ = conn.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
}
