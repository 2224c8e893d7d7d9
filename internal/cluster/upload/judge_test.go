package upload_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/chain"
	"callsign/internal/cluster/upload"
)

// fixtureOf returns a case of the corpus.
func fixtureOf(t testing.TB, id string) fixture {
	t.Helper()
	for _, f := range fixtures(t) {
		if f.ID == id {
			return f
		}
	}
	t.Fatalf("no case %s", id)
	return fixture{}
}

// judged judges the case of the corpus after a change of the judge.
func judged(t testing.TB, id string, change func(*upload.Judge)) *upload.Result {
	t.Helper()
	f := fixtureOf(t, id)
	j := f.judge(t)
	if change != nil {
		change(j)
	}
	return j.Judge(upload.Read(read(t, f.File)))
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		id       string
		change   func(*upload.Judge)
		verdict  upload.Verdict
		code     upload.Code
		message  string
		warnings []string
	}{
		"one common name is one name":   {id: "T10", change: func(j *upload.Judge) { j.Policy.SameName = upload.ByCommonName }, verdict: upload.Replacing},
		"another key id is another CA":  {id: "T12", change: func(j *upload.Judge) { j.Policy.SameName = upload.ByKeyID }, verdict: upload.Accepted},
		"the same key id is the same":   {id: "T05", change: func(j *upload.Judge) { j.Policy.SameName = upload.ByKeyID }, verdict: upload.Accepted},
		"a missing usage refuses":       {id: "I24", change: enforce, verdict: upload.Rejected, code: upload.EKUMissing, message: "Extended key usage is not as requested: EKU_MISSING:clientAuth"},
		"no usage at all refuses":       {id: "I26", change: enforce, verdict: upload.Rejected, code: upload.EKUAbsent, message: "Extended key usage is not as requested: EKU_ABSENT"},
		"all usages pass":               {id: "I01", change: enforce, verdict: upload.Accepted},
		"the old words, no request":     {id: "R01", change: legacy, verdict: upload.Rejected, code: upload.CSRMissing, message: "The file /usr/local/platform/upload/certs//tomcat.der could not be uploaded."},
		"the old words, wrong key":      {id: "R07", change: legacy, verdict: upload.Rejected, code: upload.CSRKeyMismatch, message: "The file /usr/local/platform/upload/certs//tomcat.der could not be uploaded."},
		"the old words for all others":  {id: "R10", change: legacy, verdict: upload.Rejected, code: upload.CSRSANMismatch, message: "CSR SAN and Certificate SAN does not match"},
		"unknown purpose":               {id: "I01", change: func(j *upload.Judge) { j.Purpose = "Tomcat" }, verdict: upload.Rejected, code: upload.BadPurpose, message: "Invalid certificate type found"},
		"unknown store":                 {id: "T01", change: func(j *upload.Judge) { j.Purpose = "ldap-trust" }, verdict: upload.Rejected, code: upload.BadPurpose, message: "Invalid certificate type found"},
		"always self-signed":            {id: "I01", change: func(j *upload.Judge) { j.Purpose = "ITLRecovery" }, verdict: upload.Rejected, code: upload.BadPurpose, message: "Invalid certificate type found"},
		"not on the node":               {id: "I23", change: func(j *upload.Judge) { j.Context.NotHere = "CAPF is on the publisher" }, verdict: upload.Rejected, code: upload.BadPurpose, message: "Invalid certificate type found"},
		"a bad file comes first":        {id: "B02", change: func(j *upload.Judge) { j.Purpose = "Tomcat" }, verdict: upload.Rejected, code: upload.InvalidFile, message: "Invalid certificate file provided"},
		"the twin is self-signed":       {id: "I01", change: func(j *upload.Judge) { j.Context.Twin = upload.Twin{Purpose: "tomcat-ECDSA", SelfSigned: true} }, verdict: upload.Accepted, warnings: []string{"TWIN_SELF_SIGNED"}},
		"the twin is CA-signed":         {id: "I01", change: func(j *upload.Judge) { j.Context.Twin = upload.Twin{Purpose: "tomcat-ECDSA"} }, verdict: upload.Accepted},
		"a node is not named":           {id: "I04", change: names("cucmpub.lab.example.com", "cucmsub2.lab.example.com"), verdict: upload.Accepted, warnings: []string{"NODE_NOT_IN_SAN:cucmsub2.lab.example.com"}},
		"the common name is a name":     {id: "I05", change: names("CUCMPUB.lab.example.com"), verdict: upload.Accepted},
		"another one changed just now":  {id: "I22", change: func(j *upload.Judge) { j.Context.Recent = []string{"CallManager"} }, verdict: upload.Accepted, warnings: []string{"NEVER_TOGETHER:CallManager"}},
		"the last second counts":        {id: "I29", change: func(j *upload.Judge) { j.At = time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC) }, verdict: upload.Accepted, warnings: []string{"EXPIRES_SOON"}},
		"a second later it has expired": {id: "I29", change: func(j *upload.Judge) { j.At = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC) }, verdict: upload.Rejected, code: upload.CertExpired, message: "Certificate has expired: 2026-11-20T23:59:59Z"},
		"five minutes early":            {id: "R19", change: func(j *upload.Judge) { j.At = time.Date(2029, 12, 31, 23, 55, 0, 0, time.UTC) }, verdict: upload.Accepted},
		"more than five minutes early":  {id: "R19", change: func(j *upload.Judge) { j.At = time.Date(2029, 12, 31, 23, 54, 59, 0, time.UTC) }, verdict: upload.Rejected, code: upload.CertNotYetValid, message: "Certificate is not yet valid: 2030-01-01T00:00:00Z"},
		"thirty days are not soon":      {id: "I28", change: func(j *upload.Judge) { j.At = time.Date(2026, 10, 28, 12, 0, 0, 0, time.UTC) }, verdict: upload.Accepted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judged(t, c.id, c.change)
			if r.Verdict != c.verdict || r.Code != c.code || r.Message != c.message {
				t.Errorf("%s %s %q, want %s %s %q", r.Verdict, r.Code, r.Message, c.verdict, c.code, c.message)
			}
			if diff := cmp.Diff(c.warnings, warnings(r)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func enforce(j *upload.Judge) { j.Policy.EKU = upload.EKUEnforce }
func legacy(j *upload.Judge)  { j.Policy.Legacy = true }

func names(fqdns ...string) func(*upload.Judge) {
	return func(j *upload.Judge) { j.Context.Names = fqdns }
}

// TestEveryReason: a file that several checks refuse shows all of them, in their order.
func TestEveryReason(t *testing.T) {
	t.Parallel()
	r := judged(t, "R09", func(j *upload.Judge) { j.Trust = nil; j.At = time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC) })
	var got []upload.Code
	for i := range r.Reasons {
		got = append(got, r.Reasons[i].Code)
		if i > 0 && r.Reasons[i].Check < r.Reasons[i-1].Check {
			t.Errorf("check %d comes after check %d", r.Reasons[i].Check, r.Reasons[i-1].Check)
		}
	}
	if want := []upload.Code{upload.CSRKeyMismatch, upload.CertExpired, upload.CSRSANMismatch, upload.CANotInTrust}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestCauses: what the cluster remembers tells why a key does not fit.
func TestCauses(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	hash := "ac63b74fed17a66510005659cf63ec77f3d3d1f280d1602fdf45f56fa8f420b9" // of leaf/tomcat-good.pem
	for name, c := range map[string]struct {
		id      string
		context upload.Context
		want    string
	}{
		"request generated again": {"R08", upload.Context{Retired: []upload.Retired{{KeyHash: hash, Created: at, Ended: at.Add(time.Hour)}}}, "the certificate is for the request of 2026-11-01T08:00:00Z, which was replaced or deleted at 2026-11-01T09:00:00Z: its private key is gone"},
		"request of another node": {"R08", upload.Context{Others: map[string]upload.Other{hash: {What: "the request of tomcat@cucmsub"}}}, "the certificate has the key of the request of tomcat@cucmsub"},
		"uploaded before":         {"R01", upload.Context{Others: map[string]upload.Other{hash: {What: "the certificate in service"}}}, "the certificate has the key of the certificate in service"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judged(t, c.id, func(j *upload.Judge) { j.Context = c.context })
			if diff := cmp.Diff([]string{c.want}, r.Reasons[0].Causes); diff != "" {
				t.Errorf("causes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHostileFiles: what administrators and attackers send.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	good := read(t, "leaf/tomcat-good.pem")
	der := read(t, "chain/tomcat-good.der")
	key := read(t, "bad/private-key-only.pem")
	csr := read(t, "csr/pub-tomcat.csr")
	block := func(label string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}) }
	many := slices.Concat(good, manyCertificates(t, upload.MaxCertificates))
	keyDER, _ := pem.Decode(key)
	for name, c := range map[string]struct {
		file []byte
		code upload.Code
	}{
		"exactly 1 MiB":                            {slices.Concat(good, bytes.Repeat([]byte("\n"), upload.MaxBytes-len(good))), ""},
		"a byte more":                              {slices.Concat(good, bytes.Repeat([]byte("\n"), upload.MaxBytes+1-len(good))), upload.TooLarge},
		"fifty-one certificates":                   {many, upload.TooLarge},
		"the same one a hundred times":             {bytes.Repeat(good, 100), ""},
		"key in DER":                               {keyDER.Bytes, upload.PrivateKeyInFile},
		"key behind the certificate":               {slices.Concat(good, key), upload.PrivateKeyInFile},
		"key that is cut off":                      {slices.Concat(good, key[:len(key)/2]), upload.PrivateKeyInFile},
		"key that is damaged":                      {slices.Concat(good, block("RSA PRIVATE KEY", []byte("nothing"))), upload.PrivateKeyInFile},
		"encrypted key":                            {slices.Concat(good, block("ENCRYPTED PRIVATE KEY", []byte("nothing"))), upload.PrivateKeyInFile},
		"key with a label in lower case":           {slices.Concat(good, block("Private Key", keyDER.Bytes)), upload.PrivateKeyInFile},
		"key with a label of its own":              {slices.Concat(good, block("KEY", keyDER.Bytes)), upload.PrivateKeyInFile},
		"key with a label in one word":             {slices.Concat(good, block("RSA-PRIVATE-KEY", keyDER.Bytes)), upload.PrivateKeyInFile},
		"key with fewer hyphens":                   {slices.Concat(good, bytes.ReplaceAll(key, []byte("-----"), []byte("----"))), upload.PrivateKeyInFile},
		"key that is cut off, in UTF-16":           {utf16(slices.Concat(good, key[:len(key)/2])), upload.PrivateKeyInFile},
		"key of a kind that is not known":          {[]byte{0x30, 14, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 4, 2, 1, 1}, upload.PrivateKeyInFile},
		"public key beside the certificate":        {slices.Concat(good, block("PUBLIC KEY", []byte{0x30, 0})), ""},
		"words on private keys":                    {slices.Concat([]byte("The private key stays on the server.\n"), good), ""},
		"request beside a certificate":             {slices.Concat(csr, good), ""},
		"request in DER":                           {read(t, "csr/pub-tomcat.der"), upload.IsRequest},
		"text around":                              {slices.Concat([]byte("Your certificate:\r\n"), good, []byte("\nRegards\n")), ""},
		"DER cut off":                              {der[:len(der)-1], upload.InvalidFile},
		"DER with a length in BER":                 {slices.Concat([]byte{0x30, 0x80}, der[4:], []byte{0, 0}), upload.InvalidFile},
		"DER twice":                                {slices.Concat(der, der), ""},
		"a certificate in a block of another name": {block("X509 CERTIFICATE", der), ""},
		"a list without certificates":              {block("X509 CRL", []byte{0x30, 0}), upload.InvalidFile},
		"nothing but blanks":                       {[]byte(" \r\n\t"), upload.InvalidFile},
		"half a byte order mark":                   {[]byte{0xef, 0xbb}, upload.InvalidFile},
		"PKCS #12 in a block":                      {block("PKCS12", read(t, "bad/tomcat.p12")), upload.InvalidFile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fixtureOf(t, "I01")
			r := f.judge(t).Judge(upload.Read(c.file))
			if r.Code != c.code || (r.Verdict == upload.Rejected) != (c.code != "") {
				t.Errorf("%s %s %q, want %q: %+v", r.Verdict, r.Code, r.Message, c.code, r.Reasons)
			}
			for _, reason := range r.Reasons {
				for _, text := range slices.Concat(reason.Causes, reason.Fixes, []string{reason.Message}) {
					if strings.Contains(text, "PRIVATE KEY-----") || strings.Contains(text, "MII") {
						t.Errorf("%q shows the file", text)
					}
				}
			}
		})
	}
}

// utf16 is text as some editors save it.
func utf16(ascii []byte) []byte {
	out := []byte{0xff, 0xfe}
	for _, c := range ascii {
		out = append(out, c, 0)
	}
	return out
}

// manyCertificates are self-signed and have one key.
func manyCertificates(t testing.TB, n int) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for i := range n {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "peer"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
			IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	return all.Bytes()
}

// TestBundles: bundles of ten thousand certificates are refused before they are looked at.
func TestBundles(t *testing.T) {
	t.Parallel()
	one := manyCertificates(t, 100)
	r := (&upload.Judge{Purpose: "tomcat-trust", At: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}).Judge(upload.Read(bytes.Repeat(one, 100)))
	if r.Code != upload.TooLarge || r.Message != "The file is larger than 1 MiB" {
		t.Errorf("%s %q", r.Code, r.Message)
	}
}

func TestReadFrom(t *testing.T) {
	t.Parallel()
	if _, err := upload.ReadFrom(iotest.ErrReader(errors.New("broken pipe"))); err == nil || err.Error() != "broken pipe" {
		t.Errorf("%v", err)
	}
	f, err := upload.ReadFrom(bytes.NewReader(read(t, "chain/tomcat-full.pem")))
	if err != nil || len(f.Certificates) != 4 {
		t.Fatalf("%v %v", f, err)
	}
}

// TestNames compares names of every kind: the same name in another dress passes, anything else does not.
func TestNames(t *testing.T) {
	t.Parallel()
	type name = asn1.RawValue
	plain := func(tag int, text string) name { return name{Class: 2, Tag: tag, Bytes: []byte(text)} }
	dir := func(cn string, tag int) name {
		value := asn1.RawValue{Tag: tag, Bytes: []byte(cn)}
		der, err := asn1.Marshal([][]struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue
		}{{{asn1.ObjectIdentifier{2, 5, 4, 3}, value}}})
		if err != nil {
			t.Fatal(err)
		}
		der[len(der)-len(cn)-9-2] = 0x31 // the inner sequence is a set
		return name{Class: 2, Tag: 4, IsCompound: true, Bytes: der}
	}
	for what, c := range map[string]struct {
		asked, got []name
		same       bool
	}{
		"case of a domain":           {[]name{plain(2, "a.example.com")}, []name{plain(2, "A.Example.COM")}, true},
		"order and repetition":       {[]name{plain(2, "a"), plain(2, "b")}, []name{plain(2, "b"), plain(2, "a"), plain(2, "b")}, true},
		"a point at the end":         {[]name{plain(2, "a.example.com")}, []name{plain(2, "a.example.com.")}, false},
		"address as domain":          {[]name{plain(7, "\xc0\x00\x02\x01")}, []name{plain(2, "192.0.2.1")}, false},
		"same address":               {[]name{plain(7, "\xc0\x00\x02\x01")}, []name{plain(7, "\xc0\x00\x02\x01")}, true},
		"mapped address":             {[]name{plain(7, "\xc0\x00\x02\x01")}, []name{plain(7, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01")}, false},
		"host of a mail address":     {[]name{plain(1, "User@Example.com")}, []name{plain(1, "User@example.COM")}, true},
		"user of a mail address":     {[]name{plain(1, "User@example.com")}, []name{plain(1, "user@example.com")}, false},
		"scheme and host of a URI":   {[]name{plain(6, "https://Host.example.com/Path")}, []name{plain(6, "HTTPS://host.Example.com/Path")}, true},
		"path of a URI":              {[]name{plain(6, "https://host/Path")}, []name{plain(6, "https://host/path")}, false},
		"directory name, other case": {[]name{dir("Lab  Name", 12)}, []name{dir("lab name ", 19)}, true},
		"another directory name":     {[]name{dir("Lab Name", 12)}, []name{dir("Lab Nome", 12)}, false},
		"registered ID":              {[]name{plain(8, "\x2a\x03")}, []name{plain(8, "\x2a\x03")}, true},
		"empty name":                 {[]name{plain(2, "a")}, []name{plain(2, "a"), plain(2, "")}, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := exchange(t, c.asked, c.got)
			if same := !slices.ContainsFunc(r.Reasons, func(x upload.Reason) bool { return x.Code == upload.CSRSANMismatch }); same != c.same {
				t.Errorf("same is %v: %+v", same, r.Reasons)
			}
		})
	}
}

// exchange judges a certificate with some names against a request for others.
func exchange(t *testing.T, asked, got []asn1.RawValue) *upload.Result {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	extension := func(names []asn1.RawValue) []pkix.Extension {
		der, err := asn1.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "host"}, ExtraExtensions: extension(asked)}, key)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "host"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), ExtraExtensions: extension(got),
	}
	if der, err = x509.CreateCertificate(rand.Reader, c, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}}, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Skipf("crypto/x509 refuses it: %v", err)
	}
	j := &upload.Judge{Purpose: "tomcat-ECDSA", Request: request, At: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	return j.Judge(upload.Read(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})))
}

