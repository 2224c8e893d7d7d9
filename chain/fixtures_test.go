package chain_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callsign/chain"
)

// noon is the clock of the corpus.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// readPEM returns the certificates of a file.
func readPEM(t testing.TB, name string) []*chain.Certificate {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var certs []*chain.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			certs = append(certs, chain.Parse(block.Bytes))
		}
	}
	if len(certs) == 0 {
		t.Fatalf("%s has no certificate", name)
	}
	return certs
}

func readCRL(t testing.TB, name string) *x509.RevocationList {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	crl, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return crl
}

// corpusCase is a case of testdata/edge/cases.json.
type corpusCase struct {
	ID, Leaf, Target, Expect, Reason string
	ATS                              struct {
		Verdict, Error string
		Depth          *int
	}
}

func corpus(t testing.TB) []corpusCase {
	t.Helper()
	data, err := os.ReadFile("testdata/edge/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []corpusCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 74 {
		t.Fatalf("%d cases, want 74", len(cases))
	}
	return cases
}

// each calls f for every chain of the corpus; a case with two chains gives two.
func each(t *testing.T, f func(t *testing.T, c corpusCase, presented []*chain.Certificate)) {
	t.Helper()
	for _, c := range corpus(t) {
		for leaf := range strings.SplitSeq(c.Leaf, "+") {
			name := c.ID
			if leaf != c.Leaf {
				name += "/" + leaf
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				one := c
				one.Leaf = leaf
				f(t, one, readPEM(t, filepath.Join("testdata/edge/leaf", leaf+".pem")))
			})
		}
	}
}

// verdict is what the default profile says of a case, by the corpus.
func verdict(c corpusCase) (accept bool, reason chain.Code) {
	switch {
	case c.Expect == "negotiated" && strings.Contains(c.Leaf, "ec"):
		return false, chain.SelfSigned
	case c.Expect == "negotiated", c.ID == "revoked": // without a CRL
		return true, ""
	default:
		return c.Expect == "accept", chain.Code(c.Reason)
	}
}

// TestCorpus holds the verdict and reason of every case of the corpus.
func TestCorpus(t *testing.T) {
	t.Parallel()
	v := &chain.Verifier{Anchors: chain.NewStore(readPEM(t, "testdata/edge/trust.pem")...), Now: at(noon)}
	each(t, func(t *testing.T, c corpusCase, presented []*chain.Certificate) {
		accept, reason := verdict(c)
		r := v.Verify(presented, c.Target)
		if r.OK() != accept || !accept && r.Faults[0].Code != reason {
			t.Errorf("got %v, want accept %v %s", texts(r), accept, reason)
		}
		for _, f := range r.Faults {
			if f.Detail == "" || f.Remedy == "" || f.Subject == "" || f.Rule == "" {
				t.Errorf("incomplete fault: %+v", f)
			}
		}
	})
}

// TestCorpusRevoked has the CRL at hand.
func TestCorpusRevoked(t *testing.T) {
	t.Parallel()
	v := &chain.Verifier{
		Anchors: chain.NewStore(readPEM(t, "testdata/edge/trust.pem")...), Now: at(noon),
		CRLs: []*x509.RevocationList{readCRL(t, "testdata/edge/crl/root-a.crl.pem")},
	}
	each(t, func(t *testing.T, c corpusCase, presented []*chain.Certificate) {
		accept, reason := verdict(c)
		if c.ID == "revoked" {
			accept, reason = false, chain.Revoked
		}
		r := v.Verify(presented, c.Target)
		if r.OK() != accept || !accept && r.Faults[0].Code != reason {
			t.Errorf("got %v, want accept %v %s", texts(r), accept, reason)
		}
	})
}

// TestCorpusTrafficServer compares with what Apache Traffic Server said of each case: with names by its rules and without
// anyExtendedKeyUsage, only certificates with an iPAddress are judged in another way, on purpose. Error text and depth
// of the first line it logged are ours as well.
func TestCorpusTrafficServer(t *testing.T) {
	t.Parallel()
	v := &chain.Verifier{
		Anchors: chain.NewStore(readPEM(t, "testdata/edge/trust.pem")...), Now: at(noon), Names: chain.NamesATS, AnyUsage: chain.Refuse,
	}
	onPurpose := []string{"ip-san", "ip6-san"}
	each(t, func(t *testing.T, c corpusCase, presented []*chain.Certificate) {
		accept := c.ATS.Verdict == "accept"
		if c.Expect == "negotiated" {
			accept, _ = verdict(c) // Traffic Server saw one of the two
		}
		if slices.Contains(onPurpose, c.ID) {
			accept = !accept
		}
		r := v.Verify(presented, c.Target)
		if r.OK() != accept {
			t.Fatalf("got %v, want accept %v", texts(r), accept)
		}
		if accept || c.ATS.Depth == nil {
			return
		}
		if got := r.Faults[0].OpenSSL(); got.Text != c.ATS.Error || got.Depth != *c.ATS.Depth {
			t.Errorf("in OpenSSL's words %q at depth %d, want %q at %d: %v", got.Text, got.Depth, c.ATS.Error, *c.ATS.Depth, texts(r))
		}
	})
}

// texts are the faults of a result, for a message.
func texts(r *chain.Result) []string {
	all := []string{}
	for _, f := range r.Faults {
		all = append(all, string(f.Code)+"/"+f.Rule+" "+f.Detail)
	}
	return all
}
