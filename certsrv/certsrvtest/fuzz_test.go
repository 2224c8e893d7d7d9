package certsrvtest

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func decodeToken(resp *answer) []byte {
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(resp.Header.Get("WWW-Authenticate"), "NTLM "))
	if err != nil {
		return nil
	}
	return b
}

// FuzzNTLM feeds client messages: no panic, and nobody gets in without the password.
func FuzzNTLM(f *testing.F) {
	t1 := type1(40, clientFlags)
	names := ntlmNames{"LAB", "CERTSRV", "lab.test"}
	challenge := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	t2 := challengeMessage(clientFlags, challenge, names, clock)
	f.Add(t1)
	f.Add(t1[:16])
	t := &testing.T{}
	for _, c := range []client3{
		{user: "ra", domain: "LAB", password: "wrong"},
		{user: "ra", domain: "LAB", password: "wrong", mic: true, keyEx: true},
		{user: "ra", domain: "LAB", ntlmv1: true},
		{user: "ra", domain: "LAB", lmOnly: true, oem: true},
	} {
		f.Add(c.message(t, t1, t2))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if flags, err := negotiateFlags(msg); err == nil {
			if got := challengeMessage(flags, challenge, names, clock); ntlmType(got) != 2 {
				t.Errorf("no Type 2 for flags %x", flags)
			}
		}
		a, err := parseAuthenticate(msg)
		if err != nil {
			return
		}
		if len(a.user)+len(a.domain) > 4*len(msg) {
			t.Errorf("%d octets of names from %d", len(a.user)+len(a.domain), len(msg))
		}
		if _, err := a.verify("a password that the fuzzer cannot know", challenge, t1, t2, msg); err == nil {
			t.Error("accepted without the password")
		}
	})
}

// FuzzForm feeds forms, attributes and regInfo: bounded, and what is escaped comes back.
func FuzzForm(f *testing.F) {
	f.Add("Mode=newreq&CertRequest=MII%2Babc%3D%3D&CertAttrib=CertificateTemplate%3ACiscoRA%0D%0A", "CertificateTemplate:CiscoRA\r\nSAN:dns=a&dns=b\nUserAgent: x\r\n")
	f.Add("a=%&b=%4&c=%zz&A=2&&=", "::\r:\n x : y ")
	f.Add("CertificateTemplate=CallsignPhone&RequesterName=EXAMPLE%5CSEP0011&", "")
	f.Fuzz(func(t *testing.T, form, attributes string) {
		values := parseForm(form)
		if len(values) > maxFields {
			t.Errorf("%d fields", len(values))
		}
		total := 0
		for name, v := range values {
			if name != strings.ToLower(name) || len(v) != 1 {
				t.Errorf("field %q: %q", name, v)
			}
			total += len(v[0])
		}
		if total > len(form) {
			t.Errorf("%d octets of values from %d", total, len(form))
		}
		for _, m := range []map[string]string{parseAttributes(attributes), parseRegInfo(attributes)} {
			if len(m) > maxFields {
				t.Errorf("%d attributes", len(m))
			}
		}
		for name, value := range parseAttributes(attributes) {
			if again := parseAttributes(name + ":" + value)[name]; again != value {
				t.Errorf("attribute %q: %q comes back as %q", name, value, again)
			}
		}
		_, _ = decodeRequest(values.Get("certrequest"))
		_ = (&request{}).addSAN(parseAttributes(attributes)["san"])
	})
}

// FuzzRequest feeds the bytes of requests: no panic, every error is a status, and only signed requests come through.
func FuzzRequest(f *testing.F) {
	t := &testing.T{}
	files, err := filepath.Glob(filepath.Join("testdata", "adcs", "*.der"))
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		f.Add(readFile(t, "adcs", filepath.Base(file)))
	}
	csr, _ := newCSR(t, "x")
	f.Add(csr)
	rd := &requestReader{anchors: enterpriseCA(t).chains[0], acceptRFCNoSig: true, now: clock.Add(time.Hour)}
	f.Fuzz(func(t *testing.T, der []byte) {
		req, err := rd.read(der)
		if err != nil {
			var plain *statusError
			var verifying *verifyingError
			if !errors.As(err, &plain) && !errors.As(err, &verifying) {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		if req.kind == KindPKCS10 && req.csr.CheckSignature() != nil {
			t.Error("unsigned PKCS #10 is accepted")
		}
		if !req.signed && req.kind != KindCMC {
			t.Error("null signature outside CMC is accepted")
		}
	})
}

// FuzzPage feeds whole requests of an authenticated client: an answer or a broken connection, never a panic of ours.
func FuzzPage(f *testing.F) {
	f.Add("/certsrv/certnew.cer?ReqID=1&Enc=b64", "", "Mozilla")
	f.Add("/certsrv/certnew.p7b?ReqID=CACert&Renewal=-1", "", "")
	f.Add("/certsrv/certfnsh.asp", "Mode=newreq&CertRequest=MII&CertAttrib=CertificateTemplate:CiscoRA", "CiscoRA 1.0")
	f.Add("/certsrv/certfnsh.asp", "Mode=chkpnd&ReqID=99999999999999999999", "Trident")
	s, err := New(config(&testing.T{}, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target, body, agent string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		u, err := r.URL.Parse(target)
		if err != nil {
			return
		}
		r.URL = u
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("User-Agent", agent)
		r.SetBasicAuth(testUser, testPassword)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusNotFound && w.Code != http.StatusMovedPermanently && w.Code != http.StatusInternalServerError {
			t.Errorf("status %d", w.Code)
		}
	})
}
