package chain

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
)

// TestFindEntry finds the same entries without an index and with one, also where serial numbers have the same hash.
func TestFindEntry(t *testing.T) {
	t.Parallel()
	// Two words that are not equal and have the hash of 1<<64 + 7: the upper one makes up for the lower one.
	upper := hashSerial(new(big.Int).SetUint64(7))
	twin := func(low uint64) *big.Int {
		const prime = 1099511628211
		n := new(big.Int).SetUint64(upper*prime ^ 1 ^ low*prime)
		return n.Add(n.Lsh(n, 64), new(big.Int).SetUint64(low))
	}
	if a, b := twin(7), twin(8); hashSerial(a) != hashSerial(b) || a.Cmp(b) == 0 {
		t.Fatalf("%x and %x are no twins", a, b)
	}
	entry := func(n *big.Int, reason int) x509.RevocationListEntry {
		return x509.RevocationListEntry{SerialNumber: n, ReasonCode: reason}
	}
	list := &x509.RevocationList{RevokedCertificateEntries: []x509.RevocationListEntry{
		entry(big.NewInt(1), 0), entry(twin(7), 1), entry(big.NewInt(2), certificateHold), entry(twin(8), 3), entry(big.NewInt(2), 4),
		entry(big.NewInt(3), removeFromCRL), entry(big.NewInt(4), removeFromCRL), entry(big.NewInt(4), 5), entry(big.NewInt(-5), 9),
		entry(big.NewInt(0), 10), entry(big.NewInt(6), 1), entry(big.NewInt(6), certificateHold), entry(big.NewInt(7), certificateHold),
	}}
	for name, tc := range map[string]struct {
		serial *big.Int
		place  int // -1 for none
	}{
		"first":                     {big.NewInt(1), 0},
		"first of one hash":         {twin(7), 1},
		"second of one hash":        {twin(8), 3},
		"third of one hash":         {twin(9), -1},
		"on hold, then for good":    {big.NewInt(2), 4},
		"for good, then on hold":    {big.NewInt(6), 10},
		"on hold":                   {big.NewInt(7), 12},
		"removed":                   {big.NewInt(3), -1},
		"removed, then for good":    {big.NewInt(4), 7},
		"negative":                  {big.NewInt(-5), 8},
		"the same without its sign": {big.NewInt(5), -1},
		"zero":                      {new(big.Int), 9},
		"none":                      {big.NewInt(99), -1},
	} {
		var want *x509.RevocationListEntry
		if tc.place >= 0 {
			want = &list.RevokedCertificateEntries[tc.place]
		}
		l := &crl{RevocationList: list}
		for l.bySerial == nil {
			if got := l.find(tc.serial); got != want {
				t.Errorf("%s: lookup %d found %v, want %v", name, l.lookups, got, want)
			}
		}
		if got := l.find(tc.serial); got != want || l.lookups < 3 {
			t.Errorf("%s: found %v by the index after %d lookups, want %v", name, got, l.lookups, want)
		}
	}
	empty := &crl{RevocationList: new(x509.RevocationList)}
	for range 10 {
		if got := empty.find(big.NewInt(1)); got != nil {
			t.Errorf("an empty list has %v", got)
		}
	}
}

// TestLookedThroughOnce: a large CRL is not read again for each certificate. What changes after that goes unseen.
func TestLookedThroughOnce(t *testing.T) {
	t.Parallel()
	list := &x509.RevocationList{RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(1)}}}
	numbered := func(n int64) *Certificate { return &Certificate{x: &x509.Certificate{SerialNumber: big.NewInt(n)}} }
	l := &crl{RevocationList: list}
	first := numbered(1)
	if a := l.of(first); a.entry == nil || a.useless != "" {
		t.Errorf("the first: %+v", a)
	}
	list.Extensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true}}
	if a := l.of(numbered(2)); a.entry != nil || a.useless != "" {
		t.Errorf("the second: %+v", a)
	}
	list.RevokedCertificateEntries = nil
	if a := l.of(first); a.entry == nil || l.lookups != 2 {
		t.Errorf("the first once more: %+v, %d lookups", a, l.lookups)
	}
}