// TestChainInFile: what a file brings along goes into the store by the rules of the store.
func TestChainInFile(t *testing.T) {
	t.Parallel()
	full := read(t, "chain/tomcat-full.pem")
	expired := certificate(t, "ca/expired-root.pem")
	r := judged(t, "F08", nil)
	if len(r.Add) != 3 || len(r.Path) != 4 {
		t.Errorf("adds %d, path %d", len(r.Add), len(r.Path))
	}
	f := fixtureOf(t, "F08")
	r = f.judge(t).Judge(upload.Read(slices.Concat(full, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: expired.Raw()}))))
	if diff := cmp.Diff([]string{"CHAIN_NOT_STORED"}, warnings(r)); r.Verdict != upload.Accepted || diff != "" || len(r.Add) != 3 {
		t.Errorf("%s, adds %d, warnings %s", r.Verdict, len(r.Add), diff)
	}
	// The issuer comes along and has expired: the file is refused for that, not for its absence.
	f = fixtureOf(t, "R28")
	f.Trust = nil
	r = f.judge(t).Judge(upload.Read(slices.Concat(read(t, f.File), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: expired.Raw()}))))
	if r.Code != upload.CAExpired {
		t.Errorf("%s, want %s", r.Code, upload.CAExpired)
	}
}

// TestPathOfLSCs: a path length that CAPF itself does not break, but its LSCs do, is warned of.
func TestPathOfLSCs(t *testing.T) {
	t.Parallel()
	for pathLen, want := range map[int][]string{-1: nil, 0: {"CAPF_PATH_LENGTH"}, 1: nil} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		ca := root(t, "CA", hostileAt.AddDate(-1, 0, 0))
		limited := &x509.Certificate{
			Subject: pkix.Name{CommonName: "Limited CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
		}
		between := ecKey(t)
		issuing := &issuer{ca.issue(t, limited, between.Public()), between}
		capf := issuing.issue(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: "CAPF-1"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, key.Public())
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "CAPF-1"}}, key)
		if err != nil {
			t.Fatal(err)
		}
		request, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		r := (&upload.Judge{Purpose: "CAPF", Request: request, At: hostileAt}).Judge(fileOf(capf, issuing.x, ca.x))
		if diff := cmp.Diff(want, warnings(r)); r.Verdict != upload.Accepted || diff != "" {
			t.Errorf("path length %d: %s %s, warnings (-want +got):\n%s", pathLen, r.Verdict, r.Message, diff)
		}
	}
}

