package adcs_test

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
)

// TestTimeoutNamesItsKey: whichever step is too slow, the remedy names the one key that bounds it.
func TestTimeoutNamesItsKey(t *testing.T) {
	t.Parallel()
	keys := []string{"adcs.connect_timeout", "adcs.login_timeout", "adcs.submit_timeout", "adcs.fetch_timeout"}
	deaf, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // its queue takes connections and nobody answers
	check(t, err)
	t.Cleanup(func() { _ = deaf.Close() })
	stop := make(chan struct{})
	mute := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	t.Cleanup(mute.Close)
	t.Cleanup(func() { close(stop) })
	const short = 100 * time.Millisecond
	for key, edit := range map[string]func(*certsrvtest.Config, *certsrv.Client){
		"adcs.connect_timeout": func(_ *certsrvtest.Config, c *certsrv.Client) {
			c.URL, c.ConnectTimeout = "https://"+deaf.Addr().String()+"/certsrv", short
		},
		"adcs.login_timeout": func(_ *certsrvtest.Config, c *certsrv.Client) {
			c.URL, c.LoginTimeout, c.TLS.RootCAs = mute.URL, short, x509.NewCertPool()
			c.TLS.RootCAs.AddCert(mute.Certificate())
		},
		"adcs.submit_timeout": func(s *certsrvtest.Config, c *certsrv.Client) {
			s.Behaviour, c.SubmitTimeout = certsrvtest.Behaviour{Answer: certsrvtest.Hang}, short
		},
		"adcs.fetch_timeout": func(_ *certsrvtest.Config, c *certsrv.Client) { c.FetchTimeout = time.Nanosecond },
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, edit)
			a, r, l := w.authority(nil), signed(t), w.page()
			_, err := a.Issue(t.Context(), r, l)
			e, ok := errors.AsType[*ca.Error](err)
			if !ok || !e.Timeout || e.Final {
				t.Fatalf("%v", err)
			}
			for _, k := range keys {
				if strings.Contains(e.Remedy(), k) != (k == key) {
					t.Errorf("%s: %s", k, e.Remedy())
				}
			}
			if key != "adcs.submit_timeout" {
				return
			}
			// And as long as the lost answer is looked for.
			_, err = a.Issue(t.Context(), r, l)
			if e := wantError(t, err, adcs.CodeSearching); !strings.Contains(e.Remedy(), key) || !strings.Contains(e.Error(), "timed out after "+short.String()) {
				t.Errorf("%v: %s", e, e.Remedy())
			}
		})
	}
}
