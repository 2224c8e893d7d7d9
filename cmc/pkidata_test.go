package cmc

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestPKIDataRefusals(t *testing.T) {
	t.Parallel()
	seq := func(parts ...string) string {
		b := appendTLV(nil, tagSequence, unhex(t, strings.Join(parts, "")))
		return hex.EncodeToString(b)
	}
	control := "3010020101060355040331" + "06" + "0404" + "00000000"
	for _, c := range []struct {
		name, der string
		ok        bool
	}{
		{"empty", seq("3000", "3000", "3000", "3000"), true},
		{"a control", seq(seq(control), "3000", "3000", "3000"), true},
		{"highest body part", seq(seq(seq("020500ffffffff", "0603550403", "3100")), "3000", "3000", "3000"), true},
		{"three sequences", seq("3000", "3000", "3000"), false},
		{"five sequences", seq("3000", "3000", "3000", "3000", "3000"), false},
		{"octets after", seq("3000", "3000", "3000", "3000") + "0500", false},
		{"no SEQUENCE", "0500", false},
		{"body part too high", seq(seq(seq("02050100000000", "0603550403", "3100")), "3000", "3000", "3000"), false},
		{"negative body part", seq(seq(seq("0201ff", "0603550403", "3100")), "3000", "3000", "3000"), false},
		{"control without values", seq(seq(seq("020101", "0603550403")), "3000", "3000", "3000"), false},
		{"control of a wrong type", seq(seq("0500"), "3000", "3000", "3000"), false},
		{"most controls", seq(seq(strings.Repeat(seq("020101", "0603550403", "3100"), MaxControls)), "3000", "3000", "3000"), true},
		{"too many controls", seq(seq(strings.Repeat(seq("020101", "0603550403", "3100"), MaxControls+1)), "3000", "3000", "3000"), false},
		{"unknown kind of request", seq("3000", seq("a3030201"+"01"), "3000", "3000"), false},
		{"untagged request", seq("3000", seq(seq("020101", "3000")), "3000", "3000"), false},
		{"tcr with something after", seq("3000", seq("a007020101"+"3000"+"0500"), "3000", "3000"), false},
		{"crm without certReqId", seq("3000", seq("a1023000"), "3000", "3000"), false},
		{"orm without value", seq("3000", seq("a2080201010603550403"), "3000", "3000"), false},
		{"cms without content type", seq("3000", "3000", seq(seq("020101", "3000")), "3000"), false},
		{"other message without value", seq("3000", "3000", "3000", seq(seq("020101", "0603550403"))), false},
		{"other message", seq("3000", "3000", "3000", seq(seq("020101", "0603550403", "0500"))), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			der := unhex(t, c.der)
			d, err := ParsePKIData(der)
			if (err == nil) != c.ok || err != nil && code(err) != CodeMalformed {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				return
			}
			if got, err := d.Marshal(); err != nil || !bytes.Equal(got, der) {
				t.Errorf("written back: %x, %v", got, err)
			}
		})
	}
	if _, err := ParsePKIData(make([]byte, MaxMessage+1)); code(err) != CodeMalformed {
		t.Errorf("too long: %v", err)
	}
}
