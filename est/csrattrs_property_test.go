package est_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"callsign/est"
)

// TestCSRAttrsMalformed: errors say what is wrong.
func TestCSRAttrsMalformed(t *testing.T) {
	t.Parallel()
	template := func(inside string) []byte {
		return sequence(sequence(unhex("060b2a864886f70d010910023d"), set(sequence(unhex(inside)))))
	}
	extensions := func(inside ...[]byte) []byte {
		return sequence(sequence(unhex("06092a864886f70d01090e"), set(sequence(inside...))))
	}
	empty := sequence(unhex("020100a100"))
	for _, tt := range []struct {
		name string
		der  []byte
		want string
	}{
		{"nothing", nil, "not one DER SEQUENCE"},
		{"something follows", []byte{0x30, 0, 0}, "not one DER SEQUENCE"},
		{"too long", make([]byte, 70000), "too many"},
		{"too many", sequence(bytes.Repeat([]byte{6, 1, 42}, 257)), "more than 256"},
		{"bad object identifier", sequence([]byte{6, 1, 0x80}), "element 1"},
		{"attribute without values", sequence(sequence([]byte{6, 1, 42})), "element 1 is a malformed attribute"},
		{"extension twice", extensions(sequence(unhex("0603551d0f0400")), sequence(unhex("0603551d0f0400"))), "comes twice"},
		{"extension without value", extensions(sequence(unhex("0603551d0f"))), "has no value"},
		{"template of version 1", template("020101a100"), "version 1"},
		{"template without attributes", template("020100"), "lacks its attributes"},
		{"template with an empty part", template("02010030023100a100"), "subject"},
		{"template key of no kind", template("020100a000a100"), "no algorithm"},
		{"two templates", sequence(sequence(unhex("060b2a864886f70d010910023d"), set(empty, empty))), "exactly one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if a, err := est.ParseCSRAttrs(tt.der); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, error %v, want %q", a, err, tt.want)
			}
		})
	}
}

func sequence(parts ...[]byte) []byte { return tlv(0x30, parts...) }
func set(parts ...[]byte) []byte      { return tlv(0x31, parts...) }

func tlv(tag byte, parts ...[]byte) []byte {
	der, err := asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 31), IsCompound: tag&32 != 0, Bytes: bytes.Join(parts, nil)})
	if err != nil {
		panic(err)
	}
	return der
}

func unhex(s string) []byte {
	out, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return out
}

func oid(t testing.TB, s string) x509.OID {
	t.Helper()
	o, err := x509.ParseOID(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestCSRAttrsNil: no answer says nothing.
func TestCSRAttrsNil(t *testing.T) {
	t.Parallel()
	var a *est.CSRAttrs
	link, _ := a.WantsLink()
	if link || a.WantsOTP() || a.WantsRevocationChallenge() || !a.Empty() || a.Keys() != nil || a.Extensions() != nil || a.Template() != nil ||
		a.SignatureAlgorithms() != nil || a.Warnings() != nil || a.Names(asn1.ObjectIdentifier{1, 2, 3}) {
		t.Error("nil says something")
	}
	if der, err := a.Marshal(); err != nil || !bytes.Equal(der, []byte{0x30, 0}) {
		t.Errorf("%x, %v", der, err)
	}
}

// TestCSRAttrsRoundTrip: what is written is read as it was meant.
func TestCSRAttrsRoundTrip(t *testing.T) {
	t.Parallel()
	keys := []est.KeySpec{
		{Algorithm: "rsa"},
		{Algorithm: "rsa", Bits: 1024},
		{Algorithm: "rsa", Bits: 2049},
		{Algorithm: "rsa", Bits: 8192},
		{Algorithm: "ec"},
		{Algorithm: "ec", Curve: "p-256"},
		{Algorithm: "ec", Curve: "p-521"},
		{Algorithm: "ed25519"},
	}
	types := []string{"2.5.4.3", "2.5.4.10", "2.25.329800735698586629295641978511506172918", "1.3.6.1.4.1.99999.7"}
	rapid.Check(t, func(r *rapid.T) {
		a := new(est.CSRAttrs)
		for _, s := range rapid.SliceOfN(rapid.SampledFrom(types), 0, 3).Draw(r, "bare") {
			a.Elements = append(a.Elements, est.CSRAttr{Type: oid(t, s)})
		}
		add := func(e est.CSRAttr, err error) {
			if err != nil {
				r.Fatal(err)
			}
			a.Elements = append(a.Elements, e)
		}
		key := rapid.SampledFrom(keys).Draw(r, "key")
		add(est.KeyAttr(key))
		extensions := drawExtensions(r)
		complete := !slices.ContainsFunc(extensions, func(e est.ExtensionTemplate) bool { return e.Value == nil })
		if complete {
			add(est.ExtensionRequestAttr(extensions))
		}
		want := est.CSRTemplate{Extensions: extensions}
		if rapid.Bool().Draw(r, "template") {
			if rapid.Bool().Draw(r, "subject") {
				want.Subject = drawSubject(t, r, types)
			}
			if rapid.Bool().Draw(r, "template key") {
				want.Key = &key
			}
			add(est.TemplateAttr(&want))
		}
		der, err := a.Marshal()
		if err != nil {
			r.Fatal(err)
		}
		b, err := est.ParseCSRAttrs(der)
		if err != nil {
			r.Fatal(err)
		}
		if again, err := b.Marshal(); err != nil || !bytes.Equal(der, again) {
			r.Fatalf("%x becomes %x, %v", der, again, err)
		}
		if got := b.Template(); got != nil {
			if diff := cmp.Diff(&want, got, cmp.Comparer(x509.OID.Equal)); diff != "" {
				r.Fatal(diff)
			}
			return
		}
		if diff := cmp.Diff([]est.KeySpec{key}, b.Keys()); diff != "" {
			r.Fatal(diff)
		}
		if diff := cmp.Diff(extensions, b.Extensions()); complete && diff != "" {
			r.Fatal(diff)
		}
	})
}

func drawSubject(t *testing.T, r *rapid.T, types []string) [][]est.NameAttribute {
	subject := [][]est.NameAttribute{}
	for _, s := range rapid.SliceOfN(rapid.SampledFrom(types), 0, 3).Draw(r, "names") {
		n := est.NameAttribute{Type: oid(t, s)}
		if rapid.Bool().Draw(r, "value") {
			n.Value = tlv(0x0c, []byte(rapid.String().Draw(r, "text")))
		}
		subject = append(subject, []est.NameAttribute{n})
	}
	return subject
}

func drawExtensions(r *rapid.T) []est.ExtensionTemplate {
	var out []est.ExtensionTemplate
	for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(15, 40), 0, 4, rapid.ID[int]).Draw(r, "extensions") {
		e := est.ExtensionTemplate{ID: asn1.ObjectIdentifier{2, 5, 29, n}, Critical: rapid.Bool().Draw(r, "critical")}
		if rapid.Bool().Draw(r, "has a value") {
			e.Value = append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(r, "extension")...)
		}
		out = append(out, e)
	}
	return out
}
