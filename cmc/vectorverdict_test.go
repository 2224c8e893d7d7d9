package cmc

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// judge opens and verifies a message as a server does.
func judge(v *Verifier, msg []byte) (*Verified, *Problem) {
	m, err := Open(msg)
	if err != nil {
		var p *Problem
		if !errors.As(err, &p) {
			panic(err)
		}
		return nil, p
	}
	return v.Verify(context.Background(), m)
}

func TestRequestVectors(t *testing.T) {
	t.Parallel()
	for _, row := range table(t, "expected-requests.tsv") {
		t.Run(row["file"], func(t *testing.T) {
			t.Parallel()
			v, n := newVerifier(t)
			if row["file"] == "bad/replayed-nonce.der" || row["file"] == "bad/transaction-reused.der" {
				first, p := judge(v, load(t, "req/vouched-rsa2048.der"))
				if p != nil {
					t.Fatalf("first message: %v", p)
				}
				n.record(first)
			}
			out, p := judge(v, load(t, row["file"]))
			got := map[string]string{"code": "cmc.ok", "cmc_status": "success(0)", "fail_info": "", "body_list": "", "http": "200"}
			if p != nil {
				got["code"], got["cmc_status"], got["fail_info"] = p.Code(), p.Status.String(), p.FailInfo.String()
				got["body_list"] = strings.Trim(strings.Join(strings.Fields(fmt.Sprint(p.BodyList)), ","), "[]")
				got["http"] = strconv.Itoa(p.HTTP)
				if p.Remedy() == "" {
					t.Error("no remedy")
				}
			} else if out.Query {
				got["code"] = "cmc.ok-query"
			}
			got["file"], got["reason"] = row["file"], row["reason"]
			if diff := cmp.Diff(row, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s\nproblem: %v", diff, p)
			}
		})
	}
}

