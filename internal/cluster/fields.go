package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"callsign/internal/cluster/purpose"
	"callsign/internal/explain"
)

// Fields are the fields of a request or of a self-signed certificate, as somebody fills them in. Only Purpose has to be
// given; what else is empty is chosen as the call manager does.
type Fields struct {
	Purpose string // "tomcat"; case counts
	// Node is the host name or FQDN of the node that makes the request. Empty: the publisher, or the node that has the
	// purpose when the publisher does not (of several that only for a multi-server request, the first).
	Node  string
	Multi bool // Multi-server(SAN): one certificate for every node
	// CommonName replaces the purpose's own one, to which "-ms" is added in a multi-server request.
	CommonName string
	// ParentDomain is the first of the names. Nil: the cluster's domain. Empty: none, and then a request of one node
	// without an alternate host name has no names at all.
	ParentDomain *string
	// Others are further names of a multi-server request, each an FQDN.
	Others    []string
	Key       KeySpec // zero: RSA 2048 or EC 384 by purpose, in FIPS mode EC 256
	Hash      Hash    // empty: SHA256, or the weakest that fits the key
	IncludeOU bool    // in requests; self-signed certificates always have the organisational units
}

// KeySpec is a kind of key with its length. A field that is zero leaves the choice to the purpose.
type KeySpec struct {
	Type purpose.KeyType
	Bits int
}

// keyLengths are the lengths of keys in bits, ascending.
var keyLengths = map[purpose.KeyType][]int{purpose.RSA: {1024, 2048, 3072, 4096}, purpose.EC: {256, 384, 521}}

// KeySpecs returns the keys that a certificate may have, the shortest first; none for an unknown type.
func KeySpecs(t purpose.KeyType) []KeySpec {
	var all []KeySpec
	for _, bits := range keyLengths[t] {
		all = append(all, KeySpec{Type: t, Bits: bits})
	}
	return all
}

// DefaultKey returns the key that is made when none is asked for. In FIPS mode it is one that a hash is allowed for.
func DefaultKey(t purpose.KeyType, fips bool) KeySpec {
	switch {
	case t == purpose.RSA:
		return KeySpec{Type: t, Bits: 2048}
	case fips:
		return KeySpec{Type: t, Bits: 256}
	default:
		return KeySpec{Type: t, Bits: 384}
	}
}

// ParseKey reads a key as it is written at the command line: "rsa:2048" or "ec:384", without regard to case. Its errors
// are *Problem with CodeField.
func ParseKey(text string) (KeySpec, error) {
	written := strings.ToLower(text)
	for _, t := range []purpose.KeyType{purpose.RSA, purpose.EC} {
		for _, k := range KeySpecs(t) {
			if written == k.String() {
				return k, nil
			}
		}
		if strings.HasPrefix(written, strings.ToLower(string(t))+":") {
			return KeySpec{}, oneFault(fault{"key " + shown(text) + " has no possible length", "use " + keyTexts(t)})
		}
	}
	return KeySpec{}, oneFault(fault{
		"key " + shown(text) + " is no key type with a length", "use " + keyTexts(purpose.RSA) + ", or " + keyTexts(purpose.EC),
	})
}

// keyTexts lists the keys of a type: "rsa:1024, rsa:2048, rsa:3072 or rsa:4096".
func keyTexts(t purpose.KeyType) string {
	var texts []string
	for _, k := range KeySpecs(t) {
		texts = append(texts, k.String())
	}
	return explain.Alternatives(texts)
}

// String returns the key as ParseKey reads it; empty for the zero value.
func (k KeySpec) String() string {
	if k == (KeySpec{}) {
		return ""
	}
	return strings.ToLower(string(k.Type)) + ":" + strconv.Itoa(k.Bits)
}

// Hashes returns the hash algorithms that sign with this key, the weakest first. In FIPS mode there is none for the longer
// EC keys.
func (k KeySpec) Hashes(fips bool) []Hash {
	all := []Hash{SHA256, SHA384, SHA512}
	if k.Type == purpose.EC {
		// A hash shorter than the key would weaken the signature.
		switch k.Bits {
		case 384:
			all = all[1:]
		case 521:
			all = all[2:]
		}
	}
	if fips {
		all = slices.DeleteFunc(all, func(h Hash) bool { return h != SHA256 })
	}
	return all
}

// Hash is a hash algorithm of signatures.
type Hash string

// The hash algorithms.
const (
	SHA256 Hash = "SHA256"
	SHA384 Hash = "SHA384"
	SHA512 Hash = "SHA512"
)

// ParseHash reads a hash algorithm as it is written at the command line: "sha256", without regard to case. Its errors are
// *Problem with CodeField.
func ParseHash(text string) (Hash, error) {
	for _, h := range []Hash{SHA256, SHA384, SHA512} {
		if strings.ToLower(text) == h.String() {
			return h, nil
		}
	}
	return "", oneFault(fault{"hash " + shown(text) + " is not known here", "use sha256, sha384 or sha512"})
}

// String returns the hash as ParseHash reads it.
func (h Hash) String() string { return strings.ToLower(string(h)) }

// fault is something wrong with one field.
type fault struct {
	what string // names the field and its value
	fix  string
}

// faults collects what is wrong with fields.
type faults []fault

func (f *faults) add(fix, format string, args ...any) {
	*f = append(*f, fault{what: fmt.Sprintf(format, args...), fix: fix})
}

// mostFaults is how many are told: the others are of the same kind, in a list that somebody read from a file.
const mostFaults = 10

// problem returns all faults as one error about an object, or nil.
func (f faults) problem(object string) error {
	if len(f) == 0 {
		return nil
	}
	var what, fix []string
	for i, one := range f {
		if i == mostFaults {
			what = append(what, fmt.Sprintf("and %d faults more", len(f)-i))
			break
		}
		what = append(what, one.what)
		if !slices.Contains(fix, one.fix) {
			fix = append(fix, one.fix)
		}
	}
	detail := strings.Join(what, "; ")
	if object != "" {
		detail = object + ": " + detail
	}
	return &Problem{ErrCode: CodeField, Detail: detail, Fix: strings.Join(fix, "; ")}
}

func oneFault(f fault) error { return faults{f}.problem("") }

// shown quotes a value that somebody wrote, of a long one the beginning.
func shown(value string) string {
	const most = 80
	if runes := []rune(value); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "..."
	}
	return strconv.Quote(value)
}
