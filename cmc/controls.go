package cmc

import (
	"encoding/asn1"
	"errors"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// errNoValue is why a control has no value to read.
var errNoValue = errors.New("the control is missing or has not exactly one value")

// findControl returns the first control of type t, or nil.
func findControl(cs []Control, t asn1.ObjectIdentifier) *Control {
	for i := range cs {
		if cs[i].Type.Equal(t) {
			return &cs[i]
		}
	}
	return nil
}

// octets returns the octets of a control with an OCTET STRING.
func (c *Control) octets() ([]byte, error) {
	if c == nil || len(c.Values) != 1 {
		return nil, errNoValue
	}
	return readOctets(c.Values[0])
}

// integer returns the number of a control with an INTEGER.
func (c *Control) integer() (*big.Int, error) {
	if c == nil || len(c.Values) != 1 {
		return nil, errNoValue
	}
	in := cryptobyte.String(c.Values[0])
	n := new(big.Int)
	if !in.ReadASN1Integer(n) || !in.Empty() {
		return nil, errors.New("not an INTEGER")
	}
	return n, nil
}

// witness is LraPopWitness.
type witness struct {
	pkiDataBodyID uint32
	bodyIDs       []uint32
}

// witness returns the value of an lraPOPWitness control.
func (c *Control) witness() (w witness, err error) {
	if c == nil || len(c.Values) != 1 {
		return w, errNoValue
	}
	in := cryptobyte.String(c.Values[0])
	var seq cryptobyte.String
	var ok bool
	if !in.ReadASN1(&seq, casn1.SEQUENCE) || !in.Empty() {
		return w, errors.New("not an LraPopWitness")
	}
	if w.pkiDataBodyID, ok = readBodyPartID(&seq); !ok {
		return w, errors.New("not an LraPopWitness")
	}
	if w.bodyIDs, ok = readIDs(&seq); !ok || !seq.Empty() {
		return w, errors.New("not an LraPopWitness")
	}
	return w, nil
}

// path returns the value of a raIdentityWitness control.
func (c *Control) path() ([]uint32, error) {
	if c == nil || len(c.Values) != 1 {
		return nil, errNoValue
	}
	in := cryptobyte.String(c.Values[0])
	ids, ok := readIDs(&in)
	if !ok || !in.Empty() {
		return nil, errors.New("not a BodyPartPath")
	}
	return ids, nil
}

// readIDs reads a SEQUENCE OF BodyPartID.
func readIDs(s *cryptobyte.String) ([]uint32, bool) {
	var seq cryptobyte.String
	if !s.ReadASN1(&seq, casn1.SEQUENCE) {
		return nil, false
	}
	var ids []uint32
	for !seq.Empty() {
		id, ok := readBodyPartID(&seq)
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// addIDs adds a SEQUENCE OF BodyPartID.
func addIDs(b *cryptobyte.Builder, ids ...uint32) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, id := range ids {
			b.AddASN1Uint64(uint64(id))
		}
	})
}

// controlWriter numbers controls as it collects them.
type controlWriter struct {
	next     uint32 // body part id
	controls []Control
	err      error
}

// add collects a control with the value that f builds.
func (w *controlWriter) add(t asn1.ObjectIdentifier, f func(*cryptobyte.Builder)) {
	v, err := marshal(f)
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	w.controls = append(w.controls, Control{BodyPartID: w.next, Type: t, Values: [][]byte{v}})
	w.next++
}

// addOctets collects a control with an OCTET STRING, unless b is nil.
func (w *controlWriter) addOctets(t asn1.ObjectIdentifier, b []byte) {
	if b != nil {
		w.add(t, func(out *cryptobyte.Builder) { out.AddASN1OctetString(b) })
	}
}

// addInteger collects a control with an INTEGER, unless n is nil.
func (w *controlWriter) addInteger(t asn1.ObjectIdentifier, n *big.Int) {
	if n != nil {
		w.add(t, func(out *cryptobyte.Builder) { out.AddASN1BigInt(n) })
	}
}
