package est_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"callsign/est"
)

// A server: a Backend behind a Handler behind NewServer.
func ExampleNewServer() {
	var backend est.Backend         // the registration authority
	var certificate tls.Certificate // the server's own
	handler := &est.Handler{Backend: backend}
	server := est.NewServer(handler, &tls.Config{Certificates: []tls.Certificate{certificate}}, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:8084")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.ServeTLS(listener, "", ""))
}

// A client that comes back when the server asks it to.
func ExampleClient_SimpleEnroll() {
	var anchors *x509.CertPool // who may have issued the server's certificate
	var csr []byte             // DER PKCS#10
	client := &est.Client{
		URL:  "https://ra.example.com:8084/.well-known/est",
		TLS:  &tls.Config{RootCAs: anchors, MinVersion: tls.VersionTLS12},
		User: "capf", Password: est.Password("from a file"),
	}
	defer client.Close()
	for {
		cert, err := client.SimpleEnroll(context.Background(), csr)
		if later, ok := errors.AsType[*est.RetryError](err); ok {
			time.Sleep(later.After)
			continue
		}
		if err != nil {
			log.Println(err)
			return
		}
		fmt.Println(cert.Subject)
		return
	}
}

func ExamplePassword() {
	fmt.Println(est.Password("secret"))
	// Output: [redacted]
}

func ExampleLibESTError() {
	fmt.Printf("Enrollment rv = %d (%v)\n", est.LibESTSSLRead, est.LibESTSSLRead)
	// Output: Enrollment rv = 35 (EST_ERR_SSL_READ)
}

func ExampleCheckLabel() {
	fmt.Println(est.CheckLabel("phones"))
	fmt.Println(est.CheckLabel("csrattrs"))
	// Output:
	// <nil>
	// label is the name of an operation
}
