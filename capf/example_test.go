package capf_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"time"

	"callsign/capf"
)

// signer is a Service that gives every phone a certificate at once, signed by a CA.
type signer struct {
	ca  *x509.Certificate
	key any
}

// Open implements capf.Service.
func (s *signer) Open(_ context.Context, c capf.Caller) (capf.Session, error) {
	if c.Device != "SEP0000000000D1" {
		return nil, &capf.Refusal{Reason: capf.ReasonUnknownDevice, Result: capf.ResultFail}
	}
	return &signing{signer: s, device: c.Device}, nil
}

type signing struct {
	*signer
	device string
}

func (s *signing) Task() capf.Task {
	return capf.Task{Operation: capf.OperationInstall, Keys: []capf.KeySpec{{Type: capf.KeyEC, Bits: 256}}}
}

func (s *signing) Issue(_ context.Context, spki []byte) ([]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: s.device},
		NotBefore: time.Now().Add(-5 * time.Minute), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	return x509.CreateCertificate(rand.Reader, template, s.ca, pub, s.key)
}

func (s *signing) Stored(_ context.Context, _ []byte, r capf.Reason) error {
	fmt.Println("the phone answered:", r)
	return nil
}

func (s *signing) Fetched(context.Context, []capf.CertificateEntry, capf.Reason) error { return nil }

func (s *signing) Deleted(context.Context, capf.Reason) error { return nil }

func (s *signing) Abort(_ context.Context, cause error) { fmt.Println("aborted:", cause) }

// A server that signs by itself, and a phone that calls it. In production the server has a TLS configuration and the
// phone calls Client.Dial.
func Example() {
	key, err := capf.GenerateKey(capf.KeySpec{Type: capf.KeyEC, Bits: 256})
	if err != nil {
		log.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CAPF-example"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(5, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	server := &capf.Server{Service: &signer{ca: ca, key: key}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(context.Background(), listener, capf.Transport{Plain: true}) }()

	for _, name := range []string{"SEP0000000000D1", "SEP0000000000D2"} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		phone := &capf.Client{Device: name, Keeper: &capf.Memory{}}
		out, err := phone.Run(context.Background(), conn)
		_ = conn.Close()
		if end, ok := errors.AsType[*capf.EndError](err); ok {
			fmt.Printf("%s: %s\n", name, end.Code())
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		cert, err := x509.ParseCertificate(out.Certificate)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %v for CN=%s, session %d\n", name, out.Operation, cert.Subject.CommonName, out.Session)
	}
	if err := server.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-done)
	// Output:
	// the phone answered: UPDATE_CERTIFICATE
	// SEP0000000000D1: install for CN=SEP0000000000D1, session 1
	// SEP0000000000D2: capf.unknown-device
	// server stopped
}

// Reading a message from the bytes of a capture.
func ExampleParseMessage() {
	m, err := capf.ParseMessage([]byte("\x55\x03\x00\x00\x00\x01\x00\x09\x0a\x00\x02\x08\x00\x11\x00\x01\x00"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Command)
	for _, e := range m.Elements {
		fmt.Printf("  %v % x\n", e.Tag, e.Value)
	}
	// Output:
	// KEY_GENERATE_REQUEST
	//   KEY_SIZE (10) 08 00
	//   KEY_TYPE (17) 00
}
