package cmc

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Context tags of the CMS and CMC modules.
var (
	context0            = casn1.Tag(0).ContextSpecific()
	context0Constructed = casn1.Tag(0).ContextSpecific().Constructed()
	context1Constructed = casn1.Tag(1).ContextSpecific().Constructed()
	context2Constructed = casn1.Tag(2).ContextSpecific().Constructed()
)

// algorithm is an AlgorithmIdentifier.
type algorithm struct {
	oid    asn1.ObjectIdentifier
	params []byte // DER, nil when absent
}

// derNull is the DER of NULL.
var derNull = []byte{tagNull, 0}

// noParams reports whether the parameters are absent or NULL.
func (a algorithm) noParams() bool {
	return a.params == nil || bytes.Equal(a.params, derNull)
}

// readAlgorithm reads an AlgorithmIdentifier.
func readAlgorithm(s *cryptobyte.String) (algorithm, bool) {
	var seq cryptobyte.String
	var a algorithm
	if !s.ReadASN1(&seq, casn1.SEQUENCE) || !seq.ReadASN1ObjectIdentifier(&a.oid) {
		return a, false
	}
	if seq.Empty() {
		return a, true
	}
	var ok bool
	a.params, ok = readAny(&seq)
	return a, ok && seq.Empty()
}

// addAlgorithm appends an AlgorithmIdentifier.
func addAlgorithm(b *cryptobyte.Builder, a algorithm) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(a.oid)
		b.AddBytes(a.params)
	})
}

// readAny reads one value of any kind with its header.
func readAny(s *cryptobyte.String) ([]byte, bool) {
	var v cryptobyte.String
	var tag casn1.Tag
	ok := s.ReadAnyASN1Element(&v, &tag)
	return v, ok
}

// readValues reads all values of s with their headers.
func readValues(s cryptobyte.String) ([][]byte, bool) {
	var vs [][]byte
	for !s.Empty() {
		v, ok := readAny(&s)
		if !ok {
			return nil, false
		}
		vs = append(vs, v)
	}
	return vs, true
}

// setOf returns the contents of a DER SET OF: the encodings in ascending order.
func setOf(encodings [][]byte) []byte {
	sorted := slices.Clone(encodings)
	slices.SortStableFunc(sorted, bytes.Compare)
	return bytes.Join(sorted, nil)
}

// marshal returns what f builds.
func marshal(f func(*cryptobyte.Builder)) ([]byte, error) {
	var b cryptobyte.Builder
	f(&b)
	der, err := b.Bytes()
	if err != nil {
		return nil, unusable("the message cannot be encoded").because(err)
	}
	return der, nil
}

// octets returns the DER of an OCTET STRING.
func octets(b []byte) []byte {
	return appendTLV(nil, tagOctetString, b)
}

// readOctets reads the DER of one OCTET STRING and nothing more.
func readOctets(der []byte) ([]byte, error) {
	s := cryptobyte.String(der)
	var v cryptobyte.String
	if !s.ReadASN1(&v, casn1.OCTET_STRING) || !s.Empty() {
		return nil, errors.New("not an OCTET STRING")
	}
	return v, nil
}
