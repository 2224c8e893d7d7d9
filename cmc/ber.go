package cmc

import (
	"errors"
	"fmt"
)

// ASN.1 tags that are compared as whole identifier octets.
const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagBitString   = 0x03
	tagOctetString = 0x04
	tagNull        = 0x05
	tagOID         = 0x06
	tagSequence    = 0x30
	tagSet         = 0x31

	constructed      = 0x20
	classMask        = 0xC0
	tagNumber        = 0x1F
	constructedOctet = tagOctetString | constructed
)

// header is what stands before the contents of an ASN.1 value.
type header struct {
	tag        byte
	size       int // octets of identifier and length
	length     int // octets of contents; unknown when indefinite
	indefinite bool
	minimal    bool // the length is encoded as DER wants it
}

var (
	errShort = errors.New("value is cut short")
	errDepth = fmt.Errorf("values are nested deeper than %d", MaxDepth)
)

// readHeader reads identifier and length at the start of b and makes sure that the contents are there.
func readHeader(b []byte) (header, error) {
	if len(b) < 2 {
		return header{}, errShort
	}
	h := header{tag: b[0], size: 2, minimal: true}
	switch {
	case h.tag&tagNumber == tagNumber:
		return h, errors.New("tag numbers above 30 are not supported")
	case h.tag == 0:
		return h, errors.New("end of contents where none is due")
	case h.tag&(classMask|constructed) == constructed && h.tag != tagSequence && h.tag != tagSet && h.tag != constructedOctet:
		return h, fmt.Errorf("constructed value of universal tag %d", h.tag&tagNumber)
	}
	switch l := b[1]; {
	case l < 0x80:
		h.length = int(l)
	case l == 0x80:
		h.indefinite = true
		return h, nil
	default:
		n := int(l & 0x7F)
		// Four octets hold every length below our limits; BER allows leading zeros, DER does not.
		if n > 4 || len(b) < 2+n {
			return h, errShort
		}
		for _, c := range b[2 : 2+n] {
			h.length = h.length<<8 | int(c)
		}
		h.size += n
		h.minimal = b[2] != 0 && h.length >= 0x80
	}
	if h.length < 0 || h.length > len(b)-h.size {
		return h, errShort
	}
	return h, nil
}

// toDER returns the BER value ber with definite, minimal lengths and primitive OCTET STRINGs. Contents of primitive
// values stay as they are. It refuses values nested deeper than MaxDepth and anything after the value. The result is never
// longer than ber by more than one octet for each nested value; the caller limits the length of ber.
func toDER(ber []byte) ([]byte, error) {
	if len(ber) > 0 && isDERLengths(ber, 0) {
		return ber, nil
	}
	out, n, err := transcode(make([]byte, 0, len(ber)), ber, 0)
	if err != nil {
		return nil, err
	}
	if n != len(ber) {
		return nil, fmt.Errorf("%d octets after the value", len(ber)-n)
	}
	return out, nil
}

// isDERLengths reports whether transcode would change nothing, which saves a copy for nearly every message.
func isDERLengths(b []byte, depth int) bool {
	for first := true; len(b) > 0; first = false {
		if depth == 0 && !first {
			return false
		}
		h, err := readHeader(b)
		if err != nil || h.indefinite || !h.minimal || h.tag == constructedOctet || depth > MaxDepth {
			return false
		}
		if h.tag&constructed != 0 && !isDERLengths(b[h.size:h.size+h.length], depth+1) {
			return false
		}
		b = b[h.size+h.length:]
	}
	return true
}

// transcode appends the DER of the first value of b to out and returns how much of b it was.
func transcode(out, b []byte, depth int) ([]byte, int, error) {
	if depth > MaxDepth {
		return nil, 0, errDepth
	}
	h, err := readHeader(b)
	if err != nil {
		return nil, 0, err
	}
	if h.tag&constructed == 0 {
		if h.indefinite {
			return nil, 0, errors.New("primitive value of indefinite length")
		}
		out = appendTLV(out, h.tag, b[h.size:h.size+h.length])
		return out, h.size + h.length, nil
	}
	if h.tag == constructedOctet {
		contents, n, err := joinOctets(nil, b, depth)
		if err != nil {
			return nil, 0, err
		}
		return appendTLV(out, tagOctetString, contents), n, nil
	}
	var contents []byte
	n, err := children(b, h, func(rest []byte) (int, error) {
		var n int
		var err error
		contents, n, err = transcode(contents, rest, depth+1)
		return n, err
	})
	if err != nil {
		return nil, 0, err
	}
	return appendTLV(out, h.tag, contents), n, nil
}

