package cluster_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
)

// problem returns an error as the *Problem that it has to be, with something to do and without control characters.
func problem(t testing.TB, err error, code string) *cluster.Problem {
	t.Helper()
	p, ok := errors.AsType[*cluster.Problem](err)
	if !ok {
		t.Fatalf("%v is no *Problem", err)
	}
	if p.Code() != code || p.Remedy() == "" {
		t.Errorf("%v: code %s, want %s; remedy %q", err, p.Code(), code, p.Remedy())
	}
	if text := p.Error() + p.Remedy(); strings.ContainsAny(text, "\n\r\x00\x1b") || len(text) > 16<<10 {
		t.Errorf("no text for a line: %q", text)
	}
	return p
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	for _, kind := range []purpose.KeyType{purpose.RSA, purpose.EC} {
		specs := cluster.KeySpecs(kind)
		if len(specs) == 0 {
			t.Fatalf("no keys of type %s", kind)
		}
		for _, k := range specs {
			for _, text := range []string{k.String(), strings.ToUpper(k.String())} {
				if got, err := cluster.ParseKey(text); err != nil || got != k {
					t.Errorf("%s: %v, %v", text, got, err)
				}
			}
		}
	}
	for text, want := range map[string]string{
		"":                         `key "" is no key type with a length`,
		"2048":                     "is no key type with a length",
		"rsa":                      "is no key type with a length",
		"dsa:2048":                 `key "dsa:2048" is no key type`,
		"rsa:":                     "has no possible length",
		"rsa:512":                  "has no possible length",
		"rsa:8192":                 "has no possible length",
		"rsa:02048":                "has no possible length",
		"rsa:+2048":                "has no possible length",
		"rsa: 2048":                "has no possible length",
		"ec:2048":                  "has no possible length",
		"rsa:384":                  "has no possible length",
		"rsa:2048:":                "has no possible length",
		"rsa:99999999999999999999": "has no possible length",
		strings.Repeat("x", 1<<16): "is no key type",
	} {
		_, err := cluster.ParseKey(text)
		if p := problem(t, err, cluster.CodeField); !strings.Contains(p.Error(), want) {
			t.Errorf("%v does not say %q", p, want)
		}
	}
	if text := (cluster.KeySpec{}).String(); text != "" {
		t.Errorf("the zero value is %q", text)
	}
}

func TestParseHash(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]cluster.Hash{"sha256": cluster.SHA256, "SHA384": cluster.SHA384, "Sha512": cluster.SHA512} {
		if got, err := cluster.ParseHash(text); err != nil || got != want || got.String() != strings.ToLower(text) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "sha1", "sha-256", "md5", "sha256 ", "ſha256"} {
		_, err := cluster.ParseHash(text)
		problem(t, err, cluster.CodeField)
	}
}

func TestHashes(t *testing.T) {
	t.Parallel()
	type hashes = []cluster.Hash
	all := hashes{cluster.SHA256, cluster.SHA384, cluster.SHA512}
	for text, want := range map[string]hashes{
		"rsa:1024": all, "rsa:2048": all, "rsa:3072": all, "rsa:4096": all, "ec:256": all,
		"ec:384": {cluster.SHA384, cluster.SHA512}, "ec:521": {cluster.SHA512},
	} {
		k, err := cluster.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, k.Hashes(false)); d != "" {
			t.Errorf("%s: %s", k, d)
		}
		fips := hashes{}
		if want[0] == cluster.SHA256 {
			fips = hashes{cluster.SHA256}
		}
		if d := cmp.Diff(fips, k.Hashes(true)); d != "" {
			t.Errorf("%s in FIPS mode: %s", k, d)
		}
	}
	for _, kind := range []purpose.KeyType{purpose.RSA, purpose.EC} {
		for _, fips := range []bool{false, true} {
			if k := cluster.DefaultKey(kind, fips); len(k.Hashes(fips)) == 0 {
				t.Errorf("the usual key %s has no hash, FIPS mode %t", k, fips)
			}
		}
	}
}

// FuzzFlags: keys and hashes that are read are written the same, but for case.
func FuzzFlags(f *testing.F) {
	for _, seed := range []string{"rsa:2048", "EC:384", "ec:", ":", "sha256", "SHA512", "rsa:2048\x00", "RSA\u017f:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := cluster.ParseKey(text); err != nil {
			problem(t, err, cluster.CodeField)
		} else if k.String() != strings.ToLower(text) {
			t.Errorf("%q is written %q", text, k)
		}
		if h, err := cluster.ParseHash(text); err != nil {
			problem(t, err, cluster.CodeField)
		} else if h.String() != strings.ToLower(text) {
			t.Errorf("%q is written %q", text, h)
		}
	})
}
