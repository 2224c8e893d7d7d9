package upload

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/chain"
)

// kinds of general names: their context-specific tags (RFC 5280 4.2.1.6).
const (
	kindOther     = 0
	kindMail      = 1
	kindDNS       = 2
	kindX400      = 3
	kindDirectory = 4
	kindEDI       = 5
	kindURI       = 6
	kindIP        = 7
	kindID        = 8
	malformed     = -1
)

// hasParts are the kinds whose encoding is constructed.
var hasParts = map[int]bool{kindOther: true, kindX400: true, kindDirectory: true, kindEDI: true}

// generalName is a name of a subjectAltName in a form in which equal names are equal values. Names of different kinds never are.
type generalName struct {
	kind  int
	value string // folded where the kind has no case; octets where it is no text
	shown string
}

// text is the name as openssl writes it.
func (n generalName) text() string { return n.shown }

func (n generalName) is(a netip.Addr) bool { return bytes.Equal([]byte(n.value), a.AsSlice()) }

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// requestNames returns the names that a request asks for, and whether it has the extension at all.
func requestNames(r *x509.CertificateRequest) (names []generalName, has bool, err error) {
	for _, e := range r.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			names, err = parseNames(e.Value)
			return names, true, err
		}
	}
	return nil, false, nil
}

// certificateNames returns the names of a certificate, and whether it has the extension at all.
func certificateNames(x *x509.Certificate) (names []generalName, has bool, err error) {
	for _, e := range x.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			names, err = parseNames(e.Value)
			return names, true, err
		}
	}
	return nil, false, nil
}

// parseNames reads GeneralNames.
func parseNames(der []byte) ([]generalName, error) {
	in := cryptobyte.String(der)
	var list cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errors.New("subjectAltName is no sequence of names")
	}
	var names []generalName
	for !list.Empty() {
		var value, whole cryptobyte.String
		var tag cbasn1.Tag
		rest := list
		if !list.ReadAnyASN1(&value, &tag) || !rest.ReadAnyASN1Element(&whole, &tag) {
			return nil, errors.New("a name in subjectAltName is cut off")
		}
		if tag&0xc0 != 0x80 {
			return nil, fmt.Errorf("a name in subjectAltName has the tag 0x%02x", byte(tag))
		}
		kind, constructed := int(tag&0x1f), tag&0x20 != 0
		if constructed != hasParts[kind] {
			// Nobody reads such a name: it is equal to none but itself.
			names = append(names, generalName{malformed, string(whole), fmt.Sprintf("malformed name:%x", []byte(whole))})
			continue
		}
		names = append(names, newGeneralName(kind, value, whole))
	}
	return names, nil
}

// newGeneralName makes names of one kind comparable: RFC 5280 7.2 to 7.5.
func newGeneralName(kind int, value, whole []byte) generalName {
	text := string(value)
	switch kind {
	case kindDNS:
		return generalName{kind, lower(text), "DNS:" + text}
	case kindMail:
		at := strings.LastIndexByte(text, '@') + 1 // the local part is exact
		return generalName{kind, text[:at] + lower(text[at:]), "email:" + text}
	case kindURI:
		return generalName{kind, foldURI(text), "URI:" + text}
	case kindIP:
		shown := hex.EncodeToString(value)
		if a, ok := netip.AddrFromSlice(value); ok {
			shown = a.String()
		}
		return generalName{kind, text, "IP:" + shown}
	case kindDirectory:
		return generalName{kind, chain.NameKey(value), "directory name:" + hex.EncodeToString(value)}
	case kindID:
		return generalName{kind, text, "registered ID:" + hex.EncodeToString(value)}
	default:
		return generalName{kind, string(whole), kindNames[kind] + ":" + hex.EncodeToString(value)}
	}
}

var kindNames = map[int]string{kindOther: "other name", kindX400: "X.400 address", kindEDI: "EDI party"}

// lower folds ASCII only: a name on the wire is ASCII, and what is not is compared as it is.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// foldURI folds scheme and host (RFC 5280 7.4).
func foldURI(s string) string {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return s
	}
	after, authority := strings.CutPrefix(rest, "//")
	if !authority {
		return lower(scheme) + ":" + rest
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	host := after[:end]
	user := strings.LastIndexByte(host, '@') + 1
	return lower(scheme) + "://" + host[:user] + lower(host[user:]) + after[end:]
}

// difference returns the names of a that are not in b, each once, in the order of a.
func difference(a, b []generalName) []generalName {
	in := map[generalNameKey]bool{}
	for _, n := range b {
		in[n.key()] = true
	}
	var left []generalName
	for _, n := range a {
		if k := n.key(); !in[k] {
			in[k] = true
			left = append(left, n)
		}
	}
	return left
}

type generalNameKey struct {
	kind  int
	value string
}

func (n generalName) key() generalNameKey { return generalNameKey{n.kind, n.value} }

// hasDNS reports whether a DNS name is among names.
func hasDNS(names []generalName, name string) bool {
	return slices.ContainsFunc(names, func(n generalName) bool { return n.kind == kindDNS && n.value == lower(name) })
}

func join(names []generalName) string {
	var all []string
	for i, n := range names {
		if i == 20 {
			all = append(all, fmt.Sprintf("and %d more", len(names)-i))
			break
		}
		all = append(all, n.shown)
	}
	return strings.Join(all, ", ")
}
