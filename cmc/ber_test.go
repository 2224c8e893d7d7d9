package cmc

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestToDER(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"DER stays", "30030201ff", "30030201ff"},
		{"indefinite", "30800201010000", "3003020101"},
		{"indefinite in indefinite", "3080318002010100000000", "30053103020101"},
		{"length with a leading zero", "3082000302010" + "1", "3003020101"},
		{"long form of a short length", "308103020101", "3003020101"},
		{"constructed OCTET STRING", "2406040161040162", "04026162"},
		{"constructed OCTET STRING in another", "248024800401610000" + "0401620000", "04026162"},
		{"empty constructed OCTET STRING", "24800000", "0400"},
		{"context tags", "a080a1030201010000", "a005a103020101"},
		{"nothing", "", ""},
		{"no length", "30", ""},
		{"cut short", "30050201", ""},
		{"no end of contents", "3080020101", ""},
		{"octets after", "30000500", ""},
		{"primitive of indefinite length", "04800000", ""},
		{"constructed BIT STRING", "2303030100", ""},
		{"constructed UTF8String", "2c030c0161", ""},
		{"OCTET STRING of something else", "2403020101", ""},
		{"tag above 30", "3f8101020101", ""},
		{"length of five octets", "3085000000000100", ""},
		{"length beyond everything", "3084ffffffff00", ""},
		{"end of contents in a definite value", "30020000", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := toDER(unhex(t, c.in))
			if (err == nil) != (c.want != "") || err == nil && hex.EncodeToString(got) != c.want {
				t.Errorf("got %x, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestToDERDepth(t *testing.T) {
	t.Parallel()
	nest := func(n int, begin, end string) []byte {
		return unhex(t, string(bytes.Repeat([]byte(begin), n))+"0500"+string(bytes.Repeat([]byte(end), n)))
	}
	if _, err := toDER(nest(MaxDepth, "3080", "0000")); err != nil {
		t.Errorf("depth %d: %v", MaxDepth, err)
	}
	for _, begin := range []string{"3080", "2480"} {
		if _, err := toDER(nest(MaxDepth+1, begin, "0000")); err == nil {
			t.Errorf("depth %d of %s was accepted", MaxDepth+1, begin)
		}
	}
	// An unclosed tower as high as a message may be long must end quickly, not in the stack.
	if _, err := toDER(bytes.Repeat([]byte{0x30, 0x80}, MaxMessage/2)); err == nil {
		t.Error("an unclosed tower was accepted")
	}
}

func TestCheckDER(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"two values", "0500020101", true},
		{"negative INTEGER", "0201ff", true},
		{"INTEGER with a needed zero", "02020080", true},
		{"INTEGER with a spare zero", "02020001", false},
		{"INTEGER with a spare FF", "0202ff80", false},
		{"INTEGER of nothing", "0200", false},
		{"TRUE", "0101ff", true},
		{"TRUE in BER", "010101", false},
		{"NULL with contents", "050100", false},
		{"object identifier cut short", "060188", false},
		{"object identifier of nothing", "0600", false},
		{"BIT STRING", "03020780", true},
		{"BIT STRING with padding bits set", "030207c1", false},
		{"BIT STRING without its first octet", "0300", false},
		{"BIT STRING of nothing with padding", "030103", false},
		{"nine padding bits", "03020900", false},
		{"long form", "04810161", false},
		{"indefinite", "30800000", false},
		{"constructed OCTET STRING", "2403040161", false},
		{"primitive SEQUENCE", "1000", false},
		{"end of contents", "0000", false},
	} {
		if err := checkDER(unhex(t, c.in), 0); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestAppendTLV reads lengths of every size back.
func TestAppendTLV(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000} {
		v := appendTLV(nil, tagOctetString, make([]byte, n))
		h, err := readHeader(v)
		if err != nil || h.length != n || !h.minimal || h.size+n != len(v) {
			t.Errorf("length %d: %+v, %v", n, h, err)
		}
	}
}
