package app

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"time"

	"callsign/capf"
	"callsign/internal/certfile"
	"callsign/internal/config"
)

// servedBy returns what tells whether who listens at an address shows this certificate.
func servedBy(own *x509.Certificate) func(context.Context, string) bool {
	return func(ctx context.Context, addr string) bool {
		if own == nil {
			return false
		}
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		d := tls.Dialer{Config: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // the certificate is compared with our own, byte for byte
		}}
		conn, err := d.DialContext(ctx, "tcp", reachable(addr))
		if err != nil {
			return false
		}
		defer conn.Close()
		shown := conn.(*tls.Conn).ConnectionState().PeerCertificates
		return len(shown) > 0 && shown[0].Equal(own)
	}
}

// greetsPlainly tells whether who listens at an address speaks CAPF without TLS.
func greetsPlainly(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", reachable(addr))
	if err != nil {
		return false
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); !ok || conn.SetDeadline(end) != nil {
		return false
	}
	m, err := capf.ReadMessage(conn, capf.MaxUnauthenticated)
	return err == nil && m.Command == capf.AuthRequest
}

// phones looks at what concerns phones alone: the CAs by which they authenticate, and the door for old ones.
func (k *checker) phones() {
	c := k.c.CAPF
	if c.LegacyListen != "" && k.capf != nil {
		if _, ok := k.capf.PublicKey.(*rsa.PublicKey); !ok {
			k.fail("old phones", c.LegacyListen, codeKeySize, "the CAPF certificate has no RSA key, and phones with TLS 1.0 know no other", "use a certificate with an RSA key of 2048 bits in capf.certificate_file")
		} else {
			k.warn("old phones", c.LegacyListen, codeOldPhones, "TLS 1.0 is let in here, which can be broken by who sits between", "keep this address in the network of the phones that need it, and empty capf.legacy_listen when they are gone")
		}
	}
	if c.PlainListen != "" && c.PlainBeyondLoopback {
		k.warn("listen capf-plain", c.PlainListen, codePlain, "others can read and alter what passes here, authentication strings included", "put the TLS terminator on this machine, and let capf.plain_listen be a loopback address")
	}
	k.trustFiles("capf.trust_files", c.TrustFiles)
	k.trustFiles("capf.mic_files", c.MICFiles)
	if c.Issuer == config.IssuerOffline {
		if c.OfflineCAFile == "" {
			k.warn("offline CA", "capf.offline_ca_file", codeNoOfflineCA, "the CA is not named, so certificates can be imported with --ca only, and nobody learns the chain", "name its certificates in capf.offline_ca_file")
		} else {
			k.trustFiles("capf.offline_ca_file", []string{c.OfflineCAFile})
		}
	}
}

// trustFiles looks at CAs that phones are judged by. An expired one is of no use, and no harm.
func (k *checker) trustFiles(key string, files []string) {
	if len(files) == 0 || k.lacks(key) {
		return
	}
	now, count := k.now(), 0
	var expired []string
	for _, file := range files {
		certs, err := certfile.LoadCertificates(file)
		if err != nil {
			k.failed("trust", file, err)
			return
		}
		for _, c := range certs {
			count++
			switch {
			case now.After(c.NotAfter):
				expired = append(expired, c.Subject.String())
			case !c.IsCA && c.Version >= 3:
				k.warn("trust", file, codeUsage, fmt.Sprintf("%s is no CA certificate (basic constraints)", c.Subject), "name CAs in "+key+", not certificates of phones")
				return
			}
		}
	}
	if len(expired) > 0 {
		k.warn("trust", key, codeExpired, fmt.Sprintf("%d of %d CAs have expired, and so has what is below them: %s", len(expired), count, strings.Join(expired, "; ")),
			"take them out of "+key+"; phones with such certificates authenticate by string or null string")
		return
	}
	k.ok("trust", key, "%d CA%s", count, plural(count))
}
