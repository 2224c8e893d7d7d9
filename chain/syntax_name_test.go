package chain_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"callsign/chain"
)

func TestNameText(t *testing.T) {
	t.Parallel()
	domain, email := asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	unit, common := asn1.ObjectIdentifier{2, 5, 4, 11}, asn1.ObjectIdentifier{2, 5, 4, 3}
	tests := []struct {
		name string
		rdns pkix.RDNSequence
		want string
	}{
		{"empty", pkix.RDNSequence{}, ""},
		{
			"Active Directory",
			pkix.RDNSequence{{{Type: domain, Value: "com"}}, {{Type: domain, Value: "example"}}, {{Type: common, Value: "Corp CA"}}},
			"CN=Corp CA,DC=example,DC=com",
		},
		{
			"two units, one after the other",
			pkix.RDNSequence{{{Type: unit, Value: "Voice"}}, {{Type: unit, Value: "Research, Graz"}}},
			`OU=Research\, Graz,OU=Voice`,
		},
		{"two units in one part", pkix.RDNSequence{{{Type: unit, Value: "A"}, {Type: unit, Value: "B"}}}, "OU=A+OU=B"},
		{"escaped", pkix.RDNSequence{{{Type: email, Value: "a,b@example.com"}}}, `emailAddress=a\,b@example.com`},
		{
			"unknown attribute",
			pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: "x"}}},
			"1.3.6.1.4.1.32473.1=#130178",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			der, err := asn1.Marshal(tt.rdns)
			if err != nil {
				t.Fatal(err)
			}
			if got := chain.NameText(der); got != tt.want {
				t.Errorf("NameText = %q, want %q", got, tt.want)
			}
		})
	}
	if got := chain.NameText([]byte("no name")); got != "(unreadable)" {
		t.Errorf("of no name: %q", got)
	}
}
