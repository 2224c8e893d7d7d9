package app

import (
	"net"
	"testing"

	"callsign/internal/config"
)

// TestOwnRA: only the RA of this very process may be asked what its trouble is.
func TestOwnRA(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, url, label string
		own              bool
	}{
		{"loopback", "https://127.0.0.1:8084/.well-known/est", "", true},
		{"a label", "https://127.0.0.1:8084/.well-known/est/phones", "phones", true},
		{"another port", "https://127.0.0.1:8085/.well-known/est", "", false},
		{"another host", "https://192.0.2.7:8084/.well-known/est", "", false},
		{"another name", "https://ra.example.com:8084/.well-known/est", "", false},
		{"no port", "https://127.0.0.1/.well-known/est", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := config.Default()
			c.CAPF.RAURL = tt.url
			c.EST.Listen, c.CAPF.Listen = "", ""
			g := &generation{config: &c, app: &App{estAddr: &net.TCPAddr{IP: net.IPv4zero, Port: 8084}}}
			if label, own := g.ownRA(); own != tt.own || label != tt.label {
				t.Errorf("label %q, own %v", label, own)
			}
		})
	}
}