// TestOrderOfStore: no verdict depends on the order of the store or of the file.
func TestOrderOfStore(t *testing.T) {
	t.Parallel()
	for _, f := range fixtures(t) {
		j := f.judge(t)
		file := upload.Read(read(t, f.File))
		want := j.Judge(file)
		slices.Reverse(j.Trust)
		slices.Reverse(file.Certificates)
		if got := j.Judge(file); got.Verdict != want.Verdict || got.Code != want.Code || !slices.Equal(sorted(warnings(got)), sorted(warnings(want))) {
			t.Errorf("%s: %s %s %v, in reverse %s %s %v", f.ID, want.Verdict, want.Code, warnings(want), got.Verdict, got.Code, warnings(got))
		}
	}
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

func TestCodes(t *testing.T) {
	t.Parallel()
	known := map[upload.Code]bool{}
	for _, c := range upload.Codes() {
		if known[c] {
			t.Errorf("%s twice", c)
		}
		known[c] = true
	}
	for _, f := range fixtures(t) {
		if f.Code != "" && !known[upload.Code(f.Code)] {
			t.Errorf("%s of the corpus is unknown", f.Code)
		}
	}
}

// FuzzJudge: whatever is uploaded, nothing panics, what is accepted has its key and its path, and a refusal says why.
func FuzzJudge(f *testing.F) {
	for _, c := range fixtures(f) {
		if data := read(f, c.File); len(data) < 20_000 {
			f.Add(data, c.Purpose)
		}
	}
	csr := request(f, "csr/pub-tomcat.csr")
	store := []*chain.Certificate{certificate(f, "ca/root.pem"), certificate(f, "ca/int2.pem"), certificate(f, "ca/int1.pem")}
	f.Fuzz(func(t *testing.T, data []byte, purpose string) {
		j := &upload.Judge{Purpose: purpose, Request: csr, Trust: store, At: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
		r := j.Judge(upload.Read(data))
		switch r.Verdict {
		case upload.Rejected:
			if r.Code == "" || r.Message == "" || len(r.Reasons) == 0 || len(r.Add)+len(r.Remove) > 0 {
				t.Fatalf("%+v", r)
			}
		case upload.Accepted, upload.Replacing, upload.Unchanged:
			if r.Leaf != nil && (!bytes.Equal(r.Leaf.X509().RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo) || len(r.Path) < 2) {
				t.Fatalf("%+v", r)
			}
		default:
			t.Fatalf("verdict %q", r.Verdict)
		}
	})
}
