package cmc

import (
	"net/http"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Bag is what a SignedData carries beside its content, in the order received, as DER that nobody has parsed.
type Bag struct {
	Certificates [][]byte
	CRLs         [][]byte
}

// ReadBag returns the certificates and CRLs of any SignedData, in DER or BER. It is for showing and judging them one by
// one: unlike ParseCertsOnly it keeps certificates that crypto/x509 refuses, accepts a message with content and signers,
// whose signatures it does not look at, and finds an empty bag no fault. Attribute certificates and revocation
// information other than CRLs are left out. Errors are *Problem with CodeMalformed; HTTP is 413 for a message of more
// than maxOctets octets or maxMembers certificates and CRLs. The Bag may share memory with msg.
func ReadBag(msg []byte, maxOctets, maxMembers int) (Bag, error) {
	if len(msg) > maxOctets {
		return Bag{}, tooMuch("the message has %d octets, at most %d are allowed", len(msg), maxOctets)
	}
	// First as it is: the transcoder would mend, and so change, a certificate that is not DER itself.
	bag, p := readBag(msg, maxMembers)
	if p == nil || p.HTTP == http.StatusRequestEntityTooLarge {
		return bag, asError(p)
	}
	der, err := toDER(msg)
	if err != nil {
		return Bag{}, malformed("the message is no BER value").because(err)
	}
	bag, p = readBag(der, maxMembers)
	return bag, asError(p)
}

// asError keeps a nil *Problem from becoming an error that is not nil.
func asError(p *Problem) error {
	if p == nil {
		return nil
	}
	return p
}

func tooMuch(format string, a ...any) *Problem {
	p := malformed(format, a...)
	p.HTTP = http.StatusRequestEntityTooLarge
	return p
}

// readBag reads the fields of a SignedData (RFC 5652 section 5.1) up to the CRLs.
func readBag(der []byte, maxMembers int) (Bag, *Problem) {
	sd, p := openContentInfo(der)
	if p != nil {
		return Bag{}, p
	}
	var version int
	var certificates, crls cryptobyte.String
	var present bool
	if !sd.ReadASN1Integer(&version) || !sd.SkipASN1(casn1.SET) || !sd.SkipASN1(casn1.SEQUENCE) ||
		!sd.ReadOptionalASN1(&certificates, &present, context0Constructed) ||
		!sd.ReadOptionalASN1(&crls, &present, context1Constructed) || !sd.PeekASN1Tag(casn1.SET) {
		return Bag{}, malformed("the SignedData is not well-formed")
	}
	var bag Bag
	for _, part := range []struct {
		in  cryptobyte.String
		out *[][]byte
	}{{certificates, &bag.Certificates}, {crls, &bag.CRLs}} {
		for !part.in.Empty() {
			v, ok := readAny(&part.in)
			if !ok {
				return Bag{}, malformed("the certificates or CRLs of the SignedData are not well-formed")
			}
			if v[0] != tagSequence {
				continue
			}
			if len(bag.Certificates)+len(bag.CRLs) == maxMembers {
				return Bag{}, tooMuch("the message has more than %d certificates and CRLs", maxMembers)
			}
			*part.out = append(*part.out, v)
		}
	}
	return bag, nil
}
