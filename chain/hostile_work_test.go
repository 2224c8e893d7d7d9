package chain_test

import (
	"bytes"
	"fmt"
	"testing"

	"callsign/chain"
)

// fork is a path that ends nowhere, each level of which has two certificates of one name and key, so that there are
// 2^levels paths. What is done once for each path is then done very often.
func fork(levels int, edits ...edit) (issuer *authority, ders [][]byte) {
	issuer = &authority{subject: usualName("Nowhere"), key: ecKey("nowhere")}
	for i := range levels {
		var next *authority
		for range 2 {
			next = issuer.ca(fmt.Sprintf("Fork %d", i), append([]edit{without(14)}, edits...)...)
			ders = append(ders, next.cert)
		}
		issuer = next
	}
	return issuer, ders
}

// manyRDNs is a name of many short parts: the text of all of them would take the square of their number.
func manyRDNs(n int) []byte {
	parts := make([]attribute, n)
	for i := range parts {
		parts[i] = printable(9, "a")
	}
	return nameOf(parts...)
}

// TestWork presents what costs much where nobody counts: each of these took from ten seconds to more than four minutes
// before names were cut, comparisons charged by length and candidates counted. judged gives up after half a minute.
func TestWork(t *testing.T) {
	t.Parallel()
	longName := gnDNS(string(bytes.Repeat([]byte("a."), 60<<10)) + "test")
	manyBases := make(subtrees, 24_000)
	for i := range manyBases {
		manyBases[i] = gnDNS("b")
	}
	manyNames := make([]string, 400_000)
	for i := range manyNames {
		manyNames[i] = "a"
	}
	sameName := nameOf(utf8String(3, "Same"))
	for _, tc := range []struct {
		name string
		make func() [][]byte
		set  func(*chain.Verifier)
	}{
		{name: "subject of 17,000 RDNs on 64 paths", make: func() [][]byte {
			issuer, above := fork(6)
			return append([][]byte{issuer.leaf(named(manyRDNs(17_000)), valid(noon.AddDate(-2, 0, 0), noon.AddDate(-1, 0, 0)))}, above...)
		}},
		{name: "constraint on a directory name of 85,000 RDNs", make: func() [][]byte {
			issuer := root("Root").ca("Issuing", with(constrain(subtrees{gnDirectory(manyRDNs(85_000))}, nil)))
			return [][]byte{issuer.leaf(), issuer.cert}
		}},
		{name: "name of 120 KiB and 24,000 subtrees", make: func() [][]byte {
			issuer := root("Root").ca("Issuing", with(constrain(nil, manyBases)))
			return [][]byte{issuer.leaf(with(alt(longName))), issuer.cert}
		}},
		{name: "10,000 CAs of one name whose signatures nobody can verify", make: func() [][]byte {
			ders := [][]byte{(&authority{subject: sameName, key: ecKey("same")}).leaf(signedAs(unknownScheme))}
			for i := range 10_000 {
				key := spkiFrom(seqOf(oidDER([]int{1, 3, 6, 1, 4, 1, 99999, 9})), []byte{byte(i >> 16), byte(i >> 8), byte(i), 1})
				ders = append(ders, (*authority)(nil).caWithKey(sameName, ecKey("same"), without(14), signedAs(unknownScheme), forKey(key)).cert)
			}
			return ders
		}},
		{name: "levels of ever more policies on 64 paths", make: growingPolicies},
		{name: "400,000 names, none of them wanted, on 64 paths", make: func() [][]byte {
			issuer, above := fork(6)
			return append([][]byte{issuer.leaf(with(altDNS(manyNames...)))}, above...)
		}, set: func(v *chain.Verifier) { v.Profile = chain.WebPKI }},
		{name: "400,000 names and one constraint", make: func() [][]byte {
			issuer := root("Root").ca("Issuing", with(constrain(subtrees{gnDNS("b")}, nil)))
			return [][]byte{issuer.leaf(with(altDNS(manyNames...))), issuer.cert}
		}},
		{name: "20,000 common names beside as many dNSNames", make: func() [][]byte {
			parts := make([]attribute, 20_000)
			for i := range parts {
				parts[i] = printable(3, fmt.Sprintf("cn%d", i))
			}
			issuer := root("Root").ca("Issuing")
			return [][]byte{issuer.leaf(named(nameOf(parts...)), with(altDNS(manyNames[:20_000]...))), issuer.cert}
		}, set: func(v *chain.Verifier) { v.Profile = chain.WebPKI }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := verifierOf(root("Root").cert)
			if tc.set != nil {
				tc.set(v)
			}
			r := judged(t, v, chain.ParseAll(tc.make()), host)
			if r.OK() {
				t.Error("accepted")
			}
			if n := len(r.Err().Error()); n > 8<<10 {
				t.Errorf("the error has %d octets", n)
			}
		})
	}
}

// growingPolicies is a path of 18 CAs, each of which adds 250 policies to those above and maps 250.
func growingPolicies() [][]byte {
	issuer := &authority{subject: usualName("Nowhere"), key: ecKey("nowhere")}
	next := 1
	fresh := func(n int) (ids []int) {
		for range n {
			ids = append(ids, next)
			next++
		}
		return ids
	}
	var ders [][]byte
	for i := range 18 {
		var pairs [][2]int
		for _, id := range fresh(250) {
			pairs = append(pairs, [2]int{id, id + 250})
		}
		extensions := with(policies(append([]int{0}, fresh(250)...)...), mappings(pairs...))
		width := 1
		if i < 6 {
			width = 2 // 64 paths
		}
		var above *authority
		for range width {
			above = issuer.ca(fmt.Sprintf("Level %d", i), extensions, without(14))
			ders = append(ders, above.cert)
		}
		issuer = above
	}
	return append([][]byte{issuer.leaf(with(policies(fresh(250)...)))}, ders...)
}
