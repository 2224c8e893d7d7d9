package chain_test

import (
	"math/big"
	"strings"
	"testing"

	"callsign/chain"
)

// TestOddIssuers: what is said where the usual words would send the reader to import what is there already.
func TestOddIssuers(t *testing.T) {
	t.Parallel()
	odd := root("Odd", with(authorityKey([]byte("another key"), nil, nil)))
	renewed := root("Renewed")
	rollover := root("Rollover", without(14, 35), signedWith(ecKey("the key before")))
	short := root("Short", with(basic(true, true, 0)))
	for _, tc := range []struct {
		name      string
		presented [][]byte
		store     []byte
		set       func(*chain.Verifier)
		rule      string // of the first fault, "" for none
		want      string // in its detail or remedy, or in a note
	}{
		{
			name: "stored root whose identifiers disagree", presented: [][]byte{odd.leaf()}, store: odd.cert,
			rule: "anchor_complete", want: "another certificate of its name has issued it",
		},
		{
			name:      "leaf that asks for the former certificate of a renewed CA",
			presented: [][]byte{renewed.leaf(with(authorityKey(nil, usualName("Renewed"), big.NewInt(0x4711))))}, store: renewed.cert,
			rule: "key_identifier", want: "serial 4711",
		},
		{
			name: "root that another key has signed", presented: [][]byte{rollover.leaf(without(35)), rollover.cert}, store: root("Root").cert,
			rule: "issuer_found", want: "import the certificate of CN=Rollover",
		},
		{
			name: "CA below a path length of 0", presented: [][]byte{short.ca("Sub").cert}, store: short.cert,
			set: func(v *chain.Verifier) { v.Usage = chain.CA }, want: "nothing that CN=Sub",
		},
		{
			name: "root for other uses", presented: [][]byte{root("Root").leaf()}, store: root("Root", with(extended(clientEKU))).cert,
			want: "other verifiers take for a limit",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := verifierOf(tc.store)
			if tc.set != nil {
				tc.set(v)
			}
			r := v.Verify(chain.ParseAll(tc.presented), "")
			var said []string
			rule := ""
			for i, f := range r.Faults {
				if i == 0 {
					rule = f.Rule
				}
				said = append(said, f.Detail, f.Remedy)
			}
			for _, n := range r.Notes {
				said = append(said, n.Text)
			}
			if all := strings.Join(said, "\n"); rule != tc.rule || !strings.Contains(all, tc.want) {
				t.Errorf("first rule %q, want %q; %q is not in:\n%s", rule, tc.rule, tc.want, all)
			}
		})
	}
}
