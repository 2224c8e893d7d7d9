package app_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"callsign/internal/app"
	"callsign/internal/certfile"
)

// TestClientCertificate: a web server that asks for a certificate gets that of adcs.client_certificate_file, also when it
// names other issuers; check judges the pair.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	root, other := sign(t, nil, authority("Lab Root")), sign(t, nil, authority("Other Root"))
	server := sign(t, root, webServer(peerHost))
	client := sign(t, root, x509.Certificate{Subject: pkix.Name{CommonName: "callsign"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	wrong := sign(t, root, webServer("callsign"))
	for name, tt := range map[string]struct {
		version uint16
		pair    *signed
		shown   string
		status  app.Status
	}{
		"TLS 1.2":                       {tls.VersionTLS12, client, "callsign", app.StatusOK},
		"TLS 1.3":                       {tls.VersionTLS13, client, "callsign", app.StatusOK},
		"a server's certificate":        {tls.VersionTLS13, wrong, "callsign", app.StatusFail},
		"none, and nothing is demanded": {tls.VersionTLS13, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := make(chan string, 100)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				shown := ""
				if certs := r.TLS.PeerCertificates; len(certs) > 0 {
					shown = certs[0].Subject.CommonName
				}
				select {
				case names <- shown:
				default:
				}
				http.NotFound(w, r)
			}))
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			issuers := x509.NewCertPool()
			issuers.AddCert(other.cert)
			s.TLS = &tls.Config{
				MinVersion: tt.version, MaxVersion: tt.version, ClientAuth: tls.RequestClientCert, ClientCAs: issuers,
				Certificates: []tls.Certificate{{Certificate: [][]byte{server.cert.Raw}, PrivateKey: server.key}},
			}
			s.StartTLS()
			t.Cleanup(s.Close)
			c := raOf(t, s.Listener.Addr().String(), root)
			if tt.pair != nil {
				c.ADCS.ClientCertificateFile, c.ADCS.ClientKeyFile = filepath.Join(c.Dir, "iis-client.pem"), filepath.Join(c.Dir, "iis-client.key")
				if err := certfile.WriteCertificates(c.ADCS.ClientCertificateFile, tt.pair.cert); err != nil {
					t.Fatal(err)
				}
				if err := certfile.WriteKey(c.ADCS.ClientKeyFile, tt.pair.key); err != nil {
					t.Fatal(err)
				}
			}
			run(t, c, "login to web enrollment failed", 1)
			if got := <-names; got != tt.shown {
				t.Errorf("the server saw the certificate of %q, want %q", got, tt.shown)
			}
			var status app.Status
			for _, step := range app.Check(t.Context(), c, app.CheckOptions{}) {
				if step.Name == "certificate adcs client" {
					status = step.Status
					if status == app.StatusFail && !strings.Contains(step.Remedy, "Client Authentication") {
						t.Errorf("%+v", step)
					}
				}
			}
			if status != tt.status {
				t.Errorf("check says %q, want %q", status, tt.status)
			}
		})
	}
}

// TestClientCertificateDemanded: the checks reach a web server that demands a certificate when there is one to show, and name
// the key of the configuration when there is none; and they tell a server that speaks nothing newer than TLS 1.1.
func TestClientCertificateDemanded(t *testing.T) {
	t.Parallel()
	root := sign(t, nil, authority("Lab Root"))
	server := sign(t, root, webServer(peerHost))
	client := sign(t, root, x509.Certificate{Subject: pkix.Name{CommonName: "callsign"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	for name, tt := range map[string]struct {
		least, most uint16
		auth        tls.ClientAuthType
		pair        *signed
		parts       []string // of what is said when it fails; nil: it does not
	}{
		"TLS 1.2":       {tls.VersionTLS12, tls.VersionTLS12, tls.RequireAnyClientCert, client, nil},
		"TLS 1.3":       {tls.VersionTLS13, tls.VersionTLS13, tls.RequireAnyClientCert, client, nil},
		"none, TLS 1.2": {tls.VersionTLS12, tls.VersionTLS12, tls.RequireAnyClientCert, nil, []string{"demands a client certificate", "adcs.client_key_file"}},
		"none, TLS 1.3": {tls.VersionTLS13, tls.VersionTLS13, tls.RequireAnyClientCert, nil, []string{"demands a client certificate", "adcs.client_key_file"}},
		"TLS 1.1":       {tls.VersionTLS10, tls.VersionTLS11, tls.NoClientCert, nil, []string{"TLS 1.1, and TLS 1.2 is the least"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewUnstartedServer(http.NotFoundHandler())
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			s.TLS = &tls.Config{
				MinVersion: tt.least, MaxVersion: tt.most, ClientAuth: tt.auth,
				Certificates: []tls.Certificate{{Certificate: [][]byte{server.cert.Raw}, PrivateKey: server.key}},
			}
			s.StartTLS()
			t.Cleanup(s.Close)
			c := raOf(t, s.Listener.Addr().String(), root)
			if tt.pair != nil {
				c.ADCS.ClientCertificateFile, c.ADCS.ClientKeyFile = trust(t, c.Dir, "iis-client.pem", tt.pair), filepath.Join(c.Dir, "iis-client.key")
				if err := certfile.WriteKey(c.ADCS.ClientKeyFile, tt.pair.key); err != nil {
					t.Fatal(err)
				}
			}
			for step, steps := range map[string][]app.Step{
				"adcs connect": app.Check(t.Context(), c, app.CheckOptions{}), "adcs tls": app.CheckCA(t.Context(), c, app.CAOptions{}),
			} {
				for _, got := range steps {
					if got.Name != step {
						continue
					}
					if (got.Status == app.StatusFail) != (tt.parts != nil) {
						t.Errorf("%+v", got)
					}
					for _, part := range tt.parts {
						if got.Code != "certsrv.tls-failed" || !strings.Contains(got.Detail+" "+got.Remedy, part) {
							t.Errorf("%q is not in %+v", part, got)
						}
					}
				}
			}
		})
	}
}