// joinOctets appends the octets of a primitive or constructed OCTET STRING to out and returns how much of b it was.
func joinOctets(out, b []byte, depth int) ([]byte, int, error) {
	if depth > MaxDepth {
		return nil, 0, errDepth
	}
	h, err := readHeader(b)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case h.tag == tagOctetString && !h.indefinite:
		return append(out, b[h.size:h.size+h.length]...), h.size + h.length, nil
	case h.tag != constructedOctet:
		return nil, 0, errors.New("constructed OCTET STRING holds something else")
	}
	n, err := children(b, h, func(rest []byte) (int, error) {
		var n int
		var err error
		out, n, err = joinOctets(out, rest, depth+1)
		return n, err
	})
	return out, n, err
}

// children calls child for each value inside the constructed value b with header h; child returns how much it took. It
// returns how much of b the whole value was, with the end-of-contents octets of an indefinite length.
func children(b []byte, h header, child func(rest []byte) (int, error)) (int, error) {
	rest := b[h.size:]
	if !h.indefinite {
		rest = rest[:h.length]
	}
	used := h.size
	for {
		switch {
		case h.indefinite && len(rest) < 2:
			return 0, errShort
		case h.indefinite && rest[0] == 0 && rest[1] == 0:
			return used + 2, nil
		case !h.indefinite && len(rest) == 0:
			return used, nil
		}
		n, err := child(rest)
		if err != nil {
			return 0, err
		}
		used += n
		rest = rest[n:]
	}
}

// appendTLV appends identifier, DER length and contents.
func appendTLV(out []byte, tag byte, contents []byte) []byte {
	out = append(out, tag)
	n := len(contents)
	switch {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 1<<8:
		out = append(out, 0x81, byte(n))
	case n < 1<<16:
		out = append(out, 0x82, byte(n>>8), byte(n))
	case n < 1<<24:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	default:
		out = append(out, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, contents...)
}

// checkDER makes sure that b is a row of values in strict DER: definite minimal lengths at every depth, no constructed
// strings, minimal INTEGERs, BOOLEANs of 00 or FF and well-formed NULLs, object identifiers and BIT STRINGs. The order of
// SET OF is not checked: nobody keeps it in PKCS#10, and no check of ours depends on it.
func checkDER(b []byte, depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	for len(b) > 0 {
		h, err := readHeader(b)
		if err != nil {
			return err
		}
		if h.indefinite || !h.minimal {
			return errors.New("length is not DER")
		}
		contents := b[h.size : h.size+h.length]
		switch {
		case h.tag&constructed == 0:
			err = checkPrimitive(h.tag, contents)
		case h.tag == constructedOctet:
			err = errors.New("constructed OCTET STRING")
		default:
			err = checkDER(contents, depth+1)
		}
		if err != nil {
			return err
		}
		b = b[h.size+h.length:]
	}
	return nil
}

// checkPrimitive checks the contents of a primitive value.
func checkPrimitive(tag byte, c []byte) error {
	bad := false
	switch tag {
	case tagSequence &^ constructed, tagSet &^ constructed:
		bad = true
	case tagBoolean:
		bad = len(c) != 1 || c[0] != 0 && c[0] != 0xFF
	case tagInteger, 0x0A: // and ENUMERATED
		bad = len(c) == 0 || len(c) > 1 && (c[0] == 0 && c[1] < 0x80 || c[0] == 0xFF && c[1] >= 0x80)
	case tagBitString:
		bad = len(c) == 0 || c[0] > 7 || len(c) == 1 && c[0] != 0 || c[len(c)-1]&(1<<c[0]-1) != 0 && len(c) > 1
	case tagNull:
		bad = len(c) != 0
	case tagOID:
		bad = len(c) == 0 || c[len(c)-1]&0x80 != 0
	}
	if bad {
		return fmt.Errorf("value of universal tag %d is not DER", tag)
	}
	return nil
}
