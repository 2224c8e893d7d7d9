package handset

import (
	"testing"
	"time"

	"callsign/capf"
)

// TestLoadBesideSilence: phones get through beside connections that say nothing, and what the server does to those is
// counted.
func TestLoadBesideSilence(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		handshake time.Duration // how long the server waits for TLS
		closed    bool
	}{
		"patient server":   {time.Minute, false},
		"impatient server": {20 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldWith(t, &capf.Server{HandshakeTimeout: tt.handshake})
			report, err := Load(t.Context(), LoadConfig{
				Server: w.address, Count: 20, Concurrency: 1, Silent: 50, Key: capf.KeySpec{Type: capf.KeyEC, Bits: 256},
				Progress: func(p Progress) {
					if p.Stage == Calling && p.Done == p.Total && tt.closed {
						time.Sleep(2 * time.Second) // until the server has closed some, and that has been noticed
					}
				},
			})
			if err != nil || report.Silent != 50 || report.SilentRefused != 0 || report.SilentClosed > 0 != tt.closed {
				t.Errorf("%+v, %v", report, err)
			}
			if !tt.closed && report.OK != 20 {
				t.Errorf("%+v", report)
			}
		})
	}
	report, err := Load(t.Context(), LoadConfig{
		Server: "127.0.0.1:1", Count: 1, Silent: 3, Key: capf.KeySpec{Type: capf.KeyEC, Bits: 256},
	})
	if err != nil || report.SilentRefused < 3 || report.Failed != 1 {
		t.Errorf("no server: %+v, %v", report, err)
	}
}
