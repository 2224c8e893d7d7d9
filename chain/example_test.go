package chain_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"callsign/chain"
)

// load reads the certificates of a PEM file of the corpus.
func load(name string) []*chain.Certificate {
	data, err := os.ReadFile("testdata/edge/" + name)
	if err != nil {
		panic(err)
	}
	var certs []*chain.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		certs = append(certs, chain.Parse(block.Bytes))
	}
	return certs
}

// lastNovember is the clock of the examples.
func lastNovember() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

func ExampleVerifier_Verify() {
	v := &chain.Verifier{Anchors: chain.NewStore(load("trust.pem")...).Named("tomcat-trust"), Now: lastNovember}
	result := v.Verify(load("leaf/expired-wrongname.pem"), "cucm.lab.test")
	for _, f := range result.Faults {
		fmt.Println(f.Code, "at", f.Depth)
		fmt.Println("  found:   ", f.Actual)
		fmt.Println("  expected:", f.Expected)
	}
	// Output:
	// expired at 0
	//   found:    valid until 2025-12-31T23:59:59Z
	//   expected: valid at 2026-11-20T12:00:00Z
	// name_mismatch at 0
	//   found:    other.lab.test, CN=other.lab.test
	//   expected: cucm.lab.test
}

// A path that is accepted says what it is made of.
func ExampleResult() {
	v := &chain.Verifier{Anchors: chain.NewStore(load("trust.pem")...), Now: lastNovember}
	result := v.Verify(load("leaf/good-unordered.pem"), "CUCM.lab.test.")
	fmt.Println(result.OK(), result.Name)
	for depth, c := range result.Path {
		fmt.Println(depth, c.Subject())
	}
	fmt.Println("verified", result.SignatureChecks, "signatures")
	// Output:
	// true cucm.lab.test
	// 0 CN=cucm.lab.test,OU=Test,O=Edge Lab,C=BE
	// 1 CN=Edge Lab Issuing A2,OU=Test,O=Edge Lab,C=BE
	// 2 CN=Edge Lab Issuing A1,OU=Test,O=Edge Lab,C=BE
	// 3 CN=Edge Lab Root A,OU=Test,O=Edge Lab,C=BE
	// verified 3 signatures
}

// The error of a result has a stable code, what to do, and the words that other programs use for it.
func ExampleResult_Err() {
	v := &chain.Verifier{Anchors: chain.NewStore(load("trust.pem")...), Now: lastNovember}
	err := v.Verify(load("leaf/selfsigned.pem"), "cucm.lab.test").Err()
	if refused, ok := errors.AsType[*chain.Error](err); ok {
		fmt.Println(refused.Code())
		fmt.Println(refused.Curl().Text)
		words := refused.Faults[0].OpenSSL()
		fmt.Printf("error %d at %d depth lookup: %s\n", words.Number, words.Depth, words.Text)
	}
	// Output:
	// self_signed
	// SSL certificate problem: self signed certificate
	// error 18 at 0 depth lookup: self-signed certificate
}

// A stored intermediate is no anchor by itself. Each certificate of a store may have settings of its own.
func ExampleStore_Add() {
	intermediate := load("ca/int-b-store.pem")[0]
	presented := load("leaf/int-without-root.pem")
	store := chain.NewStore(intermediate)
	v := &chain.Verifier{Anchors: store, Now: lastNovember}
	fmt.Println(v.Verify(presented, "cucm.lab.test").Faults[0].Code)

	store.Add(chain.Anchor{Certificate: intermediate, Partial: true})
	fmt.Println(v.Verify(presented, "cucm.lab.test").OK())
	// Output:
	// incomplete_anchor
	// true
}

// Profiles ask for more and more: what an enterprise lives with, what RFC 5280 asks of a CA, what public clients ask for.
func ExampleProfile() {
	leaf := load("leaf/cn-only.pem")
	for p := chain.Deployment; p <= chain.WebPKI; p++ {
		v := &chain.Verifier{Anchors: chain.NewStore(load("trust.pem")...), Profile: p, Now: lastNovember}
		result := v.Verify(leaf, "cucm.lab.test")
		fmt.Print(p, ":")
		for _, f := range result.Faults {
			fmt.Print(" ", f.Rule)
		}
		fmt.Println()
	}
	// Output:
	// deployment:
	// strict: reference_name
	// webpki: reference_name alt_name_present
}

// A certificate that does not parse is one whose Err says why.
func ExampleParse() {
	c := chain.Parse([]byte("-----BEGIN CERTIFICATE-----"))
	fmt.Println(c.X509() == nil, c.Subject())
	fmt.Println(c.Err())
	// Output:
	// true (unreadable)
	// malformed certificate
}