func TestVerifiedFields(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t)
	out, p := judge(v, load(t, "req/vouched-p256.der"))
	if p != nil {
		t.Fatal(p)
	}
	id, _ := new(big.Int).SetString("d1c2b3a4958677685940312213e4f506", 16)
	want := Request{
		TransactionID: id, SenderNonce: unhex(t, "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"), CSR: load(t, "p10/nosig-p256.der"),
		Witnessed: true, IdentityWitnessed: true,
		RegInfo: []byte("device=SEP00112233AABB&auth=mic&"), DataReturn: []byte("journal:7f3a9c"),
	}
	if diff := cmp.Diff(want, out.Request, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if out.Form != RFC || out.BodyPartID != 1 || !out.SigningTime.Equal(clock()) || len(out.Chain) != 2 ||
		out.Voucher.Subject.CommonName != "CAPF-sub.example.test" || out.Parsed.Subject.CommonName != "SEP00112233AABB" {
		t.Errorf("verified: form %v, body part %d, signed %v, %d certificates, voucher %v, subject %v",
			out.Form, out.BodyPartID, out.SigningTime, len(out.Chain), out.Voucher.Subject, out.Parsed.Subject)
	}
	pairs := []NameValue{{"device", "SEP00112233AABB"}, {"auth", "mic"}}
	if diff := cmp.Diff(pairs, ParseRegInfo(out.RegInfo)); diff != "" {
		t.Errorf("regInfo (-want +got):\n%s", diff)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestP10Vectors(t *testing.T) {
	t.Parallel()
	for _, row := range table(t, "expected-p10.tsv") {
		t.Run(row["file"], func(t *testing.T) {
			t.Parallel()
			form, err := CheckNullSignature(load(t, row["file"]))
			want := map[string]Form{"null": RFC, "Micr": Microsoft, "real": Signed}[row["verdict"][:4]]
			if strings.HasPrefix(row["verdict"], "reject") {
				var p *Problem
				if !errors.As(err, &p) || p.Code() != CodeNullSignatureMismatch || p.FailInfo != POPFailed {
					t.Errorf("got %v, %v; want %s", form, err, CodeNullSignatureMismatch)
				}
				return
			}
			if err != nil || form != want {
				t.Errorf("got %v, %v; want %v", form, err, want)
			}
		})
	}
}

// wanted is what the client that sent req/vouched-rsa2048.der expects.
func wanted(t testing.TB) Wanted {
	t.Helper()
	id, _ := new(big.Int).SetString("3f9c1d2e4b5a69788796a5b4c3d2e1f0", 16)
	return Wanted{
		TransactionID: id, SenderNonce: unhex(t, "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"), PublicKey: load(t, "keys/phone-rsa2048.pub.der"),
		Anchors: pool(t, "anchor-ra"), Issuers: pool(t, "anchor-enterprise"), Now: clock(),
	}
}

// answer is a response in short: what the vectors' verdicts say.
type answer struct {
	Code     string // of VerifyResponse's error
	Issued   bool
	Simple   bool
	Status   Status
	FailInfo FailInfo
	BodyList []uint32
	Token    string
	Time     time.Time
	ErrCode  string // of Response.Err
}

func TestResponseVectors(t *testing.T) {
	t.Parallel()
	ok := answer{Issued: true, FailInfo: NoFailInfo, BodyList: []uint32{1}}
	refused := func(f FailInfo, body uint32) answer {
		return answer{Status: StatusFailed, FailInfo: f, BodyList: []uint32{body}, ErrCode: CodeRefused}
	}
	want := map[string]answer{
		"resp/bad-other-key.der":          {Code: CodeNoCertificate},
		"resp/bad-recipient-nonce.der":    {Code: CodeNonceMismatch},
		"resp/bad-signer-not-ra.der":      {Code: CodeNotRA},
		"resp/bad-unsigned-success.der":   {Code: CodeNoSigner},
		"resp/failed-badmessagecheck.der": refused(BadMessageCheck, 0),
		"resp/failed-extended.der":        refused(BadRequest, 1),
		"resp/failed-popfailed.der":       refused(POPFailed, 1),
		"resp/failed-trylater.der":        {Status: StatusFailed, FailInfo: TryLater, BodyList: []uint32{1}, ErrCode: CodeTryLater},
		"resp/failed-unknown-control.der": refused(BadRequest, 5),
		"resp/failed-v1-status.der":       refused(POPFailed, 1),
		"resp/nosupport.der":              {Status: StatusNoSupport, FailInfo: NoFailInfo, BodyList: []uint32{1}, ErrCode: CodeRefused},
		"resp/pending.der": {
			Status: StatusPending, FailInfo: NoFailInfo, BodyList: []uint32{1}, Token: "enrolment-7f3a9c", Time: clock().Add(10 * time.Minute),
		},
		"resp/simple.der":          {Issued: true, Simple: true, FailInfo: NoFailInfo},
		"resp/success.der":         ok,
		"resp/success-implied.der": {Issued: true, FailInfo: NoFailInfo},
	}
	for _, row := range table(t, "expected-responses.tsv") {
		t.Run(row["file"], func(t *testing.T) {
			t.Parallel()
			w := wanted(t)
			var got answer
			r, err := VerifyResponse(load(t, row["file"]), w)
			var p *Problem
			switch {
			case errors.As(err, &p):
				got.Code = p.Code()
			case err != nil:
				t.Fatal(err)
			default:
				got = answer{Issued: r.Certificate != nil, Simple: r.Simple, Status: r.Status, FailInfo: r.FailInfo, BodyList: r.BodyList}
				if r.Pending != nil {
					got.Token, got.Time = string(r.Pending.Token), r.Pending.Time
				}
				if errors.As(r.Err(), &p) {
					got.ErrCode = p.Code()
				}
			}
			if diff := cmp.Diff(want[row["file"]], got); diff != "" {
				t.Errorf("answer (-want +got):\n%s\nerror: %v", diff, err)
			}
			if got.Issued && !r.Certificate.Equal(loadCert(t, "phone-rsa2048")) {
				t.Errorf("certificate of %v", r.Certificate.Subject)
			}
			if row["file"] == "resp/failed-extended.der" {
				if e := r.Statuses[1].Extended; e == nil || hex.EncodeToString(e.Value) != "02050080094809" {
					t.Errorf("extended reason: %+v", e)
				}
			}
			if row["file"] == "resp/failed-v1-status.der" && !r.Statuses[0].Old {
				t.Error("the old status control was not told from the new one")
			}
		})
	}
}

// TestADCSVectors checks what this package has to say about the requests to AD CS; the verdicts are the simulated server's.
func TestADCSVectors(t *testing.T) {
	t.Parallel()
	type signers struct {
		Type    string
		Forms   []SIDForm
		NoSig   []bool
		Subject []string
		Right   []bool
		CSR     Form
		Requests,
		Pairs int
	}
	none, agent := "", "svc-callsign-ra"
	pkiData, data := OIDPKIData.String(), OIDData.String()
	both := signers{pkiData, []SIDForm{ByKeyID, ByIssuerSerial}, []bool{true, false}, []string{none, agent}, []bool{true, true}, Microsoft, 1, 0}
	one := signers{pkiData, []SIDForm{ByIssuerSerial}, []bool{false}, []string{agent}, []bool{true}, Microsoft, 1, 0}
	with := func(s signers, f func(*signers)) signers { f(&s); return s }
	want := map[string]signers{
		"adcs/cmc-supplied-rsa2048.der":   both,
		"adcs/cmc-supplied-p256.der":      both,
		"adcs/cmc-eobo-rsa2048.der":       both,
		"adcs/cmc-agent-only-rsa2048.der": one,
		"adcs/cmc-signed-inner.der":       with(one, func(s *signers) { s.CSR = Signed }),
		"adcs/bad-cmc-agent-eku.der":      with(both, func(s *signers) { s.Subject = []string{none, "svc-other"} }),
		"adcs/bad-cmc-two-requests.der":   with(both, func(s *signers) { s.Requests = 2 }),
		"adcs/bad-cmc-null-hash.der":      with(both, func(s *signers) { s.CSR = 0 }),
		"adcs/bad-cmc-no-agent.der": {
			pkiData, []SIDForm{ByKeyID}, []bool{true}, []string{none}, []bool{true}, Microsoft, 1, 0,
		},
		"adcs/bad-cmc-no-signer.der":         {Type: pkiData, CSR: Microsoft, Requests: 1},
		"adcs/pkcs7-eobo-signed-inner.der":   with(one, func(s *signers) { s.Type, s.CSR, s.Pairs = data, Signed, 1 }),
		"adcs/bad-pkcs7-eobo-null-inner.der": with(one, func(s *signers) { s.Type, s.Pairs = data, 1 }),
		"adcs/bad-bare-null-p10.der":         {},
	}
	for _, row := range table(t, "expected-adcs.tsv") {
		t.Run(row["file"], func(t *testing.T) {
			t.Parallel()
			var got signers
			m, err := Open(load(t, row["file"]))
			if row["file"] == "adcs/bad-bare-null-p10.der" {
				if err == nil {
					t.Error("a bare PKCS#10 was taken for a SignedData")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got.Type = m.EContentType.String()
			for i := range m.Signers {
				s := &m.Signers[i]
				subject := none
				if s.Certificate != nil {
					subject = s.Certificate.Subject.CommonName
					if strings.HasPrefix(subject, "Users") {
						subject = s.Certificate.Subject.Names[len(s.Certificate.Subject.Names)-1].Value.(string)
					}
				}
				for _, n := range nameStrings(s.Certificate) {
					if n == agent || n == "svc-other" {
						subject = n
					}
				}
				got.Forms = append(got.Forms, s.Form)
				got.NoSig = append(got.NoSig, s.NoSignature)
				got.Subject = append(got.Subject, subject)
				got.Right = append(got.Right, s.Err == nil)
				pairs, err := s.NameValues()
				if err != nil {
					t.Error(err)
				}
				got.Pairs += len(pairs)
				if len(pairs) == 1 && pairs[0] != (NameValue{"RequesterName", `EXAMPLE\SEP001122334455$`}) {
					t.Errorf("name-value pair %q", pairs[0])
				}
			}
			csr := m.EContent
			got.Requests = 1
			if got.Type == pkiData {
				d, err := ParsePKIData(m.EContent)
				if err != nil {
					t.Fatal(err)
				}
				csr, got.Requests = d.Requests[0].Raw, len(d.Requests)
				if ParseRegInfo(d.RegInfo())[0] != (NameValue{"CertificateTemplate", "CallsignPhone"}) {
					t.Errorf("regInfo %q", d.RegInfo())
				}
			}
			if form, err := CheckNullSignature(csr); err == nil {
				got.CSR = form
			}
			w := want[row["file"]]
			if row["file"] == "adcs/bad-pkcs7-eobo-null-inner.der" {
				w.CSR = Microsoft // null-signed and its hash right: refused only because this is no CMC
			}
			if diff := cmp.Diff(w, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// nameStrings returns the values of c's subject.
func nameStrings(c *x509.Certificate) []string {
	if c == nil {
		return nil
	}
	var all []string
	for _, n := range c.Subject.Names {
		all = append(all, fmt.Sprint(n.Value))
	}
	return all
}

func TestCertsOnlyVectors(t *testing.T) {
	t.Parallel()
	var rows []struct {
		File, Verdict, Note string
		SHA256              []string
	}
	if err := json.Unmarshal(load(t, "certs-only/expected.json"), &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		t.Run(row.File, func(t *testing.T) {
			t.Parallel()
			body := load(t, "certs-only/"+row.File)
			der := body
			switch block, _ := pem.Decode(body); {
			case block != nil:
				der = block.Bytes
			case strings.HasSuffix(row.File, ".b64"):
				text := strings.NewReplacer("\r", "", "\n", "", "\t", "", " ", "", "\x00", "").Replace(string(body))
				var err error
				if der, err = base64.StdEncoding.DecodeString(text); err != nil {
					if row.Verdict != "reject" {
						t.Fatal(err)
					}
					return // refused by the base64 layer, which is not here
				}
			}
			certs, err := ParseCertsOnly(der)
			if row.Verdict == "reject" && row.File != "foreign-key.b64" {
				var p *Problem
				if !errors.As(err, &p) {
					t.Fatalf("accepted %d certificates: %s", len(certs), row.Note)
				}
				if want := (row.File == "zero.b64"); want != (p.Code() == CodeNoCertificate) {
					t.Errorf("code %s", p.Code())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range certs {
				h := sha256.Sum256(c.Raw)
				got = append(got, hex.EncodeToString(h[:]))
			}
			if diff := cmp.Diff(row.SHA256, got); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
		})
	}
}
