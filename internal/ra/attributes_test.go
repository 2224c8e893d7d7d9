package ra_test

import (
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ra"
)

// dump is DER in short words: 30[...] for a SEQUENCE, the OIDs as such, other contents in hexadecimal or as text.
func dump(t testing.TB, der []byte) string {
	t.Helper()
	var words []string
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		check(t, err)
		switch {
		case v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOID:
			var oid asn1.ObjectIdentifier
			_, err := asn1.Unmarshal(v.FullBytes, &oid)
			check(t, err)
			words = append(words, oid.String())
		case v.IsCompound:
			words = append(words, fmt.Sprintf("%02x[%s]", v.FullBytes[0], dump(t, v.Bytes)))
		case v.Tag == asn1.TagOctetString && v.Class == asn1.ClassUniversal:
			words = append(words, fmt.Sprintf("04(%s)", dump(t, v.Bytes)))
		case v.Tag == asn1.TagUTF8String || v.Tag == asn1.TagPrintableString || v.Tag == asn1.TagIA5String:
			words = append(words, fmt.Sprintf("%02x%q", v.FullBytes[0], v.Bytes))
		case len(v.Bytes) > 20:
			words = append(words, fmt.Sprintf("%02x(%d octets)", v.FullBytes[0], len(v.Bytes)))
		default:
			words = append(words, fmt.Sprintf("%02x%x", v.FullBytes[0], v.Bytes))
		}
		der = rest
	}
	return strings.Join(words, " ")
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	const (
		rsa, ec, ed    = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.112"
		p256           = "1.2.840.10045.3.1.7"
		template       = "30[1.2.840.113549.1.9.16.2.61 31[30["
		extReq         = "1.2.840.113549.1.9.14"
		extReqTemplate = "1.2.840.113549.1.9.16.2.62"
		clientAuth     = "30[2.5.29.37 04(30[1.3.6.1.5.5.7.3.2])]"
		anyCN          = "31[30[2.5.4.3]]"
		aName          = "30[2.5.29.17]"
	)
	for _, tt := range []struct {
		name  string
		rules ra.Rules
		want  string
	}{
		{"nothing to say", ra.Rules{}, ""},
		{"any name", ra.Rules{Names: []string{"any"}}, ""},
		{"no name", ra.Rules{Names: []string{"none"}}, ""},
		{"one curve", ra.Rules{Keys: []string{"p-384"}}, "30[30[" + ec + " 31[1.3.132.0.34]]]"},
		{"RSA of one length", ra.Rules{Keys: []string{"rsa:4096"}}, "30[30[" + rsa + " 31[021000]]]"},
		{"RSA of several lengths", ra.Rules{Keys: []string{"rsa:2048-4096"}}, "30[30[" + rsa + " 31[]]]"},
		{"Ed25519", ra.Rules{Keys: []string{"ed25519"}}, "30[30[" + ed + " 31[]]]"},
		{
			"several kinds of keys",
			ra.Rules{Keys: []string{"rsa:2048", "rsa:3072-4096", "p-256", "p-521", "ed25519"}},
			"30[" + rsa + " " + ec + " " + p256 + " 1.3.132.0.35 " + ed + "]",
		},
		{"usages", ra.Rules{Usages: []string{"clientAuth"}}, "30[30[" + extReq + " 31[30[" + clientAuth + "]]]]"},
		{
			"a subject",
			ra.Rules{Subject: "SEP.*", SubjectHas: []string{"OU=myDept", "C=DE", "DC=lab"}},
			"30[" + template + "0200 30[" + anyCN + ` 31[30[2.5.4.11 0c"myDept"]] 31[30[2.5.4.6 13"DE"]] 31[30[0.9.2342.19200300.100.1.25 16"lab"]]] a1[]]]]]`,
		},
		{"attributes of the subject alone", ra.Rules{SubjectHas: []string{"O=x"}}, "30[" + template + `0200 30[31[30[2.5.4.10 0c"x"]]] a1[]]]]]`},
		{"a common name among them", ra.Rules{SubjectIsName: true, SubjectHas: []string{"CN=x"}}, "30[" + template + `0200 30[31[30[2.5.4.3 0c"x"]]] a1[]]]]]`},
		{
			"a subject and a curve",
			ra.Rules{SubjectIsName: true, Keys: []string{"p-256"}},
			"30[30[" + ec + " 31[" + p256 + "]] " + template + "0200 30[" + anyCN + "] a0[30[" + ec + " " + p256 + "]] a1[]]]]]",
		},
		{
			"names and RSA of any length",
			ra.Rules{Names: []string{"dns:*.example.com"}, Keys: []string{"rsa:2048-4096"}},
			"30[30[" + rsa + " 31[]] " + template + "0200 a0[30[" + rsa + " 05]] a1[30[" + extReqTemplate + " 31[30[" + aName + "]]]]]]]]",
		},
		{
			"names and RSA of one length",
			ra.Rules{Names: []string{"ip:10.0.0.0/8"}, Keys: []string{"rsa:2048"}},
			"30[30[" + rsa + " 31[020800]] " + template + "0200 a0[30[" + rsa + " 05] 03(271 octets)] a1[30[" + extReqTemplate + " 31[30[" + aName + "]]]]]]]]",
		},
		{
			"a placeholder that is too long for libEST",
			ra.Rules{Names: []string{"dns:x"}, Keys: []string{"rsa:8192"}},
			"30[30[" + rsa + " 31[022000]] " + template + "0200 a1[30[" + extReqTemplate + " 31[30[" + aName + "]]]]]]]]",
		},
		{
			"a subject and usages",
			ra.Rules{Subject: "x", Usages: []string{"clientAuth"}},
			"30[30[" + extReq + " 31[30[" + clientAuth + "]]] " + template + "0200 30[" + anyCN + "] a1[30[" + extReq + " 31[30[" + clientAuth + "]]]]]]]]",
		},
		{
			"names and usages",
			ra.Rules{Names: []string{"email:*"}, Usages: []string{"clientAuth"}},
			"30[30[" + extReq + " 31[30[" + clientAuth + "]]] " + template + "0200 a1[30[" + extReqTemplate + " 31[30[" + aName + " " + clientAuth + "]]]]]]]]",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			der, err := ra.Attributes(tt.rules)
			check(t, err)
			if d := cmp.Diff(tt.want, dump(t, der)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if len(der) > 740 {
				t.Errorf("%d octets", len(der))
			}
		})
	}
	for _, rules := range []ra.Rules{{Keys: []string{"x"}}, {SubjectHas: []string{"C=Österreich"}}} {
		if _, err := ra.Attributes(rules); err == nil {
			t.Errorf("%+v", rules)
		}
	}
}
